"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import itertools
import os
import ssl
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.surroundings import enter

HOME = enter()  # before anything reads the user's settings

import ecg_hub  # noqa: E402, F401 - models are registered whichever test comes first

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """No garbage is looked for while imports and the rewriting of asserts make 600,000 objects, nor later among them.

    Every full search would go through all of them: a third of the collection, and a quarter of a second after each
    run of the harness.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


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


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """What is flushed outlives a loss of power, which no test brings about; a process that is killed loses nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_certificates_are_read() -> Iterator[None]:
    """Reading those of all public authorities takes most of the time of an HTTP client; no test speaks TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
        yield


NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one left."""
    monkeypatch.setenv("ECG_HUB_HOME", str(Path(HOME.name).resolve() / "ecg_hub" / str(next(NUMBERS))))
