"""Input that the feature extractor refuses, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import InputError
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.leads import LEADS
from tests.support.extraction import PRESETS, signal, values


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
    with pytest.raises(InputError, match=r"signals\[1\]: No record at '.*absent'"):
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
