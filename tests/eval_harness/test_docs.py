"""The pages on tasks and results say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from eval_harness.cli.eval.main import main
from eval_harness.results.predictions import write_predictions
from eval_harness.results.schema import Result
from eval_harness.results.scoring import score_task
from eval_harness.tasks.registry import tasks
from eval_harness.tasks.task import CATEGORIES, Task
from tests.conftest import ROOT
from tests.support.results import predictions

DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_list_of_tasks_is_complete() -> None:
    page = (DOCS / "tasks.md").read_text(encoding="utf-8")
    for name in tasks():
        assert f"| `{name}` |" in page


def test_the_example_task_is_valid_and_prints_what_the_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks("contributing/task.md", "yaml")
    path = tmp_path / "my_infarction.yaml"
    path.write_text(example, encoding="utf-8")
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().out.strip() in blocks("contributing/task.md", "console")[0]


def test_every_field_and_category_is_explained() -> None:
    page = (DOCS / "contributing/task.md").read_text(encoding="utf-8")
    explained = {
        name for row in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert explained == set(Task.model_fields)
    for category in CATEGORIES:
        assert f"`{category}`" in page


def test_the_example_result_is_valid() -> None:
    (example,) = blocks("results.md", "json")
    content = json.loads(example)
    assert set(content) == set(Result.model_fields)
    assert Result.model_validate(content).status == "done"


def test_the_list_of_metrics_is_complete() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    found = score_task(tasks()["ptbxl_super"], predictions(), resamples=5).metrics
    for name in (*found, "mae", "macro_mae"):
        assert f"| `{name}` |" in page


def test_the_example_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("results.md", "python")
    monkeypatch.chdir(tmp_path)
    write_predictions(Path("results/random__ecg-cpc/linear/predictions/ptbxl_super.parquet"), predictions())
    exec(code, {})
    assert "point=" in capsys.readouterr().out
