"""The figure of a label-efficiency study: losses with their curves, and the ratio of records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.utils.files import atomic_path
from eval_harness.analyses.label_efficiency.curve import Curve, Float
from eval_harness.analyses.studies import short_name
from eval_harness.analyses.study_results import reasons
from eval_harness.metrics.registry import MACRO_AUROC

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")


def write_plot(content: dict[str, Any], path: Path) -> None:
    """Draw the content of `label_efficiency.json`, one row of two axes per task, and write it as PNG."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(entry["task"] for entry in content["entries"]))
    figure = Figure(figsize=(11, 3.8 * max(len(tasks), 1)), layout="constrained")
    axes = figure.subplots(max(len(tasks), 1), 2, squeeze=False)
    for (left, right), task in zip(axes, tasks, strict=False):
        found = [entry for entry in content["entries"] if entry["task"] == task]
        names = [(entry["model"], entry["mode"]) for entry in found]
        for k, entry in enumerate(found):
            _draw_losses(left, entry, k)
        drawn = [
            _draw_ratio(right, r, names.index((r["model"], r["mode"]))) for r in content["ratios"] if r["task"] == task
        ]
        sizes = sorted({round(point["records"]) for entry in found for point in entry["points"]})
        _finish(left, f"{task}: loss and fitted curves", "training records", content["loss"], sizes)
        title = f"{task}: records needed, over those of the baseline"
        _finish(right, title, "N, records of the baseline", "r(N), open where beyond the measured sizes", sizes)
        right.axhline(1.0, color="0.6", linewidth=0.8)
        if not any(drawn):
            reason = "no ratio is defined" if content["baseline"] else "no baseline was asked for"
            right.text(0.5, 0.5, reason, ha="center", va="center", transform=right.transAxes)
    figure.supxlabel("\n".join(reasons(content)), fontsize=8)
    with atomic_path(path) as aside:
        figure.savefig(aside, format="png", dpi=150, metadata={"Software": None})


def drawn_curve(curve: dict[str, Any], places: int = 100) -> tuple[Float, Float]:
    """Records, evenly spaced on a logarithmic scale over the sizes that were run, and the fitted loss at each."""
    first, last = (float(number) for number in curve["records"])
    across = np.geomspace(first, last, places)
    scale, alpha, floor = (np.asarray(curve[part]["point"], dtype=np.float64) for part in ("C", "alpha", "L0"))
    return across, Curve(scale, alpha, floor).loss(across)


def _draw_losses(axis: Any, entry: dict[str, Any], k: int) -> None:
    points = [p for p in entry["points"] if p[MACRO_AUROC]["point"] is not None]
    records = np.array([point["records"] for point in points])
    values = np.array([1 - point[MACRO_AUROC]["point"] for point in points])
    name = f"{short_name(entry['model'])} {entry['mode']}" + (" (baseline)" if entry["baseline"] else "")
    colour, curve = COLOURS[k % len(COLOURS)], entry["curve"]
    if "reason" not in curve and curve["falls"]:
        axis.plot(*drawn_curve(curve), color=colour, linewidth=1.4)
        name += f", $\\alpha$ = {curve['alpha']['point']:.2f}, $L_0$ = {curve['L0']['point']:.3f}"
    ends = np.array([[_or(p[MACRO_AUROC][end], p[MACRO_AUROC]["point"]) for p in points] for end in ("high", "low")])
    bars = np.abs(1 - ends - values) if len(points) else None
    axis.errorbar(
        records, values, yerr=bars, fmt=MARKS[k % len(MARKS)], color=colour, markersize=5, capsize=2, label=name
    )


def _draw_ratio(axis: Any, entry: dict[str, Any], k: int) -> bool:
    rows = [row for row in entry["at"] if row.get("r", {}).get("point") is not None]
    for row in rows:
        value = row["r"]
        low, high = _or(value["low"], value["point"]), _or(value["high"], value["point"])
        axis.errorbar(
            [row["records"]],
            [value["point"]],
            yerr=[[max(value["point"] - low, 0)], [max(high - value["point"], 0)]],
            fmt=MARKS[k % len(MARKS)],
            color=COLOURS[k % len(COLOURS)],
            markerfacecolor=COLOURS[k % len(COLOURS)] if row["within_measured"] else "white",
            capsize=2,
            label=f"{short_name(entry['model'])} {entry['mode']}" if row is rows[0] else None,
        )
    if rows:
        axis.set_yscale("log")
    return bool(rows)


def _finish(axis: Any, title: str, across: str, up: str, sizes: list[int]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45 if len(sizes) > 8 else 0)
    axis.set_xticks([], minor=True)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.grid(True, which="major", color="0.9")
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=8)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
