"""What the C allocator does with memory that is given back: a module of its own, because training and encoding use it.

Training frees and takes the same large tensors again in every step. glibc gives each of them (above 32 MB in any case)
back to the system and asks anew, and the system fills every page with zeros: half the time of a step of ECG-CPC.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's names, malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1
# What a process comes to by glibc's own adjustment once it has freed large blocks: twice the largest of 32 MB.
_TRIM_AFTER, _MMAP_DEFAULT = 64 * 2**20, 65536

_lock, _inside = threading.Lock(), 0  # the allocator is the process's: the last one who leaves puts it back


@contextmanager
def freed_memory_kept(device: str = "cpu") -> Iterator[None]:
    """Within it, what is freed stays with the process, and is given back at the end of the outermost.

    It does nothing without glibc, nor for another device, whose memory has an allocator of its own.

    The peak grows by what lies between tensors of different sizes: measured up to a half for ECG-CPC in training.
    """
    library = _glibc() if device == "cpu" else None
    if library is None:
        yield
        return
    _enter(library)
    try:
        yield
    finally:
        _leave(library)


def _enter(library: ctypes.CDLL) -> None:
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
            library.mallopt(_MMAP_MAX, 0)


def _leave(library: ctypes.CDLL) -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            library.mallopt(_MMAP_MAX, _MMAP_DEFAULT)
            library.mallopt(_TRIM_THRESHOLD, _TRIM_AFTER)
            library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    # Another libc (musl) has neither.
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
