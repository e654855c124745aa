"""Forest plots and charts of points with intervals, in groups of rows or along an axis: described, and drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eval_harness.figures.markup import Html, tag
from eval_harness.figures.svg import (
    LETTER,
    Axis,
    axis,
    chart,
    curve,
    horizontal,
    label,
    line,
    mark,
    series,
    shortened,
    vertical,
)
from eval_harness.results.schema import Estimate
from eval_harness.results.summary import score_text

WIDTH = 760.0
ROW, TOP, BOTTOM = 24.0, 12.0, 42.0
MOST_NAME = 290.0
VALUES = 160.0
"""Room for "0.842 [0.831, 0.853]" at the right."""


@dataclass(frozen=True)
class Line:
    """One row of a forest plot.

    Attributes:
        name: at the left.
        estimate: point and interval.
        index: series that gives colour and mark.
        strong: whether name and value are bold.
    """

    name: str
    estimate: Estimate
    index: int
    strong: bool = False


@dataclass(frozen=True)
class Forest:
    """A forest plot.

    Attributes:
        title: of the whole.
        axis_title: below.
        groups: heading, "" for none, and rows.
        chance: drawn as a line where the axis reaches it; None draws none.
        limits: beyond which the axis does not go for the sake of round ends.
    """

    title: str
    axis_title: str
    groups: Sequence[tuple[str, Sequence[Line]]]
    chance: float | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)


def forest(described: Forest) -> Html:
    """Return a forest plot."""
    groups, chance, limits = described.groups, described.chance, described.limits
    lines = [row for _, rows in groups for row in rows]
    left = min(max(len(row.name) for row in lines) * LETTER + 26, MOST_NAME)
    values = [v for row in lines for v in (row.estimate.point, row.estimate.low, row.estimate.high) if v is not None]
    # A chance level far from all scores would press them into a corner of the axis; then it is not drawn.
    if chance is not None and values and min(values) - 0.1 < chance < max(values) + 0.1:
        values.append(chance)
    scale = axis(values, left, WIDTH - VALUES - 12)
    # Round ends must not show what the number cannot be, such as an AUROC above 1.
    if scale.low < limits[0] or scale.high > limits[1]:
        scale = axis(values, left, WIDTH - VALUES - 12, room=0.0)
    headings = sum(bool(heading) for heading, _ in groups)
    bottom = TOP + ROW * (len(lines) + headings)
    parts: list[object] = [*horizontal(scale, TOP, bottom, described.axis_title)]
    if chance is not None and scale.low <= chance <= scale.high:
        parts.append(line(scale(chance), TOP, scale(chance), bottom, "chance"))
    y = TOP + ROW / 2
    for heading, rows in groups:
        if heading:
            parts.append(label(0, y + 4, heading, "strong"))
            y += ROW
        for row in rows:
            parts += _row(row, scale, y, left)
            y += ROW
    said = "; ".join(f"{row.name}: {score_text(row.estimate)}" for row in lines[:12])
    # The description is read aloud by screen readers, so it has to end.
    more = f"; and {len(lines) - 12} more rows" if len(lines) > 12 else ""
    return chart(WIDTH, bottom + BOTTOM, described.title, f"Points with intervals. {said}{more}.", *parts)


def _row(row: Line, scale: Axis, y: float, left: float) -> list[Html]:
    point, low, high = row.estimate.point, row.estimate.low, row.estimate.high
    # Bold as well as coloured: colour alone does not reach everybody, nor paper.
    weight = "strong" if row.strong else ""
    name = shortened(row.name, left - 26)
    parts = [
        mark(row.index, 8, y),
        label(20, y + 4, name, weight, title=row.name if name != row.name else None),
        label(WIDTH, y + 4, score_text(row.estimate), weight, "end"),
    ]
    if low is not None and high is not None:
        a, b = scale(low), scale(high)
        # Whisker and both caps as one path: a page with thousands of rows has a third of the elements.
        path = f"M{a:.1f} {y:.1f}H{b:.1f}M{a:.1f} {y - 4:.1f}v8M{b:.1f} {y - 4:.1f}v8"
        parts.append(tag("path", d=path, class_=f"whisker {series(row.index)}"))
    if point is not None:
        parts.append(mark(row.index, scale(point), y, size=5, title=f"{row.name}: {score_text(row.estimate)}"))
    return parts


LEFT, TRACE_TOP, BELOW = 58.0, 10.0, 44.0


@dataclass(frozen=True)
class Trace:
    """One series of a chart.

    Attributes:
        name: as in the legend.
        index: gives colour and mark.
        points: (place on the axis, estimate).
        path: (place, value) of a line; () joins the points, None draws no line.
        dashed: whether the line is.
        shaded: draw intervals as a band instead of whiskers.
        open_: places whose marks are open.
        point_names: what the points are called in the description; default the places.
    """

    name: str
    index: int
    points: Sequence[tuple[float, Estimate]]
    path: Sequence[tuple[float, float]] | None = ()
    dashed: bool = False
    shaded: bool = False
    open_: frozenset[float] = frozenset()
    point_names: Sequence[str] = field(default_factory=tuple)


def values_of(traces: Sequence[Trace]) -> list[float]:
    """Return all points and ends of intervals."""
    return [
        value
        for trace in traces
        for _, estimate in trace.points
        for value in (estimate.point, estimate.low, estimate.high)
        if value is not None
    ]


@dataclass(frozen=True)
class Chart:
    """Several series along an axis.

    Attributes:
        title: of the chart by itself.
        across, upward: the axes; without the second, one that holds all points and intervals.
        level: drawn as a dashed line.
        height: on a page, in pixels.
        caption: title in a figure of several charts; default the title.
    """

    title: str
    across: Axis
    across_title: str
    upward_title: str
    traces: Sequence[Trace]
    upward: Axis | None = None
    level: float | None = None
    height: float = 200.0
    caption: str = ""


def trace_chart(described: Chart) -> Html:
    """Return a chart of several series."""
    across, traces, level = described.across, described.traces, described.level
    bottom = TRACE_TOP + described.height
    scale = axis(values_of(traces), bottom, TRACE_TOP, count=5) if described.upward is None else described.upward
    parts: list[object] = [*horizontal(across, TRACE_TOP, bottom, described.across_title)]
    parts += vertical(scale, across.start, across.end, described.upward_title)
    if level is not None:
        parts.append(line(across.start, scale(level), across.end, scale(level), "chance"))
    for trace in traces:
        parts += _drawn(trace, across, scale)
    said = "; ".join(text for trace in traces if (text := _said(trace)))
    return chart(across.end + 14, bottom + BELOW, described.title, f"{said or 'nothing to draw'}.", *parts)


def names_legend(traces: Sequence[Trace]) -> Html:
    """Return marks and names of the series; those that are dashed say so."""
    items = []
    for trace in traces:
        picture: dict[str, Any] = {"viewBox": "0 0 26 16", "width": 24, "height": 14, "aria_hidden": "true"}
        style = f"curve {series(trace.index)}{' dashed' if trace.dashed else ''}"
        drawn = tag("svg", tag("path", d="M1 8H25", class_=style), mark(trace.index, 13, 8), class_="key", **picture)
        items.append(tag("li", drawn, f"{trace.name}{' (dashed)' if trace.dashed else ''}"))
    return tag("ul", items, class_="legend")


def _drawn(trace: Trace, across: Axis, scale: Axis) -> list[Html]:
    style = series(trace.index)
    # An undefined point leaves a gap in marks; the line joins its neighbours.
    defined = [(x, estimate) for x, estimate in trace.points if estimate.point is not None]
    parts = []
    whole = [(x, e.low, e.high) for x, e in defined if e.low is not None and e.high is not None]
    if trace.shaded and len(whole) > 1:
        # Along the lower ends and back along the upper ones, so that the polygon does not cross itself.
        edge = [(x, low) for x, low, _ in whole] + [(x, high) for x, _, high in reversed(whole)]
        corners = " ".join(f"{across(x):.1f},{scale(y):.1f}" for x, y in edge if y is not None)
        parts.append(tag("polygon", points=corners, class_=f"shade {style}"))
    path = [(x, e.point) for x, e in defined if e.point is not None] if trace.path == () else trace.path
    if path is not None and len(path) > 1:
        dashed = " dashed" if trace.dashed else ""
        parts.append(curve([(across(x), scale(y)) for x, y in path], f"curve {style}{dashed}"))
    if not trace.shaded:
        for x, low, high in whole:
            middle, a, b = across(x), scale(low or 0.0), scale(high or 0.0)
            caps = f"M{middle:.1f} {a:.1f}V{b:.1f}M{middle - 3:.1f} {a:.1f}h6M{middle - 3:.1f} {b:.1f}h6"
            parts.append(tag("path", d=caps, class_=f"whisker {style}"))
    for number, (x, estimate) in enumerate(trace.points):
        if estimate.point is not None:
            hint = f"{trace.name}, {_place(trace, number)}: {score_text(estimate)}"
            spot = across(x), scale(estimate.point)
            parts.append(mark(trace.index, *spot, size=4, title=hint, open_=x in trace.open_))
    return parts


def _said(trace: Trace) -> str:
    defined = [(number, e) for number, (_, e) in enumerate(trace.points) if e.point is not None]
    return f"{trace.name}: " + ", ".join(f"{_place(trace, k)} {score_text(e)}" for k, e in defined) if defined else ""


def _place(trace: Trace, number: int) -> str:
    return trace.point_names[number] if trace.point_names else f"{trace.points[number][0]:g}"
