"""ISHNE Holter files (Badilini, Ann Noninvasive Electrocardiol 1998, 10.1111/j.1542-474X.1998.tb00353.x).

A header of 522 bytes, a block of text, then little-endian 16-bit integers, one of each lead in turn. Nothing of the
header about the subject is read. -32768 is where the standard proposes to mark a lead that was off.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels

MAGIC = b"ISHNE1.0"
_HEADER = 522
_LEADS = {
    **{2: "X", 3: "Y", 4: "Z", 5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF"},
    **{10 + k: f"V{k}" for k in range(1, 7)},
    **{17: "ES", 18: "AS", 19: "AI"},
}
_FAULT = -32768


@dataclass(frozen=True)
class _Header:
    checksum: int
    text_bytes: int
    samples: int
    codes: tuple[int, ...]
    nanovolt: tuple[int, ...]
    rate: int


def read_ishne(path: Path) -> Channels:
    """Read a Holter recording: microvolt = sample * resolution / 1000, the resolution in nV."""
    with path.open("rb") as file:
        raw = file.read(_HEADER)
        header = _parse(path, raw)
        text = file.read(header.text_bytes)
    leads = len(header.codes)
    start = _HEADER + header.text_bytes
    # By the size of the file: writers mean different things by the number in the header (`_length_remark`).
    held = (path.stat().st_size - start) // (2 * leads)
    if held < 1:
        raise DataError(f"{path.name} is cut short: no sample of its {leads} leads follows the header")
    values = np.fromfile(path, dtype="<i2", count=held * leads, offset=start).reshape(held, leads)
    return Channels(
        names=[_LEADS.get(code, f"lead {k + 1} (code {code})") for k, code in enumerate(header.codes)],
        values=values,
        gain_uv=np.array(header.nanovolt) / 1000,
        zero=np.zeros(leads),
        sampling_rate=float(header.rate),
        missing=values == _FAULT,
        remark="; ".join(filter(None, [_length_remark(header, held), _sum_remark(header, raw + text)])),
    )


def _parse(path: Path, raw: bytes) -> _Header:
    if raw[:8] != MAGIC or len(raw) < _HEADER:
        raise DataError(f"{path.name} is no ISHNE file: {_HEADER} bytes that begin with {MAGIC!r} are expected")
    checksum, text_bytes, samples = struct.unpack_from("<Hii", raw, 8)
    # By their places in the header, the fields about the subject in between passed over.
    (leads,) = struct.unpack_from("<h", raw, 156)
    (rate,) = struct.unpack_from("<h", raw, 272)
    if not 1 <= leads <= 12:
        raise DataError(f"{path.name} announces {leads} leads, 1 to 12 are expected")
    if not 0 <= text_bytes <= path.stat().st_size - _HEADER:
        raise DataError(f"{path.name} is cut short: its header announces {text_bytes} bytes of text")
    if rate <= 0:
        raise DataError(f"{path.name} has the sampling rate {rate} Hz, more than 0 is expected")
    codes = struct.unpack_from(f"<{leads}h", raw, 158)
    nanovolt = struct.unpack_from(f"<{leads}h", raw, 206)
    if min(nanovolt) <= 0:
        raise DataError(f"{path.name} has resolutions of {list(nanovolt)} nV, more than 0 is expected of every lead")
    return _Header(checksum, text_bytes, samples, codes, nanovolt, rate)


def _length_remark(header: _Header, held: int) -> str:
    # Per lead says the standard; some writers count all leads together, others announce what a whole tape could hold.
    if header.samples in (0, held, held * len(header.codes)):
        return ""
    return f"holds {held} samples of each lead, its header announces {header.samples}"


def _sum_remark(header: _Header, raw: bytes) -> str:
    """Return a remark where header and text do not fit their checksum; 0 stands for none."""
    # Of what follows the magic number (8 bytes) and the sum itself (2).
    found = binascii.crc_hqx(raw[10:], 0xFFFF)
    swapped = (found & 0xFF) << 8 | found >> 8
    fits = header.checksum in (0, found, swapped)
    return "" if fits else "the header does not fit its checksum"
