"""Heat maps of a CKA result: all stages of all encoders in one square, encoders separated by lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecg_hub.utils.files import atomic_path
from eval_harness.analyses.cka.schema import CkaResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Form = Literal["debiased", "biased"]
FORMATS = ("svg", "png")
CELL_INCH = 0.26
UNDEFINED = "#d9d9d9"
WRITE_UP_TO = 16
"""Largest number of stages with the value written into each cell."""


def matrix(result: CkaResult, form: Form) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Return the stages (model, stage) and the square matrix of their CKA, NaN where it is undefined or missing."""
    stages = [(encoder.model.id, stage.name) for encoder in result.encoders for stage in encoder.stages]
    place = {stage: k for k, stage in enumerate(stages)}
    values = np.full((len(stages), len(stages)), np.nan)
    for pair in result.pairs:
        i, j, value = place[pair.first], place[pair.second], getattr(pair, form)
        values[i, j] = values[j, i] = np.nan if value is None else value
    return stages, values


def heat_map(result: CkaResult, form: Form = "debiased") -> Figure:
    """Draw the heat map of a result."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    colours = colormaps["viridis"].with_extremes(bad=UNDEFINED)
    stages, values = matrix(result, form)
    count = len(stages)
    side = max(3.0, CELL_INCH * count * (1.6 if count <= WRITE_UP_TO else 1.0))
    figure = Figure(figsize=(side + 2.4, side + 1.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
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


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as SVG and PNG, atomically, without a date: equal data give equal files."""
    import matplotlib

    written = []
    for kind in FORMATS:
        path = stem.with_name(f"{stem.name}.{kind}")
        with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": stem.name, "svg.fonttype": "none"}):
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else {})
        written.append(path)
    return written
