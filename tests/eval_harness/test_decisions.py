"""Decisions and calibration under resampling equal the plain metric on the copied rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, recall_score

from ecg_hub.errors import InputError
from eval_harness.bootstrap import counts_from_indices
from eval_harness.decisions import resample_calibration, resample_decisions
from eval_harness.metrics.calibration import brier, calibration_error
from eval_harness.metrics.thresholds import choose_thresholds, threshold_metrics


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 records, 4 classes (one without positives, one with missing targets), 25 resamples."""
    rng = np.random.default_rng(0)
    prob = rng.random((60, 4)).astype(np.float32)
    true = (rng.random((60, 4)) < prob).astype(np.float32)
    true[:, 2] = 0
    true[::3, 3] = np.nan
    return true, prob, rng.integers(0, 60, (25, 60))


def test_every_replicate_equals_the_metric_on_the_copied_rows(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    true, prob, drawn = data
    counts = counts_from_indices(drawn, 60)
    cut = choose_thresholds(true, prob)
    decisions, calibration = resample_decisions(true, prob, cut, counts), resample_calibration(true, prob, counts)
    for number, rows in enumerate(drawn):
        copied = threshold_metrics(true[rows], prob[rows], cut)
        for name in ("f1", "sensitivity", "specificity"):
            np.testing.assert_allclose(decisions[name].replicates[number], getattr(copied, name), atol=1e-12)
        np.testing.assert_allclose(calibration["brier"].replicates[number], brier(true[rows], prob[rows]), atol=1e-7)
        expected = calibration_error(true[rows], prob[rows])
        np.testing.assert_allclose(calibration["calibration_error"].replicates[number], expected, atol=1e-7)


def test_points_equal_scikit_learn(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    true, prob, drawn = data
    cut = choose_thresholds(true, prob)
    decisions = resample_decisions(true, prob, cut, counts_from_indices(drawn, 60))
    called = prob[:, 0] >= cut[0]
    assert decisions["f1"].point[0] == pytest.approx(f1_score(true[:, 0], called))
    assert decisions["sensitivity"].point[0] == pytest.approx(recall_score(true[:, 0], called))
    assert decisions["specificity"].point[0] == pytest.approx(recall_score(1 - true[:, 0], ~called))
    assert np.isnan(decisions["f1"].point[2]), "no positives: no threshold, no F1"
    assert brier(true, prob)[0] == pytest.approx(brier_score_loss(true[:, 0], prob[:, 0].astype(float)))
    known = ~np.isnan(true[:, 3])
    assert brier(true, prob)[3] == pytest.approx(brier_score_loss(true[known, 3], prob[known, 3].astype(float)))


def test_calibration_by_hand() -> None:
    """Two bins: 0.1, 0.1 with one event (gap 0.4) and 0.9, 0.9 with two (gap 0.1); 1.0 falls into the last bin."""
    true = np.array([[0.0], [1.0], [1.0], [1.0]])
    prob = np.array([[0.1], [0.1], [0.9], [0.9]])
    assert calibration_error(true, prob)[0] == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert calibration_error(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]]))[0] == 0
    assert np.isnan(calibration_error(np.array([[np.nan]]), np.array([[0.5]]))[0])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError):
        brier(np.zeros((3, 1)), np.zeros((2, 1)))
