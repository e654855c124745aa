"""How CKA is shown: a heat map of all stages of all encoders in one square, and its numbers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval_harness.analyses.cka.schema import CKA_FILE, CkaResult, Form, matrix, stage_rows
from eval_harness.analyses.registry import AnalysisKind
from eval_harness.analyses.studies import distinct_names
from eval_harness.figures.heat_map import HeatMap, heat_map_chart, heat_map_figure
from eval_harness.figures.markup import Html, details, scroller, table, tag
from eval_harness.figures.plots import write_figure

INTRODUCTION = (
    "Linear CKA of every two stages on the same records: 1 where features agree up to rotation and scale. The debiased "
    "form is 0 on average for independent features and can be slightly negative; it has no interval here."
)
MOST_NUMBERS = 40
"""Up to so many stages all values stand in a table; of more, they are in `cka.json`."""


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
    parts.append(tag("figure", scroller(heat_map_chart(described(result, "debiased")), title), caption, class_="wide"))
    parts.append(_neighbours(result))
    if len(stages) <= MOST_NUMBERS:
        parts.append(details("All values as a table", _numbers(result, stages, values)))
    else:
        text = f"The values of all {len(stages) ** 2:,} pairs are in cka.json: more than {MOST_NUMBERS} stages."
        parts.append(tag("p", text, class_="soft small"))
    return parts


def described(result: CkaResult, form: Form) -> HeatMap:
    """Describe the heat map of a result: all stages of all encoders, in one of the two forms."""
    stages, values = matrix(result, form)
    names, data = _names(result), result.data
    return HeatMap(
        title=f"CKA of {len(stages)} stages: {data.dataset}, {data.split} split, {data.records:,} records",
        key=f"linear CKA, {form}",
        names=[stage for _, stage in stages],
        groups=[(names[encoder.model.id], len(encoder.stages)) for encoder in result.encoders],
        values=values,
    )


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


def write_heat_maps(result: CkaResult, folder: Path) -> list[Path]:
    """Write both forms as SVG and PNG; return the files: cka.svg, cka.png, cka_biased.svg, cka_biased.png."""
    written = []
    forms: tuple[tuple[Form, str], ...] = (("debiased", "cka"), ("biased", "cka_biased"))
    for form, name in forms:
        written += write_figure(heat_map_figure(described(result, form)), folder / name)
    return written


ANALYSIS = AnalysisKind(CKA_FILE, CkaResult, lambda result: "Similarity of stages (CKA)", cka_part)
