"""Philips Sierra XML, `restingecgdata` of versions 1.03 to 1.04.02 (PageWriter, TraceMaster, IntelliSpace ECG).

`parsedwaveforms` holds the rhythm strip, one lead after the other, as 16-bit integers in base64 or as text, with or
without XLI compression. Representative beats (`repbeats`) are not read, nor is anything about the patient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels, number
from ecg_hub.input.formats.xli import decode_xli
from ecg_hub.input.formats.xml import attribute, base64_bytes, base64_integers, plain_integers, read_root, text_of
from ecg_hub.leads import LEADS
from ecg_hub.utils.untrusted import check_values

VERSIONS = ("1.03", "1.04", "1.04.01", "1.04.02")
_LIMB = list(LEADS[:6])


def read_sierra(path: Path) -> Channels:
    """Read the rhythm strip of a Philips export."""
    root = read_root(path)
    if root.tag != "restingecgdata":
        raise DataError(f"{path.name} is no Sierra XML: its root element is {root.tag!r}, not 'restingecgdata'")
    version = text_of(root, "documentinfo/documentversion")
    if version not in VERSIONS:
        raise DataError(f"{path.name} is Sierra XML of version {version!r}; known: {', '.join(VERSIONS)}")
    parsed = root.find(".//parsedwaveforms")
    if parsed is None:
        raise DataError(f"{path.name} holds no parsedwaveforms, so no rhythm strip")
    about = root.find("dataacquisition/signalcharacteristics")
    names = _names(parsed, about)
    rate = _stated(parsed, about, "samplespersecond", "samplingrate")
    count = _count(parsed, rate, len(names))
    stored = _values(parsed, about, names, count)
    # Microvolt per unit; version 1.03 has it with the other characteristics of the signal.
    gain = _stated(parsed, about, "resolution", "resolution", "signalresolution")
    zero = _offset(parsed, about)
    # The pulse's height in units: 1 mV is 1,000 microvolt.
    values = _without_calibration(stored, zero + 1000 / gain) if zero == 0 else stored
    cut = len(stored) - len(values)
    return Channels(
        names=names,
        values=values,
        gain_uv=np.full(len(names), gain),
        zero=np.full(len(names), zero),
        sampling_rate=rate,
        remark=f"the calibration pulse of 1 mV at the end is left out ({cut / rate:g} s)" if cut else "",
    )


def _stated(parsed: Any, about: Any, name: str, *others: str) -> float:
    """Return a positive number that one of two places states."""
    text = attribute(parsed, name) or next(filter(None, (text_of(about, other) for other in others)), "")
    value = number(text, name)
    if value <= 0:
        raise DataError(f"{name} is {text!r}, more than 0 is expected")
    return value


def _offset(parsed: Any, about: Any) -> float:
    return number(attribute(parsed, "signaloffset") or text_of(about, "signaloffset") or "0", "signaloffset")


def _names(parsed: Any, about: Any) -> list[str]:
    names = attribute(parsed, "leadlabels").split()
    stated = attribute(parsed, "numberofleads") or text_of(about, "numberchannelsallocated")
    count = int(number(stated, "the number of leads")) if stated else len(names)
    if names:
        # The labels go on with leads that are not stored.
        names = names[:count]
    elif (text_of(about, "acquisitiontype") or text_of(about, "leadset")).upper() in ("STD-12", "10-WIRE"):
        names = list(LEADS[:count])
    if not 0 < len(names) == count:
        raise DataError(f"{count} leads are stored, and {len(names)} of them are named")
    return names


def _count(parsed: Any, rate: float, leads: int) -> int:
    milliseconds = number(attribute(parsed, "durationperchannel"), "durationperchannel")
    samples = milliseconds * rate / 1000
    if samples < 1:
        raise DataError(f"durationperchannel announces {samples:g} samples, 1 or more are expected")
    check_values(round(samples) * leads, "durationperchannel")
    return round(samples)


def _values(parsed: Any, about: Any, names: list[str], count: int) -> np.ndarray:
    """Return (samples, leads)."""
    encoding, text = attribute(parsed, "dataencoding"), parsed.text or ""
    method = attribute(parsed, "compression") or attribute(parsed, "compressmethod")
    if attribute(parsed, "compressflag").lower() == "false" or method.lower() in ("", "none", "uncompressed"):
        return _uncompressed(parsed, about, encoding, count, len(names))
    if (method.upper(), encoding) != ("XLI", "Base64"):
        raise DataError(f"samples are compressed by {method!r} in {encoding!r}; known: 'XLI' in 'Base64'")
    # Wider than the 16 bits they come in, where the sum of two leads could wrap around.
    values = decode_xli(base64_bytes(text, "parsedwaveforms"), len(names), count).astype(np.int64)
    if names[:6] == _LIMB:
        _rebuild_limb_leads(values)
    elif set(names) & set(_LIMB[2:]):
        raise DataError(f"compressed leads {', '.join(names)}: III, aVR, aVL, aVF follow from I and II in this order")
    return values


def _uncompressed(parsed: Any, about: Any, encoding: str, count: int, leads: int) -> np.ndarray:
    signed = (attribute(parsed, "signalsigned") or text_of(about, "signalsigned")).lower() != "false"
    bits = attribute(parsed, "bitspersample") or attribute(parsed, "nbitspersample") or "16"
    if encoding == "Base64" and bits == "16":
        values = base64_integers(parsed.text or "", "parsedwaveforms", "<i2" if signed else "<u2")
    elif encoding == "Plain":
        values = plain_integers(parsed.text or "", "parsedwaveforms")
    else:
        raise DataError(f"samples of {bits} bits in {encoding!r}; known: 16 bits in 'Base64', and 'Plain'")
    if len(values) != count * leads:
        raise DataError(f"parsedwaveforms holds {len(values)} samples, {count * leads} are announced")
    return values.reshape(leads, count).T


def _rebuild_limb_leads(values: np.ndarray) -> None:
    """Turn what XLI stores of III, aVR, aVL and aVF, the difference from what I and II foretell, into the leads."""
    i, ii = values[:, 0], values[:, 1]
    # III first, because aVL and aVF are foretold from the rebuilt lead, not from what is stored of it.
    values[:, 2] = ii - i - values[:, 2]
    iii = values[:, 2]
    values[:, 3] = -_half(i + ii) - values[:, 3]
    values[:, 4] = _half(i - iii) - values[:, 4]
    values[:, 5] = _half(ii + iii) - values[:, 5]


def _half(values: np.ndarray) -> np.ndarray:
    """Halve towards zero, as the device does: rounded down, negative sums would come out a unit too low."""
    return np.sign(values) * (np.abs(values) // 2)


def _without_calibration(values: np.ndarray, millivolt: float) -> np.ndarray:
    """Leave out a calibration pulse at the end: zeros, exactly 1 mV, zeros, the same in all leads at once."""
    steps = [_last_run(values, 0)]
    steps.append(_last_run(values[: steps[-1]], millivolt))
    steps.append(_last_run(values[: steps[-1]], 0))
    alike = len(values) > steps[0] > steps[1] > steps[2]
    return values[: steps[2]] if alike and values.shape[1] > 1 else values


def _last_run(values: np.ndarray, level: float) -> int:
    """Return where the samples begin that are `level` in all leads until the end."""
    other = np.flatnonzero((values != level).any(axis=1))
    return int(other[-1]) + 1 if other.size else 0
