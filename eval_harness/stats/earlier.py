"""The intervals of statistics version 1, so that results made with it are still checked number by number.

All were percentiles of bootstrap resamples. They are too short with few positives, and the mean over rare labels can
lie beside its interval: new results have the intervals of `eval_harness.stats.estimates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from eval_harness.metrics.calibration import BINS, brier, calibration_error, probability_bins
from eval_harness.metrics.checks import checked_pair, ratio
from eval_harness.stats.influence import Floats, Units
from eval_harness.stats.resampled import (
    Counts,
    Interval,
    Resampled,
    interval,
    macro,
    resample_decisions,
    resample_errors,
    resample_ranking,
)

VERSION = 1


@dataclass(frozen=True)
class Percentiles:
    """A metric of several outputs on resamples, read as `eval_harness.stats.estimates.Measured` is."""

    point: Floats
    replicates: Floats
    confidence: float

    def output(self, k: int) -> Interval:
        """One output with its interval."""
        return interval(float(self.point[k]), self.replicates[:, k], confidence=self.confidence, centred=False)

    def macro(self, units: Units, confidence: float) -> Interval:
        """The mean over the outputs that are defined; the units are those of the resamples."""
        return interval(*macro(Resampled(self.point, self.replicates)), confidence=confidence, centred=False)


def classification(
    y_true: ArrayLike, y_prob: ArrayLike, thresholds: ArrayLike, counts: Counts, confidence: float
) -> dict[str, Percentiles]:
    """Return every metric of classes that version 1 had.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), finite.
        thresholds: (classes,) chosen on validation; NaN = none.
        counts: (records, resamples) of `eval_harness.stats.bootstrap.bootstrap_counts`.
        confidence: coverage, between 0 and 1.
    """
    ranked = ranking(y_true, y_prob, counts, confidence)
    others = resample_decisions(y_true, y_prob, thresholds, counts) | resample_calibration(y_true, y_prob, counts)
    return ranked | {name: Percentiles(part.point, part.replicates, confidence) for name, part in others.items()}


def ranking(y_true: ArrayLike, y_prob: ArrayLike, counts: Counts, confidence: float) -> dict[str, Percentiles]:
    """Return "auroc" and "auprc" of every class; arguments and errors as `classification`."""
    pairs = zip(("auroc", "auprc"), resample_ranking(y_true, y_prob, counts), strict=True)
    return {name: Percentiles(part.point, part.replicates, confidence) for name, part in pairs}


def errors(y_true: ArrayLike, y_pred: ArrayLike, counts: Counts, confidence: float) -> tuple[Percentiles, Interval]:
    """Return the MAE of every target, and the pooled MAE; arguments and errors as `resample_errors`."""
    each, point, pooled = resample_errors(y_true, y_pred, counts)
    by_target = Percentiles(each.point, each.replicates, confidence)
    return by_target, interval(point, pooled, confidence=confidence, centred=False)


def resample_calibration(y_true: ArrayLike, y_prob: ArrayLike, counts: Counts) -> dict[str, Resampled]:
    """Return the Brier score and the calibration error of every class, with their replicates.

    Arguments and errors as `classification`; keys "brier" and "calibration_error".
    """
    true, prob = checked_pair(y_true, y_prob, binary=True)
    has_target = ~np.isnan(true)
    gap = np.where(has_target, prob - np.where(has_target, true, 0), 0.0).astype(np.float64)
    # A view of the transpose would make the product copy it for every table.
    weights = np.ascontiguousarray(counts.T, dtype=np.float64)
    observed = weights @ has_target.astype(np.float64)
    squares, off = weights @ gap**2, _bin_errors(gap, probability_bins(prob), counts)
    return {
        "brier": Resampled(brier(true, prob), ratio(squares, observed)),
        "calibration_error": Resampled(calibration_error(true, prob), ratio(off, observed)),
    }


def _bin_errors(gap: Floats, which: NDArray[np.int64], counts: Counts) -> Floats:
    """Sum over bins of |weighted gap|, shape (resamples, classes)."""
    records, classes = gap.shape
    weights, columns = counts.astype(np.float64), np.arange(records)
    errors = np.empty((counts.shape[1], classes))
    for k in range(classes):
        bins: Any = csr_array((gap[:, k], (which[:, k], columns)), shape=(BINS, records))
        errors[:, k] = np.abs(bins @ weights).sum(axis=0)
    return errors
