"""The curve L(N) = C N^-alpha + L0: a loss against the number of training records, and records for the same loss.

Form of the curve: arXiv 2509.25095. How it was fitted there is not known; here by least squares with C >= 0, L0 >= 0
and alpha in ALPHAS. For a given alpha the other two have a closed solution, so that alpha alone is searched, for all
bootstrap replicates at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_hub.errors import InputError

Float = NDArray[np.float64]
ALPHAS = (0.01, 5.0)
LEAST_SIZES = 4
"""Numbers of records that a fit of three parameters needs at least."""

_GRID, _FINER, _ROUNDS = 200, 15, 6


@dataclass(frozen=True)
class Curve:
    """One curve, or many at once (arrays of one shape).

    Attributes:
        scale: C, the loss above the floor at one record.
        alpha: how fast the loss falls; NaN where it does not fall at all.
        floor: L0, the loss that no number of records takes away.
    """

    scale: Float
    alpha: Float
    floor: Float

    def loss(self, records: ArrayLike) -> Float:
        """The loss at a number of records."""
        falling = self.scale * np.asarray(records, dtype=np.float64) ** -np.nan_to_num(self.alpha, nan=1.0)
        return np.asarray(falling + self.floor)

    def records(self, loss: ArrayLike) -> Float:
        """The number of records that a loss needs; NaN at the floor and below, where no number is enough."""
        above = np.asarray(loss, dtype=np.float64) - self.floor
        reached = (above > 0) & (self.scale > 0) & np.isfinite(self.alpha)
        ratio = np.divide(above, self.scale, out=np.ones_like(above), where=reached)
        power = np.divide(-1.0, self.alpha, out=np.ones_like(above), where=reached)
        with np.errstate(over="ignore"):
            return np.where(reached, np.where(reached, ratio, 1.0) ** power, np.nan)

    @property
    def at_bound(self) -> NDArray[np.bool_]:
        """Whether alpha lies at an end of its range: the sizes do not tell it from there on."""
        return np.isclose(self.alpha, ALPHAS[0], rtol=1e-3) | np.isclose(self.alpha, ALPHAS[1], rtol=1e-3)


def fit(records: ArrayLike, losses: ArrayLike) -> Curve:
    """Fit the curve by least squares."""
    sizes, values = np.asarray(records, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if sizes.ndim != 1 or values.shape[-1:] != sizes.shape:
        raise InputError(f"{values.shape!r} losses for {sizes.shape!r} numbers of records; one per number is expected.")
    if len(np.unique(sizes)) < LEAST_SIZES or sizes.min() < 1:
        raise InputError(
            f"A curve of three parameters needs {LEAST_SIZES} different numbers of records or more, not "
            f"{sorted(set(sizes.tolist()))!r}: give more --fractions."
        )
    rows = values.reshape(-1, len(sizes))
    complete = np.asarray(~np.isnan(rows).any(axis=1))
    largest = sizes.max()
    filled = np.where(complete[:, None], rows, 0.5)
    alphas = np.broadcast_to(np.geomspace(*ALPHAS, _GRID), (len(filled), _GRID))
    best = _best(sizes / largest, filled, alphas)
    step = (ALPHAS[1] / ALPHAS[0]) ** (1 / (_GRID - 1))
    for _ in range(_ROUNDS):
        factors = np.geomspace(1 / step, step, _FINER)
        best = _best(sizes / largest, filled, np.clip(best[1][:, None] * factors, *ALPHAS))
        step = step ** (2 / (_FINER - 1))
    slope, alpha, floor = best
    falls = np.asarray(complete & (slope > 0))
    shape = values.shape[:-1]

    def given(array: Float, where: NDArray[np.bool_]) -> Float:
        return np.asarray(np.where(where, array, np.nan).reshape(shape))

    return Curve(given(slope * largest**alpha, complete), given(alpha, falls), given(floor, complete))


def _best(sizes: Float, losses: Float, alphas: Float) -> tuple[Float, Float, Float]:
    """Of several alphas (rows, alphas) for each row of losses the best, with its slope and floor."""
    slopes, floors, errors = _solve(sizes, losses, alphas)
    chosen: Any = np.arange(len(losses)), errors.argmin(axis=1)
    return slopes[chosen], alphas[chosen], floors[chosen]


def _solve(sizes: Float, losses: Float, alphas: Float) -> tuple[Float, Float, Float]:
    """Slope and floor, not below 0, and the squared error for each row and alpha."""
    x = sizes[None, None, :] ** -alphas[:, :, None]
    y = losses[:, None, :]
    mean_x, mean_y = x.mean(axis=2), y.mean(axis=2)
    spread = ((x - mean_x[:, :, None]) ** 2).sum(axis=2)
    slope = ((x - mean_x[:, :, None]) * (y - mean_y[:, :, None])).sum(axis=2) / spread
    floor = mean_y - slope * mean_x
    through_zero = (x * y).sum(axis=2) / (x * x).sum(axis=2)
    slope, floor = np.where(floor < 0, through_zero, slope), np.maximum(floor, 0.0)
    flat = slope < 0
    slope, floor = np.where(flat, 0.0, slope), np.where(flat, np.broadcast_to(mean_y, slope.shape), floor)
    return slope, floor, ((slope[:, :, None] * x + floor[:, :, None] - y) ** 2).sum(axis=2)


def ratio(model: Curve, baseline: Curve, records: ArrayLike) -> Float:
    """r(N) = N*/N: the records that the model needs for the loss of the baseline at N records, over N.

    NaN where the loss of the baseline lies at the floor of the model or below: nothing is extrapolated there.
    """
    number = np.asarray(records, dtype=np.float64)
    return np.asarray(model.records(baseline.loss(number)) / number)
