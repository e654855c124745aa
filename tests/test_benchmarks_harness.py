"""The benchmarks of the harness run at a small size, and find that both ways give the same result."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"

Report = Callable[..., dict[str, Any]]


def program(script: str, *options: str) -> dict[str, Any]:
    """What a benchmark prints that is started as a program."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Report]:
    """Call a benchmark in this process, which spares it the imports, and give what it prints."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()

    def call(script: str, *options: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *options])
        importlib.import_module(script).main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    yield call
    torch.set_num_threads(threads)


def test_the_head_agrees_with_the_published_form(report: Report) -> None:
    sizes = ["--dim", "64", "--tokens", "40", "--batch", "8", "--labels", "5", "--repeats", "1", "--least", "0"]
    found = report("head", *sizes)
    assert max(found["largest_difference"], found["difference_after_3_steps"]) < 2e-5


def test_the_bootstrap_agrees_with_scikit_learn(report: Report) -> None:
    sizes = ["--records", "150", "--classes", "6", "--resamples", "40", "--loop-replicates", "3", "--least", "0"]
    assert report("bootstrap", *sizes)["largest_difference"] < 1e-12


def test_resampling_agrees_with_the_evaluation_sample_by_sample(report: Report) -> None:
    found = report("resample", "--samples", "300", "--crops", "5", "--repeats", "1", "--least", "0")
    assert found["largest_difference"] < 2e-5
    assert {"sample by sample", "ours"} <= set(found["crops_per_s"])


@pytest.mark.heavy
def test_batches_agree_with_those_cut_and_resampled_one_by_one(report: Report) -> None:
    found = report("loader", "--records", "30", "--batch", "8", "--repeats", "1", "--least", "0")
    assert found["shape"] == [12, 600]
    assert found["crops"] == 24
    assert found["largest_difference"] < 2e-5


@pytest.mark.heavy
def test_a_frozen_run_agrees_with_the_plain_way_to_train_it(report: Report) -> None:
    sizes = ["--records", "80", "--model", "ecg-cpc-tiny", "--batch", "16", "--epochs", "5", "--plain-epochs", "2"]
    found = report("frozen_run", *sizes, "--paper-epochs", "3", "--any-speed")
    assert found["largest_difference"] < 1e-5
    assert found["records"] == {"train": 64, "validation": 8, "test": 8}


def test_a_step_of_fine_tuning_agrees_with_the_plain_one(report: Report) -> None:
    (step,) = report("finetune", "ecg-cpc-tiny", "--batch", "4", "--repeats", "1")["steps"]
    assert step["losses_apart"] < 1e-5
    assert step["gradients_apart"] < 1e-4


def test_what_the_hub_takes_and_gives_is_what_was_sent() -> None:
    found = program("hub_transfer", "--megabytes", "3", "--repeats", "1", "--least", "0")
    assert set(found["mb_per_s"]) == {"plain up", "hub up", "plain down", "hub down"}
    assert min(found["share_of_plain"].values()) > 0


def test_the_contrastive_loss_agrees_with_the_loop_over_tokens(report: Report) -> None:
    sizes = ["--batch", "3", "--tokens", "60", "--dim", "32", "--negatives", "12", "--timed", "0", "--repeats", "1"]
    found = report("cpc_loss", *sizes, "--least", "0")
    assert found["largest_difference"] < 1e-5
    assert found["loop_tokens_timed"] == 46


def test_a_missed_goal_is_an_error(report: Report) -> None:
    with pytest.raises(SystemExit, match="the goal is 1000 times"):
        report("head", "--dim", "64", "--tokens", "4", "--batch", "2", "--repeats", "1", "--least", "1000")


@pytest.mark.heavy
def test_the_reader_of_pretraining_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    sizes = ["--records", "320", "--pool", "40", "--train-steps", "1", "--folder", str(tmp_path)]
    command = [sys.executable, str(BENCHMARKS / "pretrain_reader.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\n320 records" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_is_measured_like_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    gpu = importlib.import_module("gpu")
    options = SimpleNamespace(batch=2, repeats=1, compile=[])
    row = gpu.measured("ecg-cpc-tiny", torch.device("cpu"), options)
    assert row["difference"] == 0
    assert min(row[key] for key in ("float32", "bfloat16", "step float32", "step bfloat16")) > 0
    assert "failed" not in row

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    # What does not fit is a row with its reason; the other part is measured all the same.
    monkeypatch.setattr(gpu, "forward", full)
    row = gpu.measured("ecg-cpc-tiny", torch.device("cpu"), options)
    assert row["failed"] == ["CUDA out of memory."]
    assert row["step float32"] > 0
    assert list(gpu.cells(row))[3:6] == ["-", "-", "-"]
