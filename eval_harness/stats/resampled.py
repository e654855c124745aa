"""Percentile intervals of resamples, the two readings of the macro mean, and paired comparisons.

The intervals of a result are not from here, but for the published reading: see `eval_harness.stats.estimates`.

Two rules are separate. The *paper* reading follows the published code to the digit: an undefined class counts 0.5,
replicates are rounded to float32, and one undefined replicate leaves a single class without an interval. Because rare
classes vanish from replicates, that macro interval is biased low. Our own reading takes the classes that have both
outcomes on the test split and, in each replicate, the mean over those of them that it can evaluate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_hub.errors import InputError
from ecg_hub.spelling import registered
from eval_harness.metrics.checks import checked_pair, ratio
from eval_harness.metrics.ranking import auroc, average_precision, evaluable_mean, paper_mean
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC, MACRO_AUROC_PAPER, MAE
from eval_harness.metrics.regression import mae, pooled_mae
from eval_harness.metrics.thresholds import decided
from eval_harness.stats.bootstrap import auroc_replicates, mae_replicates, ranking_replicates

Counts = NDArray[np.uint16]
EXACT_FLOAT32 = 2**24  # float32 holds every integer up to here


@dataclass(frozen=True)
class Interval:
    """A point estimate with the ends of its 95 % interval; NaN where undefined."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """First minus second on the same resamples; significant when the 95 % interval excludes 0.

    That is the published reading of one pair, not adjusted for others; `eval_harness.results.comparison` decides on
    ties.
    """

    point: float
    low: float
    high: float
    significant: bool


@dataclass(frozen=True)
class Resampled:
    """A metric per output: points of shape (outputs,) and replicates of shape (resamples, outputs)."""

    point: NDArray[np.float64]
    replicates: NDArray[np.float64]


def interval(
    point: float,
    replicates: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    paper: bool = False,
    centred: bool = True,
) -> Interval:
    """Return the percentile interval around the point: point + the percentiles, 2.5 and 97.5, of replicate - median.

    Taking them from the median keeps the bias of the resamples (rare labels vanish, few positives repeat) out of the
    interval, which so always holds its point. Percentiles are interpolated linearly. Undefined (NaN) replicates are
    left out; when their share exceeds the tail that the percentile cuts off (2.5 %), they could hide that whole tail,
    and low and high are NaN.

    Args:
        point: the metric on the whole split; NaN gives NaN ends.
        replicates: (resamples,).
        confidence: coverage, between 0 and 1.
        paper: the published rule: percentiles of the replicates as they are, rounded to float32, which may lie beside
            the point, and NaN ends as soon as one replicate is undefined.
        centred: False for percentiles of the replicates as they are (statistics version 1).

    Example:
        >>> replicates = np.array([0.80, 0.82, 0.84, 0.86, 0.88])  # a point too low on the whole
        >>> ends = interval(0.85, replicates)
        >>> round(ends.low, 3), round(ends.high, 3)
        (0.812, 0.888)
        >>> ends = interval(0.85, replicates, centred=False)
        >>> round(ends.low, 3), round(ends.high, 3)
        (0.802, 0.878)
        >>> interval(0.85, np.append(replicates, np.nan)).low  # one of six is undefined: more than the tail of 2.5 %
        nan
    """
    tail = (1 - confidence) / 2
    undefined = np.isnan(replicates)
    if np.isnan(point) or replicates.size == 0 or undefined.mean() > (0 if paper else tail):
        return Interval(point, math.nan, math.nan)
    values = replicates[~undefined]
    if paper:
        # The published code keeps its replicates in float32, and the percentiles show it.
        values = values.astype(np.float32).astype(np.float64)
    # Published intervals are of the replicates as they are, so they may lie beside the point.
    centre = np.median(values) if centred and not paper else point
    low, high = point + np.percentile(values - centre, (100 * tail, 100 * (1 - tail)))
    return Interval(point, float(low), float(high))


def macro(resampled: Resampled) -> tuple[float, NDArray[np.float64]]:
    """Return the macro mean over the classes that can be evaluated, and its replicates (resamples,).

    In a replicate the mean goes over those of these classes that it can evaluate; NaN where there is none.
    """
    evaluable = ~np.isnan(resampled.point)
    replicates = resampled.replicates[:, evaluable]
    present = ~np.isnan(replicates)
    # Not nanmean, which warns where a replicate can evaluate no class at all.
    sums = np.where(present, replicates, 0.0).sum(axis=1)
    return evaluable_mean(resampled.point), ratio(sums, present.sum(axis=1))


def macro_paper(resampled: Resampled) -> tuple[float, NDArray[np.float64]]:
    """Return the published macro mean over all classes, undefined ones counted 0.5, and its replicates (resamples,).

    Example:
        >>> pair = Resampled(np.array([0.9, np.nan]), np.array([[0.8, np.nan], [np.nan, np.nan]]))
        >>> macro_paper(pair)[0], macro_paper(pair)[1].tolist()
        (0.7, [0.65, 0.5])
        >>> macro(pair)[0], macro(pair)[1].tolist()
        (0.9, [0.8, nan])
    """
    if resampled.point.size == 0:
        return math.nan, np.full(resampled.replicates.shape[0], np.nan)
    return paper_mean(resampled.point), np.where(np.isnan(resampled.replicates), 0.5, resampled.replicates).mean(axis=1)


def resample_ranking(y_true: ArrayLike, y_score: ArrayLike, counts: NDArray[np.uint16]) -> tuple[Resampled, Resampled]:
    """Return AUROC and average precision of every class with their replicates.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_score: (records, classes), finite.
        counts: (records, resamples) of `eval_harness.stats.bootstrap.bootstrap_counts`.
    """
    areas, precisions = ranking_replicates(y_true, y_score, counts)
    return Resampled(auroc(y_true, y_score), areas), Resampled(average_precision(y_true, y_score), precisions)


def resample_errors(
    y_true: ArrayLike, y_pred: ArrayLike, counts: NDArray[np.uint16]
) -> tuple[Resampled, float, NDArray[np.float64]]:
    """Return the MAE of every target with its replicates, then the pooled MAE and its replicates (resamples,)."""
    per_target, pooled = mae_replicates(y_true, y_pred, counts)
    return Resampled(mae(y_true, y_pred), per_target), pooled_mae(y_true, y_pred), pooled


def resample_decisions(
    y_true: ArrayLike, y_prob: ArrayLike, thresholds: ArrayLike, counts: Counts
) -> dict[str, Resampled]:
    """Return F1, sensitivity and specificity of every class at its threshold, with their replicates.

    All are ratios of weighted sums over records, so a replicate is a product of the counts with a table of what each
    record contributes. Thresholds stay what validation gave: they are part of the model, not of the resample.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), finite.
        thresholds: (classes,) chosen on validation; NaN = none.
        counts: (records, resamples) of `eval_harness.stats.bootstrap.bootstrap_counts`.

    Returns:
        "f1", "sensitivity" and "specificity"; NaN where undefined.
    """
    true, prob = checked_pair(y_true, y_prob, binary=True)
    at = decided(true, prob, thresholds)
    cut = np.asarray(thresholds, dtype=np.float64)
    # A label without positives on validation has no threshold: its decisions are undefined, not all negative.
    usable = ~np.isnan(cut)
    called, positive, negative = prob >= cut, (true == 1) & usable, (true == 0) & usable
    hits, alarms, positives, negatives = _weighted_sums(
        [called & positive, called & negative, positive, negative], counts
    )
    return {
        "f1": Resampled(at.f1, ratio(2 * hits, np.where(positives > 0, positives + hits + alarms, 0))),
        "sensitivity": Resampled(at.sensitivity, ratio(hits, positives)),
        "specificity": Resampled(at.specificity, ratio(negatives - alarms, negatives)),
    }


def _weighted_sums(parts: list[NDArray[np.bool_]], counts: Counts) -> list[NDArray[np.float64]]:
    """Weighted sums of several 0/1 tables (records, classes), each (resamples, classes), exact."""
    # Sums of integers are exact in float32 up to 2**24, and its matrix product takes half the time of float64.
    dtype = np.float32 if counts.sum(axis=0).max(initial=0) <= EXACT_FLOAT32 else np.float64
    table: NDArray[Any] = np.concatenate(parts, axis=1).astype(dtype)
    weights: NDArray[Any] = np.ascontiguousarray(counts.T, dtype=dtype)
    return np.split((weights @ table).astype(np.float64), len(parts), axis=1)


METRICS = (MACRO_AUROC, MACRO_AUROC_PAPER, MACRO_AUPRC, MAE)


def metric_replicates(
    metric: str, y_true: ArrayLike, y_score: ArrayLike, counts: NDArray[np.uint16]
) -> tuple[float, NDArray[np.float64]]:
    """Return one metric of METRICS on the whole split and in every replicate (resamples,)."""
    metric = registered("metric", metric, METRICS)
    if metric == MAE:
        _, point, replicates = resample_errors(y_true, y_score, counts)
        return point, replicates
    if metric == MACRO_AUPRC:
        return macro(resample_ranking(y_true, y_score, counts)[1])
    # Without the average precision, which takes twice as long as the AUROC.
    areas = Resampled(auroc(y_true, y_score), auroc_replicates(y_true, y_score, counts))
    return macro_paper(areas) if metric == MACRO_AUROC_PAPER else macro(areas)


def difference(
    point_a: float,
    replicates_a: NDArray[np.float64],
    point_b: float,
    replicates_b: NDArray[np.float64],
    *,
    paper: bool = False,
) -> Difference:
    """Return a - b with its paired 95 % interval; both must come from the same counts.

    An undefined interval is never significant.

    Raises:
        InputError: numbers of replicates that differ.

    Example:
        >>> first, second = np.array([0.90, 0.91, 0.92]), np.array([0.80, 0.82, 0.81])
        >>> difference(0.91, first, 0.81, second).significant
        True
    """
    if replicates_a.shape != replicates_b.shape:
        raise InputError(
            f"{replicates_a.shape[0]} replicates against {replicates_b.shape[0]}: a paired comparison needs the same "
            "counts for both."
        )
    # Replicate by replicate, on the same resamples: what makes both models better or worse cancels.
    ends = interval(point_a - point_b, replicates_a - replicates_b, paper=paper)
    return Difference(ends.point, ends.low, ends.high, bool(ends.low > 0 or ends.high < 0))


def differences(
    point: float,
    replicates: NDArray[np.float64],
    points: NDArray[np.float64],
    others: NDArray[np.float64],
    *,
    paper: bool = False,
) -> list[Difference]:
    """Return what `difference` gives of one model against each of many, in one pass over them.

    Args:
        point: of the one.
        replicates: of the one, (resamples,).
        points: of the others, (models,).
        others: their replicates, (models, resamples).
        paper: as for `difference`.
    """
    gaps, tail = replicates - others, (1 - 0.95) / 2
    by_itself = np.isnan(gaps).any(axis=1) | np.isnan(point - points)
    found: list[Difference | None] = [None] * len(points)
    whole = np.flatnonzero(~by_itself)
    if len(whole) and gaps.shape[1]:
        values, at = gaps[whole], (point - points)[whole]
        if paper:
            values = values.astype(np.float32).astype(np.float64)
        centre = at if paper else np.median(values, axis=1)
        ends = at + np.percentile(values - centre[:, None], (100 * tail, 100 * (1 - tail)), axis=1)
        for row, middle, low, high in zip(whole, at, *ends, strict=True):
            found[row] = Difference(float(middle), float(low), float(high), bool(low > 0 or high < 0))
    # Undefined replicates are few; each such pair leaves out others.
    return [
        difference(point, replicates, float(points[row]), others[row], paper=paper) if entry is None else entry
        for row, entry in enumerate(found)
    ]


def compare(
    y_true: ArrayLike, y_score_a: ArrayLike, y_score_b: ArrayLike, counts: NDArray[np.uint16], metric: str
) -> Difference:
    """Compare two models that predicted the same records, on the same resamples.

    Args:
        y_true: (records, outputs), NaN = no target.
        y_score_a: (records, outputs) of the first model, finite.
        y_score_b: (records, outputs) of the second, rows in the same order.
        counts: (records, resamples) of `eval_harness.stats.bootstrap.bootstrap_counts`.
        metric: one of METRICS. Differences are a - b: for "mae" a negative one speaks for a.
    """
    first = metric_replicates(metric, y_true, y_score_a, counts)
    second = metric_replicates(metric, y_true, y_score_b, counts)
    return difference(*first, *second, paper=metric == MACRO_AUROC_PAPER)
