"""EDF and EDF+ (Kemp et al., 10.1016/0013-4694(92)90009-7 and 10.1016/S1388-2457(03)00123-8), read by edfio.

edfio and not pyedflib: it hands out the stored integers and the header fields as they are, reads without a compiled
extension, and does not refuse a file over a header field that nobody needs here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats.channels import Channels, lead_channels, need, stated_unit
from ecg_hub.errors import DataError


def read_edf(path: Path, lead_names: Mapping[str, str | None], unit: str | None = None) -> Channels:
    """Read the leads of an EDF file; other channels and annotations are left out.

    `unit` is of leads whose physical dimension is empty or no voltage.

    microvolt = ((digital - digital_min) * gain + physical_min) * unit, with the gain from the two ranges of a signal.
    """
    edfio = need("edfio")
    remark = _check_length(path)
    with warnings.catch_warnings():
        # Oddities of the header, in fields that nothing here uses.
        warnings.simplefilter("ignore")
        # The standard allows ASCII; labels with umlauts or µ occur all the same, and in Latin-1 every byte is a letter.
        # Read at once, a file that was cut off fails here and not at the first use.
        recording = edfio.read_edf(path, lazy_load_data=False, header_encoding="latin-1")
    if not recording.is_continuous:
        raise DataError(f"{path.name} is an EDF+D file with gaps between its data records; export it without gaps")
    signals = list(recording.signals)
    leads = [signals[k] for k in lead_channels([signal.label for signal in signals], lead_names)]
    rates = sorted({float(lead.sampling_frequency) for lead in leads})
    # Rates of other channels (breathing, pressure) do not matter, so this looks at the leads alone.
    if len(rates) > 1:
        raise DataError(f"{path.name}: its leads are sampled at {rates} Hz, one rate is expected")
    scale = [_scale(path, lead, unit) for lead in leads]
    return Channels(
        names=[lead.label for lead in leads],
        values=np.stack([lead.digital for lead in leads], axis=1),
        gain_uv=np.array([gain for gain, _ in scale]),
        zero=np.array([zero for _, zero in scale]),
        sampling_rate=rates[0],
        remark=remark,
    )


def _check_length(path: Path) -> str:
    """Refuse a file that is shorter than its header announces, which edfio reads in silence; a remark if it is longer.

    A recorder that lost power leaves -1 in place of the number of data records: unknown, which is no fault.
    """
    with path.open("rb") as stream:
        head = stream.read(256)
        fields = stream.read(256 * int(head[252:256]))
    number, begin, signals = int(head[236:244]), int(head[184:192]), int(head[252:256])
    widths = fields[216 * signals : 224 * signals]
    record = 2 * sum(int(widths[k : k + 8]) for k in range(0, len(widths), 8))
    held = path.stat().st_size - begin
    if number < 0:
        return "its header does not say how many data records it holds"
    if held < number * record:
        raise DataError(
            f"{path.name} is cut short: its header announces {number} data records, {max(held, 0) // record} are there"
        )
    return (
        f"{path.name} holds {held - number * record} bytes more than its header announces"
        if held > number * record
        else ""
    )


def _scale(path: Path, signal: Any, fallback: str | None) -> tuple[float, float]:
    """Return microvolt per unit and the unit that stands for 0 microvolt."""
    low, high = signal.digital_range
    physical_low, physical_high = signal.physical_range
    if low == high or physical_low == physical_high:
        raise DataError(f"{path.name}: lead {signal.label!r} has an empty range, so its gain is not defined")
    unit = stated_unit(signal.physical_dimension, fallback, f"{path.name}: lead {signal.label!r}")
    gain = (physical_high - physical_low) / (high - low)
    # Not rounded: a zero between two units is part of the format, and `to_signal` decides what to do with it.
    return gain * unit, low - physical_low / gain
