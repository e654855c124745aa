"""Two charts of a mode: score against size, and place in every category."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from eval_harness.figures.markup import Html, tag
from eval_harness.figures.svg import (
    LETTER,
    Axis,
    NamedAxis,
    axis,
    chart,
    horizontal,
    label,
    line,
    mark,
    series,
    shortened,
    vertical,
)
from eval_harness.leaderboard import phrases
from eval_harness.leaderboard.board import Board, Row, Tab, TaskSet
from eval_harness.leaderboard.ranking import Rank, Ranks

LINES = 12
"""Rows that the chart of places shows, the best ones."""


@dataclass(frozen=True)
class Spot:
    """One row in the chart of sizes."""

    row: Row
    x: float
    y: float


def size_chart(tab: Tab, tasks: TaskSet, ranks: Ranks) -> Html | None:
    """Return mean score against number of parameters, or None where fewer than two rows are complete."""
    ranked = [(row, ranks.get(tab, tasks, row)) for row in tab.rows]
    complete = [(row, standing) for row, standing in ranked if standing is not None]
    # One kind of score on the axis: where a set has classes, regression alone would not be comparable.
    classes = any(standing.auroc is not None for _, standing in complete)
    scored = [(row, _mean(standing, classes)) for row, standing in complete]
    sized = [(row, value) for row, value in scored if row.parameters]
    if len(sized) < 2:
        return None
    values = [value for _, value in scored]
    across, up = _log_axis([row.parameters or 1 for row, _ in sized]), axis(values, 300.0, 16.0)
    parts: list[object] = [
        *horizontal(across, 16, 300, "parameters of the encoder"),
        *vertical(up, 56, 700, "mean macro AUROC" if classes else "mean MAE (lower is better)"),
    ]
    for row, value in scored:
        if not row.parameters:  # the baseline without an encoder has no place on a logarithmic axis
            text = f"{row.id} {phrases.score(value)}"
            parts += [line(56, up(value), 700, up(value), "chance"), label(698, up(value) - 4, text, "faint", "end")]
    spots = [Spot(row, across(math.log10(row.parameters or 1)), up(value)) for row, value in sized]
    for spot, (_, value) in zip(spots, sized, strict=True):
        parts.append(_spot(spot, f"{spot.row.name}: {phrases.score(value)}, {phrases.millions(spot.row.parameters)}"))
    parts += _labels(spots)
    said = f"{len(sized)} complete rows on {tasks.title}."
    picture = chart(860, 350, f"Mean score against size, mode {tab.mode}", said, *parts)
    return _figure(
        picture,
        f"Mean score on {tasks.title} against the size of the encoder, complete rows only. Filled: computed here "
        "(circle: pre-trained, square: baseline). Hollow: published by the paper.",
    )


def places_chart(board: Board, tab: Tab, ranks: Ranks, published: bool) -> Html | None:
    """Return the place of the best rows in every category; None where fewer than two can be placed in two."""
    sets = [tasks for tasks in board.sets if tasks.name.startswith("category:")]
    places = {row.key: [ranks.get(tab, tasks, row) for tasks in sets] for row in tab.rows if row.published == published}
    # A category in which one row alone is complete would give it first place for nothing.
    used = [k for k, _ in enumerate(sets) if sum(ranks_of_row[k] is not None for ranks_of_row in places.values()) > 1]
    rows = [row for row in tab.rows if row.key in places and any(places[row.key][k] for k in used)]
    if len(rows) < 2 or len(used) < 2:
        return None
    rows = sorted(rows, key=lambda row: _mean_place([places[row.key][k] for k in used]))
    chosen = rows[:LINES]
    deepest = max(rank.place for row in chosen for k in used if (rank := places[row.key][k]))
    height = 60 + 26 * max(deepest - 1, 1)
    # Two places at least: an axis from 1 to 1 would have no length.
    down = Axis(1.0, float(max(deepest, 2)), 20.0, height - 40.0, tuple(float(n) for n in range(1, deepest + 1)))
    xs = [60 + (600 / max(len(used) - 1, 1)) * number for number in range(len(used))]
    parts: list[object] = []
    for tick in down.ticks:
        parts += [
            line(40, down(tick), 680, down(tick), "grid"),
            label(30, down(tick) + 4, f"{tick:.0f}", "tick", "end"),
        ]
    for x, k in zip(xs, used, strict=True):
        for number, text in enumerate(textwrap.wrap(sets[k].title.rsplit(" (", 1)[0], 15)):
            parts.append(label(x, height - 12 + 13 * number, text, "tick", "middle"))
    for index, row in enumerate(chosen):
        parts += _line_of(index, row, [places[row.key][k] for k in used], xs, down)
    parts += _names_at_end(chosen, [[places[row.key][k] for k in used] for row in chosen], down)
    whose = "published rows among themselves" if published else "rows computed here"
    more = f" The {LINES} best of {len(rows)} rows." if len(rows) > LINES else ""
    picture = chart(860, height + 34, f"Place in every category, mode {tab.mode}", f"{whose}.{more}", *parts)
    return _figure(picture, f"Place in every category by mean rank, {whose}, rows complete in the category.{more}")


def _figure(picture: Html, caption: str) -> Html:
    return tag("figure", tag("div", picture, class_="scroll wide", tabindex="0", role="region", aria_label=caption),
               tag("figcaption", caption))  # fmt: skip


def _mean(standing: Rank, classes: bool) -> float:
    value = standing.auroc if classes else standing.mae
    return math.nan if value is None else value


def _mean_place(standings: Sequence[Rank | None]) -> float:
    """Rows with gaps after complete ones."""
    places = [standing.place for standing in standings if standing is not None]
    # A gap counts for more than any place that a page of results can have.
    return sum(places) / len(places) + 1000 * (len(standings) - len(places))


def _log_axis(sizes: Sequence[int]) -> NamedAxis:
    """From half a power of ten to another, so that rows that are added seldom move the others."""
    low, high = math.floor(math.log10(min(sizes)) * 2) / 2, math.ceil(math.log10(max(sizes)) * 2) / 2
    high = max(high, low + 0.5)
    marked = [power + step for power in range(math.floor(low), math.ceil(high) + 1) for step in (0.0, math.log10(3))]
    # Logarithms of 3 and 10 meet the ends of the axis but for their last digits.
    ticks = tuple(tick for tick in marked if low - 1e-9 <= tick <= high + 1e-9)
    names = tuple(f"{10**t / 1e6:.0f} M" if 10**t >= 0.95e6 else f"{10**t / 1e3:.0f} k" for t in ticks)
    return NamedAxis(low, high, 70.0, 690.0, ticks, names)


def _spot(spot: Spot, title: str) -> Html:
    style = "p0" if not spot.row.baseline else "p1"
    style += " hollow" if spot.row.published else ""
    if spot.row.baseline:
        return tag(
            "rect", tag("title", title), x=spot.x - 4.5, y=spot.y - 4.5, width=9, height=9, class_=f"spot {style}"
        )
    return tag("circle", tag("title", title), cx=spot.x, cy=spot.y, r=5, class_=f"spot {style}")


def _labels(spots: Sequence[Spot]) -> list[Html]:
    """Names beside their marks where there is room; the others show theirs when pointed at."""
    taken = [(spot.x - 6, spot.y - 6, spot.x + 6, spot.y + 6) for spot in spots]
    parts = []
    # Rows computed here get room for their names before published ones.
    for spot in sorted(spots, key=lambda spot: (spot.row.published, spot.y)):
        text = shortened(spot.row.name, 150)
        width = len(text) * LETTER * 0.95
        places = ((9, 4, 0), (-9, 4, 1), (0, -9, 2), (0, 17, 2), (9, -7, 0), (9, 15, 0), (-9, -7, 1), (-9, 15, 1))
        for dx, dy, how in places:
            start = spot.x + dx - (0, width, width / 2)[how]
            box = (start, spot.y + dy - 10, start + width, spot.y + dy + 2)
            if box[0] < 58 or box[2] > 855 or any(_overlap(box, other) for other in taken):
                continue
            taken.append(box)
            anchor = ("start", "end", "middle")[how]
            parts.append(label(spot.x + dx, spot.y + dy, text, "faint" if spot.row.published else "", anchor))
            break
    return parts


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _line_of(index: int, row: Row, standings: Sequence[Rank | None], xs: Sequence[float], down: Axis) -> list[Html]:
    """A line through the places of a row; where one is missing, the line has a gap."""
    points = [
        None if standing is None else (x, down(standing.place)) for x, standing in zip(xs, standings, strict=True)
    ]
    parts = [
        tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1], class_=f"curve {series(index)}")
        for a, b in pairwise(points)
        if a is not None and b is not None
    ]
    return parts + [mark(index, *point, title=row.name) for point in points if point is not None]


def _names_at_end(rows: Sequence[Row], standings_of: Sequence[Sequence[Rank | None]], down: Axis) -> list[Html]:
    """Names right of the chart, moved apart where several rows end at one place."""
    ends = []
    for index, (row, standings) in enumerate(zip(rows, standings_of, strict=True)):
        last = next((standing for standing in reversed(standings) if standing is not None), None)
        if last is not None:
            ends.append((down(last.place), index, row))
    parts, lowest = [], -math.inf
    for y, index, row in sorted(ends, key=lambda end: (end[0], end[1])):
        # Never closer than a line of text to the name above.
        lowest = max(y, lowest + 14)
        parts += [mark(index, 692, lowest), label(702, lowest + 4, shortened(row.name, 155), "", title=row.name)]
    return parts
