"""Results in the format of Every Eval Ever, the EvalEval coalition's shared store of evaluation results.

A run (model, mode, seed) becomes one file, `data/ecg-hub/DEVELOPER/MODEL/UUID.json`, of the aggregate schema of the
version below: every defined metric of every finished task with its interval. Predictions of single records are not
written: the schema's instances hold the input, which here is the ECG of a person.

Schema: https://github.com/evaleval/every_eval_ever (`eval.schema.json`); its package cannot be a dependency, as it asks
for an older huggingface_hub.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from dataset_scripts.catalog import datasets
from ecg_hub.catalog import checkpoints
from ecg_hub.errors import ResultError
from ecg_hub.utils.files import write_text
from eval_harness.config.protocol import PROTOCOLS
from eval_harness.metrics.registry import MACRO_AUROC_PAPER, Metric, metrics
from eval_harness.publish.layout import public_id
from eval_harness.results.folders import ResultFolder
from eval_harness.results.schema import Estimate, Finite, Result, Strict
from eval_harness.results.summary import deviations_text
from eval_harness.tasks.task import Task

VERSION: Final = "0.3.0"
COLLECTION: Final = "ecg-hub"
UNKNOWN: Final = "unknown"

Relationship = Literal["first_party", "third_party", "collaborative", "other"]
RELATIONSHIPS: tuple[Relationship, ...] = ("first_party", "third_party", "collaborative", "other")
Texts = dict[str, str]
Bound = Finite | Literal["Infinity", "-Infinity"]


class Source(Strict):
    """Who made the evaluation."""

    source_name: str = "ecg-hub"
    source_type: Literal["evaluation_run"] = "evaluation_run"
    source_organization_name: str
    evaluator_relationship: Relationship


class Library(Strict):
    """What computed the scores."""

    name: str = "ecg-hub"
    version: str
    additional_details: Texts


class Model(Strict):
    """The encoder: `id` and `developer` name its folder in the store."""

    name: str
    id: str
    developer: str
    inference_platform: str = "local"
    additional_details: Texts


class SourceUrl(Strict):
    """A published dataset, by its page."""

    dataset_name: str
    source_type: Literal["url"] = "url"
    url: Annotated[list[str], Field(min_length=1)]
    additional_details: Texts


class SourceOther(Strict):
    """An archive of the user's own, which has no page."""

    dataset_name: str
    source_type: Literal["other"] = "other"
    additional_details: Texts


class MetricConfig(Strict):
    """What a metric is, and between which numbers it lies."""

    evaluation_description: str
    metric_id: str
    metric_name: str
    metric_kind: str
    metric_unit: str
    lower_is_better: bool
    score_type: Literal["continuous"] = "continuous"
    min_score: Bound
    max_score: Bound


class Interval(Strict):
    """The interval of a score."""

    lower: Finite
    upper: Finite
    confidence_level: Finite
    method: str


class Uncertainty(Strict):
    """How sure a score is, and of how many test records."""

    confidence_interval: Interval
    num_samples: int
    num_bootstrap_samples: int | None = None


class Score(Strict):
    """The number, and what was special about how it was made."""

    score: Finite
    details: Texts
    uncertainty: Uncertainty | None = None


class EvaluationResult(Strict):
    """One metric of one task."""

    evaluation_result_id: str
    evaluation_name: str
    source_data: SourceUrl | SourceOther
    evaluation_timestamp: str
    metric_config: MetricConfig
    score_details: Score


class EvaluationLog(Strict):
    """One file: the results of one run, as far as this package fills the schema."""

    # A Literal takes no name for its value; mypy sees to it that the two are the same.
    schema_version: Literal["0.3.0"] = VERSION
    evaluation_id: str
    evaluation_timestamp: str
    retrieved_timestamp: str
    source_metadata: Source
    eval_library: Library
    model_info: Model
    evaluation_results: Annotated[list[EvaluationResult], Field(min_length=1)]


def write_logs(
    runs: Sequence[ResultFolder],
    tasks: Mapping[str, Task],
    output: Path,
    organization: str = UNKNOWN,
    relationship: Relationship | None = None,
    synthetic: bool = False,
) -> list[Path]:
    """Write one file for every run that has finished tasks; the same run gives the same file again.

    Args:
        runs: result folders.
        tasks: every task by name, for titles and descriptions.
        output: folder under which `data/ecg-hub/...` is written.
        organization: who ran the evaluation.
        relationship: of the evaluator to the model; by default "third_party" for a model of the catalogue and "other"
            for any other.
        synthetic: also take results of simulated ECGs, which say so in their details.

    Returns:
        The files.

    Raises:
        ResultError: a result was made with simulated ECGs, or no run has a finished task.
    """
    logs = {}
    for run in runs:
        done = [result for result in run.results.values() if result.status == "done"]
        simulated = [result.task for result in done if result.is_synthetic]
        if simulated and not synthetic:
            raise ResultError(
                f"{run.name}: {', '.join(simulated)} was made with simulated ECGs and says nothing about the model; "
                "--allow-synthetic exports it, marked."
            )
        if done:
            log = evaluation_log(run, done, tasks, organization, relationship)
            logs[output / log_path(run, log)] = log
    if not logs:
        raise ResultError("None of these runs has a finished task: there is no score to export.")
    # Only when all are made: a run that is refused leaves no half of an export behind.
    for path, log in logs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, log.model_dump_json(indent=1, exclude_none=True) + "\n")
    return list(logs)


def log_path(run: ResultFolder, log: EvaluationLog) -> str:
    """Return where the store keeps a file: collection, developer, model, and a UUID made from the run."""
    # Version 4 is what the store asks for; made from the run, so that a second export replaces the first.
    digest = hashlib.sha256(run.run.fingerprint.encode()).digest()
    folder, _, name = log.model_info.id.rpartition("/")
    return (
        f"data/{COLLECTION}/{folder or log.model_info.developer}/{name}/{uuid.UUID(bytes=digest[:16], version=4)}.json"
    )


def evaluation_log(
    run: ResultFolder,
    done: Sequence[Result],
    tasks: Mapping[str, Task],
    organization: str = UNKNOWN,
    relationship: Relationship | None = None,
) -> EvaluationLog:
    """Return the file of one run; `done` are its finished results."""
    newest = max(done, key=lambda result: result.created)
    model = _model(newest)
    seconds = str(int(datetime.fromisoformat(newest.created).timestamp()))
    by_default: Relationship = "third_party" if newest.model.origin == "catalogue" else "other"
    # The published values, and what of them the run was asked otherwise: coverage and unit are options too.
    values = PROTOCOLS["paper"].as_dict() | dict(run.run.settings.protocol_values)
    scores = [item for result in done for item in _scores(result, tasks, values)]
    return EvaluationLog(
        evaluation_id=f"{COLLECTION}-{run.run.fingerprint[:12]}/{model.id}/{seconds}",
        evaluation_timestamp=newest.created,
        retrieved_timestamp=seconds,
        source_metadata=Source(
            source_organization_name=organization, evaluator_relationship=relationship or by_default
        ),
        eval_library=Library(version=newest.environment.get("ecg-hub", UNKNOWN), additional_details=newest.environment),
        model_info=model,
        evaluation_results=scores,
    )


def _model(result: Result) -> Model:
    info = result.model
    name = public_id(info.id, info.revision, info.origin)
    entry = checkpoints().get(name) if info.origin == "catalogue" else None
    facts = {
        "deployment_type": "self_deployed",
        # That weights are open is known of the catalogue's alone.
        "model_availability": "open_weights" if entry else UNKNOWN,
        "revision": info.revision,
        "weights_sha256": info.weights_sha256,
        "origin": info.origin,
        "preset": info.preset,
        "parameters": info.parameters,
        "page": entry.repository if entry else None,
    }
    # Parts of folder names take neither ":" nor blanks.
    safe = re.sub(r"[^A-Za-z0-9._+/-]+", "-", name)
    # The owner in https://github.com/OWNER/NAME: the store sorts models by who made them.
    developer = entry.repository.split("/")[3] if entry else safe.rpartition("/")[0] or COLLECTION
    return Model(name=name, id=safe, developer=developer, additional_details=_texts(facts))


def _scores(result: Result, tasks: Mapping[str, Task], protocol: Mapping[str, Any]) -> Iterator[EvaluationResult]:
    task = tasks.get(result.task)
    for name, estimate in result.metrics.items():
        # The schema has no undefined score; a metric of a later version has no bounds here.
        if estimate.point is not None and name in metrics():
            yield EvaluationResult(
                evaluation_result_id=f"{result.task}.v{result.task_version}.{result.mode}.seed{result.seed}.{name}",
                evaluation_name=result.task,
                source_data=_source_data(result),
                evaluation_timestamp=result.created,
                metric_config=_metric(metrics()[name], task),
                score_details=Score(
                    score=estimate.point,
                    details=_details(result, estimate),
                    uncertainty=_uncertainty(result, name, estimate, protocol),
                ),
            )


def _source_data(result: Result) -> SourceUrl | SourceOther:
    data = result.data
    if data is None:
        raise ResultError(f"{result.task}: a finished result without data cannot be exported.")
    facts = {
        "fingerprint": data.fingerprint,
        "release": data.release.version if data.release else None,
        **{f"{split}_records": count for split, count in data.records.model_dump().items()},
    }
    known = datasets().get(data.name)
    # Simulated ECGs bear the name of a dataset, and its page does not have them.
    if known is None or result.is_synthetic:
        return SourceOther(dataset_name=data.name, additional_details=_texts(facts))
    return SourceUrl(
        dataset_name=known.title, url=[known.page], additional_details=_texts({"name": data.name, **facts})
    )


def _metric(metric: Metric, task: Task | None) -> MetricConfig:
    low, high = (_bound(number) for number in metric.bounds)
    about = f"{task.title}: {task.description}" if task else "a task of the evaluator's own"
    return MetricConfig(
        evaluation_description=f"{about} Metric: {metric.full_title}.",
        metric_id=f"ecg_hub.{metric.name}",
        metric_name=metric.title,
        metric_kind=metric.name.removeprefix("macro_").removesuffix("_paper"),
        metric_unit="standard deviations" if metric.kind == "regression" else "proportion",
        lower_is_better=not metric.higher_is_better,
        min_score=low,
        max_score=high,
    )


def _bound(number: float) -> Bound:
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _details(result: Result, estimate: Estimate) -> Texts:
    data = result.data
    return _texts(
        {
            "mode": result.mode,
            "seed": result.seed,
            "protocol": result.protocol.name,
            "deviations": deviations_text(result),
            # As JSON spells it, since details are texts: True would be Python's.
            "simulated": json.dumps(result.is_synthetic),
            "contamination": data.contamination if data else None,
            "labels": f"{data.labels.scored}/{data.labels.published}" if data else None,
            "classes": estimate.classes,
            "task_version": result.task_version,
        }
    )


def _uncertainty(result: Result, name: str, estimate: Estimate, protocol: Mapping[str, Any]) -> Uncertainty | None:
    if estimate.low is None or estimate.high is None or result.data is None:
        return None
    # Since version 2 the published reading alone is resampled; every other interval comes from a formula.
    resampled = name == MACRO_AUROC_PAPER or result.statistics_version == 1
    unit = protocol["resample_unit"]
    drawn = "test records" if unit == "record" else f"{unit}s with their test records"
    how = f"bootstrap of the {drawn}" if resampled else f"formula, by {unit}"
    method = f"{how} (ecg-hub statistics version {result.statistics_version}, docs/statistics.md)"
    return Uncertainty(
        confidence_interval=Interval(
            lower=estimate.low, upper=estimate.high, confidence_level=protocol["confidence"], method=method
        ),
        num_samples=result.data.records.test,
        num_bootstrap_samples=protocol["resamples"] if resampled else None,
    )


def _texts(facts: Mapping[str, object]) -> Texts:
    """Details as the schema takes them: texts alone, unknown ones left out."""
    return {name: str(value) for name, value in facts.items() if value is not None}
