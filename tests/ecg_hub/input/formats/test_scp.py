"""SCP-ECG: Huffman codes, differences, subtracted beats, leads recorded one after the other, damage."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels
from ecg_hub.input.formats.huffman import decode, default_table, read_tables
from ecg_hub.input.formats.scp import read_scp
from ecg_hub.leads import LEADS
from tests.support.hospital import strip
from tests.support.hospital_binary import Scp, custom_code, custom_section, default_code, packed, section

STANDARD = Scp(strip(400), LEADS)


def read(folder: Path, scp: Scp | bytes) -> Channels:
    (folder / "a.scp").write_bytes(scp if isinstance(scp, bytes) else scp.bytes())
    return read_scp(folder / "a.scp")


@pytest.mark.parametrize("table", ["", "default", "custom"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_codes_and_differences(table: str, order: int, tmp_path: Path) -> None:
    channels = read(tmp_path, replace(STANDARD, table=table, order=order, nanovolt=1250, interval=4000))
    assert np.array_equal(channels.values, STANDARD.digital)
    assert (channels.gain_uv == 1.25).all()
    assert channels.sampling_rate == 250
    assert channels.remark == ""


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_records_shorter_than_their_differences(samples: int, tmp_path: Path) -> None:
    for order in (0, 1, 2):
        channels = read(tmp_path, replace(STANDARD, digital=STANDARD.digital[:samples], order=order))
        assert np.array_equal(channels.values, STANDARD.digital[:samples])


def test_every_number_of_sixteen_bits_has_a_code() -> None:
    values = [*range(-300, 301), -32768, 32767, 12345, -12345]
    for code, tables in ((default_code, [default_table()]), (custom_code, read_tables(custom_section()))):
        assert decode(packed("".join(map(code, values))), len(values), tables).tolist() == values


def test_steep_leads_wrap_around_in_sixteen_bits(tmp_path: Path) -> None:
    digital = np.array([[32000, -32000] * 30, [-32768, 32767] * 30]).T
    assert np.array_equal(read(tmp_path, Scp(digital, ["I", "II"])).values, digital)


@pytest.mark.parametrize("table", ["", "default", "custom"])
@pytest.mark.parametrize(("rhythm", "beat"), [(2500, 2500), (1250, 2500), (1000, 3000)])
def test_a_subtracted_reference_beat_is_added_again(table: str, rhythm: int, beat: int, tmp_path: Path) -> None:
    reference = strip(120, seed=9)
    scp = replace(
        STANDARD, table=table, beat=reference, nanovolt=rhythm, beat_nanovolt=beat, places=(60, 190, 320), fiducial=40
    )
    channels = read(tmp_path, scp)
    assert np.allclose(channels.microvolt(), STANDARD.digital.T * rhythm / 1000, atol=1e-9)
    assert channels.values.dtype.kind == "i"


def test_bimodal_data_are_refused_unless_nothing_was_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is bimodal"):
        read(tmp_path, replace(STANDARD, bimodal=1))
    reference = strip(120, seed=9)
    whole = replace(STANDARD, bimodal=1, beat=reference, places=(60, 190))
    assert np.array_equal(read(tmp_path, whole).values, STANDARD.digital)
    body = bytearray(struct.pack("<HHBB", 2500, 1000, 2, 0) + bytes(5000))
    with pytest.raises(DataError, match=r"per 2000 us, an average of those per 1000 us"):
        read(tmp_path, replace(whole, replaced={5: bytes(body)}))


def test_leads_recorded_one_after_the_other(tmp_path: Path) -> None:
    digital = strip(100, 4)
    channels = read(tmp_path, Scp(digital, ["I", "II", "V1", "V2"], starts=(1, 1, 101, 101)))
    values = channels.microvolt()
    assert values.shape == (4, 200)
    assert np.array_equal(values[:2, :100], digital.T[:2] * 2.5)
    assert np.array_equal(values[2:, 100:], digital.T[2:] * 2.5)
    assert np.isnan(values[:2, 100:]).all()
    assert np.isnan(values[2:, :100]).all()
    with pytest.raises(DataError, match="far apart"):
        read(tmp_path, Scp(digital, ["I", "II", "V1", "V2"], starts=(1, 1, 4_000_000_000, 4_000_000_000)))


def test_writers_that_count_from_zero(tmp_path: Path) -> None:
    scp = Scp(strip(99, 2), ["I", "V8"], table="", starts=(0, 0))
    # Samples 0 to 98 of which the last cannot be told from an end that is one too far.
    assert np.array_equal(read(tmp_path, scp).values, scp.digital[:98])
    assert list(read(tmp_path, scp).names) == ["I", "lead 2 (code 150)"]


@pytest.mark.parametrize(("interval", "rate"), [(2000, 500), (1953, 512), (3333, 300), (700, 1000000 / 700)])
def test_intervals(interval: int, rate: float, tmp_path: Path) -> None:
    assert read(tmp_path, replace(STANDARD, interval=interval)).sampling_rate == rate


def test_checksums_are_a_remark(tmp_path: Path) -> None:
    data = bytearray(STANDARD.bytes())
    data[0] ^= 1
    assert read(tmp_path, bytes(data)).remark == "section 0 or another that is not read does not fit its checksum"
    start = bytes(data).index(section(3, STANDARD._leads([1] * 12))[:16])
    data[start] ^= 1
    assert read(tmp_path, bytes(data)).remark == "section 3 does not fit its checksum"


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({3: b"\0\0"}, "section 3 names no lead"),
        ({3: struct.pack("<BBIIB", 1, 0, 9, 3, 1)}, "lead 1 is said to be from sample 9 to 3"),
        ({3: struct.pack("<BBIIB", 1, 0, 1, 2**32 - 1, 1)}, "4294967295 samples are announced"),
        ({2: b"\0\0"}, "no Huffman table"),
        ({2: struct.pack("<HHBBBhI", 1, 1, 9, 3, 1, 0, 0)}, "9 bits of 3"),
        ({2: struct.pack("<HHBBBhI", 1, 1, 1, 1, 0, 7, 1)}, "leads to table 7, of 1"),
        ({2: struct.pack("<HH", 1, 9)}, "ends too early"),
        ({6: struct.pack("<HHBB", 2500, 2000, 3, 0) + bytes(60)}, "differences of order 3"),
        ({6: struct.pack("<HHBB12H", 2500, 2000, 2, 0, *[900] * 12)}, "take 10800 bytes, 0 are there"),
        (
            {6: struct.pack("<HHBB12H", 2500, 2000, 2, 0, *[50] * 12) + b"\xff" * 600},
            "are none of the table|end within",
        ),
        ({6: b""}, "ends too early"),
    ],
)
def test_damage(replaced: dict[int, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, replace(STANDARD, replaced=replaced))


@pytest.mark.parametrize(
    ("nanovolt", "interval", "message"),
    [(0, 2000, "amplitude multiplier 0"), (2500, 0, "interval of section 6 is '0'")],
)
def test_what_has_no_unit_or_rate_is_refused(nanovolt: int, interval: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, replace(STANDARD, nanovolt=nanovolt, interval=interval))


def test_sections_that_are_not_there(tmp_path: Path) -> None:
    def without(number: int, scp: Scp = STANDARD) -> bytes:
        data = scp.bytes()
        count = (struct.unpack_from("<I", data, 10)[0] - 16) // 10
        for k in range(count):
            if struct.unpack_from("<H", data, 22 + 10 * k)[0] == number:
                return data[: 24 + 10 * k] + bytes(8) + data[32 + 10 * k :]
        raise AssertionError(number)

    for number in (3, 6):
        with pytest.raises(DataError, match=f"section {number} is missing"):
            read(tmp_path, without(number))
    beat = replace(STANDARD, beat=strip(100), places=(60,))
    for number in (4, 5):
        with pytest.raises(DataError, match=f"section {number} is missing, and the reference beat"):
            read(tmp_path, without(number, beat))
    with pytest.raises(DataError, match="section 12"):
        read(tmp_path, without(6, replace(STANDARD, replaced={12: bytes(40)})))
