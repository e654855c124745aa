"""The house stays as docs/architecture.md says: who imports whom, its picture, and figures that must not get worse."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from importlinter import cli

ROOT = Path(__file__).resolve().parent.parent
# Modules that stand in no room, `__init__` and `__main__` aside.
LOOSE = {"ecg_hub": 16, "dataset_scripts": 4, "eval_harness": 8}
LONGEST = 500


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look types up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _logs_as_they_were() -> Iterator[None]:
    """import-linter configures logging, which silences every logger that exists by then, also for later tests."""
    loggers = [log for log in logging.root.manager.loggerDict.values() if isinstance(log, logging.Logger)]
    before = [(log, log.disabled) for log in loggers]
    yield
    for log, disabled in before:
        log.disabled = disabled


@pytest.mark.usefixtures("_logs_as_they_were")
def test_every_import_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    kept = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == cli.EXIT_STATUS_SUCCESS
    assert kept, capsys.readouterr().out


def test_the_picture_shows_todays_imports(picture: ModuleType) -> None:
    drawn = picture.draw(picture.import_graph())
    assert picture.FILE.read_text(encoding="utf-8") == drawn, "run `python docs/architecture.py`"


def test_a_picture_of_rooms_that_import_each_other_is_refused(picture: ModuleType) -> None:
    both = {"left": frozenset({"right"}), "right": frozenset({"left"}), "other": frozenset({"left"})}
    with pytest.raises(ValueError, match="left, other, right"):
        picture.levels(both)


def test_arrows_that_follow_from_others_are_left_out(picture: ModuleType) -> None:
    edges = {"top": frozenset({"middle", "base"}), "middle": frozenset({"base"}), "base": frozenset[str]()}
    assert picture.levels(edges) == {"base": 0, "middle": 1, "top": 2}
    assert picture.needed(edges) == [("top", "middle"), ("middle", "base")]


@pytest.mark.parametrize("package", LOOSE)
def test_few_modules_stand_in_no_room(package: str) -> None:
    loose = sorted(path.stem for path in (ROOT / package).glob("*.py") if not path.stem.startswith("__"))
    assert len(loose) <= LOOSE[package], loose


def test_no_module_is_too_long() -> None:
    files = [file for package in (*LOOSE, "model_cards") for file in (ROOT / package).rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
