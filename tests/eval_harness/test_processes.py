"""Two processes give the numbers of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval_harness.predictions import read_predictions

pytestmark = pytest.mark.heavy

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]


@pytest.mark.parametrize("mode", ["linear", "frozen"])
def test_two_processes_give_the_numbers_of_one(mode: str, data_root: Path, tmp_path: Path) -> None:
    words = ["-m", "eval_harness", "--model", "random:ecg-cpc-tiny", "--tasks", "ptbxl_super", "--mode", mode]
    words += ["--data-root", str(data_root), "--epochs", "3", "--batch-size", "16", "--resamples", "20"]
    environment = {**os.environ, "ECG_HUB_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    found = []
    for launcher, name in (([sys.executable], "one"), (LAUNCHER, "two")):
        done = subprocess.run(
            [*launcher, *words, "--output", str(tmp_path / name)],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        folder = tmp_path / name / "random__ecg-cpc-tiny" / mode
        found.append(read_predictions(folder / "predictions" / "ptbxl_super.parquet"))
    assert found[0].record_id == found[1].record_id
    assert found[1].y_prob == pytest.approx(found[0].y_prob, abs=1e-5)
