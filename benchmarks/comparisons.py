"""How often equal models are called different, and a better one is found: simulated trials of `compare_models`.

    python benchmarks/comparisons.py                 # the tables of docs/statistics.md, five minutes on one idle core
    python benchmarks/comparisons.py --trials 50     # a look

A trial draws patients, their labels and the scores of some models, and compares the models with 1,000 resamples. Scores
are normal: a shift for the positives, a part that all models share (the ECG is hard or easy for all of them), and a
part of each model of its own. ECGs of a patient have the same labels, and 0.7 of the variance of a model's own part is
the patient's: ECGs of one patient are much alike.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom

from eval_harness.results.comparison import ALPHA, Comparison, Unit, compare_models
from eval_harness.results.predictions import Predictions
from eval_harness.tasks.registry import get_task

TASK = get_task("ptbxl_super")
SHARED = 0.5
"""Share of the variance of the scores that all models have in common."""
WITHIN_PATIENT = 0.7
"""Share of the variance of a model's own part that all ECGs of a patient have in common."""


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        models: number of models.
        patients: in the test split.
        ecgs: test records of each patient.
        prevalence: of each label.
        gain: how much further the first model moves the positives, in standard deviations; 0 makes all equal.
        by: what a resample draws.
    """

    models: int = 2
    patients: int = 200
    ecgs: int = 1
    prevalence: Sequence[float] = (0.2, 0.2, 0.2)
    gain: float = 0.0
    by: Unit = "auto"


@dataclass(frozen=True)
class Rates:
    """Shares of the trials.

    Attributes:
        pair: the first pair has p below 0.05 (of two models: the false-positive rate, or the power).
        separated: the model with the best point is distinguished from one or more others.
        separated_published: the same by the unadjusted intervals, as published.
        alone: the first model is distinguished from every other, as the better one.
        alone_published: the same as published.
        agree: of all pairs, those in which "p below 0.05" and "the interval excludes 0" say the same.
    """

    pair: float
    separated: float
    separated_published: float
    alone: float
    alone_published: float
    agree: float


def simulated(setting: Setting, seed: int) -> dict[str, Predictions]:
    """Predictions of all models on the same records; the first is called "model 0"."""
    rng = np.random.default_rng([seed, setting.models, setting.patients, setting.ecgs])
    shape = (setting.patients, len(setting.prevalence))
    patient = np.repeat(np.arange(setting.patients), setting.ecgs)
    true = (rng.random(shape) < np.array(setting.prevalence))[patient].astype(np.float32)
    common = rng.normal(size=true.shape)
    found = {}
    for number in range(setting.models):
        shift = 1 + (setting.gain if number == 0 else 0)
        own = np.sqrt(WITHIN_PATIENT) * rng.normal(size=shape)[patient]
        own += np.sqrt(1 - WITHIN_PATIENT) * rng.normal(size=true.shape)
        score = shift * true + np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
        found[f"model {number}"] = _predictions(true, score.astype(np.float32), patient)
    return found


def _predictions(true: NDArray[np.float32], score: NDArray[np.float32], patient: NDArray[np.intp]) -> Predictions:
    return Predictions(
        run=TASK.run,
        kind="multi_label_classification",
        labels=TASK.labels[: true.shape[1]],
        split=["test"] * len(true),
        record_id=[str(record) for record in range(len(true))],
        y_true=true,
        y_prob=expit(score),
        patient_id=[str(number) for number in patient],
    )


def rates(setting: Setting, trials: int) -> Rates:
    """Simulate and compare, and return the shares."""
    rows = [_outcomes(compare_models(TASK, simulated(setting, seed), by=setting.by)) for seed in range(trials)]
    return Rates(*(float(share) for share in np.mean(np.array(rows, dtype=float), axis=0)))


def _outcomes(found: Comparison) -> tuple[float, ...]:
    best = found.standings[0].model
    of_best = [pair for pair in found.pairs if best in (pair.first, pair.second)]
    first_leads = best == "model 0"
    return (
        found.pairs[0].p < ALPHA,
        any(pair.distinguished for pair in of_best),
        any(pair.difference.significant for pair in of_best),
        first_leads and all(pair.distinguished for pair in of_best),
        first_leads and all(pair.difference.significant for pair in of_best),
        float(np.mean([(pair.p < ALPHA) == pair.difference.significant for pair in found.pairs])),
    )


def expected_range(trials: int, rate: float = ALPHA, certainty: float = 0.998) -> tuple[float, float]:
    """Between which shares a true rate gives one in nearly all runs of so many trials."""
    low, high = binom.interval(certainty, trials, rate)
    return float(low) / trials, float(high) / trials


def two_equal(trials: int) -> None:
    print("\n| ECGs per patient | drawn by record | drawn by patient |\n|---|---|---|")
    for ecgs in (1, 2, 5):
        shares = [rates(Setting(ecgs=ecgs, by=unit), trials).pair for unit in ("record", "patient")]
        print(f"| {ecgs} | {shares[0]:.1%} | {shares[1]:.1%} |", flush=True)


def several_equal(trials: int) -> None:
    print("\n| models | test records | labels | as published | adjusted | p and interval agree |")
    print("|---|---|---|---|---|---|")
    frequent, rare = (0.2,) * 3, (0.02,) * 5
    for models, patients, ecgs, prevalence in (
        (2, 300, 1, frequent), (4, 300, 1, frequent), (8, 300, 1, frequent),
        (8, 200, 2, frequent), (8, 500, 1, rare),
    ):  # fmt: skip
        found = rates(Setting(models, patients, ecgs, prevalence), trials)
        records = f"{patients:,}" if ecgs == 1 else f"{patients * ecgs:,} of {patients:,} patients"
        print(
            f"| {models} | {records} | {len(prevalence)} of {prevalence[0]:.0%} | {found.separated_published:.1%} | "
            f"{found.separated:.1%} | {found.agree:.1%} |", flush=True,
        )  # fmt: skip


def power(trials: int) -> None:
    print(
        f"\nOf {trials:,} trials those in which the better model is distinguished from every other, as the better one:"
    )
    print("\n| models | AUROC, better and others | as published | adjusted |\n|---|---|---|---|")
    for models, gain in ((2, 0.2), (2, 0.4), (4, 0.3), (4, 0.4), (8, 0.4), (8, 0.6)):
        found = rates(Setting(models, 300, gain=gain), trials)
        areas = [area(1 + gain), area(1)]
        print(
            f"| {models} | {areas[0]:.3f}, {areas[1]:.3f} | {found.alone_published:.1%} | {found.alone:.1%} |",
            flush=True,
        )


def area(shift: float) -> float:
    """The AUROC of normal scores of unit variance whose positives are moved by so much."""
    from scipy.stats import norm

    return float(norm.cdf(shift / np.sqrt(2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500, help="of each setting (default: 500)")
    trials = parser.parse_args().trials
    low, high = expected_range(trials)
    print(f"{trials:,} trials of each setting; a true rate of 5 % gives {low:.1%} to {high:.1%}.")
    two_equal(trials)
    several_equal(trials)
    power(trials // 2)


if __name__ == "__main__":
    main()
