"""The leaderboard as data: columns, and for each mode its rows with their cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eval_harness.config.protocol import MODES
from eval_harness.leaderboard.entries import LeaderboardEntry
from eval_harness.metrics.registry import MACRO_AUROC, main_of, metrics
from eval_harness.publish.layout import BASELINES
from eval_harness.results.contamination import state
from eval_harness.results.extent import deviations_of, extent_of
from eval_harness.results.schema import Estimate
from eval_harness.tasks.registry import suites
from eval_harness.tasks.task import CATEGORIES, Task

COUNTED = "all"
PARTIAL = ("limit", "labels")
"""Deviations that say that a cell is of part of the data."""


@dataclass(frozen=True)
class Column:
    """One task of the table."""

    task: Task

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def category(self) -> str:
        """Its category in words."""
        return CATEGORIES[self.task.category]


@dataclass(frozen=True)
class TaskSet:
    """Columns that are ranked and averaged together.

    Attributes:
        name: of the suite.
        title: for the list.
        tasks: names.
    """

    name: str
    title: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One score.

    Attributes:
        point, low, high: of the task's metric; the ends may be unknown.
        records: test records, None where not stated.
        labels: scored and published labels, None where not stated.
        classes: labels that the mean is over.
        contamination: clean, seen or unknown.
        state: recomputed, self-reported or published.
        protocol: its name.
        deviations: from the protocol.
        path: of the entry in the repository, None for published cells.
        digest: SHA-256 of the predictions.
        created: when it was scored.
        flags: (severity, text) of known faults, worst first.
        extent: whether the data are all of the release: whole, partial, unknown, or not compared.
        others: the further metrics that are listed for the leaderboard, by name.
    """

    point: float
    low: float | None
    high: float | None
    contamination: str
    state: str
    protocol: str
    records: int | None = None
    labels: tuple[int, int] | None = None
    classes: int | None = None
    deviations: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    digest: str | None = None
    created: str | None = None
    flags: tuple[tuple[str, str], ...] = ()
    extent: str = "not compared"
    others: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing speaks against its being of the whole release."""
        return self.extent in ("whole", "not compared")

    @property
    def counts(self) -> bool:
        """Whether it is of all the data and labels, and so is ranked and averaged."""
        return self.whole and not any(name in self.deviations for name in PARTIAL)


@dataclass(frozen=True)
class Row:
    """One model at one revision, scored in one way and one mode.

    Attributes:
        key: unique among the rows of all modes.
        kind: as in the model's description.
        title: name in prose.
        licence: None where nobody stated it.
        settings: what was asked for other than the usual.
        published: whether it is of the paper and not computed here.
        synthetic: whether it is of simulated data.
    """

    key: str
    id: str
    mode: str
    kind: str
    title: str
    parameters: int | None
    licence: str | None
    revision: str | None
    weights_sha256: str | None
    settings: Mapping[str, Any]
    cells: Mapping[str, Cell]
    link: str | None = None
    published: bool = False
    synthetic: bool = False

    @property
    def baseline(self) -> bool:
        """Whether it carries no pre-training."""
        return self.kind in BASELINES

    @property
    def name(self) -> str:
        """Its name among other rows of the mode: the id, and what sets it apart."""
        asked = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.id} ({asked})" if asked else self.id

    def complete(self, tasks: Iterable[str]) -> bool:
        """Whether every task has a cell of all the data."""
        cells = [self.cells.get(task) for task in tasks]
        return all(cell is not None and cell.counts for cell in cells)


@dataclass(frozen=True)
class Tab:
    """One mode.

    Attributes:
        mode: its name.
        title: what is trained, in words.
        rows: of this mode.
        references: baselines of another mode, shown for comparison and not ranked.
    """

    mode: str
    title: str
    rows: Sequence[Row]
    references: Sequence[Row] = ()


@dataclass(frozen=True)
class Board:
    """Everything the page shows.

    Attributes:
        columns: tasks in the order of the registry.
        sets: what can be ranked together, that of the paper's count first.
        tabs: modes in the order of the protocol.
        problems: path -> why an entry is not shown.
        source: where the files were read.
        notes: what could not be confirmed.
    """

    columns: Sequence[Column]
    sets: Sequence[TaskSet]
    tabs: Sequence[Tab]
    problems: Mapping[str, str]
    source: str
    notes: Sequence[str] = ()

    @property
    def synthetic(self) -> bool:
        """Whether everything that was computed here is of simulated data."""
        own = [row for tab in self.tabs for row in tab.rows if not row.published]
        # all() of nothing is true, and a page of published rows alone is not one of simulated data.
        return bool(own) and all(row.synthetic for row in own)

    def ranked(self, tab: Tab, tasks: TaskSet, published: bool) -> list[Row]:
        """Rows of a tab that are ranked on a set of tasks: the complete ones, simulated data never among real."""
        return [
            row
            for row in tab.rows
            if row.published == published
            and row.complete(tasks.tasks)
            # On a page of simulated data alone rows are ranked, so that a trial shows what a real page would.
            and (published or row.synthetic == self.synthetic)
        ]


def columns_of(registry: Mapping[str, Task]) -> list[Column]:
    """Return the columns: every published task, by category."""
    return [Column(registry[name]) for name in suites()["published"].members() if name in registry]


def task_sets(columns: Sequence[Column]) -> list[TaskSet]:
    """Return what can be ranked together: the paper's count, all published rows, open data, each category."""
    names = {column.name for column in columns}
    sets = []
    titles = {"all": "all {n} tasks", "published": "all {n} published rows", "open": "open data ({n} tasks)"}
    for name, suite in suites().items():
        members = tuple(task for task in suite.members() if task in names)
        if name in titles:
            sets.append(TaskSet(name, titles[name].format(n=len(members)), members))
        elif name.startswith("category:"):
            sets.append(TaskSet(name, f"{suite.title} ({len(members)})", members))
    # The first set is what the page opens with: the tasks of the paper's count.
    order = [*titles, *(f"category:{name}" for name in CATEGORIES)]
    return sorted((entry for entry in sets if entry.tasks), key=lambda entry: order.index(entry.name))


def rows_of(entries: Iterable[LeaderboardEntry]) -> list[Row]:
    """Return a row for every model, revision and mode, by name."""
    groups: dict[tuple[str, str], list[LeaderboardEntry]] = {}
    for entry in entries:
        # The folder holds model, revision and settings: scores of other settings make another row.
        groups.setdefault((entry.row, entry.result.mode), []).append(entry)
    rows = []
    for (name, mode), members in groups.items():
        meta = members[0].meta
        rows.append(
            Row(
                key=f"{name}/{mode}",
                id=meta.id,
                mode=mode,
                kind=meta.kind,
                title=meta.title,
                parameters=meta.parameters,
                licence=_licence(meta.kind, meta.licence.name if meta.licence else None),
                revision=meta.revision,
                weights_sha256=meta.weights_sha256,
                settings=meta.settings,
                link=meta.paper or meta.repository,
                synthetic=any(entry.result.is_synthetic for entry in members),
                cells={entry.result.task: _cell(entry) for entry in members},
            )
        )
    return sorted(rows, key=lambda row: (row.id.lower(), row.key))


def published_rows() -> list[Row]:
    """Return the paper's rows, with what is known to be wrong about them."""
    from ecg_hub.catalog import models
    from eval_harness.results.published import scores, study
    from eval_harness.tasks.registry import tasks

    registry, cells = tasks(), dict[tuple[str, str], dict[str, Cell]]()
    for score in scores():
        if score.task not in registry:
            continue
        entry = models().get(score.model)
        # The supervised baselines began at random weights, and so have seen nothing.
        corpora = None if entry is None else [] if score.mode == "scratch" else list(entry.corpora)
        cells.setdefault((score.model, score.mode), {})[score.task] = Cell(
            point=score.point,
            low=score.low,
            high=score.high,
            contamination=state(corpora, registry[score.task].dataset),
            state="published",
            protocol="paper",
            flags=tuple((flag.severity, flag.text) for flag in score.flags),
        )
    rows = []
    for (model, mode), own in cells.items():
        entry = models().get(model)
        rows.append(
            Row(
                key=f"published/{model}/{mode}",
                id=model,
                mode=mode,
                kind="supervised" if mode == "scratch" else "foundation",
                title=entry.title if entry else model,
                parameters=entry.parameters if entry else None,
                licence=_licence("", entry.licence.name if entry else None) if mode != "scratch" else "no weights",
                revision=None,
                weights_sha256=None,
                settings={},
                cells=own,
                link=study().paper,
                published=True,
            )
        )
    return rows


def tabs_of(rows: Sequence[Row]) -> list[Tab]:
    """Return the modes that have rows; baselines of other modes stand beside."""
    tabs = []
    for mode, title in MODES.items():
        own = [row for row in rows if row.mode == mode]
        if own:
            # What has no pre-training is a yardstick for every mode.
            others = [row for row in rows if row.mode != mode and row.kind in ("supervised", "trivial")]
            tabs.append(Tab(mode, title, own, others))
    return tabs


def _cell(entry: LeaderboardEntry) -> Cell:
    result, data = entry.result, entry.result.data
    assert data is not None  # an entry is done
    estimate = result.metrics[main_of(result.metrics) or MACRO_AUROC]
    assert estimate.point is not None  # checked when it was read
    return Cell(
        point=estimate.point,
        low=estimate.low,
        high=estimate.high,
        classes=estimate.classes,
        records=data.records.test,
        labels=(data.labels.scored, data.labels.published),
        contamination=data.contamination,
        state=entry.state,
        protocol=result.protocol.name,
        deviations=deviations_of(result),
        extent=extent_of(result).state,
        path=entry.path,
        digest=result.predictions.sha256 if result.predictions else None,
        created=result.created,
        others={
            metric.name: result.metrics[metric.name]
            for metric in metrics().values()
            if metric.on_leaderboard and metric.name in result.metrics
        },
    )


def _licence(kind: str, name: str | None) -> str:
    return "no weights" if kind in BASELINES else name or "not stated"
