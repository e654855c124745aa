"""SCP-ECG (EN 1064:2005+A1, ISO 11073-91064), versions 1.x to 2.x and 3.0 as far as it has section 6.

Sections 3 (leads), 6 (rhythm), and where they are in use 2 (Huffman tables), 4 and 5 (reference beat and where it was
subtracted) are read; section 1, the patient, is not. First and second differences, Huffman codes, and the subtraction
of the reference beat are undone exactly. Decimated data between the beats (bimodal compression) are refused: what was
averaged cannot be brought back.
"""

from __future__ import annotations

import binascii
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels, rate_of_interval
from ecg_hub.input.formats.huffman import Table, decode, read_tables
from ecg_hub.utils.untrusted import max_bytes, plain_file

_HEADER = 16
_LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
# What section 6 of version 3 has moved: long records stand in section 12.
_RHYTHM, _LONG = 6, 12


@dataclass(frozen=True)
class _Lead:
    name: str
    start: int
    count: int


@dataclass(frozen=True)
class _Beats:
    """Where the reference beat was subtracted, by sample numbers from 1."""

    samples_ms: int
    fiducial: int
    zones: Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class _Data:
    """What section 5 or 6 holds: one column per lead, in units of `nanovolt`."""

    nanovolt: int
    interval: int
    bimodal: bool
    columns: list[np.ndarray]


def read_scp(path: Path) -> Channels:
    """Read the rhythm of an SCP record: microvolt = value * amplitude multiplier / 1000."""
    # Codes are taken apart into single bits.
    plain_file(path, max_bytes() // 8)
    data = path.read_bytes()
    try:
        return _read(data)
    except struct.error:
        raise DataError(f"{path.name} is cut short: a section of SCP-ECG ends too early") from None


def _read(data: bytes) -> Channels:
    sections = _sections(data)
    if _RHYTHM not in sections:
        long = "section 12 (long records of version 3) is not read" if _LONG in sections else "it holds no rhythm"
        raise DataError(f"section 6 is missing: {long}")
    for needed in {3, _RHYTHM} - set(sections):
        raise DataError(f"section {needed} is missing")
    leads, subtracted = _read_leads(_body(sections[3]))
    tables = read_tables(_body(sections[2])) if 2 in sections else None
    rhythm = _read_data(_body(sections[_RHYTHM]), [lead.count for lead in leads], tables, "section 6")
    # Version 3 has no bimodal compression, and its byte is reserved.
    if rhythm.bimodal and sections[0][9] < 30:
        _refuse_decimated(sections, rhythm)
    if subtracted:
        rhythm = _add_beats(rhythm, leads, sections, tables)
    if not rhythm.nanovolt:
        raise DataError("section 6 has the amplitude multiplier 0, so its unit is unknown")
    values, missing = _common_time(leads, rhythm.columns)
    return Channels(
        names=[lead.name for lead in leads],
        values=values,
        gain_uv=np.full(len(leads), rhythm.nanovolt / 1000),
        zero=np.zeros(len(leads)),
        sampling_rate=rate_of_interval(str(rhythm.interval), "1e-6", "the sample interval of section 6"),
        missing=missing,
        remark=_sum_remark(data, sections),
    )


def _sections(data: bytes) -> dict[int, bytes]:
    """Return the sections by number, each with its header."""
    # A record begins with its checksum (2 bytes) and its length (4); section 0 follows at once.
    (announced,) = struct.unpack_from("<I", data, 2)
    number, length = struct.unpack_from("<HI", data, 8)
    if number != 0 or not _HEADER <= length <= len(data) - 6:
        raise DataError("section 0, the list of sections, is expected at byte 7")
    if announced > len(data):
        raise DataError(f"the record is cut short: {len(data)} of {announced} bytes")
    sections = {0: data[6 : 6 + length]}
    for place in range(6 + _HEADER, 6 + length - 9, 10):
        number, size, index = struct.unpack_from("<HII", data, place)
        # Absent sections are listed with length 0; number 0 is this list itself.
        if not size or not number:
            continue
        if index < 1 or index - 1 + size > len(data):
            raise DataError(f"section {number} lies beyond the end of the record")
        section = data[index - 1 : index - 1 + size]
        if number <= _LONG and (size < _HEADER or struct.unpack_from("<H", section, 2)[0] != number):
            raise DataError(f"where section {number} should be stands something else")
        sections[number] = section
    return sections


def _body(section: bytes) -> bytes:
    # The header of a section may state less than the list of sections does.
    (length,) = struct.unpack_from("<I", section, 4)
    return section[_HEADER : max(length, _HEADER)]


def _read_leads(body: bytes) -> tuple[list[_Lead], bool]:
    """Return the leads of section 3, and whether the reference beat was subtracted from them."""
    count, flags = body[:2] if len(body) > 1 else (0, 0)
    if not count:
        raise DataError("section 3 names no lead")
    leads = []
    for k in range(count):
        start, end, code = struct.unpack_from("<IIB", body, 2 + 9 * k)
        # Samples count from 1; writers that begin at 0 name the sample after the last as end.
        start = max(start, 1)
        if start > end:
            raise DataError(f"lead {k + 1} is said to be from sample {start} to {end}")
        leads.append(_Lead(_LEADS.get(code, f"lead {k + 1} (code {code})"), start, end - start + 1))
    return leads, bool(flags & 1)


def _read_data(body: bytes, counts: Sequence[int], tables: Sequence[Table] | None, what: str) -> _Data:
    """Undo Huffman codes and differences of section 5 or 6."""
    nanovolt, interval, order, bimodal = struct.unpack_from("<HHBB", body)
    if order > 2:
        raise DataError(f"{what} holds differences of order {order}, 0 to 2 are known")
    # In 16 bits: more than 65,535 bytes of a lead cannot be stated, and are found out by the samples that then lack.
    sizes = struct.unpack_from(f"<{len(counts)}H", body, 6)
    position = 6 + 2 * len(counts)
    if position + sum(sizes) > len(body):
        raise DataError(f"{what} is cut short: its leads take {sum(sizes)} bytes, {len(body) - position} are there")
    columns = []
    for size, count in zip(sizes, counts, strict=True):
        chunk = body[position : position + size]
        position += size
        columns.append(_integrated(_decoded(chunk, count, tables, what), order))
    return _Data(nanovolt, interval, bool(bimodal), columns)


def _decoded(chunk: bytes, count: int, tables: Sequence[Table] | None, what: str) -> np.ndarray:
    if tables:
        return decode(chunk, count, tables)
    if 2 * count > len(chunk):
        raise DataError(f"{what} holds {len(chunk)} bytes of a lead, {2 * count} are announced")
    return np.frombuffer(chunk, dtype="<i2", count=count).astype(np.int64)


def _integrated(values: np.ndarray, order: int) -> np.ndarray:
    """Sum up differences; the first `order` numbers are samples."""
    if order == 2 and len(values) > 1:
        slopes = np.cumsum(np.concatenate([[values[1] - values[0]], values[2:]]))
        values = np.cumsum(np.concatenate([values[:1], slopes]))
    elif order == 1:
        values = np.cumsum(values)
    # Writers calculate in 16 bits, where what overflows comes back.
    return values.astype(np.int16).astype(np.int64)


def _read_beats(body: bytes) -> _Beats:
    """Return the zones of section 4 in which the reference beat, type 0, was subtracted."""
    milliseconds, fiducial, count = struct.unpack_from("<HHH", body)
    zones = [struct.unpack_from("<HIII", body, 6 + 14 * k) for k in range(count)]
    return _Beats(milliseconds, fiducial, [(start, middle, end) for kind, start, middle, end in zones if kind == 0])


def _reference(sections: dict[int, bytes], leads: int, tables: Sequence[Table] | None) -> tuple[_Beats, _Data]:
    for needed in (4, 5):
        if needed not in sections:
            raise DataError(f"section {needed} is missing, and the reference beat was subtracted from section 6")
    beats = _read_beats(_body(sections[4]))
    body = _body(sections[5])
    (interval,) = struct.unpack_from("<H", body, 2)
    if not interval:
        raise DataError("section 5 has the sample interval 0")
    count = round(beats.samples_ms * 1000 / interval)
    return beats, _read_data(body, [count] * leads, tables, "section 5")


def _refuse_decimated(sections: dict[int, bytes], rhythm: _Data) -> None:
    """Refuse bimodal data unless they have the rate of the reference beat, so that nothing was left out."""
    section = sections.get(5, b"")
    interval = struct.unpack_from("<H", _body(section), 2)[0] if section else 0
    if interval != rhythm.interval:
        raise DataError(
            f"section 6 is bimodal: between the beats it holds a sample per {rhythm.interval} us, an average of those "
            f"per {interval} us; export the record without bimodal compression"
        )


def _add_beats(
    rhythm: _Data, leads: Sequence[_Lead], sections: dict[int, bytes], tables: Sequence[Table] | None
) -> _Data:
    """Add the reference beat wherever it was subtracted, in the largest unit that both are multiples of."""
    beats, reference = _reference(sections, len(leads), tables)
    if reference.interval != rhythm.interval:
        raise DataError(f"the reference beat has a sample per {reference.interval} us, the rhythm {rhythm.interval} us")
    unit = math.gcd(rhythm.nanovolt, reference.nanovolt) or 1
    columns = []
    for lead, column, beat in zip(leads, rhythm.columns, reference.columns, strict=True):
        whole = column * (rhythm.nanovolt // unit)
        for start, middle, end in beats.zones:
            # Sample `fiducial` of the beat lies on sample `middle` of the record.
            shift = middle - beats.fiducial
            first = max(start, lead.start, shift + 1)
            last = min(end, lead.start + lead.count - 1, shift + len(beat))
            if first <= last:
                part = beat[first - shift - 1 : last - shift]
                whole[first - lead.start : last - lead.start + 1] += part * (reference.nanovolt // unit)
        columns.append(whole)
    return _Data(unit, rhythm.interval, rhythm.bimodal, columns)


def _common_time(leads: Sequence[_Lead], columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (samples, leads), and what is missing of leads that were recorded one after the other."""
    first = min(lead.start for lead in leads)
    length = max(lead.start + lead.count for lead in leads) - first
    if all(lead.count == length for lead in leads):
        return np.stack(columns, axis=1), None
    # Start and end have 32 bits each: two of them far apart would ask for gigabytes of missing samples.
    if length > sum(lead.count for lead in leads):
        raise DataError("the leads were recorded at times far apart")
    values = np.zeros((length, len(leads)), dtype=np.int64)
    missing = np.ones(values.shape, dtype=bool)
    for k, (lead, column) in enumerate(zip(leads, columns, strict=True)):
        rows = slice(lead.start - first, lead.start - first + lead.count)
        values[rows, k], missing[rows, k] = column, False
    return values, missing


def _sum_remark(data: bytes, sections: dict[int, bytes]) -> str:
    """Return a remark that names the sections in use that do not fit their checksum."""
    wrong = [str(k) for k in (3, 4, 5, _RHYTHM) if k in sections and _is_wrong(sections[k])]
    if not wrong and _is_wrong(data[: struct.unpack_from("<I", data, 2)[0]]):
        wrong = ["0 or another that is not read"]
    return f"section {', '.join(wrong)} does not fit its checksum" if wrong else ""


def _is_wrong(part: bytes) -> bool:
    return struct.unpack_from("<H", part)[0] != binascii.crc_hqx(part[2:], 0xFFFF)
