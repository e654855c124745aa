"""XLI, the lossless compression of Philips electrocardiographs.

Per lead: four bytes with the size of what follows the header, two unused, two with the first difference; then LZW of
ten-bit codes, most significant bit first. Decompressed it is the high bytes of all words, then the low ones; the words
are the second differences of the samples, each corrected by the one before.

Found out by the authors of sierra-ecg-tools (https://github.com/sixlettervariables/sierra-ecg-tools).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecg_hub.errors import DataError

_HEADER = 8
_BITS = 10
# The last code ends the data, the table holds all below it.
_TABLE = (1 << _BITS) - 1


def decode_xli(data: bytes, leads: int, count: int) -> np.ndarray:
    """Return (count, leads) int16.

    Args:
        data: the chunks, one per lead, one after the other.
        leads: how many are announced.
        count: samples of each that are announced.

    Raises:
        DataError: the data are cut short, or hold less or far more than announced.
    """
    columns = []
    position = 0
    for lead in range(1, leads + 1):
        size = int.from_bytes(data[position : position + 4], "little")
        start = int.from_bytes(data[position + 6 : position + _HEADER], "little", signed=True)
        chunk = data[position + _HEADER : position + _HEADER + size]
        if not size or len(chunk) < size:
            raise DataError(f"compressed lead {lead} holds {len(chunk)} bytes, {size} are announced, more than 0")
        # A few words more than announced are stored; a table of this size could make gigabytes of a megabyte.
        words = expand(chunk, 2 * (2 * count + 1024))
        columns.append(_samples(lead, words, start, count))
        position += _HEADER + size
    return np.stack(columns, axis=1)


def _samples(lead: int, words: bytes, start: int, count: int) -> np.ndarray:
    half = (len(words) + 1) // 2
    if half < count:
        raise DataError(f"compressed lead {lead} holds {half} samples, {count} are announced")
    padded = np.frombuffer(words.ljust(2 * half, b"\0"), dtype=np.uint8).reshape(2, half).astype(np.int64)
    differences = ((padded[0] << 8) | padded[1])[:count]
    differences -= (differences >= 0x8000) * 0x10000
    # x[n] = 2 x[n-1] - x[n-2] - d[n], where d[2] is the start and d[n+1] the word n less 64.
    bends = np.zeros(count, dtype=np.int64)
    if count > 2:
        bends[2] = -start
        bends[3:] = -(differences[2:-1] - 64)
    slopes = np.cumsum(bends)
    if count > 1:
        slopes[1:] += differences[1] - differences[0]
    slopes[0] = differences[0]
    # Writers calculate in 16 bits, where what overflows comes back.
    return np.cumsum(slopes).astype(np.int16)


def expand(data: bytes, largest: int) -> bytes:
    """Decompress LZW of ten-bit codes, of which the table grows until it is full.

    Raises:
        DataError: a code that the table does not hold yet, or more than `largest` bytes.
    """
    table = [bytes([value]) for value in range(256)]
    out = bytearray()
    previous = b""
    for code in _codes(data):
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            # The one entry that may be used before it is made: it begins and ends alike.
            entry = previous + previous[:1]
        else:
            raise DataError(f"compressed samples hold the code {code} before the table does")
        if previous and len(table) < _TABLE:
            table.append(previous + entry[:1])
        out += entry
        if len(out) > largest:
            raise DataError(f"compressed samples expand to more than {largest} bytes, far more than announced")
        previous = entry
    return bytes(out)


def _codes(data: bytes) -> Iterator[int]:
    buffer = bits = 0
    for byte in data:
        # Cut to twenty bits: Python's integers would grow with the file, and each shift would copy all of it.
        buffer = (buffer << 8 | byte) & 0xFFFFF
        bits += 8
        if bits >= _BITS:
            bits -= _BITS
            code = buffer >> bits & _TABLE
            if code == _TABLE:
                return
            yield code
