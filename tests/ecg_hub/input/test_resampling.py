from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.input.resampling import BLOCK_SAMPLES, as_rate, filter_bank, resample, resampled_length


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def test_equals_resampy(golden: Path) -> None:
    with np.load(golden / "protocol" / "resample_golden.npz") as stored:
        cases = {key.split("/")[0]: stored[key] for key in stored}
    assert len(cases) == 12
    for name, expected in cases.items():
        fs_in, fs_out, n = map(int, name.split("_"))
        x = np.random.default_rng([fs_in, fs_out, n]).standard_normal((n, 3)).astype(np.float32)
        y = resample(x, fs_in, fs_out, axis=0)
        assert y.dtype == np.float32
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=0, atol=6e-6, err_msg=name)


@pytest.mark.parametrize(("fs_in", "fs_out"), [(500, 240), (257, 240), (100, 500), (360, 250)])
def test_periods_repeat_under_a_shift_by_one_period(fs_in: int, fs_out: int) -> None:
    ratio = Fraction(fs_out, fs_in)
    x = noise(2, 1500)
    shifted = np.pad(x, ((0, 0), (ratio.denominator, 0)))
    y, y_shifted = resample(x, fs_in, fs_out), resample(shifted, fs_in, fs_out)
    np.testing.assert_allclose(y_shifted[:, ratio.numerator : ratio.numerator + y.shape[1]], y, atol=2e-6)


def test_a_slow_sine_keeps_its_shape() -> None:
    seconds = np.arange(5000) / 500
    y = resample(np.sin(2 * np.pi * 3 * seconds), 500, 240)
    expected = np.sin(2 * np.pi * 3 * np.arange(2400) / 240)
    np.testing.assert_allclose(y[200:-200], expected[200:-200], atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_any_axis(axis: int) -> None:
    x = noise(30, 50, 40)
    expected = np.moveaxis(resample(np.moveaxis(x, axis, -1), 50, 20), -1, axis)
    y = resample(x, 50, 20, axis=axis)
    np.testing.assert_array_equal(y, expected)
    assert y.flags.c_contiguous


def test_blocks_and_layout_do_not_change_values() -> None:
    rows = 2 * BLOCK_SAMPLES // 1455 + 7
    x = noise(rows, 1250)
    y = resample(x, 500, 240)
    np.testing.assert_allclose(y[[0, rows // 2, -1]], resample(x[[0, rows // 2, -1]], 500, 240), atol=1e-6)
    np.testing.assert_array_equal(y, resample(np.asfortranarray(x), 500, 240))


@pytest.mark.parametrize("shape", [(0, 12, 1250), (4, 0, 1250), (4, 12, 0)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    assert resample(np.zeros(shape, np.float32), 500, 240).shape == (*shape[:2], shape[2] * 240 // 500)


def test_a_signal_of_one_sample() -> None:
    assert resample(np.ones((1, 1)), 500, 240).shape == (1, 0)
    assert resample(np.ones((1, 1)), 250, 500).shape == (1, 2)


def test_length_is_floored_in_integers() -> None:
    assert resampled_length(5000, 500, 240) == 2400
    assert resampled_length(1249, 500, 240) == 599
    assert resampled_length(10**12 + 1, 1000, 999) == (10**12 + 1) * 999 // 1000
    assert resample(noise(1, 642), 257, 240).shape[1] == 642 * 240 // 257


def test_an_asked_for_length_continues_with_zeros() -> None:
    x = noise(2, 642)
    longer = resample(x, 257, 240, length=600)
    padded = resample(np.pad(x, ((0, 0), (0, 100))), 257, 240)
    np.testing.assert_allclose(longer, padded[:, :600], atol=1e-6)
    assert resample(x, 257, 240, length=10).shape == (2, 10)
    np.testing.assert_allclose(resample(x, 257, 240, length=10), padded[:, :10], atol=1e-6)


def test_equal_rates_copy() -> None:
    x = noise(2, 10)
    y = resample(x, 500, 500.0)
    np.testing.assert_array_equal(x, y)
    assert not np.shares_memory(x, y)


def test_input_is_left_alone_and_read_only_input_works() -> None:
    x = noise(2, 1250)
    before = x.copy()
    x.flags.writeable = False
    resample(x, 500, 240)
    np.testing.assert_array_equal(x, before)


def test_integers_are_computed_in_float32() -> None:
    x = np.arange(-500, 500, dtype=np.int16)[None]
    np.testing.assert_array_equal(resample(x, 500, 250), resample(x.astype(np.float32), 500, 250))


def test_fourier_method_is_scipys() -> None:
    from scipy.signal import resample as scipy_resample

    x = noise(3, 5000)
    np.testing.assert_allclose(resample(x, 500, 100, method="fourier"), scipy_resample(x, 1000, axis=-1), atol=1e-6)


def test_decimate_method_is_scipys() -> None:
    from scipy.signal import decimate

    x = noise(3, 2500)
    np.testing.assert_allclose(
        resample(x, 500, 100, method="decimate"), decimate(x.astype(np.float64), 5, axis=-1), atol=1e-6
    )


@pytest.mark.parametrize(("fs_in", "via"), [(250, 300), (257, 300), (80, 100)])
def test_decimate_goes_by_the_next_multiple(fs_in: int, via: int) -> None:
    from scipy.signal import decimate

    x = noise(2, 5 * fs_in)
    raised = resample(x, fs_in, via)
    expected = raised if via == 100 else decimate(raised.astype(np.float64), via // 100, axis=-1)
    y = resample(x, fs_in, 100, length=500, method="decimate")
    assert y.shape == (2, 500)
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (500, 500),
        (500.0, 500),
        (np.int64(240), 240),
        (np.float32(62.5), Fraction(125, 2)),
        (249.89, Fraction(24989, 100)),
    ],
)
def test_rates(rate: object, expected: object) -> None:
    assert as_rate(rate) == expected


@pytest.mark.parametrize("rate", [0, -500, float("nan"), float("inf"), "500", None, True, np.pi * 100, [500]])
def test_what_is_no_rate_is_quoted(rate: object) -> None:
    with pytest.raises(InputError, match="sampling rate must be") as caught:
        as_rate(rate)
    assert repr(rate) in str(caught.value)


def test_rates_without_a_simple_ratio_are_refused() -> None:
    with pytest.raises(InputError, match="no simple ratio"):
        resample(noise(1, 500), 249.89, 240)


def test_unknown_method_and_axis() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'fourier'"):
        resample(noise(1, 500), 500, 240, method="furier")
    with pytest.raises(InputError, match="axis 2 does not exist"):
        resample(noise(1, 500), 500, 240, axis=2)


def test_threads_share_the_filters_and_settings_stay() -> None:
    filter_bank.cache_clear()
    x = noise(4, 1250)
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: resample(x, 500, 240), range(16)))
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert filter_bank.cache_info().currsize == 1
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_autocast_of_the_caller_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(3, 1250)).astype(np.float32)
    plain = resample(x, 500, 240)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(resample(x, 500, 240), plain)
