"""The tables of the analyses, one dictionary per row: printed by the command lines, shown by the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval_harness.analyses.cka.plot import matrix
from eval_harness.analyses.cka.schema import CkaResult
from eval_harness.analyses.robustness.schema import RobustnessResult
from eval_harness.analyses.transfer.schema import TransferResult
from eval_harness.metrics.registry import MACRO_AUROC


def condition_rows(result: RobustnessResult, task: str) -> list[dict[str, object]]:
    """One row for the clean records and one per condition."""
    metric = result.main[task]
    first: dict[str, object] = {"task": task, "corruption": "none", "strength": 0, "unit": "-"}
    rows = [first | {metric: _interval(result.clean[task][metric]), "change": "-", "significant": "-"}]
    for condition in result.conditions:
        row: dict[str, object] = {
            "task": task,
            "corruption": condition.corruption,
            "strength": condition.strength,
            "unit": condition.unit,
        }
        if condition.status == "skipped":
            rows.append(row | {metric: f"skipped: {condition.reason}", "change": "-", "significant": "-"})
            continue
        found = condition.scores[task][metric]
        significant = "yes" if found.change.significant else "no"
        rows.append(
            row | {metric: _interval(found.score), "change": _interval(found.change, "+"), "significant": significant}
        )
    return rows


def stage_rows(result: CkaResult, names: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """One row per stage: CKA with the stage before it and with the most alike stage of another model."""
    named = names or {encoder.model.id: encoder.model.id for encoder in result.encoders}
    stages, values = matrix(result, "debiased")
    _, biased = matrix(result, "biased")
    widths = [stage.width for encoder in result.encoders for stage in encoder.stages]
    rows: list[dict[str, object]] = []
    for k, (model, stage) in enumerate(stages):
        follows = k > 0 and stages[k - 1][0] == model
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


def concept_rows(result: TransferResult, task: str) -> list[dict[str, object]]:
    """One row per concept and one for the macro mean."""
    found = result.tasks[task]
    rows: list[dict[str, object]] = []
    for mapped, away, home in zip(found.mapped, found.per_label, found.per_label_at_home, strict=True):
        rows.append(
            {
                "concept": mapped.name,
                "code": mapped.code,
                result.source: " + ".join(mapped.source),
                result.target: " + ".join(mapped.target),
                "who links them": ", ".join(dict.fromkeys(_who(origin) for origin in mapped.origins)),
                "positives": away.positives,
                "AUROC": _interval(away.auroc),
                "at home": _interval(home.auroc),
                "sensitivity": _interval(away.sensitivity),
                "specificity": _interval(away.specificity),
            }
        )
    means = {"AUROC": MACRO_AUROC, "sensitivity": "macro_sensitivity", "specificity": "macro_specificity"}
    last: dict[str, object] = dict.fromkeys(rows[0]) | {"concept": "macro mean"}
    last |= {column: _interval(found.metrics[metric]) for column, metric in means.items()}
    return [*rows, last | {"at home": _interval(found.at_home[MACRO_AUROC])}]


def _who(origin: str) -> str:
    """The last part of "label: code, who says so"."""
    return origin.partition(": ")[2].partition(", ")[2]


def _interval(estimate: Any, sign: str = "") -> str:
    if estimate is None or estimate.point is None:
        return "undefined"
    if estimate.low is None:
        return f"{estimate.point:{sign}.3f} [no interval]"
    return f"{estimate.point:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _text(value: float) -> str:
    return "undefined" if value != value else f"{value:.3f}"
