"""A label-conditional 12-lead ECG simulator: findings in, millivolts out.

A beat is a sum of Gaussian bumps of one dipole vector; Dower's matrix projects it onto I, II and V1 to V6; III and
the augmented leads follow from I and II, so Einthoven's and Goldberger's relations hold exactly. Beats are placed by
rhythm, then baseline wander, muscle noise and mains hum are added to the eight independent leads.

Lead vectors: Dower, Machado, Osborne, Clin Cardiol 1980;3:87-95. Sums of Gaussians: McSharry et al., IEEE Trans
Biomed Eng 2003;50:289-294. The signals serve tests and trials; no score on them says anything about patients.

When the atria and the ventricles beat: rhythm, block and premature beats as lists of times.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dataset_scripts.mock.findings import FINDINGS, NORMAL, Finding, Pattern, Rhythm, Wave
from ecg_hub.errors import unknown_name

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
        # The atria flutter 300 times a minute.
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
        # Skewed, as the intervals of fibrillation are: long pauses, but none that is negative.
        factors = np.exp(1.15 * heart.irregularity * rng.standard_normal(count))
    # From before the record on, so that it does not begin with a beat at a fixed place.
    start = -1.0 - rng.uniform(0.0, interval)
    # No heart beats again at once: a draw from the tail would put two complexes on top of each other.
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
    beat = np.arange(len(peaks)) % cycle
    return (peaks + 0.07 * beat)[beat != cycle - 1], atrial


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
    # Every second beat at most, so that two premature ones never follow each other.
    chosen = rng.permutation(inside[::2])[: heart.atrial + heart.ventricular]
    interval = float(np.diff(peaks).mean())
    for beat in chosen[: heart.atrial]:
        early = interval * rng.uniform(0.28, 0.38)
        peaks[beat:] -= early
        atrial[beat:] -= early
        # The pause after an atrial extrasystole is not fully compensatory: the sinus node was reset.
        peaks[beat + 1 :] += early * 0.4
        atrial[beat + 1 :] += early * 0.4
    ectopic = np.zeros(len(peaks), dtype=bool)
    ectopic[chosen[heart.atrial :]] = True
    return peaks[~ectopic], atrial[~ectopic], peaks[ectopic] - interval * rng.uniform(0.3, 0.4)


SIMULATOR_VERSION = 2
"""Raise it whenever the same seed gives other signals."""

# Rows I, II, V1 to V6; columns x (left), y (down), z (back).
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ],
    dtype=np.float32,
)


# Gains of I, II, V1 to V6 over Dower's distant dipole: chest electrodes lie close to the heart, V2 and V3 closest. The
# medians of amplitudes of 200 records of PTB-XL (docs/evidence.md) are met with these.
NEARNESS = np.array([1.2, 1.2, 1.3, 2.0, 1.5, 1.35, 1.2, 1.25], dtype=np.float32)


STEEP, STEEP_WIDTH = 0.25, 0.42
"""Share of a QRS wave that is narrower, and how much narrower."""


@dataclass(frozen=True)
class Anatomy:
    """What stays the same in all records of a patient.

    Attributes:
        axis: degrees by which the QRS axis differs from the average.
        amplitude: overall size.
        electrodes: (8,) gain of I, II, V1 to V6.
    """

    axis: float
    amplitude: float
    electrodes: np.ndarray


@dataclass
class Heart:
    """The state from which one record is drawn; findings change it one after the other."""

    rate: float
    irregularity: float
    pr: float
    axis: float
    rhythm: Rhythm = "sinus"
    pattern: Pattern = ""
    atrial: int = 0
    ventricular: int = 0
    factors: dict[str, float] = field(default_factory=dict)
    waves: list[Wave] = field(default_factory=list)

    def apply(self, finding: Finding, rng: np.random.Generator) -> None:
        """Change the state by one finding."""
        for name, (low, high) in finding.ranges.items():
            setattr(self, name, rng.uniform(low, high))
        for name, (low, high) in finding.factors.items():
            self.factors[name] = self.factors.get(name, 1.0) * rng.uniform(low, high)
        self.axis += rng.uniform(*finding.axis)
        self.rhythm = finding.rhythm or self.rhythm
        self.pattern = finding.pattern or self.pattern
        self.atrial += finding.premature[0]
        self.ventricular += finding.premature[1]
        # One strength for all waves of a finding: they belong to one cause.
        strength = rng.uniform(0.8, 1.2)
        scaled = ((wave, np.multiply(wave.vector, strength)) for wave in finding.waves)
        self.waves += [Wave(w.part, w.centre, w.width, (float(v[0]), float(v[1]), float(v[2]))) for w, v in scaled]

    def factor(self, name: str) -> float:
        """Return a factor, 1 where no finding sets it."""
        return self.factors.get(name, 1.0)


def draw_anatomy(rng: np.random.Generator, age: float = 50.0, female: bool = False) -> Anatomy:
    """Draw a patient; the axis turns left with age, and voltages are a little lower in women."""
    return Anatomy(
        axis=float(rng.normal(-10.0, 22.0) - 0.3 * (age - 50.0)),
        amplitude=float(np.exp(rng.normal(0.0, 0.12))) * (0.88 if female else 1.0),
        electrodes=NEARNESS * np.exp(rng.normal(0.0, 0.12, size=8)).astype(np.float32),
    )


def simulate(
    findings: Collection[str],
    rng: np.random.Generator,
    anatomy: Anatomy | None = None,
    seconds: float = 10.0,
    sampling_rate: int = 500,
) -> np.ndarray:
    """Return I, II, V1 to V6 of one record, (samples, 8) float32 in mV; all chance comes from `rng`."""
    for name in findings:
        if name not in FINDINGS:
            raise unknown_name("finding", name, FINDINGS)
    patient = draw_anatomy(rng) if anatomy is None else anatomy
    heart = Heart(
        rate=rng.uniform(58, 90), irregularity=rng.uniform(0.01, 0.03), pr=rng.uniform(140, 180), axis=patient.axis
    )
    for name, finding in FINDINGS.items():  # in the table's order, so that the order of labels does not matter
        if name in findings:
            heart.apply(finding, rng)
    beats = place_beats(heart, seconds, rng)
    vector_leads = _render(heart, beats, rng, seconds, sampling_rate)
    vector_leads *= np.float32(patient.amplitude * heart.factor("amplitude")) * patient.electrodes
    return vector_leads + _noise(len(vector_leads), sampling_rate, rng)


def twelve_leads(eight: np.ndarray) -> np.ndarray:
    """Return (samples, 12) float32 in canonical order from I, II, V1 to V6."""
    first, second = eight[:, 0], eight[:, 1]
    derived = (second - first, -(first + second) / 2, first - second / 2, second - first / 2)
    return np.stack([first, second, *derived, *eight[:, 2:].T], axis=1)


def digitise(eight: np.ndarray, units_per_mv: float = 1000.0) -> np.ndarray:
    """Return (samples, 12) int16 in canonical order; the relations between the limb leads hold in whole units.

    I and II are rounded to even units, so that the halves in aVR, aVL and aVF are whole.
    """
    units = eight * np.float32(units_per_mv)
    # Leads I and II first: what is derived from them must come out whole.
    units[:, :2] = 2.0 * np.rint(units[:, :2] / 2.0)
    return twelve_leads(np.clip(np.rint(units), -10_000, 10_000)).astype(np.int16)


def _render(heart: Heart, beats: Beats, rng: np.random.Generator, seconds: float, sampling_rate: int) -> np.ndarray:
    """Place the templates of P wave, beat and ventricular extrasystole into a record."""
    # Eight leads and not twelve: the other four follow from I and II, in float exactly and after digitising by
    # `digitise`.
    out = np.zeros((round(seconds * sampling_rate), 8), dtype=np.float32)
    # After Bazett, and bounded: the root of extreme intervals would give QT times that no heart has.
    stretch = heart.factor("qt") * float(np.clip(math.sqrt(beats.interval / 0.85), 0.68, 1.15))
    own = [wave for name, waves in NORMAL.items() if name != "p" for wave in _scaled(waves, heart.factor(name))]
    complex_ = own + [wave for wave in heart.waves if wave.part != "P"]
    p_waves = _scaled(NORMAL["p"], heart.factor("p")) + [wave for wave in heart.waves if wave.part == "P"]
    if heart.rhythm == "paced":
        # The pacemaker's spike, before the wide complex that it causes.
        complex_ = [*complex_, Wave("Q", -44.0, 1.2, (-0.3, 0.6, 0.2))]
    beat = _template(_timed(complex_, heart, stretch), sampling_rate, heart.axis)
    gain = np.exp(rng.normal(0.0, 0.025, size=len(beats.ventricular)))
    _add(out, beat, beats.ventricular, sampling_rate, gain)
    if len(beats.atrial):
        _add(out, _template(p_waves, sampling_rate), beats.atrial, sampling_rate)
    if len(beats.premature):
        _add(out, _template(_extrasystole(rng), sampling_rate), beats.premature, sampling_rate)
    if heart.rhythm in ("fibrillation", "flutter"):
        out += _atrial_waves(heart.rhythm, len(out), sampling_rate, rng)
    return out


def _scaled(waves: Sequence[Wave], factor: float) -> list[Wave]:
    return [
        Wave(w.part, w.centre, w.width, (w.vector[0] * factor, w.vector[1] * factor, w.vector[2] * factor))
        for w in waves
        if factor
    ]


def _timed(waves: Sequence[Wave], heart: Heart, stretch: float) -> list[Wave]:
    """Move and widen waves by the QRS and QT factors."""
    qrs, t_width = heart.factor("qrs"), heart.factor("t_width")
    moved = {"Q": (qrs, qrs), "S": (max(qrs, stretch), stretch), "T": (stretch, stretch * t_width)}
    return [Wave(w.part, w.centre * moved[w.part][0], w.width * moved[w.part][1], w.vector) for w in waves]


def _extrasystole(rng: np.random.Generator) -> list[Wave]:
    """Return a wide beat of ventricular origin with an opposite T wave, from the right or the left ventricle."""
    side = rng.choice([-1.0, 1.0])
    vector = np.array([0.75 * side, rng.uniform(0.5, 1.0), 1.0 * side]) * rng.uniform(1.0, 1.3)
    parts = (("Q", 0.0, 26.0, 1.0), ("Q", 45.0, 22.0, 0.55), ("S", 130.0, 50.0, -0.14), ("T", 300.0, 50.0, -0.42))
    return [Wave(part, centre, width, tuple(vector * size)) for part, centre, width, size in parts]  # type: ignore[arg-type]


def _template(waves: Sequence[Wave], sampling_rate: int, axis: float = 0.0) -> tuple[np.ndarray, int]:
    """Return a sum of waves on the eight leads, (samples, 8), and the sample that is time 0."""
    before, after = 0.15, 0.62
    zero = round(before * sampling_rate)
    time = (np.arange(zero + round(after * sampling_rate)) - zero) * np.float32(1000.0 / sampling_rate)
    centre = np.array([w.centre for w in waves], dtype=np.float32)
    width = np.array([w.width for w in waves], dtype=np.float32)
    vectors = np.array([_turned(w, axis) for w in waves], dtype=np.float32).reshape(-1, 3)
    bumps = np.exp(-0.5 * ((time[:, None] - centre) / width) ** 2)
    # Depolarisation has steeper parts than a Gaussian: without them records have a fifth of the real power above 40 Hz.
    steep = np.array([STEEP if w.part == "Q" else 0.0 for w in waves], dtype=np.float32)
    bumps += steep * (np.exp(-0.5 * ((time[:, None] - centre) / (STEEP_WIDTH * width)) ** 2) - bumps)
    return bumps @ (vectors @ DOWER.T), zero


def _turned(wave: Wave, axis: float) -> tuple[float, float, float]:
    """Return the wave's vector, turned in the frontal plane if it is part of the QRS complex."""
    x, y, z = wave.vector
    if wave.part != "Q":
        return x, y, z
    # The T wave keeps its direction: axis deviation is of the QRS complex.
    cosine, sine = math.cos(math.radians(axis)), math.sin(math.radians(axis))
    return x * cosine - y * sine, x * sine + y * cosine, z


def _add(
    out: np.ndarray,
    template: tuple[np.ndarray, int],
    times: np.ndarray,
    sampling_rate: int,
    gain: np.ndarray | None = None,
) -> None:
    """Add a template at each time (s), cut at the ends of the record."""
    shape, zero = template
    for number, time in enumerate(times):
        start = round(float(time) * sampling_rate) - zero
        low, high = max(start, 0), min(start + len(shape), len(out))
        if low < high:
            size = np.float32(1.0 if gain is None else gain[number])
            out[low:high] += shape[low - start : high - start] * size


def _atrial_waves(rhythm: Rhythm, samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return fibrillation waves (5 to 8 per second, drifting) or the saw teeth of flutter, (samples, 8)."""
    time = np.arange(samples, dtype=np.float32) / np.float32(sampling_rate)
    if rhythm == "flutter":
        phase = (time * np.float32(5.0) + np.float32(rng.random())) % 1.0
        wave = np.where(phase < 0.7, phase / 0.7, (1.0 - phase) / 0.3) - 0.5
        vector = np.array([0.02, -0.28, -0.12], dtype=np.float32) * np.float32(rng.uniform(0.8, 1.2))
        return (wave[:, None] * (DOWER @ vector)).astype(np.float32)
    out = np.zeros((samples, 3), dtype=np.float32)
    for rate in rng.uniform(4.8, 8.2, size=4):
        drift = rng.uniform(0.5, 1.5) * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time + rng.uniform(0, 6.28))
        out += np.sin(2 * np.pi * rate * time + drift + rng.uniform(0, 6.28))[:, None] * rng.normal(0, 1, size=3)
    return out * np.array([0.012, 0.012, 0.032], dtype=np.float32) @ DOWER.T


def _noise(samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return baseline wander, muscle noise and mains hum for eight leads, (samples, 8) in millivolt."""
    time = np.arange(samples, dtype=np.float32)[:, None] / np.float32(sampling_rate)
    wander = np.zeros((samples, 8), dtype=np.float32)
    for low, high, size in ((0.05, 0.15, 0.05), (0.3, 0.6, 0.035)):
        phase = np.float32(2 * np.pi * rng.uniform(low, high)) * time + np.float32(rng.uniform(0, 6.28))
        wander += np.sin(phase) * rng.normal(0.0, size, size=8).astype(np.float32)
    muscle = rng.standard_normal((samples + 1, 8), dtype=np.float32)
    # Neighbours added: muscle noise has less of the highest frequencies than white noise.
    # 0.7 takes back what adding does to the deviation.
    muscle = (muscle[1:] + muscle[:-1]) * np.float32(0.7 * np.exp(rng.normal(math.log(0.008), 0.5)))
    hum = np.sin(np.float32(2 * np.pi * 50.0) * time) * np.float32(abs(rng.normal(0.0, 0.004)))
    return wander + muscle + hum
