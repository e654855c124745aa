"""Excel tables of raw folders, row by row, as fast as they can be read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_hub.errors import DataError


def read_sheet(path: Path, needed: Sequence[str], page: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Read the first sheet of a workbook; its first row holds the column names.

    Args:
        path: an .xlsx file.
        needed: columns that must be there; only these are returned.
        page: where to get the data, for the error text.

    Returns:
        (row as Excel counts, column -> value) per row that holds anything. Values are text without outer blanks,
        numbers, dates or None.

    Raises:
        DataError: the file is missing or no workbook, or lacks a needed column.
    """
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

    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an .xlsx file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # remarks on styles and extensions, which no table needs
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # some writers state a wrong size, and rows beyond it would be passed over
            yield from sheet.iter_rows(values_only=True)
        finally:
            book.close()


def _rows(
    values: Iterator[tuple[Any, ...]], path: Path, needed: Sequence[str], page: str
) -> list[tuple[int, Mapping[str, Any]]]:
    header = [_clean(value) for value in next(values, ())]
    absent = [name for name in needed if name not in header]
    if absent:
        found = ", ".join(repr(name) for name in header if name is not None)
        raise DataError(
            f"{str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}; it has "
            f"{found or 'no columns'}. Get it again from {page}."
        )
    places = [(name, header.index(name)) for name in needed]
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, row in enumerate(values, start=2):
        cells = {name: _clean(row[place]) if place < len(row) else None for name, place in places}
        if any(value is not None for value in cells.values()):
            rows.append((number, cells))
    return rows


def _clean(value: Any) -> Any:
    """Return text without outer blanks, and None for text that is empty."""
    return (value.strip() or None) if isinstance(value, str) else value
