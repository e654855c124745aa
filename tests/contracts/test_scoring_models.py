"""Every registered model goes through the runner in the modes that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub import catalog
from eval_harness.cli.evaluate import main
from eval_harness.results import read_result


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data root with a small mock PTB-XL, and a cache."""
    from dataset_scripts.mock import write

    root = tmp_path_factory.mktemp("root")
    write("ptb-xl", root / "ptb-xl", records=80, seed=1)
    return root, tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("alias", catalog.models())
def test_the_runner_scores_it(alias: str, mock: tuple[Path, Path], tmp_path: Path) -> None:
    root, cache = mock
    modes = ["scratch"] if catalog.get(alias).kind == "supervised" else ["linear", "finetune"]
    words = ["--model", f"random:{alias}-tiny", "--tasks", "ptbxl_super", "--mode", ",".join(modes)]
    words += ["--epochs", "1", "--limit", "16", "--batch-size", "8", "--resamples", "50", "--device", "cpu"]
    words += ["--data-root", str(root), "--cache-dir", str(cache), "--output", str(tmp_path)]
    assert main(words) == 0
    for mode in modes:
        result = read_result(tmp_path / f"random__{alias}-tiny" / mode / "ptbxl_super.json")
        assert result.status == "done", result.reason
        assert result.metrics["macro_auroc"].point is not None
