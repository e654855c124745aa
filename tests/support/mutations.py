"""Changes of valid files that readers meet in damaged and in hostile ones; each follows from its random generator."""

from __future__ import annotations

import random
import re
import struct

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_EXTREME = (
    *(b"0", b"-1", b"1", b"2", b"65536", b"999999999", b"2147483648", b"-2147483649", b"1000000000000"),
    *(
        b"18446744073709551616",
        b"1e308",
        b"-1e309",
        b"1e-320",
        b"nan",
        b"inf",
        b"-inf",
        b"0x10",
        b"1_0",
        b"",
        b"9" * 400,
    ),
)
_BINARY = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_TOKENS = (
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b",",
        b";",
        b"\t",
        b'"',
        b"'",
        b"<",
        b">",
        b"<a>",
        b"</a>",
        b"&lt;",
        b"&x;",
        b"]]>",
        b"<!--",
    ),
    *(b"{", b"}", b"[", b"]", b"(", b"-", b"*a", b"&a ", b"!!python/name:os.system", b"? ", b": ", b"- ", b"~", b"#"),
    *(
        b"../",
        b"../../secret.bin",
        b"/dev/zero",
        b"C:\\",
        b"%00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1b[2J",
        b"\xe2\x80\xae",
    ),
    *(
        b" ",
        b"  ",
        b"\x85",
        b"\xc2\x85",
        b"16x999999999",
        b":999999999",
        b"+999999999",
        b"I",
        b"V1",
        b"mV",
        b"None",
        b"@",
    ),
)


# A file repeated a hundred times, and that again, would be larger than the memory that a reader may take.
_MAX_BYTES = 2**20


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a file with one to four changes; the beginning, where headers stand, changes most often."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        content = rng.choice(_MUTATIONS)(content, rng)[:_MAX_BYTES]
    return content


def _place(content: bytes, rng: random.Random) -> int:
    return rng.randrange(min(len(content), rng.choice((64, 512, len(content) or 1))) or 1)


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[_place(changed, rng)] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((_place(content, rng), rng.randrange(len(content) + 1), len(content) - 1))]


def _repeat_block(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    block = content[start : start + rng.choice((1, 8, 80, 256, len(content)))]
    return content[:start] + block * rng.choice((1, 2, 100)) + content[start:]


def _leave_block_out(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    return content[:start] + content[start + rng.choice((1, 2, 8, 80, 256)) :]


def _number(content: bytes, rng: random.Random) -> bytes:
    """Put an extreme number in place of one in digits; every other time of the same width."""
    found = list(_NUMBER.finditer(content[: rng.choice((400, 4000, len(content)))]))
    if not found:
        return _binary(content, rng)
    match = rng.choice(found)
    new = rng.choice(_EXTREME)
    if rng.random() < 0.5:
        new = new[: len(match[0])].ljust(len(match[0]))
    return content[: match.start()] + new + content[match.end() :]


def _binary(content: bytes, rng: random.Random) -> bytes:
    form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    start = _place(content, rng)
    value = rng.choice(_BINARY) & (2 ** (8 * size) - 1)
    return content[:start] + struct.pack(form, value) + content[start + size :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    token = rng.choice(_TOKENS) * rng.choice((1, 1, 1, 2, 20, 2000))
    return content[:start] + token + content[start + rng.choice((0, len(token))) :]


_MUTATIONS = (_flip, _cut, _repeat_block, _leave_block_out, _number, _number, _binary, _insert, _insert)
