"""Files of hospitals go into the extractor by their path, as arrays do, and through everything that stands on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError
from ecg_hub.inference.records import run_records
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.leads import LEADS
from tests.support.hospital import WRITERS, strip, write_hospital

LIMB = LEADS[:6]


@pytest.fixture(scope="module")
def extractor() -> ECGFeatureExtractor:
    return ECGFeatureExtractor()


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_path_gives_what_its_samples_give(form: str, extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    names = LIMB if form == "kardia" else LEADS
    digital = strip(1500, len(names))
    path = write_hospital(tmp_path, form, digital, 500, names)
    missing = "zero" if form == "kardia" else "raise"
    microvolt = digital.T * WRITERS[form][1]
    expected = extractor(microvolt, 500, names, unit="uV", missing_leads=missing)["input_values"]
    # What the file is called does not matter.
    other = path.rename(tmp_path / "renamed.bin")
    given = extractor(other, missing_leads=missing)["input_values"]
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_names_of_the_caller_and_other_channels(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    digital = strip(1500, 3)
    path = write_hospital(tmp_path, "scp", digital, 500, ["I", "V8", "II"])
    left = extractor(path, missing_leads="zero")["input_values"]
    named = extractor(path, lead_names=["I", "V1", "II"], missing_leads="zero")["input_values"]
    assert (left[0, 6] == 0).all()
    assert named[0, 6].std() > 0
    with pytest.raises(InputError, match="file states its own units"):
        extractor(path, unit="uV")
    with pytest.raises(InputError, match="says 500 Hz"):
        extractor(path, 250)
    unknown = write_hospital(tmp_path, "scp", digital[:, :1], 500, ["V8"])
    with pytest.raises(InputError, match=r"none of its channels is a lead: 'lead 1 \(code 150\)'"):
        extractor(unknown)


def test_damage_is_a_row_with_its_reason(extractor: ECGFeatureExtractor, tmp_path: Path) -> None:
    good = write_hospital(tmp_path, "aecg", strip(1500))
    bad = tmp_path / "cut.scp"
    bad.write_bytes(write_hospital(tmp_path, "scp", strip(1500)).read_bytes()[:5000])
    outputs = list(run_records([str(good), str(bad)], extractor, lambda x: x.mean(-1), progress=False))
    assert outputs[0].outputs is not None
    assert outputs[1].outputs is None
    assert outputs[1].reason is not None
    assert "cut short" in outputs[1].reason
