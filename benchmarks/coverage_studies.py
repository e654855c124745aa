"""How often the 95 % intervals of label-efficiency studies and ablations hold the truth, by number of runs.

    python benchmarks/coverage_studies.py                  # 1, 2, 3 and 5 runs, 400 studies each: five minutes
    python benchmarks/coverage_studies.py --trials 100

Studies are drawn from known curves: a run's macro AUROC is the truth, plus the error of the test records, which all
runs share, plus that of the run. The error of a run is as large at every size (`equal`), falls with the loss that more
records take away (`falling`), or does so and is half shared by the runs of one seed at all sizes and of both models
(`shared`). What is counted are the numbers that the studies write, so an interval that is not given counts as such.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from eval_harness.analyses.ablation.run import minus
from eval_harness.analyses.label_efficiency.run import curve_of, fitted, ratios_at
from eval_harness.analyses.label_efficiency.schema import Curve, ratio
from eval_harness.analyses.studies import METRICS, RunScore, SeedAverage, joint

SIZES = 17000 / 2.0 ** np.arange(8)
MODEL = Curve(np.array(0.6), np.array(0.35), np.array(0.06))
BASELINE = Curve(np.array(2.0), np.array(0.45), np.array(0.05))
AT = float(SIZES[3])
TEST_SD, RESAMPLES, CONFIDENCE = 0.004, 500, 0.95
KINDS = ("equal", "falling", "shared")
RUNS = (1, 2, 3, 5)
NAMES = ("score", "difference", "alpha", "L0", "r(N)")


def run_errors(curve: Curve, kind: str, runs: int, rng: np.random.Generator, seeds: NDArray[np.float64]) -> np.ndarray:
    """Errors (runs, sizes) of the runs' macro AUROC; `seeds` (runs, 1) is what runs of one seed share."""
    spread = np.full(len(SIZES), 0.004) if kind == "equal" else 0.002 + 0.06 * (curve.loss(SIZES) - curve.floor)
    own = rng.normal(size=(runs, len(SIZES)))
    return np.asarray(spread * (np.sqrt(0.5) * (own + seeds) if kind == "shared" else own))


def study(kind: str, runs: int, rng: np.random.Generator) -> list[dict[float, SeedAverage]]:
    """The points of model and baseline in one study, by fraction of the training records."""
    test, resampled = rng.normal(0, TEST_SD), rng.normal(0, TEST_SD, RESAMPLES)
    seeds = rng.normal(size=(runs, 1))
    found = []
    for curve in (MODEL, BASELINE):
        scores = 1 - curve.loss(SIZES) + test + run_errors(curve, kind, runs, rng, seeds)
        parts = {}
        for size, values in zip(SIZES, scores.T, strict=True):
            made = [
                RunScore(k, round(size), dict.fromkeys(METRICS, value), dict.fromkeys(METRICS, value + resampled))
                for k, value in enumerate(values.tolist())
            ]
            parts[size / SIZES[0]] = joint(made)
        found.append(parts)
    return found


def intervals(kind: str, runs: int, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, float | None], float]]:
    """Name, estimate and truth of each number that is looked at in one study."""
    model, baseline = study(kind, runs, rng)
    part, loss = AT / SIZES[0], float(MODEL.loss(AT))
    yield "score", model[part].estimate("macro_auroc", CONFIDENCE), 1 - loss
    paired = minus(model[part], baseline[part], CONFIDENCE)
    assert paired is not None
    yield "difference", paired["macro_auroc"], float(BASELINE.loss(AT)) - loss
    first, second = fitted(model), fitted(baseline)
    curve = curve_of(first, model, CONFIDENCE)
    yield "alpha", curve["alpha"], float(MODEL.alpha)
    yield "L0", curve["L0"], float(MODEL.floor)
    (row,) = ratios_at((AT,), (first, model), (second, baseline), CONFIDENCE)
    yield "r(N)", row["r"], float(ratio(MODEL, BASELINE, AT))


def coverage(kind: str, runs: int, trials: int, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Of each number the share of intervals that hold the truth, the share without one, and the median width.

    Args:
        kind: of KINDS.
        runs: per point of the curve.
        trials: studies drawn.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), runs])
    widths: dict[str, list[float]] = {name: [] for name in NAMES}
    held = dict.fromkeys(NAMES, 0)
    for _ in range(trials):
        for name, found, truth in intervals(kind, runs, rng):
            low, high = found["low"], found["high"]
            if low is not None and high is not None:
                widths[name].append(high - low)
                held[name] += low <= truth <= high
    return {
        name: (
            held[name] / len(widths[name]) if widths[name] else float("nan"),
            1 - len(widths[name]) / trials,
            float(np.median(widths[name])) if widths[name] else float("nan"),
        )
        for name in NAMES
    }


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=400)
    args = parser.parse_args()
    print(f"| runs | error of a run | {' | '.join(NAMES)} |")
    print(f"|---:|---|{'---:|' * len(NAMES)}")
    for runs in RUNS:
        for kind in KINDS:
            found = coverage(kind, runs, args.trials).values()
            print(f"| {runs} | {kind} | {' | '.join(map(shown, found))} |", flush=True)


def shown(cell: tuple[float, float, float]) -> str:
    """Coverage and width, "none" where no interval is given, and how many are not."""
    held, absent, width = cell
    if absent == 1:
        return "none"
    return f"{100 * held:.1f} % (width {width:.2g}{f', {100 * absent:.0f} % without' if absent else ''})"


if __name__ == "__main__":
    main()
