"""The result of a robustness analysis as a checked model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eval_harness.analyses.files import Analysis, interval_text
from eval_harness.results.schema import Count, Estimate, ModelInfo, Number, Strict

MILLIVOLT = "mV RMS over the twelve leads"
LOWER_RATE = "times lower rate"


class Change(Strict):
    """Corrupted minus clean on the same records and resamples; significant when the 95 % interval excludes 0."""

    point: Number
    low: Number = None
    high: Number = None
    significant: bool = False


class Scored(Strict):
    """A metric under a corruption, and its change against the clean records."""

    score: Estimate
    change: Change


class Condition(Strict):
    """One corruption at one strength.

    Attributes:
        corruption: its name, e.g. "lead_loss_V1".
        group: corruptions drawn together, e.g. "lead_loss".
        strength: above 0, counted in `unit`.
        reason: why it was skipped, e.g. a hum that the sampling rate does not hold.
        scores: task -> metric -> score.
    """

    corruption: str
    group: str
    title: str
    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    unit: str
    status: Literal["done", "skipped"]
    reason: str | None = None
    scores: dict[str, dict[str, Scored]] = Field(default_factory=dict)

    @property
    def clean_strength(self) -> float:
        """Where on the scale of strengths the clean records are: a rate that is not lower is once the rate."""
        return 1.0 if self.unit == LOWER_RATE else 0.0


class RobustnessResult(Analysis):
    """A trained head scored again on corrupted test records.

    Attributes:
        schema_version: 1.0 has corruptions of version 1, see `eval_harness.analyses.robustness.corruptions.VERSION`.
        run: the training run.
        main: task -> its main metric, the one that is drawn.
        signal_unit: "mV"; "zscore" for data without a physical unit, where strengths in mV count standard deviations.
        rate_hz: sampling rate of the records.
        largest_difference: between the clean outputs and the stored predictions of the run.
        clean: task -> metric -> score without corruption.
    """

    schema_version: Literal["1.0", "1.1"] = "1.1"
    analysis: Literal["robustness"] = "robustness"
    run: str
    model: ModelInfo
    mode: str
    seed: int
    dataset: str
    records: Count
    rate_hz: Annotated[int, Field(ge=1)]
    signal_unit: str
    main: dict[str, str]
    largest_difference: Number = None
    clean: dict[str, dict[str, Estimate]] = Field(default_factory=dict)
    conditions: list[Condition] = Field(default_factory=list)

    def unit_of(self, condition: Condition) -> str:
        """What the strength of a condition counts on these records."""
        # The list of corruptions is of records in mV; what it adds to z-scores is in their standard deviations.
        added = self.signal_unit != "mV" and condition.unit == MILLIVOLT
        return f"standard deviations, {condition.unit.removeprefix('mV ')}" if added else condition.unit


def condition_rows(result: RobustnessResult, task: str) -> list[dict[str, object]]:
    """One row for the clean records and one per condition."""
    metric = result.main[task]
    first: dict[str, object] = {"task": task, "corruption": "none", "strength": 0, "unit": "-"}
    rows = [first | {metric: interval_text(result.clean[task][metric]), "change": "-", "significant": "-"}]
    for condition in result.conditions:
        row: dict[str, object] = {
            "task": task,
            "corruption": condition.corruption,
            "strength": condition.strength,
            "unit": result.unit_of(condition),
        }
        # Skipped conditions stay in the table: left out, they would look as if nobody had tried.
        if condition.status == "skipped":
            rows.append(row | {metric: f"skipped: {condition.reason}", "change": "-", "significant": "-"})
            continue
        scored = condition.scores[task][metric]
        change = {
            "change": interval_text(scored.change, "+"),
            "significant": "yes" if scored.change.significant else "no",
        }
        rows.append(row | {metric: interval_text(scored.score)} | change)
    return rows
