"""Runs killed with SIGKILL at awkward moments end, when repeated, with the numbers of an undisturbed run."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import Forked, finish

pytestmark = pytest.mark.heavy

TASKS = ("ptbxl_super", "ptbxl_sub")
MODE = "finetune"
Moment = Callable[[Path], bool]


def start(output: Path, data_root: Path, home: Path) -> Forked:
    numbers = ["--epochs", "5", "--batch-size", "4", "--resamples", "50", "--seed", "3"]
    words = ["--model", "random:ecg-cpc-tiny", "--tasks", ",".join(TASKS), "--mode", MODE, "--device", "cpu"]
    words += ["--data-root", str(data_root), "--output", str(output), *numbers]
    return Forked("eval_harness", words, ECG_HUB_HOME=str(home))


def kill_at(moment: Moment, output: Path, data_root: Path, home: Path) -> bool:
    """Start, kill as soon as the moment has come; whether it was reached before the run ended by itself."""
    folder = output / "random__ecg-cpc-tiny" / MODE
    process = start(output, data_root, home)
    deadline = time.monotonic() + 300
    while process.poll() is None and not moment(folder):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    reached = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return reached


def numbers(output: Path) -> dict[str, Any]:
    folder = output / "random__ecg-cpc-tiny" / MODE
    found = {}
    for task in TASKS:
        result = json.loads((folder / f"{task}.json").read_text())
        assert result["status"] == "done", result["reason"]
        found[task] = [result["metrics"], result["per_label"], result["predictions"]["sha256"]]
        # The scores are those of the best epoch, which a later one that went wrong would leave as they are.
        epochs = json.loads((folder / "history" / f"{task}.json").read_text())["history"]
        found[task].append([{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs])
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> tuple[dict[str, Any], Path]:
    """The numbers of a run that nobody kills, and the home folder with its prepared data."""
    home, output = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("whole")
    finish(start(output, data_root, home))
    return numbers(output), home


def after(seconds: float) -> Moment:
    """So long after the run file was written: within the first epoch."""
    seen: list[float] = []

    def reached(folder: Path) -> bool:
        if not seen and (folder / "run.json").is_file():
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] > seconds

    return reached


def checkpointed(times: int) -> Moment:
    """As soon as the checkpoint was replaced so many times: between two epochs."""
    seen: set[int] = set()

    def reached(folder: Path) -> bool:
        for file in folder.glob("checkpoints/*.pt"):
            seen.add(file.stat().st_ino)
        return len(seen) >= times

    return reached


def first_task_done(folder: Path) -> bool:
    """Between two tasks."""
    return (folder / "ptbxl_super.json").is_file()


MOMENTS: dict[str, Callable[[], Moment]] = {
    "in the first epoch": lambda: after(0.4),
    "after the first epoch": lambda: checkpointed(1),
    "after the third epoch": lambda: checkpointed(3),
    "between two tasks": lambda: first_task_done,
    "while predictions are written": lambda: lambda folder: (folder / "history" / "ptbxl_super.json").is_file(),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_run_ends_with_the_same_numbers(
    name: str, undisturbed: tuple[dict[str, Any], Path], data_root: Path, tmp_path: Path
) -> None:
    expected, home = undisturbed
    assert kill_at(MOMENTS[name](), tmp_path, data_root, home), "the run ended before it was killed"
    finish(start(tmp_path, data_root, home))
    assert numbers(tmp_path) == expected


def test_a_run_killed_again_and_again_ends_with_the_same_numbers(
    undisturbed: tuple[dict[str, Any], Path], data_root: Path, tmp_path: Path
) -> None:
    expected, home = undisturbed
    dice = random.Random(0)
    killed = sum(kill_at(after(dice.uniform(0.0, 2.0)), tmp_path, data_root, home) for _ in range(6))
    assert killed
    finish(start(tmp_path, data_root, home))
    assert numbers(tmp_path) == expected


def test_a_kill_while_the_data_are_prepared_leaves_nothing_that_is_taken_for_whole(
    undisturbed: tuple[dict[str, Any], Path], data_root: Path, tmp_path: Path
) -> None:
    expected, _ = undisturbed
    home = tmp_path / "home"
    for delay in (0.0, 0.05, 0.1):
        process = start(tmp_path / "out", data_root, home)
        while process.poll() is None and not (home / "datasets").exists():
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(tmp_path / "out", data_root, home))
    assert numbers(tmp_path / "out") == expected
