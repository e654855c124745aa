"""Forest plots: points with their intervals, one row per run, also in groups of rows that share a heading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval_harness.report.markup import Html, tag
from eval_harness.report.svg import LETTER, Axis, axis, chart, horizontal, label, line, mark, series, shortened
from eval_harness.results import Estimate
from eval_harness.summary import score_text

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


def forest(
    title: str,
    axis_title: str,
    groups: Sequence[tuple[str, Sequence[Line]]],
    chance: float | None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Html:
    """Return a forest plot.

    Args:
        title: of the chart, for those who cannot see it.
        axis_title: metric with its unit.
        groups: heading ("" for none) and rows.
        chance: value of no skill, marked by a dashed line where it is within the scale; None for none.
        limits: of the metric; the scale does not go on beyond them.
    """
    lines = [row for _, rows in groups for row in rows]
    left = min(max(len(row.name) for row in lines) * LETTER + 26, MOST_NAME)
    values = [v for row in lines for v in (row.estimate.point, row.estimate.low, row.estimate.high) if v is not None]
    if chance is not None and values and min(values) - 0.1 < chance < max(values) + 0.1:
        values.append(chance)
    scale = axis(values, left, WIDTH - VALUES - 12)
    if scale.low < limits[0] or scale.high > limits[1]:
        scale = axis(values, left, WIDTH - VALUES - 12, room=0.0)
    headings = sum(bool(heading) for heading, _ in groups)
    bottom = TOP + ROW * (len(lines) + headings)
    parts: list[object] = [*horizontal(scale, TOP, bottom, axis_title)]
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
    described = "; ".join(f"{row.name}: {score_text(row.estimate)}" for row in lines[:12])
    more = f"; and {len(lines) - 12} more rows" if len(lines) > 12 else ""
    return chart(WIDTH, bottom + BOTTOM, title, f"Points with intervals. {described}{more}.", *parts)


def _row(row: Line, scale: Axis, y: float, left: float) -> list[Html]:
    point, low, high = row.estimate.point, row.estimate.low, row.estimate.high
    weight = "strong" if row.strong else ""
    name = shortened(row.name, left - 26)
    parts = [
        mark(row.index, 8, y),
        label(20, y + 4, name, weight, title=row.name if name != row.name else None),
        label(WIDTH, y + 4, score_text(row.estimate), weight, "end"),
    ]
    if low is not None and high is not None:
        a, b = scale(low), scale(high)
        path = f"M{a:.1f} {y:.1f}H{b:.1f}M{a:.1f} {y - 4:.1f}v8M{b:.1f} {y - 4:.1f}v8"
        parts.append(tag("path", d=path, class_=f"whisker {series(row.index)}"))
    if point is not None:
        parts.append(mark(row.index, scale(point), y, size=5, title=f"{row.name}: {score_text(row.estimate)}"))
    return parts
