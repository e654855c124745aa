"""Binary files of hospitals, written from the specifications: SCP-ECG, ISHNE, MFER; BDF by edfio."""

from __future__ import annotations

import binascii
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import edfio
import numpy as np

from tests.support.hospital_xml import IDENTITY, NAME

SCP_CODES = {
    "I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64,
}  # fmt: skip


def section(number: int, body: bytes, version: int = 20) -> bytes:
    """Return a section of SCP-ECG with its header; lengths are even, as the standard asks."""
    body += bytes(len(body) % 2)
    reserved = b"SCPECG" if number == 0 else bytes(6)
    head = struct.pack("<HIBB6s", number, 16 + len(body), version, version, reserved)
    return struct.pack("<H", binascii.crc_hqx(head + body, 0xFFFF)) + head + body


def record(sections: dict[int, bytes]) -> bytes:
    """Return an SCP record of sections with their headers; the list names 0 to 11, whether they are there or not."""
    listed = sorted({*range(1, 12), *sections})
    first = len(section(0, bytes(10 * (len(listed) + 1))))
    place = 7 + first
    pointers = struct.pack("<HII", 0, first, 7)
    for number in listed:
        size = len(sections.get(number, b""))
        pointers += struct.pack("<HII", number, size, place if size else 0)
        place += size
    body = section(0, pointers) + b"".join(sections[number] for number in sorted(sections))
    body = struct.pack("<I", 6 + len(body)) + body
    return struct.pack("<H", binascii.crc_hqx(body, 0xFFFF)) + body


def differences(values: np.ndarray, order: int) -> np.ndarray:
    """Return differences whose first `order` numbers are samples, in 16 bits."""
    out = values.astype(np.int64).copy()
    if order == 1:
        out[1:] = np.diff(values.astype(np.int64))
    elif order == 2:
        out[2:] = np.diff(values.astype(np.int64), 2)
    return out.astype(np.int16).astype(np.int64)


def default_code(value: int) -> str:
    """Return the bits of a number by the table of the standard."""
    if value == 0:
        return "0"
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + ("0" if value > 0 else "1")
    if -128 <= value <= 127:
        return "1" * 9 + "0" + f"{value & 0xFF:08b}"
    return "1" * 10 + f"{value & 0xFFFF:016b}"


CUSTOM_TABLES = [[("0", 1, 1, 0), ("10", 18, 1, 0), ("11", 2, 0, 2)], [("0", 5, 1, 5), ("1", 1, 0, 1)]]
"""Two tables of (prefix, bits in all, 1 for a number or 0 for a table, number); "11" leads to the second."""


def custom_code(value: int) -> str:
    """Return the bits of a number by CUSTOM_TABLES, beginning and ending in the first."""
    if value == 0:
        return "0"
    if -8 <= value - 5 <= 7:
        return "11" + "0" + f"{(value - 5) & 0xF:04b}" + "1"
    return "10" + f"{value & 0xFFFF:016b}"


def custom_section() -> bytes:
    """Return section 2 with CUSTOM_TABLES."""
    body = struct.pack("<H", len(CUSTOM_TABLES))
    for table in CUSTOM_TABLES:
        body += struct.pack("<H", len(table))
        for prefix, total, data, value in table:
            body += struct.pack("<BBBhI", len(prefix), total, data, value, int(prefix[::-1], 2))
    return body


def packed(bits: str) -> bytes:
    """Return text of 0 and 1 as bytes, the first bit the highest."""
    size = -(-len(bits) // 8)
    return int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")


@dataclass(frozen=True)
class Scp:
    """An SCP record to be written.

    Attributes:
        digital: (samples, leads).
        names: of the leads.
        interval: microseconds from sample to sample.
        nanovolt: amplitude multiplier of the rhythm.
        table: "" for plain numbers, "default" or "custom" for Huffman codes.
        order: of the differences.
        beat: (samples, leads) reference beat, subtracted around `places` (of its `fiducial`) if there is one.
        starts: first sample of each lead, from 1.
    """

    digital: np.ndarray
    names: Sequence[str]
    interval: int = 2000
    nanovolt: int = 2500
    table: str = "default"
    order: int = 2
    beat: np.ndarray | None = None
    beat_nanovolt: int = 2500
    fiducial: int = 40
    places: Sequence[int] = ()
    starts: Sequence[int] = ()
    bimodal: int = 0
    replaced: dict[int, bytes] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """Return the record."""
        starts = self.starts or [1] * len(self.names)
        sections = {1: section(1, self._patient()), 3: section(3, self._leads(starts))}
        if self.table:
            tables = struct.pack("<H", 19999) if self.table == "default" else custom_section()
            sections[2] = section(2, tables)
        rhythm = self.digital.astype(np.int64).copy()
        if self.beat is not None:
            sections[4] = section(4, self._zones())
            sections[5] = section(5, self._data(self.beat, self.beat_nanovolt, 0))
            for place in self.places:
                first = place - self.fiducial
                rhythm[first : first + len(self.beat)] -= self.beat * self.beat_nanovolt // self.nanovolt
        sections[6] = section(6, self._data(rhythm, self.nanovolt, self.bimodal))
        for number, body in self.replaced.items():
            sections[number] = section(number, body)
        return record(sections)

    def _patient(self) -> bytes:
        fields = b"".join(
            struct.pack("<BH", tag, len(text) + 1) + text.encode() + b"\0" for tag, text in ((0, NAME), (2, IDENTITY))
        )
        return fields + struct.pack("<BH", 255, 0)

    def _leads(self, starts: Sequence[int]) -> bytes:
        flags = 0x04 | (1 if self.beat is not None else 0) | len(self.names) << 3
        body = struct.pack("<BB", len(self.names), flags & 0xFF)
        for name, start in zip(self.names, starts, strict=True):
            body += struct.pack("<IIB", start, start + len(self.digital) - 1, SCP_CODES.get(name, 150))
        return body

    def _zones(self) -> bytes:
        assert self.beat is not None
        milliseconds = len(self.beat) * self.interval // 1000
        body = struct.pack("<HHH", milliseconds, self.fiducial, len(self.places) + 1)
        for place in self.places:
            first = place - self.fiducial + 1
            body += struct.pack("<HIII", 0, first, place, first + len(self.beat) - 1)
        # A beat of another type, an extrasystole, from which nothing was subtracted.
        return body + struct.pack("<HIII", 1, 1, 2, 3) + struct.pack("<II", 1, 2) * (len(self.places) + 1)

    def _data(self, values: np.ndarray, nanovolt: int, bimodal: int) -> bytes:
        chunks = []
        for column in values.T:
            numbers = differences(column, self.order)
            if self.table:
                code = default_code if self.table == "default" else custom_code
                chunk = packed("".join(code(int(number)) for number in numbers))
                chunks.append(chunk + bytes(len(chunk) % 2))
            else:
                chunks.append(numbers.astype("<i2").tobytes())
        sizes = struct.pack(f"<{len(chunks)}H", *map(len, chunks))
        return struct.pack("<HHBB", nanovolt, self.interval, self.order, bimodal) + sizes + b"".join(chunks)


def write_leads_scp(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return an SCP record of (samples, leads) in units of 2.5 microvolt."""
    return Scp(digital, names, interval=round(1_000_000 / rate)).bytes()


_ISHNE = {
    "X": 2, "Y": 3, "Z": 4, "I": 5, "II": 6, "III": 7, "aVR": 8, "aVL": 9, "aVF": 10,
    "V1": 11, "V2": 12, "V3": 13, "V4": 14, "V5": 15, "V6": 16,
}  # fmt: skip


def ishne_bytes(
    digital: np.ndarray,
    rate: int,
    names: Sequence[str],
    *,
    samples: int | None = None,
    text: bytes = b"",
    nanovolt: int = 2500,
) -> bytes:
    """Return a Holter recording; `samples` is what the header announces per lead."""
    leads = len(names)
    head = struct.pack("<iiii", len(text), len(digital) if samples is None else samples, 522, 522 + len(text))
    head += struct.pack("<h", 1) + NAME.encode().ljust(40, b"\0") * 2 + IDENTITY.encode().ljust(20, b"\0")
    head += struct.pack("<hh", 1, 1) + struct.pack("<3h", 15, 8, 1947) + struct.pack("<3h", 1, 2, 2017) * 2
    head += struct.pack("<3h", 9, 10, 0) + struct.pack("<h", leads)
    for row in ([_ISHNE.get(name, 0) for name in names], [1] * leads, [nanovolt] * leads):
        head += struct.pack("<12h", *row, *[-9] * (12 - leads))
    head += struct.pack("<h", 0) + b"digital".ljust(40, b"\0") + struct.pack("<h", rate)
    head += bytes(80) + bytes(80) + bytes(88)
    assert len(head) == 512
    checksum = struct.pack("<H", binascii.crc_hqx(head + text, 0xFFFF))
    return b"ISHNE1.0" + checksum + head + text + digital.astype("<i2").tobytes()


def mfer_item(tag: int, content: bytes) -> bytes:
    """Return a definition."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x84]) + size.to_bytes(4, "big")
    return bytes([tag]) + length + content


def mfer_bytes(
    digital: np.ndarray,
    rate: int,
    names: Sequence[str],
    *,
    order: str = "<",
    kind: str = "i2",
    block: int | None = None,
    extra: bytes = b"",
    own: dict[int, bytes] | None = None,
) -> bytes:
    """Return an MFER file whose unit is 2.5 microvolt; `extra` stands before the waveform, `own` in each channel."""
    little = order == "<"
    codes = {"i2": 0, "u2": 1, "i4": 2, "u1": 3, "i1": 5, "u4": 6, "f4": 7, "f8": 8}
    size = block or len(digital)

    def whole(value: int, width: int) -> bytes:
        return value.to_bytes(width, "little" if little else "big", signed=value < 0)

    out = mfer_item(0x40, b"MFR Standard 12 leads ECG".ljust(32)) + mfer_item(0x01, b"\1" if little else b"\0")
    out += mfer_item(0x08, whole(1, 2)) + mfer_item(0x81, NAME.encode()) + mfer_item(0x82, IDENTITY.encode())
    out += mfer_item(0x04, whole(size, 4)) + mfer_item(0x05, whole(len(names), 1))
    out += mfer_item(0x06, whole(len(digital) // size, 4)) + mfer_item(0x0A, bytes([codes[kind]]))
    out += mfer_item(0x0B, b"\1\xfa" + whole(round(1_000_000 / rate), 4)) + mfer_item(0x0C, b"\0\xf9" + whole(25, 2))
    for k, name in enumerate(names):
        lead = mfer_item(0x09, whole(SCP_CODES.get(name, 160), 2))
        lead += b"".join(mfer_item(tag, content) for tag, content in (own or {}).items())
        out += bytes([0x3F, k, len(lead)]) + lead
    rows = digital.reshape(-1, size, len(names)).transpose(0, 2, 1)
    return out + extra + mfer_item(0x1E, rows.astype(order + kind).tobytes()) + b"\x80\x00"


def write_leads_mfer(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return an MFER file of (samples, leads)."""
    return mfer_bytes(digital, rate, names)


def bdf_bytes(signals: Sequence[edfio.BdfSignal]) -> bytes:
    """Return a BDF file."""
    out = io.BytesIO()
    patient = edfio.Patient(code=IDENTITY, name=NAME)
    edfio.Bdf(list(signals), patient=patient).write(out)
    return out.getvalue()


def bdf_signal(name: str, digital: np.ndarray, rate: float, unit: str = "uV") -> edfio.BdfSignal:
    """Return one signal whose step is one of its unit."""
    limits = (-(2**23), 2**23 - 1)
    values = digital.astype(np.int32)
    return edfio.BdfSignal.from_digital(
        values, rate, label=name, physical_dimension=unit, physical_range=limits, digital_range=limits
    )


def write_leads_bdf(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return a BDF file of (samples, leads)."""
    return bdf_bytes([bdf_signal(name, digital[:, k], rate) for k, name in enumerate(names)])


def write_leads_ishne(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return a Holter recording of (samples, leads) in units of 2.5 microvolt."""
    return ishne_bytes(digital, rate, names, text=b"no remark")
