"""Folders and files that take their place in one step."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def put_in_place(new: Path, target: Path) -> None:
    """Rename a finished folder to its place; a folder that is there goes only once the new one stands.

    Args:
        new: the finished folder, on the same disk.
        target: its place.
    """
    if not target.exists():
        os.replace(new, target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.replaced-", dir=target.parent))
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
