"""Two machines, each with its own launcher, that meet at an address: the numbers are those of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from eval_harness.results.predictions import read_predictions
from tests.conftest import ROOT
from tests.support.forked import Forked, finish
from tests.support.stores import free_port

pytestmark = pytest.mark.heavy


def run(module: str, words: list[str], home: Path, nodes: int) -> None:
    """Run a module once on each of some machines, with one process each, and wait for all."""
    if nodes == 1:
        finish(Forked(module, words, ECG_HUB_HOME=str(home)))
        return
    meet = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{free_port()}", "--rdzv_id", "job"]
    launcher = ["-m", "torch.distributed.run", "--nnodes", str(nodes), "--nproc_per_node", "1", *meet]
    environment = {**os.environ, "ECG_HUB_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", module, *words]
    started = [
        subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(nodes)
    ]
    for process in started:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors


def test_an_evaluation_on_two_nodes(data_root: Path, tmp_path: Path) -> None:
    for nodes in (1, 2):
        asked = ["--model", "random:ecg-cpc-tiny", "--tasks", "ptbxl_super", "--mode", "frozen", "--device", "cpu"]
        asked += ["--data-root", str(data_root), "--epochs", "2", "--batch-size", "12", "--resamples", "20"]
        output = tmp_path / str(nodes)
        run("eval_harness", [*asked, "--output", str(output)], tmp_path / f"home-{nodes}", nodes)
    one, two = (
        read_predictions(tmp_path / n / "random__ecg-cpc-tiny" / "frozen" / "predictions" / "ptbxl_super.parquet")
        for n in ("1", "2")
    )
    assert two.record_id == one.record_id
    assert np.abs(two.y_prob - one.y_prob).max() <= 1e-5


def test_a_pre_training_on_two_nodes(data_root: Path, tmp_path: Path) -> None:
    for nodes in (1, 2):
        asked = ["--model", "ecg-cpc-tiny", "--data", "ptb-xl", "--data-root", str(data_root), "--device", "cpu"]
        asked += ["--steps", "4", "--batch-size", "8", "--lanes", "2", "--batch-norm", "frozen", "--log-every", "1"]
        output = tmp_path / str(nodes)
        run("eval_harness.cli.hub", ["pretrain", *asked, "--output", str(output)], tmp_path / f"h{nodes}", nodes)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / n / "log.jsonl").read_text().splitlines() if "loss" in line]
        for n in ("1", "2")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("1", "2"))
    assert max(np.abs(two[name] - one[name]).max() for name in one) <= 1e-5
