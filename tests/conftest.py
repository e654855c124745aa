"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.surroundings import enter

HOME = enter()  # before anything reads the user's settings

import ecg_hub  # noqa: E402, F401 - models are registered whichever test comes first

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden outputs and real sample files beside the repository; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder of golden outputs and sample files is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Golden numbers and manifests kept in the repository."""
    return ROOT / "tests" / "golden"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one left."""
    monkeypatch.setenv("ECG_HUB_HOME", str(tmp_path / "ecg_hub_home"))
