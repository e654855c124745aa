"""The list of metrics: what each entry says is what results hold, and a file that is added is found."""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator

import numpy as np
import pytest

from eval_harness.metrics import registry
from eval_harness.metrics.registry import MAIN, Metric, chance_of, metrics, title_of
from eval_harness.metrics.thresholds import choose_thresholds
from eval_harness.results.scoring import score_task
from eval_harness.tasks.registry import tasks
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
def test_a_name_listed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ORDER", (*registry.ORDER, "toy", "toy"))
    with pytest.raises(TypeError, match=r"toy\.py: the metric 'macro_toy' is listed twice"):
        metrics()
