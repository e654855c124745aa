"""Philips Sierra XML: versions, encodings, XLI, the limb leads that it leaves out, the calibration pulse."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels
from ecg_hub.input.formats.sierra import VERSIONS, read_sierra
from ecg_hub.input.formats.xli import decode_xli, expand
from ecg_hub.leads import LEADS
from tests.support.hospital import strip
from tests.support.hospital_xml import sierra_text, xli


def read(folder: Path, digital: np.ndarray, names: Any = LEADS, encoded: str = "utf-8", **how: Any) -> Channels:
    (folder / "a.xml").write_bytes(
        sierra_text(digital, 500, names, **how).replace('"utf-8"', f'"{encoded}"').encode(encoded)
    )
    return read_sierra(folder / "a.xml")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("encoding", "compressed"), [("Base64", True), ("Base64", False), ("Plain", False)])
def test_versions_and_encodings(version: str, encoding: str, compressed: bool, tmp_path: Path) -> None:
    digital = strip(777)
    for encoded in ("utf-8", "utf-16"):
        channels = read(tmp_path, digital, encoded=encoded, version=version, encoding=encoding, compressed=compressed)
        assert np.array_equal(channels.values, digital)
        assert list(channels.names) == list(LEADS)
        assert (channels.gain_uv == 5).all()


def test_limb_leads_of_every_rounding_come_back(tmp_path: Path) -> None:
    # All combinations of odd and even, positive and negative sums.
    i, ii = (part.reshape(-1) for part in np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)))
    digital = np.zeros((len(i), 12), dtype=np.int64)
    digital[:, 0], digital[:, 1], digital[:, 2] = i, ii, ii - i
    digital[:, 3], digital[:, 4], digital[:, 5] = -(i + ii) // 2, i - ii // 2, ii - i // 2
    assert np.array_equal(read(tmp_path, digital).values, digital)


def test_what_xli_foretells_is_halved_towards_zero(tmp_path: Path) -> None:
    """Without a correction aVR is -(I + II) / 2 towards zero, for negative sums as for positive ones."""
    body = np.zeros((4, 12), dtype=np.int64)
    body[:, 0] = [3, -3, 4, -4]
    text = base64.b64encode(xli(list(body.T))).decode()
    values = read(tmp_path, body, body=text).values
    assert values[:, 2].tolist() == [-3, 3, -4, 4]
    assert values[:, 3].tolist() == [-1, 1, -2, 2]
    assert values[:, 4].tolist() == [3, -3, 4, -4]
    assert values[:, 5].tolist() == [-1, 1, -2, 2]


def test_leads_beside_the_twelve(tmp_path: Path) -> None:
    digital = strip(200, 16)
    names = [*LEADS, "V3R", "V4R", "V5R", "V7"]
    # Sixteen are compressed and labelled, twelve are announced: those after them are marks.
    channels = read(tmp_path, digital, names, compressed=False)
    assert list(channels.names) == names
    channels = read(tmp_path, digital[:, :12], changes={"leadlabels": " ".join(names)})
    assert np.array_equal(channels.values, digital[:, :12])
    assert np.array_equal(read(tmp_path, digital[:, :3], ["V1", "V2", "V3"]).values, digital[:, :3])


@pytest.mark.parametrize("rest", [0, 36])
def test_a_calibration_pulse_at_the_end_is_left_out(rest: int, tmp_path: Path) -> None:
    digital = strip(600)
    pulse = np.concatenate([np.zeros(50 + rest), np.full(100, 200), np.zeros(50)]).astype(np.int64)
    channels = read(tmp_path, np.concatenate([digital, np.repeat(pulse[:, None], 12, axis=1)]))
    assert np.array_equal(channels.values, digital)
    assert channels.remark == f"the calibration pulse of 1 mV at the end is left out ({(200 + rest) / 500:g} s)"
    # Two millivolts are none, nor is a pulse in some of the leads.
    for odd in (np.repeat(pulse[:, None] * 2, 12, axis=1), np.repeat(pulse[:, None], 12, axis=1) * (np.arange(12) > 0)):
        channels = read(tmp_path, np.concatenate([digital, odd]))
        assert len(channels.values) == len(digital) + len(pulse)
        assert channels.remark == ""


def test_offset_and_unsigned_samples(tmp_path: Path) -> None:
    digital = strip(100) + 40000
    channels = read(tmp_path, digital, compressed=False, changes={"signaloffset": "40000", "signalsigned": "False"})
    assert np.array_equal(channels.microvolt(), (digital - 40000).T * 5)


def test_numbers_of_sixteen_bits_wrap_around() -> None:
    steep = np.array([[30000, -30000] * 50, [-32768, 32767] * 50]).T
    assert np.array_equal(decode_xli(xli(list(steep.T)), 2, 100), steep)
    for count in (2, 3, 4):
        assert np.array_equal(decode_xli(xli([np.arange(4, 12)]), 1, count)[:, 0], np.arange(4, 4 + count))
    assert decode_xli(xli([np.arange(4, 12)]), 1, 1).tolist() == [[4]]


def test_compressed_data_cannot_fill_the_memory(tmp_path: Path) -> None:
    # Every code the newest entry, each a byte longer than the one before: three kilobytes become megabytes.
    codes = [0, *range(256, 1023), *[1022] * 20000]
    bits = "".join(f"{code:010b}" for code in codes)
    data = int(bits, 2).to_bytes(-(-len(bits) // 8), "big")
    with pytest.raises(DataError, match="expand to more than 6048 bytes"):
        decode_xli(len(data).to_bytes(4, "little") + bytes(4) + data, 1, 1000)
    assert len(expand(data, 20_000_000)) > 10_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compression": "ZIP"}, "compressed by 'ZIP'"),
        ({"dataencoding": "Hex"}, "in 'Hex'; known: 'XLI' in 'Base64'"),
        ({"durationperchannel": "400"}, "holds 100 samples, 200 are announced"),
        ({"durationperchannel": "1e15"}, "announces 6,000,000,000,000,000 samples"),
        ({"durationperchannel": "0"}, "announces 0 samples"),
        ({"durationperchannel": "long"}, "durationperchannel is 'long'"),
        ({"samplespersecond": "-500"}, "samplespersecond is '-500'"),
        ({"resolution": "0"}, "resolution is '0'"),
        ({"numberofleads": "13"}, "13 leads are stored, and 12 of them are named"),
        ({"leadlabels": "I II aVR III aVL aVF V1 V2 V3 V4 V5 V6"}, "follow from I and II in this order"),
    ],
)
def test_damage(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, strip(100), changes=changes)


def test_other_versions_and_bodies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"version '2\.0'; known: 1\.03, 1\.04"):
        read(tmp_path, strip(10), version="2.0")
    with pytest.raises(DataError, match="no base64"):
        read(tmp_path, strip(10), body="not base64!")
    with pytest.raises(DataError, match="holds 0 bytes, 0 are announced"):
        read(tmp_path, strip(10), body="")
    with pytest.raises(DataError, match="before the table does"):
        read(tmp_path, strip(10), body="BQAAAAAAAAD/v////w==")
    with pytest.raises(DataError, match="holds 119 samples, 120 are announced"):
        read(tmp_path, strip(10), encoding="Plain", compressed=False, body="7 " * 119)
    with pytest.raises(DataError, match="something else than integers"):
        read(tmp_path, strip(10), encoding="Plain", compressed=False, body="7 x")
