"""The signals of WFDB records, read exactly and checked against their header: one reader for every way in.

Format 16 is what the WFDB sources of the benchmark use (also inside MATLAB v4 files, with a byte offset). It is read
here: ten times faster than by a general reader, and with an eye for what such a reader passes over, a signal file
shorter than announced and a checksum that does not fit. Other formats are decoded by the `wfdb` package.

Only the channels that a caller chooses are read: what is wrong with the others, their unit, gain, rate or file, costs
nothing. Frames of several samples are taken apart and not averaged; segments are joined with a mark for their gaps.

Format: https://physionet.org/physiotools/wag/signal-5.htm
"""

from __future__ import annotations

import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.samples import (
    LARGEST,
    MISSING,
    Signal,
    lead_channels,
    lead_columns,
    missing_leads,
    quantise,
    take_columns,
)
from ecg_hub.input.wfdb_header import Header as Header
from ecg_hub.input.wfdb_header import Segment, SignalLine, with_unit
from ecg_hub.input.wfdb_header import read_header as read_header
from ecg_hub.utils.untrusted import check_values, file_below, plain_file

# Formats whose samples all take the same room; 310, 311 and 212 pack several into some bytes.
_BITS = {"8": 8, "80": 8, "16": 16, "61": 16, "160": 16, "24": 24, "32": 32, "212": 12, "310": 32 / 3, "311": 32 / 3}

Chooser = Callable[[Sequence[str]], Sequence[int]]
"""Says which channels are read: from the names of all of them to the positions of those that are wanted."""


@dataclass(frozen=True)
class Digital:
    """The chosen channels of a record, as stored.

    Attributes:
        lines: what the header says of each.
        values: (samples, channels) integers; floats where segments with different gains are joined.
        missing: (samples, channels) bool; None where -32768 in int16 stands for a missing sample.
        sampling_rate: Hz.
        remark: something odd about the record.
    """

    lines: Sequence[SignalLine]
    values: np.ndarray
    missing: np.ndarray | None
    sampling_rate: float
    remark: str = ""

    def absent(self) -> np.ndarray:
        """Return where samples are missing."""
        return self.values == MISSING if self.missing is None else self.missing

    def physical(self) -> np.ndarray:
        """Return (channels, samples) float64 in the units of the header, NaN where missing."""
        values = self.values.astype(np.float64)
        # Subtract, then divide by the header's own number: bit for bit what the `wfdb` package computes.
        values -= [line.baseline for line in self.lines]
        values /= [line.gain for line in self.lines]
        values[self.absent()] = np.nan
        return values.T


@cache
def load_wfdb() -> Any:
    """Import wfdb at its first use, without the deprecation warnings that wfdb 4.3 causes in pandas 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import wfdb
    return wfdb


def read_record(path: Path, **metadata: Any) -> Signal:
    """Read the twelve leads of a WFDB record.

    Absent leads are missing (-32768) throughout and named in the remark, other signals are left out.
    """
    return signal_of(read_header(path), **metadata)


def signal_of(header: Header, **metadata: Any) -> Signal:
    """Read the signal files of a header; see `read_record`."""
    digital = read_digital(header, lead_channels)
    if digital.sampling_rate != int(digital.sampling_rate):
        raise DataError(f"sampling rate {digital.sampling_rate} Hz is not a whole number")
    columns = lead_columns([line.name for line in digital.lines])
    absent = missing_leads(columns)
    samples, gain_uv, baseline = _stored(digital, columns)
    return Signal(
        samples=samples,
        gain_uv=gain_uv,
        baseline=baseline,
        sampling_rate=int(digital.sampling_rate),
        metadata=metadata,
        remark="; ".join(filter(None, [digital.remark, f"no lead {', '.join(absent)}" if absent else ""])),
    )


def _stored(digital: Digital, columns: Sequence[int | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the record's own integers where they fit into int16, else the quantised physical values."""
    used = [digital.lines[column] if column is not None else None for column in columns]
    gains = np.array([line.gain_uv if line else 1.0 for line in used])
    zeros = np.array([line.baseline if line else 0 for line in used], dtype=np.int32)
    if digital.missing is None:
        return take_columns(digital.values, columns, MISSING), gains.astype(np.float32), zeros
    values = take_columns(np.where(digital.missing, np.nan, digital.values), columns, np.nan)
    whole = digital.values.dtype.kind == "i"
    if not whole or np.abs(np.nan_to_num(values)).max(initial=0.0) > LARGEST:
        return quantise((values - zeros) * gains / 1000.0)
    values[np.isnan(values)] = MISSING
    return values.astype(np.int16), gains.astype(np.float32), zeros


def read_digital(header: Header, choose: Chooser, unit: str | None = None) -> Digital:
    """Read the chosen channels of a record; `unit` is of those for which the header states no voltage."""
    if header.segments:
        return _read_segments(header, choose, unit)
    header = with_unit(header, unit)
    chosen = list(choose([line.name for line in header.signals]))
    lines = [header.signals[channel] for channel in chosen]
    if not lines:
        return Digital((), np.zeros((0, 0), np.int16), None, header.sampling_rate, header.remark)
    faults = [f"{line.name or line.file}: {line.fault}" for line in lines if line.fault]
    if faults:
        raise DataError(f"{header.path.name} is not a WFDB header: {faults[0]}")
    frames = sorted({line.frame for line in lines})
    # Averaged or repeated to one rate, samples would no longer be those of the file.
    if len(frames) > 1:
        raise DataError(f"{header.path.name}: its leads have {frames} samples per frame, one number is expected")
    plain = all(line.code == "16" and not line.skew for line in lines)
    values, missing, odd = (_read_format_16 if plain else _read_with_wfdb)(header, chosen)
    # What stands in the file for a missing sample is not known here, and belongs to the sum.
    sums = "" if missing is not None and missing.any() else _check_sums(lines, values)
    remark = "; ".join(filter(None, [header.remark, odd, sums]))
    return Digital(lines, values, missing, header.sampling_rate * frames[0], remark)


def _read_format_16(header: Header, chosen: Sequence[int]) -> tuple[np.ndarray, None, str]:
    """Return (samples, channels) int16, no mask of missing samples, and a remark on surplus bytes."""
    # One entry per file that holds a chosen channel, so that the other files may be damaged or absent.
    parts: dict[str, np.ndarray] = {}
    remark = ""
    for name in dict.fromkeys(header.signals[channel].file for channel in chosen):
        lines = [line for line in header.signals if line.file == name]
        # In each frame the signals of a file follow each other in the order of their lines.
        width = sum(line.frame for line in lines)
        path = _signal_file(header, name)
        held = max(plain_file(path, math.inf) - lines[0].offset, 0)
        with path.open("rb") as file:
            begin = file.read(20)
        if begin.startswith((b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")):
            # WFDB means files of MATLAB 4, whose samples lie one after the other behind 24 bytes.
            raise DataError(f"{name} is a file of MATLAB 5 or later, WFDB needs version 4: savemat(..., format='4')")
        announced = (header.samples or held // (2 * width)) * 2 * width
        if held < announced or not announced:
            raise DataError(f"{name} holds {held} bytes of signal, its header announces {announced}")
        if held > announced:
            remark = f"{name} holds {held - announced} bytes more than its header announces"
        check_values(announced // 2, name)
        # Little-endian on every machine; format 61 is the one of the other order.
        parts[name] = np.fromfile(path, "<i2", announced // 2, offset=lines[0].offset).reshape(-1, width)
    if len({len(part) for part in parts.values()}) > 1:
        raise DataError("the signal files differ in length")
    return _columns(header, chosen, parts), None, remark


def _signal_file(header: Header, name: str) -> Path:
    """Return a file that a header names, after checking that it is there."""
    path = file_below(header.path.parent, name, header.path.name)
    if not path.exists():
        raise DataError(f"{name} is missing")
    return path


def _columns(header: Header, chosen: Sequence[int], parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the chosen channels from the files' frames (frames, samples of all signals)."""
    begins: list[int] = []
    ends = dict.fromkeys((line.file for line in header.signals), 0)
    for line in header.signals:
        begins.append(ends[line.file])
        ends[line.file] += line.frame
    whole = parts[header.signals[chosen[0]].file] if len(parts) == 1 else None
    # The usual record, twelve leads in one file, is handed on as it is.
    if whole is not None and [begins[channel] for channel in chosen] == list(range(whole.shape[1])):
        return whole
    series = []
    for channel in chosen:
        line, begin = header.signals[channel], begins[channel]
        series.append(parts[line.file][:, begin : begin + line.frame].reshape(-1))
    return np.stack(series, axis=1)


def _read_with_wfdb(header: Header, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray, str]:
    """Return (samples, channels) int64, which of them are missing, and no remark; any format of WFDB."""
    files = dict.fromkeys(header.signals[channel].file for channel in chosen)
    lines = [line for line in header.signals if line.file in files]
    wanted = [lines.index(header.signals[channel]) for channel in chosen]
    paths = [_signal_file(header, name) for name in files]
    for name, path in zip(files, paths, strict=True):
        _check_announced(header, path, [line for line in lines if line.file == name])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, path in enumerate(paths):
            _place(path, Path(folder, f"{number}.dat"))
        # A header of the bare essentials: the package refuses or misreads some that are in use.
        _write_header(Path(folder, "r.hea"), header, lines, list(files))
        record = load_wfdb().rdrecord(str(Path(folder, "r")), channels=wanted, smooth_frames=False)
    values = np.stack(record.e_p_signal, axis=1)
    missing = np.isnan(values)
    # With a gain of 1 the package's physical values are the stored integers, and NaN shows what is missing.
    return np.rint(np.where(missing, 0.0, values)).astype(np.int64), missing, ""


def _check_announced(header: Header, path: Path, lines: Sequence[SignalLine]) -> None:
    """Refuse, before the package sets room aside, what a file of this size cannot hold."""
    held = max(plain_file(path, math.inf) - lines[0].offset, 0)
    width = sum(line.frame for line in lines)
    lag = max(line.skew for line in lines)
    bits = _BITS.get(lines[0].code)
    # Of compressed formats a byte may stand for any number of samples.
    frames = header.samples or int(8 * held / ((bits or 8) * width))
    check_values((frames + lag) * width, header.path.name)
    if lag > frames:
        raise DataError(f"{header.path.name} shifts a signal by {lag} samples of {frames}")
    if bits and frames * width * bits > 8 * (held + 4):
        raise DataError(f"{path.name} holds {held} bytes of signal, its header announces {frames} samples of {width}")


def _place(source: Path, target: Path) -> None:
    """Put a signal file into another folder, by a link where the system has links."""
    try:
        target.symlink_to(source.resolve())
    # On Windows not everybody may make links.
    except OSError:
        shutil.copyfile(source, target)


def _write_header(path: Path, header: Header, lines: Sequence[SignalLine], files: Sequence[str]) -> None:
    """Write a header with a gain of 1, no names, and no checksums."""
    samples = "" if header.samples is None else f" {header.samples}"
    text = [f"r {len(lines)} {header.sampling_rate}{samples}"]
    for number, line in enumerate(lines):
        form = f"{line.code}x{line.frame}:{line.skew}+{line.offset}"
        text.append(f"{files.index(line.file)}.dat {form} 1(0)/mV 16 0 0 0 0 s{number}")
    path.write_text("\n".join(text) + "\n", encoding="ascii")


def _read_segments(header: Header, choose: Chooser, unit: str | None) -> Digital:
    """Join the segments of a record; a lead that a segment does not hold is missing there."""
    parts = [(segment, _segment_header(header, segment)) for segment in header.segments if segment.samples]
    spelled: dict[str, str] = {}
    for _, part in parts:
        # Segments may spell a lead in two ways, aVR and AVR; within one segment it is there twice.
        for line in part.signals if part else ():
            spelled.setdefault(line.name.casefold(), line.name)
    names = list(spelled.values())
    wanted = [names[channel] for channel in choose(names)]
    read: list[tuple[int, dict[str, tuple[SignalLine, np.ndarray, np.ndarray]]]] = []
    rates, remarks = set(), dict[str, None]()
    for segment, part in parts:
        digital = None if part is None else read_digital(part, lambda held: _among(wanted, held), unit)
        if digital is None or not digital.lines:
            read.append((segment.samples, {}))
            continue
        rates.add(digital.sampling_rate)
        remarks[digital.remark] = None
        frame = digital.lines[0].frame
        if len(digital.values) != segment.samples * frame:
            raise DataError(
                f"segment {segment.name} holds {len(digital.values)} samples, {header.path.name} announces "
                f"{segment.samples * frame}"
            )
        absent = digital.absent()
        columns = {
            spelled[line.name.casefold()]: (line, digital.values[:, k], absent[:, k])
            for k, line in enumerate(digital.lines)
        }
        read.append((segment.samples, columns))
    if len(rates) > 1:
        raise DataError(f"{header.path.name}: its segments are sampled at {sorted(rates)} Hz, one rate is expected")
    return _joined(header, wanted, read, rates.pop() if rates else header.sampling_rate, list(remarks))


def _segment_header(header: Header, segment: Segment) -> Header | None:
    """Return the header of a segment, None for a gap."""
    if segment.name == "~":
        return None
    part = read_header(file_below(header.path.parent, f"{segment.name}.hea", header.path.name))
    if part.segments:
        raise DataError(f"{header.path.name}: its segment {segment.name} consists of segments itself")
    return part


def _among(wanted: Sequence[str], held: Sequence[str]) -> list[int]:
    places: dict[str, int] = {}
    for place, name in enumerate(held):
        if places.setdefault(name.casefold(), place) != place and name.casefold() in map(str.casefold, wanted):
            raise DataError(f"a segment holds lead {name} twice")
    return [places[name.casefold()] for name in wanted if name.casefold() in places]


def _joined(
    header: Header,
    wanted: Sequence[str],
    read: Sequence[tuple[int, dict[str, tuple[SignalLine, np.ndarray, np.ndarray]]]],
    rate: float,
    remarks: Sequence[str],
) -> Digital:
    """Return the segments one after the other: integers where each lead has one gain throughout, else microvolt."""
    if not rate:
        raise DataError(f"{header.path.name} consists of gaps alone")
    lines = [next(columns[name][0] for _, columns in read if name in columns) for name in wanted]
    scales = [{_scale(columns[name][0]) for _, columns in read if name in columns} for name in wanted]
    whole = all(len(scale) == 1 for scale in scales)
    frame = lines[0].frame if lines else 1
    length = sum(samples for samples, _ in read) * frame
    check_values(length * len(wanted), header.path.name)
    values = np.zeros((length, len(wanted)), dtype=np.int64 if whole else np.float64)
    missing = np.ones((length, len(wanted)), dtype=bool)
    begin = 0
    for samples, columns in read:
        rows = slice(begin, begin := begin + samples * frame)
        for channel, name in enumerate(wanted):
            if name in columns:
                line, stored, absent = columns[name]
                # Subtracted as float64: the difference of two int16 need not fit into one.
                values[rows, channel] = stored if whole else (stored - np.float64(line.baseline)) * line.gain_uv
                missing[rows, channel] = absent
    if not whole:
        lines = [replace(line, gain=1.0, unit="uV", baseline=0) for line in lines]
    announced = (header.samples or 0) * frame
    odd = (
        f"its segments add up to {length} samples, its header announces {announced}"
        if announced not in (0, length)
        else ""
    )
    return Digital(lines, values, missing, rate, "; ".join(filter(None, [header.remark, *remarks, odd])))


def _scale(line: SignalLine) -> tuple[float, int, str]:
    return line.gain, line.baseline, line.unit


def _check_sums(lines: Sequence[SignalLine], values: np.ndarray) -> str:
    """Return a remark that names the leads whose samples do not add up to the header's checksum."""
    # A remark only: samples that can be read are not dropped for a sum that disagrees.
    sums = values.sum(axis=0, dtype=np.int64) & 0xFFFF
    wrong = [
        line.name
        for line, total in zip(lines, sums, strict=True)
        if line.checksum not in (None, *_both_signs(int(total)))
    ]
    return f"the samples of {', '.join(wrong)} do not add up to the header's checksum" if wrong else ""


def _both_signs(total: int) -> tuple[int, int]:
    """Return a 16-bit sum as unsigned and as signed number: writers use either."""
    return total, total - 0x10000
