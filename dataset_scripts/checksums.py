"""Checksum lists as `sha256sum` and `md5sum` write them: a line "<digest>  <name>" per file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

SUMS_FILE = "SHA256SUMS.txt"
"""What PhysioNet calls the list that lies beside the files."""

_LINE = re.compile(r"^([0-9a-fA-F]{32}|[0-9a-fA-F]{64})[ \t]+[*]?(?:\./)?(\S.*?)\s*$")
_ALGORITHMS = {32: "md5", 64: "sha256"}


def parse_sums(text: str) -> dict[str, str]:
    """Return name -> "<algorithm>:<digest>"; lines of another form are skipped.

    Names that leave the folder of the list ("..", absolute) are skipped as well.
    """
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and is_inside(match[2]):
            found[match[2]] = f"{_ALGORITHMS[len(match[1])]}:{match[1].lower()}"
    return found


def sums_text(sums: Mapping[str, str]) -> str:
    """Return a checksum list for `sha256sum --check`."""
    return "".join(f"{checksum.partition(':')[2]}  {name}\n" for name, checksum in sums.items())


def file_matches(path: Path, checksum: str) -> bool:
    """Tell whether a file has a checksum "<algorithm>:<digest>".

    Raises:
        OSError: the file cannot be read.
    """
    algorithm, _, digest = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return found.hexdigest() == digest.lower()


def is_inside(name: str) -> bool:
    """Tell whether a name in POSIX form stays below the folder that it is relative to."""
    parts = name.replace("\\", "/").split("/")
    return bool(name) and not name.startswith(("/", "\\")) and ".." not in parts and ":" not in parts[0]
