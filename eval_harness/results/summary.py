"""The readable table at the end of a run: one row per task, several seeds as one row with their spread."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_hub.utils.files import write_text
from eval_harness.metrics.registry import main_of
from eval_harness.results.extent import deviations_of
from eval_harness.results.schema import Estimate, Result

SPREAD_FILE = "seeds.json"
SYNTHETIC = "Simulated ECGs of invented patients: these numbers say nothing about any model."


def write_spread(folders: Mapping[tuple[str, str], Path], results: Sequence[Result]) -> None:
    """Write `seeds.json` beside the seed folders: mean, standard deviation and range of each metric over the seeds."""
    for (model, mode), folder in folders.items():
        # A failed seed is no score of 0: it is left out, and the seeds that count are listed.
        chosen = [r for r in results if r.model.id == model and r.mode == mode and r.status == "done"]
        if chosen:
            write_text(folder / SPREAD_FILE, json.dumps(spread(chosen), indent=1) + "\n")


def spread(results: Sequence[Result]) -> dict[str, Any]:
    """Mean, sample standard deviation, lowest and highest point of each task's metrics over the seeds."""
    points: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        for name, estimate in result.metrics.items():
            if estimate.point is not None:
                points[result.task][name][result.seed] = estimate.point
    return {
        task: {name: summary(values) for name, values in sorted(metrics.items())}
        for task, metrics in sorted(points.items())
    }


def summary(values: dict[int, float]) -> dict[str, Any]:
    """Mean, standard deviation (null for one seed), range and the points by seed.

    Example:
        >>> round(summary({0: 0.80, 1: 0.84})["sd"], 4), summary({0: 0.80})["sd"]  # of one seed there is no deviation
        (0.0283, None)
    """
    numbers = list(values.values())
    return {
        "mean": statistics.fmean(numbers),
        "sd": statistics.stdev(numbers) if len(numbers) > 1 else None,
        "low": min(numbers),
        "high": max(numbers),
        # Names in JSON are text, but sorted as numbers: as text 10 would come before 2.
        "seeds": {str(seed): value for seed, value in sorted(values.items())},
    }


def print_summary(results: Sequence[Result]) -> None:
    """Print the table of a run and, below it, how many rows are done, failed and skipped."""
    from ecg_hub.utils import terminal

    print(summary_text(results, terminal.width(), terminal.styles()))


def summary_text(results: Sequence[Result], width: int | None = None, styles: bool = False) -> str:
    """Return what `print_summary` prints.

    Args:
        results: the rows of a run, in order.
        width: columns of the terminal; None never wraps.
        styles: write the heads bold.
    """
    from ecg_hub.utils.text import text_table

    if not results:
        return "no results"
    rows = summary_rows(results)
    # Of one status the count below says it.
    if len({result.status for result in results}) == 1:
        rows = [{name: value for name, value in row.items() if name != "status"} for row in rows]
    parts = [text_table(rows, width, keep=("task", "score"), notes=("deviations", "reason"), styles=styles)]
    if over_seeds := seed_rows(results):
        parts.append("\n" + text_table(over_seeds, width, keep=("task", "score"), styles=styles))
    return "\n".join([*parts, counts_text(results)])


def counts_text(results: Sequence[Result]) -> str:
    """Return how many results are "3 done, 1 failed"."""
    counts = Counter(result.status for result in results)
    return ", ".join(f"{counts[status]} {status}" for status in ("done", "failed", "skipped") if counts[status])


def summary_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return one row per result, in order.

    Columns: task, model, mode, seed, "point [low, high]", metric, classes the macro mean is taken over, labels scored
    of those published, whether the data were seen in pre-training, status, the deviations from the protocol as a list,
    None without a score, and why there is none.
    """
    return [_row(result) for result in results]


def text_rows(results: Sequence[Result]) -> list[dict[str, str]]:
    """Return the rows of `summary_rows` as text for a document, without the columns that say nothing.

    Model and seed are columns only where they differ, any other only where it is not empty in every row.
    """

    def text(value: object) -> str:
        return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)

    rows = [{name: text(value) for name, value in row.items()} for row in summary_rows(results)]
    values = {name: {row[name] for row in rows} for name in rows[0]} if rows else {}
    idle = {name for name, different in values.items() if different == {""}}
    idle |= {name for name in ("model", "seed") if len(values.get(name, ())) == 1}
    return [{name: value for name, value in row.items() if name not in idle} for row in rows]


FORCED_BY_MACHINE = ("micro_batch", "selection", "features_not_finite")
"""Deviations that one seed may have and another not, though the same was asked for."""


def seed_rows(results: Sequence[Result]) -> list[dict[str, str]]:
    """Return one row per model, mode and task of several seeds: mean, deviation and range of the score.

    Seeds are averaged over runs that differ in nothing else; where a model has several such groups, `deviations` says
    which is which.
    """
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if result.status == "done":
            groups.setdefault((result.model.id, result.mode, result.task, _settings(result)), []).append(result)
    alike = Counter(key[:3] for key in groups)
    rows = []
    for (model, mode, task, _), of_seeds in groups.items():
        name = main_of(of_seeds[0].metrics)
        values = spread(of_seeds).get(task, {}).get(name or "")
        if values is not None and values["sd"] is not None:
            text = f"{values['mean']:.3f} +- {values['sd']:.3f} ({values['low']:.3f} to {values['high']:.3f})"
            seeds = ", ".join(values["seeds"])
            row = {"task": task, "model": model, "mode": mode, "metric": name or "-", "seeds": seeds, "score": text}
            rows.append(row | ({"deviations": deviations_text(of_seeds[0])} if max(alike.values()) > 1 else {}))
    return rows


def _settings(result: Result) -> str:
    """What decides a score besides model, mode, task and seed; not the weights, which a seed may have drawn."""
    model, data = result.model, result.data
    deviations = {name: value for name, value in deviations_of(result).items() if name not in FORCED_BY_MACHINE}
    parts = [model.revision, model.preset, result.task_version, result.run, data and data.fingerprint]
    return json.dumps([*parts, result.protocol.name, deviations], sort_keys=True)


def score_text(estimate: Estimate | None) -> str:
    """Return "0.842 [0.831, 0.853]"; "0.842" without an interval, "-" without a point.

    Example:
        >>> from eval_harness.results.schema import Estimate
        >>> score_text(Estimate(point=0.842, low=0.831, high=0.853))
        '0.842 [0.831, 0.853]'
        >>> score_text(Estimate(point=0.842)), score_text(None)
        ('0.842', '-')
    """
    if estimate is None or estimate.point is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.point:.3f}"
    return f"{estimate.point:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def deviations_text(result: Result) -> str:
    """Return the deviations as "epochs=3, limit=96", labels and records included; "none" for the bare protocol."""
    parts = [f"{name}={value}" for name, value in deviations_of(result).items()]
    return ", ".join(parts) or "none"


def deviation_parts(result: Result) -> list[str]:
    """Return the deviations one by one; a protocol other than the published one is the first of them."""
    name = result.protocol.name
    parts = [f"{key}={value}" for key, value in deviations_of(result).items()]
    return parts if name == "paper" else [f"protocol {name}", *parts]


def _short_reason(result: Result) -> str:
    """The first line of a reason; of what a run lacks the first sentence: how to get it was said before the run."""
    line = str(result.reason).splitlines()[0]
    return line.partition(". ")[0].rstrip(".") if result.lacks else line


def _row(result: Result) -> dict[str, Any]:
    name = main_of(result.metrics)
    estimate = result.metrics[name] if name else None
    labels = result.data.labels if result.data else None
    return {
        "task": result.task,
        "model": result.model.id,
        "mode": result.mode,
        "seed": str(result.seed),
        "score": score_text(estimate),
        "metric": name or "",
        "classes": "" if estimate is None or estimate.classes is None else str(estimate.classes),
        "labels": f"{labels.scored}/{labels.published}" if labels else "",
        "test set": result.data.contamination if result.data else "",
        "status": result.status,
        "deviations": deviation_parts(result) if result.status == "done" else None,
        "reason": None if result.reason is None else _short_reason(result),
    }
