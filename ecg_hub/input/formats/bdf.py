"""BDF and BDF+, the variant of EDF with 24-bit integers (https://www.biosemi.com/faq/file_format.htm), by edfio."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import edfio
import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.input.formats.channels import Channels
from ecg_hub.input.units import unit_uv
from ecg_hub.leads import find_lead

MAGIC = b"\xffBIOSEMI"
_COUNTS = 16 + 80 + 5 * 8 + 80  # bytes a signal before the field that counts its samples


def read_bdf(path: Path) -> Channels:
    """Read the signals in units of voltage: microvolt = ((digital - digital_min) * gain + physical_min) * unit."""
    remark = _check_size(path)
    with warnings.catch_warnings():
        # Oddities of the header, in fields that nothing here uses.
        warnings.simplefilter("ignore")
        # The standard says ASCII, but units hold µ; in Latin-1 every byte is a letter, so that reading never fails.
        recording = edfio.read_bdf(path, header_encoding="latin-1")
    if not recording.is_continuous:
        raise DataError(f"{path.name} is a BDF+D file with gaps between its data records; export it without gaps")
    leads = _leads(path, list(recording.signals))
    scale = [_scale(path, lead) for lead in leads]
    return Channels(
        names=[lead.label for lead in leads],
        values=np.stack([lead.digital for lead in leads], axis=1),
        gain_uv=np.array([gain for gain, _ in scale]),
        zero=np.array([zero for _, zero in scale]),
        sampling_rate=float(leads[0].sampling_frequency),
        remark=remark,
    )


def _check_size(path: Path) -> str:
    """Refuse a file that is shorter than announced, which edfio reads as far as it goes; a remark on a longer one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(256)
        if not head.startswith(MAGIC) or len(head) < 256:
            raise DataError(f"{path.name} is no BDF file: 256 bytes that begin with {MAGIC!r} are expected")
        # -1 stands for a recording that was not closed.
        start, records, signals = (_field(path, head[a:b]) for a, b in ((184, 192), (236, 244), (252, 256)))
        # The header goes field by field, not signal by signal: all labels, then all transducers, and so on.
        counts = file.read(256 * max(signals, 0))[_COUNTS * signals : (_COUNTS + 8) * signals]
    # Three bytes a sample.
    record = 3 * sum(_field(path, counts[k : k + 8]) for k in range(0, 8 * signals, 8))
    held = size - start
    if record <= 0 or held < record or (records >= 0 and held < records * record) or records == 0:
        raise DataError(f"{path.name} is cut short: {held} bytes of samples, {records} records of {record} announced")
    surplus = held - records * record
    return f"holds {surplus} bytes more than its header announces" if records > 0 and surplus else ""


def _field(path: Path, text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{path.name} is damaged: its header holds {text!r} where a number should be") from None


def _leads(path: Path, signals: list[Any]) -> list[Any]:
    """Return the signals that may be leads, which have one rate; those of breathing or triggers may have another."""
    leads = [signal for signal in signals if _unit(signal) is not None]
    if len({signal.sampling_frequency for signal in leads}) > 1:
        leads = [signal for signal in leads if find_lead(signal.label)]
    rates = sorted({float(signal.sampling_frequency) for signal in leads})
    if len(rates) != 1:
        units = ", ".join(sorted({repr(signal.physical_dimension) for signal in signals}))
        raise DataError(f"{path.name} has signals in {units} and leads of {rates} Hz; leads of one rate are expected")
    return leads


def _unit(signal: Any) -> float | None:
    """Return the microvolt of a signal's unit, None where it is no voltage."""
    try:
        return unit_uv(signal.physical_dimension)
    except ValueError:
        return None


def _scale(path: Path, signal: Any) -> tuple[float, float]:
    """Return microvolt per unit and the unit that stands for 0 microvolt."""
    low, high = signal.digital_range
    physical_low, physical_high = signal.physical_range
    if low == high or physical_low == physical_high:
        raise DataError(f"{path.name}: lead {signal.label!r} has an empty range, so its gain is not defined")
    gain = (physical_high - physical_low) / (high - low)
    return gain * (_unit(signal) or 1.0), low - physical_low / gain
