"""DICOM ECG waveforms (PS3.3 C.10.9, A.34.3 to A.34.5), read by pydicom.

A file holds several multiplex groups: the rhythm strip, often a median beat, sometimes long leads. The group read is
the longest that is not derived by the machine and not labelled as median beat.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats.channels import Channels, lead_channels, need, unit_uv
from ecg_hub.errors import DataError, UnknownNameError
from ecg_hub.leads import canonical_lead

# The same numbers in both code schemes of CID 3001: MDC "2:n" (ISO/IEEE 11073-10102), SCPECG "5.6.3-9-n" (EN 1064).
LEAD_NUMBERS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)")


def read_dicom(path: Path, lead_names: Mapping[str, str]) -> Channels:
    """Read the rhythm strip of a DICOM ECG.

    microvolt = (stored * sensitivity * correction factor + channel baseline) * unit.
    """
    with warnings.catch_warnings():  # pydicom warns of values that break the standard and reads them all the same
        warnings.simplefilter("ignore")
        content = need("pydicom").dcmread(path)
        groups = list(content.get("WaveformSequence") or ())
        if not groups:
            raise DataError(f"{path.name} holds no waveform (SOP class {content.get('SOPClassUID', 'not stated')})")
        number = _rhythm(path, groups)
        # As stored: pydicom's own scaling gives floats, which would have to be quantised anew.
        stored = need("pydicom").waveforms.multiplex_array(content, number, as_raw=True)
        return _channels(path, groups[number], stored, lead_names)


def _rhythm(path: Path, groups: list[Any]) -> int:
    """Return the number of the longest group that is as recorded."""
    rhythms = []
    for number, group in enumerate(groups):
        label = str(group.get("MultiplexGroupLabel") or "").upper()
        derived = str(group.get("WaveformOriginality") or "").upper() == "DERIVED"
        if not derived and "MEDIAN" not in label and "AVERAGE" not in label:
            seconds = int(group.NumberOfWaveformSamples) / float(group.SamplingFrequency)
            rhythms.append((seconds, int(group.NumberOfWaveformChannels), -number))
    if not rhythms:
        raise DataError(f"{path.name} holds derived waveforms only (median beats), no rhythm strip")
    # Of equally long groups the first, whose negative number is the greatest.
    return -max(rhythms)[2]


def _channels(path: Path, group: Any, stored: np.ndarray, lead_names: Mapping[str, str]) -> Channels:
    coding = str(group.WaveformSampleInterpretation)
    # mu-law and A-law: the steps between their codes grow with the amplitude, so no single gain is right.
    if coding in ("MB", "AB"):
        raise DataError(f"{path.name}: samples of interpretation {coding!r} are companded, integers are expected")
    definitions = list(group.ChannelDefinitionSequence)
    if len(definitions) != stored.shape[1]:
        raise DataError(f"{path.name}: {len(definitions)} channels are defined, {stored.shape[1]} are stored")
    names = [lead_name(definition) for definition in definitions]
    used = lead_channels(names, lead_names)
    scale = [_scale(path, definitions[channel]) for channel in used]
    stored = stored[:, used]
    padding = group.get("WaveformPaddingValue")
    return Channels(
        names=[names[channel] for channel in used],
        values=stored,
        gain_uv=np.array([gain for gain, _ in scale]),
        zero=np.array([zero for _, zero in scale]),
        sampling_rate=float(group.SamplingFrequency),
        missing=None if padding is None else stored == _padding(padding, stored.dtype),
    )


def lead_name(definition: Any) -> str:
    """Return the lead of a channel by the code of its source, else by the meaning of the code, else by its label."""
    source = definition.get("ChannelSourceSequence")
    code = str(source[0].get("CodeValue") or "") if source else ""
    match = _CODE.fullmatch(code)
    if match:
        return LEAD_NUMBERS.get(int(match[1]), code)
    texts = [str(source[0].get("CodeMeaning") or "") if source else "", str(definition.get("ChannelLabel") or "")]
    for text in texts:
        bare = text.partition("(")[0].partition(",")[0].strip()
        try:
            return canonical_lead(bare)
        except UnknownNameError:
            continue
    return next(filter(None, texts), code)


def _scale(path: Path, definition: Any) -> tuple[float, float]:
    """Return microvolt per unit and the unit that stands for 0 microvolt."""
    units = definition.get("ChannelSensitivityUnitsSequence")
    sensitivity = definition.get("ChannelSensitivity")
    if not units or sensitivity is None:
        raise DataError(f"{path.name}: lead {lead_name(definition)!r} has no sensitivity, so its unit is unknown")
    try:
        unit = unit_uv(str(units[0].CodeValue))
    except ValueError as error:
        raise DataError(f"{path.name}: lead {lead_name(definition)!r}: {error}") from None
    step = float(sensitivity) * float(definition.get("ChannelSensitivityCorrectionFactor") or 1.0)
    if step == 0:
        raise DataError(f"{path.name}: lead {lead_name(definition)!r} has the sensitivity 0")
    # The baseline is given in the channel's unit and not in samples.
    return step * unit, -float(definition.get("ChannelBaseline") or 0.0) / step


def _padding(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return the padding value, which pydicom gives as bytes or as number."""
    return np.frombuffer(value, dtype=dtype)[0] if isinstance(value, bytes) else dtype.type(int(value))
