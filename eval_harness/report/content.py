"""What a report is made of: the runs, and of each task its results, their comparison and their predictions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_hub.errors import EcgHubError
from eval_harness.analyses.studies import told_apart
from eval_harness.config.options import PREFIX
from eval_harness.metrics.registry import MACRO_AUROC, MAE, main_of
from eval_harness.results.comparison import Comparison, compare_models
from eval_harness.results.folders import ResultFolder
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Estimate, Result
from eval_harness.results.scoring import ResampleUnit
from eval_harness.tasks.task import Task

if TYPE_CHECKING:
    from dataset_scripts.core.spec import ECGDataset


@dataclass(frozen=True)
class ReportRun:
    """One run of the report: its place decides colour and mark everywhere.

    Attributes:
        index: place among the runs.
        name: model, mode and seed, and the folder where two runs share these.
        run: as found.
    """

    index: int
    name: str
    run: ResultFolder


@dataclass(frozen=True)
class Scored:
    """A finished result, and its predictions where they can be read."""

    entry: ReportRun
    result: Result
    predictions: Predictions | None = None


@dataclass(frozen=True)
class TaskContent:
    """One task of the report.

    Attributes:
        name: of the task.
        task: its definition; None where its file is not included.
        dataset: its dataset; None where it is not known here.
        scored: finished results in the order of the runs.
        unscored: runs without a score, and the reason.
        comparison: of all finished results, where two or more can be compared.
        remarks: what could not be done, and why.
    """

    name: str
    task: Task | None
    dataset: ECGDataset | None
    scored: Sequence[Scored]
    unscored: Sequence[tuple[ReportRun, str]]
    comparison: Comparison | None = None
    remarks: Sequence[str] = field(default_factory=tuple)

    @property
    def title(self) -> str:
        """The title in prose."""
        return self.task.title if self.task else self.name

    @property
    def metric(self) -> str:
        """The metric of the task: macro_auroc or mae."""
        metrics = self.scored[0].result.metrics if self.scored else {}
        return main_of(metrics) or (self.task.metric if self.task else MACRO_AUROC)

    @property
    def regression(self) -> bool:
        """Whether lower is better."""
        return self.metric == MAE

    def label_title(self, label: str) -> str:
        """What a label means in words; the label itself where nothing else is known."""
        if self.dataset is None or self.task is None:
            return label
        return self.dataset.label_title(self.task.label_column, label)

    def standing(self, entry: ReportRun) -> tuple[int, int] | None:
        """Rank of a run and how many share it, or None without a comparison."""
        for rank in self.comparison.standings if self.comparison else ():
            if rank.model == entry.name:
                return rank.rank, len(rank.ties) + 1
        return None

    def best(self) -> Scored | None:
        """The result with the best point; None where nothing was scored."""
        defined = [item for item in self.scored if main_estimate(item.result).point is not None]
        sign = 1 if self.regression else -1
        return min(defined, key=lambda item: sign * (main_estimate(item.result).point or 0.0), default=None)


def without_folders(runs: Sequence[ResultFolder]) -> list[ResultFolder]:
    """Return runs whose models are not called by a folder of the machine but by its last parts: a page is passed on."""
    ids = list(dict.fromkeys(run.run.settings.model.id for run in runs))
    names = told_apart([model for model in ids if model.removeprefix(PREFIX).startswith(("/", "~", "."))])
    return [_renamed(run, names[model]) if (model := run.run.settings.model.id) in names else run for run in runs]


def _renamed(run_folder: ResultFolder, name: str) -> ResultFolder:
    settings = run_folder.run.settings
    model = settings.model.model_copy(update={"id": name})
    run = run_folder.run.model_copy(update={"settings": settings.model_copy(update={"model": model})})
    results = {task: result.model_copy(update={"model": model}) for task, result in run_folder.results.items()}
    return replace(run_folder, run=run, results=results)


def entries(runs: Sequence[ResultFolder]) -> list[ReportRun]:
    """Number the runs and give each a name of its own: with the folder that tells it from others of its name."""
    numbered: list[ReportRun] = []
    for index, run in enumerate(runs):
        alike = [other.folder for other in runs if other.name == run.name]
        told_apart = f" ({_own_part(run.folder, alike) or f'run {index + 1}'})" if len(alike) > 1 else ""
        numbered.append(ReportRun(index, f"{run.name}{told_apart}", run))
    return numbered


def _own_part(folder: Path, alike: Sequence[Path]) -> str:
    """The nearest part of a path in which all of some folders differ; "" where there is none."""
    for depth in range(1, min(len(path.parts) for path in alike)):
        parts = [path.parts[-depth] for path in alike]
        if len(set(parts)) == len(parts):
            return folder.parts[-depth]
    return ""


def task_names(runs: Sequence[ResultFolder], wanted: Collection[str] | None, registry: Mapping[str, Task]) -> list[str]:
    """Return the tasks asked for in the runs: known ones in the order of the registry, then the others."""
    asked = dict.fromkeys(task for run in runs for task in run.run.tasks if wanted is None or task in wanted)
    order = {name: position for position, name in enumerate(registry)}
    return sorted(asked, key=lambda name: order.get(name, len(order)))


def gather(
    names: Sequence[str],
    entries: Sequence[ReportRun],
    registry: Mapping[str, Task],
    datasets: Mapping[str, ECGDataset],
    resamples: int | None = None,
) -> Iterator[TaskContent]:
    """Yield the tasks one by one, so that the predictions of one task are held at a time.

    Args:
        names: of the tasks.
        entries: the runs.
        registry: tasks by name.
        datasets: datasets by name.
        resamples: of the comparison; default those of the first run.
    """
    for name in names:
        task = registry.get(name)
        scored, unscored, remarks = [], [], []
        for entry in (entry for entry in entries if name in entry.run.run.tasks):
            result = entry.run.results.get(name)
            if result is None:
                unscored.append((entry, "no result: the run was interrupted before this task, or is still at work"))
            elif result.status != "done":
                unscored.append((entry, f"{result.status}: {result.reason}"))
            else:
                predictions, problem = _predictions(entry, result)
                scored.append(Scored(entry, result, predictions))
                remarks += [problem] if problem else []
        comparison, problem = _compare(task, name, scored, resamples)
        remarks += [problem] if problem else []
        dataset_name = task.dataset if task else next((s.result.data.name for s in scored if s.result.data), "")
        yield TaskContent(name, task, datasets.get(dataset_name), scored, unscored, comparison, tuple(remarks))


def main_estimate(result: Result) -> Estimate:
    """The main metric of a result, undefined where it has none."""
    name = main_of(result.metrics)
    return result.metrics[name] if name else Estimate(point=None)


def resampling(scored: Sequence[Scored]) -> tuple[int, ResampleUnit, float]:
    """Return resamples, unit and coverage of the intervals of a task: those of its first run."""
    values = scored[0].entry.run.run.settings.protocol_values
    resamples, confidence = values.get("resamples"), values.get("confidence")
    unit: ResampleUnit = "patient" if values.get("resample_unit") == "patient" else "record"
    number = resamples if isinstance(resamples, int) else 1000
    return number, unit, confidence if isinstance(confidence, float) else 0.95


def _predictions(entry: ReportRun, result: Result) -> tuple[Predictions | None, str]:
    try:
        return entry.run.predictions(result), ""
    except EcgHubError as error:
        return None, f"Predictions of {entry.name} are not shown: {_without_folder(str(error), entry)}"


def _without_folder(message: str, entry: ReportRun) -> str:
    """Return a message without the place of the folder: a report is passed on."""
    return message.replace(f"{entry.run.folder}/", "").replace(str(entry.run.folder), entry.run.folder.name)


def _compare(
    task: Task | None, name: str, scored: Sequence[Scored], resamples: int | None
) -> tuple[Comparison | None, str]:
    readable = {item.entry.name: item.predictions for item in scored if item.predictions is not None}
    if len(scored) < 2:
        return None, ""
    if task is None:
        return None, f"Not compared: task {name!r} is not known here; pass its file by --include."
    if len(readable) < len(scored):
        return None, "Not compared: a comparison needs the predictions of all runs."
    number, _, _ = resampling(scored)
    try:
        return compare_models(task, readable, resamples=resamples or number), ""
    except EcgHubError as error:
        return None, f"Not compared: {error}"
