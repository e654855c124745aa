"""Files and folders that are whole or absent: written beside the target, flushed to disk, then renamed over it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ecg_hub.errors import ResultError
from ecg_hub.hub.folders import put_in_place

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

    Raises:
        ResultError: the folder or file cannot be written; names the path and what to do, with the OSError as cause.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` to fill; on success it takes its place, else it is removed.

    A folder that is there is moved aside first and removed last: a kill in between leaves none, never a part.

    Raises:
        ResultError: as `atomic_path`.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for entry in sorted(temporary.rglob("*"), reverse=True):
            (_flush_folder if entry.is_dir() else _flush)(entry)
        _flush_folder(temporary)
        put_in_place(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_abandoned(folder: Path, keep: str = "") -> None:
    """Remove what killed processes left half written in a folder that nobody else writes into now.

    Args:
        folder: its own files are looked at, not those of its subfolders.
        keep: name of a file that others may be writing all the same.
    """
    for temporary in folder.glob(".*.tmp"):
        if not (keep and temporary.name.startswith(f".{keep}.")):
            with suppress(OSError):
                shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        ResultError: as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_error(path: Path, error: OSError) -> ResultError:
    """Build the error for a file that cannot be written, with the remedy for its cause."""
    remedy = REMEDIES.get(error.errno or 0, "Check the folder, or choose another --output")
    return ResultError(f"{str(path)!r} cannot be written ({error.strerror or error}). {remedy}.")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable; not every file system lets a folder be opened or flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
