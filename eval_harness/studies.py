"""What studies of many runs share: one score over several runs, with an interval over test records and runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval_harness.bootstrap import bootstrap_counts
from eval_harness.comparison import repeated_patients
from eval_harness.predictions import read_predictions
from eval_harness.results import Result
from eval_harness.scoring import RESAMPLE_SEED
from eval_harness.statistics import interval, macro, resample_ranking
from eval_harness.taskfiles import Task

METRICS = ("macro_auroc", "macro_auprc")
RUN_SEED = 1


@dataclass(frozen=True)
class RunScore:
    """One finished run: seed, training records, points, and replicates (resamples,) of METRICS on common resamples."""

    seed: int
    records: int
    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Joint:
    """Several runs that differ in their seeds alone.

    Attributes:
        records: mean number of training records.
        points: of each metric the mean over the runs.
        replicates: of each metric (resamples,): a resample of the test records, and of the runs.
        by_run: of each metric the points of the runs.
        seeds: of the runs.
    """

    records: float
    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    by_run: dict[str, list[float]]
    seeds: tuple[int, ...]

    def estimate(self, metric: str, confidence: float) -> dict[str, float | None]:
        """Point and ends of the interval; None where undefined."""
        return numbers_of(self.points[metric], self.replicates[metric], confidence)


def score_run(folder: Path, result: Result, task: Task, resamples: int) -> RunScore:
    """Score the test records of a finished run again, with replicates that all runs share.

    Runs are compared by them, so they draw patients where one has several test records, whatever a run's own intervals
    draw.

    Raises:
        ResultError: its predictions are not there or were changed.
    """
    assert result.predictions is not None
    assert result.data is not None
    predictions = read_predictions(folder / result.predictions.file, result.predictions.sha256)
    test = predictions.part("test")
    names = task.labels_among(predictions.labels, predictions.groups)
    columns = [predictions.labels.index(name) for name in names]
    groups = repeated_patients(test.patient_id, test.record_id)
    counts = bootstrap_counts(len(test.record_id), resamples, RESAMPLE_SEED, groups)
    areas, precisions = resample_ranking(test.y_true[:, columns], test.y_prob[:, columns], counts)
    points, replicates = {}, {}
    for metric, resampled in zip(METRICS, (areas, precisions), strict=True):
        points[metric], replicates[metric] = macro(resampled)
    return RunScore(result.seed, result.data.records.train, points, replicates)


def joint(runs: Sequence[RunScore]) -> Joint:
    """The mean over runs; a replicate draws as many of the runs, with replacement, as there are."""
    drawn = np.random.default_rng([RUN_SEED, len(runs)])
    points, replicates, by_run = {}, {}, {}
    resamples = len(runs[0].replicates[METRICS[0]])
    chosen = drawn.integers(0, len(runs), (resamples, len(runs)))
    for metric in METRICS:
        by_run[metric] = [run.points[metric] for run in runs]
        points[metric] = float(np.mean(by_run[metric]))
        stacked = np.stack([run.replicates[metric] for run in runs])
        replicates[metric] = stacked[chosen, np.arange(resamples)[:, None]].mean(axis=1)
    seeds = tuple(run.seed for run in runs)
    return Joint(float(np.mean([run.records for run in runs])), points, replicates, by_run, seeds)


def numbers_of(point: float, replicates: NDArray[np.float64], confidence: float) -> dict[str, float | None]:
    """Point and ends of the percentile interval as JSON holds them: None where undefined."""
    found = interval(point, replicates, confidence=confidence)
    return {"point": known(found.point), "low": known(found.low), "high": known(found.high)}


def known(value: float) -> float | None:
    """The value, None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def shown(estimate: dict[str, Any], digits: int = 3) -> str:
    """An estimate as "0.842 [0.831, 0.853]"; "-" where there is none."""
    if estimate["point"] is None:
        return "-"
    text = f"{estimate['point']:.{digits}f}"
    if estimate["low"] is None or estimate["high"] is None:
        return text
    return f"{text} [{estimate['low']:.{digits}f}, {estimate['high']:.{digits}f}]"


def fraction_name(fraction: float) -> str:
    """A fraction as people write it: "1", "1/8", "0.3"."""
    inverse = round(1 / fraction)
    if inverse > 1 and math.isclose(1 / inverse, fraction, rel_tol=1e-9):
        return f"1/{inverse}"
    return f"{fraction:g}"


def fraction_folder(fraction: float) -> str:
    """The folder of a fraction: "fraction_1", "fraction_1-8", "fraction_0.3"."""
    return "fraction_" + fraction_name(fraction).replace("/", "-")


def told_apart(models: Sequence[str]) -> dict[str, str]:
    """Names for figures and pages: of paths the last parts, as few as tell them apart."""
    parts = {model: model.rstrip("/").split("/") for model in models}
    for count in range(1, max((len(found) for found in parts.values()), default=1) + 1):
        names = {model: "/".join(found[-count:]) for model, found in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {model: model for model in models}


def short_name(model: str) -> str:
    """A model's name for figures: of a path only the last part."""
    return model.rstrip("/").rpartition("/")[2]
