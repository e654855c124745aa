"""How CKA is shown: a heat map of all stages of all encoders in one square, and its numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval_harness.analyses.cka.schema import CKA_FILE, CkaResult, Form, matrix, stage_rows
from eval_harness.analyses.registry import AnalysisKind
from eval_harness.analyses.studies import distinct_names
from eval_harness.figures.markup import Html, details, scroller, table, tag
from eval_harness.figures.plots import new_figure, write_figure
from eval_harness.figures.svg import chart, label, line, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTRODUCTION = (
    "Linear CKA of every two stages on the same records: 1 where features agree up to rotation and scale. The debiased "
    "form is 0 on average for independent features and can be slightly negative; it has no interval here."
)
LEFT, TOP, BELOW = 100.0, 26.0, 78.0
WIDTH = 760.0
LEVELS = 20
LIGHT_FROM = 0.77
"""Value from which light letters on a cell, in the dark style dark ones, are the easier to read."""
MOST_NUMBERS = 40
"""Up to so many stages all values stand in a table; of more, they are in `cka.json`."""
WRITE_UP_TO = 16
"""Largest number of stages with the value written into each cell."""
CELL_INCH = 0.26
UNDEFINED = "#d9d9d9"


def cka_part(result: CkaResult, tasks: Collection[str] | None = None) -> list[Html]:
    """Return heat map and tables of a CKA analysis."""
    data = result.data
    about = f"{data.dataset}, {data.records:,} records of its split {data.split}."
    parts = [tag("p", INTRODUCTION, class_="soft"), tag("p", about, class_="soft small")]
    if not result.encoders:
        return parts
    stages, values = matrix(result, "debiased")
    title = f"Debiased CKA of {len(stages)} stages on {data.dataset}"
    key = tag(
        "span",
        class_="ramp",
        aria_hidden="true",
        style="background:linear-gradient(90deg,transparent,rgb(var(--better)))",
    )
    caption = tag("figcaption", key, " from 0 or below to 1; “–”, or dashed: a stage that does not vary.")
    parts.append(tag("figure", scroller(_heat_map(title, result, stages, values), title), caption, class_="wide"))
    parts.append(_neighbours(result))
    if len(stages) <= MOST_NUMBERS:
        parts.append(details("All values as a table", _numbers(result, stages, values)))
    else:
        text = f"The values of all {len(stages) ** 2:,} pairs are in cka.json: more than {MOST_NUMBERS} stages."
        parts.append(tag("p", text, class_="soft small"))
    return parts


def _heat_map(title: str, result: CkaResult, stages: list[tuple[str, str]], values: NDArray[np.float64]) -> Html:
    count = len(stages)
    side = min((WIDTH - LEFT) / count, 40.0)
    end = LEFT + side * count, TOP + side * count
    parts: list[object] = [_cells(values, side)]
    if count <= WRITE_UP_TO:
        parts += _written(values, side)
    for k, (_, stage) in enumerate(stages):
        middle = TOP + side * (k + 0.5)
        if side >= 11 or k % math.ceil(11 / side) == 0:
            parts.append(label(LEFT - 6, middle + 4, stage, "tick", "end"))
            x = LEFT + side * (k + 0.5) + 4
            turned = f"rotate(-90 {x:.1f} {end[1] + 6:.1f})"
            parts.append(tag("text", stage, x=x, y=end[1] + 6, class_="tick", text_anchor="end", transform=turned))
    start, names = 0, _names(result)
    for encoder in result.encoders:
        stop = start + len(encoder.stages)
        x, room = LEFT + side * (start + stop) / 2, side * (stop - start)
        name = names[encoder.model.id]
        parts.append(label(x, TOP - 8, shortened(name, max(room, 60.0)), "strong", "middle", title=name))
        if start:
            edge = side * start
            parts.append(line(LEFT + edge, TOP, LEFT + edge, end[1], "edge"))
            parts.append(line(LEFT, TOP + edge, end[0], TOP + edge, "edge"))
        start = stop
    described = f"Square of stages by stages, encoders {', '.join(names.values())}. The tables below hold the numbers"
    return chart(max(end[0], 360.0) + 8, end[1] + BELOW, title, f"{described}.", *parts)


def _cells(values: NDArray[np.float64], side: float) -> Html:
    """One path for all cells of a level, neighbours joined: of many stages they would else be most of the page."""
    by_level: dict[int, list[str]] = {}
    for i, row in enumerate(values):
        # The debiased form may be a little below 0, which is drawn as 0.
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


def _written(values: NDArray[np.float64], side: float) -> list[Html]:
    """The value in every cell, light on dark cells."""
    labels = []
    for (i, j), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        style = "tick onfull" if value > LIGHT_FROM else "tick oncell"
        labels.append(label(LEFT + side * (j + 0.5), TOP + side * (i + 0.5) + 4, text, style, "middle"))
    return labels


def _neighbours(result: CkaResult) -> Html:
    rows = stage_rows(result, _names(result))
    cells = [["-" if value is None else value for value in row.values()] for row in rows]
    caption = (
        "Each stage: CKA with the stage before it (debiased, biased) and with the most alike stage of another model"
    )
    return table(list(rows[0]), cells, caption=caption, class_="figures")


def _names(result: CkaResult) -> dict[str, str]:
    return distinct_names([encoder.model.id for encoder in result.encoders])


def _numbers(result: CkaResult, stages: list[tuple[str, str]], values: NDArray[np.float64]) -> Html:
    of_model = _names(result)
    names = [f"{of_model[model]} {stage}" for model, stage in stages]
    rows = [
        [name, *("-" if np.isnan(value) else f"{value:.2f}" for value in row)]
        for name, row in zip(names, values, strict=True)
    ]
    return table(["stage", *names], rows, caption="Debiased CKA of every two stages", class_="figures")


def heat_map(result: CkaResult, form: Form = "debiased") -> Figure:
    """Draw the heat map of a result."""
    from matplotlib import colormaps

    colours = colormaps["viridis"].with_extremes(bad=UNDEFINED)
    stages, values = matrix(result, form)
    count = len(stages)
    side = max(3.0, CELL_INCH * count * (1.6 if count <= WRITE_UP_TO else 1.0))
    figure = new_figure(side + 2.4, side + 1.6)
    axes = figure.add_subplot()
    # From 0 to 1 whatever the values, so that heat maps of two results can be laid side by side.
    image = axes.imshow(np.ma.masked_invalid(values), vmin=0.0, vmax=1.0, cmap=colours, interpolation="nearest")
    axes.set_xticks(range(count), [stage for _, stage in stages], rotation=90, fontsize=7)
    axes.set_yticks(range(count), [stage for _, stage in stages], fontsize=7)
    axes.tick_params(length=2)
    _mark_models(axes, result)
    if count <= WRITE_UP_TO:
        _write_values(axes, values)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label(f"linear CKA, {form}", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    data = result.data
    figure.suptitle(f"{data.dataset}, {data.split} split, {data.records:,} records", fontsize=9, x=0.02, ha="left")
    return figure


def _mark_models(axes: Any, result: CkaResult) -> None:
    """Lines between encoders and their names above."""
    start = 0
    for encoder in result.encoders:
        stop = start + len(encoder.stages)
        if start:
            axes.axhline(start - 0.5, color="white", linewidth=1.6)
            axes.axvline(start - 0.5, color="white", linewidth=1.6)
        name = {"fontsize": 8, "fontweight": "bold", "clip_on": False}
        axes.text((start + stop - 1) / 2, -0.7, encoder.model.id, rotation=30, rotation_mode="anchor", **name)
        start = stop


def _write_values(axes: Any, values: NDArray[np.float64]) -> None:
    for (i, j), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        light = np.isnan(value) or value > 0.6
        axes.text(j, i, text, ha="center", va="center", fontsize=6, color="black" if light else "white")


def write_heat_maps(result: CkaResult, folder: Path) -> list[Path]:
    """Write both forms as SVG and PNG; return the files: cka.svg, cka.png, cka_biased.svg, cka_biased.png."""
    written = []
    for form, name in (("debiased", "cka"), ("biased", "cka_biased")):
        figure = heat_map(result, form)  # type: ignore[arg-type]
        written += write_figure(figure, folder / name)
    return written


ANALYSIS = AnalysisKind(CKA_FILE, CkaResult, lambda result: "Similarity of stages (CKA)", cka_part)
