"""The list of metrics: what each entry says is what results hold, and a file that is added is found."""

from __future__ import annotations

import importlib
import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval_harness.leaderboard.site import build
from eval_harness.metrics import registry
from eval_harness.metrics.registry import MAIN, Metric, chance_of, metrics, metrics_page, title_of
from eval_harness.metrics.thresholds import choose_thresholds
from eval_harness.results.schema import Estimate
from eval_harness.results.scoring import score_task
from eval_harness.tasks.registry import tasks
from tests.conftest import ROOT
from tests.support.board import made_up, write_board
from tests.support.results import predictions

TOY = Metric(
    "macro_toy", "macro toy", "multi_label_classification", higher_is_better=True,
    function=lambda y_true, y_score: np.array([0.25, np.nan, 0.75]), description="a toy", on_leaderboard=True,
)  # fmt: skip


@pytest.fixture
def with_toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file more in the folder, with one metric."""
    files = [types.SimpleNamespace(name=name, ispkg=False) for name in (*registry.ORDER, "toy")]
    monkeypatch.setattr(registry, "pkgutil", types.SimpleNamespace(iter_modules=lambda path: files))
    toy = types.SimpleNamespace(METRICS=(TOY,))

    def load(name: str) -> object:
        return toy if name == "eval_harness.metrics.toy" else importlib.import_module(name)

    monkeypatch.setattr(registry, "importlib", types.SimpleNamespace(import_module=load))
    metrics.cache_clear()
    yield
    metrics.cache_clear()


def test_every_entry_gives_the_number_of_results() -> None:
    given = predictions()
    scored = score_task(tasks()["ptbxl_super"], given, resamples=5).metrics
    validation, test = given.part("validation"), given.part("test")
    cut = choose_thresholds(validation.y_true, validation.y_prob)
    of_classes = {metric.name: metric for metric in metrics().values() if metric.kind == "multi_label_classification"}
    assert set(of_classes) == set(scored)
    for name, metric in of_classes.items():
        values = np.asarray(metric.values(test.y_true, test.y_prob, cut))
        assert np.nanmean(values) == pytest.approx(scored[name].point, abs=1e-12), name


def test_the_metrics_that_rank_are_listed_with_their_direction() -> None:
    for kind, (name, higher) in MAIN.items():
        assert (metrics()[name].kind, metrics()[name].higher_is_better) == (kind, higher)


def test_titles_say_where_lower_is_better() -> None:
    assert title_of("macro_auroc") == "macro AUROC"
    assert title_of("mae") == "MAE of z-scores (lower is better)"
    assert [metrics()[name].column for name in ("macro_auroc", "mae")] == ["AUROC", "MAE ↓"]
    assert title_of("somebody_elses") == "somebody_elses"
    assert (chance_of("macro_auroc"), chance_of("mae"), chance_of("somebody_elses")) == (0.5, None, None)


@pytest.mark.usefixtures("with_toy")
def test_a_file_that_is_added_is_in_results() -> None:
    scored = score_task(tasks()["ptbxl_super"], predictions(), resamples=5).metrics
    assert list(scored)[-1] == "macro_toy"
    assert (scored["macro_toy"].point, scored["macro_toy"].low, scored["macro_toy"].classes) == (0.5, None, 2)
    assert "macro_toy" not in score_task(tasks()["ptbxl_super"], predictions(), resamples=5, statistics=1).metrics


@pytest.mark.usefixtures("with_toy")
def test_a_file_that_is_added_is_on_the_leaderboard_and_in_the_list(tmp_path: Path) -> None:
    made = made_up("ecg-cpc", "ptbxl_super", point=0.8)
    toy = {"macro_toy": Estimate(point=0.5, classes=2)}
    write_board(tmp_path / "board", [made.model_copy(update={"metrics": {**made.metrics, **toy}})])
    build(tmp_path / "board", tmp_path / "page", published=False)
    assert "macro toy 0.500" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    (row,) = json.loads((tmp_path / "page" / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert row["scores"]["ptbxl_super"]["metrics"] == {"macro_toy": 0.5}
    assert "| `macro_toy` | classes | higher |  | a toy |" in metrics_page()


@pytest.mark.usefixtures("with_toy")
def test_a_name_listed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ORDER", (*registry.ORDER, "toy", "toy"))
    with pytest.raises(TypeError, match=r"toy\.py: the metric 'macro_toy' is listed twice"):
        metrics()


def test_a_file_without_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "HELPERS", {"registry", "selection"})
    metrics.cache_clear()
    with pytest.raises(TypeError, match=r"eval_harness\.metrics\.checks defines no METRICS, .*contributing/metric\.md"):
        metrics()
    metrics.cache_clear()


def test_the_example_of_the_page_is_a_metric() -> None:
    page = (ROOT / "docs" / "contributing" / "metric.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {}
    exec(example, module)
    (metric,) = module["METRICS"]
    true, score = np.array([[1, 0], [0, 0], [1, np.nan]]), np.array([[0.9, 0.1], [0.8, 0.1], [0.2, 0.9]])
    values = metric.values(true, score, np.array([0.5, 0.5]))
    assert values.tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
