"""What studies of many runs share: one score over several runs with its interval, and their file."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from scipy.special import fdtri, ndtri
from scipy.stats.qmc import Sobol

from ecg_hub.errors import ResultError
from eval_harness.analyses.files import Analysis
from eval_harness.config.options import RunOptions
from eval_harness.metrics.registry import MACRO_AUPRC, MACRO_AUROC
from eval_harness.results.comparison import repeated_patients
from eval_harness.results.extent import compare, copy_of
from eval_harness.results.predictions import read_predictions
from eval_harness.results.runfile import environment
from eval_harness.results.schema import Count, Finite, Number, Result, Strict, in_words, utc_now
from eval_harness.results.scoring import RESAMPLE_SEED
from eval_harness.stats.bootstrap import bootstrap_counts
from eval_harness.stats.resampled import interval, macro, resample_ranking
from eval_harness.tasks.task import Task

METRICS = (MACRO_AUROC, MACRO_AUPRC)
STUDY_VERSION = "1.1"
TOO_NARROW = "no interval: this version's were too narrow (give the same command again: nothing is trained anew)"
RUN_SEED = 1
LEAST_REPETITIONS, LEAST_OF_CURVES = 2, 3
"""Repetitions that an interval needs: of a score or a difference, and of anything that a fitted curve gives."""


@dataclass(frozen=True)
class RunScore:
    """One finished run: seed, training records, points, and replicates (resamples,) of METRICS on common resamples.

    Attributes:
        draw: of the training records; runs of one draw share them.
    """

    seed: int
    records: int
    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    draw: int = 0


@dataclass(frozen=True)
class SeedAverage:
    """Several runs that differ in their seeds alone.

    Attributes:
        records: mean number of training records.
        points: of each metric the mean over the runs.
        replicates: of each metric (resamples,): the mean over the runs on a resample of the test records, moved by the
            error of a mean over so few repetitions; NaN for a single one.
        by_run: of each metric the points of the runs.
        seeds: of the runs.
        repetitions: draws of the training records where there are several, else runs.
    """

    records: float
    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    by_run: dict[str, list[float]]
    seeds: tuple[int, ...]
    repetitions: int

    def estimate(self, metric: str, confidence: float) -> dict[str, Any]:
        """Point and ends of the interval; None where undefined, with the reason."""
        reason = too_few(self.repetitions)
        return numbers_of(self.points[metric], self.replicates[metric], confidence, (0.0, 1.0), reason)

    def content(self, confidence: float) -> dict[str, Any]:
        """The estimate of each metric, and its points by run."""
        estimates = {metric: self.estimate(metric, confidence) for metric in METRICS}
        by_run = {f"{metric}_by_run": [finite(point) for point in self.by_run[metric]] for metric in METRICS}
        return estimates | by_run


def head_of(analysis: str, options: RunOptions, complete: bool, results: Sequence[Result]) -> dict[str, Any]:
    """The first fields of a study's content: what was asked for, and of which records its results are."""
    return {
        "schema_version": STUDY_VERSION,
        "analysis": analysis,
        "settings": settings_of(options),
        "complete": complete,
        "synthetic": any(result.is_synthetic for result in results),
        "part_of_release": part_of_release(results),
        "command": ["ecg-eval", *sys.argv[1:]],
    }


def made_now() -> dict[str, Any]:
    """The last fields: with which software, and when. The runs of a study may be of several devices."""
    return {"environment": environment("any", 1), "created": utc_now()}


def score_run(folder: Path, result: Result, task: Task, resamples: int) -> RunScore:
    """Score the test records of a finished run again, with replicates that all runs share.

    Runs are compared by them, so they draw patients where one has several test records, whatever a run's own intervals
    draw.
    """
    assert result.predictions is not None
    assert result.data is not None
    predictions = read_predictions(folder / result.predictions.file, result.predictions.sha256)
    test = predictions.part("test")
    names = task.labels_among(predictions.labels, predictions.groups)
    columns = [predictions.labels.index(name) for name in names]
    # Records of one patient resemble each other: drawn singly, the interval would be too narrow.
    groups = repeated_patients(test.patient_id, test.record_id)
    counts = bootstrap_counts(len(test.record_id), resamples, RESAMPLE_SEED, groups)
    areas, precisions = resample_ranking(test.y_true[:, columns], test.y_prob[:, columns], counts)
    points, replicates = {}, {}
    for metric, resampled in zip(METRICS, (areas, precisions), strict=True):
        points[metric], replicates[metric] = macro(resampled)
    return RunScore(result.seed, result.data.records.train, points, replicates)


def joint(runs: Sequence[RunScore]) -> SeedAverage:
    """The mean over runs, with replicates over test records and repetitions.

    Runs on one draw of the training records resemble each other, so where there are several draws their means are the
    repetitions. Drawing repetitions with replacement instead would give (n - 1)/n of their variance: none for n = 1.
    """
    # With one draw the runs are the repetitions, which differ in their seeds.
    draws = sorted({run.draw for run in runs})
    parts = [[run for run in runs if run.draw == draw] for draw in draws] if len(draws) > 1 else [[run] for run in runs]
    points, replicates, by_run = {}, {}, {}
    weights = error_weights(len(parts), len(runs[0].replicates[METRICS[0]]))
    for metric in METRICS:
        by_run[metric] = [run.points[metric] for run in runs]
        points[metric] = float(np.mean(by_run[metric]))
        means = np.array([np.mean([run.points[metric] for run in part]) for part in parts])
        resampled = np.mean([run.replicates[metric] for run in runs], axis=0)
        replicates[metric] = resampled + weights @ means
    seeds = tuple(run.seed for run in runs)
    return SeedAverage(float(np.mean([run.records for run in runs])), points, replicates, by_run, seeds, len(parts))


# A study has as many runs at all of its sizes, so that the same weights are asked for again and again.
@lru_cache(maxsize=8)
def error_weights(repetitions: int, resamples: int) -> NDArray[np.float64]:
    """Weights (resamples, repetitions) that turn values of repetitions into draws of the error of their mean.

    Each row sums to 0. For values y with standard deviation s, `weights @ y` is s/sqrt(n) times a variable of Student's
    t distribution with n - 1 degrees of freedom. The same weights serve all sizes and models, so that differences of
    paired repetitions, and what is correlated within a repetition, keep their own error. NaN for one repetition.
    """
    if repetitions < LEAST_REPETITIONS:
        return np.full((resamples, repetitions), np.nan)
    half = (resamples + 1) // 2
    # Ends of intervals rest on the outermost draws of a heavy tail. So that these lie neither too near nor too far by
    # chance, in no direction, the points are of a Sobol sequence and each has its opposite.
    points = Sobol(repetitions + 1, rng=RUN_SEED).random_base2(math.ceil(math.log2(max(half, 2))))[:half]
    # Normal vectors less their mean, of length 1: all directions that sum to 0 are alike.
    towards = ndtri(points[:, :-1])
    towards -= towards.mean(axis=1, keepdims=True)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    # Ranks, not the points themselves: the lengths then are exactly the quantiles at equal distances.
    levels = (np.argsort(np.argsort(points[:, -1])) + 0.5) / half
    lengths = np.sqrt(fdtri(repetitions - 1, repetitions - 1, levels) / repetitions)
    weights = towards * lengths[:, None]
    both = np.concatenate([weights, -weights])[:resamples]
    both.setflags(write=False)
    return both


def too_few(repetitions: int, least: int = LEAST_REPETITIONS) -> str | None:
    """Why a number of repetitions gives no interval; None where it does."""
    if repetitions >= least:
        return None
    if repetitions == 1:
        return "no interval from one run: how far another seed would lie is not known (give several seeds)"
    return f"no interval of a curve from {repetitions} runs of a size: it would not hold (give {least} seeds or more)"


def numbers_of(
    point: float,
    replicates: NDArray[np.float64],
    confidence: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    reason: str | None = None,
) -> dict[str, Any]:
    """Point and ends of the percentile interval of replicates (resamples,), within bounds; without ends, the reason."""
    # Percentiles and no normal approximation: scores near 1 have crooked distributions.
    percentiles = interval(point, replicates, confidence=confidence)
    if reason is None and math.isfinite(point) and not math.isfinite(percentiles.low):
        share = float(np.mean(np.isnan(replicates)))
        reason = f"no interval: undefined in {100 * share:.0f} % of the resamples, where an end of it may lie"
    if reason is not None:
        return {"point": finite(point), "low": None, "high": None, "reason": reason}
    # The error of a mean over repetitions is added to replicates, and may carry them beyond what a score can be.
    ends = (float(np.clip(end, *bounds)) for end in (percentiles.low, percentiles.high))
    return {"point": finite(point), **dict(zip(("low", "high"), map(finite, ends), strict=True))}


def finite(value: float) -> float | None:
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
    # 1/8 in names of folders and tables, not 0.125: folders of earlier studies are called so.
    inverse = round(1 / fraction)
    if inverse > 1 and math.isclose(1 / inverse, fraction, rel_tol=1e-9):
        return f"1/{inverse}"
    return f"{fraction:g}"


def fraction_folder(fraction: float) -> str:
    """The folder of a fraction: "fraction_1", "fraction_1-8", "fraction_0.3"."""
    return "fraction_" + fraction_name(fraction).replace("/", "-")


def distinct_names(models: Sequence[str]) -> dict[str, str]:
    """Names for figures and pages: of paths the last parts, as few as tell them apart."""
    parts = {model: model.rstrip("/").split("/") for model in models}
    # From the last part on, since it says most and no page should show more of a path than it must.
    for count in range(1, max((len(split) for split in parts.values()), default=1) + 1):
        names = {model: "/".join(split[-count:]) for model, split in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {model: model for model in models}


def short_name(model: str) -> str:
    """A model's name for figures: of a path only the last part."""
    return model.rstrip("/").rpartition("/")[2]


class Interval(Strict):
    """A number with its interval; null where undefined. `reason` says why there is a number without an interval."""

    point: Number
    low: Number = None
    high: Number = None
    reason: str | None = None


class StudyResult(Analysis):
    """What both studies say: fractions of the training records, largest first, seeds, and runs that failed.

    Intervals of version 1.0 held the truth far less often than they said; such files are read without them.
    """

    schema_version: Literal["1.1"] = "1.1"
    fractions: list[Finite]
    seeds: list[int]
    resamples: Count
    confidence: Finite
    not_done: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _of_this_version(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("schema_version") == "1.0":
            return {**without_intervals(content), "schema_version": STUDY_VERSION}
        return content


def without_intervals(content: Any) -> Any:
    """A copy of a study's content whose intervals are taken out, with the reason."""
    if isinstance(content, list):
        return [without_intervals(part) for part in content]
    if not isinstance(content, dict):
        return content
    if {"point", "low", "high"} == content.keys():
        # Without an interval before there is none to take away, and so no reason to give.
        told = {} if content["low"] is None else {"reason": TOO_NARROW}
        return {"point": content["point"], "low": None, "high": None, **told}
    return {name: without_intervals(part) for name, part in content.items()}


def reasons(content: Any) -> list[str]:
    """Why numbers of a study's content have no interval, each reason once."""
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    own = [content["reason"]] if isinstance(content, dict) and "point" in content and content.get("reason") else []
    return list(dict.fromkeys([*own, *(reason for part in parts for reason in reasons(part))]))


def checked(content: dict[str, Any], kind: type[StudyResult]) -> dict[str, Any]:
    """Return the content of a study, which fits its model."""
    try:
        kind.model_validate(content)
    except ValidationError as error:
        raise ResultError(f"The study does not fit {kind.__name__}: {in_words(error)}.") from error
    return content


def settings_of(options: RunOptions) -> dict[str, Any]:
    """What decides the scores of a study besides its own numbers."""
    return {
        "models": list(options.models),
        "tasks": list(options.tasks),
        "preset": options.preset,
        "limit": options.limit,
        "protocol": options.protocol.name,
        "deviations": options.protocol.deviations(),
    }


def part_of_release(results: Sequence[Result]) -> str | None:
    """Return what of a release was prepared, where it is not all; the fractions that a study draws do not count."""
    parts: dict[str, None] = {}
    for result in results:
        copy = None if result.data is None else copy_of(result.data)
        if result.data is not None and copy is not None:
            differences = compare(result.data.name, copy, copy.records, result.protocol.deviations).differences
            parts |= dict.fromkeys(f"{result.data.name} {text}" for text in differences.values())
    return ", ".join(parts) or None
