"""Units of voltage, as files, tables and users spell them: the one place that reads them.

Two signs for micro, U+00B5 and U+03BC, look the same, and files hold either, in UTF-8 and in one byte (Latin-1, the
code page of DOS). A sign that is lost makes volts out of microvolts, so a spelling that is not known is refused and
never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

MICROVOLT: Mapping[str, float] = MappingProxyType({"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3})
"""Unit of voltage -> microvolt."""

_PREFIXES = {"": "V", "m": "mV", "milli": "mV", "u": "uV", "mc": "uV", "micro": "uV", "n": "nV", "nano": "nV"}
# The micro sign in the code page of DOS is the letter æ in Latin-1, which no other unit begins with.
_MICRO = str.maketrans({"µ": "u", "μ": "u", "æ": "u"})
_UNIT = re.compile(
    r"(?:(?P<factor>\d+(?:[.,]\d+)?(?:e[-+]?\d+)?)\s*\*?\s*)?"
    r"(?:mdc_dim_)?(?P<prefix>milli|micro|nano|mc|[mun])?[ _-]?v(?:olts?)?\.?"
)


def plain_unit(text: str) -> str:
    """Return "V", "mV", "uV" or "nV" for a unit in any known spelling, without a factor.

    Raises:
        ValueError: it is no unit of voltage.

    Example:
        >>> plain_unit("µV"), plain_unit("MILLIVOLTS"), plain_unit("[mV]")
        ('uV', 'mV', 'mV')
    """
    factor, unit = _parts(text)
    if factor is not None:
        raise ValueError(_refusal(text))
    return unit


def unit_uv(text: str) -> float:
    """Return a unit such as "mV" or "4.88 uV" in microvolt.

    Raises:
        ValueError: it is no unit of voltage.

    Example:
        >>> unit_uv("mV"), unit_uv("4.88 uV")
        (1000.0, 4.88)
        >>> unit_uv("mmHg")
        Traceback (most recent call last):
            ...
        ValueError: 'mmHg' is no unit of voltage; allowed: V, mV, uV, nV, or a multiple such as '4.88 uV'
    """
    factor, unit = _parts(text)
    if factor == 0:
        raise ValueError(_refusal(text))
    return (1.0 if factor is None else factor) * MICROVOLT[unit]


def is_unit(text: str) -> bool:
    """Return whether a text is a unit of voltage, without a factor."""
    try:
        plain_unit(text)
    except ValueError:
        return False
    return True


def _parts(text: str) -> tuple[float | None, str]:
    """Return the factor before a unit, if there is one, and the unit."""
    bare = _repaired(text).translate(_MICRO).strip().lower()
    if len(bare) > 2 and bare[0] + bare[-1] in ("[]", "()"):
        bare = bare[1:-1].strip()
    match = _UNIT.fullmatch(bare)
    if match is None:
        raise ValueError(_refusal(text))
    factor = match["factor"]
    return None if factor is None else float(factor.replace(",", ".")), _PREFIXES[match["prefix"] or ""]


def _repaired(text: str) -> str:
    """Return UTF-8 that somebody read byte by byte ("Âµ") as what it was written as, anything else as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _refusal(text: str) -> str:
    shown = text if len(text) <= 16 else f"{text[:13]}..."
    return f"{shown!r} is no unit of voltage; allowed: V, mV, uV, nV, or a multiple such as '4.88 uV'"
