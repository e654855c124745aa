"""Small checkpoints that ask for gigabytes, and damaged ones: read in a process that has little memory."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecg_hub.errors import CheckpointError
from ecg_hub.weights import bounds
from ecg_hub.weights.checkpoint import read_checkpoint
from tests.ecg_hub.weights.test_checkpoint import Call, tensor_pickle, zip_with_pickle

MB = 1 << 20
HEAD = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
# Reads files with 400 MB more than its imports took, and says what came of each.
READER = """
import json, resource, sys, tempfile
from pathlib import Path
import torch
from ecg_hub.errors import CheckpointError
from ecg_hub.weights.checkpoint import read_checkpoint
import ecg_hub.weights.unpickling, safetensors.torch, mmap
folder = Path(sys.argv[1])
tempfile.tempdir = str(folder)
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (held, held))
said = {}
for path in sorted(folder.glob("*.pt")):
    try:
        read_checkpoint(path)
        said[path.stem] = "read"
    except CheckpointError as error:
        said[path.stem] = str(error)
    except BaseException as error:
        said[path.stem] = type(error).__name__
print(json.dumps({"said": said, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""


def _many_tensors(count: int, shape: tuple[int, ...]) -> bytes:
    class Writer(pickle._Pickler):
        def persistent_id(self, obj: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", 16) if obj == "STORAGE" else None

    def rebuilt() -> Call:
        return Call(torch._utils._rebuild_tensor_v2, "STORAGE", 0, shape, (0,) * len(shape), False, OrderedDict())

    buffer = io.BytesIO()
    Writer(buffer, 2).dump({f"w{number}": rebuilt() for number in range(count)})
    return buffer.getvalue()


def _memo(path: Path) -> None:
    path.write_bytes(HEAD + b"\x80\x02]r" + struct.pack("<I", 280_000_000) + b".")


def _memo_in_zip(path: Path) -> None:
    zip_with_pickle(path, b"\x80\x02]r" + struct.pack("<I", 280_000_000) + b".")


def _long_text(path: Path) -> None:
    path.write_bytes(HEAD + b"\x80\x04\x8d" + struct.pack("<Q", 3 << 30) + b"abc.")


def _long_bytearray(path: Path) -> None:
    path.write_bytes(HEAD + b"\x80\x05\x96" + struct.pack("<Q", 3 << 30) + b"abc.")


def _copies(path: Path) -> None:
    # A list of 20,000 items, and 20,000 copies of it as a size.
    many = b"]q\x00(" + b"N" * 20_000 + b"e0" + b"](" + b"h\x01h\x00\x85R" * 20_000 + b"e."
    path.write_bytes(HEAD + b"\x80\x02ctorch\nSize\nq\x010" + many)


def _empty_sets(path: Path) -> None:
    path.write_bytes(HEAD + b"\x80\x04](" + b"\x8f" * 8_000_000 + b"e.")


def _classes(path: Path) -> None:
    path.write_bytes(HEAD + b"\x80\x02](" + b"ca\nb\n" * 600_000 + b"e.")


def _strides(path: Path) -> None:
    zip_with_pickle(path, _many_tensors(200, (4096, 4096)))


def _zeros(path: Path) -> None:
    numel = 55_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(0, (2,), (1,), numel))
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(220):
                member.write(bytes(10**6))


def _nested(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.pt", "w") as member,
    ):
        for _ in range(150):
            member.write(bytes(10**6))


def _false_size(path: Path) -> None:
    zip_with_pickle(path, tensor_pickle(0, (2,), (1,)))
    content = bytearray(path.read_bytes())
    # Both sizes of the last entry of the directory, of the values.
    place = content.rfind(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 3 << 30, 3 << 30)
    path.write_bytes(content)


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "memo": (_memo, "numbers its"),
    "memo in a zip": (_memo_in_zip, "numbers its"),
    "long text": (_long_text, "cannot be read"),
    "long bytearray": (_long_bytearray, "cannot be read"),
    "copies": (_copies, "for copies of its lists"),
    "empty sets": (_empty_sets, "for the objects of its pickle"),
    "classes": (_classes, "would take more than"),
    "strides": (_strides, "for tensors that repeat"),
    "zeros": (_zeros, "expands to"),
    "nested": (_nested, "expands to"),
    "false size": (_false_size, "are said to take"),
}


@pytest.mark.heavy
def test_small_files_that_ask_for_gigabytes_are_refused_in_little_memory(tmp_path: Path) -> None:
    for name, (write, _) in ATTACKS.items():
        write(tmp_path / f"{name}.pt")
    torch.save({"w": torch.ones(5 * MB)}, tmp_path / "good.pt")
    left = {path.name for path in tmp_path.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)], capture_output=True, text=True, timeout=300, check=True
    )
    said = json.loads(done.stdout)["said"]
    assert said.pop("good") == "read"
    assert {name: message for name, message in said.items() if ATTACKS[name][1] not in message} == {}
    # Nothing was unpacked beside them.
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_published_checkpoints_hold_has_room(tmp_path: Path) -> None:
    shared = torch.ones(MB)
    state = {f"w{number}": shared[: MB // 2] for number in range(16)} | {"e": torch.ones(1, 8).expand(1000, 8)}
    torch.save({"state_dict": state, "sizes": [torch.Size([2, 3])], "seen": [set()] * 1000}, tmp_path / "w.pt")
    assert read_checkpoint(tmp_path / "w.pt").state["e"].shape == (1000, 8)


@pytest.mark.parametrize("kind", ["encrypted", "method", "name", "checksum", "empty name"])
def test_damaged_archives_end_in_the_documented_error(kind: str, tmp_path: Path) -> None:
    path = zip_with_pickle(tmp_path / "w.pt", tensor_pickle(0, (2,), (1,)))
    content = bytearray(path.read_bytes())
    for place in (content.find(b"PK\x03\x04"), content.find(b"PK\x01\x02")):
        central = content[place + 2] == 1
        if kind == "encrypted":
            content[place + (8 if central else 6)] |= 1
        if kind == "method":
            content[place + (10 if central else 8)] = 99
        if kind == "name":
            content[place + (8 if central else 6) + 1] |= 8  # said to be UTF-8
            content[place + (46 if central else 30)] = 0xFF
        if kind == "checksum":
            content[place + (16 if central else 14)] ^= 1
        if kind == "empty name" and central:
            content[place + 28 : place + 30] = b"\0\0"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_messages_do_not_grow_with_what_a_pickle_nests(tmp_path: Path) -> None:
    doubled = b"N" + b"q\x00h\x00\x86" * 60
    path = zip_with_pickle(tmp_path / "w.pt", b"\x80\x02" + doubled + b"Q.")
    # By itself: written out, the message would not end in this universe, and not in Python, where it could be stopped.
    program = "import sys; from ecg_hub.weights.checkpoint import read_checkpoint; read_checkpoint(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ecg_hub.errors.CheckpointError: ")
    assert "it refers to" in said
    assert len(said) < 600


def test_the_room_follows_from_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(1000))
    room = bounds.Room(path, "f")
    room.take(8 * 1000 + 128 * MB, "for a test")
    with pytest.raises(CheckpointError, match=r"f has 1,000 bytes and would take more than 134,225,728 .*for a test"):
        room.take(1, "for a test")
