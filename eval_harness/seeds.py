"""The spread of a score over several seeds: what the bootstrap interval, which is of one run, does not show."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval_harness.atomic import write_text
from eval_harness.results import Result

SPREAD_FILE = "seeds.json"


def write_spread(folders: Mapping[tuple[str, str], Path], results: Sequence[Result]) -> None:
    """Write `seeds.json` beside the seed folders: mean, standard deviation and range of each metric over the seeds.

    Args:
        folders: the folder above the seed folders, by model and mode.
        results: of all seeds.
    """
    for (model, mode), folder in folders.items():
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
    """Mean, standard deviation (null for one seed), range and the points by seed."""
    numbers = list(values.values())
    return {
        "mean": statistics.fmean(numbers),
        "sd": statistics.stdev(numbers) if len(numbers) > 1 else None,
        "low": min(numbers),
        "high": max(numbers),
        "seeds": {str(seed): value for seed, value in sorted(values.items())},
    }
