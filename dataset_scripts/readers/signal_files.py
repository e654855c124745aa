"""One signal file per record: in folders, or inside the published zip file of waveforms.

Python's `zipfile` keeps an object per member, over a gigabyte in every process that reads; this index keeps three
numbers per record. Format: PKWARE APPNOTE.TXT 6.3, sections 4.3 (records) and 4.5.3 (zip64).
"""

from __future__ import annotations

import functools
import math
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dataset_scripts.core.spec import Signal
from ecg_hub.errors import DataError
from ecg_hub.input.samples import LARGEST, MISSING, quantise
from ecg_hub.input.wfdb import read_record
from ecg_hub.leads import LEADS
from ecg_hub.utils.untrusted import max_bytes, max_record_mb, plain_file

STEP_TOLERANCE_UV = 0.0051
"""How far a sample printed with two decimals may lie from a multiple of the step."""


def find_files(data_dir: Path, folder: str, suffix: str) -> dict[str, str]:
    """Return name without ending -> file below the raw folder, for the files of `folder` and `folder/folder`.

    Unpacking an archive that holds a folder into a folder of that name gives the second form. Where both hold a name,
    the outer one is taken.
    """
    files: dict[str, str] = {}
    # The outer one last, so that it wins.
    for folder_below in (f"{folder}/{folder}", folder):
        try:
            with os.scandir(data_dir / folder_below) as entries:
                # macOS leaves "._" files beside those that it copies.
                names = [e.name for e in entries if e.name.endswith(suffix) and not e.name.startswith(".")]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"The folder {str(data_dir / folder_below)!r} cannot be read: {error}.") from error
        files.update((name.removesuffix(suffix), f"{folder_below}/{name}") for name in names)
    return files


def float_signal(microvolt: np.ndarray, sampling_rate: int, step_uv: float | None = None, remark: str = "") -> Signal:
    """Return (samples, 12) microvolt as 16-bit samples: exact in multiples of `step_uv`, else quantised by lead."""
    values = np.asarray(microvolt, dtype=np.float64)
    stored = _in_steps(values, step_uv) if step_uv else None
    samples, gain, baseline = stored if stored is not None else quantise(values / 1000.0, offsets=False)
    remarks = filter(None, (remark, _missing_remark(samples), _coarse_remark(gain) if stored is None else ""))
    return Signal(np.ascontiguousarray(samples), gain, baseline, sampling_rate, remark="; ".join(remarks))


def _in_steps(microvolt: np.ndarray, step_uv: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return whole steps as int16, gain and a baseline of 0; None where a sample is no multiple or too large."""
    absent = np.isnan(microvolt)
    # NaN cast to int16 is whatever the processor makes of it.
    measured = np.where(absent, 0.0, microvolt)
    if not np.isfinite(measured).all():
        return None
    steps = np.rint(measured / step_uv)
    if np.abs(steps).max(initial=0) > LARGEST or np.abs(measured - steps * step_uv).max(initial=0) > STEP_TOLERANCE_UV:
        return None
    samples = steps.astype(np.int16)
    samples[absent] = MISSING
    return samples, np.full(len(LEADS), step_uv, dtype=np.float32), np.zeros(len(LEADS), dtype=np.int32)


def _missing_remark(samples: np.ndarray) -> str:
    """Return which leads miss samples; "" where none does or all miss all, which the report tells by itself."""
    count = (samples == MISSING).sum(axis=0)
    if not count.any() or int(count.sum()) == samples.size:
        return ""
    leads = [lead for lead, number in zip(LEADS, count, strict=True) if number]
    return f"{int(count.sum())} samples are missing in {', '.join(leads)}"


def _coarse_remark(gain_uv: np.ndarray) -> str:
    coarse = {lead: float(gain) for lead, gain in zip(LEADS, gain_uv, strict=True) if gain > 1.0}
    if not coarse:
        return ""
    return f"beyond 32.767 mV in {', '.join(coarse)}: stored there in steps of up to {max(coarse.values()):g} microvolt"


# Study numbers have eight digits; what does not fit into 64 bits is none.
_MEMBER = re.compile(rb"(?:^|/)(\d{1,18})\.(hea|dat)$")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
# In a field of 32 bits: see the zip64 field for the number.
_FULL = 0xFFFFFFFF
# The record at the end may be followed by a comment, whose length has 16 bits.
_LONGEST_TAIL = _END.size + 65_535 + _LOCATOR.size
_STORED, _DEFLATED = 0, 8
_PIECE = 1 << 16


@dataclass(frozen=True)
class ZipIndex:
    """Where the records of a zip file lie.

    Attributes:
        path: the zip file.
        studies: (records,) int64, ascending.
        headers, signals: (records,) int64, position of the .hea and .dat member in the file; -1 where it is absent.
    """

    path: Path
    studies: np.ndarray
    headers: np.ndarray
    signals: np.ndarray

    def read(self, study: int) -> Signal:
        """Read one record."""
        row = int(np.searchsorted(self.studies, study))
        if row == len(self.studies) or self.studies[row] != study:
            raise DataError(f"{study}.hea is not in {self.path.name}")
        # The WFDB reader takes files: a temporary folder costs half a millisecond per record.
        with tempfile.TemporaryDirectory() as folder, self.path.open("rb") as stream:
            for ending, position in ((".hea", self.headers[row]), (".dat", self.signals[row])):
                if position >= 0:
                    content = _member(stream, int(position), f"{study}{ending}")
                    Path(folder, f"{study}{ending}").write_bytes(content)
            return read_record(Path(folder, f"{study}.hea"))


@functools.lru_cache(maxsize=2)
def zip_index(path: Path) -> ZipIndex:
    """Return the index of a zip file, made once per process (a few seconds for 1.6 million members)."""
    places: dict[int, list[int]] = {}
    try:
        for name, position in _members(path):
            match = _MEMBER.search(name)
            if match:
                entry = places.setdefault(int(match[1]), [-1, -1])
                entry[0 if match[2] == b"hea" else 1] = position
    # Numbers of 64 bits may be more than a place in a file, which `seek` and numpy refuse in their own ways.
    except (OSError, struct.error, IndexError, OverflowError, ValueError) as error:
        raise DataError(f"{str(path)!r} is no whole zip file ({error}); get it again.") from None
    # Three arrays of numbers are kept, not the dictionary: 800,000 records take 20 MB.
    studies = np.array(sorted(places), dtype=np.int64)
    positions = np.array([places[int(study)] for study in studies], dtype=np.int64).reshape(-1, 2)
    return ZipIndex(path, studies, positions[:, 0], positions[:, 1])


def _members(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield name and position of every member, from the central directory."""
    held = plain_file(path, math.inf)
    with path.open("rb") as stream:
        start, size = _directory(stream, path)
        if start + size > held:
            raise DataError(f"{str(path)!r} is no whole zip file (its list of members lies beyond its end).")
        stream.seek(start)
        content = stream.read(size)
    offset = 0
    while offset < len(content):
        fields = _CENTRAL.unpack_from(content, offset)
        if fields[0] != b"PK\x01\x02":
            raise DataError(f"{str(path)!r} is no whole zip file (its list of members is damaged); get it again.")
        name_size, extra_size, comment_size = fields[10:13]
        name = content[offset + _CENTRAL.size : offset + _CENTRAL.size + name_size]
        extra = offset + _CENTRAL.size + name_size
        position = _position(fields, content[extra : extra + extra_size])
        if position > held:
            raise DataError(f"{str(path)!r} is no whole zip file (a member lies beyond its end).")
        yield name, position
        offset = extra + extra_size + comment_size


def _position(fields: tuple[int, ...], extra: bytes) -> int:
    """Return where a member begins; beyond 4 GB the number is in its zip64 field, after those that overflow too."""
    if fields[16] != _FULL:
        return fields[16]
    return _wide_numbers(extra)[sum(value == _FULL for value in (fields[9], fields[8]))]


def _wide_numbers(extra: bytes) -> tuple[int, ...]:
    """Return the 64-bit numbers of a zip64 field among the extra fields of a member, () without one."""
    offset = 0
    while offset + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, offset)
        if kind == 1:
            return struct.unpack_from(f"<{size // 8}Q", extra, offset + 4)
        offset += 4 + size
    return ()


def _directory(stream: BinaryIO, path: Path) -> tuple[int, int]:
    """Return start and size of the central directory."""
    total = stream.seek(0, os.SEEK_END)
    stream.seek(max(total - _LONGEST_TAIL, 0))
    tail = stream.read()
    # From the end: a comment may follow, and the same bytes may stand before.
    end_offset = tail.rfind(b"PK\x05\x06")
    if end_offset < 0:
        raise DataError(f"{str(path)!r} is no whole zip file (its end is missing); get it again.")
    end = _END.unpack_from(tail, end_offset)
    size, start = end[5], end[6]
    locator = end_offset - _LOCATOR.size
    # Sizes beyond 4 GB do not fit the short record; the zip64 one before it has them.
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        stream.seek(_LOCATOR.unpack_from(tail, locator)[2])
        whole = _END_64.unpack(stream.read(_END_64.size))
        size, start = whole[8], whole[9]
    return start, size


def _member(stream: BinaryIO, position: int, name: str) -> bytes:
    """Return the content of the member that begins at a position."""
    held = stream.seek(0, os.SEEK_END)
    if position > held:
        raise DataError(f"{name} is not where the zip file says")
    stream.seek(position)
    try:
        fields = _LOCAL.unpack(stream.read(_LOCAL.size))
        if fields[0] != b"PK\x03\x04":
            raise DataError(f"{name} is not where the zip file says")
        method, checksum, size = fields[3], fields[6], fields[7]
        stream.seek(fields[9], os.SEEK_CUR)
        extra = _wide_numbers(stream.read(fields[10]))
        if size == _FULL and len(extra) > 1:
            # Its two numbers are the size unpacked and the size packed.
            size = extra[1]
        if method == _DEFLATED:
            content = _inflate(stream, name)
        elif method == _STORED and size <= min(held, max_bytes()):
            content = stream.read(size)
        elif method == _STORED:
            raise DataError(f"{name} is said to have {size:,} bytes; up to {max_record_mb():g} MB are read")
        else:
            raise DataError(f"{name} is compressed by method {method}, which zip files of PhysioNet do not use")
    except (struct.error, zlib.error) as error:
        raise DataError(f"{name} is damaged in the zip file: {error}") from None
    # Writers that stream put 0 here and the checksum behind the content.
    if checksum and zlib.crc32(content) != checksum:
        raise DataError(f"{name} is damaged in the zip file: its checksum differs")
    return content


def _inflate(stream: BinaryIO, name: str) -> bytes:
    # Raw deflate, without zlib's header; read to the end of the stream, because the stated size may be 0 too.
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    parts = []
    expanded, largest = 0, max_bytes()
    while not inflater.eof:
        piece = stream.read(_PIECE)
        if not piece:
            raise zlib.error("it ends in the middle")
        parts.append(inflater.decompress(piece))
        # A thousandth of the room is enough to pack zeros.
        expanded += len(parts[-1])
        if expanded > largest:
            raise DataError(f"{name} expands to more than {max_record_mb():g} MB, the largest record that is read")
    return b"".join(parts)
