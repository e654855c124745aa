"""What an ECG window shows, measured without labels: its average beat in every lead, and its rhythm.

As targets of pre-training: an encoder that can tell them from a window disturbed by noise has learned what beats look
like and what noise is. Beats are found by the energy of all leads from 5 to 25 Hz, differentiated, and averaged over
the window. Amplitudes enter as signed square roots of millivolts: P waves and ST segments would vanish beside the QRS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal as scipy_signal

Array = NDArray[np.float32]

BEFORE_S, AFTER_S = 0.25, 0.45
POINTS_HZ = 60
BAND_HZ = (5.0, 25.0)
_SMOOTH_S, _APART_S = 0.1, 0.3
_HEIGHT = 0.35
"""Of the 98th percentile of the energy: what is lower is no beat."""
RHYTHM = 2
BEAT_SCALE, RHYTHM_SCALE = 0.3, 0.3
"""Standard deviations of the targets over real records, about; targets are divided by them."""


@dataclass(frozen=True)
class Measured:
    """Targets and where they are known.

    Attributes:
        beats: (windows, leads * points), signed roots of mV relative to the median of the lead, in units of BEAT_SCALE.
        rhythm: (windows, 2): the median of the RR intervals and the longest over the shortest, as binary logarithms, in
            units of RHYTHM_SCALE.
        beats_known: (windows,), 1 where a whole beat lies in the window, else 0.
        rhythm_known: (windows, 2), 1 where there are enough beats: two, three.
    """

    beats: Array
    rhythm: Array
    beats_known: Array
    rhythm_known: Array


def number_of_points(rate: float) -> int:
    """How many points of a beat one lead has."""
    before, after, stride = _lengths(rate)
    return (before + after) // stride


def measure(windows: Array, rate: float) -> Measured:
    """Return what windows (windows, leads, samples), in millivolt, show; nothing where no beat is found."""
    count, leads, samples = windows.shape
    before, after, stride = _lengths(rate)
    points = number_of_points(rate)
    beats = np.zeros((count, leads, points), np.float32)
    rhythm = np.zeros((count, RHYTHM), np.float32)
    beats_known, rhythm_known = np.zeros(count, np.float32), np.zeros((count, RHYTHM), np.float32)
    energy = _energy(windows, rate)
    apart = max(1, round(_APART_S * rate))
    for row, window in enumerate(windows):
        peaks, _ = scipy_signal.find_peaks(energy[row], height=_HEIGHT * np.quantile(energy[row], 0.98), distance=apart)
        # Beats that the window cuts would pull the average towards zero.
        whole = peaks[(peaks >= before) & (peaks <= samples - after)]
        if len(whole):
            mean = np.mean([window[:, peak - before : peak + after] for peak in whole], axis=0)
            level = mean - np.median(window, axis=1, keepdims=True)
            level = level[:, : points * stride].reshape(leads, points, stride).mean(2)
            beats[row] = np.sign(level) * np.sqrt(np.abs(level)) / BEAT_SCALE
            beats_known[row] = 1
        intervals = np.diff(peaks) / rate
        if len(intervals):
            rhythm[row, 0], rhythm_known[row, 0] = np.log2(np.median(intervals)) / RHYTHM_SCALE, 1
        if len(intervals) > 1:
            rhythm[row, 1], rhythm_known[row, 1] = np.log2(intervals.max() / intervals.min()) / RHYTHM_SCALE, 1
    return Measured(beats.reshape(count, -1), rhythm, beats_known, rhythm_known)


def _lengths(rate: float) -> tuple[int, int, int]:
    """Samples before and after the steepest place of a beat, and of one point."""
    return round(BEFORE_S * rate), round(AFTER_S * rate), max(1, round(rate / POINTS_HZ))


def _energy(windows: Array, rate: float) -> Array:
    """How steep all leads together are around each sample, (windows, samples)."""
    samples = windows.shape[2]
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    inside = (frequency >= BAND_HZ[0]) & (frequency <= BAND_HZ[1])
    # Times the frequency: the derivative, but for its phase, which the square does not see for long.
    slope = np.fft.irfft(np.fft.rfft(windows, axis=-1) * (inside * frequency), samples, axis=-1)
    width = max(1, round(_SMOOTH_S * rate))
    total = np.cumsum(np.pad((slope**2).sum(1), ((0, 0), (width // 2 + 1, width - width // 2 - 1))), axis=1)
    # Of the samples half a width around each one; what lies beyond the window counts as 0.
    energy: Array = np.sqrt(np.maximum(total[:, width:] - total[:, :-width], 0)).astype(np.float32)
    return energy
