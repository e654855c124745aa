from __future__ import annotations

from pathlib import Path

import pytest

from dataset_scripts.readers.tables import read_text_table
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


def test_byte_order_mark_bad_bytes_and_line_breaks_in_cells_are_put_up_with(tmp_path: Path) -> None:
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
