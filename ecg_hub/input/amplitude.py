"""Whether a signal can be in millivolts: the one place that decides it, for every way in.

A signal in microvolts that is taken for millivolts is a thousand times too large, and nothing further on would notice:
most presets scale it away or feed it as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Measured on 2,736 real records (PTB-XL, PTB, Chapman, Ningbo, CPSC, Georgia) and their windows of 2.5 s, as the median
# over the leads: whole records span 0.4 to 9.8 mV, 99 of 100 less than 3.3 mV; windows in microvolts span 370 and more,
# a single quiet lead 120. A file of 16 bits and 1 uV per unit ends at 65.5 mV, so whatever such a file holds passes.
SPAN_MV = 100.0
"""What half of the leads span at most, from their lowest to their highest sample."""

# What exceeds that for a moment (a shock, a loose electrode, pacing on an amplifier that follows it) passes as well:
# the same records keep 90 % of their samples within 0.06 to 3.6 mV, hence within 64 and more when in microvolts.
CENTRAL_MV = 20.0
"""What the middle 90 % of the samples span at most, again in half of the leads, where SPAN_MV is exceeded."""


def not_millivolt(signal: NDArray[Any]) -> str | None:
    """Return why a signal (leads, samples) cannot be in millivolts, or None if it can; NaN and flat leads are ignored.

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
    # Unlike max and min these two pass over NaN without a warning, and a lead of nothing else spans NaN.
    spans = np.fmax.reduce(signal, axis=1) - np.fmin.reduce(signal, axis=1)
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
