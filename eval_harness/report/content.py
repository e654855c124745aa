"""What a report is made of: runs, of each task its results, comparison and predictions, and analyses beside the runs.

Analyses are found by the names of their files and read through their models; each kind shows its own part.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_hub.errors import EcgHubError, InputError, ResultError
from ecg_hub.utils.remote import bring, place
from ecg_hub.utils.text import number_of
from eval_harness.analyses.files import Analysis, read_analysis
from eval_harness.analyses.registry import AnalysisKind, kind_of, kinds
from eval_harness.analyses.studies import StudyResult, distinct_names
from eval_harness.config.options import PREFIX
from eval_harness.figures.markup import Html, details, tag
from eval_harness.metrics.registry import MACRO_AUROC, MAE, main_of
from eval_harness.results.comparison import Comparison, compare_models
from eval_harness.results.folders import ResultFolder, find_runs
from eval_harness.results.predictions import Predictions
from eval_harness.results.runfile import RUN_FILE
from eval_harness.results.schema import Estimate, Result, read_json
from eval_harness.results.scoring import ResampleUnit
from eval_harness.results.summary import SYNTHETIC
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
        return next((item for item in self.leading(1) if main_estimate(item.result).point is not None), None)

    def leading(self, number: int) -> list[Scored]:
        """Results with the best points, at most so many; those without a point come last."""

        def behind(item: Scored) -> float:
            point = main_estimate(item.result).point
            return math.inf if point is None else point if self.regression else -point

        return sorted(self.scored, key=behind)[:number]


def without_folders(runs: Sequence[ResultFolder]) -> list[ResultFolder]:
    """Return runs whose models are not called by a folder of the machine but by its last parts: a page is passed on."""
    ids = list(dict.fromkeys(run.run.settings.model.id for run in runs))
    names = distinct_names([model for model in ids if model.removeprefix(PREFIX).startswith(("/", "~", "."))])
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
        suffix = f" ({_own_part(run.folder, alike) or f'run {index + 1}'})" if len(alike) > 1 else ""
        numbered.append(ReportRun(index, f"{run.name}{suffix}", run))
    return numbered


def _own_part(folder: Path, alike: Sequence[Path]) -> str:
    """The nearest part of a path in which all of some folders differ; "" where there is none."""
    # From the end, since the last parts say most; paths of one machine begin alike.
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
    """Yield the tasks one by one, so that the predictions of one task are held at a time."""
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
                if foreign := _foreign_labels(result, predictions):
                    unscored.append((entry, f"left out: {foreign}"))
                    continue
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


def _foreign_labels(result: Result, predictions: Predictions | None) -> str:
    """Return what is wrong with a result whose labels are not those of its predictions; "" where nothing is."""
    held = predictions.labels if predictions is not None else None
    foreign = [score.label for score in result.per_label if held is not None and score.label not in held]
    if not foreign:
        return ""
    names = ", ".join(repr(label[:80]) for label in foreign[:5])
    return f"it has scores of {names}, of which its predictions know nothing; `ecg-eval verify` compares them"


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
    # Leaving one out would crown the best of the others without a word.
    if len(readable) < len(scored):
        return None, "Not compared: a comparison needs the predictions of all runs."
    number, _, _ = resampling(scored)
    try:
        for item in scored:
            item.entry.run.check_definition(task)
        return compare_models(task, readable, resamples=resamples or number), ""
    except EcgHubError as error:
        return None, f"Not compared: {error}"


@dataclass(frozen=True)
class FoundAnalysis:
    """One analysis: its file, and what it holds."""

    path: Path
    result: Analysis

    @property
    def kind(self) -> AnalysisKind:
        """How its kind is shown."""
        return next(kind for kind in kinds().values() if isinstance(self.result, kind.result))

    @property
    def title(self) -> str:
        """What it is about, in a few words."""
        return self.kind.title(self.result)


@dataclass(frozen=True)
class Content:
    """What a report is about: runs, analyses, and what could not be read, in sentences."""

    runs: Sequence[ResultFolder]
    analyses: Sequence[FoundAnalysis] = ()
    remarks: Sequence[str] = ()


def find_content(paths: Sequence[Path | str], more: Sequence[Path | str] = ()) -> Content:
    """Find the runs in and below some folders, and the analyses in and below them and others.

    The runs of a study (its folder `runs`) are in the part of the study and are no runs of the report, unless a folder
    within is named.
    """
    runs: list[ResultFolder] = []
    remarks: list[str] = []
    files: dict[Path, None] = {}
    for entry in paths:
        path = bring(place(entry))
        below = files_below(path)
        folders = [file.parent for file in sorted(path.rglob(RUN_FILE)) if not _in_a_study(file.parent, path)]
        # Without either, `find_runs` says what is missing.
        runs += find_runs(folders if folders else [] if below else [path], remarks)
        files.update(dict.fromkeys(below))
    for entry in more:
        path = bring(place(entry))
        below = files_below(path)
        if not below:
            raise InputError(f"{str(path)!r} holds no analysis, nor does a folder below: no {', '.join(_names())}.")
        files.update(dict.fromkeys(below))
    # A run that is named and lies below a named folder is shown once.
    once = {run.folder: run for run in runs}
    analyses = []
    order = list(kinds().values())
    for file in sorted(files, key=lambda file: (order.index(kind_of(file.name)), str(file))):
        try:
            analyses.append(FoundAnalysis(file, read_analysis(file, kind_of(file.name).result)))
        except ResultError as error:
            # Without the folder: a report is passed on. One damaged file is no reason to show nothing.
            remarks.append(f"{file.name} is not shown: {str(error).replace(f'{file.parent}/', '')}")
    if remarks and not once and not analyses:
        raise ResultError("Nothing of it can be read.\n" + "\n".join(dict.fromkeys(remarks)))
    return Content(list(once.values()), analyses, list(dict.fromkeys(remarks)))


def files_below(path: Path) -> list[Path]:
    """Return the files of analyses in a folder and below it; of other files with such a name nothing."""
    # Resolved, so that a folder that is named twice, or by a link, shows its analyses once.
    files = [file.resolve() for pattern in _names() for file in sorted(path.rglob(pattern))]
    return [file for file in dict.fromkeys(files) if _says_analysis(file)]


def analysis_part(analysis: FoundAnalysis, name: str, tasks: Collection[str] | None) -> Html:
    """Return the part of one analysis."""
    result = analysis.result
    remarks = [SYNTHETIC] if result.synthetic else []
    if result.part_of_release:
        remarks.append(f"Part of a dataset's release: {result.part_of_release}.")
    if not result.complete:
        remarks.append("Not complete: give its command again to continue it.")
    return tag(
        "section",
        tag("h2", analysis.title, id=name),
        [tag("p", remark, class_="notice") for remark in remarks],
        analysis.kind.part(result, tasks),
        _not_done(result),
        tag("p", f"Begun {result.created[:10]} (UTC).", class_="soft small"),
    )


def chosen_analyses(analyses: Iterable[FoundAnalysis], tasks: Collection[str] | None) -> list[FoundAnalysis]:
    """Return the analyses that are about any of some tasks, or about none; all for None."""
    return [item for item in analyses if tasks is None or not (own := item.kind.tasks(item.result)) or own & set(tasks)]


def _not_done(result: Analysis) -> Html | None:
    if not isinstance(result, StudyResult) or not result.not_done:
        return None
    models = [str(model) for model in result.settings.get("models") or ()]  # type: ignore[union-attr]
    names = distinct_names(models)
    faults = [fault.splitlines()[0] for fault in result.not_done]
    for model, name in names.items():  # a page is passed on: no folders of the machine
        faults = [fault.replace(model, name) for fault in faults]
    listed = tag("ul", [tag("li", fault) for fault in faults])
    return details(f"{number_of(len(result.not_done), 'run')} not done", listed, open_=True)


def _names() -> list[str]:
    """Names of the files of all analyses."""
    return [kind.file for kind in kinds().values()]


def _says_analysis(file: Path) -> bool:
    """Whether a file says that it is an analysis: a task may be named like one. One that cannot be read is reported."""
    try:
        return "analysis" in read_json(file)
    except ResultError:
        return True


def _in_a_study(folder: Path, top: Path) -> bool:
    """Whether a run lies in the folder `runs` of a study at or below a path."""
    # A study keeps its runs below itself; a user may have a folder `runs` without any study beside it.
    studies = [kind.file for kind in kinds().values() if issubclass(kind.result, StudyResult)]
    return any(
        parent.name == "runs"
        and parent.parent.is_relative_to(top)
        and any((parent.parent / name).is_file() for name in studies)
        for parent in folder.parents
    )
