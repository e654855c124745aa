"""Results of a call or of a folder, as a list that shows itself as a table; read and compared again later."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.spelling import registered
from ecg_hub.utils.remote import place
from ecg_hub.utils.rows import html_table
from eval_harness.api.comparisons import Comparisons, compared
from eval_harness.metrics.registry import main_of
from eval_harness.results.comparison import Unit
from eval_harness.results.folders import ResultFolder, find_runs, read_found
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Result
from eval_harness.results.summary import counts_text, summary_text, text_rows
from eval_harness.results.table import results_frame

if TYPE_CHECKING:
    import pandas as pd

StrPath: TypeAlias = "str | os.PathLike[str]"
METRICS = ("main", "all")
OWN_TASKS = "tasks"
"""Folder below a folder of results that holds the tasks that were made in Python."""


_OPTION = re.compile(r"(`[a-z][^`]*`|^ *ecg-(?:hub|eval) .*$)|`?--([a-z][a-z-]+)`?", re.MULTILINE)
_KEYWORDS = {"mode": "modes", "seeds": "seed"}
"""Keywords of Python that are not called as the option of the command line."""


@contextmanager
def named_by_keyword() -> Iterator[None]:
    """Let errors of a call from Python name its keywords where the command line has options; commands stay whole."""
    try:
        yield
    except EcgHubError as error:
        error.args = tuple(_OPTION.sub(_keyword, text) if isinstance(text, str) else text for text in error.args)
        raise


def _keyword(found: re.Match[str]) -> str:
    return found[1] or f"`{_KEYWORDS.get(found[2], found[2].replace('-', '_'))}`"


class Results(Sequence[Result]):
    """Results in the order of the run: one for each model, mode, seed and task, done, failed or skipped.

    Attributes:
        folder: where all of them lie.
        folders: the result folder of each result, FOLDER/MODEL/MODE.
        include: the task files that comparisons need for tasks that are not built in.
    """

    def __init__(
        self, results: Iterable[Result], folders: Iterable[Path], folder: Path, include: Iterable[Path] = ()
    ) -> None:
        self._results = list(results)
        self.folders = tuple(folders)
        self.folder = folder
        self.include = tuple(include)
        if len(self._results) != len(self.folders):
            raise ValueError(f"{len(self._results)} results in {len(self.folders)} folders")

    def to_frame(self, metrics: Literal["main", "all"] = "main", per_label: bool = False) -> pd.DataFrame:
        """Return the results as a pandas DataFrame, one row per result.

        Args:
            metrics: "main" takes the task's own metric, "all" gives a row per result and metric.
            per_label: a row per result, label and metric in place of the task's means.

        Returns:
            Columns: model, mode, seed, task, metric, point, low, high (the interval), n (test records), status, reason
            (why a row is not done), deviations (from the protocol), contamination (of the test records) and what else
            `ecg-eval export` writes.

        Raises:
            UnknownNameError: another value of `metrics`.
        """
        wanted = registered("choice of metrics", metrics, METRICS)
        frame = results_frame(self, per_label)
        if per_label or wanted == "all":
            return frame
        main = {result.task: main_of(result.metrics) for result in self if result.metrics}
        # What is not done has a row without a metric.
        own = frame["metric"].isna() | (frame["metric"] == frame["task"].map(main).astype("string"))
        # NA where a task has no main metric: a mask takes NA for False, and the row would be gone.
        return frame[own.fillna(True)].reset_index(drop=True)

    def compare(
        self,
        other: Results | StrPath | Iterable[Results | StrPath] | None = None,
        *,
        tasks: str | Sequence[str] = (),
        metric: str | None = None,
        resamples: int = 1000,
        by: Unit = "auto",
    ) -> Comparisons:
        """Compare the models and modes of these results, and those of `other`, on the same test records and resamples.

        Args:
            other: further results, or folders of results.
            tasks: only these tasks and suites.
            metric: default the task's own.
            resamples: bootstrap replicates, shared by all models.
            by: "record", "patient", or "auto": by patient where a patient has several test records.

        Raises:
            InputError: no task was done by two runs, or not on the same records.
        """
        others = () if other is None else (other,) if isinstance(other, Results | str | os.PathLike) else tuple(other)
        return compare_models(self, *others, tasks=tasks, metric=metric, resamples=resamples, by=by)

    def predictions(self, index: int = 0) -> Predictions:
        """Return the predictions of a result: records, targets and probabilities of validation and test.

        Raises:
            ResultError: the result is not done, or its file is not the one that was scored.
        """
        return read_found(self.folders[index]).predictions(self[index])

    @property
    def failed(self) -> Results:
        """The results that failed; each says why in its `reason`."""
        return self._where("failed")

    @property
    def done(self) -> Results:
        """The results that have a score."""
        return self._where("done")

    def runs(self) -> list[ResultFolder]:
        """Return the result folders, with the results of this list that are done."""
        # Resolved, so that a folder that was run and read is one run and not two.
        held: dict[Path, dict[str, Result]] = {}
        for result, folder in zip(self, self.folders, strict=True):
            if result.status == "done":
                held.setdefault(folder.resolve(), {})[result.task] = result
        return [replace(read_found(folder), results=results) for folder, results in held.items()]

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Result | Results:
        """One result, or several as Results."""
        if isinstance(index, slice):
            return Results(self._results[index], self.folders[index], self.folder, self.include)
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __add__(self, other: Results) -> Results:
        """The results of both; `folder` is that of the first."""
        include = dict.fromkeys((*self.include, *other.include))
        return Results([*self, *other], (*self.folders, *other.folders), self.folder, include)

    def _where(self, status: str) -> Results:
        pairs = [(result, folder) for result, folder in zip(self, self.folders, strict=True) if result.status == status]
        return Results([result for result, _ in pairs], [folder for _, folder in pairs], self.folder, self.include)

    def __repr__(self) -> str:
        if not self:
            return f"no results in {str(self.folder)!r}"
        return f"{summary_text(self)}, in {str(self.folder)!r}"

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{escape(repr(self))}</p>"
        return f"{html_table(text_rows(self))}<p>{counts_text(self)}, in {escape(str(self.folder))}</p>"


@named_by_keyword()
def read_results(*folders: StrPath, include: Iterable[StrPath] = ()) -> Results:
    """Read the results below one or several folders, as `evaluate` and `ecg-eval` write them.

    Args:
        folders: results/, results/MODEL or results/MODEL/MODE.
        include: your own task files or folders of them, for tasks that comparisons do not know.

    Raises:
        InputError: no folder, or one without results.
        ResultError: a file that is no result of a known schema.

    Example:
        >>> read_results("results-of-yesterday")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: 'results-of-yesterday' is no folder of results; ...
    """
    if not folders:
        raise InputError("No folder was given. Example: read_results('results/').")
    runs = find_runs(os.fspath(folder) for folder in folders)
    pairs = [(result, run.folder) for run in runs for result in run.results.values()]
    own = [place(folder) / OWN_TASKS for folder in folders]
    found = [*(Path(path) for path in include), *(path for path in own if any(path.glob("*.yaml")))]
    # Resolved, since commonpath refuses to mix absolute and relative paths.
    root = Path(os.path.commonpath([place(folder).resolve() for folder in folders]))
    return Results([result for result, _ in pairs], [folder for _, folder in pairs], root, found)


@named_by_keyword()
def compare_models(
    *runs: Results | StrPath,
    tasks: str | Sequence[str] = (),
    metric: str | None = None,
    resamples: int = 1000,
    by: Unit = "auto",
    include: Iterable[StrPath] = (),
) -> Comparisons:
    """Compare models on the tasks that two or more of them have done: what `ecg-eval compare` computes.

    Args:
        runs: Results, or folders of results.
        tasks: only these tasks and suites.
        metric: default the task's own; or for example "macro_auprc".
        resamples: bootstrap replicates, shared by all models: that makes the differences paired.
        by: "record", "patient", or "auto": by patient where a patient has several test records.
        include: your own task files or folders of them.

    Raises:
        InputError: no task was done by two runs, or not on the same records.
        UnknownNameError: no such task, suite or metric.
    """
    read = [run if isinstance(run, Results) else read_results(run) for run in runs]
    if not read:
        raise InputError("Nothing to compare was given. Example: compare_models('results/').")
    together = read[0]
    for more in read[1:]:
        together += more
    files = dict.fromkeys([*(Path(path) for path in include), *together.include])
    return compared(together.runs(), (tasks,) if isinstance(tasks, str) else tasks, metric, resamples, by, files)
