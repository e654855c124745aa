"""AUROC and average precision: per class, macro (two readings) and micro.

Protocol of arXiv 2509.25095 (its published code): records whose target of a class is NaN are left out of that class,
ties count one half, and a class without positives or without negatives has no AUROC. The published macro then counts
such a class as 0.5 (`macro_auroc_paper`); `macro_auroc` is the mean over the classes that can be evaluated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval_harness.metrics.checks import Values, checked_pair, ratio
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC, MACRO_AUROC_PAPER, Metric

_RANKED_AT_ONCE = 1 << 20  # scores, of as many classes as that is: a call per class costs more than its ranks


def auroc(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Return the AUROC of every class, shape (classes,), NaN where a class lacks one of the two outcomes.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_score: (records, classes), finite; any monotone score, need not be a probability.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.

    Example:
        >>> auroc([[0, 1], [1, 1], [1, 1]], [[0.2, 0.5], [0.2, 0.1], [0.9, 0.3]])  # ties count one half
        array([0.75,  nan])
        >>> auroc([[0.0], [1.0], [np.nan]], [[0.1], [0.2], [0.9]]).tolist()  # without a target: left out, not negative
        [1.0]
        >>> auroc([0, 1], [0.1, 0.9])
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: Targets and scores have the shape (2,); two dimensions (records, outputs) ...
    """
    return class_areas(*checked_pair(y_true, y_score, binary=True))


def class_areas(true: Values, score: Values) -> NDArray[np.float64]:
    """The AUROC of every class, of arrays that were checked before."""
    records, classes = true.shape
    width = max(1, _RANKED_AT_ONCE // max(records, 1))
    parts = [_areas(true[:, k : k + width], score[:, k : k + width]) for k in range(0, classes, width)]
    return np.concatenate(parts) if parts else np.zeros(0)


def macro_auroc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean AUROC over the classes that have both outcomes; NaN when none has.

    Raises:
        InputError: as `auroc`.

    Example:
        >>> targets = [[0, 0], [1, 0], [0, 0], [1, 0]]  # nobody has the second label
        >>> scores = [[0.1, 0.3], [0.9, 0.2], [0.3, 0.8], [0.7, 0.1]]
        >>> macro_auroc(targets, scores)
        1.0
    """
    return evaluable_mean(auroc(y_true, y_score))


def macro_auroc_paper(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the published macro AUROC: the mean over all classes, one that cannot be evaluated counted as 0.5.

    Raises:
        InputError: as `auroc`.

    Example:
        >>> targets = [[0, 0], [1, 0], [0, 0], [1, 0]]  # nobody has the second label: it counts 0.5
        >>> scores = [[0.1, 0.3], [0.9, 0.2], [0.3, 0.8], [0.7, 0.1]]
        >>> macro_auroc_paper(targets, scores)
        0.75
    """
    return paper_mean(auroc(y_true, y_score))


def micro_auroc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the AUROC over all (record, class) entries that have a target; NaN when one outcome is absent.

    Raises:
        InputError: as `auroc`.

    Example:
        >>> targets = [[0, 1], [1, 1], [0, 1], [1, 0]]
        >>> scores = [[0.1, 0.8], [0.3, 0.9], [0.2, 0.8], [0.4, 0.7]]
        >>> micro_auroc(targets, scores), macro_auroc(targets, scores)  # classes on different scales pull it down
        (0.8666666666666667, 1.0)
    """
    true, score = checked_pair(y_true, y_score, binary=True)
    return float(class_areas(true.reshape(-1, 1), score.reshape(-1, 1))[0])


def evaluable_mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN, NaN when there is none; shape (classes,).

    Example:
        >>> evaluable_mean(np.array([0.9, np.nan])), paper_mean(np.array([0.9, np.nan]))
        (0.9, 0.7)
    """
    defined = values[~np.isnan(values)]
    # Not np.nanmean, which warns where all are NaN.
    return float(defined.mean()) if defined.size else math.nan


def paper_mean(values: NDArray[np.float64]) -> float:
    """Return the mean with NaN counted as 0.5, NaN for no classes at all; shape (classes,)."""
    # As in the published code: many rare labels pull this mean towards 0.5, whatever the model does.
    return float(np.where(np.isnan(values), 0.5, values).mean()) if values.size else math.nan


def _areas(true: NDArray[np.floating], score: NDArray[np.floating]) -> NDArray[np.float64]:
    """The exact area of each class from mid-ranks (Mann-Whitney), so ties count one half."""
    from scipy.stats import rankdata  # here, because listings read the entries below and start without scipy

    positive, has_target = true == 1, ~np.isnan(true)
    positives = positive.sum(axis=0)
    pairs = positives * (has_target.sum(axis=0) - positives)
    # Mid-ranks are multiples of one half, exact in float64: the order of the records does not change the sum.
    ranks = rankdata(np.where(has_target, score, np.nan), axis=0, nan_policy="omit")
    above = np.where(positive, ranks, 0).sum(axis=0) - positives * (positives + 1) / 2
    return ratio(above, pairs)


def average_precision(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Return the average precision of every class, shape (classes,).

    AP = sum over distinct scores of (recall step) x precision, tied records entering together (as scikit-learn's
    `average_precision_score`). NaN where a class lacks one of the two outcomes, so that the classes counted are those
    of the AUROC. Records with a NaN target are left out of that class.

    Args:
        y_true: (records, classes), 0, 1 or NaN (no target).
        y_score: (records, classes), finite.

    Raises:
        InputError: shapes differ, scores are not finite, or targets are not 0, 1 or NaN.

    Example:
        >>> average_precision([[1], [0], [0], [0]], [[0.5], [0.5], [0.5], [0.5]])  # chance is the prevalence, not 0.5
        array([0.25])
    """
    return class_precisions(*checked_pair(y_true, y_score, binary=True))


def class_precisions(true: Values, score: Values) -> NDArray[np.float64]:
    """The average precision of every class, of arrays that were checked before."""
    return np.array([_class_ap(true[:, k], score[:, k]) for k in range(true.shape[1])])


def macro_average_precision(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean average precision over the classes that have both outcomes; NaN when none has.

    Raises:
        InputError: as `average_precision`.
    """
    return evaluable_mean(average_precision(y_true, y_score))


def descending(
    true: NDArray[np.floating], score: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.intp]] | None:
    """Return the records of one class by descending score, their outcomes, and the place of the last of each tie.

    Records without a target are left out. None where one of the outcomes is missing.
    """
    has_target = np.flatnonzero(~np.isnan(true))
    # Stable, and values are read at the last of each tie alone: tied records count together, in whatever order.
    order = has_target[np.argsort(-score[has_target], kind="stable")]
    positive, values = true[order] == 1, score[order]
    if not positive.any() or positive.all():
        return None
    return order, positive, np.append(np.flatnonzero(np.diff(values)), values.size - 1)


def _class_ap(true: NDArray[np.floating], score: NDArray[np.floating]) -> float:
    ranked = descending(true, score)
    if ranked is None:
        # scikit-learn gives 0 without positives and 1 without negatives, which says nothing about the model.
        return math.nan
    _, positive, last = ranked
    hits = np.cumsum(positive)[last]
    precision = hits / (last + 1)
    # Steps, not trapezoids: a line between two points of the curve is too optimistic (Davis and Goadrich, ICML 2006).
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


METRICS = (
    Metric(
        MACRO_AUROC,
        "macro AUROC",
        "multi_label_classification",
        higher_is_better=True,
        function=auroc,
        description="mean AUROC over the labels that have positive and negative records on the test split; ties count "
        "one half",
        heading="AUROC",
        chance=0.5,
    ),
    Metric(
        MACRO_AUROC_PAPER,
        "macro AUROC, published reading",
        "multi_label_classification",
        higher_is_better=True,
        function=macro_auroc_paper,
        description="mean over all scored labels, one that cannot be evaluated counted 0.5, as in the published code "
        "(arXiv 2509.25095)",
        chance=0.5,
    ),
    Metric(
        MACRO_AUPRC,
        "macro AUPRC",
        "multi_label_classification",
        higher_is_better=True,
        function=average_precision,
        description="mean average precision over the same labels as `macro_auroc`",
        heading="AUPRC",
    ),
)
