"""What every metric makes of its input before it counts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.metrics.checks import checked_pair

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_are_passed_on_as_they_are(kind: type) -> None:
    true, score = np.array([[0, 1, NAN]], kind), np.array([[0.1, 0.2, 0.3]], kind)
    found = checked_pair(true, score, binary=True)
    assert found[0] is true
    assert found[1] is score


@pytest.mark.parametrize("true", [[[0, 1]], [[False, True]], np.array([[0, 1]], np.float16)])
def test_everything_else_becomes_double_precision(true: object) -> None:
    found, score = checked_pair(true, [[0, 1]], binary=True)  # type: ignore[arg-type]
    assert found.dtype == score.dtype == np.float64
    assert found.tolist() == score.tolist() == [[0, 1]]


def test_values_need_not_be_binary() -> None:
    assert checked_pair([[0.5, NAN]], [[7, -7]], binary=False)[1].tolist() == [[7, -7]]


@pytest.mark.parametrize(
    ("true", "score", "binary", "message"),
    [
        ([[0, 1]], [[0.5]], True, "Targets have the shape (1, 2) and scores (1, 1); both must be equal."),
        ([0, 1], [0.5, 0.5], True, "Targets and scores have the shape (2,); two dimensions (records, outputs)"),
        ([[[0]]], [[[0]]], True, "Targets and scores have the shape (1, 1, 1)"),
        (
            [[0], [1]],
            [[0], [NAN]],
            True,
            "Scores must be finite numbers; found nan in record 1, output 0 (1 such values)",
        ),
        ([[0, 1]], [[0, -INF]], False, "Scores must be finite numbers; found -inf in record 0, output 1 (1 such"),
        (
            [[0, 0.5], [2, 1]],
            [[0, 0], [0, 0]],
            True,
            "Targets must be 0, 1 or NaN (no target); found 0.5 in record 0, output 1 (2 such values)",
        ),
        (
            [[INF, NAN]],
            [[0, 0]],
            False,
            "Targets must be finite numbers or NaN (no target); found inf in record 0, output",
        ),
        ([["yes"]], [[0]], True, "The targets are not numbers: could not convert string to float"),
        ([[0]], [["high"]], True, "The scores are not numbers: could not convert string to float"),
        ([[0], [1, 0]], [[0]], True, "The targets are not numbers: setting an array element with a sequence"),
        ([[0]], [[object()]], True, "The scores are not numbers"),
    ],
)
def test_what_is_refused(true: object, score: object, binary: bool, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        checked_pair(true, score, binary=binary)  # type: ignore[arg-type]
