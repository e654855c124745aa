"""How far predicted probabilities are from what happens: Brier score, expected and debiased calibration error.

The expected calibration error is too high by construction: a bin of few records is off by chance. On labels with few
positives that is most of it. The squared error can be freed of this bias (`debiased_squares`), the absolute one cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval_harness.metrics.checks import Values, checked_pair, ratio
from eval_harness.metrics.registry import Metric

BINS = 15
LEAST_PER_BIN = 10


def brier(y_true: ArrayLike, y_prob: ArrayLike) -> NDArray[np.float64]:
    """Return the Brier score of every class, shape (classes,): the mean squared difference; NaN without a target.

    Source: Brier, Monthly Weather Review 78(1), 1950, in the form for two outcomes.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), finite.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.

    Example:
        >>> brier([[1], [0]], [[0.8], [0.4]]).round(4).tolist()  # (0.04 + 0.16) / 2
        [0.1]
    """
    return mean_squares(*checked_pair(y_true, y_prob, binary=True))


def mean_squares(true: Values, prob: Values) -> NDArray[np.float64]:
    """The Brier score of every class, of arrays that were checked before."""
    has_target = ~np.isnan(true)
    # Added up in float64: outputs are float32, whose sums over many records lose digits.
    squares = np.where(has_target, (prob - true) ** 2, 0.0).sum(axis=0, dtype=np.float64)
    return ratio(squares, has_target.sum(axis=0))


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

    Example:
        >>> always = np.full((100, 1), 0.3)
        >>> happened = (np.arange(100) < 30).astype(float)[:, None]
        >>> calibration_error(happened, always).round(6).tolist()  # 30 of 100 have it: calibrated, and of no use
        [0.0]
    """
    return binned_errors(*checked_pair(y_true, y_prob, binary=True))


def binned_errors(true: Values, prob: Values) -> NDArray[np.float64]:
    """The calibration error of every class, of arrays that were checked before."""
    has_target = ~np.isnan(true)
    gap = np.where(has_target, prob - true, 0.0).astype(np.float64)
    which = probability_bins(prob)
    # The sum of a bin is its size times the distance of its two means; the sizes cancel in the mean over records.
    errors = [np.abs(np.bincount(which[:, k], gap[:, k], BINS)).sum() for k in range(true.shape[1])]
    return ratio(np.array(errors), has_target.sum(axis=0))


@dataclass(frozen=True)
class SquaredCalibration:
    """The squared calibration error of every class, freed of its bias, and what its interval needs.

    Attributes:
        point: (classes,) negative by chance where probabilities are right; NaN without a target.
        chance: (classes,) variance that it has even when probabilities are right.
        influence: (records, classes) how much each record moves it.
    """

    point: NDArray[np.float64]
    chance: NDArray[np.float64]
    influence: NDArray[np.float64]


def calibration_rms(y_true: ArrayLike, y_prob: ArrayLike) -> NDArray[np.float64]:
    """Return the root mean squared calibration error of every class, debiased, (classes,); NaN without a target.

    Arguments and errors as `debiased_squares`; 0 where the debiased square is negative.
    """
    return np.sqrt(np.maximum(debiased_squares(y_true, y_prob).point, 0))


def overall_calibration_rms(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the debiased root mean squared calibration error over all classes; NaN without any target.

    Arguments and errors as `debiased_squares`. Squares are averaged before the root, because negative ones of some
    classes balance positive ones of others.
    """
    squares = debiased_squares(y_true, y_prob).point
    observed = squares[~np.isnan(squares)]
    return float(np.sqrt(np.clip(observed.mean(), 0, 1))) if observed.size else math.nan


def debiased_squares(y_true: ArrayLike, y_prob: ArrayLike) -> SquaredCalibration:
    """Return the squared calibration error of every class without the bias of the plain one.

    Records fall into up to 15 bins of equal numbers of records (at least 10 each; equal probabilities stay together).
    Of each bin the squared distance of mean probability and observed frequency counts, less the variance of that
    distance. Source: Kumar, Liang and Ma, Verified Uncertainty Calibration, NeurIPS 2019, section 4, for each class by
    itself; the variance is that of outcome minus probability, as probabilities vary within a bin.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), between 0 and 1.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.
    """
    return class_squares(*checked_pair(y_true, y_prob, binary=True))


def class_squares(true: Values, prob: Values) -> SquaredCalibration:
    """The debiased squared error of every class, of arrays that were checked before."""
    classes = true.shape[1]
    point, chance, influence = np.full(classes, np.nan), np.full(classes, np.nan), np.zeros(true.shape)
    for k in range(classes):
        has_target = ~np.isnan(true[:, k])
        if has_target.any():
            outcome, predicted = true[has_target, k].astype(np.float64), prob[has_target, k].astype(np.float64)
            point[k], chance[k], influence[has_target, k] = _squares(outcome, predicted)
    return SquaredCalibration(point, chance, influence)


def _squares(outcome: NDArray[np.float64], prob: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """Debiased square, chance variance and influences (records,) of one class."""
    from scipy.stats import rankdata  # here, because listings read the entries below and start without scipy

    records = outcome.size
    bins = min(BINS, max(records // LEAST_PER_BIN, 1))
    # By the lowest rank of a tie, so that equal probabilities share a bin in whatever order the records come.
    which = ((rankdata(prob, method="min").astype(np.int64) - 1) * bins) // records
    size = np.bincount(which, minlength=bins)
    gap = outcome - prob
    mean = np.bincount(which, gap, bins) / np.maximum(size, 1)
    apart = gap - mean[which]
    # Of the mean of a bin; with a single record the numerator is 0, so its divisor does not matter.
    variance = np.bincount(which, apart**2, bins) / np.maximum((size - 1) * size, 1)
    weight = size / records
    # A bin in which nothing happened has no observed variance; by its probabilities, or one event in all, it has.
    least = 1 / (records + 1)
    expected = np.clip(np.bincount(which, prob, bins) / np.maximum(size, 1), least, 1 - least)
    likely = np.maximum(variance, expected * (1 - expected) / np.maximum(size, 1))
    point = float((weight * (mean**2 - variance)).sum())
    return point, float(2 * ((weight * likely) ** 2).sum()), 2 * mean[which] * apart / records


def probability_bins(prob: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the bin of every probability, 0 to 14; 1.0 belongs to the last one.

    Example:
        >>> probability_bins(np.array([0.0, 0.0666, 0.0667, 1.0])).tolist()
        [0, 0, 1, 14]
    """
    # In float32 a product just below a whole number rounds up to it, into the next bin.
    return np.clip((np.asarray(prob, dtype=np.float64) * BINS).astype(np.int64), 0, BINS - 1)


METRICS = (
    Metric(
        "macro_brier",
        "macro Brier score",
        "multi_label_classification",
        higher_is_better=False,
        function=brier,
        description="mean over labels of the mean squared difference between probability and outcome",
        heading="Brier score",
    ),
    Metric(
        "macro_calibration_error",
        "macro calibration error, biased upwards",
        "multi_label_classification",
        higher_is_better=False,
        function=calibration_error,
        description="mean over labels of the expected calibration error, 15 bins of equal width; too high by chance "
        "where positives are few",
        heading="calibration error",
    ),
    Metric(
        "macro_calibration_rms",
        "calibration error over all labels, debiased",
        "multi_label_classification",
        higher_is_better=False,
        function=overall_calibration_rms,
        description="root of the mean over labels of the squared calibration error, less what chance adds (Kumar, "
        "Liang and Ma, NeurIPS 2019; 15 bins of equal numbers of records); 0 where chance explains all of it",
        heading="calibration error, debiased",
    ),
)
