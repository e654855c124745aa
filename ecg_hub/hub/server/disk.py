"""Files that are whole or absent, and how much room the disk must keep."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from ecg_hub.hub.server.refusals import RequestError


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
        """Refuse what would not fit.

        Raises:
            RequestError: 507; less than `size` plus the reserve is free.
        """
        free = shutil.disk_usage(self.root).free
        if free < size + self.reserve:
            raise RequestError(
                507,
                f"The hub's disk has {free:,} bytes free and keeps {self.reserve:,}; {size:,} more do not fit. Ask its "
                "administrator to make room, then upload again.",
            )

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that replaces the old one in one step and survives a loss of power."""
        scratch = self.scratch()
        try:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            with suppress(OSError):
                scratch.unlink()
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable; not every file system lets a folder be opened or flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
