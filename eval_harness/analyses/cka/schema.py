"""The result of a CKA analysis as a checked model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eval_harness.analyses.files import Analysis
from eval_harness.results.schema import Count, ModelInfo, Number, Strict

CKA_FILE = "cka.json"
Form = Literal["debiased", "biased"]


class StageInfo(Strict):
    """A stage of an encoder: its name and the width of its features."""

    name: str
    width: Annotated[int, Field(ge=1)]


class EncoderInfo(Strict):
    """An encoder and its stages, in their order."""

    model: ModelInfo
    stages: list[StageInfo]


class DataUsed(Strict):
    """The records whose features are compared."""

    dataset: str
    fingerprint: str
    split: str
    records: Count
    unit: Literal["record"] = "record"


class Pair(Strict):
    """CKA of two stages; null where a stage does not vary over the records.

    Attributes:
        first: model and stage.
        second: model and stage.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    debiased: Number
    biased: Number


class CkaResult(Analysis):
    """Linear CKA of every two stages of the encoders, each pair once, a stage with itself included."""

    analysis: Literal["cka"] = "cka"
    data: DataUsed
    encoders: list[EncoderInfo] = Field(default_factory=list)
    pairs: list[Pair] = Field(default_factory=list)


def matrix(result: CkaResult, form: Form) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Return the stages (model, stage) and the square matrix of their CKA, NaN where it is undefined or missing."""
    stages = [(encoder.model.id, stage.name) for encoder in result.encoders for stage in encoder.stages]
    row_of = {stage: k for k, stage in enumerate(stages)}
    values = np.full((len(stages), len(stages)), np.nan)
    for pair in result.pairs:
        i, j, value = row_of[pair.first], row_of[pair.second], getattr(pair, form)
        # Each pair is kept once: CKA is symmetric, and the file half as long.
        values[i, j] = values[j, i] = np.nan if value is None else value
    return stages, values


def stage_rows(result: CkaResult, names: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """One row per stage: CKA with the stage before it and with the most alike stage of another model."""
    named = names or {encoder.model.id: encoder.model.id for encoder in result.encoders}
    stages, values = matrix(result, "debiased")
    _, biased = matrix(result, "biased")
    widths = [stage.width for encoder in result.encoders for stage in encoder.stages]
    rows: list[dict[str, object]] = []
    for k, (model, stage) in enumerate(stages):
        follows = k > 0 and stages[k - 1][0] == model
        # `values == values` leaves out NaN, of which max would make anything.
        others = [j for j, (name, _) in enumerate(stages) if name != model and values[k, j] == values[k, j]]
        best = max(others, key=lambda j: values[k, j], default=None)
        rows.append(
            {
                "model": named[model],
                "stage": stage,
                "width": widths[k],
                "to the stage before": _text(values[k, k - 1]) if follows else None,
                "biased": _text(biased[k, k - 1]) if follows else None,
                "most alike elsewhere": None
                if best is None
                else f"{named[stages[best][0]]} {stages[best][1]} {_text(values[k, best])}",
            }
        )
    return rows


def _text(value: float) -> str:
    return "undefined" if value != value else f"{value:.3f}"
