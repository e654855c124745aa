"""What passes as millivolts and what does not, with the figures of real records and with artefacts put into one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError
from ecg_hub.inference.records import RecordSource, run_records
from ecg_hub.input.amplitude import not_millivolt
from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from ecg_hub.input.recordings import canonical_record, wfdb_recording
from ecg_hub.leads import LEADS
from tests.support.records import write_record

REAL = ("ptbxl/mini/records500", "ningbo", "cpsc2018", "cpsc_extra", "georgia", "chapman/cinc2021_form", "ptb")
UNREADABLE = ("old_2020_headers", "headers_only")


def beats(leads: int = 12, samples: int = 5000, height_mv: float = 1.2) -> np.ndarray:
    """Noise of 0.05 mV with a beat of 40 ms every second, at 500 Hz."""
    signal = np.random.default_rng(1).normal(scale=0.05, size=(leads, samples)).astype(np.float32)
    for start in range(100, samples, 500):
        signal[:, start : start + 20] += np.float32(height_mv) * np.hanning(20).astype(np.float32)
    return signal


@pytest.mark.heavy
def test_real_records_pass_and_do_not_in_microvolts(shared: Path) -> None:
    headers = [path for part in REAL for path in sorted((shared / "data" / part).rglob("*.hea"))]
    headers = [path for path in headers if not set(UNREADABLE) & set(path.parts)]
    checked = 0
    for header in headers:
        recording = wfdb_recording(header)
        signal, rate = canonical_record(recording, missing_leads="zero", nan="zero").signal, recording.sampling_rate
        for window in (signal, signal[:, : int(2.5 * rate)], signal[1:2]):
            assert not_millivolt(window) is None, header
            assert window is signal[1:2] or not_millivolt(1000 * window) is not None, header
        checked += 1
    assert checked > 200


@pytest.mark.parametrize("lead", range(12))
def test_a_single_lead_is_enough(lead: int) -> None:
    one = beats()[lead : lead + 1]
    assert not_millivolt(one) is None
    assert "Its leads span 1," in str(not_millivolt(1000 * one))


def test_pacing_spikes_and_artefacts_pass() -> None:
    pacing, shock, loose, saturated, wander = (beats() for _ in range(5))
    pacing[:, 50::400] += 150.0  # one sample, of an amplifier that follows it
    shock[:, 2000:2200] = 400.0  # all leads, 0.4 s
    loose[:5] = np.where(np.arange(5000) % 7 < 3, 330.0, -330.0)  # mains on five leads, as far as the amplifier goes
    saturated[:] = np.where(np.arange(5000) < 2500, 32.767, -32.768)  # all a 16-bit file holds at 1 uV
    wander += 20 * np.sin(np.arange(5000) / 800).astype(np.float32)
    offset = beats() + 300.0  # electrodes without a high-pass filter
    for signal in (pacing, shock, loose, saturated, wander, offset):
        assert not_millivolt(signal) is None
        assert not_millivolt(signal.astype(np.float64)) is None


def test_flat_leads_and_missing_samples_say_nothing() -> None:
    assert not_millivolt(np.zeros((12, 500))) is None
    assert not_millivolt(np.full((12, 500), np.nan, np.float32)) is None
    quiet = 1000 * beats()
    quiet[2:] = 0.0
    assert not_millivolt(quiet) is not None
    quiet[1, 100:] = np.nan
    quiet[0, :50] = np.nan
    assert not_millivolt(quiet) is not None


def test_the_extractor_names_the_unit() -> None:
    extractor, signal = ECGFeatureExtractor(), beats()
    expected = extractor(signal, 500, LEADS)["input_values"]
    given = extractor(1000 * signal, 500, LEADS, unit="uV")["input_values"]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    with pytest.raises(InputError, match=r"signals\[1\]: Its leads span 1,.* Pass unit='uV' if the signal is in micro"):
        extractor([signal, 1000 * signal], 500, LEADS)
    with pytest.raises(InputError, match=r"Its leads span 1,... mV.*Pass unit='uV'"):
        extractor(signal, 500, LEADS, unit="V")
    with pytest.raises(InputError, match=r"Convert the signal to millivolts"):
        extractor(1e6 * signal, 500, LEADS, unit="uV")
    assert extractor(1000 * signal, 500, LEADS, unit="zscore")["input_values"].shape == (1, 12, 600)


def test_a_header_that_states_the_wrong_unit_is_named(tmp_path: Path) -> None:
    write_record(tmp_path / "wrong", 1000 * beats(), 500, LEADS, unit="mV", gain=1.0)
    with pytest.raises(InputError, match=r"record '.*wrong': Its leads span 1,.* Correct gain and unit in its header"):
        ECGFeatureExtractor()(tmp_path / "wrong")


def test_a_row_of_a_store_that_was_made_of_microvolts_is_named() -> None:
    row = {"record_id": "a7", "signal": (1000 * beats()).T.astype(np.int16), "sampling_rate": 500}
    row |= {"gain_uv": np.full(12, 1000.0, np.float32), "baseline": np.zeros(12, np.int32)}
    with pytest.raises(InputError, match=r"record 'a7': Its leads span 1,.* prepare it again with unit: uV"):
        ECGFeatureExtractor()(row)


def test_embedding_reports_the_record_and_goes_on() -> None:
    sources = [RecordSource(f"x{scale}", lambda s=scale: (s * beats(), 500, LEADS)) for scale in (1000, 1)]
    wrong, right = run_records(sources, ECGFeatureExtractor(), lambda x: x.mean(-1), progress=False)
    assert wrong.reason is not None
    assert "unit='uV'" in wrong.reason
    assert right.reason is None
