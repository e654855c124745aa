"""How label efficiency is shown: losses with their curves, and the ratio of records to a baseline."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval_harness.analyses.label_efficiency.schema import (
    RESULT_FILE,
    Curve,
    EfficiencyEntry,
    EfficiencyRatios,
    EfficiencyResult,
    FittedCurve,
    Float,
    curve_rows,
    point_rows,
    ratio_rows,
)
from eval_harness.analyses.registry import AnalysisKind
from eval_harness.analyses.studies import distinct_names, reasons
from eval_harness.figures.charts import LEFT, TRACE_TOP, Chart, Trace, names_legend, trace_chart, values_of
from eval_harness.figures.markup import Html, details, table, tag
from eval_harness.figures.plots import draw_chart, new_figure, say, write_figure
from eval_harness.figures.svg import log_axis
from eval_harness.results.schema import Estimate

INTRODUCTION = (
    "The loss, 1 - macro AUROC, against the number of training records N, and the curve C N^-alpha + L0 through its "
    "points. r(N) is the number of records that a model needs for the score of the baseline at N records, over N: "
    "below 1 it needs fewer. Intervals are over test records and runs together. Beyond the measured sizes (open marks) "
    "values rest on the form of the curve alone; below the floor L0 there is no ratio."
)
NO_RATIO = "No ratio is defined: no baseline, too few sizes, or the baseline's loss lies at the floor or below."
RIGHT, HEIGHT = 372.0, 200.0
PLACES = 24


def efficiency_part(result: EfficiencyResult, tasks: Collection[str] | None) -> list[Html]:
    """Return the charts and tables of every task of a study."""
    content = result.model_dump(exclude_unset=True)
    parts = [tag("p", text, class_="soft") for text in (INTRODUCTION, *reasons(content["entries"] + content["ratios"]))]
    names = distinct_names(list(dict.fromkeys(entry.model for entry in result.entries)))
    for task in dict.fromkeys(entry.task for entry in result.entries if tasks is None or entry.task in tasks):
        losses, ratios = losses_chart(result, task, names), ratios_chart(result, task, names)
        charts = [_figure(losses, "Points with intervals, and fitted curves")]
        charts.append(
            tag("figure", tag("figcaption", NO_RATIO))
            if ratios is None
            else _figure(ratios, "r(N) with intervals; dashed: as many as the baseline")
        )
        parts += [tag("h3", task), names_legend(losses.traces), tag("div", charts, class_="many pair")]
        parts += _tables(result, task, names)
    return parts


def _figure(described: Chart, caption: str) -> Html:
    return tag("figure", trace_chart(described), tag("figcaption", caption))


def losses_chart(result: EfficiencyResult, task: str, names: Mapping[str, str]) -> Chart:
    """Return the losses of a task by number of training records, with their fitted curves."""
    entries = [entry for entry in result.entries if entry.task == task]
    traces = [_loss(entry, k, names) for k, entry in enumerate(entries)]
    across = log_axis([10**size for trace in traces for size, _ in trace.points], LEFT, RIGHT)
    title = f"{task}: {result.loss} by number of training records"
    return Chart(title, across, "training records", result.loss, traces, height=HEIGHT)


def ratios_chart(result: EfficiencyResult, task: str, names: Mapping[str, str]) -> Chart | None:
    """Return the records needed over those of the baseline; None where no ratio is defined."""
    entries = [entry for entry in result.entries if entry.task == task]
    index = {(entry.model, entry.mode): k for k, entry in enumerate(entries)}
    ratios = [_ratio(entry, index[entry.model, entry.mode], names) for entry in result.ratios if entry.task == task]
    traces = [ratio for ratio in ratios if values_of([ratio])]
    if not traces:
        return None
    across = log_axis([10**size for trace in traces for size, _ in trace.points], LEFT, RIGHT)
    upward = log_axis([1.0, *(10**value for value in values_of(traces))], HEIGHT + TRACE_TOP, TRACE_TOP, most=6)
    title = f"{task}: records needed, over those of the baseline"
    return Chart(title, across, "N, records of the baseline", "r(N)", traces, upward, level=0.0)


def _loss(entry: EfficiencyEntry, k: int, names: Mapping[str, str]) -> Trace:
    points = []
    for point in sorted(entry.points, key=lambda point: point.records):
        score = point.macro_auroc
        # The loss is 1 - score: the upper end of the score is the lower end of the loss.
        low, high = (None if end is None else 1 - end for end in (score.high, score.low))
        loss = Estimate(point=None if score.point is None else 1 - score.point, low=low, high=high)
        points.append((math.log10(point.records), loss))
    path: list[tuple[float, float]] | None = None
    if isinstance(entry.curve, FittedCurve) and entry.curve.falls:
        across, values = drawn_curve(entry.curve.model_dump(), PLACES)
        path = [(math.log10(x), float(y)) for x, y in zip(across, values, strict=True)]
    name = f"{names[entry.model]} {entry.mode}{' (baseline)' if entry.baseline else ''}"
    sizes = [f"{point.records:,.0f} records" for point in sorted(entry.points, key=lambda point: point.records)]
    return Trace(name, k, points, path, point_names=sizes)


def _ratio(ratios: EfficiencyRatios, k: int, names: Mapping[str, str]) -> Trace:
    # The axis is logarithmic: a ratio of 0, or of no defined number of records, has no place on it.
    rows = [row for row in ratios.at if row.r is not None and row.r.point and row.records]
    points, names_of_points = [], []
    for row in rows:
        assert row.r is not None
        logs = Estimate(point=_log(row.r.point), low=_log(row.r.low), high=_log(row.r.high))
        points.append((math.log10(row.records or 1.0), logs))
        names_of_points.append(f"log10 of r at N = {row.records:g}")
    open_ = frozenset(math.log10(row.records or 1.0) for row in rows if not row.within_measured)
    return Trace(f"{names[ratios.model]} {ratios.mode}", k, points, None, open_=open_, point_names=names_of_points)


def _log(value: float | None) -> float | None:
    # An end at 0 or below is open: it would lie infinitely far down.
    return math.log10(value) if value is not None and value > 0 else None


def _tables(result: EfficiencyResult, task: str, names: Mapping[str, str]) -> list[Html]:
    content = result.model_dump(exclude_unset=True)
    parts = []
    for title, rows, folded in (
        ("fitted curves, with intervals", curve_rows(content), False),
        ("records needed, over those of the baseline, with intervals", ratio_rows(content), False),
        ("points, with intervals", point_rows(content), True),
    ):
        mine = [row for row in rows if row["task"] == task]
        if mine:
            head = [key for key in mine[0] if key != "task"]
            cells = [[names[row[key]] if key == "model" else row[key] for key in head] for row in mine]
            numbers = table(head, cells, caption=f"{task}: {title}", class_="figures")
            parts.append(details("Points as a table", numbers) if folded else numbers)
    return parts


def drawn_curve(curve: dict[str, Any], places: int = 100) -> tuple[Float, Float]:
    """Records, evenly spaced on a logarithmic scale over the sizes that were run, and the fitted loss at each."""
    first, last = (float(number) for number in curve["records"])
    across = np.geomspace(first, last, places)
    scale, alpha, floor = (np.asarray(curve[part]["point"], dtype=np.float64) for part in ("C", "alpha", "L0"))
    return across, Curve(scale, alpha, floor).loss(across)


def write_plot(result: EfficiencyResult, path: Path) -> None:
    """Draw a result, one row of two charts per task, and write it as PNG."""
    tasks = list(dict.fromkeys(entry.task for entry in result.entries))
    names = distinct_names(list(dict.fromkeys(entry.model for entry in result.entries)))
    figure = new_figure(11, 3.8 * max(len(tasks), 1))
    grid = figure.subplots(max(len(tasks), 1), 2, squeeze=False)
    for (left, right), task in zip(grid, tasks, strict=False):
        draw_chart(left, losses_chart(result, task, names))
        ratios = ratios_chart(result, task, names)
        if ratios is None:
            say(right, "no ratio is defined" if result.baseline else "no baseline was asked for")
        else:
            draw_chart(right, ratios)
    figure.supxlabel("\n".join(reasons(result.model_dump(exclude_unset=True))), fontsize=8)
    write_figure(figure, path.with_suffix(""), ("png",))


ANALYSIS = AnalysisKind(
    RESULT_FILE,
    EfficiencyResult,
    lambda result: "Label efficiency",
    efficiency_part,
    lambda result: {entry.task for entry in result.entries},
)
