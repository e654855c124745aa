from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.feature_extraction import ECGFeatureExtractor
from ecg_hub.leads import LEADS
from ecg_hub.recordings import load_wfdb
from ecg_hub.signal import resample
from tests.support.records import write_record

MIMIC_ORDER = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
PRESETS: dict[str, dict[str, Any]] = {
    "benchmark": {"sampling_rate": 240, "input_seconds": 2.5, "lead_names": list(LEADS), "steps": []},
    "native": {"sampling_rate": 240, "input_seconds": 10.0, "lead_names": list(LEADS), "steps": []},
    "eight": {"sampling_rate": 250, "input_seconds": 10, "lead_names": ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]},
    "prepared": {
        "sampling_rate": 100,
        "input_seconds": 10,
        "lead_names": MIMIC_ORDER,
        "steps": [
            {"name": "bandpass", "at": "source", "low_hz": 0.67, "high_hz": 40},
            {"name": "minmax", "axis": "record"},
        ],
        "resample": "fourier",
    },
}


def signal(samples: int = 5000, leads: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((leads, samples)).astype(np.float32)


def einthoven(samples: int = 5000) -> np.ndarray:
    x = signal(samples)
    x[2], x[3], x[4], x[5] = x[1] - x[0], -(x[0] + x[1]) / 2, x[0] - x[1] / 2, x[1] - x[0] / 2
    return x


@pytest.fixture
def extractor() -> ECGFeatureExtractor:
    return ECGFeatureExtractor(presets=PRESETS)


def values(features: BatchFeature) -> np.ndarray:
    return np.asarray(features["input_values"])


# What comes out


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


# What is reported


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


# WFDB records


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_record_path(extractor: ECGFeatureExtractor, tmp_path: Path, suffix: str) -> None:
    x = signal()
    write_record(tmp_path / "a", x, 500, [lead.upper() for lead in LEADS])
    stored = np.round(x * 1000) / 1000
    expected = values(extractor(stored, 500, LEADS))
    np.testing.assert_allclose(values(extractor(tmp_path / f"a{suffix}")), expected, atol=1e-6)
    np.testing.assert_allclose(values(extractor(str(tmp_path / f"a{suffix}"))), expected, atol=1e-6)


def test_header_decides_rate_names_and_units(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    x = signal(4000)
    names = [*MIMIC_ORDER, "vx"]
    rows = np.concatenate([x[[LEADS.index(lead) for lead in MIMIC_ORDER]], signal(4000, 1)])
    write_record(tmp_path / "b", rows * 1000, 400, names, unit="uV", gain=1.0)
    expected = values(extractor(np.round(x * 1000), 400.0, LEADS, unit="uV", window="all"))
    np.testing.assert_allclose(values(extractor(tmp_path / "b", window="all")), expected, atol=1e-6)
    np.testing.assert_array_equal(values(extractor([tmp_path / "b"], 400)), values(extractor(tmp_path / "b")))


def test_paths_and_arrays_in_one_list(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    x = signal()
    write_record(tmp_path / "m", x, 500, LEADS)
    batch = extractor([x, tmp_path / "m"], 500, LEADS)
    assert batch["record_index"].tolist() == [0, 1]
    np.testing.assert_allclose(values(batch)[0], values(batch)[1], atol=2e-3)


def test_lead_names_given_for_a_record_replace_the_headers(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    write_record(tmp_path / "c", signal(), 500, [f"channel {row}" for row in range(12)])
    with pytest.raises(UnknownNameError, match=r"record '.*c': Unknown lead 'channel 0'"):
        extractor(tmp_path / "c")
    assert values(extractor(tmp_path / "c", lead_names=LEADS)).shape == (1, 12, 600)


def test_samples_marked_as_missing_are_nan(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    x = signal()
    x[7, 3] = np.nan
    write_record(tmp_path / "d", x, 500, LEADS)
    with pytest.raises(InputError, match=r"Lead V2 has 1 NaN samples, the first at 3"):
        extractor(tmp_path / "d")
    stored = np.round(np.nan_to_num(x) * 1000) / 1000
    expected = values(extractor(stored, 500, LEADS))
    np.testing.assert_allclose(values(extractor(tmp_path / "d", nan="zero")), expected, atol=1e-6)


def test_a_damaged_record_is_named(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    path = tmp_path / "e"
    write_record(path, signal(), 500, LEADS)
    data, header = path.with_suffix(".dat"), path.with_suffix(".hea")
    whole = data.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1, 0):
        data.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"e\.dat' does not hold what the header says"):
            extractor(path)
    data.unlink()
    with pytest.raises(InputError, match=r"e\.dat' is missing"):
        extractor(path)
    data.write_bytes(whole)
    for text in ("", "not a header\n", "e 0 500 5000\n"):
        header.write_text(text)
        with pytest.raises(InputError, match=r"e\.hea'"):
            extractor(path)
    header.unlink()
    with pytest.raises(InputError, match=r"header .*e\.hea' does not exist"):
        extractor([path])


def test_a_header_without_rate_needs_one(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    write_record(tmp_path / "f", signal(), 500, LEADS)
    header = tmp_path / "f.hea"
    header.write_text(header.read_text().replace("f 12 500 5000", "# made by hand\n\nf 12", 1))
    with pytest.raises(InputError, match="sampling_rate is missing"):
        extractor(tmp_path / "f")
    assert values(extractor(tmp_path / "f", 500, window="all")).shape == (4, 12, 600)


def test_arguments_that_contradict_the_header(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    write_record(tmp_path / "g", signal(), 500, LEADS)
    with pytest.raises(InputError, match="sampling_rate=250 was given, but the header says 500 Hz"):
        extractor(tmp_path / "g", 250)
    with pytest.raises(InputError, match="unit='uV' was given"):
        extractor(tmp_path / "g", unit="uV")
    write_record(tmp_path / "h", signal(), 500, LEADS, unit="mmHg")
    with pytest.raises(UnknownNameError, match="Unknown unit 'mmHg'"):
        extractor(tmp_path / "h")


def test_published_files(extractor: ECGFeatureExtractor, shared: Path) -> None:
    folder = shared / "data" / "ptbxl" / "mini"
    for name, rate in (("records500/00000/00001_hr", 500), ("records100/00000/00001_lr", 100)):
        record = load_wfdb().rdrecord(str(folder / name))
        assert record.sig_name[3:6] == ["AVR", "AVL", "AVF"]
        x = record.p_signal.T.astype(np.float32)
        width = int(2.5 * rate)
        by_hand = np.stack([resample(x[:, s : s + width], rate, 240) for s in range(0, 4 * width, width)])
        np.testing.assert_allclose(values(extractor(folder / name, window="all")), by_hand, atol=1e-6)
        np.testing.assert_array_equal(
            values(extractor(folder / name, window="all")), values(extractor(x, rate, LEADS, window="all"))
        )


def test_published_file_with_orthogonal_leads(extractor: ECGFeatureExtractor, shared: Path) -> None:
    header = next((shared / "data" / "ptb").rglob("s0010_re.hea"))
    out = values(extractor(header, window="all"))
    assert out.shape == (15, 12, 600)
    assert 0.3 < np.abs(out).max() < 20


# What is refused


def broken(kind: str) -> Any:
    x = signal()
    if kind == "nan":
        x[10, 17] = np.nan
    if kind == "inf":
        x[1, 4] = -np.inf
    return {
        "1-d": x[0],
        "3-d": x[None],
        "transposed": x.T,
        "no samples": x[:, :0],
        "no leads": x[:0],
        "short": x[:, :1249],
        "text": np.full((12, 5000), "1"),
        "object": np.full((12, 5000), None),
        "complex": x + 1j,
        "bool": x > 0,
        "eleven": x[:11],
        "none": [],
    }.get(kind, x)


@pytest.mark.parametrize(
    ("kind", "arguments", "texts"),
    [
        ("1-d", {}, ["(leads, samples)", "(5000,)", "signal[None]"]),
        ("3-d", {}, ["(leads, samples)", "(1, 12, 5000)", "list of arrays"]),
        ("transposed", {}, ["(5000, 12)", "transposed", "signal.T"]),
        ("no samples", {}, ["empty", "(12, 0)"]),
        ("no leads", {}, ["empty", "(0, 5000)"]),
        ("none", {}, ["empty list"]),
        ("short", {}, ["1249 samples (2.498 s at 500 Hz)", "2.5 s", "'benchmark'", "nothing is padded"]),
        ("text", {}, ["real numbers", "<U1"]),
        ("object", {}, ["real numbers", "object"]),
        ("complex", {}, ["real numbers", "complex"]),
        ("bool", {}, ["real numbers", "bool"]),
        ("nan", {}, ["Lead V5 has 1 NaN", "first at 17", "nan='zero'"]),
        ("inf", {}, ["Lead II is -inf at sample 4"]),
        ("inf", {"nan": "zero"}, ["Lead II is -inf at sample 4"]),
        ("eleven", {}, ["12 lead names", "(11, 5000)"]),
        ("eleven", {"lead_names": LEADS[:11]}, ["Missing leads V6", "missing_leads='zero'"]),
        ("", {"sampling_rate": None}, ["sampling_rate is missing", "sampling_rate=500"]),
        ("", {"sampling_rate": "500 Hz"}, ["must be a number in Hz", "'500 Hz'"]),
        ("", {"sampling_rate": -500}, ["positive", "-500"]),
        ("", {"lead_names": None}, ["lead_names is missing", "lead_names="]),
        ("", {"lead_names": "I"}, ["not the string 'I'"]),
        ("", {"lead_names": [*LEADS[:11], "V7"]}, ["Unknown lead 'V7'", "Known: I, II"]),
        ("", {"lead_names": [*LEADS[:11], "v5"]}, ["Lead V5 is named twice"]),
        ("", {"unit": "z-score"}, ["Unknown unit 'z-score'", "Did you mean 'zscore'", "mV"]),
        ("", {"window": "frist"}, ["Unknown window 'frist'", "Did you mean 'first'"]),
        ("", {"preset": "bechmark"}, ["Unknown preset 'bechmark'", "Did you mean 'benchmark'"]),
        ("", {"missing_leads": "zeros"}, ["missing_leads", "'zeros'", "Did you mean 'zero'"]),
        ("", {"nan": "ignore"}, ["nan choice 'ignore'", "raise, zero"]),
    ],
)
def test_input_that_does_not_fit(
    extractor: ECGFeatureExtractor, kind: str, arguments: dict[str, Any], texts: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        extractor(broken(kind), **{"sampling_rate": 500, "lead_names": LEADS, **arguments})
    assert isinstance(caught.value, ValueError)
    for text in texts:
        assert text in str(caught.value)


def test_one_bad_signal_of_many_is_pointed_at(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"signals\[1\]: Lead V5 has 1 NaN"):
        extractor([signal(), broken("nan")], 500, LEADS)
    with pytest.raises(InputError, match=r"signals\[1\]: No WFDB record at '.*absent'"):
        extractor([signal(), tmp_path / "absent"], 500, LEADS)
    with pytest.raises(InputError, match=r"signals\[0\]: A signal must be \(leads, samples\)"):
        extractor([[0.0, 1.0], [2.0, 3.0]], 500, ["I", "II"])
    with pytest.raises(InputError, match="inhomogeneous"):
        extractor([[[0.0, 1.0], [2.0]]], 500, ["I", "II"])


def test_nan_in_a_lead_that_is_not_needed_does_not_matter(extractor: ECGFeatureExtractor) -> None:
    x = signal()
    expected = values(extractor(x, 500, LEADS, preset="eight"))
    x[3], x[4] = np.nan, np.inf
    np.testing.assert_array_equal(values(extractor(x, 500, LEADS, preset="eight")), expected)
    whole_record = {"name": "minmax", "at": "source", "axis": "record"}
    scaled = ECGFeatureExtractor(presets={"benchmark": {**PRESETS["eight"], "steps": [whole_record]}})
    assert np.isfinite(values(scaled(x, 500, LEADS))).all()


def test_nan_set_to_zero_before_resampling(extractor: ECGFeatureExtractor) -> None:
    x = signal()
    x[2, 100:200] = np.nan
    filled = np.nan_to_num(x)
    np.testing.assert_array_equal(values(extractor(x, 500, LEADS, nan="zero")), values(extractor(filled, 500, LEADS)))
    np.testing.assert_array_equal(
        extractor.prepare_windows(x[None, :, :1250], 500), extractor.prepare_windows(filled[None, :, :1250], 500)
    )


def test_limb_leads_do_not_follow_from_z_scores(extractor: ECGFeatureExtractor) -> None:
    names = [lead for lead in LEADS if lead != "aVF"]
    x = signal(leads=11)
    assert values(extractor(x, 500, names)).shape == (1, 12, 600)
    with pytest.raises(InputError, match=r"Missing leads aVF.*cannot be derived from z-scores"):
        extractor(x, 500, names, unit="zscore")
    features = extractor(x, 500, names, unit="zscore", missing_leads="zero")
    assert features.zeroed_leads == (("aVF",),)
    np.testing.assert_array_equal(values(features)[0, 5], 0)


@pytest.mark.parametrize("shape", [(1250,), (12, 1250), (1, 8, 1250), (1, 12, 1249), (1, 12, 600)])
def test_prepare_windows_wants_twelve_leads_of_the_right_length(
    extractor: ECGFeatureExtractor, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"must be \(n, 12, 1250\), not of shape"):
        extractor.prepare_windows(np.zeros(shape, np.float32), 500)


def test_no_windows_at_all(extractor: ECGFeatureExtractor) -> None:
    for preset in PRESETS:
        spec = extractor.spec(preset)
        empty = np.zeros((0, 12, int(500 * spec.input_seconds)), np.float32)
        assert extractor.prepare_windows(empty, 500, preset).shape == (0, len(spec.lead_names), spec.samples)


def test_prepare_record_checks_its_shape(extractor: ECGFeatureExtractor) -> None:
    with pytest.raises(InputError, match=r"must be \(12, samples\), not of shape \(8, 100\)"):
        extractor.prepare_record(np.zeros((8, 100), np.float32), 500)


# Presets and saving


def test_round_trip_keeps_every_preset_and_the_default(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    prepared = extractor.with_preset("prepared")
    prepared.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert stored["preset"] == "prepared"
    assert stored["sampling_rate"] == 100
    assert set(stored["presets"]) == set(PRESETS)
    loaded = ECGFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == prepared.to_dict()
    x = einthoven()
    for preset in (None, *PRESETS):
        np.testing.assert_array_equal(
            values(loaded(x, 500, LEADS, preset=preset)), values(prepared(x, 500, LEADS, preset=preset))
        )
    assert ECGFeatureExtractor.from_pretrained(tmp_path, preset="benchmark").sampling_rate == 240


def test_with_preset_leaves_the_original(extractor: ECGFeatureExtractor) -> None:
    eight = extractor.with_preset("eight")
    assert (eight.preset, eight.sampling_rate, eight.feature_size) == ("eight", 250, 8)
    assert (extractor.preset, extractor.sampling_rate, extractor.feature_size) == ("benchmark", 240, 12)
    assert eight.spec() == extractor.spec("eight")
    with pytest.raises(UnknownNameError, match="Did you mean 'native'"):
        extractor.with_preset("nativ")


def test_spec(extractor: ECGFeatureExtractor) -> None:
    spec = extractor.spec()
    assert (spec.preset, spec.sampling_rate, spec.input_seconds, spec.samples) == ("benchmark", 240, 2.5, 600)
    assert spec.lead_names == LEADS
    assert spec.source_steps == spec.model_steps == ()
    prepared = extractor.spec("prepared")
    assert [step["name"] for step in prepared.source_steps] == ["bandpass"]
    assert [step["name"] for step in prepared.model_steps] == ["minmax"]


def test_without_presets_there_is_one_plain_one() -> None:
    spec = ECGFeatureExtractor().spec()
    assert (spec.sampling_rate, spec.input_seconds, spec.lead_names, spec.steps) == (240, 2.5, LEADS, ())
    assert ECGFeatureExtractor(sampling_rate=100).spec().samples == 250


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sampling_rate": 240.5}, "positive whole number of Hz, not 240.5"),
        ({"sampling_rate": 0}, "not 0"),
        ({"sampling_rate": "240"}, "not '240'"),
        ({"input_seconds": -1}, "positive number of seconds, not -1"),
        ({"lead_names": ["I", "lead ii", "D2"]}, "named twice"),
        ({"lead_names": ["I", "vx"]}, "must be some of"),
        ({"lead_names": []}, "must be some of"),
        ({"steps": [{"name": "zscroe"}]}, "Did you mean 'zscore'"),
        ({"resample": "linear"}, "Unknown resampling method 'linear'"),
        ({"sampling": 240}, "has no key 'sampling'"),
    ],
)
def test_a_wrong_preset_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        ECGFeatureExtractor(presets={"benchmark": {**PRESETS["benchmark"], **change}})
    assert text in str(caught.value)


def test_presets_must_be_complete_and_agree() -> None:
    with pytest.raises(InputError, match="lacks input_seconds, lead_names"):
        ECGFeatureExtractor(presets={"benchmark": {"sampling_rate": 240}})
    with pytest.raises(InputError, match="must be a mapping"):
        ECGFeatureExtractor(presets={"benchmark": None})  # type: ignore[dict-item]
    with pytest.raises(UnknownNameError, match="Unknown preset 'benchmark'"):
        ECGFeatureExtractor(presets={"native": PRESETS["native"]})
    with pytest.raises(InputError, match=r"sampling_rate=500 disagrees with the presets, which have \[240\]"):
        ECGFeatureExtractor(sampling_rate=500, presets={"benchmark": PRESETS["benchmark"]})
