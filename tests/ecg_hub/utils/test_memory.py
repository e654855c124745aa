"""Memory that is freed stays with the process where it is asked to, and only there."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_hub.utils import memory

SIZE = 2**26
ROOT = Path(__file__).resolve().parents[3]


def pages_of_again() -> int:
    """Pages that the system hands out when 64 MB are taken, filled and freed a second time."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    counts = [0]
    for _ in range(2):
        place = library.malloc(SIZE)
        ctypes.memset(place, 1, SIZE)
        library.free(place)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return counts[-1] - counts[-2]


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc has these settings")
def test_what_is_freed_stays_within_and_goes_after() -> None:
    # In a process of its own: in one that has worked, a free piece of that size may lie in the middle of the memory.
    program = (
        "from ecg_hub.utils import memory; from tests.ecg_hub.utils.test_memory import pages_of_again as again\n"
        "with memory.freed_memory_kept():\n"
        "    with memory.freed_memory_kept(): pass\n"
        "    within = again()\n"
        "print(within, again())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    within, after = map(int, done.stdout.split())
    assert within < 100
    assert after >= SIZE // 4096


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory.freed_memory_kept():
        assert memory._glibc() is None
