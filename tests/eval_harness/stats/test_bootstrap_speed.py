"""The benchmark of the bootstrap runs, checks itself against scikit-learn, and keeps its goal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT


def report(*options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / "bootstrap.py"), *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


@pytest.mark.heavy
def test_a_small_one_agrees_with_scikit_learn() -> None:
    found = report("--records", "150", "--classes", "6", "--resamples", "40", "--loop-replicates", "3")
    assert found["largest_difference"] < 1e-12
    assert found["ratio"] > 1


@pytest.mark.heavy
def test_a_thousand_replicates_of_the_size_of_ptb_xl() -> None:
    found = report()
    assert found["auroc_s"] < 0.3
    assert found["ratio"] >= 300


@pytest.mark.heavy
def test_a_thousand_replicates_of_the_size_of_mimic() -> None:
    found = report("--large")
    assert found["auroc_s"] < 12
    assert found["ratio"] >= 300
