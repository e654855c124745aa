"""Encoded windows on disk: one memory-mapped table per encoder, dataset and split, shared by tasks, runs and processes.

A table is a .npy file that appears when it is complete, with a JSON file beside it that holds its size and checksum. A
file that is cut or changed is encoded again. Tables that were not used for longest make room for new ones.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ecg_hub.utils.files import write_text
from ecg_hub.utils.terminal import say

GIB = 1024**3
LAYOUT = 1
"""Raise it whenever the layout of tables changes; all are then encoded anew."""

_CHECK_BYTES = 1 << 24


@dataclass
class FeatureStore:
    """The tables in one folder.

    Attributes:
        folder: where the tables lie.
        limit_gib: how much all tables together may take.
    """

    folder: Path
    limit_gib: float
    _opened: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def path(self, key: str) -> Path:
        """The file of a table."""
        return self.folder / f"{key}.npy"

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Hold a table while it is written; released when the process ends, however it ends."""
        lock = self._lock(key)
        try:
            # A second in silence, so that only a wait worth mentioning is mentioned.
            lock.acquire(timeout=1)
        except Timeout:
            say(f"Another process encodes {key}: waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _lock(self, key: str) -> FileLock:
        return FileLock(self.folder / f"{key}.lock")

    def open(self, key: str) -> NDArray[Any] | None:
        """The rows of a table, memory-mapped; None if it is absent or damaged (a damaged one is removed)."""
        if key not in self._opened:
            table = self._read(key)
            if table is None:
                return None
            self._opened[key] = table
        with suppress(OSError):
            # The time of the file says when it was last used: `make_room` goes by it.
            os.utime(self.path(key))
        return self._opened[key]

    def make_room(self, size: int) -> str | None:
        """Remove what was not used for longest until `size` bytes fit; why they do not, or None if they do."""
        if size > self.limit_gib * GIB:
            return f"{size / GIB:.1f} GiB are more than --cache-size {self.limit_gib:g}"
        # What a killed process left half written counts for nobody and may be as large as a table.
        self._remove_abandoned()
        tables = sorted((path for path in self.folder.glob("*.npy")), key=lambda path: path.stat().st_mtime)
        used = sum(path.stat().st_size for path in tables)
        for path in tables:
            if used + size <= self.limit_gib * GIB:
                break
            # Tables of this run stay. One that another process has open is only unlinked: its map stays valid there.
            if path.stem not in self._opened:
                used -= path.stat().st_size
                self.remove(path.stem)
        if used + size > self.limit_gib * GIB:
            return f"the tables in use fill --cache-size {self.limit_gib:g}"
        # The limit is the user's wish, the disk may hold less.
        free = shutil.disk_usage(self.folder).free
        return f"{size / GIB:.1f} GiB are wanted, {free / GIB:.1f} GiB are free on the disk" if size > free else None

    def begin(self, key: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """A new table of zeros to be filled, in a file beside its final place."""
        partial = self.partial(key)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        table = np.lib.format.open_memmap(partial, mode="w+", dtype=np.dtype(dtype), shape=shape)
        # A sparse file ends a process by SIGBUS when the disk fills up: take the room now.
        if hasattr(os, "posix_fallocate"):
            with partial.open("r+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, partial.stat().st_size or size)
        return table

    def partial(self, key: str) -> Path:
        """The file of a table that is being filled."""
        return self.folder / f"{key}.partial"

    def finish(self, key: str) -> None:
        """Put a filled table in its place, its checksum first."""
        partial = self.partial(key)
        # Not brought to the disk by fsync: what a power cut damages fails its checksum and is encoded again.
        about = {"layout": LAYOUT, "bytes": partial.stat().st_size, "crc32": checksum(partial)}
        write_text(self._about(key), json.dumps(about) + "\n")
        # Last: a description without its table is no table, a table without its description would be a damaged one.
        os.replace(partial, self.path(key))
        self._opened[key] = _mapped(self.path(key))  # what was just summed need not be read again

    def remove(self, key: str) -> None:
        """Remove a table."""
        self._opened.pop(key, None)
        for path in (self.path(key), self._about(key), self.partial(key)):
            with suppress(OSError):
                path.unlink()

    def _remove_abandoned(self) -> None:
        """Remove what killed processes left half written."""
        for path in self.folder.glob("*.partial"):
            # Who writes holds the lock: a file whose lock is free belongs to nobody.
            with suppress(Timeout), self._lock(path.stem).acquire(timeout=0):
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.json.*.tmp"):
            with suppress(Timeout), self._lock(path.name[1:].partition(".json.")[0]).acquire(timeout=0):
                path.unlink(missing_ok=True)

    def _about(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _read(self, key: str) -> NDArray[Any] | None:
        path = self.path(key)
        try:
            about = json.loads(self._about(key).read_text(encoding="utf-8"))
            whole = about["layout"] == LAYOUT and about["bytes"] == path.stat().st_size
            # Read in full once per process: a damaged page of a map would be wrong numbers later, or SIGBUS.
            if whole and about["crc32"] == checksum(path):
                return _mapped(path)
        except FileNotFoundError:
            # Absent altogether, which is the usual case; a table without its description goes on to be removed.
            if not path.exists():
                return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.remove(key)
        return None


def open_store(folder: Path, limit_gib: float) -> FeatureStore | None:
    """The store in a folder; None where no room is allowed or the folder cannot be written."""
    if limit_gib <= 0:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return FeatureStore(folder, limit_gib) if os.access(folder, os.W_OK) else None


def _mapped(path: Path) -> NDArray[Any]:
    # Copied on write: the file stays as it is, and torch takes views of arrays that can be written to.
    table: NDArray[Any] = np.load(path, mmap_mode="c")
    return table


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as handle:
        while block := handle.read(_CHECK_BYTES):
            value = zlib.crc32(block, value)
    return value
