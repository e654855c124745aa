"""A result folder: held by one process at a time, and never shared by runs of different settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ecg_hub.errors import ResultError
from eval_harness.atomic import remove_abandoned
from eval_harness.runfile import RUN_FILE, RunFile, check_continues, differences, merged, read_run, write_run
from eval_harness.seeds import SPREAD_FILE

LOCK_FILE = ".lock"
SUBFOLDERS = ("checkpoints", "history", "predictions", "errors")


class FolderRefusedError(ResultError):
    """A result folder that belongs to other settings or is in use: nothing may be written into it."""


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it is released when the process ends, however it ends.

    Raises:
        ResultError: the folder cannot be written, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise FolderRefusedError(
            f"Another process is working in {str(folder)!r}. Wait for it, or choose another --output."
        ) from error
    except OSError as error:
        raise ResultError(f"{str(folder)!r} cannot be written ({error}). Choose another --output.") from error
    try:
        yield
    finally:
        lock.release()


def claim(folder: Path, asked: RunFile, overwrite: bool) -> None:
    """Write run.json, or refuse a folder of other settings; `overwrite` discards what such a folder holds."""
    path = folder / RUN_FILE
    if overwrite and path.is_file() and differences(read_run(path), asked):
        for entry in folder.iterdir():
            if entry.name != LOCK_FILE:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    try:
        stored = check_continues(folder, asked)
    except ResultError as error:
        raise FolderRefusedError(str(error)) from error
    for part in (folder, *(folder / name for name in SUBFOLDERS)):
        remove_abandoned(part, keep=SPREAD_FILE)
    write_run(folder, merged(stored, asked))
