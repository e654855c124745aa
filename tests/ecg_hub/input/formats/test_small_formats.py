"""ISHNE, BDF, MFER, Mortara and Kardia: what each may vary, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels
from ecg_hub.input.formats.reader import read_channels
from ecg_hub.leads import LEADS
from tests.support.hospital import strip
from tests.support.hospital_binary import bdf_bytes, bdf_signal, ishne_bytes, mfer_bytes, mfer_item
from tests.support.hospital_xml import kardia_content, mortara_channel, mortara_text


def read(folder: Path, form: str, content: bytes | str) -> Channels:
    (folder / "a").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_channels(folder / "a", form)


def refused(folder: Path, form: str, content: bytes | str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(folder, form, content)


def test_ishne_holter_leads_faults_and_lengths(tmp_path: Path) -> None:
    digital = strip(300, 3)
    digital[7, 1] = -32768
    channels = read(tmp_path, "ishne", ishne_bytes(digital, 200, ["X", "Y", "CM5"], nanovolt=153))
    assert list(channels.names) == ["X", "Y", "lead 3 (code 0)"]
    assert np.isnan(channels.microvolt()[1, 7])
    assert int(np.isnan(channels.microvolt()).sum()) == 1
    assert channels.gain_uv.tolist() == [0.153] * 3
    # Per lead, all together, or unknown; anything else is said.
    for announced in (300, 900, 0):
        assert read(tmp_path, "ishne", ishne_bytes(digital, 200, LEADS[:3], samples=announced)).remark == ""
    odd = read(tmp_path, "ishne", ishne_bytes(digital, 200, LEADS[:3], samples=5000))
    assert odd.remark == "holds 300 samples of each lead, its header announces 5000"


def test_ishne_damage(tmp_path: Path) -> None:
    whole = ishne_bytes(strip(30, 2), 200, ["I", "II"])
    for place, value, message in (
        (156, b"\0\0", "0 leads"),
        (156, b"\x0d\0", "13 leads"),
        (272, b"\0\0", "rate 0 Hz"),
        (206, b"\xf7\xff", r"\[-9, 2500\] nV"),
        (10, b"\xff\xff\xff\x7f", "2147483647 bytes of text"),
    ):
        refused(tmp_path, "ishne", whole[:place] + value + whole[place + len(value) :], message)
    refused(tmp_path, "ishne", whole[:522], "no sample of its 2 leads")
    wrong = whole[:60] + b"?" + whole[61:]
    assert read(tmp_path, "ishne", wrong).remark == "the header does not fit its checksum"
    swapped = whole[:8] + whole[9:10] + whole[8:9] + whole[10:]
    assert read(tmp_path, "ishne", swapped).remark == ""


def test_bdf_has_24_bits_and_leaves_other_channels_out(tmp_path: Path) -> None:
    digital = strip(500, 2) * 1000 + 3_000_000
    signals = [bdf_signal("I", digital[:, 0], 500), bdf_signal("II", digital[:, 1], 500)]
    other = [bdf_signal("Resp", strip(50, 1)[:, 0], 50), bdf_signal("SpO2", strip(50, 1)[:, 0], 50, "%")]
    channels = read(tmp_path, "bdf", bdf_bytes([*signals, *other]))
    assert np.array_equal(channels.values, digital)
    assert list(channels.names) == ["I", "II"]
    assert list(read(tmp_path, "bdf", bdf_bytes([*signals, other[1]])).names) == ["I", "II"]
    refused(tmp_path, "bdf", bdf_bytes(other[1:]), r"signals in '%' and leads of \[\] Hz")
    fast = bdf_signal("V1", strip(1000, 1)[:, 0], 1000)
    refused(tmp_path, "bdf", bdf_bytes([*signals, fast]), r"leads of \[500\.0, 1000\.0\] Hz")


def test_bdf_sizes(tmp_path: Path) -> None:
    whole = bdf_bytes([bdf_signal("I", strip(1000, 1)[:, 0], 500)])
    refused(tmp_path, "bdf", whole[:-1], "cut short: 2999 bytes of samples, 2 records of 1500 announced")
    assert read(tmp_path, "bdf", whole + bytes(9)).remark == "holds 9 bytes more than its header announces"
    refused(tmp_path, "bdf", whole[:236] + b"9" * 8 + whole[244:], "99999999 records of 1500")
    refused(tmp_path, "bdf", whole[:236] + b"many    " + whole[244:], "b'many    ' where a number should be")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("block", [None, 1, 50])
def test_mfer_layouts(order: str, kind: str, block: int | None, tmp_path: Path) -> None:
    digital = strip(200) + 2000
    channels = read(tmp_path, "mfer", mfer_bytes(digital, 500, LEADS, order=order, kind=kind, block=block))
    assert np.array_equal(channels.values, digital)
    assert list(channels.names) == list(LEADS)
    assert np.allclose(channels.gain_uv, 2.5)


def test_mfer_offset_null_and_sensitivity_of_single_channels(tmp_path: Path) -> None:
    digital = strip(100, 2)
    digital[3, 1] = -32768
    own = {0x0C: b"\0\xfa\x01\0", 0x0D: b"\x0a\0", 0x12: b"\0\x80"}
    values = read(tmp_path, "mfer", mfer_bytes(digital, 500, ["I", "II"], own=own)).microvolt()
    expected = (digital.T + 10.0) * 1.0
    expected[1, 3] = np.nan
    assert np.allclose(values, expected, equal_nan=True)


def test_mfer_frames_and_channels_that_are_no_leads(tmp_path: Path) -> None:
    digital = strip(100, 2)
    one = mfer_bytes(digital, 500, ["I", "II"])
    again = mfer_item(0x1E, digital.T.astype("<i2").tobytes())
    assert np.array_equal(read(tmp_path, "mfer", one[:-2] + again).values, np.concatenate([digital, digital]))
    beat = mfer_item(0x08, b"\x09\0") + again
    assert np.array_equal(read(tmp_path, "mfer", one[:-2] + beat).values, digital)
    coarse = mfer_item(0x0C, b"\0\xfa\x64\0") + again
    channels = read(tmp_path, "mfer", one[:-2] + coarse)
    assert np.array_equal(channels.values, digital)
    assert channels.remark == "1 of 2 frames are left out"
    pressure = b"\x3f\x01" + bytes([6]) + mfer_item(0x0C, b"\x01\0\x01\0")
    assert list(read(tmp_path, "mfer", mfer_bytes(digital, 500, ["I", "II"], extra=pressure)).names) == ["I"]
    named = b"\x3f\x01\x09" + mfer_item(0x09, b"\0\0aux 2")
    assert list(read(tmp_path, "mfer", mfer_bytes(digital, 500, ["I", "II"], extra=named)).names) == ["I", "aux 2"]


def test_mfer_rates_groups_and_lengths(tmp_path: Path) -> None:
    digital = strip(100, 1)

    def rate_of(extra: bytes) -> float:
        return read(tmp_path, "mfer", mfer_bytes(digital, 500, ["II"], extra=extra)).sampling_rate

    assert rate_of(mfer_item(0x0B, b"\0\0\xfa\0")) == 250
    assert rate_of(mfer_item(0x0B, b"\1\xfa\x05\x0d")) == 300
    # Taken back, the standard's own rate is in force.
    assert rate_of(mfer_item(0x0B, b"")) == 1000
    assert rate_of(mfer_item(0x67, mfer_item(0x0B, b"\0\0\xfa\0"))) == 250
    assert rate_of(b"\x67\x80" + mfer_item(0x0B, b"\0\0\xfa\0") + b"\0\0") == 250
    assert rate_of(b"\x3f\0\x80" + mfer_item(0x0B, b"\0\0\xfa\0") + b"\0\0") == 250


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (mfer_item(0x0B, b"\5\0\1\0"), "unit 5"),
        (mfer_item(0x0B, b"\0\0\0\0"), "value 0"),
        (mfer_item(0x0B, b"\1"), "takes 1 bytes"),
        (mfer_item(0x0C, b"\0\0\0\0"), "sensitivity of a lead is 0"),
        (mfer_item(0x0C, b"\1\0\1\0"), "no channel in volts"),
        (mfer_item(0x0A, b"\x09"), "samples are of type 9"),
        (mfer_item(0x0E, b"\1\0\0\0"), "compressed by code 1"),
        (mfer_item(0x05, b"\0"), "0 channels"),
        (mfer_item(0x05, b"\xff\xff\xff\x7f"), "2147483647 channels"),
        (mfer_item(0x04, b"\0"), r"blocks of \[0, 0\]"),
        (mfer_item(0x06, b"\x07"), "holds no whole 7 sequences"),
        (mfer_item(0x67, mfer_item(0x67, b"")), "group of definitions stands within another"),
        (b"\x3f\xff\xff\xff\xff\xff\x01", "channel number takes more than 4 bytes"),
        (b"\x15\x85\0\0\0\0\1", "a length is written as 0x85"),
        (b"\x3f\0\x80\x3f", "attributes of a channel stand within others"),
    ],
)
def test_mfer_damage(extra: bytes, message: str, tmp_path: Path) -> None:
    refused(tmp_path, "mfer", mfer_bytes(strip(100, 2), 500, ["I", "II"], extra=extra), message)


def test_mfer_rates_that_differ(tmp_path: Path) -> None:
    other = b"\x3f\1\x06" + mfer_item(0x0B, b"\0\0\xfa\0")
    refused(tmp_path, "mfer", mfer_bytes(strip(100, 2), 500, ["I", "II"], extra=other), r"\[250\.0, 500\.0\] Hz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"UNITS_PER_MV": 0}, "UNITS_PER_MV is 0"),
        ({"UNITS_PER_MV": ""}, "UNITS_PER_MV is ''"),
        ({"SAMPLE_FREQ": "fast"}, "SAMPLE_FREQ is 'fast'"),
        ({"SAMPLE_FREQ": 250}, r"\[250\.0, 500\.0\] Hz"),
        ({"BITS": 24}, "BITS='24', '16' is expected"),
        ({"FORMAT": "UNSIGNED"}, "FORMAT='UNSIGNED'"),
        ({"ENCODING": "HEX"}, "ENCODING='HEX'"),
        ({"OFFSET": 12}, "OFFSET='12'"),
        ({"DURATION": 4000}, r"holds 100 samples \(200 ms\), DURATION announces 4000"),
        ({"DATA": "AAA=", "DURATION": 1}, r"leads have \[1, 100\] samples"),
        ({"DATA": "AA=="}, "holds 1 bytes"),
        ({"DATA": "?"}, "no base64"),
    ],
)
def test_mortara_damage(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    digital = strip(100, 2)
    first = mortara_channel("I", digital[:, 0], 500)
    refused(tmp_path, "mortara", mortara_text(first, mortara_channel("II", digital[:, 1], 500, **changes)), message)


def test_mortara_variants(tmp_path: Path) -> None:
    digital = strip(100, 1)[:, 0]
    for duration in (100, 200, 0, ""):
        for scale, gain in ((1000, 1.0), (204.8, 1000 / 204.8)):
            text = mortara_text(mortara_channel("V1", digital, 500, DURATION=duration, UNITS_PER_MV=scale))
            assert np.allclose(read(tmp_path, "mortara", text).microvolt()[0], digital * gain)
    inside = mortara_channel("V1", digital, 500)
    data = inside[inside.index('DATA="') + 6 : -3]
    text = mortara_text(inside.replace(f' DATA="{data}"/>', f">\n{data}\n</CHANNEL>"))
    assert np.array_equal(read(tmp_path, "mortara", text).values[:, 0], digital)
    refused(tmp_path, "mortara", mortara_text(), "no CHANNEL")


def _kardia(change: Callable[[dict[str, Any]], Any]) -> str:
    content = kardia_content(strip(20, 2), 300, ["I", "II"])
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(data12L={}), "12L"),
        (lambda c: c.pop("data"), "no data.raw"),
        (lambda c: c["data"].pop("raw"), "no data.raw"),
        (lambda c: c["data"]["raw"].pop("samples"), "no data.raw.samples"),
        (lambda c: c["data"]["raw"].update(frequency=0), "frequency is 0"),
        (lambda c: c["data"]["raw"].update(frequency=True), "frequency is True"),
        (lambda c: c["data"]["raw"].update(amplitudeResolution=None), "amplitudeResolution is None"),
        (lambda c: c["data"]["raw"].update(amplitudeResolution=float("nan")), "amplitudeResolution is nan"),
        (lambda c: c["data"]["raw"]["samples"].update(leadI=5), "leadI is no list"),
        (lambda c: c["data"]["raw"]["samples"].update(leadI=[1]), r"\[1, 20\] samples"),
        (lambda c: c["data"]["raw"]["samples"].update(leadI=["1"] * 20), "something else than numbers"),
        (lambda c: c["data"]["raw"]["samples"].update(leadI=[10**30] * 20), "more than 64 bits"),
        (lambda c: c["data"]["raw"]["samples"].update(leadI=[float("inf")] * 20), "infinite"),
        (lambda c: c["data"]["raw"]["samples"].update(I=[0] * 20), "a lead twice"),
    ],
)
def test_kardia_damage(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    refused(tmp_path, "kardia", _kardia(change), message)


def test_kardia_variants(tmp_path: Path) -> None:
    refused(tmp_path, "kardia", "[" * 100_000, "no well-formed JSON")
    gap = _kardia(lambda c: c["data"]["raw"]["samples"].update(leadI=[None, 2.5] * 10))
    values = read(tmp_path, "kardia", gap).microvolt()
    assert np.isnan(values[0, 0])
    assert values[0, 1] == 1.25
