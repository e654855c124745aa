"""Every registered model goes through the runner in the modes that it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_hub import catalog
from eval_harness.cli.eval.main import main
from eval_harness.results.schema import read_result


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data root with a small mock PTB-XL, and a cache."""
    from dataset_scripts.mock import write

    root = tmp_path_factory.mktemp("root")
    write("ptb-xl", root / "ptb-xl", records=80, seed=1)
    return root, tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the command line fills with its own mock data."""
    return tmp_path_factory.mktemp("home")


def modes_of(alias: str) -> list[str]:
    return ["scratch"] if catalog.get(alias).kind == "supervised" else ["linear", "finetune"]


@pytest.mark.heavy
@pytest.mark.parametrize("alias", catalog.models())
def test_the_runner_scores_it(alias: str, mock: tuple[Path, Path], tmp_path: Path) -> None:
    root, cache = mock
    modes = modes_of(alias)
    words = ["--model", f"random:{alias}-tiny", "--tasks", "ptbxl_super", "--mode", ",".join(modes)]
    words += ["--epochs", "1", "--limit", "16", "--batch-size", "8", "--resamples", "50", "--device", "cpu"]
    words += ["--data-root", str(root), "--cache-dir", str(cache), "--output", str(tmp_path)]
    assert main(words) == 0
    for mode in modes:
        result = read_result(tmp_path / f"random__{alias}-tiny" / mode / "ptbxl_super.json")
        assert result.status == "done", result.reason
        assert result.metrics["macro_auroc"].point is not None


# What the command line adds is the same for all: one that was pre-trained, and one that is trained from scratch.
@pytest.mark.heavy
@pytest.mark.parametrize("alias", ["ecg-cpc", "net1d"])
def test_the_command_line_scores_it_on_mock_data(alias: str, home: Path, tmp_path: Path) -> None:
    model, modes = f"random:{alias}-tiny", modes_of(alias)
    words = ["--model", model, "--tasks", "ptbxl_super", "--data-root", "mock", "--mode", ",".join(modes)]
    words += ["--epochs", "1", "--limit", "64", "--output", str(tmp_path / "results"), "--cache-dir", str(home)]
    done = subprocess.run(
        [sys.executable, "-m", "eval_harness", *words],
        env={**os.environ, "ECG_HUB_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for mode in modes:
        folder = tmp_path / "results" / model.replace(":", "__") / mode
        result = read_result(folder / "ptbxl_super.json")
        assert result.status == "done", result.reason
        assert result.data is not None
        assert result.data.records.train == 64
        assert result.protocol.deviations["epochs"] == 1
        assert result.protocol.deviations["limit"] == 64
        macro = result.metrics["macro_auroc"]
        assert macro.point is not None
        assert 0 <= macro.point <= 1
        assert macro.low is not None
        assert macro.high is not None
        assert macro.low <= macro.point <= macro.high
        assert result.predictions is not None
        assert (folder / result.predictions.file).is_file()
        assert json.loads((folder / "run.json").read_text())["tasks"]
