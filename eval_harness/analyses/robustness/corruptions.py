"""What goes wrong with recordings, at graded strengths: applied to the whole record in mV, before windows are cut.

A corruption is a function of record, rate, strength and a generator; the generator is seeded by seed, corruption and
record, not by strength, so that the same record is disturbed in the same way, only more, along a curve. Strength 0
gives the record back bit for bit. Missing samples are NaN, which models are fed as 0 like all missing samples; leads
that follow from others (III = II - I) are not restored.

Disturbances that come in at electrodes (wander, hum, muscle) are made at the nine electrodes and led to the twelve
leads as the amplifier does, so that III = II - I and the augmented leads still hold. Their strength is measured where
it is said: of every record, the root mean square over its twelve leads. Single leads differ, as those of a patient do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from ecg_hub.input.resampling import resample
from ecg_hub.leads import LEADS
from eval_harness.analyses.robustness.schema import LOWER_RATE, MILLIVOLT

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Apply = Callable[[Float, float, float, np.random.Generator], Float]

LIMB = LEADS[:6]
CHEST = LEADS[6:]
ELECTRODES = ("RA", "LA", "LL", *CHEST)
TITLES = {
    "reversal": "RA and LA",
    "reversal_LA_LL": "LA and LL",
    "reversal_RA_RL": "RA and RL",
    "reversal_V1_V2": "V1 and V2",
}
WANDER_HZ = (0.05, 0.5)
WAVES = 4
MUSCLE_HZ = (20.0, 150.0)
SHARES = (0.25, 0.5, 1.0)
VERSION = 2
"""Of what the corruptions do; results of different versions are not mixed. 1: strengths of noise held on average only,
over the electrodes, and a lower rate made steps at the ends of records and of gaps."""
SHARE_OF_RECORD, SHARE_OF_RECORDS = "share of the record", "share of the records"
REACH = 64
"""Samples of the lower rate that the filters of `resample` reach to each side."""

EXCHANGES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "reversal": {"I": {"I": -1}, "II": {"III": 1}, "III": {"II": 1}, "aVR": {"aVL": 1}, "aVL": {"aVR": 1}},
    "reversal_LA_LL": {"I": {"II": 1}, "II": {"I": 1}, "III": {"III": -1}, "aVL": {"aVF": 1}, "aVF": {"aVL": 1}},
    "reversal_RA_RL": {
        "I": {"III": -1}, "II": {"II": 0}, "aVR": {"III": 0.5}, "aVL": {"III": -1}, "aVF": {"III": 0.5},
        **{lead: {lead: 1, "II": -1 / 3} for lead in CHEST},
    },
    "reversal_V1_V2": {"V1": {"V2": 1}, "V2": {"V1": 1}},
}  # fmt: skip
"""What exchanged electrodes make of the leads: lead -> factors of the leads of a right recording. RL is the reference,
whose potential is about that of LL; where RA and RL are exchanged, RA measures it: RA = LL, so II is flat, and Wilson's
terminal moves by II / 3."""


class NotApplicableError(InputError):
    """A corruption that cannot be made at this sampling rate, or of so short a record."""


@dataclass(frozen=True)
class Corruption:
    """One way to corrupt a record.

    Attributes:
        name: unique, e.g. "lead_loss_V1".
        group: corruptions drawn together, e.g. "lead_loss".
        title: in words.
        unit: what the strength counts.
        strengths: the graded strengths of the curve, ascending, without 0.
        most: the largest strength that makes sense.
        apply: gets a record (samples, 12) that it leaves alone, the rate in Hz, the strength and a generator.
    """

    name: str
    group: str
    title: str
    unit: str
    strengths: tuple[float, ...]
    most: float
    apply: Apply

    def __call__(self, record: Float, rate: float, strength: float, rng: np.random.Generator) -> Float:
        """Return the corrupted record (samples, 12) float32; the record itself at strength 0."""
        if not 0 <= strength <= self.most:
            raise InputError(f"{self.name}: strength {strength!r} is not between 0 and {self.most:g} ({self.unit}).")
        if strength == 0:
            return record
        return self.apply(record, rate, strength, rng).astype(np.float32, copy=False)


def generator(seed: int, corruption: str, record_id: str) -> np.random.Generator:
    """The generator of one record under one corruption; equal on every machine."""
    digest = hashlib.sha256(f"{seed}|{corruption}|{record_id}".encode()).digest()
    # Little-endian by name, so that machines of the other order draw the same.
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def corruptions(mains_hz: float = 50.0) -> Mapping[str, Corruption]:
    """Return all corruptions by name, in the order they are reported."""
    lost, flat = "leads lost, drawn for each record", "flat leads, drawn for each record"
    chest_lost, other_lost = partial(lose, leads=CHEST), partial(lose, leads=LEADS[1:])
    singles = [
        Corruption(f"lead_loss_{lead}", "lead_loss", f"{lead} lost", SHARE_OF_RECORD, (0.5, 1.0), 1.0,
                   partial(lose, leads=(lead,)))
        for lead in LEADS
    ]  # fmt: skip
    others: list[tuple[str, str, str, tuple[float, ...], float, Apply]] = [
        ("leads_lost", "random leads lost", lost, (1, 2, 4, 8, 11), 12, lose_random),
        ("limb_leads_only", "limb leads only", SHARE_OF_RECORD, SHARES, 1, chest_lost),
        ("lead_i_only", "lead I only, as on a watch", SHARE_OF_RECORD, SHARES, 1, other_lost),
        *(
            (name, f"{title} exchanged", SHARE_OF_RECORDS, (0.1, 0.25, 0.5, 1.0), 1.0, partial(exchange, name=name))
            for name, title in TITLES.items()
        ),
        ("resampling", "lower sampling rate", LOWER_RATE, (2, 4, 5, 10), 50, lower_rate),
        ("gain", "gain error", "1 + strength times too large or too small", (0.1, 0.25, 0.5, 1.0), 9, wrong_gain),
        ("baseline_wander", "baseline wander", MILLIVOLT, (0.1, 0.25, 0.5, 1.0), 10, wander),
        ("mains_hum", f"mains hum, {mains_hz:g} Hz", MILLIVOLT, (0.02, 0.05, 0.1, 0.2), 10, partial(hum, hz=mains_hz)),
        ("muscle_noise", "muscle noise", MILLIVOLT, (0.02, 0.05, 0.1, 0.2), 10, muscle),
        ("missing_segment", "missing segment", SHARE_OF_RECORD, (0.1, 0.25, 0.5, 0.75), 1, partial(lose, leads=LEADS)),
        ("flat_leads", "flat leads", flat, (1, 2, 4, 8), 12, flatten),
    ]
    listed = [
        *singles,
        *(Corruption(n, n, title, unit, steps, most, way) for n, title, unit, steps, most, way in others),
    ]
    return {corruption.name: corruption for corruption in listed}


def lose(record: Float, rate: float, share: float, rng: np.random.Generator, *, leads: tuple[str, ...]) -> Float:
    """Leads are missing (NaN) for one stretch of the record, at the same place in all of them."""
    del rate
    start, stop = _stretch(len(record), share, rng)
    out = record.copy()
    out[start:stop, [LEADS.index(lead) for lead in leads]] = np.nan
    return out


def lose_random(record: Float, rate: float, count: float, rng: np.random.Generator) -> Float:
    """`count` leads are missing (NaN); those of a smaller count are among them."""
    del rate
    out = record.copy()
    out[:, _drawn(record, count, rng)] = np.nan
    return out


def flatten(record: Float, rate: float, count: float, rng: np.random.Generator) -> Float:
    """`count` leads hold still at their own median; those of a smaller count are among them."""
    del rate
    out = record.copy()
    for lead in _drawn(record, count, rng):
        # A lead that the record lacks stays missing: it has no level to hold.
        measured = record[:, lead][~np.isnan(record[:, lead])]
        if measured.size:
            out[:, lead] = np.median(measured)
    return out


def exchange(record: Float, rate: float, share: float, rng: np.random.Generator, *, name: str) -> Float:
    """Two electrodes are exchanged in a share of the records, drawn for each; `name` is a key of EXCHANGES."""
    del rate
    # The same number at every share: a record exchanged at a small share is exchanged at each larger one.
    if rng.random() >= share:
        return record
    out = record.copy()
    for lead, parts in EXCHANGES[name].items():
        terms = [np.float32(factor) * record[:, LEADS.index(source)] for source, factor in parts.items()]
        out[:, LEADS.index(lead)] = sum(terms[1:], start=terms[0])
    return out


def lower_rate(record: Float, rate: float, factor: float, rng: np.random.Generator) -> Float:
    """The record was made at a lower rate and brought to this one: what lies above half that rate is gone.

    The filters would see zeros beyond the ends and in gaps, and make steps there. So gaps are bridged by straight
    lines, and beyond its ends a lead goes on as it came, turned about its last sample.
    """
    del rng
    if factor < 1:
        raise InputError(f"resampling: strength {factor!r} is a factor; give 0 (none) or 1 and more.")
    full, times = Fraction(rate).limit_denominator(1000), Fraction(factor).limit_denominator(1000)
    more = times.numerator * math.ceil(REACH / times.denominator)  # a whole number of samples at the lower rate
    wide = np.pad(_bridged(record), ((more, more), (0, 0)), mode="reflect", reflect_type="odd")
    # Back to a stated length: rounding on both ways could cost or add a sample.
    low = full / times
    out = resample(resample(wide, full, low, axis=0), low, full, axis=0, length=len(wide))[more : more + len(record)]
    out[np.isnan(record)] = np.nan
    return out


def wrong_gain(record: Float, rate: float, error: float, rng: np.random.Generator) -> Float:
    """All leads are 1 + error times too large or, by a coin for each record, too small."""
    del rate
    # The inverse and not 1 - error, which from an error of 1 on would be a flat or a turned record.
    factor = 1.0 + error if rng.random() < 0.5 else 1.0 / (1.0 + error)
    return record * np.float32(factor)


def wander(record: Float, rate: float, millivolt: float, rng: np.random.Generator) -> Float:
    """Slow waves of 0.05 to 0.5 Hz at every electrode; what they move the record's mean by is part of their RMS."""
    seconds = np.arange(len(record)) / rate
    frequency = rng.uniform(*WANDER_HZ, (WAVES, len(ELECTRODES)))
    phase = rng.uniform(0, 2 * np.pi, frequency.shape)
    waves = np.sin(2 * np.pi * frequency * seconds[:, None, None] + phase).sum(axis=1)
    return _added(record, waves, millivolt)


def hum(record: Float, rate: float, millivolt: float, rng: np.random.Generator, *, hz: float) -> Float:
    """A sine of the mains frequency, one phase for all electrodes, each with a strength of its own."""
    # At exactly twice the frequency the samples of a sine may all be zero, so that is too low as well.
    if rate <= 2 * hz:
        raise NotApplicableError(f"{rate:g} Hz does not hold a hum of {hz:g} Hz")
    strength = rng.normal(size=len(ELECTRODES))
    wave = np.sin(2 * np.pi * hz * np.arange(len(record)) / rate + rng.uniform(0, 2 * np.pi))
    return _added(record, wave[:, None] * strength, millivolt)


def muscle(record: Float, rate: float, millivolt: float, rng: np.random.Generator) -> Float:
    """Gaussian noise of 20 to 150 Hz, as far as the rate holds it, at every electrode by itself."""
    if rate <= 2 * MUSCLE_HZ[0]:
        raise NotApplicableError(f"{rate:g} Hz does not hold muscle noise, which begins at {MUSCLE_HZ[0]:g} Hz")
    spectrum = np.fft.rfft(rng.normal(size=(len(record), len(ELECTRODES))), axis=0)
    frequency = np.fft.rfftfreq(len(record), 1 / rate)
    spectrum[(frequency < MUSCLE_HZ[0]) | (frequency > MUSCLE_HZ[1])] = 0
    # With the length, which a spectrum does not tell: irfft takes it to be even.
    noise = np.fft.irfft(spectrum, len(record), axis=0)
    return _added(record, noise, millivolt)


def leads_of_electrodes(potential: Double) -> Double:
    """Leads (samples, 12) after Einthoven, Goldberger, Wilson, of potentials (samples, 9) of RA, LA, LL, V1 to V6."""
    right, left, foot = potential[:, 0], potential[:, 1], potential[:, 2]
    limb = [left - right, foot - right, foot - left]
    limb += [right - (left + foot) / 2, left - (right + foot) / 2, foot - (right + left) / 2]
    chest = potential[:, 3:] - (right + left + foot)[:, None] / 3
    return np.concatenate([np.stack(limb, axis=1), chest], axis=1)


def _added(record: Float, potential: Double, millivolt: float) -> Float:
    """The record with noise of the electrodes, scaled to its RMS (about 0) over the samples of all twelve leads.

    Scaled at the electrodes it would be anything in the leads, which are differences of electrodes.
    """
    noise = leads_of_electrodes(potential)
    size = float(np.sqrt(np.mean(noise**2)))
    # The spectrum of very few samples may have no frequency within the band.
    if size == 0:
        raise NotApplicableError(f"a record of {len(record)} samples is too short for this noise")
    return (record + noise * (millivolt / size)).astype(np.float32)


def _bridged(record: Float) -> Float:
    """The record with missing samples (NaN) on straight lines between known ones; 0 where a lead has none."""
    absent = np.isnan(record)
    out = np.where(absent, np.float32(0.0), record)
    places = np.arange(len(record))
    for lead in np.flatnonzero(absent.any(axis=0) & ~absent.all(axis=0)):
        present = ~absent[:, lead]
        out[:, lead] = np.interp(places, places[present], record[present, lead])
    return out


def _stretch(samples: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    length = round(share * samples)
    # One number whatever the share, so that a longer gap lies at about the same part of the record.
    start = int(rng.random() * (samples - length + 1))
    return start, start + length


def _drawn(record: Float, count: float, rng: np.random.Generator) -> list[int]:
    """Columns of `count` leads at random; those that the record lacks come last, or fewer than `count` would change."""
    lacking = np.asarray(np.isnan(record).all(axis=0))
    # The whole order is drawn, whatever the count: fewer leads are the beginning of it.
    return sorted(rng.permutation(len(LEADS)).tolist(), key=lambda lead: bool(lacking[lead]))[: _whole(count)]


def _whole(count: float) -> int:
    if count != int(count):
        raise InputError(f"strength {count!r} counts leads: give a whole number.")
    return int(count)
