"""Pre-training killed with SIGKILL at random steps ends, when repeated, with the curve of an undisturbed run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eval_harness.pretrain.log import read_log
from tests.support.forked import Forked
from tests.support.forked import finish as finish_all
from tests.support.pretraining import curve

pytestmark = pytest.mark.heavy

STEPS = 40
WORDS = [f"steps={STEPS}", "checkpoint_every=7"]


Command = Callable[[Path], list[str]]


def in_memory(output: Path) -> list[str]:
    return ["tests.support.pretraining", str(output), *WORDS]


def start(output: Path, command: Command = in_memory) -> Forked:
    module, *words = command(output)
    return Forked(module, words)


def finish(output: Path, command: Command = in_memory) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    finish_all(start(output, command))
    return read_log(output / "log.jsonl"), load_file(output / "model" / "model.safetensors")


def kill_after(step: int, output: Path, command: Command = in_memory) -> int:
    """Start, kill once the log has the step; the step at which it was killed."""
    process = start(output, command)
    log, deadline = output / "log.jsonl", time.monotonic() + 300
    while process.poll() is None and not (log.is_file() and f'"step": {step},' in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    process.communicate()
    assert time.monotonic() - killed < 20, "a reader outlived the run"  # it holds the pipe that communicate reads
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


def test_a_killed_command_continues_within_its_data(data_root: Path, data_cache: Path, tmp_path: Path) -> None:
    """The reader finds the step: another record or window would give another loss."""

    def command(output: Path, workers: int = 0) -> list[str]:
        small = ["--set", "hidden_size=16", "--set", "num_hidden_layers=1", "--set", "num_negatives=16"]
        data = ["--data", "ptb-xl", "--data-root", str(data_root), "--cache-dir", str(data_cache)]
        numbers = ["--batch-size", "8", "--steps", "30", "--checkpoint-every", "4", "--log-every", "1", "--seed", "5"]
        words = ["--model", "ecg-cpc-tiny", *small, *data, *numbers, "--device", "cpu", "--output", str(output)]
        return ["eval_harness.cli.hub.main", "pretrain", *words, "--num-workers", str(workers)]

    def with_workers(output: Path) -> list[str]:
        return command(output, workers=2)

    expected, weights = finish(tmp_path / "whole", command)
    assert kill_after(9, tmp_path / "killed", with_workers) < 30
    assert kill_after(22, tmp_path / "killed", command) < 30
    found, again = finish(tmp_path / "killed", with_workers)
    assert curve(found) == curve(expected)
    for name, tensor in weights.items():
        assert torch.equal(again[name], tensor), name
