"""Linear CKA: identities, a worked example, streaming, the debiased form on independent features."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from eval_harness.analyses.cka.cka import Moments, hsic, hsic_from_grams, hsic_from_moments, linear_cka


def features(records: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(records, width))


def unbiased_by_definition(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return n (n - 3) times Song et al. 2012, equation 5, written with whole matrices."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones(n)
    product = np.trace(k @ m)
    totals = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float(product + totals - 2 / (n - 2) * (ones @ k @ m @ ones))


def test_features_are_alike_to_themselves() -> None:
    x = features(40, 7)
    found = linear_cka(x, x)
    assert found.biased == pytest.approx(1, abs=1e-12)
    assert found.debiased == pytest.approx(1, abs=1e-12)


def test_rotation_scale_and_shift_change_nothing() -> None:
    x, y = features(50, 6), features(50, 9, seed=1) + np.pad(features(50, 6), ((0, 0), (0, 3)))
    rotation, _ = np.linalg.qr(features(6, 6, seed=2))
    plain, moved = linear_cka(x, y), linear_cka(-3.5 * x @ rotation + 1000.0, y)
    assert moved.biased == pytest.approx(plain.biased, abs=1e-9)
    assert moved.debiased == pytest.approx(plain.debiased, abs=1e-9)
    assert linear_cka(x, x @ rotation).debiased == pytest.approx(1, abs=1e-12)


def test_a_map_that_is_not_orthogonal_changes_it() -> None:
    x = features(50, 6)
    assert linear_cka(x, x @ np.diag([10, 1, 1, 1, 1, 1.0])).biased < 0.9


def test_worked_example() -> None:
    # Centred columns: x = (-1, 0, 1, 0), y = (1, -1, 1, -1), z = (-1, 1, 1, -1): x'y = 0, x'z = 2, x'x = 2, z'z = 4.
    x, y, z = (np.array([row], dtype=float).T for row in ([0, 1, 2, 1], [1, -1, 1, -1], [4, 6, 6, 4]))
    assert linear_cka(x, y).biased == pytest.approx(0)
    assert linear_cka(x, z).biased == pytest.approx(2**2 / (2 * 4))
    # Kernels without diagonal of x and z, by hand: K = xx', L = zz' of the centred columns.
    # sum KL = 2 x1x3 z1z3 = 2; 1'K1 = -2, 1'L1 = -4; K1 = (-1, 0, -1, 0), L1 = (-1, -1, -1, -1), whose product is 2.
    between, first, second = hsic(x, z), hsic(x, x), hsic(z, z)
    assert between.unbiased == pytest.approx(2 + 8 / 6 - 2 * 2 / 2)
    # Own terms: sum KK = 2 and K1.K1 = 2; sum LL = 12 and L1.L1 = 4.
    assert first.unbiased == pytest.approx(2 + 4 / 6 - 2 * 2 / 2)
    assert second.unbiased == pytest.approx(12 + 16 / 6 - 2 * 4 / 2)
    assert linear_cka(x, z).debiased == pytest.approx((4 / 3) / math.sqrt((2 / 3) * (32 / 3)))


@pytest.mark.parametrize("records", [5, 30, 61])
def test_both_ways_follow_the_definition(records: int) -> None:
    x, y = features(records, 12) + 5, features(records, 8, seed=3) - 2
    y[:, :3] += x[:, :3]
    expected = unbiased_by_definition(x, y)
    centred = float((((x - x.mean(0)).T @ (y - y.mean(0))) ** 2).sum())
    for way in (hsic_from_moments, hsic_from_grams):
        found = way(x, y, 16)
        assert found.unbiased == pytest.approx(expected, rel=1e-9)
        assert found.biased == pytest.approx(centred, rel=1e-9)


def test_streaming_equals_one_piece() -> None:
    x, y = features(103, 5) + 100, features(103, 4, seed=1)
    whole, pieces = Moments(5, 4), Moments(5, 4)
    whole.add(x, y)
    for cut in np.split(np.arange(103), [1, 2, 40, 40, 99]):
        pieces.add(x[cut], y[cut])
    assert pieces.records == 103
    assert pieces.hsic().biased == pytest.approx(whole.hsic().biased, rel=1e-10)
    assert pieces.hsic().unbiased == pytest.approx(whole.hsic().unbiased, rel=1e-8)


def test_large_means_cost_no_digits() -> None:
    x, y = features(64, 3), features(64, 3, seed=1)
    y[:, 0] += x[:, 0]
    assert linear_cka(x + 1e6, y).debiased == pytest.approx(linear_cka(x, y).debiased, abs=1e-7)


def test_float32_is_summed_in_float64() -> None:
    x = (features(2000, 4) * 1e-3 + 1.0).astype(np.float32)
    assert linear_cka(x, x.copy()).debiased == pytest.approx(1, abs=1e-10)


def test_independent_features_give_zero_when_debiased_and_not_when_biased() -> None:
    """Mean over 200 draws; 30 records of width 60, where the biased form is at p / (n + p)."""
    rng = np.random.default_rng(7)
    draws = [linear_cka(rng.normal(size=(30, 60)), rng.normal(size=(30, 60))) for _ in range(200)]
    debiased = np.array([found.debiased for found in draws])
    assert abs(debiased.mean()) < 4 * debiased.std() / math.sqrt(len(draws))
    assert abs(debiased.mean()) < 0.02
    assert np.mean([found.biased for found in draws]) == pytest.approx(60 / 90, abs=0.03)


def test_features_that_do_not_vary_have_no_cka() -> None:
    found = linear_cka(np.ones((9, 2)), features(9, 3))
    assert math.isnan(found.biased)
    assert math.isnan(found.debiased)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="at least 4"):
        linear_cka(features(3, 2), features(3, 2))
    with pytest.raises(InputError, match="expected"):
        linear_cka(features(8, 2), features(9, 2))
    broken = features(8, 2)
    broken[3, 1] = np.nan
    for way in (hsic_from_moments, hsic_from_grams):
        with pytest.raises(InputError, match="not finite"):
            way(broken, features(8, 2))
