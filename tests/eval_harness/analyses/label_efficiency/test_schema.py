"""The curve of label efficiency: known parameters are recovered, and nothing is extrapolated below the floor."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from ecg_hub.errors import InputError
from eval_harness.analyses.label_efficiency.schema import ALPHAS, Curve, fit, ratio
from eval_harness.stats.resampled import interval

SIZES = np.array([50, 100, 200, 400, 800, 1600, 3200, 6400.0])


def curve(scale: float, alpha: float, floor: float) -> Curve:
    return Curve(np.float64(scale), np.float64(alpha), np.float64(floor))  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [(1.2, 0.5, 0.06), (0.8, 0.2, 0.0), (30.0, 1.5, 0.1), (0.5, 0.9, 0.02)])
def test_a_curve_without_noise_is_recovered(known: tuple[float, float, float]) -> None:
    found = fit(SIZES, curve(*known).loss(SIZES))
    assert [float(part) for part in (found.scale, found.alpha)] == pytest.approx(known[:2], rel=1e-4)
    assert float(found.floor) == pytest.approx(known[2], abs=1e-4)
    assert not found.at_bound


@pytest.mark.heavy
def test_known_parameters_lie_within_their_intervals() -> None:
    """Of 20 noisy curves the 95 % intervals of alpha and L0 hold the truth in all but a few."""
    rng, truth = np.random.default_rng(0), curve(1.2, 0.5, 0.06)
    held = {"alpha": 0, "floor": 0}
    for _ in range(20):
        seen = truth.loss(SIZES) + rng.normal(0, 0.003, SIZES.size)
        point, replicates = fit(SIZES, seen), fit(SIZES, seen + rng.normal(0, 0.003, (200, SIZES.size)))
        for name in held:
            found = interval(float(getattr(point, name)), getattr(replicates, name))
            held[name] += found.low <= float(getattr(truth, name)) <= found.high
    assert min(held.values()) >= 16


def test_it_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        values = curve(1.5, 0.6, 0.05).loss(SIZES) + rng.normal(0, 0.02, SIZES.size)
        found = fit(SIZES, values)

        def residual(p: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return np.asarray(p[0] * (SIZES / 6400) ** -p[1] + p[2] - values)

        best = least_squares(residual, [0.05, 0.5, 0.05], bounds=([0, ALPHAS[0], 0], [np.inf, ALPHAS[1], np.inf]))
        assert float(((found.loss(SIZES) - values) ** 2).sum()) <= 2 * best.cost + 1e-9


def test_many_curves_at_once_are_those_one_by_one() -> None:
    rows = np.stack([curve(1.0, 0.4, 0.1).loss(SIZES), curve(2.0, 0.8, 0.0).loss(SIZES), np.full(8, np.nan)])
    many = fit(SIZES, rows)
    for k in range(2):
        assert float(many.alpha[k]) == float(fit(SIZES, rows[k]).alpha)
    assert np.isnan([many.scale[2], many.alpha[2], many.floor[2]]).all()


def test_a_loss_that_does_not_fall_has_no_rate() -> None:
    for values in (np.full(8, 0.3), 0.1 + SIZES / 1e5):
        found = fit(SIZES, values)
        assert float(found.scale) == 0
        assert np.isnan(found.alpha)
        assert float(found.floor) == pytest.approx(values.mean())
        assert np.isnan(found.records(0.5))


def test_the_ratio_is_that_of_the_formula_and_stops_at_the_floor() -> None:
    model, baseline = curve(1.2, 0.5, 0.06), curve(2.0, 0.5, 0.02)
    for number in (50, 400):
        loss = float(baseline.loss(number))
        expected = ((loss - 0.06) / 1.2) ** (-1 / 0.5) / number
        assert float(ratio(model, baseline, number)) == pytest.approx(expected)
        assert float(model.loss(expected * number)) == pytest.approx(loss)
    # Beyond N = 2,500 the baseline is better than the model can get.
    assert np.isfinite(ratio(model, baseline, 2400))
    assert np.isnan(ratio(model, baseline, [2501, 1e6])).all()
    assert np.isnan(model.records(0.06))
    assert float(ratio(model, model, 123)) == pytest.approx(1.0)


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="--fractions"):
        fit([10, 20, 20, 40], [0.3, 0.2, 0.2, 0.1])
    with pytest.raises(InputError, match="one per number"):
        fit([10, 20, 30, 40], [0.3, 0.2])
