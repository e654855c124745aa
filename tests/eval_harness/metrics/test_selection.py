from __future__ import annotations

import math

import numpy as np

from eval_harness.metrics.selection import selection_score

TARGETS = np.array([[0, 1], [1, 1], [0, 1], [1, 1]], dtype=np.float32)
SCORES = np.array([[0.1, 0.2], [0.9, 0.3], [0.2, 0.9], [0.3, 0.1]], dtype=np.float32)


def test_classes_without_both_outcomes_do_not_count() -> None:
    assert selection_score(TARGETS, SCORES, classes=2) == 1.0


def test_no_class_to_evaluate_is_nan() -> None:
    assert math.isnan(selection_score(TARGETS[:, 1:], SCORES[:, 1:], classes=1))


def test_regression_is_minus_the_pooled_error() -> None:
    true = np.array([[1.0, np.nan], [3.0, 2.0]], dtype=np.float32)
    predicted = np.array([[1.0, 9.0], [2.0, 4.0]], dtype=np.float32)
    assert selection_score(true, predicted, classes=0) == -1.0


def test_mixed_is_minus_the_composite() -> None:
    true = np.concatenate([TARGETS[:, :1], np.zeros((4, 1), np.float32)], axis=1)
    outputs = np.concatenate([SCORES[:, :1], np.full((4, 1), 0.25, np.float32)], axis=1)
    assert selection_score(true, outputs, classes=1) == -0.25


def test_mixed_counts_a_class_without_both_outcomes_half() -> None:
    true = np.concatenate([TARGETS, np.zeros((4, 1), np.float32)], axis=1)
    outputs = np.concatenate([SCORES, np.zeros((4, 1), np.float32)], axis=1)
    assert selection_score(true, outputs, classes=2) == -0.25


def test_mixed_without_a_known_value_is_nan() -> None:
    true = np.concatenate([TARGETS[:, :1], np.full((4, 1), np.nan, np.float32)], axis=1)
    assert math.isnan(selection_score(true, SCORES, classes=1))


def test_no_known_value_in_regression_is_nan() -> None:
    assert math.isnan(selection_score(np.full((4, 2), np.nan, np.float32), SCORES, classes=0))
