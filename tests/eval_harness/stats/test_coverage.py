"""Intervals cover the true value as often as they say: simulations, with the coverage as the asserted number."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

NOMINAL = 0.95
LOWER = {
    ("f1", "10 positives, 5 ECGs per patient"): 0.90,
    ("f1", "4 positives, 5 ECGs per patient"): 0.92,
    ("mae of one target", "200 records, log-normal errors, 1 per patient"): 0.91,
    ("mae", "200 records, log-normal errors, 1 per patient"): 0.92,
    ("macro_mae", "200 records, log-normal errors, 1 per patient"): 0.92,
    ("mae of one target", "30 records, Laplace errors, 1 per patient"): 0.93,
    ("macro_auprc", "20 labels of 4 positives, by record"): 0.90,
}
"""Where the coverage is known to be lower; docs/statistics.md says so."""


def measured(group: str, trials: int) -> dict[str, dict[str, dict[str, float]]]:
    command = [sys.executable, str(ROOT / "benchmarks" / "coverage.py"), "--json", "--no-resamples", "--only", group]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--trials", str(trials)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_the_benchmark_runs() -> None:
    found = measured("mae", 1)
    assert len(found) == 6
    for metrics in found.values():
        assert set(metrics) == {"mae of one target", "mae", "macro_mae"}
        for row in metrics.values():
            assert row["intervals"] == 10
            assert row["excludes_point"] == 0
            assert row["coverage"] > 0.4
            assert 0 < row["width"] < 3


@pytest.mark.heavy
@pytest.mark.parametrize(("group", "trials"), [("label", 20), ("wrong", 20), ("macro", 40), ("mae", 100)])
def test_coverage(group: str, trials: int) -> None:
    """At least nominal less three binomial errors; labels of one test split share noise and count half."""
    short = []
    for situation, metrics in measured(group, trials).items():
        for metric, row in metrics.items():
            assert row["excludes_point"] == 0, (metric, situation)
            independent = row["intervals"] / (2 if group in ("label", "wrong") else 1)
            expected = LOWER.get((metric, situation), NOMINAL)
            if row["coverage"] < expected - 3 * math.sqrt(expected * (1 - expected) / independent):
                short.append(f"{metric}, {situation}: {row['coverage']:.3f}")
            if metric in ("auroc", "sensitivity", "specificity", "f1") and situation == "100 positives, by record":
                assert row["coverage"] < 0.985, f"{metric}, {situation}: too wide"
    assert not short, "\n".join(short)
