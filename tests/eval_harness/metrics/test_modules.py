"""The `evaluate` modules load from their folder without a network and give the numbers of the plain functions."""

from __future__ import annotations

from pathlib import Path

import evaluate
import numpy as np
import pytest

import eval_harness.metrics.modules
from eval_harness.metrics.ranking import macro_auroc, macro_auroc_paper, macro_average_precision
from eval_harness.metrics.regression import mean_mae, pooled_mae
from tests.support.scores import scored

FOLDER = Path(eval_harness.metrics.modules.__path__[0])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    cache = tmp_path_factory.mktemp("evaluate")
    names = [path.name for path in FOLDER.iterdir() if path.is_dir() and (path / f"{path.name}.py").exists()]
    patch = pytest.MonkeyPatch()
    patch.setattr("evaluate.config.HF_MODULES_CACHE", str(cache / "modules"))
    patch.setattr("evaluate.config.HF_METRICS_CACHE", str(cache / "metrics"))
    yield {name: evaluate.load(str(FOLDER / name), cache_dir=str(cache)) for name in names}
    patch.undo()


def test_every_module_loads(loaded: dict[str, object]) -> None:
    assert sorted(loaded) == ["macro_auprc", "macro_auroc", "mae"]


def test_values_are_those_of_the_functions(loaded: dict[str, object]) -> None:
    y_true, y_score = scored(records=60, classes=8)
    pair = {"predictions": y_score.tolist(), "references": y_true.tolist()}
    areas = loaded["macro_auroc"].compute(**pair)  # type: ignore[attr-defined]
    assert areas["macro_auroc"] == pytest.approx(macro_auroc(y_true, y_score))
    assert areas["macro_auroc_paper"] == pytest.approx(macro_auroc_paper(y_true, y_score))
    assert np.isnan(areas["auroc"][5])
    precisions = loaded["macro_auprc"].compute(**pair)  # type: ignore[attr-defined]
    assert precisions["macro_auprc"] == pytest.approx(macro_average_precision(y_true, y_score))
    errors = loaded["mae"].compute(**pair)  # type: ignore[attr-defined]
    assert errors["mae"] == pytest.approx(pooled_mae(y_true, y_score))
    assert errors["macro_mae"] == pytest.approx(mean_mae(y_true, y_score))
