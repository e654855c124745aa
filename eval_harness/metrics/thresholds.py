"""Thresholds per class, chosen on validation, and what they give: F1, sensitivity, specificity.

A record is positive when its score is at least the threshold. Thresholds are chosen on one split and applied to
another; choosing them on the test split would make the numbers optimistic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_hub.errors import InputError
from eval_harness.metrics.checks import Values, checked_pair, ratio
from eval_harness.metrics.ranking import descending
from eval_harness.metrics.registry import Metric

Criterion = Literal["f1", "youden"]


@dataclass(frozen=True)
class ThresholdMetrics:
    """F1, sensitivity and specificity of every class, each of shape (classes,), NaN where undefined.

    Sensitivity is NaN without positives, specificity without negatives, F1 without positives or without a threshold.
    """

    f1: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


def choose_thresholds(y_true: ArrayLike, y_score: ArrayLike, by: Criterion = "f1") -> NDArray[np.float64]:
    """Return the threshold of every class that maximises the criterion, shape (classes,).

    Candidates are the distinct scores of the class; of equally good ones the highest is taken. NaN where a class lacks
    one of the two outcomes.

    Args:
        y_true: (records, classes) of the validation split, 0, 1 or NaN (no target).
        y_score: (records, classes), finite.
        by: "f1", or "youden" for sensitivity + specificity - 1.

    Raises:
        InputError: shapes differ, scores are not finite, targets are not 0, 1 or NaN, or the criterion is unknown.

    Example:
        >>> targets = [[1], [1], [0], [0], [0], [0], [0], [0], [0], [0]]
        >>> scores = [[0.9], [0.3], [0.5], [0.4], [0.35], [0.2], [0.2], [0.1], [0.1], [0.0]]
        >>> choose_thresholds(targets, scores).tolist(), choose_thresholds(targets, scores, by="youden").tolist()
        ([0.9], [0.3])
        >>> choose_thresholds([[0], [0]], [[0.3], [0.6]]).tolist()  # no positive: no threshold
        [nan]
    """
    if by not in ("f1", "youden"):
        raise InputError(f"Unknown criterion {by!r}; allowed: 'f1', 'youden'.")
    true, score = checked_pair(y_true, y_score, binary=True)
    return np.array([_best(true[:, k], score[:, k], by) for k in range(true.shape[1])])


def plain_thresholds(thresholds: NDArray[np.float64] | None) -> list[float | None] | None:
    """Return thresholds as JSON holds them, None for NaN: any number in its place would look as if it were chosen.

    Example:
        >>> plain_thresholds(np.array([0.25, np.nan]))
        [0.25, None]
    """
    return None if thresholds is None else [None if math.isnan(cut) else float(cut) for cut in thresholds]


def threshold_metrics(y_true: ArrayLike, y_score: ArrayLike, thresholds: ArrayLike) -> ThresholdMetrics:
    """Return F1, sensitivity and specificity of every class at its threshold.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_score: (records, classes), finite.
        thresholds: (classes,), NaN = none, which makes the three metrics of that class NaN.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.

    Example:
        >>> metrics = threshold_metrics([[1], [1], [0], [0]], [[0.9], [0.3], [0.3], [0.1]], [0.3])
        >>> metrics.sensitivity.tolist(), metrics.specificity.tolist()  # a score equal to the threshold is a call
        ([1.0], [0.5])
    """
    return decided(*checked_pair(y_true, y_score, binary=True), thresholds)


def decided(true: Values, score: Values, thresholds: ArrayLike) -> ThresholdMetrics:
    """The metrics of every class at its threshold, of arrays that were checked before."""
    cut = np.asarray(thresholds, dtype=np.float64)
    if cut.shape != (true.shape[1],):
        raise InputError(f"Thresholds have the shape {cut.shape!r}; one per class is expected: {(true.shape[1],)!r}.")
    # A threshold is one of the scores, and float32 becomes float64 exactly, so a score equal to it is called.
    called = score >= cut
    positive, negative = true == 1, true == 0
    hits, alarms = (called & positive).sum(axis=0), (called & negative).sum(axis=0)
    # No threshold: comparing with NaN calls nothing, which would give a specificity of 1; without counts it is NaN.
    positives = np.where(np.isnan(cut), 0, positive.sum(axis=0))
    negatives = np.where(np.isnan(cut), 0, negative.sum(axis=0))
    f1 = ratio(2 * hits, np.where(positives > 0, positives + hits + alarms, 0))
    return ThresholdMetrics(f1, ratio(hits, positives), ratio(negatives - alarms, negatives))


def _best(true: NDArray[np.floating], score: NDArray[np.floating], by: Criterion) -> float:
    ranked = descending(true, score)
    if ranked is None:
        return math.nan
    order, positive, last = ranked
    hits, called = np.cumsum(positive)[last], last + 1
    positives, negatives = hits[-1], order.size - hits[-1]
    gain = 2 * hits / (called + positives) if by == "f1" else hits / positives - (called - hits) / negatives
    # argmax takes the first of equal gains, and by descending score that is the highest threshold.
    return float(score[order[last[int(np.argmax(gain))]]])


def _values(name: str, y_true: ArrayLike, y_score: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """One field of `ThresholdMetrics`."""
    values: NDArray[np.float64] = getattr(threshold_metrics(y_true, y_score, thresholds), name)
    return values


METRICS = tuple(
    Metric(
        f"macro_{name}",
        f"macro {title}",
        "multi_label_classification",
        higher_is_better=True,
        function=partial(_values, name),
        description=description,
        heading=title,
        thresholds=True,
    )
    for name, title, description in (
        (
            "f1",
            "F1",
            "mean over labels of F1 at each label's threshold: the score with the best F1 on the validation records",
        ),
        ("sensitivity", "sensitivity", "mean over labels of the sensitivity at those thresholds"),
        ("specificity", "specificity", "mean over labels of the specificity at those thresholds"),
    )
)
