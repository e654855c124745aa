"""Recordings of AliveCor KardiaMobile as JSON, as the Kardia API hands them out.

`data.raw` holds the signal as recorded, `data.enhanced` what AliveCor's filters made of it; the former is read. One
lead or six, integers with a resolution in nV. Nothing about the patient is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels, same_length
from ecg_hub.utils.untrusted import max_bytes, plain_file

_NAMES = {"leadI": "I", "leadII": "II", "leadIII": "III", "AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}


def read_kardia(path: Path) -> Channels:
    """Read the unfiltered leads: microvolt = sample * amplitudeResolution / 1000."""
    raw = _raw(path)
    samples = raw.get("samples")
    if not isinstance(samples, dict) or not samples:
        raise DataError(f"{path.name} holds no data.raw.samples")
    leads = {_NAMES.get(str(name), str(name)): _column(name, values) for name, values in samples.items()}
    # Two spellings of one lead (AVR and aVR) have become one.
    if len(leads) < len(samples):
        raise DataError(f"{path.name} holds a lead twice: {', '.join(samples)}")
    same_length([len(column) for column in leads.values()])
    return Channels(
        names=list(leads),
        values=np.stack(list(leads.values()), axis=1),
        gain_uv=np.full(len(leads), _positive(raw, "amplitudeResolution") / 1000),
        zero=np.zeros(len(leads)),
        sampling_rate=_positive(raw, "frequency"),
    )


def _raw(path: Path) -> dict[str, Any]:
    """Return the part of the file that holds the unfiltered signal."""
    # What two characters spell takes an object of eight times the size.
    plain_file(path, max_bytes() // 8)
    try:
        content = json.loads(path.read_bytes())
    # A RecursionError for brackets in brackets without end.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is no well-formed JSON ({type(error).__name__})") from None
    if isinstance(content, dict) and "data12L" in content:
        raise DataError(f"{path.name} is a recording of Kardia 12L, which states no resolution; I to aVF are read")
    data = content.get("data") if isinstance(content, dict) else None
    raw = data.get("raw") if isinstance(data, dict) else None
    if not isinstance(raw, dict):
        raise DataError(f"{path.name} holds no data.raw, so it is no Kardia recording")
    return raw


def _positive(raw: dict[str, Any], field: str) -> float:
    value = raw.get(field)
    # True is a number in Python, and NaN one in what Python accepts as JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise DataError(f"data.raw.{field} is {str(value)[:40]}, a number above 0 is expected")
    return float(value)


def _column(name: str, values: Any) -> np.ndarray:
    if not isinstance(values, list):
        raise DataError(f"data.raw.samples.{name} is no list")
    # Checked one by one, since numpy would take text and booleans for numbers; null is a sample that is missing.
    if all(type(value) is int for value in values):
        kind: type[Any] = np.int64
    elif all(value is None or type(value) in (int, float) for value in values):
        kind = np.float64
    else:
        raise DataError(f"data.raw.samples.{name} holds something else than numbers")
    try:
        column: np.ndarray = np.array(values, dtype=kind)
    except OverflowError:
        raise DataError(f"data.raw.samples.{name} holds numbers of more than 64 bits") from None
    if kind is np.float64 and np.isinf(column).any():
        raise DataError(f"data.raw.samples.{name} holds an infinite number")
    return column
