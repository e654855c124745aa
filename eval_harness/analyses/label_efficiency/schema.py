"""The file `label_efficiency.json` as a checked model, and its tables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue

from eval_harness.analyses.studies import Interval, StudyResult, fraction_name, shown
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC
from eval_harness.results.schema import Finite, Number, Strict

RESULT_FILE = "label_efficiency.json"


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
