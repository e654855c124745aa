"""What an ECG file is, by its first bytes: endings such as .xml, .ecg and .dat are shared by many formats."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from ecg_hub.input.formats import bdf, ishne, mfer

_READ = 64 * 1024
# Root elements, without namespaces: the dialects of XML that hold an ECG.
_ROOTS = {"AnnotatedECG": "aecg", "restingecgdata": "sierra", "ECG": "mortara", "RestingECG": "muse"}
_BEFORE_ROOT = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>)", re.DOTALL)
_ROOT = re.compile(r"\s*<(?:[\w.-]+:)?([\w.-]+)")
_KARDIA = re.compile(rb'"(?:amplitudeResolution|algorithmDetermination|data12L)"')


def detect_format(path: Path) -> str | None:
    """Return the format of a file by its content, None where nothing is recognised.

    Returns:
        "aecg", "bdf", "dicom", "edf", "ishne", "kardia", "mfer", "mortara", "muse", "scp" or "sierra".

    Raises:
        OSError: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "export.txt")  # the ending does not matter
        ...     _ = path.write_text('<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3"></AnnotatedECG>')
        ...     detect_format(path)
        'aecg'
    """
    with path.open("rb") as file:
        head = file.read(_READ)
    return _binary(head) or _json(head) or _xml(head)


def _binary(head: bytes) -> str | None:
    if head.startswith(ishne.MAGIC):
        return "ishne"
    if head.startswith(bdf.MAGIC):
        return "bdf"
    # EDF's version is a 0 in eight characters, and 256 bytes are its shortest header.
    if head.startswith(b"0       ") and len(head) >= 256:
        return "edf"
    if head[128:132] == b"DICM":
        return "dicom"
    # 0x40 is the tag of MFER's preamble; the byte in between is its length.
    if head[:1] == b"\x40" and head[2:6] == mfer.MAGIC:
        return "mfer"
    return "scp" if _is_scp(head) else None


def _is_scp(head: bytes) -> bool:
    """Look for section 0: its number, and a list of sections whose first entry is itself, at byte 7."""
    if len(head) < 32:
        return False
    number, length = struct.unpack_from("<HI", head, 8)
    first, _, index = struct.unpack_from("<HII", head, 22)
    # 26: a header of 16 bytes and one entry of 10.
    return number == 0 and length >= 26 and (head[16:22] == b"SCPECG" or (first, index) == (0, 7))


def _json(head: bytes) -> str | None:
    return "kardia" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _KARDIA.search(head) else None


def _xml(head: bytes) -> str | None:
    text = _decoded(head)
    position = 0
    while skipped := _BEFORE_ROOT.match(text, position):
        position = skipped.end()
    root = _ROOT.match(text, position)
    return _ROOTS.get(root[1]) if root else None


def _decoded(head: bytes) -> str:
    """Return text whose names can be read; which letters others stand for does not matter here."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", errors="ignore")
    return head.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
