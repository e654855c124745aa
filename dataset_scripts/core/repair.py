"""Repairs at read time: `fix_nans_and_clip` of the MIMIC-IV-ECG preparation.

Where a record has missing samples, each lead is interpolated linearly over the whole record (gaps inside are bridged, a
gap at the end repeats the last sample, one at the start stays missing); then every sample is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecg_hub.input.samples import MISSING


@dataclass(frozen=True)
class Repair:
    """What is done to every record of a dataset.

    Attributes:
        clip_mv: samples beyond plus and minus this are set to it.
    """

    clip_mv: float

    def apply(
        self, window: np.ndarray, start: int, record: np.ndarray, gain_uv: np.ndarray, baseline: np.ndarray
    ) -> np.ndarray:
        """Repair a window in place and return it; the same samples as a window of the repaired record.

        Args:
            window: (samples, 12) float32 in millivolt, NaN where missing.
            start: its first sample in the record.
            record: (all samples, 12) int16, the whole record; read only for leads with missing samples.
            gain_uv: (12,) microvolt per unit.
            baseline: (12,) the unit that stands for 0 microvolt.
        """
        absent = np.isnan(window)
        for lead in np.flatnonzero(absent.any(axis=0)):
            units = _bridge(record[:, lead], start, start + len(window))
            millivolt = (units - baseline[lead]) * np.float64(gain_uv[lead]) / 1000.0
            window[absent[:, lead], lead] = millivolt[absent[:, lead]]
        return np.clip(window, -self.clip_mv, self.clip_mv, out=window)


def _bridge(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return samples start to stop of a lead with its gaps bridged, float64; NaN before its first sample."""
    known = np.flatnonzero(values != MISSING)
    wanted = np.arange(start, stop)
    if not known.size:
        return np.full(wanted.size, np.nan)
    bridged = np.interp(wanted, known, values[known].astype(np.float64))
    bridged[wanted < known[0]] = np.nan
    return bridged
