from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dataset_scripts.core.labels import (
    canonical_sha256,
    canonical_text,
    count_occurrences,
    encode,
    label_matrix,
    multi_hot,
    split_by_fold,
    vocabulary,
)
from dataset_scripts.load import Prepared

LISTS = [["b", "a", "b"], ["b"], [], ["c", "a"]]


def test_repeats_within_a_record_count() -> None:
    assert count_occurrences(LISTS) == {"a": 2, "b": 3, "c": 1}
    assert vocabulary(LISTS, min_count=3) == ["b"]


def test_vocabulary_is_sorted_by_name_not_by_count() -> None:
    assert vocabulary(LISTS, min_count=1) == ["a", "b", "c"]
    assert vocabulary([["_AVB", "LVH", "ISC_", "ISCA", "LAO/LAE"]], 1) == ["ISCA", "ISC_", "LAO/LAE", "LVH", "_AVB"]


def test_indices_point_into_the_filtered_vocabulary() -> None:
    names = vocabulary(LISTS, min_count=2)
    assert names == ["a", "b"]
    assert encode(LISTS, names) == [[0, 1], [1], [], [0]]


def test_multi_hot_makes_repeats_one() -> None:
    matrix = multi_hot([[1, 1, 0], [], [2]], classes=3)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert matrix.dtype == np.float32
    assert multi_hot([], 4).shape == (0, 4)
    assert multi_hot([[]], 0).shape == (1, 0)


@pytest.mark.parametrize("indices", [[[3]], [[-1]]])
def test_multi_hot_refuses_indices_without_a_class(indices: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="there are 3 classes"):
        multi_hot(indices, classes=3)


def test_canonical_text_and_hash() -> None:
    text = "7:a,b\n8:b\n9:\n10:a,c\n"
    assert canonical_text(["7", "8", "9", "10"], LISTS) == text
    assert canonical_sha256(["7", "8", "9", "10"], LISTS) == hashlib.sha256(text.encode()).hexdigest()


def test_every_record_has_its_labels_in_the_text() -> None:
    with pytest.raises(ValueError, match="shorter"):
        canonical_text(["1", "2"], [["a"]])


def test_splits_by_fold() -> None:
    fold = np.array([10, 9, 1, 8, -1, 0])
    assert split_by_fold(fold, last=10).tolist() == ["test", "validation", "train", "train", "train", "train"]


@pytest.mark.parametrize("change", ["none", "shuffled", "selected", "sliced", "empty"])
def test_label_matrix_follows_the_rows(prepared: Prepared, change: str) -> None:
    split = prepared.splits["train"]
    split = {
        "none": split,
        "shuffled": split.shuffle(seed=1),
        "selected": split.select([5, 2, 2]),
        "sliced": split.select(range(3, 11)),
        "empty": split.select([]),
    }[change]
    expected = multi_hot(list(split["label_all"]), len(prepared.labels["label_all"]))
    assert (label_matrix(split, "label_all") == expected).all()
    assert expected.shape == (len(split), len(prepared.labels["label_all"]))
