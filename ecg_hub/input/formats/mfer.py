"""MFER, Medical waveform Format Encoding Rules (ISO 22077-1, and parts 2 and 3 for resting and long-term ECG).

A file is a list of definitions, tag, length, content, in force from where they stand; a waveform (MWF_WAV) is laid out
by the definitions before it as sequences x channels x block. Frames that go on with the same definitions are joined.
Definitions of the patient are skipped unread.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels, rate_of_interval, same_length
from ecg_hub.utils.untrusted import plain_file

MAGIC = b"MFR "
"""What the preamble of a file begins with, after its tag and length."""

_END_OF_CONTENTS, _BYTE_ORDER, _BLOCK, _CHANNELS, _SEQUENCES = 0x00, 0x01, 0x04, 0x05, 0x06
_CLASS, _LEAD, _TYPE, _INTERVAL, _SENSITIVITY, _OFFSET, _NULL = 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x12
_COMPRESSION, _WAVE, _ATTRIBUTES, _GROUP, _END = 0x0E, 0x1E, 0x3F, 0x67, 0x80
_INDEFINITE = 0x80  # a length: the content ends at two zero bytes
_OF_CHANNELS = (_BLOCK, _SEQUENCES, _LEAD, _TYPE, _INTERVAL, _SENSITIVITY, _OFFSET, _NULL)

_TYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
_STATUS = 4  # a channel of flags, of 16 bits
_DOMINANT_BEAT = 9
_LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
_MOST_CHANNELS = 256
_DEFAULT_RATE = 1000.0  # Hz, where a file states no interval (5.2.2 of part 1)


@dataclass
class _Definitions:
    """What is in force: for the whole file and for single channels, as tag -> content with its byte order."""

    order: str = ">"
    channels: int = 1
    waveform: int = 0
    common: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    single: dict[int, dict[int, tuple[bytes, str]]] = field(default_factory=dict)

    def of(self, channel: int) -> dict[int, tuple[bytes, str]]:
        return {**self.common, **self.single.get(channel, {})}


@dataclass(frozen=True)
class _Frame:
    """One waveform: per channel what is in force for it, and its samples."""

    channels: tuple[dict[int, tuple[bytes, str]], ...]
    samples: tuple[np.ndarray, ...]

    @property
    def layout(self) -> list[dict[int, tuple[bytes, str]]]:
        """What must agree for two frames to be one recording: everything but how long they are."""
        return [{tag: at[tag] for tag in at if tag not in (_BLOCK, _SEQUENCES)} for at in self.channels]


def read_mfer(path: Path) -> Channels:
    """Read the leads of an MFER file: microvolt = (sample + offset) * sensitivity."""
    plain_file(path)
    frames = list(_frames(memoryview(path.read_bytes())))
    if not frames:
        raise DataError(f"{path.name} holds no waveform but that of a dominant beat, or none at all")
    alike = [frame for frame in frames if frame.layout == frames[0].layout]
    remark = "" if len(alike) == len(frames) else f"{len(frames) - len(alike)} of {len(frames)} frames are left out"
    used = [k for k, at in enumerate(frames[0].channels) if _is_voltage(at)]
    if not used:
        raise DataError(f"{path.name} holds no channel in volts")
    columns = [np.concatenate([frame.samples[k] for frame in alike]) for k in used]
    same_length([len(column) for column in columns])
    return _channels([frames[0].channels[k] for k in used], columns, remark)


def _channels(defined: list[dict[int, tuple[bytes, str]]], columns: list[np.ndarray], remark: str) -> Channels:
    rates = sorted({_rate(at) for at in defined})
    if len(rates) > 1:
        raise DataError(f"its leads are sampled at {rates} Hz, one rate is expected")
    nulls = [_typed(at, _NULL) for at in defined]
    # A channel without a null value compares with None, which numpy answers by False throughout.
    missing = np.stack([column == null for column, null in zip(columns, nulls, strict=True)], axis=1)
    return Channels(
        names=[_name(k, at) for k, at in enumerate(defined)],
        values=np.stack(columns, axis=1),
        gain_uv=np.array([_microvolt(at) for at in defined]),
        zero=-np.array([_typed(at, _OFFSET) or 0.0 for at in defined]),
        sampling_rate=rates[0],
        missing=missing if missing.any() else None,
        remark=remark,
    )


def _items(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield tag, channel (for attributes of one) and content."""
    position = 0
    while position < len(data):
        tag = data[position]
        position += 1
        # The two zero bytes behind a content of indefinite length, which is yielded without them.
        if tag == _END_OF_CONTENTS:
            continue
        if tag == _END:
            return
        channel, position = _channel(data, position) if tag == _ATTRIBUTES else (0, position)
        if position < len(data) and data[position] == _INDEFINITE:
            length, position = _length_to_end(data, position + 1), position + 1
        else:
            length, position = _length(data, position)
        if position + length > len(data):
            raise DataError(
                f"the definition of tag 0x{tag:02X} announces {length} bytes, {len(data) - position} follow"
            )
        yield tag, channel, data[position : position + length]
        position += length


def _channel(data: memoryview, position: int) -> tuple[int, int]:
    """Return a channel number, seven bits a byte, and where it ends."""
    channel = 0
    for _ in range(4):
        byte = _byte(data, position)
        channel, position = channel << 7 | byte & 0x7F, position + 1
        if not byte & 0x80:
            return channel, position
    raise DataError("a channel number takes more than 4 bytes")


def _length(data: memoryview, position: int) -> tuple[int, int]:
    first = _byte(data, position)
    if first < 0x80:
        return first, position + 1
    count = first & 0x7F
    if not 1 <= count <= 4 or position + 1 + count > len(data):
        raise DataError(f"a length is written as 0x{first:02X}; up to 4 bytes that are there are read")
    return int.from_bytes(data[position + 1 : position + 1 + count], "big"), position + 1 + count


def _length_to_end(data: memoryview, start: int) -> int:
    """Return the length of the definitions that two zero bytes end."""
    position = start
    while bytes(data[position : position + 2]) != b"\0\0":
        if _byte(data, position) == _ATTRIBUTES:
            raise DataError("attributes of a channel stand within others")
        length, position = _length(data, position + 1)
        position += length
    return position - start


def _byte(data: memoryview, position: int) -> int:
    if position >= len(data):
        raise DataError("the file ends within a definition")
    return data[position]


def _frames(data: memoryview) -> Iterator[_Frame]:
    """Yield the waveforms that are as recorded."""
    now = _Definitions()
    for tag, channel, content in _ungrouped(data):
        if tag == _ATTRIBUTES:
            _define_single(now, channel, content)
        elif tag == _WAVE:
            if now.waveform != _DOMINANT_BEAT:
                yield _frame(now, content)
        elif tag in _OF_CHANNELS:
            _set(now.common, tag, content, now.order)
        else:
            _define(now, tag, content)


def _ungrouped(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield the definitions, those of a group one by one."""
    for tag, channel, content in _items(data):
        if tag != _GROUP:
            yield tag, channel, content
            continue
        for item in _items(content):
            if item[0] == _GROUP:
                raise DataError("a group of definitions stands within another")
            yield item


def _define(now: _Definitions, tag: int, content: memoryview) -> None:
    value = int.from_bytes(content[:4], "big" if now.order == ">" else "little")
    if tag == _BYTE_ORDER:
        now.order = "<" if bytes(content[:1]) == b"\x01" else ">"
    elif tag == _CHANNELS:
        if not 1 <= value <= _MOST_CHANNELS:
            raise DataError(f"{value} channels are announced, 1 to {_MOST_CHANNELS} are read")
        # A new number of channels takes back what was said of single ones.
        now.channels, now.single = value, {}
    elif tag == _CLASS:
        now.waveform = int.from_bytes(content[:2], "big" if now.order == ">" else "little")
    elif tag == _COMPRESSION and value:
        raise DataError(f"the waveform is compressed by code {value}, which is not read")


def _define_single(now: _Definitions, channel: int, content: memoryview) -> None:
    if channel >= now.channels:
        return
    for tag, _, value in _items(content):
        if tag in _OF_CHANNELS:
            _set(now.single.setdefault(channel, {}), tag, value, now.order)


def _set(target: dict[int, tuple[bytes, str]], tag: int, content: memoryview, order: str) -> None:
    # An empty definition takes the one before back.
    if len(content):
        target[tag] = bytes(content[:32]), order
    else:
        target.pop(tag, None)


def _frame(now: _Definitions, wave: memoryview) -> _Frame:
    """Split a waveform: of each channel a block, and this as often as there are sequences."""
    channels = tuple(now.of(k) for k in range(now.channels))
    blocks = [_integer(at, _BLOCK, 1) for at in channels]
    dtypes = [_dtype(at, now.order) for at in channels]
    sizes = [block * dtype.itemsize for block, dtype in zip(blocks, dtypes, strict=True)]
    row = sum(sizes)
    if not all(blocks) or not row or row > max(len(wave), 1):
        raise DataError(f"a sequence takes {row} bytes in blocks of {blocks[:12]} samples, the waveform {len(wave)}")
    announced = {_integer(at, _SEQUENCES, len(wave) // row) for at in channels}
    if announced != {len(wave) // row} or len(wave) % row:
        stated = ", ".join(map(str, sorted(announced)))
        raise DataError(f"a waveform of {len(wave)} bytes holds no whole {stated} sequences of {row} bytes")
    table = np.frombuffer(wave, dtype=np.uint8).reshape(-1, row)
    edges = np.cumsum([0, *sizes])
    return _Frame(
        channels,
        tuple(
            # numpy reads bytes as wider numbers only where they lie side by side.
            np.ascontiguousarray(table[:, edges[k] : edges[k + 1]]).view(dtype).reshape(-1)
            for k, dtype in enumerate(dtypes)
        ),
    )


def _integer(at: dict[int, tuple[bytes, str]], tag: int, default: int) -> int:
    if tag not in at:
        return default
    content, order = at[tag]
    return int.from_bytes(content[:4], "big" if order == ">" else "little")


def _dtype(at: dict[int, tuple[bytes, str]], order: str) -> np.dtype[np.generic]:
    code = _integer(at, _TYPE, 0)
    if code != _STATUS and code not in _TYPES:
        raise DataError(f"samples are of type {code}, which is not read; known: {', '.join(map(str, _TYPES))}")
    return np.dtype(order + _TYPES.get(code, "u2"))


def _is_voltage(at: dict[int, tuple[bytes, str]]) -> bool:
    # 0xFF is no unit: a channel that states no sensitivity is left out, not guessed to be in volts.
    content, _ = at.get(_SENSITIVITY, (b"\xff", ""))
    return content[0] == 0 and _integer(at, _TYPE, 0) != _STATUS


def _name(channel: int, at: dict[int, tuple[bytes, str]]) -> str:
    content, order = at.get(_LEAD, (b"", ">"))
    code = int.from_bytes(content[:2], "big" if order == ">" else "little")
    text = content[2:].split(b"\0")[0].decode("ascii", errors="ignore").strip()
    return _LEADS.get(code) or text or f"channel {channel + 1} (code {code})"


def _power(at: dict[int, tuple[bytes, str]], tag: int, what: str) -> tuple[int, Decimal]:
    """Return the unit of a definition, and its value: an integer times a power of ten."""
    content, order = at[tag]
    if not 3 <= len(content) <= 6:
        raise DataError(f"{what} takes {len(content)} bytes, 3 to 6 are expected")
    mantissa = int.from_bytes(content[2:], "big" if order == ">" else "little", signed=True)
    (exponent,) = struct.unpack_from("b", content, 1)
    return content[0], Decimal(mantissa).scaleb(exponent)


def _microvolt(at: dict[int, tuple[bytes, str]]) -> float:
    _, volts = _power(at, _SENSITIVITY, "the sensitivity")
    if not volts:
        raise DataError("the sensitivity of a lead is 0")
    # In decimals to the last step: powers of ten below 1 have no exact double.
    return float(volts * 10**6)


def _rate(at: dict[int, tuple[bytes, str]]) -> float:
    if _INTERVAL not in at:
        return _DEFAULT_RATE
    unit, value = _power(at, _INTERVAL, "the sampling interval")
    if unit == 0 and value > 0:
        return float(value)
    if unit != 1:
        raise DataError(f"the sampling interval has unit {unit} and value {value}; Hz (0) and seconds (1) are read")
    return rate_of_interval(str(value), "1", "the sampling interval")


def _typed(at: dict[int, tuple[bytes, str]], tag: int) -> float | None:
    """Return a value that is written like the samples of its channel."""
    if tag not in at:
        return None
    content, order = at[tag]
    dtype = _dtype(at, order)
    if len(content) < dtype.itemsize:
        raise DataError(f"the definition of tag 0x{tag:02X} takes {len(content)} bytes, {dtype.itemsize} are expected")
    return float(np.frombuffer(content[: dtype.itemsize], dtype=dtype)[0])
