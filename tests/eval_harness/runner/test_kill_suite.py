"""A suite killed with SIGKILL at random moments ends with the files of an undisturbed one, and does nothing twice."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from eval_harness.runner.receipt import FOLDER
from tests.support.forked import Forked, finish

pytestmark = pytest.mark.heavy

TASKS = ("ptbxl_all", "ptbxl_rhythm", "ptbxl_super", "ptbxl_sub")
RUNS = ("ptbxl_all", "ptbxl_super", "ptbxl_sub")
MODES = ("linear", "frozen")
KILLS = 10
Moment = Callable[[Forked], bool]


@dataclass
class Place:
    """Where a suite runs: its result folder and its home with prepared data and encoded windows."""

    folder: Path
    data_root: Path

    @property
    def features(self) -> Path:
        return self.folder / "home" / "features"

    def mode(self, mode: str) -> Path:
        return self.folder / "results" / "random__ecg-cpc-tiny" / mode

    def start(self) -> Forked:
        words = [*("--model", "random:ecg-cpc-tiny"), *("--tasks", ",".join(TASKS)), *("--mode", ",".join(MODES))]
        words += ["--protocol", "fast", "--epochs", "12", "--batch-size", "8", "--resamples", "30", "--seed", "3"]
        words += ["--data-root", str(self.data_root), "--output", str(self.folder / "results"), "--device", "cpu"]
        return Forked("eval_harness", words, ECG_HUB_HOME=str(self.folder / "home"))

    def finish(self) -> float:
        """Run to the end; the seconds of a processor that it took."""
        process, took = self.start(), 0.0
        while process.poll() is None:
            took = max(took, process.processor_s())
            time.sleep(0.02)
        finish(process)
        return took

    def kill_at(self, moment: Moment) -> bool:
        """Start, kill as soon as the moment has come; whether it came before the end."""
        process, deadline = self.start(), time.monotonic() + 600
        while process.poll() is None and not (moment(process) and self.is_still(process, moment)):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        reached = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return reached

    @staticmethod
    def is_still(process: Forked, moment: Moment) -> bool:
        """Stop the process, so that the moment cannot pass before the kill; let it go on if it has passed."""
        process.stop()
        if moment(process):
            return True
        process.send_signal(signal.SIGCONT)
        return False

    def numbers(self) -> dict[str, Any]:
        """All that the suite ends with: scores, digests of predictions, checksums of encoded windows, what is there."""
        found: dict[str, Any] = {}
        for mode in MODES:
            folder = self.mode(mode)
            for task in TASKS:
                result = json.loads((folder / f"{task}.json").read_text())
                assert result["status"] == "done", result["reason"]
                found[f"{mode} {task}"] = [result[key] for key in ("metrics", "per_label", "subgroups", "protocol")]
                found[f"{mode} {task}"].append(result["predictions"]["sha256"])
            files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
            found[f"{mode} files"] = sorted(str(path.relative_to(folder)) for path in files)
        for path in sorted(self.features.glob("*.json")):
            found[path.name] = json.loads(path.read_text())
        assert not list(self.features.glob("*.partial"))
        return found


@dataclass
class Done:
    """What was finished at the moments of the kills; at the end it has to be what it was."""

    place: Place
    results: dict[Path, str] = field(default_factory=dict)
    files: dict[Path, int] = field(default_factory=dict)
    epochs: dict[Path, list[Any]] = field(default_factory=dict)

    def look(self) -> None:
        """Note what is finished now."""
        for mode in MODES:
            folder = self.place.mode(mode)
            for task in TASKS:
                path = folder / f"{task}.json"
                if path.is_file():
                    self.results.setdefault(path, json.loads(path.read_text())["created"])
            for run in RUNS:
                path = folder / "predictions" / f"{run}.parquet"
                if path.is_file():
                    self.files.setdefault(path, path.stat().st_mtime_ns)
                checkpoint = folder / "checkpoints" / f"{run}.pt"
                if checkpoint.is_file():
                    history = torch.load(checkpoint, weights_only=True)["history"]
                    self.epochs[folder / "history" / f"{run}.json"] = history
        for about in self.place.features.glob("*.json"):  # written once, when a table is whole
            if about.with_suffix(".npy").is_file():
                self.files.setdefault(about, about.stat().st_mtime_ns)

    def check(self) -> int:
        """Nothing of it was done again; how many things were looked at. An epoch is known by the time that it took."""
        for path, created in self.results.items():
            assert json.loads(path.read_text())["created"] == created, path
        for path, written in self.files.items():
            assert path.stat().st_mtime_ns == written, path
        for path, epochs in self.epochs.items():
            assert json.loads(path.read_text())["history"][: len(epochs)] == epochs, path
        return len(self.results) + len(self.files) + sum(map(len, self.epochs.values()))


@dataclass
class Whole:
    """An undisturbed suite: what it ended with, the seconds until it began to work, and those of its work.

    Of a processor: by the clock, a machine that was busy once would put the kills at the wrong places.
    """

    numbers: dict[str, Any]
    start_s: float
    work_s: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Whole:
    place = Place(tmp_path_factory.mktemp("whole"), data_root)
    took = place.finish()
    # Without its receipt, by which a finished call ends before it loads anything.
    (receipts,) = (place.folder / "home").rglob(FOLDER)
    shutil.rmtree(receipts)
    again = place.finish()  # nothing left to do: what it takes to start, and to open the data
    return Whole(place.numbers(), again, took - again)


def test_a_suite_killed_at_ten_random_moments_ends_with_the_same_files_and_repeats_nothing(
    undisturbed: Whole, data_root: Path, tmp_path: Path
) -> None:
    dice = random.Random(0)
    kills = looked = 0
    for attempt in range(10):
        place = Place(tmp_path / str(attempt), data_root)
        done = Done(place)
        reached = True
        while reached and kills < KILLS:
            moment = undisturbed.start_s * dice.uniform(0.6, 1.0) + undisturbed.work_s * dice.uniform(0.0, 0.5)
            reached = place.kill_at(lambda process, moment=moment: process.processor_s() > moment)  # type: ignore[misc]
            kills += reached
            done.look()
        place.finish()
        assert place.numbers() == undisturbed.numbers
        looked += done.check()
        if kills == KILLS:
            break
    assert kills == KILLS
    assert looked > 20, "the kills came too early to show anything"


@pytest.mark.parametrize("table", range(3))
def test_a_kill_while_a_table_is_written_leaves_no_half_table(
    table: int, undisturbed: Whole, data_root: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path, data_root)
    done = Done(place)

    def writing(process: Forked) -> bool:
        return len(list(place.features.glob("*.npy"))) >= table and any(place.features.glob("*.partial"))

    assert place.kill_at(writing), "the suite ended before a table was seen"
    assert list(place.features.glob("*.partial"))
    whole = {path.stem for path in place.features.glob("*.npy")}
    assert {path.stem for path in place.features.glob("*.partial")}.isdisjoint(whole)
    done.look()
    place.finish()
    assert place.numbers() == undisturbed.numbers
    assert done.check() >= table
