"""Charts of points with intervals along an axis, several series in one chart: what the parts on analyses draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eval_harness.report.markup import Html, tag
from eval_harness.report.svg import Axis, axis, chart, horizontal, line, mark, series, vertical
from eval_harness.results import Estimate
from eval_harness.summary import score_text

LEFT, TOP, BELOW = 58.0, 10.0, 44.0


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
        words: what the points are called in the description; default the places.
    """

    name: str
    index: int
    points: Sequence[tuple[float, Estimate]]
    path: Sequence[tuple[float, float]] | None = ()
    dashed: bool = False
    shaded: bool = False
    open_: frozenset[float] = frozenset()
    words: Sequence[str] = field(default_factory=tuple)


def values_of(traces: Sequence[Trace]) -> list[float]:
    """Return all points and ends of intervals."""
    return [
        value
        for trace in traces
        for _, estimate in trace.points
        for value in (estimate.point, estimate.low, estimate.high)
        if value is not None
    ]


def trace_chart(
    title: str,
    across: Axis,
    across_title: str,
    upward_title: str,
    traces: Sequence[Trace],
    *,
    height: float = 200.0,
    upward: Axis | None = None,
    level: float | None = None,
) -> Html:
    """Return a chart of several series.

    Args:
        title: for those who cannot see it.
        across: the horizontal axis; `LEFT` and the width of the chart are its ends.
        across_title: of the horizontal axis.
        upward_title: of the vertical axis.
        traces: what is drawn.
        height: of the drawing area in pixels.
        upward: the vertical axis; default one that holds all values, between `height + TOP` and `TOP`.
        level: a value that a dashed line marks, for example that of the clean records.
    """
    bottom = TOP + height
    scale = axis(values_of(traces), bottom, TOP, count=5) if upward is None else upward
    parts: list[object] = [*horizontal(across, TOP, bottom, across_title)]
    parts += vertical(scale, across.start, across.end, upward_title)
    if level is not None:
        parts.append(line(across.start, scale(level), across.end, scale(level), "chance"))
    for trace in traces:
        parts += _drawn(trace, across, scale)
    described = "; ".join(words for trace in traces if (words := _words(trace)))
    return chart(across.end + 14, bottom + BELOW, title, f"{described or 'nothing to draw'}.", *parts)


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
    known = [(place, estimate) for place, estimate in trace.points if estimate.point is not None]
    parts = []
    whole = [(place, e.low, e.high) for place, e in known if e.low is not None and e.high is not None]
    if trace.shaded and len(whole) > 1:
        edge = [(place, low) for place, low, _ in whole] + [(place, high) for place, _, high in reversed(whole)]
        corners = " ".join(f"{across(x):.1f},{scale(y):.1f}" for x, y in edge if y is not None)
        parts.append(tag("polygon", points=corners, class_=f"shade {style}"))
    path = [(place, e.point) for place, e in known if e.point is not None] if trace.path == () else trace.path
    if path is not None and len(path) > 1:
        drawn = "M" + "L".join(f"{across(x):.1f} {scale(y):.1f}" for x, y in path)
        parts.append(tag("path", d=drawn, class_=f"curve {style}{' dashed' if trace.dashed else ''}"))
    if not trace.shaded:
        for place, low, high in whole:
            x, a, b = across(place), scale(low or 0.0), scale(high or 0.0)
            caps = f"M{x:.1f} {a:.1f}V{b:.1f}M{x - 3:.1f} {a:.1f}h6M{x - 3:.1f} {b:.1f}h6"
            parts.append(tag("path", d=caps, class_=f"whisker {style}"))
    for number, (place, estimate) in enumerate(trace.points):
        if estimate.point is not None:
            said = f"{trace.name}, {_place(trace, number)}: {score_text(estimate)}"
            x, y = across(place), scale(estimate.point)
            parts.append(mark(trace.index, x, y, size=4, title=said, open_=place in trace.open_))
    return parts


def _words(trace: Trace) -> str:
    known = [(number, e) for number, (_, e) in enumerate(trace.points) if e.point is not None]
    return f"{trace.name}: " + ", ".join(f"{_place(trace, k)} {score_text(e)}" for k, e in known) if known else ""


def _place(trace: Trace, number: int) -> str:
    return trace.words[number] if trace.words else f"{trace.points[number][0]:g}"
