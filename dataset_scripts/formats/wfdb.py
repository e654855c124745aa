"""WFDB records of a user's archive, by the reader of the published datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataset_scripts.formats.channels import Channels, lead_channels
from ecg_hub.errors import DataError
from ecg_hub.input.wfdb import read_digital, read_header


def read_wfdb(path: Path, lead_names: Mapping[str, str | None], unit: str | None = None) -> Channels:
    """Read the leads of a WFDB record by its header; `unit` is of signals for which it states no voltage."""
    digital = read_digital(read_header(path), lambda names: lead_channels(names, lead_names), unit)
    try:
        gain_uv = np.array([line.gain_uv for line in digital.lines])
    except DataError as error:
        raise DataError(f"{path.name}: {error}; if you know it, say for example unit: uV in the description") from None
    absent = digital.absent()
    return Channels(
        names=[line.name for line in digital.lines],
        values=digital.values,
        gain_uv=gain_uv,
        zero=np.array([float(line.baseline) for line in digital.lines]),
        sampling_rate=digital.sampling_rate,
        missing=absent if absent.any() else None,
        remark=digital.remark,
    )
