from __future__ import annotations

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.recordings import real_matrix
from ecg_hub.input.samples import MISSING, quantise, shown_names, to_millivolt

WAVE = np.random.default_rng(0).normal(size=(500, 3))


def error_uv(millivolt: np.ndarray) -> np.ndarray:
    back = to_millivolt(*quantise(millivolt))
    return np.nan_to_num(np.abs(back - millivolt)).max(axis=0) * 1000


def test_a_lead_at_the_rail_costs_the_others_nothing() -> None:
    x = WAVE.copy()
    x[:, 2] = 1000.007
    x[::2, 2] = -1000.0
    assert (error_uv(x)[:2] <= 0.5).all()
    assert 0.5 < error_uv(x)[2] <= 32


def test_an_offset_goes_into_the_baseline() -> None:
    assert (error_uv(WAVE + np.array([300.0, -4000.0, 0.0])) <= 0.75).all()
    assert quantise(WAVE + 300.0, offsets=False)[2].tolist() == [0, 0, 0]


def test_gaps_stay_gaps() -> None:
    x = WAVE + np.array([300.0, 0.0, 0.0])
    x[7, 0] = np.nan
    samples, _, _ = quantise(x)
    assert np.argwhere(samples == MISSING).tolist() == [[7, 0]]
    with pytest.raises(DataError, match="infinite"):
        quantise(np.array([[np.inf]]))


def test_what_an_array_masks_is_missing() -> None:
    masked = np.ma.MaskedArray(np.array([[1, 2, 3]]), mask=[[False, True, False]])
    assert np.isnan(real_matrix(masked)).tolist() == [[False, True, False]]


def test_names_of_persons_are_not_shown() -> None:
    assert shown_names(["ECG 1", "Jane Doe", "1970-01-01", "Ch2"]) == "'ECG 1', 'Ch2' and 2 other names"
    assert shown_names(["Miller"]) == "1 name"
