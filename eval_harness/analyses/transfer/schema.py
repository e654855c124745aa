"""The result of scoring a trained head on another dataset, as a checked model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from eval_harness.analyses.files import Analysis, interval_text
from eval_harness.metrics.registry import MACRO_AUROC
from eval_harness.results.contamination import State
from eval_harness.results.schema import Count, Estimate, LabelResult, ModelInfo, PredictionsFile, Strict, Subgroup


class MappedLabel(Strict):
    """A concept with its labels on both sides and who says so; outputs of several labels are joined by the largest.

    `flag`: what makes the link doubtful, from the shares of positive records on both sides; null where nothing does.
    """

    name: str
    code: str
    source: list[str]
    target: list[str]
    origins: list[str]
    flag: str | None = None


class TransferTask(Strict):
    """One task of the run on the other dataset.

    Attributes:
        mapped: the concepts that are scored.
        unmapped_source: label of the task -> why it is not scored.
        unmapped_target: label of the other dataset -> why it is not scored.
        metrics, per_label, subgroups: on the other dataset, at thresholds chosen on the validation records of the run.
        at_home: the same metrics of the same concepts on the test records of the run's own dataset.
        per_label_at_home: the same per concept.
        reason: of a task that could not be scored.
    """

    status: Literal["done", "failed"]
    reason: str | None = None
    mapped: list[MappedLabel] = Field(default_factory=list)
    unmapped_source: dict[str, str] = Field(default_factory=dict)
    unmapped_target: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, Estimate] = Field(default_factory=dict)
    per_label: list[LabelResult] = Field(default_factory=list)
    subgroups: list[Subgroup] = Field(default_factory=list)
    at_home: dict[str, Estimate] = Field(default_factory=dict)
    per_label_at_home: list[LabelResult] = Field(default_factory=list)


class TransferResult(Analysis):
    """A trained head scored on another dataset.

    Attributes:
        run: the training run.
        source: the dataset it was trained on.
        target: the dataset it is scored on.
        column: label column of the target.
        records: of the split that are scored.
        contamination: whether declared pre-training corpora hold the target.
        predictions: outputs of the head on the target, by its own labels.
    """

    analysis: Literal["transfer"] = "transfer"
    run: str
    model: ModelInfo
    mode: str
    seed: int
    source: str
    target: str
    fingerprint: str
    column: str
    split: str
    records: Count
    contamination: State
    predictions: PredictionsFile | None = None
    tasks: dict[str, TransferTask] = Field(default_factory=dict)


def concept_rows(result: TransferResult, task: str) -> list[dict[str, object]]:
    """One row per concept and one for the macro mean."""
    scored = result.tasks[task]
    rows: list[dict[str, object]] = []
    for mapped, away, home in zip(scored.mapped, scored.per_label, scored.per_label_at_home, strict=True):
        rows.append(
            {
                "concept": mapped.name,
                "code": mapped.code,
                result.source: " + ".join(mapped.source),
                result.target: " + ".join(mapped.target),
                "who links them": ", ".join(dict.fromkeys(_who(origin) for origin in mapped.origins)),
                "positives": away.positives,
                "AUROC": interval_text(away.auroc),
                "at home": interval_text(home.auroc),
                "sensitivity": interval_text(away.sensitivity),
                "specificity": interval_text(away.specificity),
            }
        )
    means = {"AUROC": MACRO_AUROC, "sensitivity": "macro_sensitivity", "specificity": "macro_specificity"}
    # With the columns of the rows above, in their order, also where the mean has nothing to say.
    last: dict[str, object] = dict.fromkeys(rows[0]) | {"concept": "macro mean"}
    last |= {column: interval_text(scored.metrics[metric]) for column, metric in means.items()}
    return [*rows, last | {"at home": interval_text(scored.at_home[MACRO_AUROC])}]


def _who(origin: str) -> str:
    """The last part of "label: code, who says so"."""
    return origin.partition(": ")[2].partition(", ")[2]
