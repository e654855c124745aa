"""Which ECGs are used, and their ICD-10 labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub.errors import DataError
from tests.support.mimic_tables import Tree, ecg, rows, targets


def test_codes_are_stripped_cut_freed_of_x_and_their_beginnings_count_too(tmp_path: Path) -> None:
    codes = ["I4891", "  T36X5XA ", "W19XXXA", "S72", "I10", "I10", "R0"]
    (row,) = rows(Tree(tmp_path, records=[ecg(1, codes=codes)]).records())
    assert row["labels"] == ["I10", "I48", "I489", "I4891", "S72", "T36", "T36X", "T36X5", "W19"]


@pytest.mark.heavy
def test_a_code_counts_once_per_record_over_all_records_and_the_limit_is_inclusive(tmp_path: Path) -> None:
    records = [
        ecg(1, codes=["I4891", "I4892", "E119"]),
        ecg(2, codes=["I4891"], ecg_taken_in_ed=False),  # not used, counts all the same
        ecg(3, codes=["E119"]),
    ]
    derived = Tree(tmp_path, records=records).derive(min_icd_count=2)
    assert derived.codes == (("E11", 2), ("E119", 2), ("I48", 2), ("I489", 2), ("I4891", 2))
    assert derived.groups["cardiac"] == ["I48", "I489", "I4891"]
    assert derived.groups["noncardiac"] == ["E11", "E119"]


@pytest.mark.heavy
def test_the_targets_are_ordered_by_falling_count_and_by_name(tmp_path: Path) -> None:
    records = [ecg(1, codes=["N17", "A41"]), ecg(2, codes=["N17", "I10"])]
    names = Tree(tmp_path, records=records).derive().names
    assert names[:3] == ["N17", "A41", "I10"]
    assert names[3] == "deterioration_severe_hypoxemia"
    assert names[17:20] == ["deterioration_mortality_stay", "sex", "age"]
    assert len(names) == 3 + 15 + 1 + 35


@pytest.mark.heavy
def test_a_record_stays_when_none_of_its_codes_is_frequent_enough(tmp_path: Path) -> None:
    records = [ecg(1, codes=["I10"]), ecg(2, codes=["I10"]), ecg(3, codes=["Q211"])]
    found = targets(Tree(tmp_path, records=records).derive(min_icd_count=2))
    assert {study: row["labels"] for study, row in found.items()} == {1: ["I10"], 2: ["I10"], 3: []}


def test_the_selection_goes_by_fold(tmp_path: Path) -> None:
    records = [
        ecg(1, fold=17, ecg_no_within_stay=2),  # a training fold: every ECG counts
        ecg(2, fold=17, ecg_taken_in_ed=False),
        ecg(3, fold=17, codes=[]),
        ecg(4, fold=18, ecg_no_within_stay=0),
        ecg(5, fold=18, ecg_no_within_stay=1),
        ecg(6, fold=19, ecg_no_within_stay=0),
        ecg(7, fold=19, ecg_no_within_stay=-1),
        ecg(8, fold=3, strat_fold=19, ecg_no_within_stay=4),  # in the test split all the same
        ecg(9, fold=19, codes=["  "]),  # any raw code counts, also one of which nothing is left
    ]
    found = rows(Tree(tmp_path, records=records).records())
    assert [row["study_id"] for row in found if row["selected"]] == [1, 4, 6, 8, 9]
    assert [row["strat_fold"] for row in found if row["study_id"] == 8] == [19]


def test_the_last_two_folds_are_those_of_the_table(tmp_path: Path) -> None:
    records = [ecg(1, fold=7, ecg_no_within_stay=3), ecg(2, fold=8, ecg_no_within_stay=3), ecg(3, fold=9)]
    found = rows(Tree(tmp_path, records=records).records())
    assert [row["study_id"] for row in found if row["selected"]] == [1, 3]


@pytest.mark.heavy
def test_sex_and_age(tmp_path: Path) -> None:
    records = [ecg(1, gender="F"), ecg(2, gender="M"), ecg(3, gender="missing", age="")]
    found = targets(Tree(tmp_path, records=records).derive())
    assert [found[study]["sex"] for study in (1, 2, 3)] == [0.0, 1.0, None]
    assert [found[study]["measured age"] for study in (1, 2, 3)] == [50.0, 50.0, None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"all_diag_all": "['I10'"}, "row 2 of the data: all_diag_all is not a list of codes"),
        ({"all_diag_all": ""}, "row 2 of the data: all_diag_all is not a list of codes"),
        ({"study_id": "x7"}, "row 2 of the data: study_id is not a whole number"),
        ({"ecg_time": "yesterday"}, "ecg_time is not a time"),
        ({"ecg_taken_in_ed": "perhaps"}, "ecg_taken_in_ed is neither True nor False"),
        ({"fold": 20}, "fold is not one of 0 to 19"),
        ({"strat_fold": ""}, "strat_fold is not one of 0 to 19"),
        ({"age": "old"}, "age is not a number"),
        ({"study_id": 1}, "lists study_id 1 2 times, not once"),
    ],
)
def test_a_damaged_row_is_named(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path, records=[ecg(1), {**ecg(2), **changes}])
    with pytest.raises(DataError, match=words) as caught:
        tree.records()
    assert "mimic-iv-ecg-ext-icd-labels" in str(caught.value)
    assert not list(tmp_path.glob("work/*.parquet"))
