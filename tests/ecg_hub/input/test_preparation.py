from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.input.preparation import STEPS, apply_steps, check_step


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def run(x: np.ndarray, name: str, rate: float = 100, **parameters: Any) -> np.ndarray:
    before = x.copy()
    y = apply_steps(x, rate, [check_step({"name": name, **parameters})])
    np.testing.assert_array_equal(x, before)
    assert y.dtype == np.float32
    assert y.shape == x.shape
    return y


def test_zscore_per_lead_and_per_record() -> None:
    x = 3 + 2 * noise(4, 12, 500) * np.arange(1, 13, dtype=np.float32)[:, None]
    by_lead = run(x, "zscore")
    np.testing.assert_allclose(by_lead.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(by_lead.std(-1), 1, atol=1e-5)
    by_record = run(x, "zscore", axis="record")
    np.testing.assert_allclose(by_record.mean((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(by_record.std((1, 2)), 1, atol=1e-5)
    assert by_record.std(-1).max() > 1.5


def test_a_constant_lead_becomes_zero_or_low() -> None:
    x = np.full((1, 12, 500), 0.1, np.float32)
    np.testing.assert_allclose(run(x, "zscore"), 0, atol=1e-6)
    np.testing.assert_array_equal(run(x, "minmax", low=-1, high=1), -1)


def test_minmax() -> None:
    x = noise(3, 12, 500)
    y = run(x, "minmax", low=-1.0, high=1.0)
    np.testing.assert_allclose(y.min(-1), -1)
    np.testing.assert_allclose(y.max(-1), 1)
    over_record = run(x, "minmax", axis="record")
    np.testing.assert_allclose(over_record.min((1, 2)), 0)
    np.testing.assert_allclose(over_record.max((1, 2)), 1)
    assert over_record.max(-1).min() < 0.95


def test_clip_and_scale() -> None:
    x = 10 * noise(2, 12, 100)
    y = run(x, "clip", low_mv=-3, high_mv=3)
    np.testing.assert_array_equal(y, np.clip(x, -3, 3))
    np.testing.assert_array_equal(run(x, "scale", factor=1000), x * np.float32(1000))


def test_bandpass_keeps_the_band_without_delay_and_removes_the_rest() -> None:
    t = np.arange(5000) / 250
    wanted, drift, hum = np.sin(2 * np.pi * 10 * t), 2 * np.sin(2 * np.pi * 0.1 * t), np.sin(2 * np.pi * 60 * t)
    x = (wanted + drift + hum).astype(np.float32)[None, None]
    y = run(x, "bandpass", 250, low_hz=0.67, high_hz=40, order=5)
    np.testing.assert_allclose(y[0, 0, 1500:-1500], wanted[1500:-1500], atol=0.03)
    low_pass = run(x, "bandpass", 250, high_hz=40, order=5)
    np.testing.assert_allclose(low_pass[0, 0, 1500:-1500], (wanted + drift)[1500:-1500], atol=0.03)
    high_pass = run(x, "bandpass", 250, low_hz=0.67, order=5)
    np.testing.assert_allclose(high_pass[0, 0, 1500:-1500], (wanted + hum)[1500:-1500], atol=0.03)


def test_bandpass_is_scipys_zero_phase_butterworth() -> None:
    from scipy.signal import butter, sosfiltfilt

    x = noise(2, 12, 600)
    expected = sosfiltfilt(butter(5, 0.67, "highpass", fs=250, output="sos"), x.astype(np.float64), axis=-1)
    np.testing.assert_allclose(run(x, "bandpass", 250, low_hz=0.67, order=5), expected, atol=1e-6)


def test_fir_and_minmax_give_the_published_input_of_hubert_ecg(golden: Path) -> None:
    with np.load(golden / "hubert_ecg" / "golden.npz") as stored:
        expected = stored["preprocessed"]
    rng = np.random.default_rng([0, zlib.crc32(b"input")])
    x = (0.2 * rng.standard_normal((1, 12, 500))).astype(np.float32)
    filtered = run(x, "bandpass", 100, low_hz=0.05, high_hz=47, design="fir", fir_seconds=0.3)
    np.testing.assert_allclose(run(filtered, "minmax", low=-1, high=1), expected, atol=1e-6)


def test_notch_takes_out_the_hum_and_nothing_else() -> None:
    t = np.arange(5000) / 500
    wanted, hum = np.sin(2 * np.pi * 10 * t) + np.sin(2 * np.pi * 45 * t), np.sin(2 * np.pi * 50 * t)
    y = run((wanted + hum).astype(np.float32)[None, None], "notch", 500, frequency_hz=50)
    np.testing.assert_allclose(y[0, 0, 1000:-1000], wanted[1000:-1000], atol=0.06)
    x = noise(2, 3, 40)
    expected = signal.filtfilt(*signal.iirnotch(60, 5, fs=250), x.astype(np.float64), axis=-1)
    np.testing.assert_allclose(run(x, "notch", 250, frequency_hz=60, quality=5), expected, atol=1e-6)
    with pytest.raises(InputError, match="needs more than 9"):
        run(noise(1, 1, 9), "notch", 250, frequency_hz=60)


def test_median_baseline_is_scipys_running_median() -> None:
    x = noise(2, 3, 700)
    for seconds, width in ((0.4, 201), (0.402, 203), (0.001, 1)):  # an even width takes one more
        expected = np.stack([[row - signal.medfilt(row, width) for row in record] for record in x])
        np.testing.assert_array_equal(run(x, "median_baseline", 500, seconds=seconds), expected)
    drift = np.linspace(-1, 1, 2000, dtype=np.float32)[None, None]
    np.testing.assert_allclose(run(drift, "median_baseline", 500, seconds=0.4)[0, 0, 100:-100], 0, atol=1e-6)
    # Outside the signal it sees zeros: of a window wider than twice the signal, the median is one of them.
    np.testing.assert_array_equal(run(x[..., :50], "median_baseline", 500, seconds=0.4), x[..., :50])


def test_a_preset_step_survives_json() -> None:
    step = check_step({"name": "bandpass", "at": "source", "low_hz": 0.67, "high_hz": 40})
    assert step == {"name": "bandpass", "at": "source", "low_hz": 0.67, "high_hz": 40}
    assert check_step(json.loads(json.dumps(step))) == step
    assert check_step({"name": "zscore"})["at"] == "model"


def test_empty_batches_pass_every_step() -> None:
    required = {
        "clip": {"low_mv": -1, "high_mv": 1},
        "scale": {"factor": 2},
        "bandpass": {"low_hz": 1},
        "notch": {"frequency_hz": 50},
        "median_baseline": {"seconds": 0.4},
    }
    for name in STEPS:
        run(np.zeros((0, 12, 100), np.float32), name, **required.get(name, {}))


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ({"name": "zscor"}, "Unknown preparation step 'zscor'. Did you mean 'zscore'"),
        ({"name": "zscore", "at": "modle"}, "Did you mean 'model'"),
        ({"name": "zscore", "axes": "lead"}, "Its parameters: axis, eps"),
        ({"name": "scale"}, "argument: 'factor'"),
        ({"name": "scale", "factor": np.float32(2)}, "JSON"),
        ({"axis": "lead"}, "must be a mapping with a name"),
        ("zscore", "must be a mapping with a name"),
    ],
)
def test_a_wrong_step_is_refused_before_any_signal(step: Any, text: str) -> None:
    with pytest.raises(InputError) as caught:
        check_step(step)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("zscore", {"axis": "leads"}, "Did you mean 'lead'"),
        ("clip", {"low_mv": 3, "high_mv": -3}, "not 3 and -3"),
        ("bandpass", {}, "from None to None Hz"),
        ("bandpass", {"low_hz": 40, "high_hz": 1}, "from 40 to 1 Hz"),
        ("bandpass", {"low_hz": 1, "high_hz": 50}, "half the rate"),
        ("bandpass", {"low_hz": 1, "design": "chebyshev"}, "Unknown filter design 'chebyshev'"),
        ("bandpass", {"low_hz": 1, "design": "fir", "fir_seconds": 0.4}, "needs more than 123"),
        ("bandpass", {"low_hz": 1, "high_hz": 40, "order": 40}, "too short for this filter"),
        ("notch", {"frequency_hz": 50}, "below half the rate"),
        ("notch", {"frequency_hz": 40, "quality": 0}, "quality 0"),
        ("median_baseline", {"seconds": 0}, "not 0"),
    ],
)
def test_a_value_that_does_not_suit_the_signal(name: str, parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        run(noise(1, 12, 100), name, **parameters)
    assert text in str(caught.value)


def test_unknown_names_are_unknown_name_errors() -> None:
    with pytest.raises(UnknownNameError):
        check_step({"name": "nothing"})
