"""The signal files that a description means: which count as records, and which is whose."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from dataset_scripts.core.walk import is_hidden, walk
from dataset_scripts.custom.description import Description
from dataset_scripts.formats.registry import EVERY_ENDING, all_endings, endings
from ecg_hub.errors import DataError
from ecg_hub.input.wfdb import read_header
from ecg_hub.utils.untrusted import MAX_HEADER_BYTES, plain_file

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
    # A pattern names the files itself, whatever they end in; a WFDB record is two files, found by the ending of one.
    if is_pattern(about) and about.format not in ("auto", "wfdb"):
        return ("",)
    lower = all_endings(about.format)
    # Recorders write .EDF and .DCM as well, and most file systems distinguish these from .edf.
    return (*lower, *(ending.upper() for ending in lower))


def list_files(data_dir: Path, about: Description) -> list[str]:
    """Return the signal files below a data folder, in POSIX form relative to it, sorted.

    Links to folders are followed, each file is listed once; hidden files and what programs leave beside files are not.
    """
    wanted = endings(about.format)
    if is_pattern(about) and about.format not in ("auto", "wfdb"):
        wanted = ("",)
    table = PurePosixPath(about.table).as_posix() if about.table else ""
    # A CSV table may lie among CSV signals.
    found = [name for name in found_files(data_dir, about) if name.lower().endswith(wanted) and name != table]
    # A table may name a file by any of its paths; without one, each file is one record.
    files = sorted(found if about.table else without_segments(data_dir, once(data_dir, found)))
    if not files:
        looked = f"{about.signals!r}" if is_pattern(about) else f"{', '.join(wanted)} below {about.signals!r}"
        raise DataError(
            f"{str(data_dir)!r} of {about.name!r} holds no signal file ({looked}). Correct folder, signals or format "
            "in the description."
        )
    return files


def found_files(data_dir: Path, about: Description) -> Iterator[str]:
    """Yield the files that `signals` means, relative to the data folder: all below a folder, or those of a pattern."""
    folder = signals_folder(about)
    parts = PurePosixPath(about.signals).parts if is_pattern(about) else ()
    # Without ** a pattern says how deep its files lie, and what lies deeper need not be looked at.
    depth = len(parts) - (0 if folder == "." else len(PurePosixPath(folder).parts)) if parts else None
    pattern = _pattern(parts) if parts else None
    asked = any(part.startswith(".") for part in parts)
    for place, entries in walk(data_dir / folder, hidden=asked, depth=None if "**" in parts else depth):
        for entry in entries:
            name = (place / entry.name).relative_to(data_dir).as_posix()
            if (asked or not is_hidden(entry.name)) and (pattern is None or pattern.fullmatch(name)):
                yield name


def _pattern(parts: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern as regular expression; ** stands for any number of folders, * for part of a name."""
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            # fnmatch lets * stand for slashes too.
            # The frame of `translate` goes; its end is \Z, and \z from Python 3.14 on.
            one = fnmatch.translate(part).removeprefix("(?s:").removesuffix(")\\Z").removesuffix(")\\z")
            text += one.replace(".*", "[^/]*") + ("" if last else "/")
    return re.compile(text)


def once(data_dir: Path, files: Iterable[str]) -> list[str]:
    """Return each file by one path: where links lead to it as well, by its own, else by the first."""
    chosen: dict[str, str] = {}
    top = os.path.realpath(data_dir)
    for file in sorted(files):
        real = os.path.realpath(data_dir / file)
        if real not in chosen or os.path.join(top, *PurePosixPath(file).parts) == real:
            chosen[real] = file
    return list(chosen.values())


def without_segments(data_dir: Path, files: Iterable[str]) -> list[str]:
    """Return the files without the WFDB headers that are segments of a record beside them, which are no records."""
    listed = list(files)
    segments = {name for file in listed if file.lower().endswith(".hea") for name in _segments(data_dir, file)}
    return [file for file in listed if file not in segments]


def _segments(data_dir: Path, file: str) -> Iterator[str]:
    """Yield the headers of the segments of a record, if it consists of some."""
    path = data_dir / file
    try:
        plain_file(path, MAX_HEADER_BYTES)
        with path.open("rb") as stream:
            # The record line alone, since an archive may hold a million headers: "name/3" means three segments.
            line = next((text for text in stream if text.strip() and not text.startswith(b"#")), b"")
        if b"/" not in line.split(maxsplit=1)[0]:
            return
        for segment in read_header(path).segments:
            yield str(PurePosixPath(file).parent / f"{segment.name}.hea")
    except (OSError, DataError, IndexError):  # such a record is lost with a reason when it is read
        return


def without_ending(name: str) -> str:
    """Return a file name without the ending that names its format."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in EVERY_ENDING else name


class FileIndex:
    """Finds the file of a record: by its path below the folder of `signals`, or by its bare name where that is unique.

    The ending may be left out.
    """

    def __init__(self, files: Iterable[str], about: Description, data_dir: Path | None = None) -> None:
        self._top = data_dir
        self.folder = signals_folder(about)
        self._paths: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        self._loosely: dict[str, list[str]] | None = None
        self._claimed: frozenset[str] = frozenset()
        for file in files:
            inside = self.inside(file)
            # With and without ending, and once where there is none to leave out.
            for form in dict.fromkeys((inside, without_ending(inside))):
                self._paths.setdefault(form, []).append(file)
                self._names.setdefault(PurePosixPath(form).name, []).append(file)

    def inside(self, file: str) -> str:
        """Return a file's path below the folder of `signals`."""
        return file if self.folder == "." else PurePosixPath(file).relative_to(self.folder).as_posix()

    def claim(self, records: Iterable[str]) -> None:
        """Keep the files that these records name exactly for them, whichever row of a table comes first."""
        self._claimed = frozenset(file for record in records for file in self._exact(record))

    def find(self, record: str) -> str:
        """Return the file of a record: by its exact name, else by one that differs in case or leading zeros alone."""
        matches = self._exact(record)
        if not matches:
            alike = self._loose().get(same_name(self._plain(record)), [])
            matches = [file for file in alike if file not in self._claimed]
        if not matches:
            raise ValueError(f"no signal file named {record!r} below {self.folder!r}")
        if len(matches) > 1 and self._top is not None:
            # Several paths of one file, by links, are no different files.
            matches = once(self._top, matches)
        if len(matches) > 1:
            raise ValueError(
                f"several signal files are named {record!r}: {', '.join(matches[:3])}; name the right one in a column "
                "and give it as columns.file"
            )
        return matches[0]

    def _exact(self, record: str) -> list[str]:
        return self._paths.get(record) or self._names.get(record) or self._paths.get(self._plain(record), [])

    def _plain(self, record: str) -> str:
        """Return a record's name without what only says where to look: ./r01, ecg/r01 below the folder ecg."""
        parts = [part for part in record.replace("\\", "/").split("/") if part != "."]
        inside = "/".join(parts)
        return inside.removeprefix(f"{self.folder}/")

    def _loose(self) -> dict[str, list[str]]:
        """Return the files by their names without case and leading zeros, made at the first record that needs it."""
        if self._loosely is None:
            self._loosely = {}
            for forms in (self._paths, self._names):
                for form, files in forms.items():
                    held = self._loosely.setdefault(same_name(form), [])
                    held += [file for file in files if file not in held]
        return self._loosely


def same_name(name: str) -> str:
    """Return what names have in common that tables and programs spell differently: R01 and r01, 0012, 12 and 12.0.

    Spreadsheets drop leading zeros and make numbers with decimals of whole ones where a cell of the column is empty.

    Example:
        >>> same_name("R01"), same_name("0012"), same_name("12.0"), same_name("2024/007")
        ('r01', '12', '12', '2024/7')
    """
    folder, slash, last = name.strip().casefold().replace("\\", "/").rpartition("/")
    number = re.fullmatch(r"0*(\d+?)(?:\.0+)?", last)
    return f"{folder}{slash}{number[1] if number else last}"


def listed_file(cell: str, data_dir: Path, about: Description) -> str:
    """Return the file that a cell of the column `file` names, relative to the data folder."""
    # Tables made on Windows separate folders by backslashes.
    path = PurePosixPath(cell.replace("\\", "/"))
    # A table may come from anywhere; it must not reach files outside of the archive.
    if not cell or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"file {cell!r} is not a path below {signals_folder(about)!r}")
    file = PurePosixPath(signals_folder(about)) / path
    if about.format in ("auto", "wfdb") and file.suffix.lower() != ".hea":
        for header in (f"{file}.hea", str(file.with_suffix(".hea"))):
            if (file.suffix == "" or file.suffix.lower() in (".dat", ".mat")) and (data_dir / header).is_file():
                return header
    return str(file)
