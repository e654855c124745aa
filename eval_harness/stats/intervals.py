"""Confidence intervals of the metrics: each holds its point, stays within the range of its metric, and covers.

They are made from formulas and not from resamples: rare labels vanish from resamples, which shortens percentile
intervals and moves them off their point. How often each covers the true value is in docs/statistics.md; repeat it with
`python benchmarks/coverage.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from eval_harness.stats.influence import Floats, Units

BISECTIONS = 60  # halves [0, 1] to below the spacing of float64


@dataclass(frozen=True)
class Ends:
    """Ends of the intervals of several outputs and their standard errors, (outputs,) each.

    `error` is taken at the middle of the interval and not at the point: at an AUROC of 1 the point has none. Estimated
    from few units, it is larger by as much as Student's quantile is than the normal one.
    """

    low: Floats
    high: Floats
    error: Floats


@functools.cache  # the bisection of an interval asks for it sixty times
def normal_quantile(confidence: float) -> float:
    """Return z of a two-sided interval: 1.96 for 0.95."""
    return float(norm.ppf(0.5 + confidence / 2))


def auroc_ends(area: Floats, positives: Floats, negatives: Floats, inflation: Floats, confidence: float) -> Ends:
    """Return the intervals of AUROCs: method 5 of Newcombe, Statistics in Medicine 25, 2006, 559-573.

    The ends are where |area - theta| = z sqrt(V(theta)), with the variance of Hanley and McNeil at theta and both of
    its sample sizes replaced by their mean, which makes it symmetric in positives and negatives.
    """
    half, pairs = (positives + negatives) / 2 - 1, positives * negatives

    def variance(theta: Floats) -> Floats:
        spread = 1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return inflation * theta * (1 - theta) * spread / pairs

    def outside(theta: Floats) -> NDArray[np.bool_]:
        return (area - theta) ** 2 > normal_quantile(confidence) ** 2 * variance(theta)

    # Bisection, because the variance depends on theta: there is no closed form, and both ends are bracketed.
    low, high = (_crossing(np.full_like(area, far), area, outside) for far in (0.0, 1.0))
    return Ends(low, high, np.sqrt(variance((low + high) / 2)))


def share_ends(share: Floats, number: Floats, confidence: float) -> Ends:
    """Return the intervals of shares: Wilson, Journal of the American Statistical Association 22, 1927, 209-212.

    Args:
        share: (outputs,) 0 to 1.
        number: (outputs,) how many independent records the share is worth; need not be whole.
        confidence: coverage, between 0 and 1.

    Example:
        >>> import numpy as np
        >>> ends = share_ends(np.array([1.0]), np.array([10.0]), 0.95)  # ten of ten
        >>> ends.low.round(3).tolist(), ends.high.round(3).tolist()
        ([0.722], [1.0])
    """
    weight = normal_quantile(confidence) ** 2 / number
    middle = (share + weight / 2) / (1 + weight)
    reach = np.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    # Rounding may put an end past the point that it equals, at shares of 0 and 1.
    low, high = np.clip(middle - reach, 0, share), np.clip(middle + reach, share, 1)
    return Ends(low, high, np.sqrt(middle * (1 - middle) / number))


def f1_ends(f1: Floats, records: Floats, confidence: float) -> Ends:
    """Return the intervals of F1 scores.

    F1 = 2 J / (1 + J), where J is a plain share: the hits among the records that are positive or called so (Jaccard
    index). So the ends are those of J, transformed.
    """
    jaccard = share_ends(f1 / (2 - f1), records, confidence)
    middle = (jaccard.low + jaccard.high) / 2
    low, high = (2 * end / (1 + end) for end in (jaccard.low, jaccard.high))
    # The error by the derivative of 2 J / (1 + J); rounding of the transform may pass the point, as in `share_ends`.
    return Ends(np.minimum(low, f1), np.maximum(high, f1), jaccard.error * 2 / (1 + middle) ** 2)


def error_ends(mean: Floats, variance: Floats, units: NDArray[np.intp], confidence: float) -> Ends:
    """Return the intervals of mean absolute errors: Student's t on the logarithm; NaN below two units."""
    # On the logarithm the lower end stays above 0, and both sides cover, though errors are skewed to the right.
    error = np.where(units > 1, np.sqrt(variance), np.nan)
    quantile = t.ppf(0.5 + confidence / 2, np.maximum(units - 1, 1))
    # A mean of exactly 0 has no logarithm: the factor stays 1, and the interval is the point.
    factor = np.exp(np.divide(quantile * error, mean, out=np.zeros_like(error), where=(mean > 0) | np.isnan(error)))
    return Ends(mean / factor, mean * factor, error * quantile / normal_quantile(confidence))


def macro_ends(
    point: Floats, bias: Floats, ends: Ends, influence: Floats, units: Units, confidence: float, highest: float
) -> tuple[float, float]:
    """Return the ends of the interval of the mean over outputs: the mean -+ z standard errors.

    The standard error joins those of the outputs, which hold with few positives, by the correlations of the outputs,
    which their influences give. The interval of one output stays as it is.

    Args:
        point: (outputs,).
        bias: (outputs,) by which points are expected to be too high; lengthens the lower side.
        ends: of the outputs.
        influence: (records, outputs).
        units: what is independent.
        confidence: coverage, between 0 and 1.
        highest: the largest value of the metric; the smallest is 0.
    """
    if point.size == 1:
        return float(ends.low[0]), float(ends.high[0])
    moved = units.sums(influence)
    scale = np.sqrt((moved**2).sum(axis=0))
    alone = scale == 0  # nothing moves it, e.g. a perfect AUROC: its error counts as independent
    weight = np.divide(ends.error, scale, out=np.zeros_like(scale), where=~alone)
    variance = ((moved @ weight) ** 2).sum() + (ends.error[alone] ** 2).sum()
    reach = normal_quantile(confidence) * np.sqrt(variance) / point.size
    mean = point.mean()
    return max(0.0, float(mean - bias.mean() - reach)), min(highest, float(mean + reach))


def _crossing(far: Floats, near: Floats, outside: Callable[[Floats], NDArray[np.bool_]]) -> Floats:
    """Where `outside` changes between a far end, which is, and a near one, which is not; by bisection."""
    for _ in range(BISECTIONS):
        middle = (far + near) / 2
        out = outside(middle)
        far, near = np.where(out, middle, far), np.where(out, near, middle)
    return near
