"""A finished run with its trained head that the tests of analyses share; they copy it where they write into it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.runner.run import evaluate


@pytest.fixture(scope="session")
def trained_once(data_root: Path, data_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of a tiny fine-tuned run on the mock PTB-XL, with its head."""
    options = RunOptions(
        models=("random:ecg-cpc-tiny",),
        tasks=("ptbxl_super",),
        modes=("finetune",),
        data_root=str(data_root),
        cache_dir=data_cache,
        output=tmp_path_factory.mktemp("trained"),
        device="cpu",
        protocol=protocol(epochs=2, batch_size=16, resamples=50),
        save_model=True,
    )
    (result,) = evaluate(options, quiet=True)
    assert result.status == "done", result.reason
    return options.output / "random__ecg-cpc-tiny" / "finetune"


@pytest.fixture
def trained_folder(trained_once: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(trained_once, tmp_path / "finetune"))
