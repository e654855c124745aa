"""Result folders compared on the tasks that two or more of them have done, as rows of a table and in words."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError, ResultError
from eval_harness.results.comparison import ALPHA, Comparison, Unit, compare_models, p_text
from eval_harness.results.folders import ResultFolder
from eval_harness.results.schema import Result
from eval_harness.results.summary import deviation_parts
from eval_harness.tasks.registry import expand
from eval_harness.tasks.registry import tasks as known_tasks


def compare_folders(
    runs: Sequence[ResultFolder],
    tasks: Sequence[str] = (),
    *,
    metric: str | None = None,
    resamples: int = 1000,
    by: Unit = "auto",
    include: Iterable[Path | str] = (),
) -> Iterator[tuple[Comparison, dict[str, Result]]]:
    """Compare runs on every task that two of them have done, or on those of `tasks`, with the results by run."""
    # A user's own tasks are known by their files alone; a result carries only their names.
    by_name = known_tasks(include)
    wanted = {task.name for task in expand(tasks, include)} if tasks else None
    found: dict[str, list[ResultFolder]] = defaultdict(list)
    for run in runs:
        for task, result in run.results.items():
            if result.status == "done" and (wanted is None or task in wanted):
                found[task].append(run)
    by_task = {task: _named(group) for task, group in found.items()}
    # Tasks that only one run has done are left out in silence where others can be compared.
    shared = {task: group for task, group in by_task.items() if len(group) > 1}
    if not shared:
        there = ", ".join(sorted(by_task)) or "none"
        if len(runs) < 2:
            raise InputError(f"There is one run, and a comparison needs two: score another model. Done by it: {there}.")
        raise InputError(f"No task was done by two of these {len(runs)} runs. Done by one: {there}.")
    for task, group in shared.items():
        if task not in by_name:
            raise ResultError(f"Task {task!r} is not known here; pass its file by --include.")
        for run in group.values():
            run.check_definition(by_name[task])
        predictions = {name: run.predictions(run.results[task]) for name, run in group.items()}
        comparison = compare_models(by_name[task], predictions, metric, resamples, by=by)
        yield comparison, {name: run.results[task] for name, run in group.items()}


def _named(runs: Sequence[ResultFolder]) -> dict[str, ResultFolder]:
    """The runs by their names; those of one model, mode and seed also by where their folders part."""
    twins: dict[str, list[ResultFolder]] = defaultdict(list)
    for run in runs:
        twins[run.name].append(run)
    named = {}
    for run in runs:
        name, others = run.name, twins[run.name]
        if len(others) > 1:
            above = os.path.commonpath([other.folder for other in others])
            name = f"{name} ({os.path.relpath(run.folder, above)})"
        named[name] = run
    return named


def rank_rows(comparison: Comparison, results: Mapping[str, Result]) -> list[dict[str, object]]:
    """One row per model: both ranks, score with interval, difference to the best, deviations from the protocol."""
    best = comparison.standings[0].model
    # Pairs stand in the order of the standings, so that the best is always the first of its pairs.
    to_best = {pair.second: pair for pair in comparison.pairs if pair.first == best}
    rows: list[dict[str, object]] = []
    for standing in comparison.standings:
        score, pair = standing.score, to_best.get(standing.model)
        rows.append(
            {
                "task": comparison.task,
                "model": standing.model,
                "rank": standing.rank,
                "as published": standing.rank_published,
                "score": f"{score.point:.3f} [{score.low:.3f}, {score.high:.3f}]",
                "behind the best": "-" if pair is None else _text(pair.difference),
                "metric": comparison.metric,
                "records": comparison.records,
                "drawn by": comparison.unit,
                "labels": len(comparison.labels),
                "deviations": deviation_parts(results[standing.model]),
            }
        )
    return rows


def pair_rows(comparison: Comparison) -> list[dict[str, object]]:
    """One row per pair: difference with its unadjusted interval, p-values, and both readings."""
    return [
        {
            "task": comparison.task,
            "first": pair.first,
            "second": pair.second,
            "first - second": _text(pair.difference),
            "p": p_text(pair.p),
            "p (Holm)": p_text(pair.p_holm),
            "distinguished": "yes" if pair.distinguished else "no",
            "as published": "differ" if pair.difference.significant else "tie",
        }
        for pair in comparison.pairs
    ]


def _text(difference: Any) -> str:
    return f"{difference.point:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def reading(comparisons: Sequence[Comparison]) -> list[str]:
    """Say how many pairs were compared, by what they were resampled and what a rank means."""
    number = sum(len(comparison.pairs) for comparison in comparisons)
    units = [f"{comparison.task}: {comparison.resampled}" for comparison in comparisons]
    lines = [
        f"{number} {'pair' if number == 1 else 'pairs'}; {'; '.join(units)}.",
        f"Models of one rank are not distinguished from the best of it: p (Holm), adjusted for all pairs of a task, is "
        f"{ALPHA:g} or more. So equal models are separated on at most {100 * ALPHA:g} % of tasks.",
        "As published: the unadjusted 95 % interval of the difference decides; of several equal models the best is "
        "then often separated (of eight on half of the tasks).",
    ]
    if any(c.unit == "record" and c.patients is not None and c.patients < c.records for c in comparisons):
        lines.append(
            "Records of one patient are not independent: drawn by record, equal models differ more often than said "
            "here; --by patient draws patients."
        )
    return lines
