from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.metrics.ranking import macro_auroc_paper
from eval_harness.metrics.regression import mae, mean_mae, pooled_mae
from eval_harness.metrics.selection import composite

TOLERANCE = 1e-7


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "protocol" / "metrics_golden.npz") as file:
        return dict(file)


def test_equals_the_reference(published: dict[str, np.ndarray]) -> None:
    pair = published["reg_true"], published["reg_pred"]
    found = mae(*pair)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(published["reg_mae"]))
    np.testing.assert_allclose(found, published["reg_mae"], atol=TOLERANCE, rtol=0)
    assert pooled_mae(*pair) == pytest.approx(float(published["reg_mae_global"]), abs=TOLERANCE)


def test_pooled_is_not_the_mean_over_targets(published: dict[str, np.ndarray]) -> None:
    pair = published["reg_true"], published["reg_pred"]
    assert mean_mae(*pair) == pytest.approx(0.68298, abs=5e-6)
    assert pooled_mae(*pair) == pytest.approx(0.67971, abs=5e-6)


def test_composite_equals_the_reference(published: dict[str, np.ndarray]) -> None:
    area = macro_auroc_paper(published["y_true"], published["y_prob"])
    found = composite(area, pooled_mae(published["reg_true"], published["reg_pred"]))
    assert found == pytest.approx(float(published["composite"]), abs=TOLERANCE)


def test_weighs_by_observations() -> None:
    y_true = np.array([[0.0, 0.0], [0.0, np.nan], [0.0, np.nan]])
    y_pred = np.array([[1.0, 5.0], [1.0, 9.0], [1.0, 9.0]])
    assert mae(y_true, y_pred).tolist() == [1.0, 5.0]
    assert pooled_mae(y_true, y_pred) == 2.0
    assert mean_mae(y_true, y_pred) == 3.0


def test_nothing_known_is_nan() -> None:
    nothing = np.full((2, 1), np.nan)
    assert np.isnan(mae(nothing, np.zeros((2, 1)))).all()
    assert np.isnan(pooled_mae(nothing, np.zeros((2, 1))))


def test_errors_of_single_precision_are_summed_in_double() -> None:
    y_true, y_pred = np.array([[0.1]], np.float32), np.array([[16777217.0]], np.float64)
    assert pooled_mae(y_true, y_pred.astype(np.float32)) == 16777216.0 - float(np.float32(0.1))


def test_the_best_composite_is_0_and_its_parts_add_up() -> None:
    assert composite(1.0, 0.0) == 0.0
    assert composite(0.0, 0.0) == 1.0
    assert composite(0.75, 0.5) == 0.75


def test_infinite_values_are_refused() -> None:
    with pytest.raises(InputError, match="Targets must be finite"):
        mae(np.array([[np.inf]]), np.zeros((1, 1)))
    with pytest.raises(InputError, match="Scores must be finite"):
        mae(np.zeros((1, 1)), np.array([[np.inf]]))


@pytest.mark.parametrize(("area", "error"), [(1.2, 0.1), (float("nan"), 0.1), (0.5, -0.1), (0.5, float("nan"))])
def test_composite_refuses_what_is_no_score(area: float, error: float) -> None:
    with pytest.raises(InputError, match="must"):
        composite(area, error)
