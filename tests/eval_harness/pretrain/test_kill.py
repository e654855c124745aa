"""Pre-training killed with SIGKILL at random steps ends, when repeated, with the curve of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eval_harness.pretrain.log import read_log
from tests.conftest import ROOT
from tests.support.pretraining import curve

pytestmark = pytest.mark.heavy

STEPS = 40
WORDS = [f"steps={STEPS}", "checkpoint_every=7"]


def start(output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.pretraining", str(output), *WORDS],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(output: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    process = start(output)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return read_log(output / "log.jsonl"), load_file(output / "model" / "model.safetensors")


def kill_after(step: int, output: Path) -> int:
    """Start, kill once the log has the step; the step at which it was killed."""
    process = start(output)
    log, deadline = output / "log.jsonl", time.monotonic() + 300
    while process.poll() is None and not (log.is_file() and f'"step": {step},' in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached: int = read_log(log)[-1]["step"]
    return reached


def test_a_killed_run_has_the_curve_of_an_undisturbed_one(tmp_path: Path) -> None:
    expected, weights = finish(tmp_path / "whole")
    assert [row["step"] for row in expected] == list(range(1, STEPS + 1))
    dice = random.Random(1)
    output = tmp_path / "killed"
    for step in sorted(dice.sample(range(2, STEPS - 1), 3)):
        assert step <= kill_after(step, output) < STEPS
    found, again = finish(output)
    assert curve(found) == curve(expected)
    assert [row["accuracy"] for row in found] == [row["accuracy"] for row in expected]
    assert again.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(again[name], tensor), name
    assert not list(output.rglob("*.tmp"))


def test_kills_at_any_moment_leave_a_folder_that_continues(tmp_path: Path) -> None:
    """Also while checkpoints and the model folder are written."""
    expected, _ = finish(tmp_path / "whole")
    dice, output = random.Random(2), tmp_path / "killed"
    for _ in range(4):
        process = start(output)
        while process.poll() is None and not (output / "log.jsonl").is_file():
            time.sleep(0.001)
        time.sleep(dice.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    found, _ = finish(output)
    assert curve(found) == curve(expected)
