"""Bootstrap replicates of decisions at thresholds.

All are ratios of weighted sums over records, so a replicate is a product of the counts with a table of what each
record contributes. Thresholds stay what validation gave: they are part of the model, not of the resample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval_harness.metrics.checks import checked_pair
from eval_harness.metrics.thresholds import threshold_metrics
from eval_harness.stats.resampled import Resampled

Counts = NDArray[np.uint16]
EXACT_FLOAT32 = 2**24  # float32 holds every integer up to here


def resample_decisions(
    y_true: ArrayLike, y_prob: ArrayLike, thresholds: ArrayLike, counts: Counts
) -> dict[str, Resampled]:
    """Return F1, sensitivity and specificity of every class at its threshold, with their replicates.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_prob: (records, classes), finite.
        thresholds: (classes,) chosen on validation; NaN = none.
        counts: (records, resamples) of `eval_harness.stats.bootstrap.bootstrap_counts`.

    Returns:
        "f1", "sensitivity" and "specificity"; NaN where undefined.
    """
    true, prob = checked_pair(y_true, y_prob, binary=True)
    found = threshold_metrics(true, prob, thresholds)
    cut = np.asarray(thresholds, dtype=np.float64)
    usable = ~np.isnan(cut)
    called, positive, negative = prob >= cut, (true == 1) & usable, (true == 0) & usable
    hits, alarms, positives, negatives = _sums([called & positive, called & negative, positive, negative], counts)
    return {
        "f1": Resampled(found.f1, _ratio(2 * hits, np.where(positives > 0, positives + hits + alarms, 0))),
        "sensitivity": Resampled(found.sensitivity, _ratio(hits, positives)),
        "specificity": Resampled(found.specificity, _ratio(negatives - alarms, negatives)),
    }


def _sums(parts: list[NDArray[np.bool_]], counts: Counts) -> list[NDArray[np.float64]]:
    """Weighted sums of several 0/1 tables (records, classes), each (resamples, classes), exact."""
    dtype = np.float32 if int(counts.sum(axis=0, dtype=np.int64).max(initial=0)) <= EXACT_FLOAT32 else np.float64
    table: NDArray[Any] = np.concatenate(parts, axis=1).astype(dtype)
    weights: NDArray[Any] = np.ascontiguousarray(counts.T, dtype=dtype)
    return np.split((weights @ table).astype(np.float64), len(parts), axis=1)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
