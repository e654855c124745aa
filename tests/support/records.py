"""Small WFDB records for tests, written without any library so that every byte is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_record(
    path: Path, signal: np.ndarray, rate: float, names: Sequence[str], unit: str = "mV", gain: float = 1000.0
) -> None:
    """Write `path`.hea and `path`.dat in format 16.

    Args:
        path: record path without extension.
        signal: (leads, samples) in physical units; NaN is stored as the format's mark for a missing sample.
        rate: sampling rate in Hz.
        names: one name per row.
        unit: physical unit of the header.
        gain: digital units per physical unit.
    """
    digital = np.where(np.isnan(signal), -32768, np.round(np.nan_to_num(signal) * gain)).astype("<i2")
    digital.T.tofile(path.with_suffix(".dat"))
    lines = [f"{path.name} {len(names)} {rate:g} {signal.shape[1]}"]
    for row, name in zip(digital, names, strict=True):
        checksum = int(row.astype(np.int64).sum()) % 65536
        lines.append(f"{path.name}.dat 16 {gain:g}(0)/{unit} 16 0 {row[0]} {checksum} 0 {name}")
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
