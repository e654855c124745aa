"""Average precision (area under the precision-recall curve without interpolation): per class and macro."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval_harness.metrics.auroc import evaluable_mean
from eval_harness.metrics.checks import checked_pair


def average_precision(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Return the average precision of every class, shape (classes,).

    AP = sum over distinct scores of (recall step) x precision, tied records entering together (as scikit-learn's
    `average_precision_score`). NaN where a class lacks one of the two outcomes, so that the classes counted are those
    of the AUROC. Records with a NaN target are left out of that class.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_score: (records, classes), finite.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.
    """
    true, score = checked_pair(y_true, y_score, binary=True)
    return np.array([_class_ap(true[:, k], score[:, k]) for k in range(true.shape[1])], dtype=np.float64)


def macro_average_precision(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean average precision over the classes that have both outcomes; NaN when none has.

    Raises:
        InputError: as `average_precision`.
    """
    return evaluable_mean(average_precision(y_true, y_score))


def _class_ap(true: NDArray[np.floating], score: NDArray[np.floating]) -> float:
    known = ~np.isnan(true)
    positive, values = true[known] == 1, score[known]
    if not positive.any() or positive.all():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    positive, values = positive[order], values[order]
    last_of_group = np.append(np.flatnonzero(np.diff(values)), values.size - 1)
    hits = np.cumsum(positive)[last_of_group]
    precision = hits / (last_of_group + 1)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])
