"""What the feature extractor gives and reports."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.input.resampling import resample
from ecg_hub.leads import LEADS
from tests.support.extraction import PRESETS, einthoven, signal, values


def test_windows_are_cut_at_the_source_rate_and_then_resampled(extractor: ECGFeatureExtractor) -> None:
    x = signal()
    out = values(extractor(x, sampling_rate=500, lead_names=LEADS, window="all"))
    assert out.shape == (4, 12, 600)
    assert out.dtype == np.float32
    for index in range(4):
        np.testing.assert_allclose(out[index], resample(x[:, 1250 * index : 1250 * (index + 1)], 500, 240), atol=1e-6)
    whole = resample(x, 500, 240)
    assert np.abs(out[1] - whole[:, 600:1200]).max() > 0.01


@pytest.mark.parametrize(("window", "start"), [("first", 0), ("center", 1875)])
def test_window_placement(extractor: ECGFeatureExtractor, window: str, start: int) -> None:
    x = signal()
    out = values(extractor(x, 500, LEADS, window=window))
    np.testing.assert_allclose(out, resample(x[None, :, start : start + 1250], 500, 240), atol=1e-6)


def test_random_windows_follow_the_seed(extractor: ECGFeatureExtractor) -> None:
    x = signal()
    first, again, other = (values(extractor(x, 500, LEADS, window="random", seed=seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    start = int(np.random.default_rng(7).integers(0, 3750))
    np.testing.assert_allclose(first[0], resample(x[:, start : start + 1250], 500, 240), atol=1e-6)


def test_call_and_prepare_windows_agree_exactly(extractor: ECGFeatureExtractor) -> None:
    x = signal(20_000)
    for preset in PRESETS:
        spec = extractor.spec(preset)
        width = int(spec.input_seconds * 500)
        record = extractor.prepare_record(x, 500, preset)
        windows = np.stack([record[:, start : start + width] for start in range(0, 20_000 - width + 1, width)])
        called = values(extractor(x, 500, LEADS, window="all", preset=preset))
        np.testing.assert_array_equal(called, extractor.prepare_windows(windows, 500, preset))
        assert called.shape[1:] == (len(spec.lead_names), spec.samples)


def test_lead_names_match_in_any_case_and_order_and_extras_are_ignored(extractor: ECGFeatureExtractor) -> None:
    x = signal()
    expected = values(extractor(x, 500, LEADS))
    order = np.random.default_rng(1).permutation(12)
    shuffled = np.concatenate([signal(leads=3, seed=9), x[order]])
    names = ["VX", "vy", "z", *[LEADS[row].lower() for row in order]]
    np.testing.assert_array_equal(values(extractor(shuffled, 500, names)), expected)


def test_absent_limb_leads_are_derived(extractor: ECGFeatureExtractor) -> None:
    x = einthoven()
    keep = [LEADS.index(lead) for lead in ("V6", "V5", "V4", "V3", "V2", "V1", "II", "I")]
    out = values(extractor(x[keep], 500, [LEADS[row] for row in keep]))
    np.testing.assert_allclose(out, values(extractor(x, 500, LEADS)), atol=2e-6)


def test_measured_limb_leads_are_not_replaced(extractor: ECGFeatureExtractor) -> None:
    x = signal()
    np.testing.assert_allclose(values(extractor(x, 500, LEADS))[0, 2], resample(x[2, :1250], 500, 240), atol=1e-6)


def test_preset_chooses_leads_rate_length_and_steps(extractor: ECGFeatureExtractor) -> None:
    from scipy.signal import butter, sosfiltfilt
    from scipy.signal import resample as fourier

    x = einthoven(6000)
    eight = values(extractor(x[[0, 1, 6, 7, 8, 9, 10, 11]], 500, PRESETS["eight"]["lead_names"], preset="eight"))
    np.testing.assert_allclose(eight[0], resample(x[[0, 1, 6, 7, 8, 9, 10, 11], :5000], 500, 250), atol=1e-6)

    filtered = sosfiltfilt(butter(4, [0.67, 40], "bandpass", fs=500, output="sos"), x.astype(np.float64), axis=-1)
    by_hand = fourier(filtered[:, :5000], 1000, axis=-1)[[0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]]
    by_hand = (by_hand - by_hand.min()) / (by_hand.max() - by_hand.min() + 1e-8)
    np.testing.assert_allclose(values(extractor(x, 500, LEADS, preset="prepared"))[0], by_hand, atol=1e-5)


def test_rates_without_a_whole_window_still_fill_the_models_window(extractor: ECGFeatureExtractor) -> None:
    for rate in (257, 360, 400, 1000, 62.5, 128.0):
        assert values(extractor(signal(int(10 * rate)), rate, LEADS, window="all")).shape == (4, 12, 600)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mV", 1), ("mv", 1), ("uV", 1000), ("µV", 1000), ("V", 1e-3), ("zscore", 1)]
)
def test_units(extractor: ECGFeatureExtractor, unit: str, factor: float) -> None:
    x = signal()
    out = values(extractor(x * factor, 500, LEADS, unit=unit))
    np.testing.assert_allclose(out, values(extractor(x, 500, LEADS)), rtol=1e-5, atol=1e-5)


def test_integers_lists_and_tensors(extractor: ECGFeatureExtractor) -> None:
    x = (1000 * signal(1250)).astype(np.int16)
    expected = values(extractor(x.astype(np.float32), 500, LEADS, unit="uV"))
    np.testing.assert_array_equal(values(extractor(x, 500, LEADS, unit="uV")), expected)
    np.testing.assert_array_equal(values(extractor(torch.from_numpy(x), 500, LEADS, unit="uV")), expected)
    tensor = torch.from_numpy(x.astype(np.float32)).requires_grad_()
    np.testing.assert_array_equal(values(extractor(tensor, 500, LEADS, unit="uV")), expected)


def test_many_signals_and_record_index(extractor: ECGFeatureExtractor) -> None:
    signals = [signal(5000, seed=1), signal(1250, seed=2), signal(2600, seed=3)]
    batch = extractor(signals, 500, LEADS, window="all", return_tensors="pt")
    assert batch["input_values"].shape == (7, 12, 600)
    assert batch["record_index"].tolist() == [0, 0, 0, 0, 1, 2, 2]
    alone = values(extractor(signals[2], 500, LEADS, window="all"))
    np.testing.assert_array_equal(batch["input_values"][5:].numpy(), alone)
    assert "record_index" not in extractor(signals[0], 500, LEADS)
    assert extractor([signals[1]], 500, LEADS)["record_index"].tolist() == [0]


def test_return_tensors(extractor: ECGFeatureExtractor) -> None:
    for kind, expected in ((None, np.ndarray), ("np", np.ndarray), ("pt", torch.Tensor)):
        features = extractor(signal(), 500, LEADS, return_tensors=kind)
        assert isinstance(features, BatchFeature)
        assert isinstance(features["input_values"], expected)
        assert list(features.keys()) == ["input_values"]


def test_the_users_array_is_not_touched_and_not_returned(extractor: ECGFeatureExtractor) -> None:
    x = signal(1250)
    x[3, 5] = np.nan
    before = x.copy()
    same_rate = ECGFeatureExtractor(sampling_rate=500)
    for fe in (extractor, same_rate):
        out = values(fe(x, 500, LEADS, nan="zero"))
        assert not np.shares_memory(out, x)
        prepared = fe.prepare_windows(x[None], 500)
        assert not np.shares_memory(prepared, x)
    clean = signal(1250)[None]
    assert not np.shares_memory(same_rate.prepare_windows(clean, 500), clean)
    np.testing.assert_array_equal(x, before)


def test_flat_leads_are_reported_not_refused(extractor: ECGFeatureExtractor, caplog: pytest.LogCaptureFixture) -> None:
    x, y = signal(), signal(seed=1)
    y[[4, 11]] = [[0.0], [0.3]]
    with caplog.at_level(logging.WARNING, logger="ecg_hub"):
        batch = extractor([x, y], 500, LEADS, return_tensors="pt")
    assert batch.flat_leads == ((), ("aVL", "V6"))
    assert "Flat leads in signals[1]: aVL, V6" in caplog.text
    assert batch.to("cpu").flat_leads == batch.flat_leads
    assert pickle.loads(pickle.dumps(batch)).flat_leads == batch.flat_leads


def test_zeroed_leads_are_reported_apart(extractor: ECGFeatureExtractor) -> None:
    x = signal(leads=2)
    features = extractor(x, 500, ["I", "II"], missing_leads="zero")
    assert features.zeroed_leads == (("V1", "V2", "V3", "V4", "V5", "V6"),)
    assert features.flat_leads == ((),)
    np.testing.assert_array_equal(values(features)[0, 6:], 0)
    np.testing.assert_allclose(values(features)[0, 2], resample(x[1, :1250] - x[0, :1250], 500, 240), atol=2e-6)
