"""Which signal files a description means, and which of them belongs to a record of the table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dataset_scripts.custom.description import Description
from dataset_scripts.formats.registry import all_endings, endings
from ecg_hub.errors import DataError

_WILDCARDS = frozenset("*?[")


def is_pattern(about: Description) -> bool:
    """Return whether `signals` is a pattern and not a folder."""
    return bool(_WILDCARDS & set(about.signals))


def signals_folder(about: Description) -> str:
    """Return the folder of the signal files: `signals`, or its parts before the first wildcard."""
    parts = PurePosixPath(about.signals).parts
    fixed = []
    for part in parts[:-1] if is_pattern(about) else parts:
        if _WILDCARDS & set(part):
            break
        fixed.append(part)
    return str(PurePosixPath(*fixed))


def suffixes(about: Description) -> tuple[str, ...]:
    """Return the endings of all files that signals are read from, in both cases; ("",) where any file may be one."""
    if is_pattern(about) and about.format not in ("auto", "wfdb"):
        return ("",)
    lower = all_endings(about.format)
    return (*lower, *(ending.upper() for ending in lower))


def list_files(data_dir: Path, about: Description) -> list[str]:
    """Return the signal files below a data folder, in POSIX form relative to it, sorted."""
    wanted = endings(about.format)
    if is_pattern(about):
        paths: Iterable[Path] = (path for path in data_dir.glob(about.signals) if path.is_file())
        if about.format not in ("auto", "wfdb"):
            wanted = ("",)
    else:
        walked = os.walk(data_dir / about.signals)
        paths = (Path(folder) / name for folder, _, names in walked for name in names)
    files = sorted(path.relative_to(data_dir).as_posix() for path in paths if path.name.lower().endswith(wanted))
    table = PurePosixPath(about.table).as_posix() if about.table else ""
    files = [name for name in files if name != table]
    if not files:
        looked = f"{about.signals!r}" if is_pattern(about) else f"{', '.join(wanted)} below {about.signals!r}"
        raise DataError(
            f"{str(data_dir)!r} of {about.name!r} holds no signal file ({looked}). Correct folder, signals or format "
            "in the description."
        )
    return files


def without_ending(name: str) -> str:
    """Return a file name without the ending that names its format."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in endings("auto") else name


class FileIndex:
    """Finds the file of a record: by its path below the folder of `signals`, or by its bare name where that is unique.

    The ending may be left out.
    """

    def __init__(self, files: Iterable[str], about: Description) -> None:
        self.folder = signals_folder(about)
        self._paths: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        for file in files:
            inside = self.inside(file)
            for form in dict.fromkeys((inside, without_ending(inside))):
                self._paths.setdefault(form, []).append(file)
                self._names.setdefault(PurePosixPath(form).name, []).append(file)

    def inside(self, file: str) -> str:
        """Return a file's path below the folder of `signals`."""
        return file if self.folder == "." else PurePosixPath(file).relative_to(self.folder).as_posix()

    def find(self, record: str) -> str:
        """Return the file of a record."""
        matches = self._paths.get(record) or self._names.get(record) or []
        if not matches:
            raise ValueError(f"no signal file named {record!r} below {self.folder!r}")
        if len(matches) > 1:
            raise ValueError(
                f"several signal files are named {record!r}: {', '.join(matches[:3])}; name the right one in a column "
                "and give it as columns.file"
            )
        return matches[0]


def listed_file(cell: str, data_dir: Path, about: Description) -> str:
    """Return the file that a cell of the column `file` names, relative to the data folder."""
    path = PurePosixPath(cell.replace("\\", "/"))
    if not cell or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"file {cell!r} is not a path below {signals_folder(about)!r}")
    file = PurePosixPath(signals_folder(about)) / path
    if about.format in ("auto", "wfdb") and file.suffix.lower() != ".hea":
        for header in (f"{file}.hea", str(file.with_suffix(".hea"))):
            if (file.suffix == "" or file.suffix.lower() in (".dat", ".mat")) and (data_dir / header).is_file():
                return header
    return str(file)
