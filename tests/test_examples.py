"""The examples in docstrings hold. `pytest --doctest-modules PACKAGE` runs them too, those of one package or module."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
from datasets.utils.logging import disable_progress_bar, enable_progress_bar

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ecg_hub", "dataset_scripts", "eval_harness")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def with_examples() -> list[str]:
    """Files, relative to the repository, with an example in them."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [str(file.relative_to(ROOT)) for file in files if ">>> " in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("file", with_examples())
def test_examples(file: str) -> None:
    module = importlib.import_module(file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=FLAGS)
    disable_progress_bar()
    try:
        for examples in finder.find(module):
            runner.run(examples)
    finally:
        enable_progress_bar()
    assert runner.tries > 0
    assert runner.failures == 0
