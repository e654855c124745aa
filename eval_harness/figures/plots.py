"""Figure files by matplotlib: the charts of a page once more for paper and slides, and how they are saved.

A study describes its charts once (`eval_harness.figures.charts`): the page draws them as SVG, this module as PNG and
SVG files with the same colours, marks, axes and intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.utils.files import atomic_path
from eval_harness.figures.charts import Chart, Forest, Line, Trace
from eval_harness.figures.svg import Axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#c2410c", "#00795a", "#a6397f", "#7a6000", "#4b4b9e")
"""Those of the series of a page in its light style."""
MARKS = ("o", "s", "D", "^", "v", "P")
GREY = "#59636e"
SMALL = 7
ROW_APART = 0.28
"""Between the marks of one row of a forest, in rows."""


def colour(index: int) -> str:
    """Return the colour of a series; they repeat after six."""
    return COLOURS[index % len(COLOURS)]


def mark(index: int) -> str:
    """Return the mark of a series, another one where its colour is repeated."""
    return MARKS[(index + index // len(COLOURS)) % len(MARKS)]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    # Without pyplot: nothing global is kept, and no window system is asked for.
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def draw_chart(axes: Any, chart: Chart, legend: bool = True) -> None:
    """Draw a chart of series, with a legend within the axes where there are several."""
    for trace in chart.traces:
        _draw_trace(axes, trace)
    if chart.level is not None:
        axes.axhline(chart.level, color=GREY, linestyle="--", linewidth=0.9)
    _scale(axes, chart.across, "x")
    if chart.upward is not None:
        _scale(axes, chart.upward, "y")
    _frame(axes, chart.caption or chart.title, chart.across_title, chart.upward_title)
    if legend and len(chart.traces) > 1:
        axes.legend(fontsize=SMALL)


def _draw_trace(axes: Any, trace: Trace) -> None:
    shade, line = colour(trace.index), "--" if trace.dashed else "-"
    defined = [(x, e) for x, e in trace.points if e.point is not None]
    path = [(x, e.point) for x, e in defined] if trace.path == () else trace.path or ()
    axes.plot([x for x, _ in path], [y for _, y in path], color=shade, linestyle=line, linewidth=1.4)
    whole = [(x, e.low, e.high) for x, e in defined if e.low is not None and e.high is not None]
    places, lows, highs = ([row[k] for row in whole] for k in range(3))
    if trace.shaded:
        axes.fill_between(places, lows, highs, color=shade, alpha=0.2, linewidth=0)
    else:
        axes.vlines(places, lows, highs, color=shade, linewidth=1.4)
    for x, e in defined:
        face = "white" if x in trace.open_ else shade
        axes.plot([x], [e.point], mark(trace.index), color=shade, markerfacecolor=face, markersize=5)
    # For the legend alone: the marks are drawn one by one above, since open and filled ones differ.
    axes.plot([], [], color=shade, linestyle=line, marker=mark(trace.index), label=trace.name)


def draw_forest(axes: Any, forest: Forest) -> None:
    """Draw rows of points with intervals, the first on top; a group with a heading is one row with several marks."""
    names: list[str] = []
    legend: dict[str, int] = {}
    for heading, rows in forest.groups:
        for k, row in enumerate(rows):
            aside = ROW_APART * (k - (len(rows) - 1) / 2) if heading else k
            _draw_row(axes, row, len(names) + aside)
            legend.setdefault(row.name, row.index)
        names += [heading] if heading else [row.name for row in rows]
    if forest.chance is not None:
        axes.axvline(forest.chance, color=GREY, linestyle="--", linewidth=0.9)
    if any(heading for heading, _ in forest.groups):
        for name, index in legend.items():
            axes.plot([], [], mark(index), color=colour(index), markersize=4, label=name)
        axes.legend(fontsize=SMALL)
    axes.set_yticks(range(len(names)), names)
    # Upside down: the first row stands on top, as on the page.
    axes.set_ylim(len(names) - 0.5, -0.5)
    _frame(axes, forest.title, forest.axis_title, "")


def _draw_row(axes: Any, row: Line, y: float) -> None:
    point, low, high = row.estimate.point, row.estimate.low, row.estimate.high
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour(row.index), linewidth=1.2)
    if point is not None:
        axes.plot([point], [y], mark(row.index), color=colour(row.index), markersize=4)


def say(axes: Any, text: str, title: str = "") -> None:
    """Put a sentence where a chart would be."""
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=SMALL, wrap=True, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    _frame(axes, title, "", "")


def _scale(axes: Any, scale: Axis, which: str) -> None:
    getattr(axes, f"set_{which}lim")(scale.low, scale.high)
    getattr(axes, f"set_{which}ticks")(scale.ticks, [scale.label(tick) for tick in scale.ticks])


def _frame(axes: Any, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(across, fontsize=SMALL)
    axes.set_ylabel(up, fontsize=SMALL)
    axes.tick_params(which="both", labelsize=SMALL)
    axes.grid(alpha=0.3, linewidth=0.5)


def write_figure(figure: Figure, stem: Path, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write a figure as files STEM.KIND, atomically, without a date: equal data give equal files."""
    import matplotlib

    written = []
    for kind in kinds:
        path = stem.with_name(f"{stem.name}.{kind}")
        metadata = {"svg": {"Date": None}, "png": {"Software": None}}.get(kind)
        # Matplotlib names the parts of an SVG by chance without a salt, and turns its letters into shapes. A salt that
        # is the word "none" would be read as no salt.
        salt = f"figure {stem.name}"
        with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
            figure.savefig(temporary, format=kind, metadata=metadata)
        written.append(path)
    return written
