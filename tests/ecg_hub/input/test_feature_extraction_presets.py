"""Presets of the feature extractor: saving, choosing, checking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.leads import LEADS
from tests.support.extraction import PRESETS, einthoven, values


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
