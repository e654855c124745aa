"""The fold maker against small cases worked out by hand, and against the published folds of Chapman."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from dataset_scripts.core.folds import batches, stratify, stratify_groups
from ecg_hub.errors import InputError


def test_the_rarest_label_goes_first_and_rows_from_the_end() -> None:
    """Of b there are two rows, of a three: b draws once, a draws for rows 4 and 0, when all folds are equal."""
    folds = stratify([["a"], ["b"], ["a"], ["b"], ["a"]], 2)
    random = np.random.RandomState(0)
    assert folds[3] == random.randint(0, 2)
    assert folds[1] == 1 - folds[3]
    assert folds[4] == random.randint(0, 2)
    assert folds[2] == 1 - folds[4]
    assert folds[0] == random.randint(0, 2)


def test_labels_with_equally_many_rows_go_by_name() -> None:
    folds = stratify([["b"], ["a"], ["b"], ["a"]], 2)
    random = np.random.RandomState(0)
    assert [folds[3], folds[2]] == [random.randint(0, 2), random.randint(0, 2)]


def test_rows_that_hold_a_label_twice_go_before_later_ones() -> None:
    folds = stratify([["a", "a"], ["a"], ["a"]], 2)
    assert folds[0] == np.random.RandomState(0).randint(0, 2)
    assert folds[2] == folds[1] == 1 - folds[0]


def test_among_equal_wants_the_fold_with_more_room_is_taken_without_a_draw() -> None:
    folds = stratify([["b"], ["a", "b"]], 2, sizes=[1, 5])
    assert folds[0] == 1 - folds[1]
    heavy = stratify([["a"], ["b"], ["b"], ["c"], ["c"], ["c"]], 2, sizes=[9, 1, 1, 1, 1, 1])
    assert (heavy[2], heavy[1]) == (1 - heavy[0], heavy[0]), "b starts in the fold that the heavy row left empty"


def test_rows_without_label_get_no_fold() -> None:
    assert stratify([[], ["a"], []], 3)[[0, 2]].tolist() == [-1, -1]
    assert stratify([], 3).tolist() == []


def test_the_seed_starts_anew_with_every_call() -> None:
    labels = [[name] for name in "abcabcabccba"]
    assert stratify(labels, 3).tolist() == stratify(labels, 3).tolist()
    assert any(stratify(labels, 3).tolist() != stratify(labels, 3, seed=seed).tolist() for seed in range(1, 5))


def test_every_fold_gets_its_share() -> None:
    rng = np.random.default_rng(0)
    labels = [[str(label) for label in rng.integers(0, 6, rng.integers(1, 4))] for _ in range(600)]
    folds = stratify(labels, 10)
    for name in "012345":
        held = np.bincount(folds[[name in row for row in labels]], minlength=10)
        assert held.max() - held.min() <= 12


def test_groups_stay_together_and_are_sorted_as_asked() -> None:
    groups = ["10", "9", "10", "2"]
    labels = [["a"], ["a"], [], ["a"]]
    text = stratify_groups(groups, labels, 2)
    number = stratify_groups(groups, labels, 2, numeric=True)
    assert text[0] == text[2]
    assert number[0] == number[2]
    # as text the order is 10, 2, 9, and the last group draws; as numbers it is 2, 9, 10
    lot = np.random.RandomState(0).randint(0, 2)
    assert (text[1], number[0]) == (lot, lot)


def test_a_group_weighs_as_many_rows_as_it_has() -> None:
    groups = ["a", "a", "a", "b", "c", "d"]
    folds = stratify_groups(groups, [["x"], ["x"], ["x"], ["x"], ["x"], ["x"]], 2)
    assert folds[0] == folds[1] == folds[2]
    assert np.bincount(folds).tolist() == [3, 3]


@pytest.mark.parametrize("seed", range(6))
def test_room_is_counted_in_rows_not_in_groups(seed: int) -> None:
    """Both folds hold one group with the label x; the first y goes to the one of a row, not to the one of three."""
    groups = ["1", "1", "1", "2", "3", "4", "5"]
    folds = stratify_groups(groups, [["x"], [], [], ["x"], ["y"], ["y"], ["y"]], 2, seed=seed)
    assert folds.dtype == np.int32
    assert folds[0] == folds[1] == folds[2] != folds[3]
    assert folds[6] == folds[3]


def test_batches_hold_what_the_rule_says() -> None:
    assert batches(5, None) == [slice(0, 5)]
    assert batches(19, 10) == [slice(0, 19)]
    assert batches(23, 10) == [slice(0, 11), slice(11, 23)]
    assert batches(0, 10) == [slice(0, 0)]
    sizes = [part.stop - part.start for part in batches(233_770, 10_000)]
    assert sizes == [10_163] * 22 + [10_184], "CODE-15: 22 batches of 10,163 patients and one of 10,184"


def test_each_batch_is_stratified_by_itself() -> None:
    groups = [f"{number:02d}" for number in range(6)]
    labels = [["a"]] * 6
    whole = stratify_groups(groups, labels, 3, batch=3)
    assert whole[:3].tolist() == whole[3:].tolist() == stratify(labels[:3], 3).tolist()


@pytest.mark.parametrize("call", [lambda: stratify([["a"]], 1), lambda: stratify([["a"]], 2, sizes=[1, 2])])
def test_impossible_requests_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        call()


def test_groups_that_are_no_numbers_are_named() -> None:
    with pytest.raises(InputError, match="P01"):
        stratify_groups(["P01", "2"], [["a"], ["a"]], 2, numeric=True)
    with pytest.raises(InputError, match="1 groups for 2 rows"):
        stratify_groups(["1"], [["a"], ["a"]], 2)


def test_folds_of_a_simulated_table_stay() -> None:
    """Of the code that gives the published folds of Chapman below, where that table is not at hand."""
    rng = np.random.default_rng(0)
    shares = dict(zip("abcdef", (0.5, 0.3, 0.2, 0.1, 0.05, 0.02), strict=True))
    labels = [[name for name, share in shares.items() if rng.random() < share] for _ in range(400)]
    groups = [f"{k:03d}" for k in rng.integers(0, 150, 400)]
    found = (
        stratify(labels, 10),
        stratify(labels, 5, 3),
        stratify_groups(groups, labels, 10),
        stratify_groups(groups, labels, 10, 1, batch=40),
    )
    assert [hashlib.sha256("".join(map(str, folds.tolist())).encode()).hexdigest()[:16] for folds in found] == [
        *["4601b2ea9cf1d055", "a952dd8436a8763b"],
        *["9f70a982a0c4c684", "15822f1d25f7ec1d"],
    ]
    assert all(folds.dtype == np.int32 for folds in found)


@pytest.mark.heavy
def test_the_published_folds_of_chapman(shared: Path) -> None:
    book = openpyxl.load_workbook(shared / "data" / "chapman" / "Diagnostics.xlsx", read_only=True)
    head, *rows = list(book.active.iter_rows(values_only=True))
    beat, rhythm, name = head.index("Beat"), head.index("Rhythm"), head.index("FileName")
    labels = [([] if row[beat] == "NONE" else row[beat].split(" ")) + [row[rhythm]] for row in rows]
    folds = stratify(labels, 10)
    assert np.bincount(folds).tolist() == [1065, 1065, 1063, 1065, 1066, 1066, 1065, 1065, 1062, 1064]
    text = "".join(f"{row[name]},{fold}\n" for row, fold in zip(rows, folds, strict=True))
    expected = "ed176b593391af1c3129a576c53f02d1ae3958136818469389e13c061484a390"
    assert hashlib.sha256(text.encode()).hexdigest() == expected
