"""How far predicted probabilities are from what happens: Brier score and expected calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval_harness.metrics.checks import checked_pair

BINS = 15


def brier(y_true: ArrayLike, y_prob: ArrayLike) -> NDArray[np.float64]:
    """Return the Brier score of every class, shape (classes,): the mean squared difference; NaN without a target.

    Source: Brier, Monthly Weather Review 78(1), 1950, in the form for two outcomes.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), finite.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.
    """
    true, prob = checked_pair(y_true, y_prob, binary=True)
    known = ~np.isnan(true)
    squares = np.where(known, (prob - np.where(known, true, 0)) ** 2, 0.0).sum(axis=0, dtype=np.float64)
    return _mean(squares, known.sum(axis=0))


def calibration_error(y_true: ArrayLike, y_prob: ArrayLike) -> NDArray[np.float64]:
    """Return the expected calibration error of every class, shape (classes,), NaN without a target.

    Records fall into 15 bins of equal width by their probability; the error is the mean over records of the distance
    between mean probability and observed frequency of their bin. Source: Guo et al., ICML 2017, section 2, for each
    class by itself.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), between 0 and 1.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.
    """
    true, prob = checked_pair(y_true, y_prob, binary=True)
    known = ~np.isnan(true)
    gap = np.where(known, prob - np.where(known, true, 0), 0.0).astype(np.float64)
    which = probability_bins(prob)
    errors = [np.abs(np.bincount(which[:, k], gap[:, k], BINS)).sum() for k in range(true.shape[1])]
    return _mean(np.array(errors, dtype=np.float64), known.sum(axis=0))


def probability_bins(prob: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the bin of every probability, 0 to 14; 1.0 belongs to the last one."""
    return np.clip((np.asarray(prob, dtype=np.float64) * BINS).astype(np.int64), 0, BINS - 1)


def _mean(total: NDArray[np.float64], number: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
