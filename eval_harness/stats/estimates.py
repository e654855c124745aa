"""The metrics of a sample per output and their macro means, each with an interval that holds its point.

Targets and scores are those that `eval_harness.metrics.checks.checked_pair` returned; they are not checked again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eval_harness.metrics.calibration import class_squares, mean_squares
from eval_harness.metrics.checks import Values
from eval_harness.metrics.ranking import class_areas, class_precisions
from eval_harness.metrics.regression import pooled_error, target_errors
from eval_harness.metrics.thresholds import decided
from eval_harness.stats import intervals
from eval_harness.stats.influence import (
    Floats,
    Mask,
    Units,
    auroc_influence,
    average_precision_bias,
    average_precision_influence,
    mean_influence,
)
from eval_harness.stats.intervals import Ends
from eval_harness.stats.resampled import Interval

NAN = float("nan")


@dataclass(frozen=True)
class Measured:
    """A metric of several outputs.

    Attributes:
        point: (outputs,), NaN where undefined.
        ends: of the intervals, NaN where there is none.
        influence: (records, outputs) of each record.
        bias: (outputs,) by which the point is expected to be too high.
        highest: the largest value of the metric.
    """

    point: Floats
    ends: Ends
    influence: Floats
    bias: Floats
    highest: float = 1.0

    def output(self, k: int) -> Interval:
        """One output with its interval."""
        return Interval(float(self.point[k]), float(self.ends.low[k]), float(self.ends.high[k]))

    def macro(self, units: Units, confidence: float) -> Interval:
        """The mean over the outputs that are defined, with its interval; NaN where there is none."""
        defined = ~np.isnan(self.point)
        if not defined.any():
            return Interval(NAN, NAN, NAN)
        point = self.point[defined]
        ends = Ends(self.ends.low[defined], self.ends.high[defined], self.ends.error[defined])
        # One output without an error, and the error of the mean is unknown: leaving it out would make it too small.
        if np.isnan(ends.error).any():
            return Interval(float(point.mean()), NAN, NAN)
        low_high = intervals.macro_ends(
            point, self.bias[defined], ends, self.influence[:, defined], units, confidence, self.highest
        )
        return Interval(float(point.mean()), *low_high)


def ranking(true: Values, score: Values, units: Units, confidence: float) -> dict[str, Measured]:
    """Return "auroc" and "auprc" of every class.

    Args:
        true: (records, classes), 0, 1 or NaN (no target).
        score: (records, classes), finite.
        units: what is independent: records or patients.
        confidence: coverage, between 0 and 1.
    """
    positive, negative = true == 1, true == 0
    number = positive.sum(axis=0), negative.sum(axis=0)
    # The design effect of an AUROC is taken from the rarer outcome, which has most of the variance.
    return {
        "auroc": _auroc(true, score, units, confidence, np.where(number[0] <= number[1], positive, negative)),
        "auprc": _auprc(true, score, units, confidence, positive),
    }


def _auroc(true: Values, score: Values, units: Units, confidence: float, rarer: Mask) -> Measured:
    point, influence = class_areas(true, score), auroc_influence(true, score)
    with np.errstate(divide="ignore", invalid="ignore"):  # classes without an outcome: NaN, as their point
        positives, negatives = ((true == outcome).sum(axis=0).astype(np.float64) for outcome in (1, 0))
        ends = intervals.auroc_ends(
            point, positives, negatives, units.inflation(influence, rarer, confidence), confidence
        )
    return _measured(point, ends, influence)


def _auprc(true: Values, score: Values, units: Units, confidence: float, positive: Mask) -> Measured:
    """Wilson's interval, as if each positive were a trial; its lower end is that of the point less its bias.

    Boyd, Eng and Page (ECML PKDD 2013, LNCS 8190, 451-466) found the binomial interval on the number of positives to
    hold with few of them where bootstrap intervals do not.
    """
    point, influence = class_precisions(true, score), average_precision_influence(true, score)
    inflation = units.inflation(influence, positive, confidence)
    bias = np.minimum(average_precision_bias(true, score) * inflation, point)
    number = np.maximum(positive.sum(axis=0), 1) / inflation
    upper = intervals.share_ends(point, number, confidence)
    lower = intervals.share_ends(point - bias, number, confidence)
    middle = (lower.low + upper.high) / 2
    ends = Ends(lower.low, upper.high, np.sqrt(middle * (1 - middle) / number))
    return _measured(point, ends, influence, bias)


def decisions(
    true: Values, prob: Values, thresholds: ArrayLike, units: Units, confidence: float
) -> dict[str, Measured]:
    """Return "f1", "sensitivity" and "specificity" of every class at its threshold.

    Args:
        true: (records, classes), 0, 1 or NaN (no target).
        prob: (records, classes), finite.
        thresholds: (classes,) chosen on validation; NaN = none.
        units: what is independent: records or patients.
        confidence: coverage, between 0 and 1.
    """
    at = decided(true, prob, thresholds)
    # False throughout where there is no threshold (NaN); the point is undefined then, and so is its interval.
    called = prob >= np.asarray(thresholds, dtype=np.float64)
    positive, negative = true == 1, true == 0
    hit, either = called & positive, positive | (called & negative)
    # The hits of F1 come from the patients with positives alone, few as they may be.
    inflation = np.maximum(_inflation(hit, either, units, confidence), _inflation(hit, positive, units, confidence))
    f1 = intervals.f1_ends(at.f1, np.maximum(either.sum(axis=0), 1) / inflation, confidence)
    return {
        "f1": _measured(at.f1, f1, mean_influence(hit.astype(np.float64), either)),
        "sensitivity": _share(at.sensitivity, hit, positive, units, confidence),
        "specificity": _share(at.specificity, ~called & negative, negative, units, confidence),
    }


def _share(point: Floats, hit: Mask, mask: Mask, units: Units, confidence: float) -> Measured:
    # 1 in place of 0, by which is divided below: without records the point is NaN, and the ends follow it.
    number = np.maximum(mask.sum(axis=0), 1) / _inflation(hit, mask, units, confidence)
    ends = intervals.share_ends(point, number, confidence)
    return _measured(point, ends, mean_influence(hit.astype(np.float64), mask))


def _inflation(hit: Mask, mask: Mask, units: Units, confidence: float) -> Floats:
    return units.inflation(mean_influence(hit.astype(np.float64), mask), mask, confidence)


def brier_scores(true: Values, prob: Values, units: Units, confidence: float) -> dict[str, Measured]:
    """Return the Brier score of every class as "brier".

    Wilson's interval with as many records as its variance is worth, at least as many as for a share. The variance is
    that of one unit more that is completely wrong: on a rare label the next positive may be.

    Arguments and errors as `ranking`.
    """
    has_target, point = ~np.isnan(true), mean_squares(true, prob)
    influence = mean_influence((np.where(has_target, true, 0) - prob).astype(np.float64) ** 2, has_target)
    records, copies = np.maximum(has_target.sum(axis=0), 1), units.copies(has_target)
    variance = units.variance(influence, has_target) + (copies / records) ** 2
    worth = np.maximum(point * (1 - point) / variance, records / copies)
    share = np.where(point <= 1, point, np.nan)  # outputs that are no probabilities: no interval
    return {"brier": _measured(point, intervals.share_ends(share, worth, confidence), influence)}


def calibration(true: Values, prob: Values, units: Units, confidence: float) -> tuple[list[Interval], Interval]:
    """Return the debiased root mean squared calibration error of every class, and over all classes.

    Both intervals are those of the square, which is close to normal, and then the root. Over classes the squares are
    averaged before the root, because negative ones balance positive ones. By patient there is no interval over classes:
    alike records of a patient add to the squares of all classes, and the mean of many is then too high for it.

    Arguments and errors as `ranking`.
    """
    squares = class_squares(true, prob)
    z = intervals.normal_quantile(confidence)
    moved = units.sums(squares.influence)
    reach = z * np.sqrt(squares.chance + (moved**2).sum(axis=0))
    each = [_root(float(square), float(width)) for square, width in zip(squares.point, reach, strict=True)]
    defined = ~np.isnan(squares.point)
    if not defined.any():
        return each, Interval(NAN, NAN, NAN)
    if units.members is not None:
        return each, Interval(_root(float(squares.point[defined].mean()), 0.0).point, NAN, NAN)
    number = defined.sum()
    variance = squares.chance[defined].sum() / number**2 + (moved[:, defined].mean(axis=1) ** 2).sum()
    return each, _root(float(squares.point[defined].mean()), float(z * np.sqrt(variance)))


def _root(square: float, reach: float) -> Interval:
    # The debiased square is below 0 where chance alone explains more than was seen.
    point, low, high = np.sqrt(np.clip([square, square - reach, square + reach], 0, 1))
    return Interval(float(point), float(low), float(high))


def errors(true: Values, predicted: Values, units: Units, confidence: float) -> tuple[Measured, Interval]:
    """Return the MAE of every target, and the pooled MAE.

    Args:
        true: (records, targets), NaN = no target.
        predicted: (records, targets), finite.
        units: what is independent: records or patients.
        confidence: coverage, between 0 and 1.
    """
    has_target = ~np.isnan(true)
    distance = np.abs(np.where(has_target, true, 0).astype(np.float64) - predicted)
    each = _error(target_errors(true, predicted), mean_influence(distance, has_target), has_target, units, confidence)
    point, some_target = pooled_error(true, predicted), np.asarray(has_target.any(axis=1, keepdims=True))
    together = mean_influence(distance.reshape(-1, 1), has_target.reshape(-1, 1)).reshape(has_target.shape).sum(axis=1)
    pooled = _error(np.array([point]), together[:, None], some_target, units, confidence)
    return each, pooled.output(0)


def _error(point: Floats, influence: Floats, mask: Mask, units: Units, confidence: float) -> Measured:
    ends = intervals.error_ends(point, units.variance(influence, mask), units.number(mask), confidence)
    return Measured(point, ends, influence, np.zeros_like(point), highest=float("inf"))


def _measured(point: Floats, ends: Ends, influence: Floats, bias: Floats | None = None) -> Measured:
    return Measured(point, ends, influence, np.zeros_like(point) if bias is None else bias)
