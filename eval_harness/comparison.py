"""Paired comparison of models on the same test records and the same resamples: differences, ranks, tie groups.

Two models differ when the 95 % interval of their difference excludes 0 (parity with the published tables, which do
not correct for the number of comparisons). Holm-adjusted p-values over all pairs of a task stand beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from eval_harness.bootstrap import bootstrap_counts
from eval_harness.predictions import Predictions
from eval_harness.scoring import ResampleUnit, patient_groups
from eval_harness.statistics import Difference, Interval, difference, interval, metric_replicates
from eval_harness.taskfiles import Task


@dataclass(frozen=True)
class Pair:
    """First minus second.

    Attributes:
        difference: with its interval; positive speaks for the first where higher is better.
        p: two-sided bootstrap p-value.
        p_holm: the same adjusted for all pairs of the task (Holm 1979).
    """

    first: str
    second: str
    difference: Difference
    p: float
    p_holm: float


@dataclass(frozen=True)
class Standing:
    """A model's place in a task.

    Attributes:
        rank: models of one tie group share it; the next group goes on after all of them (1, 1, 3).
        ties: models of the same group.
    """

    model: str
    score: Interval
    rank: int
    ties: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All models on one task.

    Attributes:
        labels: the labels that all models have an output for; the comparison is on these.
        standings: best first.
        pairs: every pair, in the order of the standings.
    """

    task: str
    metric: str
    records: int
    labels: tuple[str, ...]
    standings: list[Standing]
    pairs: list[Pair]


def compare_models(
    task: Task,
    runs: Mapping[str, Predictions],
    metric: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    by: ResampleUnit = "record",
) -> Comparison:
    """Compare any number of models on one task.

    Args:
        task: the task.
        runs: model -> predictions of its run.
        metric: default the task's own.
        resamples: bootstrap replicates, shared by all models.
        seed: of the resamples.
        by: "record" or "patient".

    Raises:
        InputError: fewer than two models, or models that did not predict the same records with the same targets.
    """
    if len(runs) < 2:
        raise InputError(f"{task.name}: a comparison needs two models or more, here is {', '.join(runs) or 'none'}.")
    tests = {name: predictions.part("test") for name, predictions in runs.items()}
    common = [label for label in next(iter(tests.values())).labels if all(label in t.labels for t in tests.values())]
    labels = tuple(task.labels_among(common, next(iter(tests.values())).groups))
    if not labels:
        raise InputError(f"{task.name}: there is no label that all of {', '.join(runs)} have an output for.")
    true, order = _targets(task, tests, labels)
    first = next(iter(tests.values()))
    counts = bootstrap_counts(len(true), resamples, seed, patient_groups(first) if by == "patient" else None)
    name = metric or task.metric
    scores = {}
    for model, test in tests.items():
        columns = [test.labels.index(label) for label in labels]
        scores[model] = metric_replicates(name, true, test.y_prob[order[model]][:, columns], counts)
    higher = task.higher_is_better
    ranked = sorted(scores, key=lambda model: -scores[model][0] if higher else scores[model][0])
    pairs = _pairs(ranked, scores, paper=name == "macro_auroc_paper")
    return Comparison(task.name, name, len(true), labels, _standings(ranked, scores, pairs), pairs)


def _targets(
    task: Task, tests: Mapping[str, Predictions], labels: Sequence[str]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.intp]]]:
    """The common targets in the order of the first model, and each model's rows in that order."""
    (reference, first), *_ = tests.items()
    true = first.y_true[:, [first.labels.index(label) for label in labels]]
    order = {}
    for model, test in tests.items():
        place = {record: row for row, record in enumerate(test.record_id)}
        missing = set(first.record_id) ^ set(place)
        if missing:
            raise InputError(
                f"{task.name}: {model} and {reference} did not predict the same records ({len(missing)} are only in "
                f"one, e.g. {min(missing)!r}); compare runs with the same data and --limit."
            )
        order[model] = np.array([place[record] for record in first.record_id], dtype=np.intp)
        own = test.y_true[order[model]][:, [test.labels.index(label) for label in labels]]
        if not np.array_equal(own, true, equal_nan=True):
            raise InputError(f"{task.name}: {model} and {reference} have other targets for the same records.")
    return true, order


def _pairs(ranked: Sequence[str], scores: Mapping[str, tuple[float, NDArray[np.float64]]], paper: bool) -> list[Pair]:
    found = [(a, b, difference(*scores[a], *scores[b], paper=paper)) for a, b in combinations(ranked, 2)]
    values = [p_value(scores[a][1] - scores[b][1]) for a, b, _ in found]
    return [
        Pair(a, b, diff, p, adjusted) for (a, b, diff), p, adjusted in zip(found, values, holm(values), strict=True)
    ]


def p_value(replicates: NDArray[np.float64]) -> float:
    """Two-sided bootstrap p-value of a difference: twice the smaller share on one side of 0, never below 2/(n + 1).

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.4.

    Args:
        replicates: (resamples,) differences; undefined ones are left out.
    """
    values = replicates[~np.isnan(replicates)]
    side = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (side + 1) / (values.size + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for several tests (Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    running = 0.0
    for position, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]


def _standings(
    ranked: Sequence[str], scores: Mapping[str, tuple[float, NDArray[np.float64]]], pairs: Sequence[Pair]
) -> list[Standing]:
    """Tie groups as the paper reads them: the best of what is left, and all that do not differ from it."""
    significant = {(pair.first, pair.second) for pair in pairs if pair.difference.significant}
    standings: list[Standing] = []
    left = list(ranked)
    while left:
        best = left[0]
        group = [model for model in left if model == best or (best, model) not in significant]
        rank = len(standings) + 1
        for model in group:
            ties = tuple(other for other in group if other != model)
            standings.append(Standing(model, interval(*scores[model]), rank, ties))
        left = [model for model in left if model not in group]
    return standings
