"""XML of other people's systems: parsed by defusedxml, without namespaces, numbers and base64 checked."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ecg_hub.errors import DataError
from ecg_hub.utils.untrusted import plain_file

MAX_MARKS = 2_000_000
"""Most marks of an XML file: beginnings and ends of elements, and attributes."""


def read_root(path: Path) -> Any:
    """Return the root element of a file, names without their namespaces; entities are refused."""
    plain_file(path)
    content = path.read_bytes()
    # An element takes a hundred times the room of the characters that make it, in UTF-16 too, where each has a zero.
    marks = content.replace(b"\0", b"")
    if marks.count(b"<") + marks.count(b"=") > MAX_MARKS:
        raise DataError(f"{path.name} has too many elements for the XML of a recording; up to {MAX_MARKS:,} are read")
    try:
        # Bytes and not text: the encoding, UTF-16 among others, is for the parser to find out.
        root = fromstring(content)
    except DefusedXmlException as error:
        # The error's own text quotes the entity, which may hold anything.
        raise DataError(f"{path.name} is refused: it declares entities ({type(error).__name__})") from None
    except ParseError as error:
        # Its own text quotes an entity that is not known, which may be anything.
        where = "line {}, column {}".format(*error.position)
        raise DataError(f"{path.name} is no well-formed XML at {where}, perhaps cut short") from None
    except (ValueError, LookupError) as error:
        raise DataError(f"{path.name} is no well-formed XML: {error}") from None
    for element in root.iter():
        # Comments and processing instructions have a function here.
        if isinstance(element.tag, str):
            element.tag = local_name(element.tag)
    return root


def local_name(tag: str) -> str:
    """Return a name without its namespace.

    Example:
        >>> local_name("{urn:hl7-org:v3}series")
        'series'
    """
    return tag.rpartition("}")[2]


def attribute(element: Any, name: str) -> str:
    """Return an attribute, "" where it or the element is absent."""
    return "" if element is None else (element.get(name) or "").strip()


def text_of(element: Any, path: str) -> str:
    """Return the text below a path, "" where there is none."""
    return "" if element is None else (element.findtext(path) or "").strip()


def base64_bytes(text: str, what: str) -> bytes:
    """Return decoded base64; line breaks are part of exports, any other stray character means damage."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{what} holds no base64") from None


def base64_integers(text: str, what: str, dtype: str = "<i2") -> np.ndarray:
    """Return 16-bit integers in base64."""
    data = base64_bytes(text, what)
    if len(data) % 2:
        raise DataError(f"{what} holds {len(data)} bytes, an even number is expected for 16-bit samples")
    return np.frombuffer(data, dtype=dtype)


def plain_integers(text: str, what: str) -> np.ndarray:
    """Return integers written as text."""
    try:
        return np.array(text.replace(",", " ").split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DataError(f"{what} holds something else than integers") from None
