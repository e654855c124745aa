"""The figure of a transfer: AUROC of every concept at home and on the other dataset, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eval_harness.analyses.heat_maps import write_figure
from eval_harness.analyses.transfer_results import TransferResult
from eval_harness.results import LabelResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOME, AWAY, CHANCE = "#59636e", "#0072b2", 0.5
ROW_INCH = 0.3


def dumbbells(result: TransferResult, task: str) -> Figure:
    """Draw one task of a result.

    Args:
        result: a result whose task is done.
        task: its name.
    """
    from matplotlib.figure import Figure

    found = result.tasks[task]
    rows = len(found.per_label)
    figure = Figure(figsize=(8.0, 1.6 + ROW_INCH * rows), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    sides = (
        (found.per_label_at_home, -0.14, HOME, "s", f"{result.source} (its own test records)"),
        (found.per_label, 0.14, AWAY, "o", f"{result.target} ({result.records:,} records)"),
    )
    for labels, shift, colour, mark, name in sides:
        drawn = [(place + shift, label.auroc) for place, label in enumerate(labels) if label.auroc is not None]
        points = [(place, auroc.point) for place, auroc in drawn if auroc.point is not None]
        axes.plot([x for _, x in points], [y for y, _ in points], mark, color=colour, markersize=4, label=name)
        for place, auroc in drawn:
            if auroc.low is not None and auroc.high is not None:
                axes.plot([auroc.low, auroc.high], [place, place], color=colour, linewidth=1.2)
    axes.axvline(CHANCE, color="#999999", linestyle=":", linewidth=0.9)
    axes.set_yticks(range(rows), [_name(label) for label in found.per_label], fontsize=7)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlabel(f"AUROC, 95 % interval; positives are those of {result.target}", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3, linewidth=0.5)
    figure.suptitle(f"{result.model.id}, {result.mode}, {task}", fontsize=10, x=0.01, ha="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", fontsize=7, ncols=2, frameon=False)
    return figure


def write_dumbbells(result: TransferResult, folder: Path) -> list[Path]:
    """Write the figure of every finished task as SVG and PNG; return the files."""
    return [
        path
        for task, found in result.tasks.items()
        if found.status == "done"
        for path in write_figure(dumbbells(result, task), folder / f"transfer_{task}_to_{result.target}")
    ]


def _name(label: LabelResult) -> str:
    return f"{label.label} ({label.positives:,} positive)" if label.positives is not None else label.label
