"""Folders and files that take their place in one step, and folders that one process has for itself."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ecg_hub.errors import EcgHubError


@contextmanager
def alone(folder: Path, lock_file: str, busy: EcgHubError, option: str) -> Iterator[None]:
    """Keep a second process from writing to the same folder, which is made if it is missing.

    Args:
        folder: to be written to.
        lock_file: name of the file in it that is locked.
        busy: raised if another process has it.
        option: of the command line that names another folder, for the error.

    Raises:
        EcgHubError: `busy`.
        CheckpointError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / lock_file).acquire(timeout=0)
    except Timeout as error:
        raise busy from error
    except OSError as error:
        from ecg_hub.hub.download import write_error  # which brings an HTTP client along

        raise write_error(folder, error, option) from error
    with lock:
        yield


def put_in_place(new: Path, target: Path) -> None:
    """Rename a finished folder to its place; a folder that is there goes only once the new one stands.

    Args:
        new: the finished folder, on the same disk.
        target: its place.
    """
    if not target.exists():
        os.replace(new, target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.replaced-", suffix=".tmp", dir=target.parent))
    try:
        os.replace(target, aside / target.name)
        try:
            os.replace(new, target)
        except OSError:
            os.replace(aside / target.name, target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that a reader, or a loss of power, finds old or new and never in part.

    Args:
        path: the file.
        content: its content.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
