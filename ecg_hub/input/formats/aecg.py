"""HL7 Annotated ECG (AnnotatedECG, urn:hl7-org:v3), the XML that the FDA asks for.

A series (rhythm strip, or the machine's representative beat) holds sequence sets; a set holds one sequence of times
and one per lead, as integers with scale and origin. The set read is that with the most of the twelve leads, of those
the longest; no representative beat. Nothing about the subject is read.

Format: HL7 aECG Implementation Guide of 21 March 2005, ANSI/HL7 V3 ECG R1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels, number, rate_of_interval, same_length
from ecg_hub.input.formats.xml import attribute, local_name, read_root
from ecg_hub.input.units import unit_uv
from ecg_hub.leads import LEADS, find_lead

_LEAD = "_ECG_LEAD_"
# Micro has two signs that look alike, U+00B5 and the Greek letter U+03BC.
_SECONDS = {"s": "1", "ms": "1e-3", "us": "1e-6", "µs": "1e-6", "μs": "1e-6"}


@dataclass(frozen=True)
class _Sequence:
    name: str
    digits: str
    scale_uv: float
    origin_uv: float


def read_aecg(path: Path) -> Channels:
    """Read the rhythm leads of an annotated ECG: microvolt = (origin + digit * scale) * unit."""
    root = read_root(path)
    if root.tag != "AnnotatedECG":
        raise DataError(f"{path.name} is no HL7 aECG: its root element is {root.tag!r}, not 'AnnotatedECG'")
    sets = [(part, _leads(part)) for series in _rhythms(root) for part in series.iterfind("component/sequenceSet")]
    sets = [(part, leads) for part, leads in sets if leads]
    if not sets:
        raise DataError(f"{path.name} holds no rhythm with leads, only annotations or representative beats")
    ranked = sorted(sets, key=lambda item: _rank(item[1]), reverse=True)
    channels = _channels(*ranked[0])
    if len(sets) > 1:
        return replace(channels, remark=f"{len(sets) - 1} of {len(sets)} sequence sets are left out")
    return channels


def _rhythms(root: Any) -> Iterator[Any]:
    """Yield the series that are as recorded; what is derived from them stands in `derivation`."""
    for series in root.iterfind("component/series"):
        if attribute(series.find("code"), "code").upper() != "REPRESENTATIVE_BEAT":
            yield series


def _leads(part: Any) -> list[Any]:
    return [
        each for each in part.iterfind("component/sequence") if _LEAD in attribute(each.find("code"), "code").upper()
    ]


def _rank(leads: list[Any]) -> tuple[int, int]:
    """Return the number of standard leads and the length of the text of the first, which stands for its samples."""
    return sum(_lead_name(lead) in LEADS for lead in leads), len(leads[0].findtext("value/digits") or "")


def _lead_name(sequence: Any) -> str:
    """Return "aVR" for MDC_ECG_LEAD_AVR, and codes of no standard lead as they are."""
    code = attribute(sequence.find("code"), "code")
    bare = code[code.upper().index(_LEAD) + len(_LEAD) :]
    return find_lead(bare) or code


def _channels(part: Any, leads: list[Any]) -> Channels:
    sequences = [_sequence(lead) for lead in leads]
    values = [_digits(each) for each in sequences]
    same_length([len(column) for column in values])
    gain = np.array([each.scale_uv for each in sequences])
    return Channels(
        names=[each.name for each in sequences],
        values=np.stack(values, axis=1),
        gain_uv=gain,
        zero=-np.array([each.origin_uv for each in sequences]) / gain,
        sampling_rate=_rate(part),
    )


def _sequence(sequence: Any) -> _Sequence:
    name = _lead_name(sequence)
    value = sequence.find("value")
    # xsi:type: namespaces are taken off the names of elements, not off those of attributes.
    kind = "" if value is None else next((v for k, v in value.attrib.items() if local_name(k) == "type"), "")
    # Other kinds of lists hold times, or values without a unit.
    if value is None or kind.rpartition(":")[2] not in ("SLIST_PQ", ""):
        raise DataError(f"lead {name!r} is a list of type {kind!r}, 'SLIST_PQ' is expected")
    scale = _quantity(value.find("scale"), f"the scale of lead {name!r}")
    if scale == 0:
        raise DataError(f"the scale of lead {name!r} is 0")
    origin = value.find("origin")
    # An origin of 0 needs no unit, and files leave it out.
    shift = 0.0
    if origin is not None and number(attribute(origin, "value") or "0", f"the origin of lead {name!r}"):
        shift = _quantity(origin, f"the origin of lead {name!r}")
    return _Sequence(name, value.findtext("digits") or "", scale, shift)


def _quantity(element: Any, what: str) -> float:
    """Return a value with its unit in microvolt."""
    try:
        return number(attribute(element, "value"), what) * unit_uv(attribute(element, "unit"))
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{what}: {error}") from None


def _digits(sequence: _Sequence) -> np.ndarray:
    words = sequence.digits.split()
    try:
        return np.array(words, dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    # Some writers state fractions, and NaN where the electrode was off.
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        raise DataError(f"the digits of lead {sequence.name!r} hold something else than numbers") from None
    if np.isinf(values).any():
        raise DataError(f"the digits of lead {sequence.name!r} hold an infinite number")
    return values


def _rate(part: Any) -> float:
    for sequence in part.iterfind("component/sequence"):
        # TIME_ABSOLUTE or TIME_RELATIVE: where the times begin does not matter, their step does.
        if attribute(sequence.find("code"), "code").upper().startswith("TIME_"):
            step = sequence.find("value/increment")
            unit = attribute(step, "unit")
            if unit not in _SECONDS:
                raise DataError(f"the increment of the time is in {unit!r}; known: s, ms, us")
            return rate_of_interval(attribute(step, "value"), _SECONDS[unit], "the increment of the time")
    raise DataError("the leads have no sequence of times, so their rate is unknown")
