"""When the atria and the ventricles beat: rhythm, block and premature beats as lists of times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dataset_scripts.mock.findings import Pattern, Rhythm

P_BEFORE_QRS = 0.015  # s from the middle of the P wave back to its onset, less the QRS onset's lead on the R peak
REFRACTORY = 0.26


class Driver(Protocol):
    """What placing beats needs to know of a heart."""

    rate: float
    irregularity: float
    pr: float
    rhythm: Rhythm
    pattern: Pattern
    atrial: int
    ventricular: int


@dataclass(frozen=True)
class Beats:
    """Times in seconds.

    Attributes:
        atrial: middles of P waves.
        ventricular: R peaks of conducted (or escape) beats.
        premature: R peaks of ventricular extrasystoles.
        interval: the mean RR interval, which sets the QT interval.
    """

    atrial: np.ndarray
    ventricular: np.ndarray
    premature: np.ndarray
    interval: float


def place_beats(heart: Driver, seconds: float, rng: np.random.Generator) -> Beats:
    """Draw the times of all beats that touch a record of `seconds`."""
    interval = 60.0 / heart.rate
    if heart.rhythm == "flutter":
        interval = 0.2 * max(2, round(interval / 0.2))  # every second, third or fourth flutter wave is conducted
    peaks = _peaks(heart, interval, seconds, rng)
    if heart.pattern == "third_degree":
        return _complete_block(peaks, interval, seconds, rng)
    delay = np.full(len(peaks), heart.pr / 1000.0 - P_BEFORE_QRS)
    atrial = peaks - delay
    premature = np.empty(0)
    if heart.pattern == "second_degree":
        peaks, atrial = _wenckebach(peaks, atrial, rng)
    elif heart.pattern in ("bigeminy", "trigeminy"):
        peaks, atrial, premature = _coupled(peaks, atrial, 2 if heart.pattern == "bigeminy" else 3, rng)
    elif heart.atrial or heart.ventricular:
        peaks, atrial, premature = _insert(heart, peaks, atrial, seconds, rng)
    if heart.rhythm != "sinus":
        atrial = np.empty(0)
    return Beats(atrial, peaks, premature, interval)


def _peaks(heart: Driver, interval: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return R peaks from before the record's start to after its end."""
    count = int((seconds + 4.0) / interval) + 4
    factors = 1.0 + heart.irregularity * rng.standard_normal(count)
    if heart.rhythm == "fibrillation":
        factors = np.exp(1.15 * heart.irregularity * rng.standard_normal(count))
    start = -1.0 - rng.uniform(0.0, interval)
    gaps = np.maximum(interval * factors, REFRACTORY)
    if heart.pattern == "respiratory":
        breath = rng.uniform(3.4, 4.6)
        moments = start + interval * np.arange(count)
        gaps *= 1.0 + rng.uniform(0.17, 0.25) * np.sin(2 * np.pi * moments / breath + rng.uniform(0, 6.28))
    times = start + np.concatenate([[0.0], np.cumsum(gaps)])
    return times[times < seconds + 1.0]


def _complete_block(peaks: np.ndarray, interval: float, seconds: float, rng: np.random.Generator) -> Beats:
    """Return an escape rhythm with P waves that march through it."""
    atrial = np.arange(-1.0 - rng.uniform(0, 0.7), seconds + 1.0, rng.uniform(0.68, 0.82))
    return Beats(atrial, peaks, np.empty(0), interval)


def _wenckebach(peaks: np.ndarray, atrial: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lengthen PR from beat to beat and drop every third or fourth complex."""
    cycle = int(rng.integers(3, 5))
    place = np.arange(len(peaks)) % cycle
    return (peaks + 0.07 * place)[place != cycle - 1], atrial


def _coupled(
    peaks: np.ndarray, atrial: np.ndarray, every: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replace every second or third beat by a ventricular extrasystole with a compensatory pause."""
    ectopic = np.arange(len(peaks)) % every == every - 1
    early = np.diff(peaks, append=peaks[-1] + 1.0).mean() * rng.uniform(0.3, 0.38)
    return peaks[~ectopic], atrial[~ectopic], peaks[ectopic] - early


def _insert(
    heart: Driver, peaks: np.ndarray, atrial: np.ndarray, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make single beats premature: atrial ones shift the rest of the rhythm, ventricular ones do not."""
    peaks, atrial = peaks.copy(), atrial.copy()
    inside = np.flatnonzero((peaks > 0.8) & (peaks < seconds - 0.8))
    chosen = rng.permutation(inside[::2])[: heart.atrial + heart.ventricular]
    interval = float(np.diff(peaks).mean())
    for beat in chosen[: heart.atrial]:
        early = interval * rng.uniform(0.28, 0.38)
        peaks[beat:] -= early
        atrial[beat:] -= early
        peaks[beat + 1 :] += early * 0.4
        atrial[beat + 1 :] += early * 0.4
    ectopic = np.zeros(len(peaks), dtype=bool)
    ectopic[chosen[heart.atrial :]] = True
    return peaks[~ectopic], atrial[~ectopic], peaks[ectopic] - interval * rng.uniform(0.3, 0.4)
