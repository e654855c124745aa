"""Tables as a whole, row by row, and as workbooks; their cells, and what is said about files that are none."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import pytest

from dataset_scripts.mock.chapman import write_workbook
from dataset_scripts.readers.tables import (
    CellError,
    age_years,
    flag,
    iterate_rows,
    number,
    read_sheet,
    read_text_table,
    short,
    whole_number,
)
from ecg_hub.errors import DataError

PAGE = "https://example.org/data"


def read(tmp_path: Path, text: str | bytes, needed: tuple[str, ...] = ("a",)):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_text_table(path, needed, PAGE)


def test_rows_are_text_by_column(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n1.0,"x, y"\n,\n')
    assert [dict(cells) for _, cells in table.rows] == [{"a": "1.0", "b": "x, y"}, {"a": "", "b": ""}]
    assert table.damaged == []


def test_byte_order_mark_bad_bytes_and_line_breaks_in_cells_are_tolerated(tmp_path: Path) -> None:
    table = read(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"two\nlines"\r\n2,\xff\x00\r\n')
    assert [cells["a"] for _, cells in table.rows] == ["1", "2"]
    assert [line for line, _ in table.rows] == [2, 4]


def test_rows_with_a_wrong_number_of_cells_are_damaged_and_say_where(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n1,2\n3\n4,5,6\n7,"8\n9,10"\n')
    assert [cells["a"] for _, cells in table.rows] == ["1", "7"]
    assert table.damaged == [
        (3, "line 3: 1 cells in a table of 2 columns"),
        (4, "line 4: 3 cells in a table of 2 columns"),
    ]


def test_a_stray_quotation_mark_names_all_lines_that_it_joins(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n1,"2\n3,4\n5",6\n7,8\n')
    assert table.damaged == [(2, "lines 2 to 4: 3 cells in a table of 2 columns")]
    assert [cells["a"] for _, cells in table.rows] == ["7"]


def test_missing_columns_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the columns 'c', 'd'; it has 'a', 'b'. Get it again from https"):
        read(tmp_path, "a,b\n1,2\n", needed=("a", "c", "d"))
    with pytest.raises(DataError, match="lacks the column 'a'; it has no columns"):
        read(tmp_path, "")


def test_a_missing_file_is_one_sentence_with_the_page(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv' is missing\. Get it from https://example\.org/data\."):
        read_text_table(tmp_path / "none.csv", ("a",), PAGE)


def test_only_the_named_columns_come_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffid,x,"y, z",q\r\n1, a ,"b,c",9\r\n\r\n2,d,"e\nf",9\r\n'.encode())
    assert list(iterate_rows(tmp_path / "t.csv", ("y, z", "id"), PAGE, ("x", "more"))) == [
        (2, {"y, z": "b,c", "id": "1", "x": "a", "more": ""}),
        (4, {"y, z": "e\nf", "id": "2", "x": "d", "more": ""}),
    ]


def test_rows_of_another_length_come_as_reasons_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,x\n1,2\n3\n4,5,6\n7,"8\n9,10\n11",12,13\n14,15\n')
    assert list(iterate_rows(tmp_path / "t.csv", ("id",), PAGE)) == [
        (2, {"id": "1"}),
        (3, "line 3: 1 cells in a table of 2 columns"),
        (4, "line 4: 3 cells in a table of 2 columns"),
        (5, "lines 5 to 7: 4 cells in a table of 2 columns"),
        (8, {"id": "14"}),
    ]


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"t\.csv' is missing\. Get it from {PAGE}"):
        list(iterate_rows(tmp_path / "t.csv", ("id",), PAGE))
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(DataError, match=r"lacks the columns 'id', 'x'; it has no columns\. Get it again"):
        list(iterate_rows(tmp_path / "t.csv", ("id", "x"), PAGE))
    (tmp_path / "t.csv").write_text('id,x\n1,"' + "a" * 200_000 + "\n")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        list(iterate_rows(tmp_path / "t.csv", ("id",), PAGE))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        list(iterate_rows(tmp_path, ("id",), PAGE))


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("w") as handle:
        handle.write("id,a,b,c\n")
        handle.writelines(f"{n},aaaaaaaaaa,bbbbbbbbbbb,cccccccccc\n" for n in range(30_000))
    tracemalloc.start()
    rows = sum(1 for _ in iterate_rows(path, ("id", "a"), PAGE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 30_000
    assert peak < 500_000


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("12.0", 12), ("-3", -3), ("1e3", 1000)])
def test_whole_numbers(text: str, value: int) -> None:
    assert whole_number({"n": text}, "n") == value


@pytest.mark.parametrize("text", ["", "1.5", "a", "nan", "inf", "12 13"])
def test_cells_that_are_no_whole_number(text: str) -> None:
    with pytest.raises(CellError, match=r"^n .* is not a"):
        whole_number({"n": text}, "n")


def test_numbers_and_ages() -> None:
    assert number({"n": ""}, "n") is None
    assert number({"n": "1.5"}, "n") == 1.5
    assert age_years({"n": "0"}, "n") == 0.0
    assert age_years({"n": ""}, "n") is None
    for text in ("-1", "131", "old", "nan"):
        with pytest.raises(CellError):
            age_years({"n": text}, "n")


@pytest.mark.parametrize(
    ("text", "value"), [("True", True), ("FALSE", False), ("1", True), ("0.0", False), ("1.0", True), ("", None)]
)
def test_flags(text: str, value: bool | None) -> None:
    assert flag({"n": text}, "n") is value


@pytest.mark.parametrize("text", ["2", "yes", "n.d.", "0.5"])
def test_cells_that_are_no_flag(text: str) -> None:
    with pytest.raises(CellError, match="is neither true nor false"):
        flag({"n": text}, "n")


def test_long_cells_are_cut() -> None:
    assert short("a" * 60) == repr("a" * 60)
    assert short("a" * 61) == repr("a" * 57 + "...")


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
