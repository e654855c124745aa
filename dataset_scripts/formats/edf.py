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

from dataset_scripts.formats.channels import Channels, lead_channels, need, unit_uv
from ecg_hub.errors import DataError


def read_edf(path: Path, lead_names: Mapping[str, str]) -> Channels:
    """Read the leads of an EDF file; other channels and annotations are left out.

    microvolt = ((digital - digital_min) * gain + physical_min) * unit, with the gain from the two ranges of a signal.
    """
    with warnings.catch_warnings():
        # Oddities of the header, in fields that nothing here uses.
        warnings.simplefilter("ignore")
        # The standard allows ASCII; labels with umlauts or µ occur all the same, and in Latin-1 every byte is a letter.
        # Read at once, a file that was cut off fails here and not at the first use.
        recording = need("edfio").read_edf(path, lazy_load_data=False, header_encoding="latin-1")
    if not recording.is_continuous:
        raise DataError(f"{path.name} is an EDF+D file with gaps between its data records; export it without gaps")
    signals = list(recording.signals)
    leads = [signals[k] for k in lead_channels([signal.label for signal in signals], lead_names)]
    rates = sorted({float(lead.sampling_frequency) for lead in leads})
    # Rates of other channels (breathing, pressure) do not matter, so this looks at the leads alone.
    if len(rates) > 1:
        raise DataError(f"{path.name}: its leads are sampled at {rates} Hz, one rate is expected")
    scale = [_scale(path, lead) for lead in leads]
    return Channels(
        names=[lead.label for lead in leads],
        values=np.stack([lead.digital for lead in leads], axis=1),
        gain_uv=np.array([gain for gain, _ in scale]),
        zero=np.array([zero for _, zero in scale]),
        sampling_rate=rates[0],
    )


def _scale(path: Path, signal: Any) -> tuple[float, float]:
    """Return microvolt per unit and the unit that stands for 0 microvolt."""
    low, high = signal.digital_range
    physical_low, physical_high = signal.physical_range
    if low == high or physical_low == physical_high:
        raise DataError(f"{path.name}: lead {signal.label!r} has an empty range, so its gain is not defined")
    try:
        unit = unit_uv(signal.physical_dimension)
    except ValueError as error:
        raise DataError(f"{path.name}: lead {signal.label!r}: {error}") from None
    gain = (physical_high - physical_low) / (high - low)
    # Not rounded: a zero between two units is part of the format, and `to_signal` decides what to do with it.
    return gain * unit, low - physical_low / gain
