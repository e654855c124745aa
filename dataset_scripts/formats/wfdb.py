"""WFDB records of a user's archive: format 16 by the project's own reader, everything else by the wfdb package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dataset_scripts.core.spec import Signal
from dataset_scripts.formats.channels import Channels, derive_limb_leads, find_leads, lead_channels, to_signal, unit_uv
from ecg_hub.input.wfdb import Header, read_header, signal_of


def read_wfdb(path: Path, lead_names: Mapping[str, str]) -> Signal:
    """Read a WFDB record by its header."""
    header = read_header(path)
    if not header.simple:
        return to_signal(_with_wfdb(header, lead_names), lead_names)
    # For its error alone, which names the key of the description that helps.
    find_leads([line.name for line in header.signals], lead_names)
    # Renamed before reading, so that the project's own reader orders the leads.
    lines = [replace(line, name=lead_names.get(line.name, line.name)) for line in header.signals]
    signal = signal_of(replace(header, signals=lines))
    # What is absent is named once, after the derivation.
    remark = "; ".join(part for part in signal.remark.split("; ") if part and not part.startswith("no lead "))
    return derive_limb_leads(replace(signal, remark=remark))


def _with_wfdb(header: Header, lead_names: Mapping[str, str]) -> Channels:
    """Read formats other than 16, several segments, and several samples per frame: the record's own integers."""
    with warnings.catch_warnings():  # wfdb 4.3 uses a pandas keyword that pandas 3.1 deprecates
        warnings.simplefilter("ignore")
        import wfdb

        record = wfdb.rdrecord(str(header.path.with_suffix("")))
    names = [str(name) for name in record.sig_name]
    used = lead_channels(names, lead_names)
    gain = np.asarray(record.adc_gain, dtype=np.float64)[used]
    zero = np.asarray(record.baseline, dtype=np.float64)[used]
    # Back from physical values: multiplied and rounded they are the record's integers, and NaN shows what is missing.
    digital = record.p_signal[:, used] * gain + zero
    missing = np.isnan(digital)
    return Channels(
        names=[names[channel] for channel in used],
        values=np.rint(np.where(missing, 0.0, digital)).astype(np.int64),
        gain_uv=np.array([unit_uv(str(record.units[channel])) for channel in used]) / gain,
        zero=zero,
        sampling_rate=header.sampling_rate,
        missing=missing,
    )
