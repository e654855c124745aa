from __future__ import annotations

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING, lead_columns, missing_leads, quantise, take_columns
from ecg_hub.leads import LEADS


def test_leads_are_found_by_name_whatever_their_case_and_order() -> None:
    names = ["vx", *reversed([lead.upper() for lead in LEADS]), "unheard of"]
    assert lead_columns(names) == list(range(12, 0, -1))


def test_absent_leads_are_none_and_named() -> None:
    columns = lead_columns(["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V3", "V5"])
    assert columns == [0, 1, 2, 3, 4, 5, 6, None, 7, None, 8, None]
    assert missing_leads(columns) == ["V2", "V4", "V6"]


def test_a_lead_that_occurs_twice_is_damage() -> None:
    with pytest.raises(DataError, match="lead aVR occurs twice"):
        lead_columns(["I", "AVR", "aVR"])


def test_a_record_without_any_lead_is_damage() -> None:
    with pytest.raises(DataError, match="none of the twelve leads among 'vx'"):
        lead_columns(["vx"])


def test_columns_are_put_in_order_and_absent_ones_filled() -> None:
    values = np.array([[1, 2, 3]], dtype=np.int16)
    taken = take_columns(values, [2, None, 0], MISSING)
    assert taken.tolist() == [[3, MISSING, 1]]
    assert taken.dtype == np.int16


def test_columns_in_order_are_not_copied_and_surplus_ones_are_cut() -> None:
    values = np.arange(30, dtype=np.int16).reshape(2, 15)
    assert take_columns(values[:, :12], range(12), MISSING).base is not None
    assert take_columns(values, range(12), MISSING).tolist() == values[:, :12].tolist()


@pytest.mark.parametrize("peak_mv", [0.0, 0.001, 0.5, 3.0, 32.767, 32.768, 120.0])
def test_quantisation_error_is_at_most_half_the_gain(peak_mv: float) -> None:
    millivolt = np.random.default_rng(0).uniform(-peak_mv, peak_mv, size=(500, 12))
    millivolt[7] = peak_mv
    samples, gain_uv, baseline = quantise(millivolt)
    back = (samples.astype(np.float64) - baseline) * gain_uv / 1000.0
    assert samples.dtype == np.int16
    assert gain_uv.dtype == np.float32
    assert (gain_uv == gain_uv[0]).all()
    assert gain_uv[0] <= 1.0 or peak_mv > 32.767
    assert np.abs(back - millivolt).max() <= gain_uv[0] / 2000.0 * (1 + 1e-9)
    assert (samples != MISSING).all()


def test_quantisation_keeps_whole_microvolts_exactly() -> None:
    microvolt = np.random.default_rng(1).integers(-32767, 32768, size=(400, 12))
    samples, gain_uv, _ = quantise(microvolt / 1000.0)
    assert (samples * gain_uv.astype(np.float64) == microvolt).all()


def test_quantisation_marks_missing_samples_and_refuses_infinite_ones() -> None:
    millivolt = np.ones((3, 12))
    millivolt[1, 2] = np.nan
    samples, _, _ = quantise(millivolt)
    assert np.argwhere(samples == MISSING).tolist() == [[1, 2]]
    assert np.isnan(millivolt).sum() == 1
    millivolt[0, 0] = -np.inf
    with pytest.raises(DataError, match="infinite"):
        quantise(millivolt)
