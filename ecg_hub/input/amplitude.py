"""Whether a signal can be in millivolts: the one place that decides it, for every way in.

A signal in microvolts that is taken for millivolts is a thousand times too large, and nothing further on would notice:
most presets scale it away or feed it as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.input.samples import Signal, to_millivolt

# Measured on 2,737 real records (PTB-XL, PTB, Chapman, Ningbo, CPSC, Georgia), as the median over the leads: they span
# 0.4 to 9.8 mV, 99 of 100 less than 3.3 mV. Their windows of 2.5 s, taken from microvolts, span 369 and more, a single
# quiet lead 120. A file of 16 bits and 1 uV per unit ends at 65.5 mV, so whatever such a file holds passes.
SPAN_MV = 100.0
"""What half of the leads span at most, from their lowest to their highest sample."""

# What exceeds that for a moment (a shock, a loose electrode, pacing on an amplifier that follows it) passes as well:
# the same records keep 90 % of their samples within 0.06 to 3.6 mV, hence within 64 and more when in microvolts.
CENTRAL_MV = 20.0
"""What the middle 90 % of the samples span at most, again in half of the leads, where SPAN_MV is exceeded."""


# The other way round: the same records, taken as if their millivolts were microvolts, span 0.0004 to 0.0098 mV.
LEAST_MV = 0.02
"""What half of the leads span at least; below it the noise of an amplifier is larger than the signal."""


def lead_spans(signal: NDArray[Any]) -> NDArray[Any]:
    """Return highest minus lowest sample of each lead of (leads, samples); NaN is passed over, alone it gives NaN."""
    return np.fmax.reduce(signal, axis=1) - np.fmin.reduce(signal, axis=1)


def not_millivolt(signal: NDArray[Any], spans: NDArray[Any] | None = None) -> str | None:
    """Return why a signal (leads, samples) cannot be in millivolts, or None if it can; NaN and flat leads are ignored.

    Args:
        signal: as if in millivolts.
        spans: its `lead_spans`, where they are known already.

    Example:
        >>> beats = np.zeros((2, 5000), np.float32)
        >>> beats[:, ::250] = 1.4  # twenty beats of 1.4 mV
        >>> beats += np.random.default_rng(0).normal(scale=0.05, size=beats.shape)
        >>> not_millivolt(beats)
        >>> not_millivolt(1000 * beats)
        'Its leads span 1,... mV, an ECG spans a few: this is not in millivolts.'
        >>> beats[:, 2000:2100] = 400.0  # a shock
        >>> not_millivolt(beats)
    """
    spans = lead_spans(signal) if spans is None else spans
    moving = spans > 0
    if not moving.any():
        return None
    span = float(np.median(spans[moving]))
    if span <= SPAN_MV:
        return None
    low, high = np.nanpercentile(signal[moving], (5, 95), axis=1)
    if float(np.median(high - low)) <= CENTRAL_MV:
        return None
    return f"Its leads span {span:,.0f} mV, an ECG spans a few: this is not in millivolts."


def too_small(spans: NDArray[Any]) -> str | None:
    """Return a remark on a signal that a wrong unit may have made a thousand times too small, or None.

    Nothing is refused: a record of a silent amplifier looks the same. Flat leads are passed over.

    Args:
        spans: `lead_spans` in millivolts.

    Example:
        >>> too_small(np.full(12, 1.4))
        >>> too_small(np.full(12, 0.0014))
        'its leads span less than 0.02 mV, an ECG spans about one: the unit may be wrong'
    """
    moving = spans > 0
    if not moving.any() or float(np.median(spans[moving])) >= LEAST_MV:
        return None
    return f"its leads span less than {LEAST_MV:g} mV, an ECG spans about one: the unit may be wrong"


def stored_not_millivolt(signal: Signal) -> str | None:
    """Return the same of a record as it is stored.

    Example:
        >>> samples = np.random.default_rng(0).integers(-900, 900, (5000, 12)).astype(np.int16)
        >>> scale = {"baseline": np.zeros(12, np.int32), "sampling_rate": 500}
        >>> stored_not_millivolt(Signal(samples, gain_uv=np.full(12, 1.0, np.float32), **scale))
        >>> stored_not_millivolt(Signal(samples, gain_uv=np.full(12, 1000.0, np.float32), **scale))
        'Its leads span 1,79... mV, an ECG spans a few: this is not in millivolts.'
    """
    # No lead spans more than all of them together, mark of missing samples included: what nearly every record is
    # spared is the conversion, three times as long as reading a WFDB file.
    units = int(signal.samples.max()) - int(signal.samples.min())
    if units * float(np.abs(signal.gain_uv).max()) / 1000 <= SPAN_MV:
        return None
    return not_millivolt(to_millivolt(signal.samples, signal.gain_uv, signal.baseline).T)
