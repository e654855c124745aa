from __future__ import annotations

import pytest

from ecg_hub.errors import UnknownNameError
from ecg_hub.input.recordings import canonical_unit
from ecg_hub.input.units import is_unit, plain_unit, unit_uv


@pytest.mark.parametrize(
    ("text", "microvolt"),
    [
        ("uV", 1.0), ("µV", 1.0), ("\u03bcV", 1.0), ("Âµv", 1.0), ("Î¼V", 1.0), ("æV", 1.0), ("[µV]", 1.0),
        ("MICROVOLTS", 1.0), ("mV", 1e3), ("Millivolt", 1e3), ("V", 1e6), ("nV", 1e-3), ("4,88 µV", 4.88),
        ("2.5e-3 mV", 2.5),
    ],
)  # fmt: skip
def test_spellings_of_units(text: str, microvolt: float) -> None:
    assert unit_uv(text) == pytest.approx(microvolt)


@pytest.mark.parametrize("text", ["", " ", "pm", "mmHg", "?V", "\ufffdV", "0 uV", "Volume", "uA", "mVs"])
def test_what_is_no_unit_of_voltage_is_never_guessed(text: str) -> None:
    assert not is_unit(text)
    with pytest.raises(ValueError, match="is no unit of voltage; allowed: V, mV, uV, nV"):
        unit_uv(text)


def test_units_of_arrays() -> None:
    assert [canonical_unit(text) for text in ("µV", "MV", "nV", "ZScore")] == ["uV", "mV", "nV", "zscore"]
    with pytest.raises(ValueError, match=r"4.88 uV"):
        plain_unit("4.88 uV")
    with pytest.raises(UnknownNameError, match="Unknown unit 'mmHg'"):
        canonical_unit("mmHg")
