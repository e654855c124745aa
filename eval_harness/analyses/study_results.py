"""The files `ablation.json` and `label_efficiency.json` as checked models, and their tables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from ecg_hub.errors import ResultError
from eval_harness.analyses.files import Analysis
from eval_harness.analyses.studies import fraction_name, shown
from eval_harness.config.options import RunOptions
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC
from eval_harness.results.extent import compare, copy_of
from eval_harness.results.schema import Count, Finite, Number, Result, Strict, in_words

STUDY_VERSION = "1.1"
TOO_NARROW = "no interval: this version's were too narrow (give the same command again: nothing is trained anew)"


class Interval(Strict):
    """A number with its interval; null where undefined. `reason` says why there is a number without an interval."""

    point: Number
    low: Number = None
    high: Number = None
    reason: str | None = None


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


class StudyResult(Analysis):
    """What both studies say: fractions of the training records, largest first, seeds, and runs that failed.

    Intervals of version 1.0 held the truth far less often than they said; such files are read without them.
    """

    schema_version: Literal["1.1"] = "1.1"
    fractions: list[Finite]
    seeds: list[int]
    resamples: Count
    confidence: Finite
    not_done: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _of_this_version(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("schema_version") == "1.0":
            return {**without_intervals(content), "schema_version": STUDY_VERSION}
        return content


class AblationResult(StudyResult):
    """The parts of mode `post_train` on and off; `post_training` are the settings of the full method."""

    analysis: Literal["ablation"] = "ablation"
    post_training: dict[str, JsonValue]
    rows: list[AblationRow]


class EfficiencyPoint(Strict):
    """The scores at one fraction; `records` is the mean number of training records."""

    fraction: Finite
    records: Finite
    macro_auroc: Interval
    macro_auprc: Interval
    macro_auroc_by_run: list[Number]
    macro_auprc_by_run: list[Number]


class FittedCurve(Strict):
    """C N^-alpha + L0 with intervals.

    Attributes:
        residual: root mean square.
        falls: whether the loss falls at all; without, alpha is null.
        alpha_at_bound: whether the sizes do not determine alpha.
        records: least and most that were run.
    """

    C: Interval
    alpha: Interval
    L0: Interval
    residual: Number
    falls: bool
    alpha_at_bound: bool
    records: tuple[Finite, Finite]


class NoCurve(Strict):
    """Why there is no curve."""

    reason: str


class EfficiencyEntry(Strict):
    """Points and curve of one model and mode on one task."""

    task: str
    model: str
    mode: str
    baseline: bool
    points: list[EfficiencyPoint]
    curve: FittedCurve | NoCurve


class Ratio(Strict):
    """r(N) at a number of records of the baseline; without a value a reason."""

    records: Number
    r: Interval | None = None
    baseline_loss: Number = None
    undefined_replicates: Number = None
    within_measured: bool | None = None
    reason: str | None = None


class EfficiencyRatios(Strict):
    """The ratios of one model and mode on one task."""

    task: str
    model: str
    mode: str
    baseline: bool
    at: list[Ratio]


class EfficiencyResult(StudyResult):
    """Scores on growing parts of the training records, curves, and ratios to a baseline (model, mode)."""

    analysis: Literal["label_efficiency"] = "label_efficiency"
    loss: str
    form: str
    subset_seeds: list[int]
    subset: dict[str, JsonValue]
    baseline: tuple[str, str] | None
    entries: list[EfficiencyEntry]
    ratios: list[EfficiencyRatios]


def without_intervals(content: Any) -> Any:
    """A copy of a study's content whose intervals are taken out, with the reason."""
    if isinstance(content, list):
        return [without_intervals(part) for part in content]
    if not isinstance(content, dict):
        return content
    if {"point", "low", "high"} == content.keys():
        told = {} if content["low"] is None else {"reason": TOO_NARROW}
        return {"point": content["point"], "low": None, "high": None, **told}
    return {name: without_intervals(part) for name, part in content.items()}


def reasons(content: Any) -> list[str]:
    """Why numbers of a study's content have no interval, each reason once."""
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    own = [content["reason"]] if isinstance(content, dict) and "point" in content and content.get("reason") else []
    return list(dict.fromkeys([*own, *(reason for part in parts for reason in reasons(part))]))


def checked(content: dict[str, Any], kind: type[StudyResult]) -> dict[str, Any]:
    """Return the content of a study, which fits its model."""
    try:
        kind.model_validate(content)
    except ValidationError as error:
        raise ResultError(f"The study does not fit {kind.__name__}: {in_words(error)}.") from error
    return content


def settings_of(options: RunOptions) -> dict[str, Any]:
    """What decides the scores of a study besides its own numbers."""
    return {
        "models": list(options.models),
        "tasks": list(options.tasks),
        "preset": options.preset,
        "limit": options.limit,
        "protocol": options.protocol.name,
        "deviations": options.protocol.deviations(),
    }


def part_of_release(results: list[Result]) -> str | None:
    """Return what of a release was prepared, where it is not all; the fractions that a study draws do not count."""
    found: dict[str, None] = {}
    for result in results:
        copy = None if result.data is None else copy_of(result.data)
        if result.data is not None and copy is not None:
            differences = compare(result.data.name, copy, copy.records, result.protocol.deviations).differences
            found |= dict.fromkeys(f"{result.data.name} {text}" for text in differences.values())
    return ", ".join(found) or None


def is_synthetic(results: list[Result]) -> bool:
    """Whether any of the results is on simulated records."""
    return any(bool(result.protocol.deviations.get("synthetic")) for result in results)


def ablation_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The table: scores, and the paired difference to plain fine-tuning from the same weights."""
    words = {True: "on", False: "off"}
    return [
        {
            "task": row["task"],
            "model": row["model"],
            "fraction": fraction_name(row["fraction"]),
            "records": f"{row['records']:g}",
            "weights": "pretrained" if row["pretrained"] else "random",
            "preview": words[row["preview"]],
            "depth": words[row["stochastic_depth"]],
            "runs": str(row["runs"]),
            "macro AUROC": shown(row[MACRO_AUROC]),
            "macro AUPRC": shown(row[MACRO_AUPRC]),
            "AUPRC minus plain": shown(row["minus_plain"][MACRO_AUPRC]) if row["minus_plain"] else "-",
        }
        for row in content["rows"]
    ]


def point_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The scores of a label-efficiency study at every fraction."""
    return [
        {
            **_about(entry),
            "fraction": fraction_name(point["fraction"]),
            "records": f"{point['records']:g}",
            "runs": str(len(point["macro_auroc_by_run"])),
            "macro AUROC": shown(point[MACRO_AUROC]),
            "macro AUPRC": shown(point[MACRO_AUPRC]),
        }
        for entry in content["entries"]
        for point in entry["points"]
    ]


def curve_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The parameters of the fitted curves, or why there is none."""
    rows = []
    for entry in content["entries"]:
        curve = entry["curve"]
        if "reason" in curve:
            rows.append({**_about(entry), "C": "-", "alpha": "-", "L0": "-", "note": curve["reason"]})
            continue
        note = "" if curve["falls"] else "the loss does not fall with more records"
        note = "alpha is at the end of its range" if curve["alpha_at_bound"] else note
        rows.append({**_about(entry), **{name: shown(curve[name]) for name in ("C", "alpha", "L0")}, "note": note})
    return rows


def ratio_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """r(N) at every number of records of the baseline."""
    rows = []
    for entry in content["ratios"]:
        for row in entry["at"]:
            note = row.get("reason") or ("" if row["within_measured"] else "beyond the measured sizes")
            number = "-" if row["records"] is None else f"{row['records']:g}"
            value = shown(row["r"]) if "r" in row else "-"
            rows.append({**_about(entry), "N of the baseline": number, "r(N)": value, "note": note})
    return rows


def _about(entry: dict[str, Any]) -> dict[str, str]:
    return {"task": entry["task"], "model": entry["model"], "mode": entry["mode"]}
