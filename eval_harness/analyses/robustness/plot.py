"""Curves of score against strength: one figure per task, a panel per corruption, one panel for single leads lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_harness.analyses.cka.plot import write_figure
from eval_harness.analyses.robustness.schema import Condition, RobustnessResult
from eval_harness.metrics.registry import title_of
from eval_harness.results.schema import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLUMNS = 3
BLUE, GREY = "#0072b2", "#59636e"
SINGLE = "lead_loss"


def curves(result: RobustnessResult, task: str) -> Figure:
    """Draw one task of a result: the main metric with its 95 % intervals, the clean score as a dashed line."""
    from matplotlib.figure import Figure

    metric = result.main[task]
    groups = by_group(result)
    rows = max(1, math.ceil(len(groups) / COLUMNS))
    figure = Figure(figsize=(3.6 * COLUMNS, 2.7 * rows + 0.7), dpi=150, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    clean = result.clean[task][metric]
    low, high = score_range(result, task, metric)
    for axes, (group, conditions) in zip(panels, groups.items(), strict=False):
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3, linewidth=0.5)
        if group == SINGLE:
            _leads(axes, conditions, task, metric, clean, (low, high))
        else:
            _curve(axes, conditions, task, metric, clean)
            axes.set_ylim(low, high)
            axes.set_ylabel(title_of(metric), fontsize=7)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    title = f"{result.model.id}, {result.mode}, {task}: {result.dataset}, {result.records:,} test records"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def write_curves(result: RobustnessResult, folder: Path) -> list[Path]:
    """Write the figure of every task as SVG and PNG; return the files."""
    return [
        path
        for task in result.main
        if result.conditions and task in result.clean
        for path in write_figure(curves(result, task), folder / f"robustness_{task}")
    ]


def by_group(result: RobustnessResult) -> dict[str, list[Condition]]:
    """Return the conditions that are drawn together."""
    groups: dict[str, list[Condition]] = {}
    for condition in result.conditions:
        groups.setdefault(condition.group, []).append(condition)
    return groups


def score_range(result: RobustnessResult, task: str, metric: str) -> tuple[float, float]:
    """Return one range for all panels of a task, so that they can be compared."""
    scores = [c.scores[task][metric].score for c in result.conditions if c.status == "done"]
    ends = [
        value for s in [*scores, result.clean[task][metric]] for value in (s.low, s.point, s.high) if value is not None
    ]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room


def along(done: list[Condition], task: str, metric: str, clean: Estimate) -> list[tuple[float, Estimate]]:
    """Return (strength, score) of one corruption, the clean score first."""
    return [(0.0, clean), *((c.strength, c.scores[task][metric].score) for c in done)]


def strongest(conditions: list[Condition]) -> tuple[str, list[Condition]]:
    """Return a title and the single leads lost for the whole record, or for as much as was scored."""
    most = max(c.strength for c in conditions)
    share = "" if most == 1 else f" for {most:g} of the record"
    return f"one lead lost{share}", [c for c in conditions if c.strength == most and c.status == "done"]


def lead_name(condition: Condition) -> str:
    """Return the lead that a condition loses."""
    return condition.corruption.removeprefix("lead_loss_")


def _line(axes: Any, clean: Any, upright: bool = False) -> None:
    if clean.point is not None:
        (axes.axvline if upright else axes.axhline)(clean.point, color=GREY, linestyle="--", linewidth=0.9)


def _curve(axes: Any, conditions: list[Condition], task: str, metric: str, clean: Any) -> None:
    done = [c for c in conditions if c.status == "done"]
    axes.set_title(conditions[0].title, fontsize=8, loc="left")
    axes.set_xlabel(conditions[0].unit, fontsize=7)
    _line(axes, clean)
    if not done:
        axes.text(0.5, 0.5, conditions[0].reason or "", ha="center", va="center", fontsize=7, transform=axes.transAxes)
        return
    path = along(done, task, metric, clean)
    places, nan = [place for place, _ in path], math.nan
    points, lows, highs = (
        [nan if (v := getattr(s, end)) is None else v for _, s in path] for end in ("point", "low", "high")
    )
    axes.fill_between(places, lows, highs, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(places, points, color=BLUE, marker="o", markersize=3.5, linewidth=1.2)
    axes.set_xticks(places, [f"{place:g}" for place in places])


def _leads(
    axes: Any, conditions: list[Condition], task: str, metric: str, clean: Any, ends: tuple[float, float]
) -> None:
    """Single leads lost for the whole record, or for as much as was scored."""
    title, whole = strongest(conditions)
    _line(axes, clean, upright=True)
    for place, condition in enumerate(whole):
        score = condition.scores[task][metric].score
        if score.point is None:
            continue
        if score.low is not None and score.high is not None:
            axes.plot([score.low, score.high], [place, place], color=BLUE, linewidth=1.2)
        axes.plot([score.point], [place], color=BLUE, marker="o", markersize=3.5)
    axes.set_yticks(range(len(whole)), [lead_name(c) for c in whole], fontsize=6)
    axes.invert_yaxis()
    axes.set_xlim(*ends)
    axes.set_xlabel(title_of(metric), fontsize=7)
    axes.set_title(title, fontsize=8, loc="left")
