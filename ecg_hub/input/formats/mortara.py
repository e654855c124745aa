"""XML of Mortara electrocardiographs (ELI 150 to 380, ELI Link; today Welch Allyn, Hillrom, Baxter).

The maker publishes no specification; the layout is that of exports, as the open readers of them agree. `<ECG>` holds
one `<CHANNEL>` per lead of the rhythm strip: little-endian 16-bit integers in base64, UNITS_PER_MV steps per mV. The
median beat stands in `<TYPICAL_CYCLE>` and is not read, nor is anything about the patient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels, number, same_length
from ecg_hub.input.formats.xml import attribute, base64_integers, read_root

_STORED = {"BITS": "16", "FORMAT": "SIGNED", "ENCODING": "BASE64"}


def read_mortara(path: Path) -> Channels:
    """Read the rhythm strip of a Mortara export."""
    root = read_root(path)
    if root.tag != "ECG":
        raise DataError(f"{path.name} is no Mortara export: its root element is {root.tag!r}, not 'ECG'")
    leads = root.findall("CHANNEL")
    if not leads:
        raise DataError(f"{path.name} holds no CHANNEL, so no rhythm strip")
    names = [attribute(lead, "NAME") or f"channel {k + 1}" for k, lead in enumerate(leads)]
    values = [_samples(name, lead) for name, lead in zip(names, leads, strict=True)]
    same_length([len(column) for column in values])
    rates = sorted({_positive(name, lead, "SAMPLE_FREQ") for name, lead in zip(names, leads, strict=True)})
    if len(rates) > 1:
        raise DataError(f"its leads are sampled at {rates} Hz, one rate is expected")
    return Channels(
        names=names,
        values=np.stack(values, axis=1),
        gain_uv=np.array([1000 / _positive(n, lead, "UNITS_PER_MV") for n, lead in zip(names, leads, strict=True)]),
        zero=np.zeros(len(leads)),
        sampling_rate=rates[0],
    )


def _samples(name: str, lead: Any) -> np.ndarray:
    where = f"lead {name!r}"
    for field, expected in _STORED.items():
        stated = attribute(lead, field).upper()
        if stated not in ("", expected):
            raise DataError(f"{where} has {field}={stated!r}, {expected!r} is expected")
    offset = attribute(lead, "OFFSET") or "0"
    # No two readers agree on its sign, and every known export has 0.
    if number(offset, f"{where}: OFFSET") != 0:
        raise DataError(f"{where} has OFFSET={offset!r}, whose meaning is not known; 0 is expected")
    values = base64_integers(attribute(lead, "DATA") or (lead.text or ""), where)
    _check_duration(where, lead, len(values))
    return values


def _check_duration(where: str, lead: Any, samples: int) -> None:
    """Refuse a lead that is shorter or longer than announced, in samples or in milliseconds: writers use either."""
    stated = attribute(lead, "DURATION")
    if not stated:
        return
    duration = number(stated, f"{where}: DURATION")
    milliseconds = samples * 1000 / _positive(where, lead, "SAMPLE_FREQ")
    # Milliseconds are written as whole numbers, hence the slack of one.
    if duration not in (0, samples) and abs(duration - milliseconds) >= 1:
        raise DataError(f"{where} holds {samples} samples ({milliseconds:g} ms), DURATION announces {stated}")


def _positive(name: str, lead: Any, field: str) -> float:
    value = number(attribute(lead, field), f"{name}: {field}")
    if value <= 0:
        raise DataError(f"{name}: {field} is {value:g}, more than 0 is expected")
    return value
