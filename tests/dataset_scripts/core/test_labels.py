from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.core.labels import (
    LONG_SAMPLES,
    Seen,
    canonical_sha256,
    canonical_text,
    count_occurrences,
    encode,
    fold_sha256,
    from_headers,
    label_frame,
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
    assert multi_hot([[1], [1]], 2).tolist() == [[0, 1], [0, 1]]
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


def test_the_hash_of_folds_is_of_a_line_per_record() -> None:
    expected = hashlib.sha256(b"a,1\nb,10\nc,-1\n").hexdigest()
    assert fold_sha256(["a", "b", "c"], [1, 10, -1]) == expected
    for records, fold in ((["a"], [1, 2]), (["a", "b"], [1])):
        with pytest.raises(ValueError, match="zip"):
            fold_sha256(records, fold)


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


DATASET: Any = SimpleNamespace(metadata_columns={"code": "string", "strat_fold": "int32", "height": "float64"})
TABLE = pd.DataFrame(
    {
        "record_id": ["r1", "r2"],
        "patient_id": ["p", None],
        "age": [50.0, np.nan],
        "sex": [np.nan, np.nan],
        "strat_fold": [3, 4],
        "code": ["x", None],
        "other": [1, 2],
    }
)


def test_columns_that_only_the_records_give() -> None:
    empty = TABLE.assign(code=[None, None], height=[1.0, np.nan])
    assert from_headers(DATASET, SimpleNamespace(table=TABLE)) == ["height"]  # type: ignore[arg-type]
    assert from_headers(DATASET, SimpleNamespace(table=empty)) == ["code"]  # type: ignore[arg-type]


def test_the_table_for_label_functions_from_the_tables_alone() -> None:
    found = label_frame(DATASET, TABLE, 400)
    assert list(found.columns) == [
        *("record_id", "patient_id", "sampling_rate", "age", "sex"),
        *("code", "strat_fold", "height", "samples"),
    ]
    assert found["record_id"].tolist() == ["r1", "r2"]
    for name in ("patient_id", "code"):
        assert found[name].isna().tolist() == [False, True], name
    assert (found["patient_id"][0], found["code"][0]) == ("p", "x")
    assert found[["sex", "height"]].isna().all(axis=None)
    assert found["strat_fold"].tolist() == [3, 4]
    assert found["sampling_rate"].tolist() == [400, 400]
    assert found["samples"].tolist() == [LONG_SAMPLES] * 2
    assert found["age"][0] == 50
    assert np.isnan(found["age"][1])
    kinds = {name: str(found[name].dtype) for name in ("sampling_rate", "age", "strat_fold", "height")}
    assert kinds == {"sampling_rate": "int32", "age": "float32", "strat_fold": "int32", "height": "float64"}


def test_what_a_record_says_wins_over_the_tables() -> None:
    seen = [Seen(4000, {"age": 60, "sex": "female", "sampling_rate": 500}), Seen(5000)]
    found = label_frame(DATASET, TABLE, 400, seen)
    assert found["age"].tolist() == pytest.approx([60, np.nan], nan_ok=True)
    assert found["sex"][0] == "female"
    assert found["sex"].isna()[1]
    assert found["sampling_rate"].tolist() == [500, 400]
    assert found["code"][0] == "x"
    assert found["samples"].tolist() == [4000, 5000]


@pytest.mark.parametrize("number", [1, 3])
def test_every_row_of_the_table_has_its_record(number: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        label_frame(DATASET, TABLE, 400, [Seen(1)] * number)
