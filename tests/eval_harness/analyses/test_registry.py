"""Analyses are found by listing their folders."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eval_harness.analyses
from eval_harness.analyses.files import Analysis
from eval_harness.analyses.registry import kind_of, kinds
from eval_harness.report.content import find_content
from eval_harness.report.page import ReportOptions, write_report
from eval_harness.tasks.registry import get_task
from tests.conftest import ROOT
from tests.support.report_runs import write_folder

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


@pytest.mark.heavy
def test_the_report_of_analyses_needs_no_torch() -> None:
    code = "import sys; from eval_harness.analyses.registry import kinds; kinds(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_the_example_of_the_page_runs_and_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "contributing" / "analysis.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "prevalence"
    folder.mkdir()
    for name, text in zip(("__init__.py", "schema.py", "run.py", "report.py"), ("", *blocks), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(eval_harness.analyses, "__path__", [*eval_harness.analyses.__path__, str(tmp_path)])
    kinds.cache_clear()
    try:
        run = write_folder(tmp_path / "results", get_task("ptbxl_super"))
        example = importlib.import_module("eval_harness.analyses.prevalence.run").run_prevalence
        first = example(run, "ptbxl_super")
        assert first == example(run, "ptbxl_super")
        assert len(first.shares) == 5
        write_report(find_content([run], []), tmp_path / "report.html", ReportOptions())
    finally:
        kinds.cache_clear()
        for name in [name for name in sys.modules if name.startswith("eval_harness.analyses.prevalence")]:
            del sys.modules[name]
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">Prevalence</h2>" in written
    assert f"{first.shares['NORM'][1]:.3f}" in written


def test_a_folder_without_a_report_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beats").mkdir()
    (tmp_path / "beats" / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(eval_harness.analyses, "__path__", [*eval_harness.analyses.__path__, str(tmp_path)])
    kinds.cache_clear()
    try:
        with pytest.raises(TypeError, match=r"^eval_harness\.analyses\.beats\.report does not exist: an analysis"):
            kinds()
    finally:
        kinds.cache_clear()
        sys.modules.pop("eval_harness.analyses.beats", None)
