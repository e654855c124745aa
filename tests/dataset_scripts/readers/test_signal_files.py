"""Files of one record each: where they are found, and how exactly their floats are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.core.spec import Signal
from dataset_scripts.readers.signal_files import find_files, float_signal
from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING


def microvolt(signal: Signal) -> np.ndarray:
    values: np.ndarray = (signal.samples.astype(np.float64) - signal.baseline) * signal.gain_uv.astype(np.float64)
    values[signal.samples == MISSING] = np.nan
    return values


def test_files_are_found_in_the_folder_and_in_one_of_its_name(tmp_path: Path) -> None:
    nested = tmp_path / "ECGData" / "ECGData"
    nested.mkdir(parents=True)
    for path in (nested / "a.csv", nested / "b.csv", nested.parent / "b.csv", nested.parent / "c.txt"):
        path.touch()
    assert find_files(tmp_path, "ECGData", ".csv") == {"a": "ECGData/ECGData/a.csv", "b": "ECGData/b.csv"}
    assert find_files(tmp_path, "other", ".csv") == {}
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be read"):
        find_files(tmp_path, "file", ".csv")


def test_multiples_of_a_known_step_are_stored_as_such_however_large() -> None:
    steps = np.random.default_rng(0).integers(-32_000, 32_000, size=(50, 12))
    signal = float_signal(np.round(steps * 4.88, 2), 500, step_uv=4.88)
    assert (signal.samples == steps).all()
    assert (signal.gain_uv == np.float32(4.88)).all()
    assert signal.remark == ""


def test_other_values_fall_back_to_half_a_microvolt_at_most() -> None:
    values = np.random.default_rng(0).uniform(-32_000, 32_000, size=(400, 12))
    signal = float_signal(values, 500, step_uv=4.88)
    assert np.abs(microvolt(signal) - values).max() <= 0.5
    whole = np.rint(values)
    assert (microvolt(float_signal(whole, 500, step_uv=4.88)) == whole).all()


def test_an_artefact_makes_only_its_own_lead_coarse_and_is_told() -> None:
    values = np.random.default_rng(0).uniform(-900, 900, size=(400, 12))
    values[7, 4] = 1_590_000.0
    signal = float_signal(values, 500)
    error = np.abs(microvolt(signal) - values).max(axis=0)
    assert error[4] <= 32
    assert np.delete(error, 4).max() <= 1 / 64
    assert signal.remark == "beyond 32.767 mV in aVL: stored there in steps of up to 64 microvolt"


def test_missing_samples_are_marked_and_told() -> None:
    values = np.full((20, 12), 9.76)
    values[3:5, 0] = np.nan
    values[:, 11] = np.nan
    for step in (4.88, None):
        signal = float_signal(values, 500, step_uv=step, remark="odd")
        assert (signal.samples[3:5, 0] == MISSING).all()
        assert np.isnan(microvolt(signal)).sum() == 22
        assert signal.remark == "odd; 22 samples are missing in I, V6"
    assert float_signal(np.full((5, 12), np.nan), 500).remark == ""


@pytest.mark.parametrize("step", [4.88, None])
def test_an_infinite_sample_is_damage(step: float | None) -> None:
    with pytest.raises(DataError, match="infinite"):
        float_signal(np.full((5, 12), np.inf), 500, step_uv=step)
