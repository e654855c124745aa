"""A square of values between every two of some names: described once, drawn as SVG for a page and by matplotlib."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval_harness.figures.markup import Html, tag
from eval_harness.figures.plots import SMALL, new_figure
from eval_harness.figures.svg import chart, label, line, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, TOP, BELOW = 100.0, 26.0, 78.0
WIDTH = 760.0
MOST_SIDE = 40.0
LEAST_TEXT = 11.0
"""Height in pixels below which names of neighbouring rows would overlap."""
LEVELS = 20
LIGHT_FROM = 0.77
"""Value from which light letters on a cell, in the dark style dark ones, are the easier to read."""
WRITE_UP_TO = 16
"""Largest number of names with the value written into each cell."""
CELL_INCH = 0.26
UNDEFINED = "#d9d9d9"


@dataclass(frozen=True)
class HeatMap:
    """Values from 0 to 1 of every two names, (names, names); NaN where undefined.

    Attributes:
        title: of the whole.
        key: what the values are.
        names: of rows and columns.
        groups: name and number of members of each group of neighbours; together as many as there are names.
        values: (names, names); a little below 0 is drawn as 0.
    """

    title: str
    key: str
    names: Sequence[str]
    groups: Sequence[tuple[str, int]]
    values: NDArray[np.float64]

    @property
    def written(self) -> bool:
        """Whether every cell has room for its value."""
        return len(self.names) <= WRITE_UP_TO

    def spans(self) -> Iterator[tuple[str, int, int]]:
        """Yield name, first member and the one after the last of every group."""
        start = 0
        for name, members in self.groups:
            yield name, start, start + members
            start += members


def heat_map_chart(described: HeatMap) -> Html:
    """Return a heat map as SVG, in the colours of the page."""
    count = len(described.names)
    side = min((WIDTH - LEFT) / count, MOST_SIDE)
    end = LEFT + side * count, TOP + side * count
    parts: list[object] = [_cells(described.values, side)]
    if described.written:
        parts += _values(described.values, side)
    # Of many names every second, third ... is written: the order tells the others.
    for k in range(0, count, max(1, math.ceil(LEAST_TEXT / side))):
        middle = side * (k + 0.5)
        parts.append(label(LEFT - 6, TOP + middle + 4, described.names[k], "tick", "end"))
        x = LEFT + middle + 4
        turned = f"rotate(-90 {x:.1f} {end[1] + 6:.1f})"
        name = described.names[k]
        parts.append(tag("text", name, x=x, y=end[1] + 6, class_="tick", text_anchor="end", transform=turned))
    for name, start, stop in described.spans():
        room = max(side * (stop - start), 60.0)
        parts.append(
            label(LEFT + side * (start + stop) / 2, TOP - 8, shortened(name, room), "strong", "middle", title=name)
        )
        if start:
            edge = side * start
            parts.append(line(LEFT + edge, TOP, LEFT + edge, end[1], "edge"))
            parts.append(line(LEFT, TOP + edge, end[0], TOP + edge, "edge"))
    groups = ", ".join(name for name, _ in described.groups)
    said = f"Square of {count} by {count} for {groups}. The tables below hold the numbers."
    return chart(max(end[0], 360.0) + 8, end[1] + BELOW, described.title, said, *parts)


def _cells(values: NDArray[np.float64], side: float) -> Html:
    """One path for all cells of a level, neighbours joined: of many names they would else be most of the page."""
    by_level: dict[int, list[str]] = {}
    for i, row in enumerate(values):
        levels = [-1 if np.isnan(value) else round(LEVELS * min(max(float(value), 0.0), 1.0)) for value in row]
        start = 0
        for level, cells in itertools.groupby(levels):
            width = len(list(cells))
            by_level.setdefault(level, []).append(f"M{start} {i}h{width}v1h-{width}z")
            start += width
    paths = []
    for level, outlines in sorted(by_level.items()):
        if level:  # 0 is the colour of the page
            style = "ring chance" if level < 0 else "cells"
            opacity = max(level, 0) / LEVELS
            path = {"d": "".join(outlines), "class_": style, "fill_opacity": opacity}
            paths.append(tag("path", **path, vector_effect="non-scaling-stroke"))
    return tag("g", paths, transform=f"translate({LEFT} {TOP}) scale({side:.3f})", shape_rendering="crispEdges")


def _values(values: NDArray[np.float64], side: float) -> list[Html]:
    """The value in every cell, light on dark cells."""
    labels = []
    for (i, j), value in np.ndenumerate(values):
        style = "tick onfull" if value > LIGHT_FROM else "tick oncell"
        labels.append(label(LEFT + side * (j + 0.5), TOP + side * (i + 0.5) + 4, _text(value), style, "middle"))
    return labels


def _text(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def heat_map_figure(described: HeatMap) -> Figure:
    """Return a heat map as a figure of matplotlib, for files."""
    from matplotlib import colormaps

    # The blue of a page's cells on white; a map of several colours would show steps where the values have none.
    colours = colormaps["Blues"].with_extremes(bad=UNDEFINED)
    count = len(described.names)
    side = max(3.0, CELL_INCH * count * (1.6 if described.written else 1.0))
    figure = new_figure(side + 2.4, side + 1.6)
    axes = figure.add_subplot()
    # From 0 to 1 whatever the values, so that heat maps of two results can be laid side by side.
    masked = np.ma.masked_invalid(described.values)
    image = axes.imshow(masked, vmin=0.0, vmax=1.0, cmap=colours, interpolation="nearest")
    axes.set_xticks(range(count), described.names, rotation=90, fontsize=SMALL)
    axes.set_yticks(range(count), described.names, fontsize=SMALL)
    axes.tick_params(length=2)
    _mark_groups(axes, described)
    if described.written:
        for (i, j), value in np.ndenumerate(described.values):
            ink = "white" if value > LIGHT_FROM else "black"
            axes.text(j, i, _text(value), ha="center", va="center", fontsize=SMALL - 1, color=ink)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label(described.key, fontsize=SMALL + 1)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(described.title, fontsize=SMALL + 2, x=0.02, ha="left")
    return figure


def _mark_groups(axes: Any, described: HeatMap) -> None:
    """Lines between groups and their names above."""
    for name, start, stop in described.spans():
        if start:
            axes.axhline(start - 0.5, color="black", linewidth=0.8)
            axes.axvline(start - 0.5, color="black", linewidth=0.8)
        style = {"fontsize": SMALL + 1, "fontweight": "bold", "clip_on": False}
        axes.text((start + stop - 1) / 2, -0.7, name, rotation=30, rotation_mode="anchor", **style)
