"""The Huffman tables of SCP-ECG (EN 1064, section 2 and annex C.3.7.6), and decoding with them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_hub.errors import DataError

# Stands where the number of tables would: the file uses the table of the standard.
_DEFAULT = 19999
# A prefix is stored in four bytes.
_LONGEST = 32


@dataclass(frozen=True)
class Code:
    """One code of a table.

    Attributes:
        more: bits that follow the prefix and are added to the value, as a signed number.
        value: the number that the prefix stands for, or the table (from 1) to go on with.
        switches: whether it is a table.
    """

    more: int
    value: int
    switches: bool = False


@dataclass(frozen=True)
class Table:
    """A table by prefixes, each as text of 0 and 1."""

    codes: dict[str, Code]
    lengths: tuple[int, ...]


def default_table() -> Table:
    """Return the table of the standard: n ones, a zero, the sign; 8 or 16 bits in full for larger numbers."""
    codes = {"0": Code(0, 0)}
    for size in range(1, 9):
        codes["1" * size + "00"], codes["1" * size + "01"] = Code(0, size), Code(0, -size)
    codes["1" * 9 + "0"], codes["1" * 10] = Code(8, 0), Code(16, 0)
    return _table(codes)


def _table(codes: dict[str, Code]) -> Table:
    return Table(codes, tuple(sorted({len(prefix) for prefix in codes})))


def read_tables(body: bytes) -> list[Table]:
    """Return the tables of section 2."""
    (count,) = struct.unpack_from("<H", body)
    if count == _DEFAULT:
        return [default_table()]
    tables = []
    position = 2
    for _ in range(count):
        (size,) = struct.unpack_from("<H", body, position)
        # "<" also turns padding off: a code has 9 bytes, not the 12 of a C structure.
        codes = [struct.unpack_from("<BBBhI", body, position + 2 + 9 * k) for k in range(size)]
        tables.append(_table(dict(_code(*code) for code in codes)))
        position += 2 + 9 * size
    if not tables:
        raise DataError("section 2 holds no Huffman table")
    return tables


def _code(prefix: int, total: int, data: int, value: int, base: int) -> tuple[str, Code]:
    if not 1 <= prefix <= min(total, _LONGEST) or total - prefix > _LONGEST:
        raise DataError(f"a Huffman code has {prefix} bits of {total}, 1 to {_LONGEST} are expected")
    # The first bit of the stream is the lowest of the number.
    bits = f"{base & ((1 << prefix) - 1):0{prefix}b}"[::-1]
    return bits, Code(total - prefix, value, switches=data == 0)


def decode(data: bytes, count: int, tables: Sequence[Table]) -> np.ndarray:
    """Return `count` numbers, int64; the first table is the one to begin with."""
    # Every number takes a bit at least, so nothing is set aside for what cannot be there.
    if count > 8 * len(data):
        raise DataError(f"{count} samples are announced, {len(data)} bytes of Huffman codes cannot hold them")
    bits = "".join(f"{byte:08b}" for byte in data)
    numbers: list[int] = []
    table = tables[0]
    position = 0
    while len(numbers) < count:
        # No code begins another one, so the shortest that fits is the one.
        length = next((n for n in table.lengths if bits[position : position + n] in table.codes), 0)
        if not length:
            raise DataError(f"after {len(numbers)} of {count} samples the Huffman codes end, or are none of the table")
        code = table.codes[bits[position : position + length]]
        position += length
        if code.switches:
            if not 1 <= code.value <= len(tables):
                raise DataError(f"a Huffman code leads to table {code.value}, of {len(tables)}")
            table = tables[code.value - 1]
            continue
        numbers.append(code.value + _signed(bits[position : position + code.more], code.more))
        position += code.more
    return np.array(numbers, dtype=np.int64)


def _signed(bits: str, width: int) -> int:
    """Return a number in two's complement."""
    if len(bits) < width:
        raise DataError("the Huffman codes end within a number")
    if not width:
        return 0
    value = int(bits, 2)
    return value - (1 << width) if bits[0] == "1" else value
