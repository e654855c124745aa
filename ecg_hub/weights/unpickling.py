"""The restricted unpickler behind `read_checkpoint`: imports nothing, runs nothing, rebuilds dense tensors only."""

from __future__ import annotations

import io
import math
import mmap
import pickle
import reprlib
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_hub.errors import CheckpointError
from ecg_hub.weights.bounds import Room

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_STORAGE_DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}

# With protocol 2, Python writes subprocess as "commands" and builtins as "__builtin__".
_HOSTILE_MODULES = frozenset(
    ("os", "posix", "nt", "sys", "subprocess", "commands", "pty", "socket", "shutil", "ctypes", "runpy", "importlib")
)
_HOSTILE_NAMES = {
    **dict.fromkeys(
        ("builtins", "__builtin__"),
        ("eval", "exec", "execfile", "compile", "__import__", "open", "input", "breakpoint", "exit", "quit"),
    ),
    **dict.fromkeys(("io", "_io", "codecs"), ("open", "open_code", "FileIO")),
}


class _Sealed:
    """Lets no pickle change the object after it was built."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise CheckpointError("it changes an object that the reader built")


@dataclass(frozen=True)
class _Storage(_Sealed):
    """Raw values of tensors, read when asked for."""

    dtype: torch.dtype
    numel: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class StoredTensor(_Sealed):
    """A tensor whose values are still in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def size(self, where: str) -> int:
        """Return the bytes that the values take as a tensor of their own."""
        self._check(where)
        # A stride of 0 makes a tensor of any size out of one value: what the file holds says nothing of it.
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def load(self, where: str) -> Tensor:
        """Read the values into a contiguous tensor; `size` was asked before."""
        storage = self.storage
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=storage.dtype)
        raw = storage.read()
        if len(raw) < storage.numel * storage.dtype.itemsize:
            raise CheckpointError(f"{where} has {len(raw)} bytes of values, too few: the file is truncated.")
        # A bytearray, because torch wants memory that it may write to; a copy, because views of one storage would share
        # it.
        flat = torch.frombuffer(bytearray(raw), dtype=storage.dtype, count=storage.numel)
        return flat.as_strided(self.shape, self.stride, self.offset).clone(memory_format=torch.contiguous_format)

    def _check(self, where: str) -> None:
        numbers = (self.offset, self.storage.numel, *self.shape, *self.stride)
        # By exact type: a pickle may put any object here, with methods that lie.
        sound = all(type(number) is int and number >= 0 for number in numbers) and len(self.shape) == len(self.stride)
        if sound and 0 not in self.shape:
            last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
            sound = last < self.storage.numel
        if not sound:
            raise CheckpointError(
                f"{where} claims shape {brief(self.shape)}, stride {brief(self.stride)} and offset "
                f"{brief(self.offset)} in {brief(self.storage.numel)} values, which cannot be: the file is damaged or "
                "hostile."
            )


def brief(value: Any) -> str:
    """Return a pickled object as text of a few dozen letters: what it holds may be nested without end."""
    return reprlib.repr(value)[:200]


def read_torch_zip(archive: zipfile.ZipFile, name: str, room: Room) -> tuple[Any, set[str]]:
    """Read a file of torch.save's zip format; the archive stays open until the tensors have been loaded."""
    pickles = [member for member in archive.namelist() if member.split("/")[-1] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(f"{name} holds {len(pickles)} data.pkl, not one, so it is not a PyTorch checkpoint.")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise CheckpointError(f"{name} was written on a big-endian machine; save it again on a little-endian one.")

    def storage_of(dtype: torch.dtype, key: str, numel: int) -> _Storage:
        return _Storage(dtype, numel, lambda: values_of(f"{root}data/{key}", numel * dtype.itemsize))

    # One is enough: tensors that share a storage mostly follow each other.
    @lru_cache(maxsize=1)
    def values_of(member: str, size: int) -> bytes:
        return _read_member(archive, member, size, name)

    content = _read_member(archive, pickles[0], room.largest, name)
    unpickler = _Unpickler(io.BytesIO(content), name, storage_of, room)
    return unpickler.read(), unpickler.unread


def read_torch_pickle(path: Path, name: str, room: Room) -> tuple[Any, set[str]]:
    """Read a file of torch.save's older format: pickles one after another, then the values."""
    places: dict[str, tuple[int, int]] = {}

    def storage_of(dtype: torch.dtype, key: str, numel: int) -> _Storage:
        return _Storage(dtype, numel, lambda: values_of(key, numel * dtype.itemsize))

    @lru_cache(maxsize=1)
    def values_of(key: str, size: int) -> bytes:
        return _read_place(path, places, key, size, name)

    # Mapped: a file object makes room for as many bytes as a pickle says will come.
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        magic = _Unpickler(file, name, storage_of, room).read()
        if magic != _LEGACY_MAGIC:
            raise CheckpointError(f"{name} is a pickle, but not one of PyTorch. Save the weights with torch.save.")
        # Number of the protocol and sizes of the machine that wrote it, which change nothing here.
        for _ in ("protocol", "system"):
            _Unpickler(file, name, storage_of, room).read()
        main = _Unpickler(file, name, storage_of, room)
        tree = main.read()
        keys = _Unpickler(file, name, storage_of, room).read()
        if not isinstance(keys, list):
            raise CheckpointError(f"{name} lists no storages after its content: the file is damaged.")
        _index_storages(file, keys, main.itemsizes, places, name)
    return tree, main.unread


def _index_storages(
    file: mmap.mmap, keys: list[Any], itemsizes: dict[str, int], places: dict[str, tuple[int, int]], name: str
) -> None:
    for key in keys:
        count = file.read(8)
        size = struct.unpack("<q", count)[0] * itemsizes.get(str(key), 0) if len(count) == 8 else -1
        if not 0 <= size <= file.size() - file.tell():
            raise CheckpointError(f"{name} ends before the values of storage {brief(key)}: it is truncated.")
        places[str(key)] = (file.tell(), size)
        file.seek(size, io.SEEK_CUR)


def _read_member(archive: zipfile.ZipFile, member: str, size: int, name: str) -> bytes:
    try:
        with archive.open(member) as file:
            return file.read(size)
    except (KeyError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{name}: cannot read {member!r} ({error}): the file is damaged.") from error


def _read_place(path: Path, places: dict[str, tuple[int, int]], key: str, size: int, name: str) -> bytes:
    start, stored = places.get(key, (0, -1))
    if stored < size:
        raise CheckpointError(f"{name} lacks the values of storage {key!r}: it is truncated or damaged.")
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


class _Unpickler(pickle.Unpickler):
    """Builds ordered dicts and stored tensors; everything else that a pickle names becomes an inert object."""

    def __init__(
        self, file: Any, name: str, storage_of: Callable[[torch.dtype, str, int], _Storage], room: Room
    ) -> None:
        # The encoding in which no byte string that Python 2 has pickled is refused.
        super().__init__(file, encoding="latin1")
        self._file, self._room = file, room
        self._name = name
        self._storage_of = storage_of
        self.unread: set[str] = set()
        self.itemsizes: dict[str, int] = {}

    def read(self) -> Any:
        """Return the next pickled object, or raise CheckpointError."""
        try:
            self._room.check_pickle(self._file)
            return self.load()
        except CheckpointError as error:
            said = str(error)
            raise CheckpointError(said if said.startswith(self._name) else f"{self._name}: {said}") from error
        except MemoryError:
            raise  # what the file asks for was looked at: it is the machine that has no more
        except Exception as error:  # a damaged pickle can fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"{self._name} cannot be read ({reason}): it is truncated or damaged.") from error

    def find_class(self, module: str, name: str) -> Any:
        # The one place where a pickle gets hold of anything that can be called; nothing is imported here.
        rebuild = _KNOWN.get((module, name))
        if rebuild is not None:
            return _Recipe(rebuild)
        copy = _COPIES.get((module, name))
        if copy is not None:
            return _Recipe(lambda *items: self._copied(copy, *items))
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        hostile = module.split(".")[0] in _HOSTILE_MODULES or name.split(".")[0] in _HOSTILE_NAMES.get(module, ())
        if hostile:
            raise CheckpointError(
                f"the file is not safe: it asks to call {module}.{name}, which no weights need. Nothing was run. "
                "Delete it and get it from its authors."
            )
        self.unread.add(f"{module}.{name}")
        # The same for all: a class of its own would take a thousand bytes for the five of its name.
        return _Inert

    def _copied(self, kind: Callable[..., Any], items: Any = ()) -> Any:
        # The one place where a pickle can have the same items again and again.
        self._room.take(_ITEM_BYTES * len(items), "for copies of its lists")
        return kind(items)

    def persistent_load(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise CheckpointError(f"it refers to {brief(pid)}, not to values of a tensor: it is damaged.")
        _, kind, key, _, numel = pid[:5]
        if not isinstance(kind, _StorageType) or type(numel) is not int:
            raise CheckpointError(f"it holds tensors of a kind that is not supported: storage {brief(key)}.")
        if len(pid) > 5 and pid[5] is not None:
            raise CheckpointError("it holds views of storages (PyTorch before 0.4). Save it again.")
        self.itemsizes[str(key)] = kind.dtype.itemsize
        return self._storage_of(kind.dtype, str(key), numel)


@dataclass(frozen=True)
class _StorageType(_Sealed):
    dtype: torch.dtype


class _Recipe(_Sealed):
    """A function that a pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Inert:
    """Stands for an object of a class that is not looked into; takes whatever a pickle does to it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> _Inert:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Drop the item."""

    def extend(self, items: Any) -> None:
        """Drop the items."""

    def add(self, item: Any) -> None:
        """Drop the item."""


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *ignored: Any) -> Any:
    if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CheckpointError("a tensor is described in a way that is not supported")
    return StoredTensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, *ignored: Any) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}
# What is given items to copy.
_COPIES: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
}
_ITEM_BYTES = 200  # of an ordered dict
