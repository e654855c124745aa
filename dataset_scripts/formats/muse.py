"""XML exports of the GE MUSE system (root element RestingECG), parsed by defusedxml.

The system stores eight leads (I, II, V1 to V6) as 16-bit integers in base64, once as rhythm strip and once as median
beat; the other four leads follow from I and II. Only the rhythm strip is read, and nothing about the patient.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats.channels import Channels, lead_channels, stated_unit
from ecg_hub.errors import DataError
from ecg_hub.input.formats.xml import read_root


def read_muse(path: Path, lead_names: Mapping[str, str | None], unit: str | None = None) -> Channels:
    """Read the rhythm strip of a MUSE export; `unit` is of leads that state no voltage.

    Of several rhythm strips that with the most leads is read, of those the longest.
    """
    root = read_root(path)
    if root.tag != "RestingECG":
        raise DataError(f"{path.name} is no MUSE export: its root element is {root.tag!r}, not 'RestingECG'")
    waveforms = [part for part in root.iter("Waveform") if _text(part, "WaveformType").lower() == "rhythm"]
    if not waveforms:
        raise DataError(f"{path.name} holds 0 waveforms of type 'Rhythm', one is expected")
    waveform = max(waveforms, key=_rank)
    elements = list(waveform.iter("LeadData"))
    used = lead_channels([_text(element, "LeadID") for element in elements], lead_names)
    # Channels beside the leads may have another length, unit or size of samples.
    leads = [_lead(path, elements[channel], unit) for channel in used]
    lengths = sorted({len(samples) for _, samples, _, _ in leads})
    if len(lengths) != 1:
        raise DataError(f"{path.name}: its leads have {lengths} samples, the same number is expected")
    wrong = [name for name, _, _, sound in leads if not sound]
    remarks = [
        f"the samples of {', '.join(wrong)} do not fit their checksum" if wrong else "",
        f"{len(waveforms) - 1} of {len(waveforms)} rhythm strips are left out" if len(waveforms) > 1 else "",
    ]
    return Channels(
        names=[name for name, _, _, _ in leads],
        values=np.stack([samples for _, samples, _, _ in leads], axis=1),
        gain_uv=np.array([gain for _, _, gain, _ in leads]),
        zero=np.zeros(len(leads)),
        # 500 with exponent 0 is 500 Hz; 5 with exponent 2 is the same.
        sampling_rate=_number(path, waveform, "SampleBase") * 10.0 ** _exponent(waveform),
        remark="; ".join(filter(None, remarks)),
    )


def _rank(waveform: Any) -> tuple[int, int]:
    """Return the number of leads of a waveform, and how long the text of the first one's samples is."""
    leads = list(waveform.iter("LeadData"))
    return len(leads), len(_text(leads[0], "WaveFormData")) if leads else 0


def _lead(path: Path, lead: Any, fallback: str | None) -> tuple[str, np.ndarray, float, bool]:
    """Return name, samples, microvolt per unit, and whether the checksum (if any) fits."""
    name = _text(lead, "LeadID")
    where = f"{path.name}: lead {name!r}"
    if _text(lead, "LeadSampleSize") not in ("", "2"):
        raise DataError(f"{where} has samples of {_text(lead, 'LeadSampleSize')} bytes, 2 are expected")
    unit = stated_unit(_text(lead, "LeadAmplitudeUnits"), fallback, where)
    try:
        # Line breaks are part of every export; any other stray character means damage.
        data = base64.b64decode("".join(_text(lead, "WaveFormData").split()), validate=True)
        samples = np.frombuffer(data, dtype="<i2")
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where} holds no 16-bit samples in base64: {error}") from None
    announced = _text(lead, "LeadSampleCountTotal")
    if announced and int(announced) != len(samples):
        raise DataError(f"{where} holds {len(samples)} samples, {announced} are announced")
    checksum = _text(lead, "LeadDataCRC32")
    # The file may state the same 32 bits as a negative number.
    sound = not checksum or int(checksum) & 0xFFFFFFFF == zlib.crc32(data)
    return name, samples, _number(path, lead, "LeadAmplitudeUnitsPerBit") * unit, sound


def _text(element: Any, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _exponent(waveform: Any) -> int:
    return int(_text(waveform, "SampleExponent") or 0)


def _number(path: Path, element: Any, name: str) -> float:
    try:
        return float(_text(element, name))
    except ValueError:
        raise DataError(f"{path.name}: {name} is missing or no number") from None
