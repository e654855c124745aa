"""Brier score and calibration errors against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.metrics.calibration import (
    brier,
    calibration_error,
    calibration_rms,
    debiased_squares,
    overall_calibration_rms,
    probability_bins,
)

NAN = float("nan")
TWO_BINS = np.repeat([0.2, 0.7], 10)[:, None]
"""Ten records with 0.2 and ten with 0.7: of the first three are positive below, of the second five."""
OUTCOMES = np.array([1] * 3 + [0] * 7 + [1] * 5 + [0] * 5, dtype=np.float64)[:, None]


def test_brier_is_the_mean_square_over_known_targets() -> None:
    true = np.array([[1, NAN, NAN], [0, 1, NAN]])
    prob = np.array([[0.5, 0.9, 0.1], [0.25, 0.25, 0.1]])
    found = brier(true, prob)
    assert found[:2].tolist() == [(0.25 + 0.0625) / 2, 0.5625]
    assert np.isnan(found[2])


def test_errors_of_single_precision_are_summed_in_double() -> None:
    prob = np.full((3, 1), np.float32(0.1))
    true = np.zeros_like(prob)
    square = float(np.float32(0.1) ** 2)
    assert brier(true, prob)[0] == (square + square + square) / 3
    assert brier(true, prob).dtype == calibration_error(true, prob).dtype == np.float64


def test_records_of_a_bin_balance_each_other_and_those_of_others_do_not() -> None:
    true = np.array([[1, 1, NAN], [0, 0, NAN], [NAN, 1, NAN]])
    prob = np.array([[0.5, 0.1, 0.5], [0.52, 0.9, 0.5], [0.9, 0.9, 0.5]])
    found = calibration_error(true, prob)
    assert found[:2] == pytest.approx([0.02 / 2, (0.9 + 0.8) / 3])
    assert np.isnan(found[2])


def test_the_15_bins_of_probabilities() -> None:
    prob = np.array([0.0, 0.066, 0.067, 0.5, 0.934, 1.0, -0.1, 1.1])
    assert probability_bins(prob).tolist() == [0, 0, 1, 7, 14, 14, 0, 14]
    assert probability_bins(prob).dtype == np.int64


def test_the_debiased_square_of_two_bins() -> None:
    found = debiased_squares(OUTCOMES, TWO_BINS)
    variances = 0.21 / 9, 0.25 / 9  # both above those by the probabilities, 0.016 and 0.021
    assert found.point[0] == pytest.approx(0.5 * (0.01 - variances[0]) + 0.5 * (0.04 - variances[1]))
    assert found.chance[0] == pytest.approx(2 * (0.25 * variances[0] ** 2 + 0.25 * variances[1] ** 2))
    apart = OUTCOMES[:, 0] - np.repeat([0.3, 0.5], 10)
    assert found.influence[:, 0] == pytest.approx(2 * np.repeat([0.1, -0.2], 10) * apart / 20)


def test_a_bin_in_which_nothing_happened_varies_by_its_probabilities() -> None:
    none = np.zeros((20, 1))
    found = debiased_squares(none, TWO_BINS)
    assert found.point[0] == pytest.approx(0.5 * 0.04 + 0.5 * 0.49)
    assert found.chance[0] == pytest.approx(2 * (0.25 * 0.016**2 + 0.25 * 0.021**2))
    assert found.influence == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_probabilities_of_0_and_1_vary_by_one_event_in_all(certain: float) -> None:
    found = debiased_squares(np.full((9, 1), certain), np.full((9, 1), certain))
    assert found.point[0] == 0
    assert found.chance[0] == pytest.approx(2 * (0.1 * 0.9 / 9) ** 2)


def test_one_record_has_a_square_and_no_influence() -> None:
    found = debiased_squares([[1.0]], [[0.25]])
    assert (found.point[0], found.chance[0], found.influence[0, 0]) == (0.5625, 0.125, 0)


def test_equal_probabilities_stay_in_one_bin() -> None:
    """Of 8 records with 0.1 and 12 with 0.5 the second lot begins in the first bin of ten; the other one is empty."""
    prob = np.repeat([0.1, 0.5], [8, 12])[:, None]
    true = np.tile([1.0, 0.0], 10)[:, None]
    gap = true - prob
    expected = gap.mean() ** 2 - gap.var(ddof=1) / 20
    assert debiased_squares(true, prob).point[0] == pytest.approx(expected)


@pytest.mark.parametrize(("records", "bins"), [(5, 1), (19, 1), (30, 3), (150, 15), (160, 15)])
def test_bins_hold_ten_records_and_are_15_at_most(records: int, bins: int) -> None:
    rng = np.random.default_rng(0)
    prob = np.sort(rng.uniform(0, 1, records))
    true = (rng.uniform(0, 1, records) < prob**2).astype(np.float64)
    parts = [(np.arange(records) * bins) // records == part for part in range(bins)]
    gaps = [(true - prob)[part] for part in parts]
    expected = sum(gap.size / records * (gap.mean() ** 2 - gap.var(ddof=1) / gap.size) for gap in gaps)
    shuffled = rng.permutation(records)
    found = debiased_squares(true[shuffled][:, None], prob[shuffled][:, None])
    assert found.point[0] == pytest.approx(expected)


def test_records_without_a_target_neither_count_nor_weigh() -> None:
    true, prob = np.full((25, 2), NAN), np.full((25, 2), 0.9)
    true[:20, :1], prob[:20, :1] = OUTCOMES, TWO_BINS
    found, alone = debiased_squares(true, prob), debiased_squares(OUTCOMES, TWO_BINS)
    assert (found.point[0], found.chance[0]) == (alone.point[0], alone.chance[0])
    assert found.influence[:20, 0].tolist() == alone.influence[:, 0].tolist()
    assert not found.influence[20:, 0].any()
    assert not found.influence[:, 1].any()
    assert np.isnan([found.point[1], found.chance[1]]).all()


def test_single_precision_is_worked_in_double() -> None:
    true, prob = OUTCOMES.astype(np.float32), TWO_BINS.astype(np.float32)
    exact = debiased_squares(true.astype(np.float64), prob.astype(np.float64))
    assert debiased_squares(true, prob).point[0] == exact.point[0]


def test_the_root_is_of_the_debiased_square_and_0_below_it() -> None:
    far = debiased_squares(np.zeros((20, 1)), TWO_BINS)
    assert calibration_rms(np.zeros((20, 1)), TWO_BINS)[0] == np.sqrt(far.point[0]) > 0
    exact = np.tile([1.0, 0.0], 10)[:, None]
    assert debiased_squares(exact, np.full((20, 1), 0.5)).point[0] < 0
    assert calibration_rms(exact, np.full((20, 1), 0.5))[0] == 0
    assert np.isnan(calibration_rms([[NAN]], [[0.5]])[0])


@pytest.mark.parametrize("function", [brier, calibration_error, calibration_rms, debiased_squares])
def test_targets_that_are_no_outcomes_are_refused(function: object) -> None:
    with pytest.raises(InputError, match=r"Targets must be 0, 1 or NaN \(no target\); found 0.5 in record 0, output 0"):
        function([[0.5]], [[0.5]])  # type: ignore[operator]


def test_the_last_bin_may_be_empty() -> None:
    prob = np.repeat([0.1, 0.5], 15)[:, None]
    true = np.tile([1.0, 0.0], 15)[:, None]
    gaps = np.split((true - prob)[:, 0], 2)
    expected = sum(0.5 * (gap.mean() ** 2 - gap.var(ddof=1) / 15) for gap in gaps)
    assert debiased_squares(true, prob).point[0] == pytest.approx(expected)


def test_a_bin_of_one_record_varies_by_its_probability() -> None:
    prob = np.array([0.2] * 19 + [0.7])[:, None]
    found = debiased_squares(np.zeros((20, 1)), prob)
    assert found.chance[0] == pytest.approx(2 * ((0.95 * 0.16 / 19) ** 2 + (0.05 * 0.21) ** 2))


def test_the_root_over_all_labels_is_taken_once_and_is_0_below_it() -> None:
    """Of squares, so that a label whose square is below 0 by chance balances another; none without a target."""
    generator = np.random.default_rng(0)
    prob = generator.random((300, 3))
    true = (generator.random((300, 3)) < [0.9, 0.5, 0.2]).astype(float)
    true[:, 2] = np.nan
    squares = debiased_squares(true, prob).point[:2]
    assert overall_calibration_rms(true, prob) == pytest.approx(np.sqrt(squares.mean()), abs=1e-12)
    assert overall_calibration_rms(np.arange(20)[:, None] % 2, np.full((20, 1), 0.5)) == 0.0
    assert np.isnan(overall_calibration_rms(true[:, 2:], prob[:, 2:]))
