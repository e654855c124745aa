"""Builds the page: head, scores at a glance, one part per task and per analysis, training curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from ecg_hub.utils.files import write_text
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.text import number_of
from eval_harness.figures.markup import Html, anchor, join, style_sheet, tag
from eval_harness.report import about, scores
from eval_harness.report.calibration import calibration_part
from eval_harness.report.content import (
    Content,
    FoundAnalysis,
    ReportRun,
    TaskContent,
    analysis_part,
    chosen_analyses,
    entries,
    gather,
    task_names,
    without_folders,
)
from eval_harness.report.ecgs import EcgSource
from eval_harness.report.scores import label_order, label_table, metric_tables, subgroup_part
from eval_harness.results.folders import ResultFolder
from eval_harness.tasks.checks import definition_of
from eval_harness.tasks.registry import datasets as known_datasets
from eval_harness.tasks.registry import tasks as known_tasks
from eval_harness.tasks.task import Task

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""For the browser: run nothing, load nothing."""

SIZE = "\ue000size\ue000"
"""Stands for the size of the file, which is known last; a private character, so in no other text."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        tasks: only these; None for all of the runs.
        include: a user's task files and descriptions of archives.
        data_root: where ECGs may be drawn from; "" to draw none.
        examples: ECGs per task.
        labels: labels per task, those with most positives; 0 for all.
        resamples: of the comparison; None for those of the runs.
        others: further fields of `RunOptions` for opening datasets (cache_dir).
    """

    tasks: frozenset[str] | None = None
    include: tuple[Path | str, ...] = ()
    data_root: str = ""
    examples: int = 6
    labels: int = 60
    resamples: int | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("examples", "labels"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)!r}: 0 or more; 0 shows no ECGs and all labels.")
        if self.resamples is not None and self.resamples < 1:
            raise InputError(f"resamples is {self.resamples!r}: it must be at least 1.")


@dataclass(frozen=True)
class Written:
    """What was written: file, bytes, and how many runs, tasks, results, ECGs and analyses it shows."""

    path: Path
    size: int
    runs: int
    tasks: int
    results: int
    ecgs: int
    analyses: int = 0


@dataclass(frozen=True)
class Studies:
    """The analyses of a page, what could not be read, and the tasks that are shown (None: all)."""

    analyses: Sequence[FoundAnalysis]
    remarks: Sequence[str]
    tasks: frozenset[str] | None

    @property
    def links(self) -> list[tuple[str, str]]:
        """Id and title of every part."""
        return [(f"analysis-{number}", item.title) for number, item in enumerate(self.analyses, 1)]

    def parts(self) -> list[Html]:
        """The part of every analysis."""
        return [analysis_part(item, link[0], self.tasks) for item, link in zip(self.analyses, self.links, strict=True)]


def write_report(
    content: Content | Sequence[ResultFolder], path: Path, options: ReportOptions, quiet: bool = True
) -> Written:
    """Write the report of some runs and analyses as one HTML file."""
    content = content if isinstance(content, Content) else Content(content)
    # First of all, so that no path of this machine can reach any part of the page.
    runs = without_folders(content.runs)
    run_entries = entries(runs)
    tasks, datasets = known_tasks(options.include), known_datasets(options.include)
    names = task_names(runs, options.tasks, tasks)
    analyses = chosen_analyses(content.analyses, options.tasks)
    if not names and not analyses:
        asked = ", ".join(sorted(options.tasks or ())) or "any task"
        others = f" and {number_of(len(content.analyses), 'analysis', 'analyses')}" if content.analyses else ""
        raise InputError(f"None of these {len(runs)} runs{others} was asked for {asked}.")
    # Runs without any shown task are left out; the others keep number, and so colour and mark.
    chosen = [entry for entry in run_entries if any(name in entry.run.run.tasks for name in names)]
    ecgs = EcgSource(
        options.data_root,
        options.examples,
        {"include": tuple(Path(item) for item in options.include), **options.others},
    )
    shells, parts = [], []
    for of_task in _progress(gather(names, chosen, tasks, datasets, options.resamples), len(names), quiet):
        parts.append(_task_part(of_task, options, ecgs))
        # The page needs scores of all tasks at once, but predictions of one at a time.
        shells.append(_without_predictions(of_task))
    studies = Studies(analyses, content.remarks, options.tasks)
    body = _body(chosen, shells, parts, studies, datasets, tasks)
    page = _document("ECG model evaluation", body)
    # The page says its own size, whose digits belong to it.
    size = len(page.encode()) - len(SIZE.encode()) + len(_size(len(page.encode())))
    write_text(path, page.replace(SIZE, _size(size)))
    results = sum(len(shell.scored) for shell in shells)
    return Written(path, path.stat().st_size, len(chosen), len(names), results, ecgs.drawn, len(analyses))


def _progress(contents: Iterator[TaskContent], number: int, quiet: bool) -> Iterator[TaskContent]:
    yield from progress(contents, total=number, desc="report", unit=" tasks", quiet=quiet, leave=False)


def _without_predictions(content: TaskContent) -> TaskContent:
    """A task without its predictions, which are no longer needed and large."""
    scored = [type(item)(item.entry, item.result) for item in content.scored]
    return TaskContent(
        content.name, content.task, content.dataset, scored, content.unscored, content.comparison, content.remarks
    )


def _body(
    run_entries: Sequence[ReportRun],
    contents: Sequence[TaskContent],
    parts: Sequence[Html],
    studies: Studies,
    datasets: Mapping[str, Any],
    tasks: Mapping[str, Task],
) -> Html:
    # Of the results, not of this moment: the same results give the same page, byte for byte.
    created = max((result.created for result in about.results_of(run_entries)), default="")
    when = f"Last result of {created[:10]} (UTC). " if created else ""
    counts = [number_of(len(run_entries), "run"), number_of(len(contents), "task")] if run_entries else []
    if studies.analyses:
        counts.append(number_of(len(studies.analyses), "analysis", "analyses"))
    summary = f"{when}{', '.join(counts)}."
    head = tag(
        "header",
        tag("h1", "ECG model evaluation"),
        tag("p", summary, class_="soft"),
        about.notices(run_entries),
        [tag("p", remark, class_="notice") for remark in studies.remarks],
    )
    links = [("runs", "Runs and data"), ("scores", "Scores at a glance")] if run_entries else []
    links += [(anchor(content.name), content.title) for content in contents]
    links += studies.links
    links += [("training", "Training curves")] if run_entries else []
    contents_list = tag(
        "nav", tag("ul", [tag("li", tag("a", t, href=f"#{i}")) for i, t in links]), aria_label="Contents"
    )
    main = tag(
        "main",
        _glance(run_entries, contents, datasets) if run_entries else None,
        parts,
        studies.parts(),
        _training(run_entries, contents, tasks) if run_entries else None,
        id="main",
    )
    return join([tag("a", "To the results", href="#main", class_="skip"), head, contents_list, main, _footer()])


def _glance(
    run_entries: Sequence[ReportRun], contents: Sequence[TaskContent], datasets: Mapping[str, Any]
) -> list[object]:
    """Runs, data, and all scores in one table."""
    results = [item.result for content in contents for item in content.scored]
    return [
        tag("h2", "Runs and data", id="runs", class_="first"),
        about.run_table(run_entries),
        about.data_table(run_entries, datasets),
        about.environment_list(run_entries),
        tag("h2", "Scores at a glance", id="scores", class_="first"),
        scores.matrix(contents, run_entries),
        tag("p", "★ best point, ☆ not distinguished from it. ", about.READINGS, class_="small"),
        tag("p", about.PAIRS, class_="small") if len(run_entries) > 1 else None,
        tag("p", about.interval_words(run_entries), class_="small"),
        scores.spread_table(results),
    ]


def _task_part(content: TaskContent, options: ReportOptions, ecgs: EcgSource) -> Html:
    """Everything about one task."""
    shown, left_out = label_order(content, options.labels)
    about_task = None
    if content.task is not None:
        about_task = tag("p", content.task.description, " ", tag("code", content.name), class_="soft")
    head = [
        tag("h2", content.title, id=anchor(content.name)),
        about_task,
        [tag("p", remark, class_="notice") for remark in content.remarks],
        scores.score_table(content),
    ]
    if not content.scored:
        return tag("section", head)
    fewer = None
    if left_out:
        text = (
            f"The {left_out:,} labels with fewest positives are left out here (--labels 0 shows all); they are scored."
        )
        fewer = tag("p", text, class_="soft small")
    return tag(
        "section",
        head,
        tag("p", scores.comparison_words(content)),
        scores.score_forest(content),
        scores.difference_table(content),
        scores.metric_table(content),
        tag("h3", "Targets" if content.regression else "Labels"),
        fewer,
        label_table(content, shown),
        metric_tables(content, shown),
        tag("h3", "Reliability"),
        calibration_part(content, shown),
        tag("h3", "Subgroups"),
        subgroup_part(content),
        tag("h3", "ECGs that were scored most wrongly"),
        ecgs.part(content),
    )


def _training(run_entries: Sequence[ReportRun], contents: Sequence[TaskContent], tasks: Mapping[str, Task]) -> Html:
    """Training curves of every training run that the tasks are read from."""
    runs: dict[str, str] = {}
    for content in contents:
        for item in content.scored:
            runs.setdefault(item.result.run, _validated(item.result.run, content.regression, tasks))
    parts = []
    for name, title in runs.items():
        histories = [history for entry in run_entries if (history := about.read_history(entry, name)) is not None]
        if histories:
            heading = tasks[name].title if name in tasks else name
            parts += [
                tag("h3", heading),
                about.legend([h.entry for h in histories]),
                about.training_charts(name, histories, title),
            ]
    note = (
        "How training went: points without intervals, on the records that also chose the epoch, so no scores."
        if parts
        else "No training history is in the result folders."
    )
    return tag("section", tag("h2", "Training curves", id="training"), tag("p", note, class_="soft small"), parts)


def _validated(run: str, regression: bool, tasks: Mapping[str, Task]) -> str:
    """What the validation score of a training run is; `regression` is of one of its tasks."""
    # As `eval_harness.metrics.selection` makes it: higher is better, so errors are taken off.
    kinds = {task.kind == "regression" for task in definition_of(run, tasks, known_tasks())} or {regression}
    if len(kinds) > 1:
        return "validation macro AUROC - 1 - MAE"
    return "minus validation MAE" if kinds.pop() else "validation macro AUROC"


def _footer() -> Html:
    return tag(
        "footer",
        tag("p", about.NOTICE),
        tag("p", f"Made by ecg-hub {version('ecg-hub')} (ecg-eval report). This file: {SIZE}; it loads nothing else."),
    )


def _document(title: str, body: Html) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        # Names of labels and models come from files of strangers: should an escape fail, nothing would run.
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(style_sheet())),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _size(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"
