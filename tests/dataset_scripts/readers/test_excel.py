"""Workbooks: values as they stand, and what is said about files that are none."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from dataset_scripts.mock.chapman import write_workbook
from dataset_scripts.readers.tables import read_sheet
from ecg_hub.errors import DataError

PAGE = "https://example.org/data"


def test_values_blanks_and_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    write_workbook(path, [("Name", "Note", " Age "), (" a ", "x", 5), (None, None, None), ("b", "  ", "7")])
    assert read_sheet(path, ("Name", "Age", "Note"), PAGE) == [
        (2, {"Name": "a", "Age": 5, "Note": "x"}),
        (4, {"Name": "b", "Age": "7", "Note": None}),
    ]


def test_a_row_that_ends_early_and_a_size_stated_too_small(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    write_workbook(path, [("Name", "Age"), ("a",), ("b", 3)])
    small = tmp_path / "small.xlsx"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(small, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("sheet1.xml"):
                content = content.replace(b"<sheetData>", b'<dimension ref="A1"/><sheetData>', 1)
            target.writestr(name, content)
    for file in (path, small):
        assert [cells for _, cells in read_sheet(file, ("Name", "Age"), PAGE)] == [
            {"Name": "a", "Age": None},
            {"Name": "b", "Age": 3},
        ]


def test_only_the_first_sheet_counts_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        write_workbook(tmp_path / name, [("Name",), ("x",)])
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()


def test_missing_damaged_and_other_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with pytest.raises(DataError, match=r"t.xlsx' is missing. Get it from https://example.org/data"):
        read_sheet(path, ("Name",), PAGE)
    path.write_text("Name,Age\na,3\n")
    with pytest.raises(DataError, match=r"cannot be read as an Excel workbook .*not an .xlsx file"):
        read_sheet(path, ("Name",), PAGE)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "no workbook")
    with pytest.raises(DataError, match="cannot be read as an Excel workbook"):
        read_sheet(path, ("Name",), PAGE)
    write_workbook(path, [("Acronym Name", "Full Name"), ("SB", "Sinus Bradycardia")])
    with pytest.raises(DataError, match="lacks the columns 'Name', 'Age'; it has 'Acronym Name', 'Full Name'"):
        read_sheet(path, ("Name", "Age"), PAGE)
    write_workbook(path, [])
    with pytest.raises(DataError, match="lacks the column 'Name'; it has no columns"):
        read_sheet(path, ("Name",), PAGE)


def test_a_cut_workbook_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    write_workbook(path, [("Name",), *((f"record {number}",) for number in range(500))])
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="cannot be read as an Excel workbook"):
        read_sheet(path, ("Name",), PAGE)
