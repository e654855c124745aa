"""How often the intervals of the metrics cover the true value, by simulation: the table of docs/statistics.md.

    python benchmarks/coverage.py                       # all situations, about half an hour
    python benchmarks/coverage.py --only label --trials 40

Scores of negatives are standard normal, those of positives shifted, so that the true values are known by quadrature.
Labels share three tenths of their noise, as those of one ECG do. By patient, an ECG has the patient's outcome in four
of five draws, and half of the noise is the patient's. Intervals count as covering when they hold the true value.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from eval_harness.stats import estimates
from eval_harness.stats.bootstrap import auroc_replicates, bootstrap_counts
from eval_harness.stats.influence import Units
from eval_harness.stats.resampled import Interval, Resampled, interval, macro, macro_paper

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
BINS = 15
GRID = np.linspace(-9, 13, 20_001)
ERRORS = (
    (30, "normal", 1),
    (30, "Laplace", 1),
    (200, "Laplace", 1),
    (200, "log-normal", 1),
    (1000, "log-normal", 1),
    (1000, "Laplace", 5),
)
STEEPER = 1.5  # probabilities that are too sure of themselves: their logits times this


@dataclass(frozen=True)
class Situation:
    """What is drawn: prevalence and AUROC of each label, records, ECGs per patient, and the resampling to measure."""

    name: str
    prevalence: Floats
    area: Floats
    records: int = 1000
    per_patient: int = 1
    per_label: bool = True
    steeper: float = 1.0
    resamples: int = 0

    @property
    def shift(self) -> Floats:
        """Distance of the means of positives and negatives in standard deviations."""
        return np.asarray(norm.ppf(self.area) * np.sqrt(2))

    @property
    def thresholds(self) -> Floats:
        """Where half of the positives are called or more: fixed, as those chosen on validation are."""
        return self.probabilities(self.shift - 0.5)

    def probabilities(self, score: Floats) -> Floats:
        """What a model says: the true probability of the label given the score, or a steeper one."""
        logits = logit(self.prevalence) + self.shift * score - self.shift**2 / 2
        return np.asarray(expit(self.steeper * logits))


def draw(situation: Situation, rng: np.random.Generator) -> tuple[Floats, Floats, NDArray[np.intp] | None]:
    """Targets, probabilities and patients of one test split."""
    per, labels = situation.per_patient, situation.prevalence.size
    patients = situation.records // per
    true = np.repeat(rng.random((patients, labels)) < situation.prevalence, per, axis=0)
    if per > 1:
        own = rng.random(true.shape) < 0.2
        true = np.where(own, rng.random(true.shape) < situation.prevalence, true)
    noise = _noise(rng, len(true), labels)
    if per > 1:
        noise = np.sqrt(0.5) * (noise + np.repeat(_noise(rng, patients, labels), per, axis=0))
    member = None if per == 1 else np.repeat(np.arange(patients), per)
    return true.astype(np.float64), situation.probabilities(situation.shift * true + noise), member


def _noise(rng: np.random.Generator, records: int, labels: int) -> Floats:
    return np.sqrt(0.3) * rng.normal(size=(records, 1)) + np.sqrt(0.7) * rng.normal(size=(records, labels))


def truth(situation: Situation) -> dict[str, Floats]:
    """The true value of every metric of each label."""
    share, shift = situation.prevalence, situation.shift
    step = GRID[1] - GRID[0]
    grid = GRID[:, None]
    hits, alarms = share * norm.sf(grid - shift), (1 - share) * norm.sf(grid)
    precision = np.divide(hits, hits + alarms, out=np.ones_like(hits), where=hits + alarms > 0)
    positive, negative = share * norm.pdf(grid - shift), (1 - share) * norm.pdf(grid)
    prob = situation.probabilities(np.broadcast_to(grid, hits.shape))
    cut = shift - 0.5
    sensitivity, specificity = norm.sf(cut - shift), norm.cdf(cut)
    wrong = (1 - share) * (1 - specificity) + share * (1 - sensitivity)
    bins = np.minimum((norm_mix(grid, share, shift) * BINS).astype(int), BINS - 1)
    of_label = bins + BINS * np.arange(share.size)

    def by_bin(density: Floats) -> Floats:
        counted = np.bincount(of_label.ravel(), (density * step).ravel(), minlength=BINS * share.size)
        return counted.reshape(share.size, BINS)

    mass, gap = by_bin(positive + negative), by_bin(positive - (positive + negative) * prob)
    gaps = np.divide(gap**2, mass, out=np.zeros_like(gap), where=mass > 0).sum(axis=1)
    return {
        "auroc": situation.area,
        "auprc": (precision * norm.pdf(grid - shift)).sum(axis=0) * step,
        "f1": 2 * share * sensitivity / (2 * share * sensitivity + wrong),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier": (positive * (1 - prob) ** 2 + negative * prob**2).sum(axis=0) * step,
        "calibration_rms": gaps,  # squares until averaged
    }


def norm_mix(score: Floats, share: Floats, shift: Floats) -> Floats:
    """Share of all records with a lower score."""
    return np.asarray(share * norm.cdf(score - shift) + (1 - share) * norm.cdf(score))


def trial(situation: Situation, true_values: dict[str, Floats], seed: int) -> Iterator[tuple[str, float, Interval]]:
    """Draw one test split and yield metric, true value and interval of each label or of their mean."""
    y_true, y_prob, member = draw(situation, np.random.default_rng(seed))
    units = Units.of(member)
    found = estimates.ranking(y_true, y_prob, units, CONFIDENCE)
    found |= estimates.decisions(y_true, y_prob, situation.thresholds, units, CONFIDENCE)
    found |= estimates.brier_scores(y_true, y_prob, units, CONFIDENCE)
    each, together = estimates.calibration(y_true, y_prob, units, CONFIDENCE)
    squares = true_values["calibration_rms"]
    if situation.per_label:
        for k in range(situation.prevalence.size):
            for metric, measured in found.items():
                if not np.isnan(measured.point[k]):
                    yield metric, float(true_values[metric][k]), measured.output(k)
            yield "calibration_rms", float(np.sqrt(squares[k])), each[k]
        return
    for metric, measured in found.items():
        known = ~np.isnan(measured.point)
        yield f"macro_{metric}", float(true_values[metric][known].mean()), measured.macro(units, CONFIDENCE)
    if member is None:  # by patient there is none
        yield "macro_calibration_rms", float(np.sqrt(squares.mean())), together
    if situation.resamples:
        yield from _resampled(situation, true_values["auroc"], y_true, y_prob, member)


def _resampled(
    situation: Situation, area: Floats, y_true: Floats, y_prob: Floats, member: NDArray[np.intp] | None
) -> Iterator[tuple[str, float, Interval]]:
    """The published reading, and the percentile interval that it replaced, for comparison."""
    counts = bootstrap_counts(len(y_true), situation.resamples, 0, member)
    points = estimates.ranking(y_true, y_prob, Units.of(member), CONFIDENCE)["auroc"].point
    resampled = Resampled(points, auroc_replicates(y_true, y_prob, counts))
    known = ~np.isnan(points)
    yield "macro_auroc_paper", float(np.where(known, area, 0.5).mean()), interval(*macro_paper(resampled), paper=True)
    yield "macro_auroc, percentiles", float(area[known].mean()), interval(*macro(resampled), paper=True)


def errors(records: int, tails: str, per_patient: int, seed: int) -> Iterator[tuple[str, float, Interval]]:
    """One test split of three regression targets: pooled MAE, macro MAE and that of one target."""
    rng = np.random.default_rng(seed)
    patients = records // per_patient
    own, shared = rng.normal(size=(patients * per_patient, 3)), rng.normal(size=(patients, 3))
    error = own if per_patient == 1 else np.sqrt(0.5) * (own + np.repeat(shared, per_patient, axis=0))
    shapes = {"normal": abs(error), "Laplace": -np.log(norm.sf(error)), "log-normal": np.exp(error)}
    expected = {"normal": np.sqrt(2 / np.pi), "Laplace": 1.0, "log-normal": np.exp(0.5)}[tails]
    error = shapes[tails]
    member = None if per_patient == 1 else np.repeat(np.arange(patients), per_patient)
    units = Units.of(member)
    each, pooled = estimates.errors(np.zeros_like(error), error, units, CONFIDENCE)
    yield "mae of one target", float(expected), each.output(0)
    yield "mae", float(expected), pooled
    yield "macro_mae", float(expected), each.macro(units, CONFIDENCE)


def situations() -> dict[str, list[Situation]]:
    """Groups of situations by name."""
    rng = np.random.default_rng(1)
    areas = np.tile([0.75, 0.9, 0.97], 7)
    many = np.exp(rng.uniform(np.log(0.0006), np.log(0.35), 71)), rng.uniform(0.8, 0.99, 71)
    five = np.array([0.1, 0.15, 0.2, 0.3, 0.4]), np.array([0.85, 0.9, 0.92, 0.88, 0.94])
    by_number = [
        Situation(f"{number} positives, {unit}", np.full(21, number / 1000), areas, per_patient=per)
        for per, unit in ((1, "by record"), (2, "2 ECGs per patient"), (5, "5 ECGs per patient"))
        for number in (4, 10, 30, 100)
    ]
    wrong = [
        Situation(f"{number} positives, probabilities too sure", np.full(21, number / 1000), areas, steeper=STEEPER)
        for number in (4, 10, 30, 100)
    ]
    macros = [
        Situation(f"{count}, {unit}", *kind, records=2000, per_patient=per, per_label=False, resamples=few)
        for count, kind in (("5 frequent labels", five), ("71 labels", many))
        for per, unit, few in ((1, "by record", 200), (2, "2 ECGs per patient", 0), (5, "5 ECGs per patient", 0))
    ]
    macros += [
        Situation("20 labels of 4 positives, by record", np.full(20, 0.004), areas[:20], per_label=False),
        Situation("71 labels, probabilities too sure", *many, records=2000, per_label=False, steeper=STEEPER),
    ]
    return {"label": by_number, "wrong": wrong, "macro": macros}


def measure(situation: Situation, trials: int, seed: int) -> dict[str, dict[str, float]]:
    """Coverage, share of intervals that exclude their point, mean width and number of intervals of each metric."""
    true_values = truth(situation)
    return _counted(entry for i in range(trials) for entry in trial(situation, true_values, seed * 1_000_003 + i))


def _counted(entries: Iterator[tuple[str, float, Interval]]) -> dict[str, dict[str, float]]:
    rows: dict[str, list[tuple[bool, bool, float]]] = defaultdict(list)
    for metric, value, found in entries:
        held = found.low - 1e-12 <= value <= found.high + 1e-12
        rows[metric].append((held, not found.low <= found.point <= found.high, found.high - found.low))
    names = ("coverage", "excludes_point", "width")
    return {
        metric: {**dict(zip(names, np.mean(list_, axis=0).tolist(), strict=True)), "intervals": len(list_)}
        for metric, list_ in rows.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("label", "wrong", "macro", "mae"), action="append", help="groups to run")
    parser.add_argument("--match", default="", help="only situations whose name holds this text")
    parser.add_argument("--trials", type=int, default=100, help="test splits per situation; ten times as many for mae")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-resamples", action="store_true", help="leave out what is resampled for comparison")
    parser.add_argument("--json", action="store_true", help="as JSON: situation -> metric -> numbers")
    args = parser.parse_args()
    wanted = args.only or ["label", "wrong", "macro", "mae"]
    found = {}
    for group, list_ in situations().items():
        if group in wanted:
            for each in list_:
                if args.match in each.name:
                    each = replace(each, resamples=0) if args.no_resamples else each
                    found[each.name] = _show(each.name, measure(each, args.trials, args.seed), args.json)
    if "mae" in wanted:
        for records, tails, per in ERRORS:
            name = f"{records} records, {tails} errors, {per} per patient"
            seeds = range(args.seed * 1_000_003, args.seed * 1_000_003 + 10 * args.trials)
            counted = _counted(entry for seed in seeds for entry in errors(records, tails, per, seed))
            found[name] = _show(name, counted, args.json)
    if args.json:
        print(json.dumps(found, indent=1))


def _show(name: str, counted: dict[str, dict[str, float]], silent: bool) -> dict[str, dict[str, float]]:
    if not silent:
        for metric, row in counted.items():
            share, off = 100 * row["coverage"], 100 * row["excludes_point"]
            print(
                f"| `{metric}` | {name} | {share:.1f} | {off:.1f} | {row['width']:.3f} | {row['intervals']:,} |",
                flush=True,
            )
    return counted


if __name__ == "__main__":
    main()
