"""Linear CKA between two sets of features of the same records, streamed in float64, biased and debiased.

With K = X X' and L = Y Y' of features X (n, p) and Y (n, q) of the same n records:

- biased: ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) of centred columns (Kornblith et al., ICML 2019, section 3). Independent
  features give about p / (n + p), not 0.
- debiased: the same ratio of the unbiased estimator of HSIC (Song et al., JMLR 13, 2012, equation 5), whose expectation
  is 0 for independent features at any n. It can be slightly negative.

Both are invariant to orthogonal maps, isotropic scaling and shifts. They follow exactly from p x q products or from
n x n Gram matrices; `hsic` takes whichever costs less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from eval_harness.analyses.cka.options import FEWEST

Double = NDArray[np.float64]
ROWS = 1024  # records converted to float64 at once


@dataclass(frozen=True)
class Hsic:
    """HSIC of two linear kernels up to the factor that CKA divides out.

    Attributes:
        biased: ||Y'X||_F^2 of centred columns.
        unbiased: n (n - 3) times the unbiased estimator.
    """

    biased: float
    unbiased: float


@dataclass(frozen=True)
class Similarity:
    """CKA of two sets of features; NaN where one of them does not vary."""

    biased: float
    debiased: float


class Moments:
    """Sums over records from which HSIC of features of widths p and q follows; added in any number of pieces.

    The first piece gives a shift that is taken off every column: HSIC does not depend on it, and large means would
    otherwise cost digits.
    """

    def __init__(self, p: int, q: int) -> None:
        self.records = 0
        self._shift: tuple[Double, Double] | None = None
        self._cross = np.zeros((p, q))
        self._sums = np.zeros(p), np.zeros(q)
        self._weighted = np.zeros(p), np.zeros(q)  # sums of x |y|^2 and of y |x|^2
        self._traces = np.zeros(3)  # sums of |x|^2, |y|^2 and |x|^2 |y|^2

    def add(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add records: x (records, p) and y (records, q), in the same order."""
        p, q = self._cross.shape
        if x.ndim != 2 or y.ndim != 2 or (x.shape[1], y.shape[1]) != (p, q) or len(x) != len(y):
            raise InputError(
                f"Features of {x.shape!r} and {y.shape!r}: (records, {p}) and (records, {q}) are expected."
            )
        if not len(x):
            return
        first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            raise InputError("Features hold values that are not finite; CKA is not defined for them.")
        if self._shift is None:
            self._shift = first.mean(axis=0), second.mean(axis=0)
        first, second = first - self._shift[0], second - self._shift[1]
        k, m = (first**2).sum(axis=1), (second**2).sum(axis=1)
        self.records += len(first)
        self._cross += first.T @ second
        for total, value in zip(self._sums, (first.sum(axis=0), second.sum(axis=0)), strict=True):
            total += value
        for total, value in zip(self._weighted, (m @ first, k @ second), strict=True):
            total += value
        self._traces += (k.sum(), m.sum(), k @ m)

    def hsic(self) -> Hsic:
        """HSIC of all records added so far."""
        n = _enough(self.records)
        cross, (sum_x, sum_y), (by_y, by_x) = self._cross, self._sums, self._weighted
        trace_k, trace_l, trace_kl = self._traces
        # Centred afterwards: the means are known only when the last piece was added.
        centred = cross - np.outer(sum_x, sum_y) / n
        # Row sums of both Gram matrices without their diagonals |x|^2 and |y|^2, multiplied and summed over records.
        rows = sum_x @ cross @ sum_y - by_y @ sum_x - by_x @ sum_y + trace_kl
        totals = (sum_x @ sum_x - trace_k) * (sum_y @ sum_y - trace_l)
        return _hsic(n, float((centred**2).sum()), float((cross**2).sum() - trace_kl), float(totals), float(rows))


def hsic_from_moments(x: NDArray[Any], y: NDArray[Any], rows: int = ROWS) -> Hsic:
    """HSIC of features (n, p) and (n, q) from p x q products, read in pieces of `rows` records."""
    moments = Moments(x.shape[1], y.shape[1])
    for start in range(0, max(len(x), len(y)), rows):
        moments.add(x[start : start + rows], y[start : start + rows])
    return moments.hsic()


def hsic_from_grams(x: NDArray[Any], y: NDArray[Any], rows: int = ROWS) -> Hsic:
    """HSIC of features (n, p) and (n, q) from n x n Gram matrices, `rows` of their rows at a time."""
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise InputError(f"Features of {x.shape!r} and {y.shape!r}: (records, width) of the same records is expected.")
    n = _enough(len(x))
    first, second = _centred(x), _centred(y)
    biased = trace = row_sums = total_k = total_l = 0.0
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        k, m = first[part] @ first.T, second[part] @ second.T
        biased += float((k * m).sum())
        own = np.arange(part.stop - part.start), np.arange(part.start, part.stop)
        # The unbiased estimator leaves the diagonals out; the biased sum above has them.
        k[own] = m[own] = 0.0
        by_row_k, by_row_l = k.sum(axis=1), m.sum(axis=1)
        trace += float((k * m).sum())
        row_sums += float(by_row_k @ by_row_l)
        total_k, total_l = total_k + float(by_row_k.sum()), total_l + float(by_row_l.sum())
    return _hsic(n, biased, trace, total_k * total_l, row_sums)


def hsic(x: NDArray[Any], y: NDArray[Any], rows: int = ROWS) -> Hsic:
    """HSIC of features (n, p) and (n, q) of the same records, also memory-mapped, by the cheaper of the two ways."""
    n, p, q = len(x), x.shape[-1], y.shape[-1]
    # Multiplications: n^2 (p + q) by Gram matrices, n p q by moments.
    return hsic_from_grams(x, y, rows) if n * (p + q) < p * q else hsic_from_moments(x, y, rows)


def similarity(between: Hsic, first: Hsic, second: Hsic) -> Similarity:
    """CKA from the HSIC of two sets of features and of each with itself; kept at 1 or below against rounding."""
    return Similarity(
        biased=_ratio(between.biased, first.biased, second.biased),
        debiased=_ratio(between.unbiased, first.unbiased, second.unbiased),
    )


def linear_cka(x: NDArray[Any], y: NDArray[Any]) -> Similarity:
    """Linear CKA of features (n, p) and (n, q) of the same records; errors as `hsic`."""
    return similarity(hsic(x, y), hsic(x, x), hsic(y, y))


def _hsic(n: int, biased: float, trace: float, totals: float, rows: float) -> Hsic:
    """Song et al. 2012, equation 5, times n (n - 3)."""
    return Hsic(biased, trace + totals / ((n - 1) * (n - 2)) - 2.0 * rows / (n - 2))


def _ratio(between: float, first: float, second: float) -> float:
    if not (first > 0 and second > 0):
        return math.nan
    # Two roots instead of the root of the product, which could leave the range of float64.
    return min(1.0, between / (math.sqrt(first) * math.sqrt(second)))


def _enough(records: int) -> int:
    if records < FEWEST:
        raise InputError(f"CKA of {records!r} records: the debiased form needs at least {FEWEST}.")
    return records


def _centred(values: NDArray[Any]) -> Double:
    doubles = np.asarray(values, dtype=np.float64)
    if not np.isfinite(doubles).all():
        raise InputError("Features hold values that are not finite; CKA is not defined for them.")
    return doubles - doubles.mean(axis=0)
