"""The benchmarks of the harness run at a small size, and find that both ways give the same result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def report(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_head_agrees_with_the_published_form() -> None:
    sizes = ["--dim", "64", "--tokens", "40", "--batch", "8", "--labels", "5", "--repeats", "1", "--least", "0"]
    found = report("head", *sizes)
    assert max(found["largest_difference"], found["difference_after_3_steps"]) < 2e-5


def test_resampling_agrees_with_the_evaluation_sample_by_sample() -> None:
    found = report("resample", "--samples", "300", "--crops", "5", "--repeats", "1", "--least", "0")
    assert found["largest_difference"] < 2e-5
    assert {"sample by sample", "ours"} <= set(found["crops_per_s"])


def test_batches_agree_with_those_cut_and_resampled_one_by_one() -> None:
    found = report("loader", "--records", "30", "--batch", "8", "--repeats", "1", "--least", "0")
    assert found["shape"] == [12, 600]
    assert found["crops"] == 24
    assert found["largest_difference"] < 2e-5


def test_a_frozen_run_agrees_with_the_plain_way_to_train_it() -> None:
    sizes = ["--records", "80", "--model", "ecg-cpc-tiny", "--batch", "16", "--epochs", "5", "--plain-epochs", "2"]
    found = report("frozen_run", *sizes, "--paper-epochs", "3", "--any-speed")
    assert found["largest_difference"] < 1e-5
    assert found["records"] == {"train": 64, "validation": 8, "test": 8}


def test_what_the_hub_takes_and_gives_is_what_was_sent() -> None:
    found = report("hub_transfer", "--megabytes", "3", "--repeats", "1", "--least", "0")
    assert set(found["mb_per_s"]) == {"plain up", "hub up", "plain down", "hub down"}
    assert min(found["share_of_plain"].values()) > 0


def test_the_contrastive_loss_agrees_with_the_loop_over_tokens() -> None:
    sizes = ["--batch", "3", "--tokens", "60", "--dim", "32", "--negatives", "12", "--timed", "0", "--repeats", "1"]
    found = report("cpc_loss", *sizes, "--least", "0")
    assert found["largest_difference"] < 1e-5
    assert found["loop_tokens_timed"] == 46


def test_a_missed_goal_is_an_error() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "head.py"), "--dim", "64", "--tokens", "4", "--batch", "2"]
    done = subprocess.run([*command, "--repeats", "1", "--least", "1000"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the goal is 1000 times" in done.stderr


@pytest.mark.heavy
@pytest.mark.parametrize("script", ["head", "resample", "loader", "cpc_loss"])
def test_the_goals_are_reached(script: str) -> None:
    report(script)


@pytest.mark.heavy
def test_the_reader_of_pretraining_gives_more_than_training_takes(tmp_path: Path) -> None:
    sizes = ["--records", "6000", "--train-steps", "1", "--folder", str(tmp_path)]
    command = [sys.executable, str(ROOT / "benchmarks" / "pretrain_reader.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "6,000 records" in done.stdout
    assert list(tmp_path.iterdir()) == []
