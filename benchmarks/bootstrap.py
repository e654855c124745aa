"""How fast the bootstrap of per-class AUROC is, against a plain loop of scikit-learn's in the same process.

    python benchmarks/bootstrap.py                 # 2,000 records x 71 classes, 1,000 resamples
    python benchmarks/bootstrap.py --large         # 10,000 x 1,076: several minutes for the loop's few replicates

Times are process CPU seconds on one thread. The loop runs a few replicates and is scaled up; their values are compared
with ours, so a fast wrong answer does not pass.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from turns import check

from eval_harness.stats.bootstrap import auroc_replicates, bootstrap_counts, ranking_replicates

GOAL = 300  # times the plain loop


def made_up(records: int, classes: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets with prevalences from 0.2 to 40 %, and scores that know something of them."""
    rng = np.random.default_rng(seed)
    prevalence = np.exp(rng.uniform(np.log(0.002), np.log(0.4), classes))
    y_true = (rng.random((records, classes)) < prevalence).astype(np.float32)
    return y_true, (0.2 * y_true + 0.8 * rng.random((records, classes))).astype(np.float32)


def loop(y_true: NDArray[np.float32], y_score: NDArray[np.float32], counts: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The plain way: copy the drawn rows, call scikit-learn for every class."""
    found = np.full((counts.shape[1], y_true.shape[1]), np.nan)
    for r in range(counts.shape[1]):
        rows = np.repeat(np.arange(len(y_true)), counts[:, r])
        target, score = y_true[rows], y_score[rows]
        for k in range(y_true.shape[1]):
            if 0 < target[:, k].sum() < len(rows):
                found[r, k] = roc_auc_score(target[:, k], score[:, k])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=71)
    parser.add_argument("--large", action="store_true", help="10,000 records x 1,076 classes")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument(
        "--loop-replicates", type=int, default=None, help="replicates of the loop (default: 10, large 1)"
    )
    parser.add_argument("--least", type=float, default=GOAL, help="end with an error below this ratio")
    args = parser.parse_args()
    records, classes = (10_000, 1076) if args.large else (args.records, args.classes)
    few = args.loop_replicates or (1 if args.large else 10)
    y_true, y_score = made_up(records, classes)

    started = time.process_time()
    counts = bootstrap_counts(records, args.resamples)
    drawn = time.process_time()
    areas = auroc_replicates(y_true, y_score, counts)
    done = time.process_time()
    ranking_replicates(y_true, y_score, counts)
    both = time.process_time()
    plain = loop(y_true, y_score, counts[:, :few])
    looped = time.process_time()

    difference = float(np.nanmax(np.abs(plain - areas[:few])))
    if difference > 1e-10 or (np.isnan(plain) != np.isnan(areas[:few])).any():
        raise SystemExit(f"the replicates differ from scikit-learn's by {difference}")
    ours, theirs = done - started, (looped - both) / few * args.resamples
    report = {
        "records": records,
        "classes": classes,
        "resamples": args.resamples,
        "draw_s": round(drawn - started, 3),
        "auroc_s": round(done - drawn, 3),
        "auroc_and_auprc_s": round(both - done, 3),
        "sklearn_loop_s": round(theirs, 1),
        "sklearn_loop_replicates_run": few,
        "ratio": round(theirs / ours),
        "largest_difference": difference,
    }
    print(json.dumps(report, indent=1))
    check(theirs / ours, args.least)


if __name__ == "__main__":
    main()
