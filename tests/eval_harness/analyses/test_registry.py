"""Analyses are found by listing their folders."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eval_harness.analyses
from eval_harness.analyses.files import Analysis, write_analysis
from eval_harness.analyses.registry import kind_of, kinds
from eval_harness.report.content import find_content
from eval_harness.report.page import ReportOptions, write_report
from tests.conftest import ROOT

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


def test_the_example_of_the_page_is_found_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "contributing" / "analysis.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "leads"
    folder.mkdir()
    for name, text in zip(("__init__.py", "schema.py", "report.py"), ("", *blocks), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(eval_harness.analyses, "__path__", [*eval_harness.analyses.__path__, str(tmp_path)])
    kinds.cache_clear()
    try:
        kind = kinds()["leads"]
        result = kind.result.model_validate(
            {"settings": {}, "created": "2026-11-21T20:00:00Z", "task": "ptbxl_super", "without": {"I": 0.75}}
        )
        write_analysis(tmp_path / "leads.json", result)
        write_report(find_content([], [tmp_path]), tmp_path / "report.html", ReportOptions())
    finally:
        kinds.cache_clear()
        for name in [name for name in sys.modules if name.startswith("eval_harness.analyses.leads")]:
            del sys.modules[name]
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">Leads</h2>" in written
    assert "0.750" in written


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
