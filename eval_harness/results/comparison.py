"""Paired comparison of models on the same test records and the same resamples: differences, ranks, tie groups.

Two models are distinguished when Holm's adjusted p-value over all pairs of the task is below 0.05: of equal models any
two are then distinguished on at most 5 % of the tasks, however many models there are. The published tables call two
models different when the unadjusted 95 % interval of their difference excludes 0, which separates the best of eight
equal models from another on half of the tasks. That reading stands beside, called "as published".

Where a patient has several of the test records, patients are drawn, not records: records of one patient are alike, and
drawing them one by one takes chance for a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ecg_hub.errors import InputError
from ecg_hub.spelling import registered
from eval_harness.metrics.registry import MACRO_AUROC_PAPER, metrics
from eval_harness.results.predictions import Predictions
from eval_harness.results.scoring import ResampleUnit, patient_groups
from eval_harness.stats.bootstrap import bootstrap_counts
from eval_harness.stats.resampled import METRICS, Difference, Interval, differences, interval, metric_replicates
from eval_harness.tasks.task import Task

ALPHA = 0.05
"""Chance, at most, that any two of equal models are distinguished on a task."""

METHOD = "2"
"""Version of how models are compared; comparisons that were kept from another one are made again."""

Unit = Literal["auto", "record", "patient"]


@dataclass(frozen=True)
class Pair:
    """First minus second.

    Attributes:
        difference: with its interval, not adjusted; positive speaks for the first where higher is better. It is
            significant, as published, when the interval excludes 0.
        p: two-sided p-value, NaN where the difference has no interval.
        p_holm: the same adjusted for all pairs of the task (Holm 1979).
        distinguished: whether p_holm is below ALPHA. This decides ranks and ties.
    """

    first: str
    second: str
    difference: Difference
    p: float
    p_holm: float
    distinguished: bool


@dataclass(frozen=True)
class Rank:
    """A model's place in a task.

    Attributes:
        rank: models of one tie group share it; the next group goes on after all of them (1, 1, 3).
        ties: models of the same group.
        rank_published: the rank that the published reading gives, not adjusted for the number of comparisons.
    """

    model: str
    score: Interval
    rank: int
    ties: tuple[str, ...]
    rank_published: int


@dataclass(frozen=True)
class Comparison:
    """All models on one task.

    Attributes:
        labels: the labels that all models have an output for; the comparison is on these.
        standings: best first.
        pairs: every pair, in the order of the standings.
        unit: what a resample draws.
        patients: of the records; None where they are not named.
    """

    task: str
    metric: str
    records: int
    labels: tuple[str, ...]
    standings: list[Rank]
    pairs: list[Pair]
    unit: ResampleUnit
    patients: int | None

    @property
    def resampled(self) -> str:
        """What was drawn, in words: "resampled by patient (1,873 patients, 2,198 records)"."""
        if self.unit == "patient":
            return f"resampled by patient ({self.patients:,} patients, {self.records:,} records)"
        if self.patients is None:
            return f"resampled by record ({self.records:,} records, their patients are not named)"
        if self.patients == self.records:
            return f"resampled by record ({self.records:,} records, each of another patient)"
        return f"resampled by record ({self.records:,} records of {self.patients:,} patients)"


def compare_models(
    task: Task,
    runs: Mapping[str, Predictions],
    metric: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    by: Unit = "auto",
) -> Comparison:
    """Compare any number of models on one task.

    Args:
        task: the task.
        runs: model -> predictions of its run.
        metric: default the task's own; of its kind, as higher is better or lower by the kind.
        resamples: bootstrap replicates, shared by all models.
        seed: of the resamples.
        by: "record", "patient", or "auto": by patient where a patient has several of the test records, but by record
            for `macro_auroc_paper`, which stays as published.
    """
    if len(runs) < 2:
        raise InputError(f"{task.name}: a comparison needs two models or more, here is {', '.join(runs) or 'none'}.")
    tests = {name: predictions.part("test") for name, predictions in runs.items()}
    # Of the labels that all have: a mean over other labels is another metric.
    common = [label for label in next(iter(tests.values())).labels if all(label in t.labels for t in tests.values())]
    labels = tuple(task.labels_among(common, next(iter(tests.values())).groups))
    if not labels:
        raise InputError(f"{task.name}: there is no label that all of {', '.join(runs)} have an output for.")
    true, order = _targets(task, tests, labels)
    first = next(iter(tests.values()))
    # As it is registered: how the published reading is drawn and compared depends on the name.
    name = task.metric if metric is None else registered("metric", metric, METRICS)
    # An error of probabilities could be computed, and the largest would come first.
    if metrics()[name].kind != task.kind:
        raise InputError(f"{task.name}: {name} is no metric of a task of kind {task.kind}; its own is {task.metric}.")
    paper = name == MACRO_AUROC_PAPER
    groups = _drawn(first, "record" if paper and by == "auto" else by)
    # One table of draws for all models: that alone makes the differences paired, and much narrower than two intervals.
    counts = bootstrap_counts(len(true), resamples, seed, groups)
    scores = {}
    for model, test in tests.items():
        columns = [test.labels.index(label) for label in labels]
        scores[model] = metric_replicates(name, true, test.y_prob[order[model]][:, columns], counts)
    higher = task.higher_is_better
    ranked = sorted(scores, key=lambda model: -scores[model][0] if higher else scores[model][0])
    pairs = _pairs(ranked, scores, paper)
    unit: ResampleUnit = "record" if groups is None else "patient"
    standings = _standings(ranked, scores, pairs)
    return Comparison(task.name, name, len(true), labels, standings, pairs, unit, _patients(first))


def repeated_patients(patients: Sequence[str | None] | None, records: Sequence[str]) -> NDArray[Any] | None:
    """Return the patient of every record, to be drawn in place of the records; None where no patient has two of them.

    Everything that decides on a difference resamples by this. A record whose patient is not known (None or "") is one
    of its own.
    """
    named = [patient for patient in patients or () if patient]
    if patients is None or len(set(named)) == len(named):
        return None
    # Prefixed, as a patient may bear the name of another's record.
    return np.array([f"patient {p}" if p else f"record {r}" for p, r in zip(patients, records, strict=True)])


def _drawn(test: Predictions, by: Unit) -> NDArray[Any] | None:
    """The patient of every record where a resample draws patients, None where it draws records."""
    if by == "patient":
        return patient_groups(test)
    return repeated_patients(test.patient_id, test.record_id) if by == "auto" else None


def _patients(test: Predictions) -> int | None:
    """The number of patients, records without one counted each; None where none is named."""
    if test.patient_id is None or not any(test.patient_id):
        return None
    return np.unique(patient_groups(test)).size


def _targets(
    task: Task, tests: Mapping[str, Predictions], labels: Sequence[str]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.intp]]]:
    """The common targets in the order of the first model, and each model's rows in that order."""
    (reference, first), *_ = tests.items()
    true = first.y_true[:, [first.labels.index(label) for label in labels]]
    order = {}
    for model, test in tests.items():
        row_of = {record: row for row, record in enumerate(test.record_id)}
        # In both directions: a model that skipped the hard records must not win by it.
        missing = set(first.record_id) ^ set(row_of)
        if missing:
            raise InputError(
                f"{task.name}: {model} and {reference} did not predict the same records ({len(missing)} are only in "
                f"one, e.g. {min(missing)!r}); compare runs with the same data and --limit."
            )
        order[model] = np.array([row_of[record] for record in first.record_id], dtype=np.intp)
        own = test.y_true[order[model]][:, [test.labels.index(label) for label in labels]]
        # The same records can have other targets where the label thresholds of two copies differ.
        if not np.array_equal(own, true, equal_nan=True):
            raise InputError(f"{task.name}: {model} and {reference} have other targets for the same records.")
    return true, order


def _pairs(ranked: Sequence[str], scores: Mapping[str, tuple[float, NDArray[np.float64]]], paper: bool) -> list[Pair]:
    points = np.array([scores[model][0] for model in ranked])
    replicates = np.stack([scores[model][1] for model in ranked])
    compared: list[Difference] = []
    values: list[float] = []
    # One model against all behind it at a time: a thousand models are half a million pairs.
    for row in range(len(ranked) - 1):
        behind = slice(row + 1, None)
        found = differences(points[row], replicates[row], points[behind], replicates[behind], paper=paper)
        compared += found
        values += _p_values(found, replicates[row] - replicates[behind])
    return [
        Pair(a, b, diff, p, adjusted, adjusted < ALPHA)
        for (a, b), diff, p, adjusted in zip(combinations(ranked, 2), compared, values, holm(values), strict=True)
    ]


def _p_values(found: Sequence[Difference], replicates: NDArray[np.float64]) -> list[float]:
    """The p-value of each difference, NaN where it has no interval; replicates are (differences, resamples)."""
    errors = replicates.std(axis=1, ddof=1) if replicates.shape[1] > 1 else np.full(len(found), np.nan)
    points = np.array([diff.point for diff in found])
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = 2 * norm.sf(np.abs(points) / errors)
    # One undefined replicate makes the error NaN: these few are looked at one by one.
    return [
        float("nan")
        if np.isnan(diff.low)
        else float(p)
        if error > 0 and diff.point != 0
        else p_value(diff.point, values)
        for diff, p, error, values in zip(found, plain, errors, replicates, strict=True)
    ]


def p_value(point: float, replicates: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of a difference from the normal distribution and the bootstrap's standard error.

    Counting the resamples beyond 0 instead cannot give less than 2 / (resamples + 1): with 1,000 resamples and the 28
    pairs of eight models no data could bring the adjusted value below 0.05. The normal one has no such floor, and
    two equal models differ by it in 5 % of trials, also where a label has only ten positives (docs/statistics.md).

    `replicates` are differences (resamples,), two defined or more; undefined ones are left out.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13.
    """
    values = replicates[~np.isnan(replicates)]
    if point == 0 or values.size < 2:
        return 1.0
    error = float(values.std(ddof=1))
    # sf, not 1 - cdf, which is 0 from about 8 standard errors on.
    return float(2 * norm.sf(abs(point) / error)) if error > 0 else 0.0


def p_text(p: float) -> str:
    """Return a p-value with three decimals, "< 0.001" below them, "-" where it is not defined."""
    if np.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for several tests (Scandinavian Journal of Statistics 6, 1979).

    Undefined (NaN) values count among the tests and stay undefined.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")  # NaN last
    adjusted = np.minimum(1.0, (len(values) - np.arange(len(values))) * values[order])
    # Step down: no hypothesis may have a smaller adjusted value than one with a smaller p. NaN stays NaN, and is last.
    adjusted = np.maximum.accumulate(adjusted)
    placed = np.empty(len(values))
    placed[order] = adjusted
    return placed.tolist()


def _standings(
    ranked: Sequence[str], scores: Mapping[str, tuple[float, NDArray[np.float64]]], pairs: Sequence[Pair]
) -> list[Rank]:
    published = {(pair.first, pair.second) for pair in pairs if pair.difference.significant}
    plain = {model: rank for rank, group in _tie_groups(ranked, published) for model in group}
    return [
        Rank(model, interval(*scores[model]), rank, tuple(other for other in group if other != model), plain[model])
        for rank, group in _tie_groups(ranked, {(pair.first, pair.second) for pair in pairs if pair.distinguished})
        for model in group
    ]


def _tie_groups(ranked: Sequence[str], differ: AbstractSet[tuple[str, str]]) -> list[tuple[int, list[str]]]:
    """Ranks and tie groups as the paper reads them: the best of what is left, and all that do not differ from it.

    `ranked` is best first, `differ` holds pairs (better, worse).
    """
    groups: list[tuple[int, list[str]]] = []
    left = list(ranked)
    while left:
        # Against the best of the group alone: "does not differ" is not transitive, and chains of ties would join all.
        group = [model for model in left if model == left[0] or (left[0], model) not in differ]
        groups.append((1 + len(ranked) - len(left), group))
        left = [model for model in left if model not in group]
    return groups
