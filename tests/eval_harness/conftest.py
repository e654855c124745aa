"""A small mock data root and a runner call that every test of the runner shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a mock PTB-XL of 120 records."""
    from dataset_scripts.mock import write

    root = tmp_path_factory.mktemp("root")
    write("ptb-xl", root / "ptb-xl", records=120, seed=0)
    return root


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data shared by the tests of one session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def options(data_root: Path, data_cache: Path, tmp_path: Path) -> Callable[..., RunOptions]:
    """Make options of a tiny run; protocol numbers and options as keywords."""

    def make(**changes: Any) -> RunOptions:
        numbers = {key: changes.pop(key) for key in list(changes) if key in ("epochs", "batch_size", "resamples")}
        chosen = protocol(**{"epochs": 2, "batch_size": 16, "resamples": 50, **numbers})
        settings: dict[str, Any] = {
            "models": ("random:ecg-cpc-tiny",),
            "tasks": ("ptbxl_super",),
            "modes": ("linear",),
            "data_root": str(data_root),
            "cache_dir": data_cache,
            "output": tmp_path / "results",
            "device": "cpu",
            "protocol": chosen,
        }
        return RunOptions(**{**settings, **changes})

    return make
