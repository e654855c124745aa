"""Means and ranks over complete rows, and what is known of ties.

On one task, rows whose predictions of the same records lie in the repository are compared in pairs (paired bootstrap,
adjusted for all pairs of the task and mode); the best and all that are not distinguished from it share a rank, then the
best of the others, and so on. Where predictions of one of the ranked rows are missing, nobody can pair: rows are then
ordered by their points, and no tie is claimed, however much intervals overlap. A row's place is by its mean rank over
the tasks.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ecg_hub.errors import EcgHubError
from eval_harness.leaderboard.board import Board, Row, Tab, TaskSet
from eval_harness.leaderboard.entries import LeaderboardEntry, RecomputeCache
from eval_harness.results.predictions import Predictions, read_predictions
from eval_harness.tasks.task import Task

RESAMPLES = 1000


@dataclass(frozen=True)
class Pairing:
    """What is known of ties on one task and mode.

    Attributes:
        rows: keys of the rows that could be paired.
        ties: unordered pairs that are not distinguished.
        unit: what the resamples drew, "record" or "patient"; None where nothing was paired.
        resampled: the same in words, with numbers.
    """

    rows: frozenset[str] = frozenset()
    ties: frozenset[frozenset[str]] = frozenset()
    unit: str | None = None
    resampled: str = ""

    def tied(self, row: str) -> list[str]:
        """Keys of the rows that are not distinguished from one."""
        return sorted(other for pair in self.ties if row in pair for other in pair if other != row)

    def content(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"rows": sorted(self.rows), "ties": sorted(sorted(pair) for pair in self.ties)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Pairing:
        """From what `content` gave."""
        ties = frozenset(frozenset(pair) for pair in content["ties"])
        return cls(frozenset(content["rows"]), ties, content["unit"], content["resampled"])


@dataclass(frozen=True)
class Rank:
    """A complete row on a set of tasks.

    Attributes:
        place: by mean rank, from 1; equal mean ranks share it.
        mean_rank: over the tasks.
        paired: on how many tasks ranks are by tie groups.
        tasks: number of tasks.
        auroc: mean over the classification tasks, None without any.
        mae: mean over the regression tasks, None without any.
    """

    place: int
    mean_rank: float
    paired: int
    tasks: int
    auroc: float | None
    mae: float | None


@dataclass
class Ranks:
    """All standings: (mode, set, row key) -> standing; and pairings by (mode, task)."""

    standings: dict[tuple[str, str, str], Rank] = field(default_factory=dict)
    pairings: dict[tuple[str, str], Pairing] = field(default_factory=dict)
    counts: dict[tuple[str, str, bool], int] = field(default_factory=dict)

    def get(self, tab: Tab, tasks: TaskSet, row: Row) -> Rank | None:
        """The standing of a row, None where it is not ranked."""
        return self.standings.get((tab.mode, tasks.name, row.key))


def rank_all(
    board: Board, entries: Mapping[str, LeaderboardEntry], memory: RecomputeCache, told: Callable[[str], None]
) -> Ranks:
    """Rank every tab on every set of tasks, published rows among themselves."""
    ranks = Ranks()
    task_of = {column.name: column.task for column in board.columns}
    for tab in board.tabs:
        for name, task in task_of.items():
            ranks.pairings[tab.mode, name] = pair_rows(task, tab, entries, memory, told)
        for tasks in board.sets:
            for published in (False, True):
                chosen = board.ranked(tab, tasks, published)
                ranks.counts[tab.mode, tasks.name, published] = len(chosen)
                for key, standing in _standings(chosen, tasks, task_of, ranks, tab.mode).items():
                    ranks.standings[tab.mode, tasks.name, key] = standing
    return ranks


def task_ranks(points: Mapping[str, float], higher: bool, pairing: Pairing) -> tuple[dict[str, int], bool]:
    """Return the rank of each row on one task, and whether ranks are by tie groups."""
    # By key where points are equal, so that the page does not depend on the order of files.
    ordered = sorted(points, key=lambda row: (-points[row] if higher else points[row], row))
    ranks: dict[str, int] = {}
    if len(points) < 2 or not pairing.rows.issuperset(points):
        for position, row in enumerate(ordered):
            before = ordered[position - 1] if position else None
            same = before is not None and points[before] == points[row]
            ranks[row] = ranks[before] if same and before is not None else position + 1
        return ranks, False
    left = ordered
    while left:
        # Ties with the best of those left, not with any of the group: being tied is not transitive.
        group = [row for row in left if row == left[0] or frozenset((left[0], row)) in pairing.ties]
        ranks |= dict.fromkeys(group, len(ranks) + 1)
        left = [row for row in left if row not in ranks]
    return ranks, True


def pair_rows(
    task: Task, tab: Tab, entries: Mapping[str, LeaderboardEntry], memory: RecomputeCache, told: Callable[[str], None]
) -> Pairing:
    """Compare the rows of a tab on one task, as far as predictions of the same records are there."""
    from eval_harness.results.comparison import METHOD

    files = {}
    for row in tab.rows:
        cell = row.cells.get(task.name)
        entry = entries.get(cell.path) if cell is not None and cell.path else None
        if entry is not None and entry.predictions is not None and cell is not None and cell.digest:
            files[row.key] = (entry.predictions, cell.digest)
    counted = {row.key: files[row.key] for row in tab.rows if row.key in files and row.cells[task.name].counts}
    files = counted if len(counted) > 1 else files  # parts of the data must not crowd out rows that are ranked
    if len(files) < 2:
        return Pairing()
    parts = [f"{row} {digest}" for row, (_, digest) in sorted(files.items())]
    # The method among it: another way to compare must not find ties of the former one.
    key = memory.key("pairing", METHOD, task.name, str(task.version), str(RESAMPLES), *parts)
    if key not in memory.pairings:
        told(f"{tab.mode} {task.name}: {len(files)} rows in pairs")
        comparison = _compare(task, {row: read_predictions(*file) for row, file in files.items()})
        memory.pairings[key] = comparison.content()
    return Pairing.of(memory.pairings[key])


def _compare(task: Task, predictions: Mapping[str, Predictions]) -> Pairing:
    """The largest group of rows with the same records and labels, compared in pairs."""
    from eval_harness.results.comparison import compare_models

    groups: dict[str, list[str]] = {}
    for row, content in predictions.items():
        test = content.part("test")
        # Records sorted, since runs may have written them in another order.
        seen = "|".join([*sorted(test.record_id), *test.labels])
        groups.setdefault(hashlib.sha256(seen.encode()).hexdigest(), []).append(row)
    chosen = max(groups.values(), key=len)
    if len(chosen) < 2:
        return Pairing()
    try:
        comparison = compare_models(task, {row: predictions[row] for row in chosen}, resamples=RESAMPLES)
    except EcgHubError:  # other targets for the same records: they cannot be paired
        return Pairing()
    ties = frozenset(frozenset((pair.first, pair.second)) for pair in comparison.pairs if not pair.distinguished)
    return Pairing(frozenset(chosen), ties, comparison.unit, comparison.resampled)


def _standings(
    rows: Sequence[Row], tasks: TaskSet, task_of: Mapping[str, Task], ranks: Ranks, mode: str
) -> dict[str, Rank]:
    collected: dict[str, list[int]] = {row.key: [] for row in rows}
    paired = 0
    for name in tasks.tasks:
        points = {row.key: row.cells[name].point for row in rows}
        ranks_on_task, by_groups = task_ranks(points, task_of[name].higher_is_better, ranks.pairings[mode, name])
        paired += by_groups
        for key, rank in ranks_on_task.items():
            collected[key].append(rank)
    means = {key: statistics.fmean(values) for key, values in collected.items()}
    return {
        row.key: Rank(
            # Means of the same ranks summed in another order may differ in the last digit, and are equal.
            place=1 + sum(other < means[row.key] - 1e-12 for other in means.values()),
            mean_rank=means[row.key],
            paired=paired,
            tasks=len(tasks.tasks),
            auroc=_mean(row, [name for name in tasks.tasks if task_of[name].higher_is_better]),
            mae=_mean(row, [name for name in tasks.tasks if not task_of[name].higher_is_better]),
        )
        for row in rows
    }


def _mean(row: Row, tasks: Sequence[str]) -> float | None:
    return statistics.fmean(row.cells[name].point for name in tasks) if tasks else None
