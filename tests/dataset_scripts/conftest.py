"""Fixtures of the data tests: one small mock PTB-XL, one damaged one, and stores of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock import write


@pytest.fixture(scope="session")
def mock_ptb_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 sound records at both rates."""
    return write("ptb-xl", tmp_path_factory.mktemp("mock") / "ptb-xl", records=150, seed=3, sampling_rates=(500, 100))


@pytest.fixture(scope="session")
def awkward_ptb_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 records of which the last five are awkward, in the order of `mock.ptb_xl.AWKWARD`."""
    return write("ptb-xl", tmp_path_factory.mktemp("awkward") / "ptb-xl", records=40, seed=5, awkward=True)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder shared by tests that only read."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def prepared(mock_ptb_xl: Path, cache: Path) -> Prepared:
    return prepare("ptb-xl", mock_ptb_xl, cache_dir=cache)


@pytest.fixture(scope="session")
def prepared_mini(shared: Path, cache: Path) -> Prepared:
    """The 160 real records."""
    return prepare("ptb-xl", shared / "data/ptbxl/mini", cache_dir=cache)
