"""AUROC and average precision under many weightings of the same records at once, exact including ties.

A bootstrap replicate only changes how often each record counts. So a class is sorted once by descending score and
cut into bags: the negatives from one group of tied positives to the next. Per replicate the sum of the counts in each
bag is one sparse-times-dense product, running sums over the bags give the false positives at each group, and both
areas follow. All sums are integers and exact: 16 bit wide while no replicate weighs 65,536 or more, 32 bit beyond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from eval_harness.metrics.checks import ratio

Counts = NDArray[np.unsignedinteger[Any]]  # uint16, or uint32 where sums need it
NARROW_LIMIT = 2**16  # total weight of a replicate from which 16-bit sums could overflow


@dataclass(frozen=True)
class RankedClass:
    """One class, sorted and cut into groups of equal score that hold at least one positive, best score first.

    The groups are padded with empty ones to blocks * size, so that running sums go over a (blocks, size) grid.
    """

    negatives: csr_array  # (groups + 1, records): negatives up to and including a group since the one before; the rest
    positives: csr_array  # (groups, records)
    tied: csr_array  # (groups with ties, records): negatives that share the score of the group's positives
    tied_groups: NDArray[np.intp]
    blocks: int
    size: int


@dataclass(frozen=True)
class WeightedRanking:
    """What both areas need, for the replicates of one pass; all of shape (groups, replicates) but the last two."""

    hits: Counts  # weight of the positives of each group
    alarms: Counts  # weight of the negatives with a score at least the group's
    ties: NDArray[np.unsignedinteger]  # twice the tie correction, (replicates,)
    remaining: Counts  # weight of the negatives below every positive, (replicates,)


def rank_class(
    positive: NDArray[np.bool_], score: NDArray[np.floating], records: NDArray[np.intp], total: int
) -> RankedClass:
    """Sort one class, which holds a positive at least, and build its bags."""
    order = np.argsort(-score)  # equal scores in any order: they share a bag
    positive, score, records = positive[order], score[order], records[order]
    starts = np.append(0, np.flatnonzero(np.diff(score)) + 1)
    ends = np.append(starts[1:], score.size)
    hits = np.append(0, np.cumsum(positive))  # positives before row i
    holds_positive = hits[ends] > hits[starts]
    starts, ends = starts[holds_positive], ends[holds_positive]
    groups = starts.size
    # As many blocks as groups in each, about: the two loops of `_running` are shortest together then.
    size = math.isqrt(groups)
    blocks = -(-groups // size)
    padding = blocks * size - groups

    alarms = np.arange(score.size + 1) - hits  # negatives before row i
    negative_records, positive_records = records[~positive], records[positive]
    tied_groups = np.flatnonzero(alarms[ends] > alarms[starts])
    negative_ends = np.concatenate([_padded(alarms[ends], padding), [negative_records.size]])
    return RankedClass(
        negatives=_bags(negative_records, negative_ends, total),
        positives=_bags(positive_records, _padded(hits[ends], padding), total),
        tied=_tied_bags(negative_records, alarms[starts[tied_groups]], alarms[ends[tied_groups]], total),
        tied_groups=tied_groups,
        blocks=blocks,
        size=size,
    )


def weigh(ranked: RankedClass, counts: Counts) -> WeightedRanking:
    """Sum the counts of every bag for the replicates of one pass.

    Args:
        ranked: the class.
        counts: (records, replicates), C-contiguous; the sums are as wide as they are.
    """
    replicates = counts.shape[1]
    bags = ranked.negatives @ counts
    hits = ranked.positives @ counts
    alarms = _running(bags[:-1].reshape(ranked.blocks, ranked.size, replicates)).reshape(-1, replicates)
    accumulator = _accumulator(counts)
    products = np.multiply(ranked.tied @ counts, hits[ranked.tied_groups], dtype=accumulator)
    ties = products.sum(axis=0, dtype=accumulator)
    return WeightedRanking(hits=hits, alarms=alarms, ties=ties, remaining=bags[-1])


def weighted_auroc(ranking: WeightedRanking) -> NDArray[np.float64]:
    """Return the AUROC of each replicate, shape (replicates,), NaN where an outcome has no weight.

    AUROC = 1 - sum over groups of hits x (alarms - ties / 2) / (W+ W-), in integers until the division.
    """
    accumulator = _accumulator(ranking.hits)
    positives = ranking.hits.sum(axis=0, dtype=accumulator)
    negatives = ranking.alarms[-1] + ranking.remaining
    inversions = 2 * np.multiply(ranking.hits, ranking.alarms, dtype=accumulator).sum(axis=0, dtype=accumulator)
    pairs = 2 * positives * negatives
    return ratio(pairs - (inversions - ranking.ties), pairs)


def weighted_average_precision(ranking: WeightedRanking) -> NDArray[np.float64]:
    """Return the average precision of each replicate, shape (replicates,), NaN where an outcome has no weight.

    AP = sum over groups of hits x (hits so far / (hits + alarms so far)) / W+.
    """
    hits = np.cumsum(ranking.hits, axis=0, dtype=ranking.hits.dtype)
    called = np.maximum(hits + ranking.alarms, 1)  # nothing called yet: no hits either, so 1 only avoids 0 / 0
    terms = hits / called
    terms *= ranking.hits
    negatives = ranking.alarms[-1] + ranking.remaining
    return ratio(terms.sum(axis=0), np.where(negatives > 0, hits[-1], 0))


def _accumulator(counts: Counts) -> type[np.uint32] | type[np.uint64]:
    """The type in which 2 x W+ x W- cannot overflow: (2**16)**2 / 2 < 2**32, (2**32)**2 / 2 < 2**64."""
    return np.uint32 if counts.dtype == np.uint16 else np.uint64


def _padded(ends: NDArray[np.intp], padding: int) -> NDArray[np.intp]:
    return np.concatenate([ends, np.full(padding, ends[-1])])


def _bags(records: NDArray[np.intp], ends: NDArray[np.intp], total: int) -> csr_array:
    """A (bags, total) matrix of ones: bag i holds records[ends[i - 1] : ends[i]]."""
    starts = np.append(0, ends)
    ones = np.ones(records.size, dtype=np.uint16)
    return csr_array((ones, records.astype(np.int32), starts.astype(np.int32)), shape=(ends.size, total))


def _tied_bags(
    records: NDArray[np.intp],
    starts: NDArray[np.intp],
    ends: NDArray[np.intp],
    total: int,
) -> csr_array:
    pieces = [records[start:end] for start, end in zip(starts, ends, strict=True)]
    return _bags(np.concatenate([records[:0], *pieces]), np.cumsum(ends - starts), total)


def _running(bags: Counts) -> Counts:
    """Inclusive running sums over the first two axes of (blocks, size, replicates), in place.

    Two short loops over long contiguous rows: about four times as fast as `np.cumsum` along a strided axis.
    """
    for i in range(1, bags.shape[1]):
        bags[:, i] += bags[:, i - 1]
    for block in range(1, bags.shape[0]):
        bags[block] += bags[block - 1, -1]
    return bags
