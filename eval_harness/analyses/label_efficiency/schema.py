"""The file `label_efficiency.json` as a checked model, its tables, and the curve whose parameters it holds.

The curve L(N) = C N^-alpha + L0: a loss against the number of training records, and records for the same loss.

Form of the curve: arXiv 2509.25095. How it was fitted there is not known; here by least squares with C >= 0, L0 >= 0
and alpha in ALPHAS. For a given alpha the other two have a closed solution, so that alpha alone is searched, for all
bootstrap replicates at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from ecg_hub.errors import InputError
from eval_harness.analyses.studies import Interval, StudyResult, fraction_name, shown
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC
from eval_harness.results.schema import Finite, Number, Strict

RESULT_FILE = "label_efficiency.json"
Float = NDArray[np.float64]
ALPHAS = (0.01, 5.0)
LEAST_SIZES = 4
"""Numbers of records that a fit of three parameters needs at least."""

_GRID, _FINER, _ROUNDS = 200, 15, 6


class EfficiencyPoint(Strict):
    """The scores at one fraction; `records` is the mean number of training records."""

    fraction: Finite
    records: Finite
    macro_auroc: Interval
    macro_auprc: Interval
    macro_auroc_by_run: list[Number]
    macro_auprc_by_run: list[Number]


class FittedCurve(Strict):
    """C N^-alpha + L0 with intervals.

    Attributes:
        residual: root mean square.
        falls: whether the loss falls at all; without, alpha is null.
        alpha_at_bound: whether the sizes do not determine alpha.
        records: least and most that were run.
    """

    C: Interval
    alpha: Interval
    L0: Interval
    residual: Number
    falls: bool
    alpha_at_bound: bool
    records: tuple[Finite, Finite]


class NoCurve(Strict):
    """Why there is no curve."""

    reason: str


class EfficiencyEntry(Strict):
    """Points and curve of one model and mode on one task."""

    task: str
    model: str
    mode: str
    baseline: bool
    points: list[EfficiencyPoint]
    curve: FittedCurve | NoCurve


class Ratio(Strict):
    """r(N) at a number of records of the baseline; without a value a reason."""

    records: Number
    r: Interval | None = None
    baseline_loss: Number = None
    undefined_replicates: Number = None
    within_measured: bool | None = None
    reason: str | None = None


class EfficiencyRatios(Strict):
    """The ratios of one model and mode on one task."""

    task: str
    model: str
    mode: str
    baseline: bool
    at: list[Ratio]


class EfficiencyResult(StudyResult):
    """Scores on growing parts of the training records, curves, and ratios to a baseline (model, mode)."""

    analysis: Literal["label_efficiency"] = "label_efficiency"
    loss: str
    form: str
    subset_seeds: list[int]
    subset: dict[str, JsonValue]
    baseline: tuple[str, str] | None
    entries: list[EfficiencyEntry]
    ratios: list[EfficiencyRatios]


def point_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The scores of a label-efficiency study at every fraction."""
    return [
        {
            **_about(entry),
            "fraction": fraction_name(point["fraction"]),
            "records": f"{point['records']:g}",
            "runs": str(len(point["macro_auroc_by_run"])),
            "macro AUROC": shown(point[MACRO_AUROC]),
            "macro AUPRC": shown(point[MACRO_AUPRC]),
        }
        for entry in content["entries"]
        for point in entry["points"]
    ]


def curve_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The parameters of the fitted curves, or why there is none."""
    rows = []
    for entry in content["entries"]:
        curve = entry["curve"]
        if "reason" in curve:
            rows.append({**_about(entry), "C": "-", "alpha": "-", "L0": "-", "note": curve["reason"]})
            continue
        note = "" if curve["falls"] else "the loss does not fall with more records"
        # The graver of two notes: at the end of its range alpha says nothing, whether the loss falls or not.
        note = "alpha is at the end of its range" if curve["alpha_at_bound"] else note
        rows.append({**_about(entry), **{name: shown(curve[name]) for name in ("C", "alpha", "L0")}, "note": note})
    return rows


def ratio_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """r(N) at every number of records of the baseline."""
    rows = []
    for entry in content["ratios"]:
        for row in entry["at"]:
            note = row.get("reason") or ("" if row["within_measured"] else "beyond the measured sizes")
            number = "-" if row["records"] is None else f"{row['records']:g}"
            value = shown(row["r"]) if "r" in row else "-"
            rows.append({**_about(entry), "N of the baseline": number, "r(N)": value, "note": note})
    return rows


def _about(entry: dict[str, Any]) -> dict[str, str]:
    return {"task": entry["task"], "model": entry["model"], "mode": entry["mode"]}


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
        # Where no number is enough nothing is computed: the power of a negative number would be NaN with a warning.
        reached = (above > 0) & (self.scale > 0) & np.isfinite(self.alpha)
        ratio = np.divide(above, self.scale, out=np.ones_like(above), where=reached)
        power = np.divide(-1.0, self.alpha, out=np.ones_like(above), where=reached)
        # Just above the floor the number overflows to infinity, which is the right answer.
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
    # A NaN would make its row's argmin meaningless; these rows are masked at the end, so any value serves.
    filled = np.where(complete[:, None], rows, 0.5)
    alphas = np.geomspace(*ALPHAS, _GRID)[None, :]  # the same for all rows, so that their powers are computed once
    # Sizes relative to the largest, whose power is 1 for every alpha, so that the sums keep their digits.
    best = _best(sizes / largest, filled, alphas)
    step = (ALPHAS[1] / ALPHAS[0]) ** (1 / (_GRID - 1))
    for _ in range(_ROUNDS):
        factors = np.geomspace(1 / step, step, _FINER)
        best = _best(sizes / largest, filled, np.clip(best[1][:, None] * factors, *ALPHAS))
        # Neighbours of this grid are that far apart; the next one reaches to both of them.
        step = step ** (2 / (_FINER - 1))
    slope, alpha, floor = best
    falls = np.asarray(complete & (slope > 0))
    shape = values.shape[:-1]

    def given(array: Float, where: NDArray[np.bool_]) -> Float:
        return np.asarray(np.where(where, array, np.nan).reshape(shape))

    return Curve(given(slope * largest**alpha, complete), given(alpha, falls), given(floor, complete))


def _best(sizes: Float, losses: Float, alphas: Float) -> tuple[Float, Float, Float]:
    """Of several alphas, (rows, alphas) or (1, alphas), for each row of losses the best, with its slope and floor."""
    slopes, floors, errors = _solve(sizes, losses, alphas)
    chosen: Any = np.arange(len(losses)), errors.argmin(axis=1)
    return slopes[chosen], np.broadcast_to(alphas, errors.shape)[chosen], floors[chosen]


def _solve(sizes: Float, losses: Float, alphas: Float) -> tuple[Float, Float, Float]:
    """Slope and floor, not below 0, and the squared error for each row and alpha."""
    # The sizes come first: sums over a few numbers that lie side by side take most of the time otherwise.
    x = np.exp(-alphas * np.log(sizes)[:, None, None])
    y = losses.T[:, :, None]
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    from_mean = x - mean_x
    slope = _sum_of_products(from_mean, y - mean_y) / _sum_of_products(from_mean, from_mean)
    floor = mean_y - slope * mean_x
    # Where the free optimum has a floor below 0, the best allowed one lies at the bound: a line through zero.
    below = floor < 0
    if below.any():
        slope = np.where(below, _sum_of_products(x, y) / _sum_of_products(x, x), slope)
        floor = np.maximum(floor, 0.0)
    flat = slope < 0
    # A loss that rises with more records: the best allowed curve is level at its mean.
    if flat.any():
        slope, floor = np.where(flat, 0.0, slope), np.where(flat, np.broadcast_to(mean_y, slope.shape), floor)
    return slope, floor, _squared_error(x, y, slope, floor)


def _sum_of_products(first: Float, second: Float) -> Float:
    """The same as `(first * second).sum(axis=0)`, without the products of all sizes side by side."""
    total = first[0] * second[0]
    product = np.empty_like(total)
    for one, other in zip(first[1:], second[1:], strict=True):
        total += np.multiply(one, other, out=product)
    return np.asarray(total)


def _squared_error(x: Float, y: Float, slope: Float, floor: Float) -> Float:
    total, gap = np.zeros_like(slope), np.empty_like(slope)
    for one, value in zip(x, y, strict=True):
        np.multiply(slope, one, out=gap)
        gap += floor
        gap -= value
        gap *= gap
        total += gap
    return total


def ratio(model: Curve, baseline: Curve, records: ArrayLike) -> Float:
    """r(N) = N*/N: the records that the model needs for the loss of the baseline at N records, over N.

    NaN where the loss of the baseline lies at the floor of the model or below: nothing is extrapolated there.
    """
    number = np.asarray(records, dtype=np.float64)
    return np.asarray(model.records(baseline.loss(number)) / number)
