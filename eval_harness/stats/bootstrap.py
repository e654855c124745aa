"""Bootstrap replicates of AUROC, average precision and MAE from counts instead of copied rows.

A replicate that draws rows with replacement equals the same metric with each record weighted by how often it was
drawn. The counts are drawn once and used for every class, every metric and every model, which is what makes
comparisons paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_hub.errors import InputError
from eval_harness.metrics.checks import Values, checked_pair, ratio
from eval_harness.stats import weighted_ranking as ranking

CHUNK = 250  # replicates side by side; bounds memory, and large enough that a row of counts fills whole cache lines
# Replicates drawn at a time: the drawn positions have 64 bits each, the counts that are kept 16.
DRAW_CHUNK = 64
KEPT_CELLS = 2**22  # counts of which those drawn last are kept, 8 MB
PIECE_CELLS = 2**20  # of few records more replicates than CHUNK are side by side, so that calls do not cost most


def bootstrap_counts(
    records: int, resamples: int = 1000, seed: int = 0, groups: Sequence[str] | NDArray[np.generic] | None = None
) -> NDArray[np.uint16]:
    """Return how often each record is drawn in each replicate, shape (records, resamples).

    Every replicate draws `records` records with replacement, uniformly and unstratified; with `groups` it draws as many
    groups as there are, and all records of a drawn group come along (records of a patient are not independent).

    Args:
        records: number of records, at least 1.
        resamples: number of replicates, at least 1.
        seed: of numpy's default generator; the same records, resamples, seed and groups give the same counts.
        groups: (records,) the patient of each record.

    Raises:
        InputError: no records or resamples, or a number of groups that differs from the records.

    Example:
        >>> counts = bootstrap_counts(records=4, resamples=3)
        >>> counts.shape, counts.sum(axis=0).tolist()  # every replicate draws as many as there are
        ((4, 3), [4, 4, 4])
        >>> patients = ["a", "a", "b", "c"]
        >>> counts = bootstrap_counts(4, 100, groups=patients)
        >>> bool((counts[0] == counts[1]).all())  # the ECGs of a patient come together
        True
        >>> sorted(set(counts.sum(axis=0).tolist()))  # so that replicates hold more or fewer records
        [3, 4, 5, 6]
    """
    if records < 1 or resamples < 1:
        raise InputError(f"A bootstrap needs records and resamples, not {records!r} records, {resamples!r} resamples.")
    if groups is not None:
        if len(groups) != records:
            raise InputError(f"{len(groups)} patients are given for {records} records; one per record is expected.")
        # Sorted names, so that a patient is drawn alike in whatever order the records come.
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        return bootstrap_counts(names.size, resamples, seed)[member]
    return (_kept if records * resamples <= KEPT_CELLS else _drawn)(records, resamples, seed)


def _drawn(records: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    # A record is drawn once on average and a dozen times at the most, so that 16 bits are plenty.
    counts = np.empty((records, resamples), dtype=np.uint16)
    for start in range(0, resamples, DRAW_CHUNK):
        stop = min(start + DRAW_CHUNK, resamples)
        counts[:, start:stop] = counts_from_indices(rng.integers(0, records, (stop - start, records)), records)
    counts.setflags(write=False)  # the next who asks for as many may be given the same
    return counts


# Tasks of one dataset, and runs that are compared, ask for the same draws one after the other.
_kept = lru_cache(maxsize=2)(_drawn)


def counts_from_indices(indices: NDArray[np.integer], records: int) -> NDArray[np.uint16]:
    """Return how often each record occurs in each replicate, shape (records, replicates).

    Args:
        indices: (replicates, draws) drawn records, 0 .. records - 1.
        records: number of records.

    Raises:
        InputError: indices outside 0 .. records - 1.

    Example:
        >>> counts_from_indices(np.array([[0, 0, 2], [1, 2, 2]]), records=3).T.tolist()
        [[2, 0, 1], [0, 1, 2]]
    """
    if indices.size and (indices.min() < 0 or indices.max() >= records):
        raise InputError(f"Indices run from {indices.min()} to {indices.max()}; 0 to {records - 1} are allowed.")
    replicates = indices.shape[0]
    # Cells of replicate r begin at r x records: a single bincount serves all replicates.
    cells = indices.astype(np.int64) + np.arange(replicates)[:, None] * records
    drawn = np.bincount(cells.ravel(), minlength=replicates * records)
    return np.ascontiguousarray(drawn.reshape(replicates, records).T.astype(np.uint16))


def auroc_replicates(y_true: ArrayLike, y_score: ArrayLike, counts: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the AUROC of every class in every replicate, shape (resamples, classes), NaN where undefined.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_score: (records, classes), finite.
        counts: (records, resamples) of `bootstrap_counts`.

    Raises:
        InputError: shapes that do not fit, scores that are not finite, targets that are not 0, 1 or NaN.

    Example:
        >>> targets, scores = [[0], [1], [1]], [[0.1], [0.6], [0.4]]
        >>> counts = counts_from_indices(np.array([[0, 1, 2], [1, 1, 2]]), records=3)
        >>> auroc_replicates(targets, scores, counts).tolist()  # the second draw has no negative
        [[1.0], [nan]]
    """
    return class_replicates(*checked_pair(y_true, y_score, binary=True), counts, with_precision=False)[0]


def ranking_replicates(
    y_true: ArrayLike, y_score: ArrayLike, counts: NDArray[np.uint16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and average precision of every class in every replicate from one pass over the data.

    Arguments, shapes and errors as `auroc_replicates`.
    """
    return class_replicates(*checked_pair(y_true, y_score, binary=True), counts, with_precision=True)


def micro_auroc_replicates(y_true: ArrayLike, y_score: ArrayLike, counts: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the AUROC over all (record, class) entries in every replicate, shape (resamples,).

    Arguments and errors as `auroc_replicates`.
    """
    true, score = checked_pair(y_true, y_score, binary=True)
    chunks = _chunks(counts, true.shape[0], entries=true.shape[1])
    entry_record = np.repeat(np.arange(true.shape[0]), true.shape[1])
    areas, _ = _class_replicates(true.ravel(), score.ravel(), entry_record, chunks, with_precision=False)
    return areas


def mae_replicates(
    y_true: ArrayLike, y_pred: ArrayLike, counts: NDArray[np.uint16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the MAE per target, shape (resamples, targets), and pooled over targets, shape (resamples,).

    A matrix product: (counts x absolute error) / (counts x known). NaN where a replicate draws no known value.

    Args:
        y_true: (records, targets), NaN = no target.
        y_pred: (records, targets), finite.
        counts: (records, resamples) of `bootstrap_counts`.
    """
    true, predicted = checked_pair(y_true, y_pred, binary=False)
    _check_counts(counts, true.shape[0])
    has_target = ~np.isnan(true)
    error = np.where(has_target, np.abs(true.astype(np.float64) - predicted), 0.0)
    # Side by side, so that one pass over the counts gives both sums.
    table = np.concatenate([error, has_target], axis=1)
    sums = np.concatenate([piece.T.astype(np.float64) @ table for piece in _pieces(counts)])
    errors, observed = np.split(sums, 2, axis=1)
    return ratio(errors, observed), ratio(errors.sum(axis=1), observed.sum(axis=1))


def class_replicates(
    true: Values, score: Values, counts: NDArray[np.uint16], with_precision: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The AUROC and, where asked for, the average precision of every class, of arrays that were checked before."""
    chunks = _chunks(counts, true.shape[0])
    shape = (counts.shape[1], true.shape[1])
    areas, precisions = np.empty(shape), np.empty(shape)
    records = np.arange(true.shape[0])
    for k in range(true.shape[1]):
        areas[:, k], precisions[:, k] = _class_replicates(true[:, k], score[:, k], records, chunks, with_precision)
    return areas, precisions


def _class_replicates(
    true: NDArray[np.floating],
    score: NDArray[np.floating],
    records: NDArray[np.intp],
    chunks: list[ranking.Counts],
    with_precision: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    resamples = sum(chunk.shape[1] for chunk in chunks)
    areas = np.full(resamples, np.nan)
    precisions = areas.copy()
    has_target = ~np.isnan(true)
    positive = true[has_target] == 1
    if not positive.any() or positive.all():
        return areas, precisions
    ranked = ranking.rank_class(positive, score[has_target], records[has_target], chunks[0].shape[0])
    start = 0
    for chunk in chunks:
        part = slice(start, start + chunk.shape[1])
        weighed = ranking.weigh(ranked, chunk)
        areas[part] = ranking.weighted_auroc(weighed)
        if with_precision:
            precisions[part] = ranking.weighted_average_precision(weighed)
        start = part.stop
    return areas, precisions


def _chunks(counts: NDArray[np.uint16], records: int, entries: int = 1) -> list[ranking.Counts]:
    """The counts in pieces, 32 bit wide where a replicate's weight times the entries per record leaves 16."""
    _check_counts(counts, records)
    heaviest = max(int(piece.sum(axis=0).max()) for piece in _pieces(counts))
    dtype = np.uint32 if heaviest * entries >= ranking.NARROW_LIMIT else np.uint16
    return [np.ascontiguousarray(piece, dtype=dtype) for piece in _pieces(counts)]


def _pieces(counts: NDArray[np.uint16]) -> Iterator[NDArray[np.uint16]]:
    width = max(CHUNK, PIECE_CELLS // max(1, counts.shape[0]))
    return (counts[:, start : start + width] for start in range(0, counts.shape[1], width))


def _check_counts(counts: NDArray[np.uint16], records: int) -> None:
    if counts.ndim != 2 or counts.shape[0] != records or counts.shape[1] == 0:
        raise InputError(
            f"Counts have the shape {counts.shape!r}; ({records}, resamples) is expected. Use `bootstrap_counts`."
        )
