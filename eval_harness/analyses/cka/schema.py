"""The result of a CKA analysis as a checked model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eval_harness.analyses.files import Analysis
from eval_harness.results.schema import Count, ModelInfo, Number, Strict

CKA_FILE = "cka.json"


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
