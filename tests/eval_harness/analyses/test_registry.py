"""Analyses are found by listing their folders."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import eval_harness.analyses
from eval_harness.analyses.files import Analysis
from eval_harness.analyses.registry import kind_of, kinds

FOLDERS = sorted(item.name for item in pkgutil.iter_modules(eval_harness.analyses.__path__) if item.ispkg)


def test_every_folder_is_a_kind() -> None:
    assert sorted(kinds()) == FOLDERS
    assert len({kind.file for kind in kinds().values()}) == len(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_result_says_which_analysis_it_is(name: str) -> None:
    kind = kinds()[name]
    assert issubclass(kind.result, Analysis)
    assert kind.result.model_fields["analysis"].default == name
    assert kind_of(kind.file.replace("*", "ptbxl_super")) is kind


def test_the_report_of_analyses_needs_no_torch() -> None:
    code = "import sys; from eval_harness.analyses.registry import kinds; kinds(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
