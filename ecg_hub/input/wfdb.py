"""WFDB records of 16-bit integers, read exactly and checked against their header.

Format 16 is what the WFDB sources of the benchmark use (also inside MATLAB v4 files, with a byte offset). Reading it
needs no physical units, so this module parses the header itself: ten times faster than a general reader, and it sees
what such a reader passes over, a signal file shorter than announced and a checksum that does not fit. Headers of any
other form (other formats, several segments, several samples per frame) go through the `wfdb` package.

Format: https://physionet.org/physiotools/wag/header-5.htm, https://physionet.org/physiotools/wag/signal-5.htm
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.samples import LARGEST, MISSING, Signal, lead_columns, missing_leads, quantise, take_columns

_MICROVOLT = {"v": 1e6, "mv": 1e3, "uv": 1.0, "µv": 1.0, "nv": 1e-3}
_DEFAULT_GAIN = 200.0  # units per mV where a header gives none or 0 (WFDB header specification)
_FORMAT = re.compile(r"16(?:x1)?(?:\+(?P<offset>\d+))?")
_GAIN = re.compile(r"(?P<gain>[-+.\deE]+)(?:\((?P<baseline>[-+]?\d+)\))?(?:/(?P<unit>\S+))?")


@dataclass(frozen=True, slots=True)
class SignalLine:
    """One signal of a header.

    Attributes:
        file: name of the signal file.
        format_16: whether the file holds plain 16-bit samples, one per frame.
        offset: bytes before the first sample.
        gain: steps of the samples per unit.
        unit: a voltage, as the header spells it.
        baseline: the sample that stands for 0 V.
        checksum: 16-bit sum of the samples, or None.
        name: the lead.
    """

    file: str
    format_16: bool
    offset: int
    gain: float
    unit: str
    baseline: int
    checksum: int | None
    name: str

    @property
    def gain_uv(self) -> float:
        """Microvolt per step of the samples."""
        return _MICROVOLT[self.unit.lower()] / self.gain


@dataclass(frozen=True)
class Header:
    """A WFDB header.

    Attributes:
        path: the .hea file.
        sampling_rate: Hz.
        samples: samples per signal, or None where the header does not say.
        signals: one line per signal.
        comments: the text after # of every comment line, stripped.
        simple: whether every signal is of format 16 and the record has one segment.
    """

    path: Path
    sampling_rate: float
    samples: int | None
    signals: Sequence[SignalLine]
    comments: Sequence[str]
    simple: bool


@cache
def load_wfdb() -> Any:
    """Import wfdb at its first use, without the deprecation warnings that wfdb 4.3 causes in pandas 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import wfdb
    return wfdb


def read_header(path: Path) -> Header:
    """Read a .hea file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise DataError(f"{path.name} is missing") from None
    lines = [line.strip() for line in text.splitlines()]
    content = [line for line in lines if line and not line.startswith("#")]
    comments = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    try:
        return _parse(path, content, comments)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path.name} is not a WFDB header: {error}") from None


def _parse(path: Path, content: list[str], comments: list[str]) -> Header:
    fields = content[0].split() if content else []
    if len(fields) < 2:
        raise ValueError("the record line is missing")
    count = int(fields[1])
    # "360/720(10)" gives a counter frequency and base as well. A record line of two fields means 250 Hz to WFDB.
    rate = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0
    samples = int(fields[3]) if len(fields) > 3 else 0
    # "name/3" is a record of segments, whose lines name other headers.
    one_segment = "/" not in fields[0]
    if one_segment and len(content) - 1 < count:
        raise ValueError(f"{count} signals announced, {len(content) - 1} described")
    signals = [_signal_line(line) for line in content[1 : count + 1]] if one_segment else []
    simple = one_segment and all(signal.format_16 for signal in signals)
    return Header(path, rate, samples or None, signals, comments, simple)


def _signal_line(line: str) -> SignalLine:
    """Parse `file format gain(baseline)/unit resolution zero first checksum blocksize name`; all but two optional."""
    fields = line.split(maxsplit=8)
    form = _FORMAT.fullmatch(fields[1])
    gain, baseline, unit = _DEFAULT_GAIN, None, "mV"
    if len(fields) > 2:
        match = _GAIN.fullmatch(fields[2])
        if match is None:
            raise ValueError(f"gain {fields[2]!r} cannot be read")
        # 0 says that the signal is not calibrated; the format has a default for it.
        gain = float(match["gain"]) or _DEFAULT_GAIN
        baseline = int(match["baseline"]) if match["baseline"] else None
        unit = match["unit"] or "mV"
    if unit.lower() not in _MICROVOLT:
        raise ValueError(f"unit {unit!r} is not a voltage")
    # Where no baseline is given, the middle of the converter's range is the sample of 0 V (header specification).
    zero = int(fields[4]) if len(fields) > 4 else 0
    return SignalLine(
        file=fields[0],
        format_16=form is not None,
        offset=int(form["offset"] or 0) if form else 0,
        gain=gain,
        unit=unit,
        baseline=zero if baseline is None else baseline,
        checksum=int(fields[6]) if len(fields) > 6 else None,
        name=fields[8] if len(fields) > 8 else "",
    )


def read_record(path: Path, **metadata: Any) -> Signal:
    """Read the twelve leads of a WFDB record.

    Absent leads are missing (-32768) throughout and named in the remark, other signals are left out.
    """
    return signal_of(read_header(path), **metadata)


def signal_of(header: Header, **metadata: Any) -> Signal:
    """Read the signal files of a header; see `read_record`."""
    if header.sampling_rate != int(header.sampling_rate):
        raise DataError(f"sampling rate {header.sampling_rate} Hz is not a whole number")
    if not header.simple:
        return _read_with_wfdb(header, metadata)
    columns = lead_columns([signal.name for signal in header.signals])
    values, oversize = _read_format_16(header)
    used = [header.signals[column] if column is not None else None for column in columns]
    remarks = [oversize, _check_sums(header, values, columns), _name_missing(columns)]
    return Signal(
        samples=take_columns(values, columns, MISSING),
        gain_uv=np.array([signal.gain_uv if signal else 1.0 for signal in used], dtype=np.float32),
        baseline=np.array([signal.baseline if signal else 0 for signal in used], dtype=np.int32),
        sampling_rate=int(header.sampling_rate),
        metadata=metadata,
        remark="; ".join(filter(None, remarks)),
    )


def physical_values(header: Header) -> np.ndarray:
    """Return (signals, samples) float64 of a simple record in the units of its header, NaN where missing."""
    digital, _ = _read_format_16(header)
    values = digital.astype(np.float64)
    # Subtract, then divide by the header's own number: bit for bit what the `wfdb` package computes.
    values -= [signal.baseline for signal in header.signals]
    values /= [signal.gain for signal in header.signals]
    values[digital == MISSING] = np.nan
    return values.T


def _read_format_16(header: Header) -> tuple[np.ndarray, str]:
    """Return (samples, signals) int16 in the order of the header, and a remark on surplus bytes."""
    parts: dict[str, np.ndarray] = {}
    remark = ""
    for name in dict.fromkeys(signal.file for signal in header.signals):
        lines = [signal for signal in header.signals if signal.file == name]
        # The signals of one file alternate sample by sample, in the order of their lines.
        frame = 2 * len(lines)
        try:
            data = (header.path.parent / name).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{name} is missing") from None
        held = max(len(data) - lines[0].offset, 0)
        announced = (header.samples or held // frame) * frame
        if held < announced or not announced:
            raise DataError(f"{name} holds {held} bytes of signal, its header announces {announced}")
        if held > announced:
            remark = f"{name} holds {held - announced} bytes more than its header announces"
        count = announced // 2
        parts[name] = np.frombuffer(data, dtype="<i2", count=count, offset=lines[0].offset).reshape(-1, len(lines))
    if len(parts) == 1:
        return next(iter(parts.values())), remark
    if len({len(part) for part in parts.values()}) > 1:
        raise DataError("the signal files differ in length")
    # The lines of several files may alternate, so each signal is the next one of its own file.
    taken = dict.fromkeys(parts, 0)
    series = []
    for signal in header.signals:
        series.append(parts[signal.file][:, taken[signal.file]])
        taken[signal.file] += 1
    return np.stack(series, axis=1), remark


def _check_sums(header: Header, values: np.ndarray, columns: Sequence[int | None]) -> str:
    """Return a remark that names the leads whose samples do not add up to the header's checksum."""
    # A remark only: samples that can be read are not dropped for a sum that disagrees.
    sums = values.sum(axis=0, dtype=np.int64) & 0xFFFF
    wrong = [
        header.signals[column].name
        for column in columns
        if column is not None and header.signals[column].checksum not in (None, *_both_signs(int(sums[column])))
    ]
    return f"the samples of {', '.join(wrong)} do not add up to the header's checksum" if wrong else ""


def _both_signs(total: int) -> tuple[int, int]:
    """Return a 16-bit sum as unsigned and as signed number: writers use either."""
    return total, total - 0x10000


def _name_missing(columns: Sequence[int | None]) -> str:
    absent = missing_leads(columns)
    return f"no lead {', '.join(absent)}" if absent else ""


def _read_with_wfdb(header: Header, metadata: dict[str, Any]) -> Signal:
    """Read a record that is not of plain format 16, quantised to int16 where it holds more than 16 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = load_wfdb().rdrecord(str(header.path.with_suffix("")))
    columns = lead_columns(record.sig_name)
    scale = np.array([_MICROVOLT[str(unit).lower()] / 1000.0 for unit in record.units])
    millivolt = take_columns(record.p_signal * scale, columns, np.nan)
    samples, gain_uv, baseline = _exact(record, columns, millivolt, scale)
    return Signal(samples, gain_uv, baseline, int(header.sampling_rate), metadata, _name_missing(columns))


def _exact(
    record: Any, columns: Sequence[int | None], millivolt: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the record's own integers where they fit into int16, else the quantised physical values."""
    gains = np.array([1000.0 * scale[c] / record.adc_gain[c] if c is not None else 1.0 for c in columns])
    zeros = np.array([record.baseline[c] if c is not None else 0 for c in columns])
    # wfdb has turned the integers into float64, which rounding takes back without loss.
    digital = np.rint(millivolt * 1000.0 / gains + zeros)
    if np.abs(np.nan_to_num(digital)).max(initial=0.0) > LARGEST:
        return quantise(millivolt)
    digital[np.isnan(digital)] = MISSING
    return digital.astype(np.int16), gains.astype(np.float32), zeros.astype(np.int32)
