"""What a result must pass before it is published, and again before a leaderboard shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dataset_scripts.core.extent import RECORDS
from ecg_hub.errors import EcgHubError
from eval_harness.config.options import TRIVIAL
from eval_harness.config.protocol import MODES, PROTOCOLS, Protocol
from eval_harness.metrics.registry import metrics
from eval_harness.publish.layout import FORCED, begins_at_random, catalogue_entry, draws_anew
from eval_harness.results.contamination import state
from eval_harness.results.extent import extent_of
from eval_harness.results.folders import ResultFolder
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Result
from eval_harness.results.verify import compare_with
from eval_harness.tasks.task import Task

PROTOCOL_FIELDS = frozenset(field.name for field in fields(Protocol))


@dataclass(frozen=True)
class Finding:
    """Something about one task of one run: a problem that refuses it, or why it is left out."""

    run: str
    task: str
    text: str

    def __str__(self) -> str:
        return f"{self.run} {self.task}: {self.text}"


def check_run(run: ResultFolder, tasks: Mapping[str, Task]) -> tuple[list[Result], list[Finding], list[Finding]]:
    """Check a run and compute every metric of it again."""
    passed, problems, absent = [], [], []
    for name in run.run.tasks:
        result = run.results.get(name)
        if result is None:
            text = "was asked for and has no result: give the same command again, so that nothing is left out"
            problems.append(Finding(run.name, name, text))
        elif result.status != "done":
            absent.append(Finding(run.name, name, f"{result.status}: {(result.reason or '').splitlines()[0]}"))
        else:
            wrong = list(_problems(run, name, result, tasks))
            problems += [Finding(run.name, name, text) for text in wrong]
            passed += [] if wrong else [result]
    return passed, problems, absent


def _problems(run: ResultFolder, name: str, result: Result, tasks: Mapping[str, Task]) -> Iterator[str]:
    wrong = [*content_problems(result, tasks), *_differs_from_run(run, name, result)]
    yield from wrong
    # Predictions are read only where everything else fits: they take seconds, and a wrong task has none to compare.
    if not wrong:
        yield from recompute(result, tasks[result.task], lambda: run.predictions(result))


def content_problems(result: Result, tasks: Mapping[str, Task]) -> Iterator[str]:
    """Yield what is wrong with a finished result as far as it shows without its run and its predictions."""
    task = tasks.get(result.task)
    if task is None:
        yield f"{result.task!r} is no task of the benchmark: see `ecg-eval ls tasks`"
        return
    data = result.data
    if data is None:
        yield "it says nothing of its data"
        return
    if result.task_version != task.version:
        yield f"it is of version {result.task_version} of the task, the present one is {task.version}: score it again"
    if result.run != task.run:
        yield f"it is read from run {result.run!r}, the task from {task.run!r}"
    if data.name != task.dataset:
        yield f"its data are {data.name!r}, the task's are {task.dataset!r}"
    if data.labels.published != task.count:
        yield f"it says {data.labels.published} published labels, the task has {task.count}"
    if result.mode not in MODES:
        yield f"its mode is {result.mode!r}; allowed: {', '.join(MODES)}"
    if task.metric not in result.metrics or result.metrics[task.metric].point is None:
        yield f"it has no {task.metric}"
    if result.predictions is not None and result.predictions.file != f"predictions/{result.run}.parquet":
        yield f"its predictions are in {result.predictions.file!r}, expected is 'predictions/{result.run}.parquet'"
    yield from _implausible(result)
    yield from _protocol_problems(result)
    yield from _extent_problems(result)
    yield from _borrowed_name(result)
    expected = _contamination(result)
    if expected is not None and expected != data.contamination:
        yield f"it says its test set is {data.contamination}; by the declared pre-training corpora it is {expected}"


def _implausible(result: Result) -> Iterator[str]:
    """Points that their metric cannot have, or ends of an interval in the wrong order."""
    for name, estimate in result.metrics.items():
        values = [value for value in (estimate.point, estimate.low, estimate.high) if value is not None]
        lowest, highest = metrics()[name].bounds if name in metrics() else (0.0, 1.0)
        if any(not lowest <= value <= highest for value in values[:1]):
            yield f"metrics.{name}: {estimate.point} is no value of this metric"
        if estimate.low is not None and estimate.high is not None and estimate.low > estimate.high:
            yield f"metrics.{name}: its interval ends before it begins ({estimate.low} to {estimate.high})"


def _protocol_problems(result: Result) -> Iterator[str]:
    protocol, data = result.protocol, result.data
    if protocol.name not in PROTOCOLS:
        yield f"its protocol is {protocol.name!r}; allowed: {', '.join(PROTOCOLS)}"
    if data is not None:
        partial = data.labels.scored != data.labels.published
        if partial != ("labels" in protocol.deviations):
            yield f"{data.labels.scored} of {data.labels.published} labels are scored, its deviations say otherwise"


def _extent_problems(result: Result) -> Iterator[str]:
    """Where a result does not say how much of the release it is about.

    Results of a schema before 1.3 could not say it: they pass, and count as partial where their records show it.
    """
    data, said = result.data, RECORDS in result.protocol.deviations
    extent = extent_of(result)
    if data is None or extent.state == "not compared":
        return
    silent = [f"{name}={text}" for name, text in extent.differences.items() if name not in result.protocol.deviations]
    # Results of older schemas name no release: what they left unsaid is not held against them.
    if data.release is not None and silent:
        yield f"against the release its data have {', '.join(silent)}, and its deviations do not say so"
    if data.release is not None and said and RECORDS not in extent.differences:
        yield f"its deviations say records={result.protocol.deviations[RECORDS]}, its counts say all of the release"
    if data.release is not None:
        held = data.release.records.model_dump()
        for split, used in data.records.model_dump().items():
            if used > held[split]:
                yield f"it used {used} {split} records, and its copy of the data holds {held[split]}"


def _borrowed_name(result: Result) -> Iterator[str]:
    """The short name of a published model for other weights than those that it stands for."""
    model, corpora = result.model, result.model.pretraining_corpora
    entry = catalogue_entry(model.id)
    if entry is None or model.id.startswith("random:"):
        return
    if model.parameters != entry.parameters:
        yield f"its model has {model.parameters} parameters, the {entry.title} of {model.id!r} {entry.parameters}"
    if corpora is not None:
        seen = ", ".join(corpora) or "nothing"
        yield (
            f"its model says that it was pre-trained on {seen}, so it is not the {entry.title} that "
            f"{result.model.id!r} stands for: score it under a name of its own, ORG/NAME or its folder"
        )
    # Where the run drew new weights the name stands for the architecture alone, and anyone may use it.
    elif not draws_anew(result) and model.origin != "catalogue":
        said = "it does not say where its weights come from" if model.origin is None else f"{model.origin} weights"
        yield (
            f"{said}, and {model.id!r} stands for the published {entry.title}; get those and score them again. "
            f"{entry.how_to_get}"
        )


def _contamination(result: Result) -> str | None:
    """What the declared corpora say of the test set; None for models whose corpora are not known here."""
    if result.data is None:
        return None
    if result.model.id == TRIVIAL or begins_at_random(result):
        return state([], result.data.name)
    model, data = result.model, result.data
    if model.pretraining_corpora is not None:
        return state(model.pretraining_corpora, data.name, model.pretraining_train_only, data.fingerprint)
    entry = catalogue_entry(result.model.id)
    if result.model.origin in ("own", "unverified"):
        return "unknown"
    return None if entry is None else state(list(entry.corpora), result.data.name)


def _differs_from_run(run: ResultFolder, name: str, result: Result) -> Iterator[str]:
    """Where a result does not say what the run file says."""
    settings, data = run.run.settings, result.data
    pairs: list[tuple[str, Any, Any]] = [
        ("task", result.task, name),
        ("model", result.model, settings.model),
        ("mode", result.mode, settings.mode),
        ("seed", result.seed, settings.seed),
        ("protocol", result.protocol.name, settings.protocol),
        ("task version", result.task_version, run.run.tasks[name]),
        ("data fingerprint", data and data.fingerprint, data and run.run.datasets.get(data.name)),
        ("limit", result.protocol.deviations.get("limit"), settings.data.get("limit")),
        ("dtype", result.protocol.deviations.get("dtype", "float32"), settings.dtype),
    ]
    yield from (f"its {what} is {said!r}, that of the run is {made!r}" for what, said, made in pairs if said != made)
    if settings.data.get("mock") and not result.is_synthetic:
        yield "the run was made with simulated data, and the result does not say so"
    base = PROTOCOLS.get(settings.protocol)
    if base is None:
        return
    values = base.as_dict()
    for field, value in settings.protocol_values.items():
        said = result.protocol.deviations.get(field, values.get(field))
        # A small train set forces a smaller batch, other thresholds fewer labels: nobody asked for these.
        if field not in FORCED and said != value:
            yield f"{field} was {value!r}, and the result says {said!r}"


def recompute(result: Result, task: Task, read: Callable[[], Predictions]) -> list[str]:
    """Compute every metric of a result again from its predictions and return what differs."""
    numbers = {key: value for key, value in result.protocol.deviations.items() if key in PROTOCOL_FIELDS}
    try:
        # With the numbers of its own deviations: a result that says 100 resamples is recomputed with 100.
        protocol = PROTOCOLS[result.protocol.name].as_dict() | numbers
        return list(compare_with(result, task, read(), protocol))
    except EcgHubError as error:
        return [str(error)]


def refusal(problems: Sequence[Finding], shown: int = 20) -> str:
    """Return all problems as one message."""
    lines = [f"  {problem}" for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"  and {len(problems) - shown} more")
    return "\n".join(["Nothing was published:", *lines])
