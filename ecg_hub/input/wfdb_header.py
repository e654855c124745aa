"""WFDB headers: what the signals of a record are, where they lie, and what turns their samples into units.

Read here and not by the `wfdb` package, which drops every letter beyond ASCII and so turns microvolts into volts, and
which refuses headers that can be read (those of the first Challenge edition, a length of 0).

Format: https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecg_hub.errors import DataError
from ecg_hub.input.units import is_unit, unit_uv
from ecg_hub.utils.untrusted import MAX_HEADER_BYTES, check_channels, check_values, plain_file, reading

_DEFAULT_GAIN = 200.0  # units per mV where a header gives none or 0 (WFDB header specification)
_LARGEST_BASELINE = 2**31  # samples have 32 bits at most
_FORMAT = re.compile(r"(?P<code>\d+)(?:x(?P<frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?")
_GAIN = re.compile(r"(?P<gain>[-+.\deE]+)(?:\((?P<baseline>[-+]?\d+)\))?(?:/(?P<unit>\S*))?")


@dataclass(frozen=True, slots=True)
class SignalLine:
    """One signal of a header.

    Attributes:
        file: name of the signal file.
        code: number of the format of the file, for example "16".
        frame: samples per frame.
        skew: frames by which the signal lags behind.
        offset: bytes before the first sample.
        gain: steps of the samples per unit.
        unit: as the header spells it; need not be a voltage.
        baseline: the sample that stands for 0.
        checksum: 16-bit sum of the samples, or None.
        name: the lead.
        fault: what of the line cannot be read, or "".
    """

    file: str
    code: str
    frame: int
    skew: int
    offset: int
    gain: float
    unit: str
    baseline: int
    checksum: int | None
    name: str
    fault: str = ""

    @property
    def gain_uv(self) -> float:
        """Microvolt per step of the samples; DataError where the unit is no voltage."""
        try:
            return unit_uv(self.unit) / self.gain
        except ValueError as error:
            raise DataError(f"lead {self.name}: unit {error}") from None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a record: its name, "~" for a gap, and its length in frames (0: it only describes a layout)."""

    name: str
    samples: int


@dataclass(frozen=True)
class Header:
    """A WFDB header.

    Attributes:
        path: the .hea file.
        sampling_rate: frames per second; nearly always one sample of every signal per frame.
        samples: frames, or None where the header does not say.
        signals: one line per signal; none in a record of segments.
        comments: the text after # of every comment line, stripped.
        segments: the segments, where the record consists of some.
        states_rate: whether the header says its rate; WFDB has a default of 250 Hz.
        remark: something odd about the header.
    """

    path: Path
    sampling_rate: float
    samples: int | None
    signals: Sequence[SignalLine]
    comments: Sequence[str]
    segments: Sequence[Segment] = ()
    states_rate: bool = True
    remark: str = ""


def read_header(path: Path) -> Header:
    """Read a .hea file."""
    with reading(path.name, "header"):
        plain_file(path, MAX_HEADER_BYTES)
        lines = [line.strip() for line in _lines(path.read_bytes())]
    content = [line for line in lines if line and not line.startswith("#")]
    comments = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    try:
        return _parse(path, content, comments)
    # An OverflowError for a rate beyond all numbers.
    except (ValueError, IndexError, OverflowError) as error:
        # Python quotes what is no number, which may be anything.
        reason = re.sub(
            r"^(?:invalid literal|could not convert).*", "a number is expected where it has text", str(error)
        )
        raise DataError(f"{path.name} is not a WFDB header: {reason}") from None


def _lines(content: bytes) -> list[str]:
    """Return the lines of a header: UTF-8, and Latin-1 where a line is not, so that no letter is lost."""
    # Before decoding: bytes are parted at line ends alone, text at letters like \x85 too.
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    decoded = []
    # Line by line: names in comments and the units of signals may come from different programs.
    for line in lines:
        try:
            decoded.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            decoded.append(line.decode("latin-1"))
    return decoded


def _parse(path: Path, content: list[str], comments: list[str]) -> Header:
    fields = content[0].split() if content else []
    if len(fields) < 2:
        raise ValueError("the record line is missing")
    name, _, segments = fields[0].partition("/")
    count = int(fields[1])
    # "360/720(10)" gives a counter frequency and base as well. A record line of two fields means 250 Hz to WFDB.
    rate = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0
    if not math.isfinite(rate):
        raise ValueError(f"sampling rate {rate} Hz is not a number")
    # 0 stands for "not stated", as does no number at all.
    samples = (int(fields[3]) if len(fields) > 3 else 0) or None
    announced, what = (int(segments), "segments") if segments else (count, "signals")
    if len(content) - 1 < announced:
        raise ValueError(f"{announced} {what} announced, {len(content) - 1} described")
    if segments:
        # Before any segment is read: a header of some bytes can announce any length.
        check_values(sum(_segment(line).samples for line in content[1 : announced + 1]), path.name)
    else:
        check_channels(count, path.name)
    plain = Header(path, rate, samples, (), comments, states_rate=len(fields) > 2)
    if segments:
        return replace(plain, segments=[_segment(line) for line in content[1 : announced + 1]])
    signals = [_signal_line(line) for line in content[1 : announced + 1]]
    signals, remark = _early_edition(name, signals)
    return replace(plain, signals=signals, remark=remark)


def _segment(line: str) -> Segment:
    name, samples = line.split()[:2]
    return Segment(name, int(samples))


def _signal_line(line: str) -> SignalLine:
    """Parse `file format gain(baseline)/unit resolution zero first checksum blocksize name`; all but two optional."""
    # What is left is the name, which may hold blanks.
    fields = line.split(maxsplit=8)
    form = _FORMAT.fullmatch(fields[1])
    if form is None:
        raise ValueError(f"format {fields[1]!r} cannot be read")
    plain = SignalLine(
        file=fields[0],
        code=form["code"],
        frame=int(form["frame"] or 1),
        skew=int(form["skew"] or 0),
        offset=int(form["offset"] or 0),
        gain=_DEFAULT_GAIN,
        unit="mV",
        baseline=0,
        checksum=None,
        name=fields[8] if len(fields) > 8 else "",
    )
    try:
        return _calibrated(plain, fields)
    # What is wrong with the numbers of a signal matters where somebody wants that signal.
    except ValueError as error:
        return replace(plain, fault=str(error))


def _calibrated(line: SignalLine, fields: list[str]) -> SignalLine:
    """Return a line with the numbers that turn its samples into units."""
    gain, baseline, unit = _DEFAULT_GAIN, None, "mV"
    if len(fields) > 2:
        match = _GAIN.fullmatch(fields[2])
        if match is None:
            raise ValueError(f"gain {fields[2]!r} cannot be read")
        # 0 says that the signal is not calibrated; the format has a default for it.
        gain = float(match["gain"]) or _DEFAULT_GAIN
        baseline = int(match["baseline"]) if match["baseline"] else None
        unit = match["unit"] or "mV"
    # Where no baseline is given, the middle of the converter's range is the sample of 0 V (header specification).
    zero = int(fields[4]) if len(fields) > 4 else 0
    checksum = int(fields[6]) if len(fields) > 6 else None
    baseline = zero if baseline is None else baseline
    if not math.isfinite(gain) or abs(baseline) > _LARGEST_BASELINE:
        raise ValueError(f"gain {gain:g} or baseline {str(baseline)[:20]} is out of range")
    return replace(line, gain=gain, unit=unit, baseline=baseline, checksum=checksum)


def _early_edition(name: str, signals: list[SignalLine]) -> tuple[list[SignalLine], str]:
    """Return the signals of a header of the first Challenge edition of 2020 with the gain that they have, and a remark.

    It names a file in place of the record, which WFDB software refuses, and in part states 4880 units per mV where the
    same samples have 1000, as the later releases say.
    """
    if not name.endswith(".mat"):
        return signals, ""
    remark = f"its header, of an early edition of the Challenge, names the record {name!r}"
    wrong = [line.gain == 4880.0 and line.unit == "mV" for line in signals]
    if not any(wrong):
        return signals, remark
    corrected = [replace(line, gain=1000.0) if odd else line for line, odd in zip(signals, wrong, strict=True)]
    return corrected, f"{remark} and states a gain of 4880 units per mV; read as 1000, as release 1.0.3 has it"


def with_unit(header: Header, unit: str | None) -> Header:
    """Return the header with a unit for those of its signals that state none of voltage; None leaves it as it is."""
    if unit is None:
        return header
    lines = [line if is_unit(line.unit) else replace(line, unit=unit) for line in header.signals]
    return replace(header, signals=lines)
