"""Decisions under resampling equal the plain metric on the copied rows; the calibration of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, recall_score

from ecg_hub.errors import InputError
from eval_harness.metrics.calibration import brier, calibration_error, calibration_rms, debiased_squares
from eval_harness.metrics.thresholds import choose_thresholds, threshold_metrics
from eval_harness.stats.bootstrap import counts_from_indices
from eval_harness.stats.resampled import resample_decisions


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
    decisions = resample_decisions(true, prob, cut, counts)
    for number, rows in enumerate(drawn):
        copied = threshold_metrics(true[rows], prob[rows], cut)
        for name in ("f1", "sensitivity", "specificity"):
            np.testing.assert_allclose(decisions[name].replicates[number], getattr(copied, name), atol=1e-12)


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


def test_debiased_calibration_by_hand() -> None:
    """Two bins of ten: 2 of 10 at 0.1 and 9 of 10 at 0.8, so gaps of 0.1; variances 0.16 / 9 and 0.09 / 9."""
    true = np.repeat([1.0, 0.0, 1.0, 0.0], [2, 8, 9, 1])[:, None]
    prob = np.repeat([0.1, 0.8], 10)[:, None]
    square = (0.01 - 0.16 / 9 + 0.01 - 0.09 / 9) / 2
    found = debiased_squares(true, prob)
    assert found.point[0] == pytest.approx(square)
    assert found.chance[0] == pytest.approx(2 * ((0.16 / 9 / 2) ** 2 + (0.16 / 10 / 2) ** 2), rel=1e-6)
    assert found.influence[0, 0] == pytest.approx(2 * 0.1 * (0.9 - 0.1) / 20)
    assert calibration_rms(true, prob)[0] == 0
    assert calibration_rms(1 - true, prob)[0] == pytest.approx(np.sqrt((0.7**2 - 0.16 / 9 + 0.7**2 - 0.09 / 9) / 2))
    assert np.isnan(calibration_rms(np.full((4, 1), np.nan), np.full((4, 1), 0.5))[0])


def test_right_probabilities_have_no_calibration_error_on_average() -> None:
    """The plain error of 500 records with right probabilities is 0.04 by chance alone; the debiased square is 0."""
    rng = np.random.default_rng(0)
    prob = rng.random((500, 400))
    true = (rng.random(prob.shape) < prob).astype(float)
    squares = debiased_squares(true, prob).point
    assert abs(squares.mean()) < 3 * squares.std() / 20
    assert calibration_error(true, prob).mean() > 0.03


def test_equal_probabilities_share_a_bin() -> None:
    true = np.random.default_rng(0).integers(0, 2, (90, 1)).astype(float)
    found = debiased_squares(true, np.full((90, 1), 0.5)).point[0]
    gap = true - 0.5
    assert found == pytest.approx(gap.mean() ** 2 - gap.var(ddof=1) / 90)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError):
        brier(np.zeros((3, 1)), np.zeros((2, 1)))


def test_weights_that_single_precision_cannot_hold_are_added_exactly() -> None:
    """300 records of weight 65,535 weigh more than 2^24, from where float32 holds every other integer only."""
    counts = np.full((601, 1), 65_535, dtype=np.uint16)
    counts[-1] = 1
    true = np.ones((601, 1))
    true[:2] = 0
    prob = np.full((601, 1), 0.9)
    prob[300:600] = 0.1
    found = resample_decisions(true, prob, [0.5], counts)["sensitivity"].replicates
    assert found.tolist() == [[(298 * 65_535 + 1) / (598 * 65_535 + 1)]]


def test_f1_of_a_resample_without_positives_is_undefined() -> None:
    """As F1 of a test split without positives is; its false alarms would otherwise make it 0."""
    drawn = np.array([[1, 0], [1, 2]], dtype=np.uint16)  # the second resample holds the false alarm twice
    f1 = resample_decisions([[1], [0]], [[0.9], [0.8]], [0.5], drawn)["f1"].replicates
    np.testing.assert_array_equal(f1, [[2 / 3], [np.nan]])


def test_decisions_on_what_is_no_outcome_are_refused() -> None:
    with pytest.raises(InputError, match="Targets must be 0, 1 or NaN"):
        resample_decisions([[0.5]], [[0.5]], [0.5], np.ones((1, 1), dtype=np.uint16))
