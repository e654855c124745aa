"""Files and folders that are whole or absent, folders that one process has for itself, digests and checksum lists."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from ecg_hub.errors import CheckpointError, EcgHubError, ResultError
from ecg_hub.home import HOME_OPTION
from ecg_hub.utils.terminal import say

Settings = TypeVar("Settings")


def take_lock(path: Path, busy: Exception) -> AbstractContextManager[Any]:
    """Lock a file without waiting; the lock is released with the context, or when the process ends, however it ends."""
    try:
        # A lock of the operating system: unlike a file that merely exists, it cannot outlive its process.
        return FileLock(path).acquire(timeout=0)
    except Timeout as error:
        raise busy from error


@contextmanager
def alone(folder: Path, lock_file: str, busy: EcgHubError, option: str, *, wait: bool = False) -> Iterator[None]:
    """Keep a second process from writing to the same folder, which is made if it is missing.

    With `wait` it says that it waits, on standard error, and goes on when the first one has finished.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder / lock_file, busy) if not wait else _await_lock(folder / lock_file, busy)
    except OSError as error:
        raise unwritable(folder, error, option) from error
    with lock:
        yield


def _await_lock(path: Path, busy: EcgHubError) -> AbstractContextManager[Any]:
    try:
        return take_lock(path, busy)
    except EcgHubError as error:
        if error is not busy:
            raise
        say(str(busy))
        return FileLock(path).acquire()


def resumed(
    stored: Settings | None,
    differences: Callable[[Settings], Sequence[str]],
    refusal: Callable[[Sequence[str]], EcgHubError],
    *,
    overwrite: bool = False,
) -> Settings | None:
    """Return what a folder goes on with: it continues only with equal settings, and None means that it is begun.

    Args:
        stored: what the folder was made with; None for a new one.
        differences: says in words where that differs from what is asked for.
        refusal: makes the error of these words.
        overwrite: begin a folder of other settings anew instead of refusing it; the caller empties it.
    """
    different = differences(stored) if stored is not None else ()
    if not different:
        return stored
    if overwrite:
        return None
    raise refusal(different)


def put_in_place(new: Path, target: Path) -> None:
    """Rename a finished folder to its place; a folder that is there goes only once the new one stands."""
    if not target.exists():
        os.replace(new, target)
        return
    # In the same folder: a rename works within one file system alone.
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.replaced-", suffix=".tmp", dir=target.parent))
    try:
        os.replace(target, aside / target.name)
        try:
            os.replace(new, target)
        except OSError:
            os.replace(aside / target.name, target)
            raise
    finally:
        # A failure here leaves a temporary folder, not a half-replaced one.
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def replacing(path: Path, temporary: Path | None = None, *, flush: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; on success it replaces `path`, else it is removed.

    A reader, or a process killed at any moment, finds the old file or the new one, never a part.
    """
    temporary = _beside(path) if temporary is None else temporary
    try:
        yield temporary
        rename_file(temporary, path, flush=flush)
    finally:
        # Gone after the rename; and what goes wrong here must not hide the error that led here.
        with suppress(OSError):
            temporary.unlink()


def rename_file(new: Path, target: Path, *, flush: bool = True) -> None:
    """Let a finished file replace another: its content first, then its name, reach the disk."""
    if flush:
        flush_file(new)
    os.replace(new, target)
    if flush:
        flush_folder(target.parent)


REMEDIES = {
    errno.ENOSPC: "The disk is full: free space, or choose another --output, then give the same command again",
    errno.EDQUOT: "Your quota is used up: free space, or choose another --output, then give the same command again",
    errno.EACCES: "The folder cannot be written: change its permissions or choose another --output",
    errno.EPERM: "The folder cannot be written: change its permissions or choose another --output",
    errno.EROFS: "The file system is read-only: choose another --output",
    errno.ENOTDIR: "A file stands where a folder is needed: remove it or choose another --output",
    errno.EEXIST: "A file stands where a folder is needed: remove it or choose another --output",
    errno.EISDIR: "A folder stands where the file is to be written: remove it or choose another --output",
    errno.ENAMETOOLONG: "The path is too long: choose a shorter --output",
}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder to write to; on success it replaces `path`, else it is removed.

    A reader, or a run killed at any moment, sees the old file or the new one, never a part. Missing parent folders are
    made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` to fill; on success it takes its place, else it is removed.

    A folder that is there is moved aside first and removed last: a kill in between leaves none, never a part.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        # What is in a folder reaches the disk before the folder that names it.
        for entry in sorted(temporary.rglob("*"), reverse=True):
            (flush_folder if entry.is_dir() else flush_file)(entry)
        flush_folder(temporary)
        put_in_place(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`, removed in the end; with it go those that killed processes left."""
    prefix = f".{target.name}.partial-"
    for folder in target.parent.iterdir():
        if folder.name.startswith(prefix):
            # Whoever fills one holds it.
            with suppress(OSError), _held(folder):
                shutil.rmtree(folder)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        with ExitStack() as stack:
            with suppress(OSError):  # a file system without locks: what a kill leaves there stays
                stack.enter_context(_held(partial))
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder as long as this process lives; OSError where another one holds it, or folders cannot be held."""
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "folders cannot be locked")
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path, keep: str = "") -> None:
    """Remove what killed processes left half written in a folder that nobody else writes into now."""
    for temporary in folder.glob(".*.tmp"):
        if not (keep and temporary.name.startswith(f".{keep}.")):
            with suppress(OSError):
                shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_error(path: Path, error: OSError) -> ResultError:
    """Build the error for a file that cannot be written, with the remedy for its cause."""
    remedy = REMEDIES.get(error.errno or 0, "Check the folder, or choose another --output")
    return ResultError(f"{str(path)!r} cannot be written ({error.strerror or error}). {remedy}.")


def free_bytes(folder: Path) -> int:
    """Return the room on the disk that a folder is on, or will be on."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def unwritable(path: Path, error: OSError, option: str = HOME_OPTION) -> CheckpointError:
    """Build the error for a file of the cache or of a mirror that cannot be written, with the remedy for its cause."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(
            f"The disk is full: {str(path)!r} cannot be written ({reason}). Free space, or set {option} to a "
            "folder on another disk; the same command continues."
        )
    return CheckpointError(f"{str(path)!r} cannot be written ({reason}). Set {option} to a folder that can be.")


def _beside(path: Path) -> Path:
    # Hidden, in the same folder (a rename does not cross file systems), and of no other process's name.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def flush_file(path: Path) -> None:
    """Bring the content of a file to the disk."""
    with path.open("rb") as file:
        # Flushes the file's pages whoever wrote them, so that a descriptor for reading will do.
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make the rename itself durable; not every file system lets a folder be opened or flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


SUMS_FILE = "SHA256SUMS.txt"
"""What PhysioNet calls the list that lies beside the files."""

# As md5sum and sha256sum write them: a star stands for binary mode, and some lists begin their names with './'.
_LINE = re.compile(r"^([0-9a-fA-F]{32}|[0-9a-fA-F]{64})[ \t]+[*]?(?:\./)?(\S.*?)\s*$")
_ALGORITHMS = {32: "md5", 64: "sha256"}


def parse_sums(text: str) -> dict[str, str]:
    """Return name -> "<algorithm>:<digest>"; lines of another form are skipped.

    Names that leave the folder of the list ("..", absolute) are skipped as well.
    """
    sums = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and is_inside(match[2]):
            sums[match[2]] = f"{_ALGORITHMS[len(match[1])]}:{match[1].lower()}"
    return sums


def sums_text(sums: Mapping[str, str]) -> str:
    """Return a checksum list for `sha256sum --check`."""
    # Two blanks: the second stands for a text, a star in its place for a binary file.
    return "".join(f"{checksum.partition(':')[2]}  {name}\n" for name, checksum in sums.items())


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read in pieces."""
    return _file_digest(path, "sha256")


def file_matches(path: Path, checksum: str) -> bool:
    """Tell whether a file has a checksum "<algorithm>:<digest>"."""
    algorithm, _, digest = checksum.partition(":")
    return _file_digest(path, algorithm) == digest.lower()


def _file_digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        # MD5 is what hosts state, against damage: no matter of security, or OpenSSL in FIPS mode refuses it.
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def is_inside(name: str) -> bool:
    """Tell whether a name in POSIX form stays below the folder that it is relative to."""
    # A backslash parts folders on Windows, and ':' follows a drive.
    parts = name.replace("\\", "/").split("/")
    return bool(name) and not name.startswith(("/", "\\")) and ".." not in parts and ":" not in parts[0]
