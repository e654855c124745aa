"""DICOM ECG waveforms (PS3.3 C.10.9, A.34.3 to A.34.5), read by pydicom.

A file holds several multiplex groups: the rhythm strip, often a median beat, sometimes limb and chest leads apart, or
four groups of 2.5 s, or a long strip of one lead. The groups that the machine did not derive are joined as long as
they bring leads that are not there yet, the one with the most leads first; each lies where its time offset says.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats.channels import Channels, find_leads, need, stated_unit
from ecg_hub.errors import DataError
from ecg_hub.leads import LEAD_NUMBERS, LEADS, find_lead
from ecg_hub.utils.untrusted import check_values, max_bytes, max_record_mb, plain_file

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LONGEST_META = 4096
_PIECE = 1 << 16
_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)")


@dataclass(frozen=True)
class _Group:
    """One multiplex group: its number in the file, the rest as in the file; `begin` in seconds."""

    number: int
    content: Any
    names: list[str]
    leads: dict[int, int]  # of the twelve: position -> channel
    rate: float
    samples: int
    begin: float


def read_dicom(path: Path, lead_names: Mapping[str, str | None], unit: str | None = None) -> Channels:
    """Read the rhythm strip of a DICOM ECG; `unit` is of channels that state none.

    microvolt = (stored * sensitivity * correction factor + channel baseline) * unit.
    """
    with warnings.catch_warnings():  # pydicom warns of values that break the standard and reads them all the same
        warnings.simplefilter("ignore")
        content = _open(path)
        groups = list(content.get("WaveformSequence") or ())
        if not groups:
            raise DataError(f"{path.name} holds no waveform (SOP class {content.get('SOPClassUID', 'not stated')})")
        chosen, remark = _chosen(_rhythms(path, groups, lead_names))
        # As stored: pydicom's own scaling gives floats, which would have to be quantised anew.
        for group in chosen:
            _check_length(path, group)
        raw = need("pydicom").waveforms.multiplex_array
        parts = [_channels(path, group, raw(content, group.number, as_raw=True), unit) for group in chosen]
        return _joined(chosen, parts, remark)


def _check_length(path: Path, group: _Group) -> None:
    """Refuse a group with fewer bytes than it announces, of which numpy would speak in its own terms."""
    content = group.content
    held = len(content.get("WaveformData") or b"")
    announced = group.samples * int(content.NumberOfWaveformChannels) * int(content.WaveformBitsAllocated) // 8
    if held < announced:
        raise DataError(f"{path.name} is cut short: {held} bytes of samples, {announced} announced")


def _open(path: Path) -> Any:
    """Read a file, also one without preamble and file meta information, as some carts and archives write them."""
    pydicom = need("pydicom")
    plain_file(path)
    # From memory: of a file, pydicom sets aside whatever length an element states, up to 4 GB.
    data = path.read_bytes()
    _check_deflated(path, data)
    try:
        return pydicom.dcmread(BytesIO(data))
    except pydicom.errors.InvalidDicomError:
        pass
    try:
        content = pydicom.dcmread(BytesIO(data), force=True)
    # Read by force, any file is taken for elements until one of them makes no sense.
    except Exception:
        content = None
    if content is None or not content.get("SOPClassUID"):
        raise DataError(f"{path.name} is no DICOM file: it has neither the mark 'DICM' nor a SOP class")
    if "TransferSyntaxUID" not in content.file_meta:
        implicit = content.original_encoding[0]
        uid = pydicom.uid
        content.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    return content


def _check_deflated(path: Path, data: bytes) -> None:
    """Refuse a deflated file that expands to more than is read; pydicom expands it at once, whatever it becomes."""
    if data[128:132] != b"DICM" or _DEFLATED not in data[:_LONGEST_META]:
        return
    # The first element of the file meta information states the length of the others (PS3.10, 7.1).
    (length,) = struct.unpack_from("<I", data, 140)
    inflater, held, position = zlib.decompressobj(-zlib.MAX_WBITS), 0, 144 + length
    while position < len(data) and not inflater.eof:
        held += len(inflater.decompress(data[position : position + _PIECE]))
        position += _PIECE
        if held > max_bytes():
            raise DataError(f"{path.name} expands to more than {max_record_mb():g} MB, the largest record that is read")


def _rhythms(path: Path, groups: list[Any], lead_names: Mapping[str, str | None]) -> list[_Group]:
    """Return the groups that are as recorded and hold a lead."""
    found, derived, faults = [], 0, []
    for number, group in enumerate(groups):
        label = str(group.get("MultiplexGroupLabel") or "").upper()
        machine = str(group.get("WaveformOriginality") or "").upper() == "DERIVED"
        if machine or "MEDIAN" in label or "AVERAGE" in label:
            derived += 1
            continue
        names = [lead_name(definition) for definition in group.ChannelDefinitionSequence]
        try:
            columns = find_leads(names, lead_names)
        except DataError as error:
            faults.append(str(error))
            continue
        leads = {lead: channel for lead, channel in enumerate(columns) if channel is not None}
        begin = float(group.get("MultiplexGroupTimeOffset") or 0.0) / 1000.0
        rate, samples = float(group.SamplingFrequency), int(group.NumberOfWaveformSamples)
        found.append(_Group(number, group, names, leads, rate, samples, begin))
    if not found and faults:
        raise DataError(f"{path.name}: {faults[0]}")
    if not found:
        raise DataError(f"{path.name} holds derived waveforms only (median beats), no rhythm strip")
    return found


def _chosen(groups: list[_Group]) -> tuple[list[_Group], str]:
    """Return the groups that are joined, and a remark on what is left out or lies apart."""
    # Of equally many leads the longest, of equally long groups the first.
    order = sorted(groups, key=lambda group: (-len(group.leads), -group.samples / group.rate, group.number))
    chosen: list[_Group] = []
    held: set[int] = set()
    for group in order:
        new = set(group.leads) - held
        if new and (not chosen or group.rate == chosen[0].rate):
            chosen.append(group)
            held |= new
    chosen.sort(key=lambda group: group.number)
    remarks = []
    if len(chosen) < len(groups):
        remarks.append(f"{len(groups) - len(chosen)} of {len(groups)} groups of leads are left out")
    begins = {group.begin for group in chosen}
    if len(begins) > 1:
        remarks.append("its leads were recorded one group after another: each is missing outside its own time")
    elif len({group.samples for group in chosen}) > 1:
        remarks.append("its groups of leads differ in length: the shorter ones are missing at the end")
    return chosen, "; ".join(remarks)


def _joined(groups: list[_Group], parts: list[Channels], remark: str) -> Channels:
    """Return several groups as one record, each where its time offset says; nothing in between."""
    if len(parts) == 1:
        return replace(parts[0], remark=remark)
    rate, first = groups[0].rate, min(group.begin for group in groups)
    starts = [round((group.begin - first) * rate) for group in groups]
    length = max(start + len(part.values) for start, part in zip(starts, parts, strict=True))
    check_values(length * len(LEADS), "the record, with its groups where their time offsets say,")
    names: list[str] = []
    seen: set[int] = set()
    columns, gains, zeros = [], [], []
    for group, part, start in zip(groups, parts, starts, strict=True):
        by_name = {channel: place for place, channel in enumerate(sorted(group.leads.values()))}
        # In the order of the file, which names that a caller gives follow.
        for lead, channel in sorted(group.leads.items(), key=lambda item: item[1]):
            if lead in seen:
                continue
            seen.add(lead)
            place = by_name[channel]
            values, missing = np.zeros(length, dtype=np.int64), np.ones(length, dtype=bool)
            rows = slice(start, start + len(part.values))
            values[rows] = part.values[:, place]
            missing[rows] = False if part.missing is None else part.missing[:, place]
            columns.append((values, missing))
            names.append(part.names[place])
            gains.append(part.gain_uv[place])
            zeros.append(part.zero[place])
    missing = np.stack([column[1] for column in columns], axis=1)
    return Channels(
        names=names,
        values=np.stack([column[0] for column in columns], axis=1),
        gain_uv=np.array(gains),
        zero=np.array(zeros),
        sampling_rate=rate,
        missing=missing if missing.any() else None,
        remark=remark,
    )


def _channels(path: Path, chosen: _Group, stored: np.ndarray, unit: str | None) -> Channels:
    group, names = chosen.content, chosen.names
    coding = str(group.WaveformSampleInterpretation)
    # mu-law and A-law: the steps between their codes grow with the amplitude, so no single gain is right.
    if coding in ("MB", "AB"):
        raise DataError(f"{path.name}: samples of interpretation {coding!r} are companded, integers are expected")
    definitions = list(group.ChannelDefinitionSequence)
    if len(definitions) != stored.shape[1]:
        raise DataError(f"{path.name}: {len(definitions)} channels are defined, {stored.shape[1]} are stored")
    used = sorted(chosen.leads.values())
    scale = [_scale(path, definitions[channel], unit) for channel in used]
    stored = stored[:, used]
    padding = group.get("WaveformPaddingValue")
    return Channels(
        names=[names[channel] for channel in used],
        values=stored,
        gain_uv=np.array([gain for gain, _ in scale]),
        zero=np.array([zero for _, zero in scale]),
        sampling_rate=chosen.rate,
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
        if (lead := find_lead(bare)) is not None:
            return lead
    return next(filter(None, texts), code)


def _scale(path: Path, definition: Any, fallback: str | None) -> tuple[float, float]:
    """Return microvolt per unit and the unit that stands for 0 microvolt."""
    units = definition.get("ChannelSensitivityUnitsSequence")
    sensitivity = definition.get("ChannelSensitivity")
    if fallback is None and (sensitivity is None or not units):
        raise DataError(
            f"{path.name}: lead {lead_name(definition)!r} has no sensitivity, so its unit is unknown; if you know it, "
            "say for example unit: 2.5 uV in the description"
        )
    if sensitivity is None:
        # Then what the description says is of one step of the samples.
        sensitivity, units = 1.0, None
    stated = str(units[0].get("CodeValue") or "") if units else ""
    unit = stated_unit(stated, fallback, f"{path.name}: lead {lead_name(definition)!r}")
    step = float(sensitivity) * float(definition.get("ChannelSensitivityCorrectionFactor") or 1.0)
    if step == 0:
        raise DataError(f"{path.name}: lead {lead_name(definition)!r} has the sensitivity 0")
    # The baseline is given in the channel's unit and not in samples.
    return step * unit, -float(definition.get("ChannelBaseline") or 0.0) / step


def _padding(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return the padding value, which pydicom gives as bytes or as number."""
    # By the samples' own type: 0x8000 is the lowest of 16 bits with a sign, and 32,768 without one.
    return np.frombuffer(value, dtype=dtype)[0] if isinstance(value, bytes) else dtype.type(int(value))
