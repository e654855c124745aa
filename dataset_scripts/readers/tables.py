"""Tables of raw folders, delimited or Excel: a damaged row is one lost record and not a stopped program.

`read_text_table` keeps a whole table as text, which is right for some ten thousand rows; a table with several hundred
thousand would take gigabytes. In `iterate_rows` a row lives as long as its caller looks at it.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.errors import DataError
from ecg_hub.utils.untrusted import check_channels, check_zip, max_bytes, plain_file


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
    """Read a comma-separated file with a header line."""
    _check_plain(path, page)
    try:
        # A stray byte in some comment must not cost the table; in a column that is needed it costs the row.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
            return _read((line.replace("\0", "") for line in handle), path, needed, page)
    except (csv.Error, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV ({error}). Get it again from {page}.") from None


def _check_plain(path: Path, page: str) -> None:
    """Refuse a folder, a device, or a pipe that nobody writes to."""
    try:
        plain_file(path, math.inf)
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} is missing. Get it from {page}.") from None
    except DataError as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV ({error}). Get it again from {page}.") from None


def _read(lines: Iterator[str], path: Path, needed: Sequence[str], page: str) -> TextTable:
    reader = csv.reader(lines)
    header = _header(reader, path, needed, page)
    rows: list[tuple[int, dict[str, str]]] = []
    damaged: list[tuple[int, str]] = []
    for first, cells in _numbered(reader, len(header)):
        if isinstance(cells, str):
            damaged.append((first, cells))
            continue
        row = dict(zip(header, cells, strict=True))
        broken = _broken(row, needed or header)
        if broken:
            damaged.append((first, f"line {first}: {broken}"))
        else:
            rows.append((first, row))
    return TextTable(rows, damaged)


def _broken(row: Mapping[str, str], names: Sequence[str]) -> str:
    """Return which cell holds a byte that is no UTF-8, or "": with another letter in its place it would mean another
    thing."""
    damaged = next((name for name in names if "\ufffd" in row[name]), None)
    return "" if damaged is None else f"column {damaged!r} holds bytes that are no UTF-8"


def _header(reader: Iterator[list[str]], path: Path, needed: Sequence[str], page: str) -> list[str]:
    """Return the first line of a table after checking that it names the needed columns."""
    header: list[str] = next(reader, [])
    check_channels(len(header), f"the first line of {path.name}")
    absent = [name for name in needed if name not in header]
    if absent:
        raise DataError(
            f"{str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}; it has "
            f"{', '.join(map(repr, header)) or 'no columns'}. Get it again from {page}."
        )
    return header


def _numbered(reader: Any, columns: int) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the first line of every row with its cells, or with the reason why they do not fit the header."""
    # `line_num` counts lines and not rows: a cell in quotation marks may run over several.
    first = reader.line_num + 1
    for cells in reader:
        if len(cells) == columns:
            yield first, cells
        # An empty line, as at the end of many files, is no row.
        elif cells:
            where = f"line {first}" if reader.line_num == first else f"lines {first} to {reader.line_num}"
            yield first, f"{where}: {len(cells)} cells in a table of {columns} columns"
        first = reader.line_num + 1


TRUE_WORDS = frozenset({"true", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "0", "0.0"})
OLDEST = 130.0


NOTHING = frozenset(
    {
        *(
            "",
            "nan",
            "na",
            "n/a",
            "n.a.",
            "n. a.",
            "n.a",
            "#n/a",
            "#na",
            "null",
            "#null!",
            "(null)",
            "\\n",
            "none",
            "nil",
        ),
        *("nat", "<na>", "-", "--", "---", "–", "—", "?", "??", ".", "#value!", "#ref!", "#div/0!", "#name?", "#num!"),
        *("missing", "not available", "not known", "not recorded", "not specified", "not given", "k.a.", "k. a."),
        *("keine angabe", "s/o", "n/d", "n.d.", "nd"),
    }
)
"""Words of tables for "no value", in small letters."""


def is_nothing(cell: str) -> bool:
    """Return whether a cell is one of the words for "no value".

    Example:
        >>> is_nothing(" NULL "), is_nothing("N/A"), is_nothing("0")
        (True, True, False)
    """
    return cell.strip().lower() in NOTHING


class CellError(ValueError):
    """A cell that cannot be used; the text is the reason."""


def iterate_rows(
    path: Path, needed: Sequence[str], page: str, optional: Sequence[str] = ()
) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    """Yield (first line, column -> cell) for every row of a comma-separated file; the header is line 1."""
    _check_plain(path, page)
    try:
        # Without "-sig" the mark that Excel puts at the beginning would be part of the first column's name.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
            yield from _iterate((line.replace("\0", "") for line in handle), path, needed, page, optional)
    except (csv.Error, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV ({error}). Get it again from {page}.") from None


def _iterate(
    lines: Iterator[str], path: Path, needed: Sequence[str], page: str, optional: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    reader = csv.reader(lines)
    header = _header(reader, path, needed, page)
    columns = [(name, header.index(name)) for name in (*needed, *optional) if name in header]
    empty = {name: "" for name in optional if name not in header}
    for first, cells in _numbered(reader, len(header)):
        if isinstance(cells, str):
            yield first, cells
            continue
        row = {**empty, **{name: cells[column].strip() for name, column in columns}}
        broken = _broken(row, list(row))
        yield first, f"line {first}: {broken}" if broken else row


def whole_number(cells: Mapping[str, str], name: str) -> int:
    """Return a cell as a whole number, also where it is written as "12.0"."""
    text = cells[name]
    # Not by way of float, which would round numbers beyond 2**53.
    try:
        return int(text)
    except ValueError:
        value = number(cells, name)
    if value is None or value != int(value):
        raise CellError(f"{name} {short(text)} is not a whole number")
    return int(value)


def number(cells: Mapping[str, str], name: str) -> float | None:
    """Return a cell as a finite number, None where it is empty."""
    text = cells[name]
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CellError(f"{name} {short(text)} is not a number")
    return value


def age_years(cells: Mapping[str, str], name: str) -> float | None:
    """Return a cell as an age in years, None where it is empty."""
    value = number(cells, name)
    if value is not None and not 0.0 <= value <= OLDEST:
        raise CellError(f"{name} {short(cells[name])} is not an age in years")
    return value


def flag(cells: Mapping[str, str], name: str) -> bool | None:
    """Return a cell as a truth value ("True", "False", "1", "0", "1.0", "0.0"), None where it is empty."""
    text = cells[name].lower()
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    if text:
        raise CellError(f"{name} {short(cells[name])} is neither true nor false")
    return None


def short(cell: str) -> str:
    """Return a cell in quotation marks, cut to 60 characters."""
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def read_sheet(path: Path, needed: Sequence[str], page: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Read the first sheet of a workbook; its first row holds the column names."""
    if not path.is_file():
        raise DataError(f"{str(path)!r} is missing. Get it from {page}.")
    try:
        return _rows(_values(path), path, needed, page)
    except DataError:
        raise
    except Exception as error:  # a damaged workbook shows in many ways: zip, XML, missing parts, style tables
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{str(path)!r} cannot be read as an Excel workbook ({reason}). Get it from {page}.") from None


def _values(path: Path) -> Iterator[tuple[Any, ...]]:
    import warnings

    import openpyxl

    check_workbook(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # remarks on styles and extensions, which no table needs
        # The values that the last program computed, since openpyxl evaluates no formula.
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # some writers state a wrong size, and rows beyond it would be passed over
            yield from sheet.iter_rows(values_only=True)
        finally:
            book.close()


def check_workbook(path: Path) -> None:
    """Refuse a workbook that expands to more than is read; a thousandth of the room is enough to pack zeros."""
    plain_file(path)
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an .xlsx file")
    with zipfile.ZipFile(path) as parts:
        check_zip(parts, path.name, path.stat().st_size, max_bytes())


def _rows(
    values: Iterator[tuple[Any, ...]], path: Path, needed: Sequence[str], page: str
) -> list[tuple[int, Mapping[str, Any]]]:
    header = [_clean(value) for value in next(values, ())]
    absent = [name for name in needed if name not in header]
    if absent:
        names = ", ".join(repr(name) for name in header if name is not None)
        raise DataError(
            f"{str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}; it has "
            f"{names or 'no columns'}. Get it again from {page}."
        )
    # By position, and each row asked how long it is: without dimensions rows end with their last cell.
    columns = [(name, header.index(name)) for name in needed]
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, row in enumerate(values, start=2):
        cells = {name: _clean(row[column]) if column < len(row) else None for name, column in columns}
        # Rows that hold a format and nothing else are given as empty ones.
        if any(value is not None for value in cells.values()):
            rows.append((number, cells))
    return rows


def _clean(value: Any) -> Any:
    """Return text without outer blanks, and None for text that is empty."""
    return (value.strip() or None) if isinstance(value, str) else value
