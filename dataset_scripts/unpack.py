"""Archives unpacked file by file: an interrupted unpacking goes on, a damaged archive leaves no half file."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from dataset_scripts.checksums import is_inside
from ecg_hub.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

Member = tuple[str, int, Callable[[], IO[bytes] | None]]


def is_archive(name: str) -> bool:
    """Tell by its name whether a file is an archive; spreadsheets, which are zip files inside, are none."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, quiet: bool = False) -> int:
    """Unpack an archive and return how many files it holds; files that are there with the right size are left alone.

    Args:
        archive: a zip file or a tar file, compressed or not whatever its name says.
        folder: where its files go.
        quiet: draw no progress bar.

    Raises:
        DataError: the archive is damaged, is one part of several, or names a file outside the folder.
        OSError: a file cannot be written.
    """
    try:
        number = 0
        with tqdm(desc=f"Unpacking {archive.name}", unit=" files", disable=True if quiet else None) as bar:
            for name, size, opened in _members(archive):
                if not is_inside(name):
                    raise DataError(
                        f"{archive.name} holds {name!r}, which lies outside its folder; it is not unpacked."
                    )
                _extract(folder / name, size, opened)
                number += 1
                bar.update()
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"{str(archive)!r} cannot be unpacked ({error}). Remove it and give the same command again; an archive in "
            f"several parts (.z01, .z02) needs a program such as `7z x {archive.name}`."
        ) from error
    return number


def _members(archive: Path) -> Iterator[Member]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir() and not entry.filename.startswith("__MACOSX/"):
                    yield entry.filename, entry.file_size, lambda entry=entry: opened.open(entry)  # type: ignore[misc]
        return
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            if member.isfile():
                yield member.name.removeprefix("./"), member.size, lambda member=member: tar.extractfile(member)  # type: ignore[misc]


def _extract(target: Path, size: int, opened: Callable[[], IO[bytes] | None]) -> None:
    if target.is_file() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as sink:
            source = opened()
            if source is None:
                raise EOFError(f"{target.name} has no content")
            with source:
                shutil.copyfileobj(source, sink, 2**20)
        if partial.stat().st_size != size:
            raise EOFError(f"{target.name} ends early")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
