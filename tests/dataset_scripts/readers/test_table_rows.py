"""Rows of large tables, one at a time, and their cells."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from dataset_scripts.readers.tables import CellError, age_years, flag, iterate_rows, number, short, whole_number
from ecg_hub.errors import DataError

PAGE = "https://example.org/data"


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
