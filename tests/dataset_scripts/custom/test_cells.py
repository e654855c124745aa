"""What cells of real tables mean: words for nothing, lists, code pages, names spelled in two ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.custom.cells import label_parts, shown
from dataset_scripts.custom.description import Columns, Description
from dataset_scripts.custom.files import same_name
from dataset_scripts.custom.table import folds_and_splits, parse_row, read_table, warn_of_codes, warn_of_spellings
from dataset_scripts.readers.tables import read_text_table
from ecg_hub.errors import DataError


def columns(**fields: Any) -> Columns:
    return Columns.model_validate({"record": "id", **fields})


def table(tmp_path: Path, text: str | bytes, encoding: str | None = None, **fields: Any) -> list[dict[str, str]]:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [dict(cells) for _, cells in read_table(path, columns(**fields), encoding).rows]


@pytest.mark.parametrize(
    "word", ["", " ", "nan", "NaN", "NA", "N/A", "n/a", "NULL", "None", "-", "--", "<NA>", "?", "n.a.", "#NULL!", "."]
)
def test_words_for_nothing(word: str) -> None:
    named = columns(patient="p", labels="dx", targets="y", fold="f", age="a", sex="s")
    cells = {"id": "r", "p": word, "dx": f"{word};AF", "y": word, "f": word, "a": word, "s": word}
    row = parse_row(cells, named)
    assert (row.patient, row.age, row.sex, row.fold, row.targets, row.labels) == (None, None, None, "", [None], ["AF"])
    assert parse_row({"id": "r", "f": word}, columns(split="f")).fold == ""
    with pytest.raises(ValueError, match="0 or 1 is expected"):
        parse_row({"id": "r", "AF": word}, columns(labels=["AF"]))


def test_words_for_nothing_in_a_column_of_words_need_no_explanation(tmp_path: Path) -> None:
    assert len(table(tmp_path, "id,s,f\na,NULL,train\nb,F,-\n", sex="s", split="f")) == 2


@pytest.mark.parametrize("age", ["300", "-1", "999"])
def test_an_impossible_age_costs_no_record(age: str) -> None:
    row = parse_row({"id": "r", "a": age}, columns(age="a"))
    assert (row.age, row.remark) == (None, f"the age {age} is not within 0 to 130 years and counts as unknown")


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['AF', 'LBBB']", ["AF", "LBBB"]),
        ('["AF", "LBBB"]', ["AF", "LBBB"]),
        ("('AF',)", ["AF"]),
        ("[]", []),
        ("[426783006, 164889003]", ["426783006", "164889003"]),
        ("[AF, LBBB]", ["AF", "LBBB"]),
        ("['AF' 'LBBB']", ["AF", "LBBB"]),
        ("{'NORM': 100.0, 'SR': 0.0}", ["NORM", "SR"]),
        ('{"AF": true, "LBBB": false}', ["AF"]),
        ("{'a;b', 'c'}", ["a;b", "c"]),
        ("['a;b', nan]", None),
        ("AF; LBBB;;nan", ["AF", "LBBB"]),
        ("{'AF': 0.4}", None),
        ("{'AF': 'yes'}", None),
        ("[{'code': 1}]", None),
        ("[0, 1, 0]", None),
        ("[0 1 0]", None),
        ("[False, False, True]", None),
        ("0;0;1", None),
        ("[0, 1]", ["0", "1"]),
    ],
)
def test_lists_and_dictionaries_as_text(cell: str, labels: list[str] | None) -> None:
    if labels is None:
        with pytest.raises(ValueError, match="column 'dx' holds"):
            label_parts(cell, "dx", ";")
    else:
        assert label_parts(cell, "dx", ";") == labels


def test_lists_in_typed_tables_keep_separators_within_labels(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1.0, 2.0], "dx": [["a;b", "c"], np.array(["c"])]})
    frame.to_parquet(tmp_path / "t.parquet")
    rows = read_table(tmp_path / "t.parquet", columns(labels="dx")).rows
    assert [parse_row(cells, columns(labels="dx")).labels for _, cells in rows] == [["a;b", "c"], ["c"]]
    assert [cells["id"] for _, cells in rows] == ["1", "2"]


def test_long_numbers_of_a_typed_table_stay_what_they_are_beside_an_empty_cell(tmp_path: Path) -> None:
    patients, codes = [2**53 + 1, 2**53, None], [900000000000207008, None, 900000000000207001]
    frame = pd.DataFrame({"id": ["a", "b", "c"]})
    for kind in ("object", "Int64"):
        frame["p"], frame["dx"] = pd.array(patients, dtype=kind), pd.array(codes, dtype=kind)
        frame.to_parquet(tmp_path / "t.parquet")
        named = columns(patient="p", labels="dx")
        rows = [parse_row(cells, named) for _, cells in read_table(tmp_path / "t.parquet", named).rows]
        assert [row.patient for row in rows] == ["9007199254740993", "9007199254740992", None]
        assert [row.labels for row in rows] == [["900000000000207008"], [], ["900000000000207001"]]


@pytest.mark.parametrize("mark", [",", "|", "/"])
def test_another_separator_than_the_one_described_is_refused(mark: str, tmp_path: Path) -> None:
    text = f'id;dx\na;"AF{mark}LBBB"\nb;AF\nc;"LBBB{mark}NORM"\n'
    with pytest.raises(DataError, match=f"seem to be joined by '[{mark}]'.*separator: '[{mark}]' under columns"):
        table(tmp_path, text, labels="dx")
    assert len(table(tmp_path, text, labels="dx", separator=mark)) == 3
    assert len(table(tmp_path, text, labels="dx", separator=";")) == 3
    assert len(table(tmp_path, f'id;dx\na;"MI{mark} anterior"\nb;"MI{mark} inferior"\nc;AF\n', labels="dx")) == 3


def test_code_pages_are_said_and_never_guessed(tmp_path: Path) -> None:
    text = "id,dx,note\na,Bläck,x\nb,Blöck,ü\n"
    for page in ("cp1252", "cp1250", "utf-16"):
        assert table(tmp_path, text.encode(page), page, labels="dx")[1]["dx"] == "Blöck"
    with pytest.raises(DataError, match=r"is not UTF-8, and column 'dx', line 2 .* Add `encoding`.*cp1252"):
        table(tmp_path, text.encode("latin-1"), labels="dx")
    # Letters in a column that nobody uses decide nothing.
    assert len(table(tmp_path, text.encode("latin-1"))) == 2
    assert table(tmp_path, text.encode("utf-8-sig"), labels="dx")[0]["dx"] == "Bläck"
    assert table(tmp_path, text.encode("utf-16"), labels="dx")[0]["dx"] == "Bläck"
    with pytest.raises(DataError, match="is not in the code page utf-8 \\(line 2\\)"):
        table(tmp_path, text.encode("latin-1"), "utf-8", labels="dx")
    with pytest.raises(ValueError, match="'latin-99' is no code page"):
        Description.model_validate({"name": "a", "signals": ".", "encoding": "latin-99"})


def test_a_table_without_header_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"It has: 3 columns, none of them named .*its first line must hold") as caught:
        table(tmp_path, "r01,Jane Doe,1970-01-01\nr02,John Doe,1971-01-01\n", labels="dx")
    assert "Doe" not in str(caught.value)


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the column 'dx' twice"):
        table(tmp_path, "id,dx,dx\na,AF,LBBB\n", labels="dx")


def test_a_byte_that_is_no_letter_costs_the_row_of_a_published_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,dx,note\na,Bl\xe4ck,x\nb,AF,\xfc\n")
    found = read_text_table(tmp_path / "t.csv", ("id", "dx"), "the page")
    assert found.damaged == [(2, "line 2: column 'dx' holds bytes that are no UTF-8")]
    assert [cells["id"] for _, cells in found.rows] == ["b"]


def test_a_patient_spelled_in_two_ways_is_one(tmp_path: Path) -> None:
    del tmp_path
    about = Description.model_validate({"name": "a", "signals": ".", "folds": {"number": 3}})
    patients = [name for k in range(30) for name in (f"P{k:03d}", f"p{k:03d}")] + ["007", "7", None, None]
    frame = pd.DataFrame({"record_id": range(len(patients)), "patient_id": patients, "table_fold": ""})
    fold, _ = folds_and_splits(about, frame.assign(record_id=frame["record_id"].astype(str)), [["A"]] * len(patients))
    assert (fold[0:62:2] == fold[1:62:2]).all()


def test_a_shared_patient_is_not_named() -> None:
    about = Description.model_validate(
        {"name": "a", "signals": ".", "table": "t.csv", "columns": {"record": "id", "patient": "p", "split": "s"}}
    )
    frame = pd.DataFrame({"record_id": ["r1", "r2"], "patient_id": ["Jane Doe"] * 2, "table_fold": ["train", "test"]})
    with pytest.raises(DataError, match=r"1 patients .* \(records 'r1' and 'r2'\)") as caught:
        folds_and_splits(about, frame, [[], []])
    assert "Jane" not in str(caught.value)


def test_messages_repeat_numbers_and_no_text(tmp_path: Path) -> None:
    assert [shown(cell) for cell in ("300", "-1,5", "Jane Doe", "1970-01-01", "")] == [
        "'300'", "'-1,5'", "text of 8 letters", "text of 10 letters", "nothing",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="holds text of 10 letters; a number is expected"):
        parse_row({"id": "r", "a": "1970-01-01"}, columns(age="a"))
    names = "id,s\n" + "".join(f"r{k},Jane{k} Doe\n" for k in range(9))
    with pytest.raises(
        DataError, match=r"column 's' holds 9 different words besides .*is it the right column"
    ) as caught:
        table(tmp_path, names, sex="s")
    assert "Jane" not in str(caught.value)


def test_names_that_programs_spell_differently() -> None:
    assert same_name("R01") == same_name("r01 ")
    assert same_name("0012") == same_name("12.0") == same_name("12")
    assert same_name("0") == same_name("000")
    assert len({same_name(name) for name in ("12", "1.2", "r012", "r12", "2024/1", "1")}) == 6
    assert json.dumps(same_name("A\\b")) == '"a/b"'


@pytest.mark.parametrize("word", ["unknown", "Unbekannt", "inconnu", "anonymous", "missing"])
def test_who_is_unknown_is_no_patient_and_of_no_sex(word: str, tmp_path: Path) -> None:
    named = columns(patient="p", sex="s", fold="f", age="a")
    row = parse_row({"id": "r", "p": word, "s": word, "f": word, "a": word}, named)
    assert (row.patient, row.sex, row.fold, row.age) == (None, None, "", None)
    assert len(table(tmp_path, f"id,s\na,{word}\nb,F\n", sex="s")) == 2


def test_m_beside_another_letter_for_male_has_to_be_explained(tmp_path: Path) -> None:
    text = "id,s\n1,H\n2,M\n"
    with pytest.raises(DataError, match="holds 'M'; say what it means"):
        table(tmp_path, text, sex="s", sex_values={"H": "male"})
    said: dict[str, Any] = {"sex": "s", "sex_values": {"H": "male", "M": "female"}}
    rows = table(tmp_path, text, **said)
    assert [parse_row(row, columns(**said)).sex for row in rows] == ["male", "female"]
    # Numbers and women of another letter leave it what it usually is.
    assert columns(sex="s", sex_values={"1": "male", "W": "female"}).sexes()["m"] == "male"


@pytest.mark.parametrize(
    ("cell", "age"),
    [("089Y", 89), ("018M", 1.5), ("45 years", 45), ("45 J", 45), ("63,5", 63.5), ("6 months old", 0.5), ("052W", 1)],
)
def test_ages_with_units(cell: str, age: float) -> None:
    assert parse_row({"id": "r", "a": cell}, columns(age="a")).age == pytest.approx(age, abs=0.01)


@pytest.mark.parametrize(
    ("cells", "first"),
    [(("45M", "61"), "45M"), (("45M", "52F"), "52F"), (("7 m",), "7 m"), (("052F", "045M"), "052F")],
)
def test_an_age_with_a_letter_that_may_be_the_sex_is_refused(
    tmp_path: Path, cells: tuple[str, ...], first: str
) -> None:
    text = "id,a\n" + "".join(f"{number},{cell}\n" for number, cell in enumerate(cells))
    with pytest.raises(DataError, match=f"column 'a' holds '{first}', and nothing says whether"):
        table(tmp_path, text, age="a")


def test_months_beside_other_units_of_age_are_months(tmp_path: Path) -> None:
    for cells, age in ((("7m", "3y"), 7 / 12), (("018M", "61"), 1.5), (("18 months", "61"), 1.5)):
        rows = table(tmp_path, "id,a\n" + "".join(f"{number},{cell}\n" for number, cell in enumerate(cells)), age="a")
        assert parse_row(rows[0], columns(age="a")).age == pytest.approx(age)


@pytest.mark.parametrize("cell", ["> 89", "90+", ">=90", "over 89"])
def test_an_age_above_something_is_unknown_with_a_remark(cell: str) -> None:
    row = parse_row({"id": "r", "a": cell}, columns(age="a"))
    assert row.age is None
    assert cell in row.remark


def test_a_birth_date_taken_for_an_age_is_not_repeated() -> None:
    row = parse_row({"id": "r", "a": "19700131"}, columns(age="a"))
    assert row.age is None
    assert "1970" not in row.remark
    with pytest.raises(ValueError, match="text of 10 letters"):
        parse_row({"id": "r", "a": "1970-01-31"}, columns(age="a"))


def test_decimal_commas_but_no_thousands() -> None:
    named = columns(targets="y")
    assert parse_row({"id": "r", "y": "-1,5"}, named).targets == [-1.5]
    for cell in ("1,234", "1.234,5"):
        with pytest.raises(ValueError, match="a number is expected"):
            parse_row({"id": "r", "y": cell}, named)


@pytest.mark.parametrize("cell", ["frozenset({'AF'})", "array(['AF'], dtype=object)", "{AF}", "Index(['AF'])"])
def test_lists_as_other_programs_print_them(cell: str) -> None:
    assert label_parts(cell, "dx", ";") == ["AF"]
    assert label_parts("frozenset()", "dx", ";") == []


def test_a_label_that_stands_alone_elsewhere_shows_the_separator(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="seem to be joined by ','"):
        table(tmp_path, 'id;dx\na;"AF, LBBB"\nb;LBBB\n', labels="dx")
    with pytest.raises(DataError, match=r"seem to be joined by '\|'"):
        table(tmp_path, "id;dx\na;426783006|164889003\nb;59118001\n", labels="dx")


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nid;dx\na;AF\n",
        "# made in 2020\n\nid,dx\na,AF\n",
        "id|dx\na|AF\n",
        "id,dx\na,AF,\n",
        "id,dx\r\na,AF,,\r\n",
    ],
)
def test_lines_above_the_names_and_separators_behind_rows(text: str, tmp_path: Path) -> None:
    assert table(tmp_path, text, labels="dx") == [{"id": "a", "dx": "AF"}]


def test_few_rows_with_names_in_a_column_of_words_are_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 different words") as caught:
        table(tmp_path, "id,s\na,Jane Doe\nb,John Doe\n", sex="s")
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("number", [4, 20])
def test_a_patient_with_many_of_the_records_is_warned_of(number: int, caplog: pytest.LogCaptureFixture) -> None:
    patients = ["0"] * number + [f"p{k // 2}" for k in range(40 - number)]
    frame = pd.DataFrame({"record_id": [f"r{k}" for k in range(40)], "patient_id": patients, "table_fold": ""})
    about = Description.model_validate({"name": "a", "signals": "."})
    folds_and_splits(about, frame, [["A"], ["B"]] * 20)
    assert ("20 of 40 records" in caplog.text) == (number == 20)


def test_labels_that_differ_in_case_alone_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_spellings([["AF", "LBBB"], ["SR"]])
    assert not caplog.text
    warn_of_spellings([["AF", "LBBB"], ["af"], ["1st  degree"], ["1st degree"]])
    assert "labels of their own: '1st  degree', '1st degree'; 'AF', 'af'." in caplog.text


@pytest.mark.parametrize(
    ("codes", "warned"),
    [([], False), ([-999.0], False), ([-999.0] * 3, True), ([-999.0] * 2 + [9999.0] * 2, True), ([61.0, 61.0], False)],
)
def test_a_value_that_may_stand_for_unknown_is_warned_of(
    codes: list[float], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_codes("lvef", np.array([*range(40, 61), *codes, np.nan]))
    assert ("If that stands for unknown" in caplog.text) == warned
    assert caplog.text.count("The target 'lvef' is") == len(set(codes)) * warned
