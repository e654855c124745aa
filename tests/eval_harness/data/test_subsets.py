"""Stratified parts of the training records: the published selection to the row, nested ones, and awkward tables."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import DataError, InputError
from eval_harness.config.options import TrainSubset, parse_fraction
from eval_harness.data.subsets import AGE_BINS, age_bin, chosen_rows, first_part, halved, stratified_subset, subset_of
from eval_harness.data.windows import RunData, Split

FRACTIONS = [1 / 2**k for k in range(8)]


def table(rows: int = 200, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "labels": [
            [name for name, p in (("A", 0.5), ("B", 0.2), ("C", 0.05)) if rng.random() < p] for _ in range(rows)
        ],
        "sexes": [("male", "female")[k] for k in rng.integers(0, 2, rows)],
        "ages": rng.uniform(1, 95, rows).tolist(),
        "patients": [f"p{k}" for k in rng.integers(0, rows, rows)],
    }


def test_the_published_rows_are_selected(golden: Path) -> None:
    known = json.loads((golden / "protocol" / "stratified_subset_golden.json").read_text())
    content = known["table"]
    sexes = ["male" if sex == 0 else "female" for sex in content["sex"]]
    assert len(known["selected"]) == 8
    for fraction, rows in known["selected"].items():
        found = stratified_subset(content["labels"], sexes, content["age"], content["patient_id"], float(fraction))
        assert found.tolist() == rows


def test_the_selection_of_a_simulated_table_stays() -> None:
    """As the published rows, which the same code selects, where those are not at hand."""
    known = {
        1 / 8: [30, 128, 115, 69, 174, 182, 165, 78, 56, 152, 82, 84, 125, 9, 79, 140],
        1 / 32: [95, 158, 128, 69, 186],
    }
    for fraction, chosen in known.items():
        assert stratified_subset(**table(), fraction=fraction).tolist() == chosen


def test_other_seeds_and_nested_subsets_stay() -> None:
    """Numbers of this code: who repeats a study of label efficiency gets the records of the first time."""
    drawn = {
        (0, True): [174, 82, 135, 195, 136, 41, 118, 3],
        (3, True): [134, 149, 116, 170, 71, 42, 6, 142],
        (3, False): [72, 58, 13, 80, 173, 35, 187, 171],
    }
    for (seed, nested), rows in drawn.items():
        assert stratified_subset(**table(), fraction=1 / 16, seed=seed, nested=nested).tolist() == rows
    tags = [["a"], ["a", "b"], ["b"], ["a"], ["b"], ["a", "b"], ["a"], ["c"]]
    assert [halved(tags, list(range(8)), seed) for seed in (0, 3)] == [
        [1, 7, 3, 4, 5, 0, 6, 2],
        [1, 7, 3, 4, 5, 0, 6, 2],
    ]
    assert sorted(halved([["a"], ["a"]], [0, 1], 0)) == [0, 1]
    one = stratified_subset([["A"], ["A"], ["B"]], ["male"] * 3, [50.0] * 3, None, 0.01, nested=True)
    assert len(one) == 1
    assert len(stratified_subset([], [], [], None, 0.5, nested=True)) == 0


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_seed_decides_the_order_of_the_rows_and_the_lots(seed: int) -> None:
    """Rows that are alike are taken by lot; the published subsets are those of the seed 0."""
    rows = np.random.RandomState(42 + seed).permutation(8)
    tags = [["A", "male", "40-60"]] * 8
    assert len({tuple(first_part(tags, 0.5, number)) for number in (0, 1, 3)}) == 3
    found = stratified_subset([["A"]] * 8, ["male"] * 8, [50.0] * 8, None, 0.5, seed)
    assert found.tolist() == rows[first_part(tags, 0.5, seed)].tolist()
    assert first_part(tags, 0.5) == first_part(tags, 0.5, 0)


def test_an_unknown_sex_is_a_stratum_by_the_name_of_sex_unknown() -> None:
    """Strata with equally many records go by name, so the name decides which rows are drawn."""
    labels, sexes = [["tachy"], *[["SR"]] * 4, ["tachy"]], [None] * 3 + ["male"] * 3
    order = np.random.RandomState(42).permutation(6)
    tags = [[*labels[row], sexes[row] or "sex unknown", "40-60"] for row in order]
    found = stratified_subset(labels, sexes, [50.0] * 6, None, 0.5)
    assert found.tolist() == order[first_part(tags, 0.5)].tolist() == [1, 5, 4]


def test_a_table_without_rows_has_no_subset() -> None:
    for patients in (None, []):
        for nested in (False, True):
            assert stratified_subset([], [], [], patients, 0.5, nested=nested).tolist() == []


def test_rows_without_any_stratum_stay_in_their_order() -> None:
    assert first_part([[], []], 0.5) == []
    assert halved([[], []], [1, 0], 0) == [1, 0]


def test_a_selection_that_can_be_followed_by_hand() -> None:
    tags = [["a"], ["a", "b"], ["a"], ["a", "b"]]
    chosen = first_part(tags, 0.5)
    assert len(chosen) == 2
    assert sum("b" in tags[row] for row in chosen) == 1
    assert first_part(tags, 1.0) == [0, 1, 2, 3]
    assert first_part([], 0.5) == []


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_shares_of_labels_sex_and_age_are_kept(seed: int) -> None:
    content = table(2000)
    rows = stratified_subset(**content, fraction=0.25, seed=seed)
    everyone = stratified_subset(**content, fraction=1.0, seed=seed)
    assert len(rows) == pytest.approx(len(everyone) / 4, abs=3)
    for has in (
        *(lambda row, name=name: name in content["labels"][row] for name in "ABC"),
        lambda row: content["sexes"][row] == "male",
        *(lambda row, bin=bin: age_bin(content["ages"][row]) == bin for bin in AGE_BINS),
    ):
        whole, part = sum(map(has, everyone)), sum(map(has, rows))
        assert part == pytest.approx(whole / 4, abs=3)
    assert len({content["patients"][row] for row in rows}) == len(rows)


def test_seeds_draw_different_records_and_repeat_their_own() -> None:
    content = table()
    zero, one = (stratified_subset(**content, fraction=0.25, seed=seed).tolist() for seed in (0, 1))
    assert sorted(zero) != sorted(one)
    assert stratified_subset(**content, fraction=0.25, seed=1).tolist() == one


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 3])
def test_nested_subsets_lie_in_each_other(seed: int) -> None:
    content = table(300)
    found = [set(stratified_subset(**content, fraction=f, seed=seed, nested=True).tolist()) for f in [*FRACTIONS, 0.3]]
    *halves, other = found
    assert all(smaller < larger for larger, smaller in itertools.pairwise(halves))
    assert halves[2] < other < halves[1]
    plain = [set(stratified_subset(**content, fraction=f, seed=seed).tolist()) for f in FRACTIONS]
    assert halves[0] == plain[0]
    assert not plain[3] < plain[2], "as published, subsets do not lie in each other"


def test_unknown_sex_age_and_patient_are_strata_of_their_own() -> None:
    rows = stratified_subset([["A"], [], [], []], [None] * 4, [None, float("nan"), 20.0, 19.9], [None] * 4, 1.0)
    assert sorted(rows.tolist()) == [0, 1, 2, 3], "records without patient are no repetitions"
    assert [age_bin(age) for age in (0, 19.99, 20, 59, 60, 80, 300, None)] == [
        "<20", "<20", "20-40", "40-60", "60-80", ">=80", ">=80", "age unknown",
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("1/8", 0.125), ("0.3", 0.3)])
def test_fractions_are_read(text: str, value: float) -> None:
    assert parse_fraction(text) == value


@pytest.mark.parametrize("text", ["0", "2", "1/0", "half", "-1/2", "", "nan"])
def test_what_is_no_fraction_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="1/128"):
        parse_fraction(text)


class Lengths:
    """A reader of records that nobody reads."""

    def __init__(self, records: int) -> None:
        self.lengths = np.full(records, 5000)

    def window_mv(self, i: int, start: int, stop: int) -> Any:
        raise AssertionError


def run_data(classes: int | None = None) -> RunData:
    content = table()
    targets = np.array([[float(name in names) for name in "ABC"] for names in content["labels"]], dtype=np.float32)
    splits = [
        Split(
            name=name,
            reader=Lengths(200),
            rows=np.arange(200),
            record_ids=[f"{name}{k}" for k in range(200)],
            patient_ids=content["patients"],
            ages=content["ages"],
            sexes=content["sexes"],
            targets=targets,
            short=0,
        )
        for name in ("train", "validation", "test")
    ]
    return RunData(*splits, list("ABC"), 3 if classes is None else classes, 500, "x" * 64, "mock", {"min_count": 4})


def test_a_split_is_cut_as_a_whole_and_the_test_records_stay() -> None:
    data, subset = run_data(), TrainSubset(0.25)
    part = subset_of(data, subset)
    assert len(part.train) == len(part.validation) < len(part.test) == 200
    for k, row in enumerate(part.train.rows):
        assert part.train.record_ids[k] == f"train{row}"
        assert part.train.patient_ids[k] == data.train.patient_ids[row]
        assert part.train.ages[k] == data.train.ages[row]
        assert part.train.sexes[k] == data.train.sexes[row]
        assert (part.train.targets[k] == data.train.targets[row]).all()
    assert (np.diff(part.train.rows) > 0).all()
    assert part.deviations == {"min_count": 4, "train_fraction": 0.25}
    whole = subset_of(data, TrainSubset(0.25, seed=2, validation=False, one_record_per_patient=False))
    assert len(whole.train) in (49, 50, 51)
    assert len(whole.validation) == 200
    assert whole.deviations["subset_validation"] is False
    assert whole.deviations["subset_seed"] == 2


def test_records_without_a_label_can_be_left_out_of_all_splits() -> None:
    part = subset_of(run_data(), TrainSubset(labelled_only=True, one_record_per_patient=False))
    for split in (part.train, part.validation, part.test):
        assert len(split) == sum(map(bool, table()["labels"])) < 200
        assert (split.targets.sum(axis=1) > 0).all()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("one_per_patient", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_rows_of_a_split_are_drawn_by_labels_sex_age_and_patient(
    nested: bool, one_per_patient: bool, seed: int
) -> None:
    data, content = run_data(), table()
    content["labels"] = [[name for name in "ABC" if name in names] for names in content["labels"]]
    data.train.patient_ids[:50] = [""] * 50  # unknown ones are nobody's second record
    subset = TrainSubset(0.25, seed=seed, nested=nested, one_record_per_patient=one_per_patient)
    patients = [None] * 50 + content["patients"][50:]
    wanted = stratified_subset(
        content["labels"], content["sexes"], content["ages"], patients if one_per_patient else None, 0.25, seed, nested
    )
    assert chosen_rows(data.train, list("ABC"), subset).tolist() == wanted.tolist()


def test_labels_without_positives_are_counted() -> None:
    part = subset_of(run_data(), TrainSubset(1 / 64, validation=False))
    assert len(part.train) >= 1
    assert part.deviations["labels_without_train_positive"] in ("1/3", "2/3", "3/3")


def test_a_label_without_positives_is_counted_where_some_records_have_no_target_of_it() -> None:
    data = run_data()
    targets = data.train.targets.copy()
    targets[:, 0] = 0
    targets[0] = np.nan  # nothing is known of this record
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, targets=targets))
    part = subset_of(data, TrainSubset(1.0, one_record_per_patient=False))
    assert part.deviations["labels_without_train_positive"] == "1/3"


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"fraction of 1e-05 leaves no \w+ record of mock \(\d+ training records\): ask for a larger fraction",
    ):
        subset_of(run_data(), TrainSubset(1e-5))
    with pytest.raises(InputError, match="regression"):
        subset_of(run_data(classes=2), TrainSubset(0.5))
    with pytest.raises(InputError, match="1/8"):
        TrainSubset(0.0)
