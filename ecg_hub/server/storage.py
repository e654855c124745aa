"""Content by its SHA-256, every file of every revision kept once, and how much room the disk must keep."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ecg_hub.server.naming import RequestError, bad_request, too_large
from ecg_hub.utils.files import flush_file, flush_folder, rename_file, replacing


class Disk:
    """The folder of the hub: its temporary files and its free space.

    Attributes:
        root: folder of the hub.
        temporary: folder of files that are not whole yet; emptied at start.
        reserve: bytes that uploads leave free.
    """

    def __init__(self, root: Path, reserve: int = 0) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.reserve = reserve
        self.temporary.mkdir(parents=True, exist_ok=True)

    def empty_temporary(self) -> None:
        """Remove what a killed server left half-written."""
        for entry in self.temporary.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def scratch(self) -> Path:
        """Return a path for a temporary file or folder on the same file system."""
        return self.temporary / secrets.token_hex(12)

    def check_room(self, size: int) -> None:
        """Refuse what would not fit."""
        free = shutil.disk_usage(self.root).free
        if free < size + self.reserve:
            raise RequestError(
                507,
                f"The hub's disk has {free:,} bytes free and keeps {self.reserve:,}; {size:,} more do not fit. Ask its "
                "administrator to make room, then upload again.",
            )

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that replaces the old one in one step and survives a loss of power."""
        # In tmp rather than beside it: what a kill leaves there is removed at the next start.
        with replacing(path, self.scratch()) as scratch:
            scratch.write_bytes(content)


BATCH, FLUSHERS = 1000, 8


class Together:
    """Small files that become durable together: flushed side by side, in a tenth of the time of one after another.

    As by `Disk.write`, a file gets its name when its content is durable. `flush` comes before anything refers to them.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._waiting: dict[Path, Path] = {}
        self._folders: set[Path] = set()

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    def write(self, path: Path, content: bytes) -> None:
        """Take a file whose name follows from its content."""
        if path in self._waiting:
            return
        # Before it is written, so that what a full disk cuts short is removed too.
        self._waiting[path] = self._disk.scratch()
        self._waiting[path].write_bytes(content)
        if len(self._waiting) >= BATCH:
            self.flush()

    def settle(self, path: Path) -> None:
        """Take a file that is there: it may be another request's, renamed just now."""
        self._folders.add(path.parent)

    def flush(self) -> None:
        """Make everything durable that was taken."""
        with ThreadPoolExecutor(FLUSHERS) as threads:
            list(threads.map(flush_file, self._waiting.values()))
            for path, scratch in self._waiting.items():
                os.replace(scratch, path)
                self._folders.add(path.parent)
            list(threads.map(flush_folder, self._folders))
        self._waiting.clear()
        self._folders.clear()

    def close(self) -> None:
        """Remove what was taken and not flushed."""
        for scratch in self._waiting.values():
            with suppress(OSError):
                scratch.unlink()
        self._waiting.clear()


CHUNK = 1 << 20  # bytes read or written at a time


class BlobStore:
    """The folder `blobs/ab/abcd...`; a file in it is whole and never changes.

    Attributes:
        disk: folder of the hub.
        folder: where the content lies.
        max_size: largest file in bytes.
    """

    def __init__(self, disk: Disk, max_size: int) -> None:
        self.disk = disk
        self.folder = disk.root / "blobs"
        self.max_size = max_size
        make_fan(self.folder)

    def path(self, sha256: str) -> Path:
        """Return where content of this SHA-256 lies or would lie."""
        return self.folder / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """Return the size of the content in bytes, or None if it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def check_size(self, size: int) -> None:
        """Refuse what is too large or does not fit."""
        if size > self.max_size:
            raise too_large(f"A file of {size:,} bytes is over this hub's limit of {self.max_size:,} bytes.")
        self.disk.check_room(size)

    def writer(self, size: int | None = None) -> BlobWriter:
        """Return a writer for content that arrives in pieces."""
        self.check_size(size or 0)
        return BlobWriter(self)

    def add(self, content: bytes, files: Together) -> str:
        """Keep content, from the flush of `files` on; returns its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        # By size too: what a damaged disk has cut short is written again.
        if self.size(sha256) == len(content):
            files.settle(self.path(sha256))
            return sha256
        self.check_size(len(content))
        files.write(self.path(sha256), content)
        return sha256

    def read(self, sha256: str, limit: int) -> bytes:
        """Return the first `limit` bytes of the content."""
        with self.path(sha256).open("rb") as file:
            return file.read(limit)

    def all(self) -> Iterator[Path]:
        """Yield every file of the store."""
        for folder in sorted(self.folder.iterdir()):
            yield from sorted(folder.iterdir())


class BlobWriter:
    """Content on its way in: hashed while it is written, deleted unless `finish` accepts it."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._scratch = store.disk.scratch()
        self._file = self._scratch.open("wb")
        self._hash = hashlib.sha256()
        self._checked = self._flushed = 0
        self.size = 0

    def write(self, chunks: Iterable[bytes]) -> None:
        """Take the next bytes."""
        for chunk in chunks:
            self.size += len(chunk)
            if self.size > self._store.max_size:
                raise too_large(f"The file is over this hub's limit of {self._store.max_size:,} bytes.")
            self._hash.update(chunk)
            self._file.write(chunk)
        # Other uploads were promised the same room, and may have taken it.
        if self.size - self._checked >= 64 * CHUNK:
            self._store.disk.check_room(0)
            self._checked = self.size
        if self.size - self._flushed >= 8 * CHUNK:
            self._start_flush()

    def _start_flush(self) -> None:
        """Let the disk begin with what has arrived, so that the flush at the end has little left to wait for."""
        if hasattr(os, "posix_fadvise"):
            self._file.flush()
            # Linux begins to write dirty pages that it is told are not needed; they stay until that is done.
            os.posix_fadvise(self._file.fileno(), self._flushed, self.size - self._flushed, os.POSIX_FADV_DONTNEED)
        self._flushed = self.size

    def finish(self, sha256: str, size: int) -> None:
        """Put the content into the store if it is what was announced."""
        if self.size != size:
            raise bad_request(f"{size:,} bytes were announced and {self.size:,} arrived; upload the file again.")
        if self._hash.hexdigest() != sha256:
            raise bad_request(f"The bytes that arrived do not have the SHA-256 {sha256}; upload the file again.")
        self._file.close()
        rename_file(self._scratch, self._store.path(sha256))

    def close(self) -> None:
        """Remove what `finish` did not accept."""
        with suppress(OSError):
            self._file.close()
        # After `finish` the file has its name in the store, and there is nothing to remove.
        with suppress(OSError):
            self._scratch.unlink()


def make_fan(folder: Path) -> None:
    """Make the 256 sub-folders 00 to ff."""
    folder.mkdir(parents=True, exist_ok=True)
    # Some file systems grow slow with a million names in one folder.
    for number in range(256):
        (folder / f"{number:02x}").mkdir(exist_ok=True)
    flush_folder(folder)


def git_oid(content: bytes) -> str:
    """Return the id that git gives to a file: SHA-1 over the word blob, its size, a NUL and the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Return the pointer file that git would keep in place of a large file."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (sha256.encode(), size)


def missing_content(path: str, sha256: str) -> RequestError:
    """Build the refusal for a commit that names content which was not uploaded."""
    return bad_request(f"The content of {path!r} (SHA-256 {sha256}) was not uploaded; upload it, then commit again.")
