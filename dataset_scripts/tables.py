"""Delimited tables of raw folders, read so that a damaged row is one lost record and not a stopped program."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecg_hub.errors import DataError


@dataclass(frozen=True)
class TextTable:
    """A CSV file as text.

    Attributes:
        rows: (first line, column -> cell) per row; the header is line 1.
        damaged: (first line, reason) of rows whose number of cells does not fit the header. A stray quotation mark
            joins lines into one such row; the reason names all its lines.
    """

    rows: Sequence[tuple[int, Mapping[str, str]]]
    damaged: Sequence[tuple[int, str]]


def read_text_table(path: Path, needed: Sequence[str], page: str) -> TextTable:
    """Read a comma-separated file with a header line.

    Args:
        path: the file.
        needed: columns that must be there.
        page: where to get the data, for the error text.

    Raises:
        DataError: the file is missing or empty, or lacks a needed column.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
            return _read((line.replace("\0", "") for line in handle), path, needed, page)
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} is missing. Get it from {page}.") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV ({error}). Get it again from {page}.") from None


def _read(lines: Iterator[str], path: Path, needed: Sequence[str], page: str) -> TextTable:
    reader = csv.reader(lines)
    header: list[str] = next(reader, [])
    absent = [name for name in needed if name not in header]
    if absent:
        raise DataError(
            f"{str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}; it has "
            f"{', '.join(map(repr, header)) or 'no columns'}. Get it again from {page}."
        )
    rows: list[tuple[int, dict[str, str]]] = []
    damaged: list[tuple[int, str]] = []
    first = reader.line_num + 1
    for cells in reader:
        if len(cells) == len(header):
            rows.append((first, dict(zip(header, cells, strict=True))))
        elif cells:
            where = f"line {first}" if reader.line_num == first else f"lines {first} to {reader.line_num}"
            damaged.append((first, f"{where}: {len(cells)} cells in a table of {len(header)} columns"))
        first = reader.line_num + 1
    return TextTable(rows, damaged)
