"""Mean absolute error: per target, pooled over all targets, and the mean over targets.

Targets of the benchmark are z-scored with the mean and standard deviation of the training folds, so an error is in
training standard deviations. The published number of several targets is the pooled one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval_harness.metrics.checks import Values, checked_pair, ratio
from eval_harness.metrics.ranking import evaluable_mean
from eval_harness.metrics.registry import MACRO_MAE, MAE, Metric


def mae(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float64]:
    """Return the mean absolute error of every target over its known values, shape (targets,); NaN without any.

    Args:
        y_true: (records, targets), NaN = no target.
        y_pred: (records, targets), finite, in the same unit.

    Raises:
        InputError: shapes differ, predictions are not finite, or targets are infinite.

    Example:
        >>> import numpy as np
        >>> mae([[60, 10], [70, np.nan], [80, np.nan]], [[61, 14], [71, 0], [81, 0]]).tolist()
        [1.0, 4.0]
    """
    return target_errors(*checked_pair(y_true, y_pred, binary=False))


def target_errors(true: Values, predicted: Values) -> NDArray[np.float64]:
    """The mean absolute error of every target, of arrays that were checked before."""
    error, has_target = _absolute_errors(true, predicted)
    return ratio(error.sum(axis=0), has_target.sum(axis=0))


def pooled_mae(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean absolute error over all known values of all targets: the published reading.

    Targets with more observations weigh more. NaN when nothing is known.

    Raises:
        InputError: as `mae`.

    Example:
        >>> import numpy as np
        >>> targets, predicted = [[60, 10], [70, np.nan], [80, np.nan]], [[61, 14], [71, 0], [81, 0]]
        >>> pooled_mae(targets, predicted), mean_mae(targets, predicted)  # (1 + 1 + 1 + 4) / 4, (1 + 4) / 2
        (1.75, 2.5)
    """
    return pooled_error(*checked_pair(y_true, y_pred, binary=False))


def pooled_error(true: Values, predicted: Values) -> float:
    """The pooled mean absolute error, of arrays that were checked before."""
    error, has_target = _absolute_errors(true, predicted)
    return float(error.sum() / has_target.sum()) if has_target.any() else math.nan


def mean_mae(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean over targets of their mean absolute errors, each target weighing the same.

    Raises:
        InputError: as `mae`.
    """
    return evaluable_mean(mae(y_true, y_pred))


def _absolute_errors(true: Values, predicted: Values) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute errors with 0 where the target is NaN, and the mask of known targets."""
    has_target = ~np.isnan(true)
    # float64 before the difference: of two float32 numbers that are close it has few digits left.
    error = np.abs(true.astype(np.float64) - predicted)
    return np.where(has_target, error, 0.0), has_target


METRICS = (
    Metric(
        MAE,
        "MAE of z-scores",
        "regression",
        higher_is_better=False,
        function=pooled_mae,
        description="regression on z-scored targets: absolute error pooled over all known values of all targets, as "
        "published",
        heading="MAE",
        bounds=(0.0, math.inf),
    ),
    Metric(
        MACRO_MAE,
        "macro MAE of z-scores",
        "regression",
        higher_is_better=False,
        function=mae,
        description="mean over targets of their mean absolute errors",
        bounds=(0.0, math.inf),
    ),
)
