"""The file `ablation.json` as a checked model, and its table."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue

from eval_harness.analyses.studies import Interval, StudyResult, fraction_name, shown
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC
from eval_harness.results.schema import Count, Finite, Number, Strict

RESULT_FILE = "ablation.json"


class CurveStep(Strict):
    """One epoch: means over the runs of an arm."""

    epoch: Count
    stage: Literal[1, 2]
    loss: Number
    validation: Number
    validation_auprc: Number


class AblationRow(Strict):
    """One arm at one fraction.

    Attributes:
        records: mean number of training records.
        runs: how many runs the means go over.
        minus_plain: metric -> paired difference to plain fine-tuning; null for plain fine-tuning itself.
        curve: validation by epoch.
    """

    task: str
    model: str
    fraction: Finite
    records: Finite
    preview: bool
    stochastic_depth: bool
    pretrained: bool
    arm: str
    runs: Count
    macro_auroc: Interval
    macro_auprc: Interval
    macro_auroc_by_run: list[Number]
    macro_auprc_by_run: list[Number]
    minus_plain: dict[str, Interval] | None
    curve: list[CurveStep]


class AblationResult(StudyResult):
    """The parts of mode `post_train` on and off; `post_training` are the settings of the full method."""

    analysis: Literal["ablation"] = "ablation"
    post_training: dict[str, JsonValue]
    rows: list[AblationRow]


def ablation_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The table: scores, and the paired difference to plain fine-tuning from the same weights."""
    switch = {True: "on", False: "off"}
    return [
        {
            "task": row["task"],
            "model": row["model"],
            "fraction": fraction_name(row["fraction"]),
            "records": f"{row['records']:g}",
            "weights": "pretrained" if row["pretrained"] else "random",
            "preview": switch[row["preview"]],
            "depth": switch[row["stochastic_depth"]],
            "runs": str(row["runs"]),
            "macro AUROC": shown(row[MACRO_AUROC]),
            "macro AUPRC": shown(row[MACRO_AUPRC]),
            "AUPRC minus plain": shown(row["minus_plain"][MACRO_AUPRC]) if row["minus_plain"] else "-",
        }
        for row in content["rows"]
    ]
