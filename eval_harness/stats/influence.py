"""How much each record moves a metric: the derivative of the metric with respect to the record's weight.

Summed over the records of a patient and squared, these derivatives give the variance of a metric and the correlation
of two metrics without any resampling (the infinitesimal jackknife: Efron, The Jackknife, the Bootstrap and Other
Resampling Plans, 1982, chapter 6; for the AUROC with several records of a patient: Obuchowski, Biometrics 53, 1997,
567-578). They say what repeated records of a patient are worth; the intervals are in `eval_harness.stats.intervals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import norm, t

from eval_harness.metrics.ranking import descending

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Units:
    """What is independent of each other: the records, or patients with all their records.

    Attributes:
        members: (units, records) matrix of ones; None where each record is a unit of its own.
    """

    members: csr_array | None = None

    @classmethod
    def of(cls, groups: NDArray[Any] | None) -> Units:
        """Units from the patient of each record, (records,); None makes each record a unit."""
        if groups is None:
            return cls()
        names, member = np.unique(groups, return_inverse=True)
        if names.size == len(groups):
            return cls()  # a record each: the same numbers without a matrix
        ones = np.ones(len(groups))
        return cls(csr_array((ones, (member, np.arange(len(groups)))), shape=(names.size, len(groups))))

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sums over the records of each unit: (records, outputs) -> (units, outputs)."""
        table: Floats = np.asarray(values, dtype=np.float64)
        return table if self.members is None else self.members @ table

    def number(self, mask: Mask) -> NDArray[np.intp]:
        """How many units have a record in the mask, (outputs,)."""
        carrying: NDArray[np.intp] = (self.sums(mask) > 0).sum(axis=0)
        return carrying

    def variance(self, influence: Floats, mask: Mask) -> Floats:
        """Variance of each output, (outputs,); infinite where fewer than two units of the mask carry it."""
        number = self.number(mask)
        squares = (self.sums(influence) ** 2).sum(axis=0)
        # n / (n - 1), because influences are taken from the mean of the same units.
        return np.where(number > 1, squares * number / np.maximum(number - 1, 1), np.inf)

    def inflation(self, influence: Floats, mask: Mask, confidence: float) -> Floats:
        """How many times larger the variance is than if the records were independent, (outputs,).

        The design effect: variance over units by variance over records, made larger for being estimated from few units
        (Korn and Graubard, Survey Methodology 24, 1998, 193-201). It is at least 1 and at most `copies`.

        Args:
            influence: (records, outputs).
            mask: (records, outputs) the records that carry the metric.
            confidence: of the interval that it is for.
        """
        if self.members is None:
            return np.ones(mask.shape[1])
        alone, together, number = Units().variance(influence, mask), self.variance(influence, mask), self.number(mask)
        few = t.ppf(0.5 + confidence / 2, np.maximum(number - 1, 1)) / norm.ppf(0.5 + confidence / 2)
        # Where nothing can be estimated, records count as copies of each other: too long rather than too short.
        estimable = (alone > 0) & np.isfinite(together)
        ratio = np.divide(together * few**2, alone, out=np.full(number.shape, np.inf), where=estimable)
        return np.clip(ratio, 1, self.copies(mask))

    def copies(self, mask: Mask) -> Floats:
        """The design effect if records of a unit were copies of each other, (outputs,), at least 1.

        Source: Kish, Survey Sampling, 1965, section 5.4, for units of unequal size.
        """
        sizes = self.sums(mask)
        return np.maximum((sizes**2).sum(axis=0) / np.maximum(sizes.sum(axis=0), 1), 1)


def mean_influence(values: Floats, mask: Mask) -> Floats:
    """Return the influence of each record on the mean of values over a mask, (records, outputs), 0 outside the mask."""
    number = np.maximum(mask.sum(axis=0), 1)
    inside = np.where(mask, values, 0.0)
    return np.where(mask, inside - inside.sum(axis=0) / number, 0.0) / number


def auroc_influence(true: NDArray[np.floating], score: NDArray[np.floating]) -> Floats:
    """Return the influence of each record on the AUROC of each class, (records, classes), 0 where undefined.

    It is the record's placement value minus the AUROC, divided by the number of records of its outcome (DeLong, DeLong
    and Clarke-Pearson, Biometrics 44, 1988, 837-845).

    Args:
        true: (records, classes), 0, 1 or NaN.
        score: (records, classes), finite.
    """
    influence = np.zeros(true.shape)
    for k in range(true.shape[1]):
        has_target = ~np.isnan(true[:, k])
        positive, values = true[has_target, k] == 1, score[has_target, k]
        positives, negatives = values[positive], values[~positive]
        if not positives.size or not negatives.size:
            continue
        placement = np.empty(values.size)
        placement[positive] = _share_below(positives, negatives)
        placement[~positive] = 1 - _share_below(negatives, positives)
        area = placement[positive].mean()
        influence[has_target, k] = (placement - area) / np.where(positive, positives.size, negatives.size)
    return influence


def _share_below(values: Floats, others: Floats) -> Floats:
    """Of each value the share of others that lie below it; a tie counts half, as in the AUROC."""
    ordered = np.sort(others)
    both = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(both / 2 / others.size)


def average_precision_influence(true: NDArray[np.floating], score: NDArray[np.floating]) -> Floats:
    """Return the influence of each record on average precisions, (records, classes), 0 where undefined.

    AP = sum over positives i of hits_i / (hits_i + alarms_i) / positives. A record moves the terms of all positives
    that it is ranked with or above, and a positive its own term and the number of positives as well.

    Args:
        true: (records, classes), 0, 1 or NaN.
        score: (records, classes), finite.
    """
    influence = np.zeros(true.shape)
    for k, (order, positive, last) in _ranked(true, score):
        group = np.repeat(np.arange(last.size), np.diff(last, prepend=-1))
        hits, called = np.cumsum(positive)[last], last + 1.0
        steps = np.diff(hits, prepend=0)
        # Running sums from the far end: what a record moves is the terms of all groups from its own downwards.
        gain = np.cumsum((steps * (called - hits) / called**2)[::-1])[::-1][group]
        loss = np.cumsum((steps * hits / called**2)[::-1])[::-1][group]
        precision = hits / called
        average = (steps * precision).sum() / hits[-1]
        influence[order, k] = np.where(positive, precision[group] - average + gain, -loss) / hits[-1]
    return influence


def average_precision_bias(true: NDArray[np.floating], score: NDArray[np.floating]) -> Floats:
    """Return by how much the average precision of each class is expected to be too high, (classes,), 0 where undefined.

    Every positive counts itself among the hits, so precision is too high with few positives. The bias is taken as the
    average precision minus its value with each positive left out of its own term: alarms / (called (called - 1)).

    Args:
        true: (records, classes), 0, 1 or NaN.
        score: (records, classes), finite.
    """
    bias = np.zeros(true.shape[1])
    for k, (_, positive, last) in _ranked(true, score):
        hits, called = np.cumsum(positive)[last], last + 1.0
        terms = (called - hits) / (called * np.maximum(called - 1, 1))
        bias[k] = (np.diff(hits, prepend=0) * terms).sum() / hits[-1]
    return bias


def _ranked(
    true: NDArray[np.floating], score: NDArray[np.floating]
) -> Iterator[tuple[int, tuple[NDArray[np.intp], Mask, NDArray[np.intp]]]]:
    """Yield each class with both outcomes: its records by descending score, their outcomes, the last of each tie."""
    for k in range(true.shape[1]):
        ranked = descending(true[:, k], score[:, k])
        if ranked is not None:
            yield k, ranked
