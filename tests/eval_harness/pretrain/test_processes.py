"""Several processes train as one does: the same batches, negatives and masks, gradients averaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from eval_harness.pretrain.log import read_log
from tests.conftest import ROOT
from tests.support.forked import Forked, finish, together

pytestmark = pytest.mark.heavy


def train(processes: int, output: Path, home: Path, *words: str) -> None:
    finish(*together(processes, "tests.support.pretraining", [str(output), *words], ECG_HUB_HOME=str(home)))


def by_torchrun(module: str, words: list[str], home: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", module]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECG_HUB_HOME": str(home)}
    done = subprocess.run(
        [*command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def assert_close(one: Path, two: Path) -> list[dict[str, Any]]:
    logs = [read_log(folder / "log.jsonl") for folder in (one, two)]
    assert len(logs[0]) == len(logs[1]) > 0
    for row, other in zip(*logs, strict=True):
        assert row["step"] == other["step"]
        for name in ("loss", "grad_norm"):
            assert row[name] == pytest.approx(other[name], rel=1e-5), row["step"]
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (one, two)]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() <= 1e-5, name
    return logs[0]


def test_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    """Dropout is on: its masks belong to the lanes. Batch norm is fixed: it would see a share of the batch."""
    for number in (1, 2, 4):
        train(number, tmp_path / str(number), tmp_path / "home", "batch_norm='frozen'")
    for number in (2, 4):
        assert_close(tmp_path / "1", tmp_path / str(number))


def test_two_processes_read_and_train_as_one_from_the_command_line(data_root: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        words = [
            "pretrain",
            "--model",
            "ecg-cpc-tiny",
            "--data",
            "ptb-xl",
            "--data-root",
            str(data_root),
            "--steps",
            "4",
        ]
        words += ["--batch-size", "8", "--log-every", "1", "--batch-norm", "frozen", "--device", "cpu"]
        words += ["--output", str(tmp_path / str(number)), "--set", "num_negatives=16"]
        words += ["--probe-task", "ptbxl_super", "--probe-every", "4", "--probe-epochs", "1", "--probe-limit", "30"]
        if number == 1:
            finish(Forked("eval_harness.cli.hub.main", words, ECG_HUB_HOME=str(tmp_path / "home")))
        else:
            by_torchrun("eval_harness.cli.hub.main", words, tmp_path / "home")
    logs = {number: read_log(tmp_path / str(number) / "log.jsonl") for number in (1, 2)}
    probes = {number: [row["probe"]["point"] for row in log if "probe" in row] for number, log in logs.items()}
    assert len(probes[1]) == 2
    assert probes[2] == pytest.approx(probes[1], abs=1e-3)
    steps = {number: [row for row in log if "loss" in row] for number, log in logs.items()}
    for row, other in zip(steps[1], steps[2], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_a_batch_norm_of_each_process_trains_too(tmp_path: Path) -> None:
    train(2, tmp_path / "two", tmp_path / "home")
    log = read_log(tmp_path / "two" / "log.jsonl")
    assert log[-1]["loss"] < log[0]["loss"] + 0.5


def test_lanes_that_cannot_be_divided_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="4 lanes cannot be divided among 3 processes"):
        train(3, tmp_path / "three", tmp_path / "home")
