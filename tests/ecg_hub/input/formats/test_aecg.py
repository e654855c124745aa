"""HL7 aECG: units, origins, increments, which of several sequence sets is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.formats.aecg import read_aecg
from ecg_hub.input.formats.channels import Channels, rate_of_interval
from ecg_hub.leads import LEADS
from tests.support.hospital import strip
from tests.support.hospital_xml import aecg_sequence, aecg_set, aecg_text


def read(folder: Path, text: str) -> Channels:
    (folder / "a.xml").write_text(text)
    return read_aecg(folder / "a.xml")


def leads(digital: np.ndarray, names: tuple[str, ...] = LEADS, **how: str) -> str:
    return "".join(aecg_sequence(name, digital[:, k], **how) for k, name in enumerate(names))


@pytest.mark.parametrize(
    ("scale", "unit", "origin", "gain", "shift"),
    [
        ("4.88", "uV", "0", 4.88, 0),
        ("0.0025", "mV", "0.1", 2.5, 100),
        ("2500", "nV", "-50", 2.5, -0.05),
        ("5e-6", "V", "0", 5, 0),
        ("-1", "µV", "7", -1, 7),
    ],
)
def test_units_scales_and_origins(
    scale: str, unit: str, origin: str, gain: float, shift: float, tmp_path: Path
) -> None:
    digital = strip(50, 2)
    sets = aecg_set(leads(digital, ("I", "II"), scale=scale, unit=unit, origin=origin))
    assert np.allclose(read(tmp_path, aecg_text(sets)).microvolt(), digital.T * gain + shift, atol=1e-9)


@pytest.mark.parametrize(
    ("increment", "unit", "rate"),
    [
        ("0.002", "s", 500),
        ("2", "ms", 500),
        ("1000", "us", 1000),
        ("0.00390625", "s", 256),
        ("0.003333", "s", 300),
        ("3.906", "ms", 256),
        ("0.0027778", "s", 360),
        ("0.008", "s", 125),
    ],
)
def test_increments(increment: str, unit: str, rate: float, tmp_path: Path) -> None:
    text = aecg_text(aecg_set(leads(strip(50)), increment, unit, "TIME_RELATIVE"))
    assert read(tmp_path, text).sampling_rate == rate


def test_an_increment_that_fits_several_rates_is_taken_as_it_is() -> None:
    assert rate_of_interval("0.003", "1", "x") == pytest.approx(1000 / 3)
    for wrong in ("0", "-1", "nan", "", "x", "1e-40", "1e40"):
        with pytest.raises(DataError, match="x is"):
            rate_of_interval(wrong, "1", "x")


def test_the_set_with_most_leads_is_read_and_no_beat(tmp_path: Path) -> None:
    digital = strip(100)
    strip_of_one, whole = aecg_set(leads(strip(900, 1), ("II",))), aecg_set(leads(digital))
    beat = aecg_set(leads(strip(4000)))
    channels = read(tmp_path, aecg_text(strip_of_one, whole, derived=beat))
    assert (channels.values == digital).all()
    assert channels.remark == "1 of 2 sequence sets are left out"
    with pytest.raises(DataError, match="no rhythm with leads"):
        read(tmp_path, aecg_text(whole, kind="REPRESENTATIVE_BEAT"))


def test_of_equal_sets_the_longest_is_read(tmp_path: Path) -> None:
    short, long = aecg_set(leads(strip(100))), aecg_set(leads(strip(300)))
    assert len(read(tmp_path, aecg_text(short, long)).values) == 300


def test_names_of_makers_and_other_channels(tmp_path: Path) -> None:
    text = aecg_text(aecg_set(leads(strip(30, 3), ("I", "AVRNEG", "V1")))).replace(
        "MDC_ECG_LEAD_V1", "MINDRAY_ECG_LEAD_V1"
    )
    assert list(read(tmp_path, text).names) == ["I", "MDC_ECG_LEAD_AVRNEG", "V1"]


def test_fractions_and_missing_samples(tmp_path: Path) -> None:
    text = aecg_text(aecg_set(leads(strip(3, 1), ("I",))))
    digits = text[text.index("<digits>") + 8 : text.index("</digits>")]
    channels = read(tmp_path, text.replace(digits, "1.5 NaN -2"))
    assert channels.microvolt()[0] == pytest.approx([3.75, np.nan, -5.0], nan_ok=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</digits>", " 5</digits>", r"leads have \[30, 31\] samples"),
        ("</digits>", " x</digits>", "digits of lead 'I' hold something else"),
        ("</digits>", " inf</digits>", "infinite"),
        ('<scale value="2.5" unit="uV"/>', '<scale value="2.5"/>', "the scale of lead 'I': '' is no unit"),
        ('<scale value="2.5" unit="uV"/>', "", "the scale of lead 'I' is ''"),
        ('<scale value="2.5"', '<scale value="0"', "the scale of lead 'I' is 0"),
        ('unit="uV"', 'unit="mm[Hg]"', r"'mm\[Hg\]' is no unit of voltage"),
        ("SLIST_PQ", "SLIST_INT", "type 'SLIST_INT'"),
        ('unit="s"', 'unit="h"', "the increment of the time is in 'h'; known: s, ms, us"),
        ('<increment value="0.002"', '<increment value="fast"', "'fast', a positive number"),
        ("TIME_ABSOLUTE", "TEMPERATURE", "no sequence of times"),
        ("AnnotatedECG", "Annotated", "root element is 'Annotated'"),
    ],
)
def test_damage(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = aecg_text(aecg_set(leads(strip(30, 2), ("I", "II"))))
    # In one lead alone where the fault is that leads differ.
    once = 1 if old == "</digits>" else -1
    with pytest.raises(DataError, match=message):
        read(tmp_path, text.replace(old, new, once))
