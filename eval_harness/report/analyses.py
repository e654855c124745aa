"""Analyses beside the runs of a report: found by the names of their files, read through their models, one part each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecg_hub.errors import InputError, ResultError
from eval_harness.analyses.files import Analysis, read_analysis
from eval_harness.analyses.registry import AnalysisKind, kind_of, kinds
from eval_harness.analyses.studies import StudyResult, told_apart
from eval_harness.figures.markup import Html, details, tag
from eval_harness.results.folders import ResultFolder, find_runs
from eval_harness.results.runfile import RUN_FILE
from eval_harness.results.schema import read_json

SYNTHETIC = "Simulated ECGs of invented patients: these numbers say nothing about any model."


@dataclass(frozen=True)
class Found:
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
    analyses: Sequence[Found] = ()
    remarks: Sequence[str] = ()


def find_content(paths: Sequence[Path | str], more: Sequence[Path | str] = ()) -> Content:
    """Find the runs in and below some folders, and the analyses in and below them and others.

    The runs of a study (its folder `runs`) are in the part of the study and are no runs of the report, unless a folder
    within is named.
    """
    runs: list[ResultFolder] = []
    files: dict[Path, None] = {}
    for entry in paths:
        path = Path(entry).expanduser()
        below = files_below(path)
        folders = [file.parent for file in sorted(path.rglob(RUN_FILE)) if not _in_a_study(file.parent, path)]
        # Without either, `find_runs` says what is missing.
        runs += find_runs(folders if folders else [] if below else [path])
        files.update(dict.fromkeys(below))
    for entry in more:
        path = Path(entry).expanduser()
        below = files_below(path)
        if not below:
            raise InputError(f"{str(path)!r} holds no analysis, nor does a folder below: no {', '.join(_names())}.")
        files.update(dict.fromkeys(below))
    once = {run.folder: run for run in runs}
    analyses, remarks = [], []
    order = list(kinds().values())
    for file in sorted(files, key=lambda file: (order.index(kind_of(file.name)), str(file))):
        try:
            analyses.append(Found(file, read_analysis(file, kind_of(file.name).result)))
        except ResultError as error:
            remarks.append(f"{file.name} is not shown: {str(error).replace(f'{file.parent}/', '')}")
    return Content(list(once.values()), analyses, remarks)


def files_below(path: Path) -> list[Path]:
    """Return the files of analyses in a folder and below it; of other files with such a name nothing."""
    files = [file.resolve() for pattern in _names() for file in sorted(path.rglob(pattern))]
    return [file for file in dict.fromkeys(files) if _says_analysis(file)]


def analysis_part(analysis: Found, name: str, tasks: Collection[str] | None) -> Html:
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


def chosen(analyses: Iterable[Found], tasks: Collection[str] | None) -> list[Found]:
    """Return the analyses that are about any of some tasks, or about none; all for None."""
    return [item for item in analyses if tasks is None or not (own := item.kind.tasks(item.result)) or own & set(tasks)]


def _not_done(result: Analysis) -> Html | None:
    if not isinstance(result, StudyResult) or not result.not_done:
        return None
    models = [str(model) for model in result.settings.get("models") or ()]  # type: ignore[union-attr]
    names = told_apart(models)
    faults = [fault.splitlines()[0] for fault in result.not_done]
    for model, name in names.items():  # a page is passed on: no folders of the machine
        faults = [fault.replace(model, name) for fault in faults]
    listed = tag("ul", [tag("li", fault) for fault in faults])
    return details(f"{len(result.not_done)} runs were not done", listed, open_=True)


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
    studies = [kind.file for kind in kinds().values() if issubclass(kind.result, StudyResult)]
    return any(
        parent.name == "runs"
        and parent.parent.is_relative_to(top)
        and any((parent.parent / name).is_file() for name in studies)
        for parent in folder.parents
    )
