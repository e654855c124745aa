"""What holds for every format: samples exact, leads by name, damage is a DataError, nothing of the patient gets out."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import DataError, UnknownNameError
from ecg_hub.input.formats.channels import Channels
from ecg_hub.input.formats.detection import detect_format
from ecg_hub.input.formats.reader import ENDINGS, READERS, read_channels
from ecg_hub.leads import LEADS
from tests.support.hospital import WRITERS, strip, write_hospital
from tests.support.hospital_xml import BORN, IDENTITY, NAME

FORMATS = sorted(READERS)
LIMB = LEADS[:6]


def test_every_format_has_a_writer_and_known_endings() -> None:
    assert set(WRITERS) == set(READERS)
    assert set(ENDINGS.values()) <= set(READERS)


def test_an_unknown_format_is_named_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'scpp'.*scp"):
        read_channels(tmp_path / "a", "scpp")


@pytest.mark.parametrize("form", FORMATS)
def test_samples_are_exact(form: str, tmp_path: Path) -> None:
    names = LIMB if form == "kardia" else LEADS
    digital = strip(leads=len(names))
    path = write_hospital(tmp_path, form, digital, 500, names)
    assert detect_format(path) == form
    channels = read_channels(path, form)
    assert list(channels.names) == list(names)
    assert channels.sampling_rate == 500
    assert channels.values.dtype.kind == "i"
    assert channels.remark == ""
    expected = (digital * WRITERS[form][1]).T
    assert np.abs(channels.microvolt() - expected).max() < 1e-9


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rate", [250, 1000])
def test_other_leads_orders_and_rates(form: str, rate: int, tmp_path: Path) -> None:
    names = ["aVF", "II", "I"] if form == "kardia" else ["V6", "II", "I", "V1", "V2"]
    # BDF holds whole seconds.
    digital = strip(601 if form != "bdf" else 1000, len(names), seed=3)
    channels = read_channels(write_hospital(tmp_path, form, digital, rate, names), form)
    assert list(channels.names) == names
    assert channels.sampling_rate == rate
    assert np.abs(channels.microvolt() - (digital * WRITERS[form][1]).T).max() < 1e-9


@pytest.mark.parametrize("form", FORMATS)
def test_the_smallest_record_is_read(form: str, tmp_path: Path) -> None:
    digital = np.array([[7], [-5], [3], [4]]) if form != "bdf" else np.tile([[7], [-5]], (250, 1))
    channels = read_channels(write_hospital(tmp_path, form, digital, 500, ["II"]), form)
    assert (channels.values[:, 0] == digital[:, 0]).all()


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_cut_anywhere_is_damaged_or_says_so(form: str, tmp_path: Path) -> None:
    names = LIMB if form == "kardia" else LEADS
    path = write_hospital(tmp_path, form, strip(300 if form != "bdf" else 1000, len(names)), 500, names)
    whole = path.read_bytes()
    read = 0
    for size in np.linspace(0, len(whole) - 5, 60).astype(int):
        path.write_bytes(whole[:size])
        channels = _read_or_none(path, form)
        if channels is not None:
            assert channels.remark, size
            read += 1
    # A Holter recording may end at any sample; every other format announces what it holds.
    assert read == 0 or form == "ishne"


@pytest.mark.parametrize("form", FORMATS)
def test_damage_anywhere_is_a_data_error_or_a_record(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = write_hospital(tmp_path, form, strip(120 if form != "bdf" else 500, 3), 500, ["I", "II", "III"])
    whole = path.read_bytes()
    # The beginning has the sizes, and is where a wrong byte does most.
    places = np.concatenate([np.arange(0, 240, 2), rng.integers(0, len(whole), 40)])
    for place in places[places < len(whole)]:
        damaged = bytearray(whole)
        damaged[place] = int(rng.integers(0, 256)) if place % 3 else 0xFF
        path.write_bytes(damaged)
        channels = _read_or_none(path, form)
        if channels is not None:
            assert len(channels.names) == channels.values.shape[1] == len(channels.gain_uv) == len(channels.zero)


@pytest.mark.parametrize("form", FORMATS)
def test_what_a_header_announces_is_not_set_aside_before_it_is_there(form: str, tmp_path: Path) -> None:
    path = write_hospital(tmp_path, form, strip(100 if form != "bdf" else 500, 2), 500, ["I", "II"])
    whole = path.read_bytes()
    step = max(len(whole) // 40, 1)
    tracemalloc.start()
    for place in range(0, min(len(whole) - 4, 40 * step), step):
        # Both of a high byte and of a digit: four bytes are a number in binary files, and a longer one in text.
        for filler in (b"\xff\xff\xff\x7f", b"9999"):
            path.write_bytes(whole[:place] + filler + whole[place + 4 :])
            _read_or_none(path, form)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_the_patient_is_handed_out(form: str, tmp_path: Path) -> None:
    path = write_hospital(tmp_path, form, strip(500, 2), 500, ["I", "II"])
    assert any(word.encode() in path.read_bytes() for word in (NAME, IDENTITY))
    _check_private(repr(read_channels(path, form)))


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_another_kind_of_file_is_refused(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(DataError, match=r"a\.bin is missing"):
        read_channels(path, form)
    contents = [b"", b"\0" * 600, b"text\n" * 200, b"{}", b"[1]", b"<html/>", b"\xff" * 600]
    contents += [WRITERS[other][0](strip(500, 2), 500, ["I", "II"]) for other in FORMATS if other != form]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.bin"):
            read_channels(path, form)


@pytest.mark.parametrize("form", ["aecg", "mortara", "sierra"])
def test_entities_are_refused_before_they_expand(form: str, tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "secret"><!ENTITY b "&a;&a;&a;&a;">]>'
    text = WRITERS[form][0](strip(50, 2), 500, ["I", "II"]).decode()
    head, _, rest = text.partition("\n")
    path = tmp_path / "a.xml"
    path.write_text(f"{head}\n{bomb}{rest.replace('</', '&b;</', 1)}")
    with pytest.raises(DataError, match="entities") as caught:
        read_channels(path, form)
    assert "secret" not in str(caught.value)


def _read_or_none(path: Path, form: str) -> Channels | None:
    """Read a damaged file, whose only error may be one that names it and nobody."""
    try:
        return read_channels(path, form)
    except DataError as error:
        text = str(error)
    assert path.name in text
    _check_private(text)
    return None


def _check_private(text: str) -> None:
    for word in (NAME, IDENTITY, BORN, "Mustermann"[1:]):
        assert word not in text
