"""What goes wrong with recordings, at graded strengths: applied to the whole record in mV, before windows are cut.

A corruption is a function of record, rate, strength and a generator; the generator is seeded by seed, corruption and
record, not by strength, so that the same record is disturbed in the same way, only more, along a curve. Strength 0
gives the record back bit for bit. Missing samples are NaN, which models are fed as 0 like all missing samples; leads
that follow from others (III = II - I) are not restored.

Disturbances that come in at electrodes (wander, hum, muscle) are made at the nine electrodes and led to the twelve
leads as the amplifier does, so that III = II - I and the augmented leads still hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from ecg_hub.signal import resample

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Apply = Callable[[Float, float, float, np.random.Generator], Float]

LIMB = LEADS[:6]
CHEST = LEADS[6:]
ELECTRODES = ("RA", "LA", "LL", *CHEST)
WANDER_HZ = (0.05, 0.5)
WAVES = 4
MUSCLE_HZ = (20.0, 150.0)
SHARES = (0.25, 0.5, 1.0)
MILLIVOLT = "mV RMS in leads I, II and III"
SHARE_OF_RECORD = "share of the record"


class NotApplicableError(InputError):
    """A corruption that cannot be made at this sampling rate."""


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
        """Return the corrupted record (samples, 12) float32; the record itself at strength 0.

        Raises:
            InputError: a strength outside of 0 to `most`.
            NotApplicableError: the sampling rate is too low.
        """
        if not 0 <= strength <= self.most:
            raise InputError(f"{self.name}: strength {strength!r} is not between 0 and {self.most:g} ({self.unit}).")
        if strength == 0:
            return record
        return self.apply(record, rate, strength, rng).astype(np.float32, copy=False)


def generator(seed: int, corruption: str, record_id: str) -> np.random.Generator:
    """The generator of one record under one corruption; equal on every machine."""
    digest = hashlib.sha256(f"{seed}|{corruption}|{record_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def corruptions(mains_hz: float = 50.0) -> Mapping[str, Corruption]:
    """Return all corruptions by name, in the order they are reported.

    Args:
        mains_hz: frequency of the mains hum: 50, or 60 in the Americas.
    """
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
        ("reversal", "RA and LA exchanged", "share of the records", (0.1, 0.25, 0.5, 1.0), 1, reverse_arms),
        ("resampling", "lower sampling rate", "times lower rate", (2, 4, 5, 10), 50, lower_rate),
        ("gain", "gain error", "1 + strength times too large or too small", (0.1, 0.25, 0.5, 1.0), 9, wrong_gain),
        ("baseline_wander", "baseline wander", MILLIVOLT, (0.1, 0.25, 0.5, 1.0), 10, wander),
        ("mains_hum", f"mains hum, {mains_hz:g} Hz", MILLIVOLT, (0.02, 0.05, 0.1, 0.2), 10, partial(hum, hz=mains_hz)),
        ("muscle_noise", "muscle noise", MILLIVOLT, (0.02, 0.05, 0.1, 0.2), 10, muscle),
        ("missing_segment", "missing segment", SHARE_OF_RECORD, (0.1, 0.25, 0.5, 0.75), 1, partial(lose, leads=LEADS)),
        ("flat_leads", "flat leads", flat, (1, 2, 4, 8), 12, flatten),
    ]
    found = [
        *singles,
        *(Corruption(n, n, title, unit, steps, most, way) for n, title, unit, steps, most, way in others),
    ]
    return {corruption.name: corruption for corruption in found}


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
    out[:, rng.permutation(len(LEADS))[: _whole(count)]] = np.nan
    return out


def flatten(record: Float, rate: float, count: float, rng: np.random.Generator) -> Float:
    """`count` leads hold still at their own median; those of a smaller count are among them."""
    del rate
    out = record.copy()
    for lead in rng.permutation(len(LEADS))[: _whole(count)]:
        known = record[:, lead][~np.isnan(record[:, lead])]
        if known.size:
            out[:, lead] = np.median(known)
    return out


def reverse_arms(record: Float, rate: float, share: float, rng: np.random.Generator) -> Float:
    """The electrodes RA and LA are exchanged in a share of the records: I inverted, II with III, aVR with aVL."""
    del rate
    if rng.random() >= share:
        return record
    place = {lead: k for k, lead in enumerate(LEADS)}
    swap = {"II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR"}
    out = record[:, [place[swap.get(lead, lead)] for lead in LEADS]]
    out[:, place["I"]] *= np.float32(-1.0)
    return out


def lower_rate(record: Float, rate: float, factor: float, rng: np.random.Generator) -> Float:
    """The record was made at a lower rate and brought to this one: what lies above half that rate is gone.

    Raises:
        InputError: a factor between 0 and 1.
    """
    del rng
    if factor < 1:
        raise InputError(f"resampling: strength {factor!r} is a factor; give 0 (none) or 1 and more.")
    full = Fraction(rate).limit_denominator(1000)
    low = full / Fraction(factor).limit_denominator(1000)
    absent = np.isnan(record)
    there = np.where(absent, np.float32(0.0), record)
    out = resample(resample(there, full, low, axis=0), low, full, axis=0, length=len(record))
    out[absent] = np.nan
    return out


def wrong_gain(record: Float, rate: float, error: float, rng: np.random.Generator) -> Float:
    """All leads are 1 + error times too large or, by a coin for each record, too small."""
    del rate
    factor = 1.0 + error if rng.random() < 0.5 else 1.0 / (1.0 + error)
    return record * np.float32(factor)


def wander(record: Float, rate: float, millivolt: float, rng: np.random.Generator) -> Float:
    """Slow waves of 0.05 to 0.5 Hz at every electrode."""
    seconds = np.arange(len(record)) / rate
    frequency = rng.uniform(*WANDER_HZ, (WAVES, len(ELECTRODES)))
    phase = rng.uniform(0, 2 * np.pi, frequency.shape)
    waves = np.sin(2 * np.pi * frequency * seconds[:, None, None] + phase).sum(axis=1)
    return _added(record, waves / _rms(waves), millivolt)


def hum(record: Float, rate: float, millivolt: float, rng: np.random.Generator, *, hz: float) -> Float:
    """A sine of the mains frequency, one phase for all electrodes, each with a strength of its own.

    Raises:
        NotApplicableError: the sampling rate does not hold the frequency.
    """
    if rate <= 2 * hz:
        raise NotApplicableError(f"{rate:g} Hz does not hold a hum of {hz:g} Hz")
    strength = rng.normal(size=len(ELECTRODES))
    strength /= np.sqrt(np.mean(strength**2))
    wave = np.sqrt(2) * np.sin(2 * np.pi * hz * np.arange(len(record)) / rate + rng.uniform(0, 2 * np.pi))
    return _added(record, wave[:, None] * strength, millivolt)


def muscle(record: Float, rate: float, millivolt: float, rng: np.random.Generator) -> Float:
    """Gaussian noise of 20 to 150 Hz, as far as the rate holds it, at every electrode by itself.

    Raises:
        NotApplicableError: the sampling rate does not hold 20 Hz.
    """
    if rate <= 2 * MUSCLE_HZ[0]:
        raise NotApplicableError(f"{rate:g} Hz does not hold muscle noise, which begins at {MUSCLE_HZ[0]:g} Hz")
    spectrum = np.fft.rfft(rng.normal(size=(len(record), len(ELECTRODES))), axis=0)
    frequency = np.fft.rfftfreq(len(record), 1 / rate)
    spectrum[(frequency < MUSCLE_HZ[0]) | (frequency > MUSCLE_HZ[1])] = 0
    noise = np.fft.irfft(spectrum, len(record), axis=0)
    return _added(record, noise / _rms(noise), millivolt)


def leads_of_electrodes(potential: Double) -> Double:
    """Lead voltages (samples, 12) after Einthoven, Goldberger and Wilson.

    Args:
        potential: (samples, 9) of the electrodes RA, LA, LL, V1 to V6.
    """
    right, left, foot = potential[:, 0], potential[:, 1], potential[:, 2]
    limb = [left - right, foot - right, foot - left]
    limb += [right - (left + foot) / 2, left - (right + foot) / 2, foot - (right + left) / 2]
    chest = potential[:, 3:] - (right + left + foot)[:, None] / 3
    return np.concatenate([np.stack(limb, axis=1), chest], axis=1)


def _added(record: Float, potential: Double, millivolt: float) -> Float:
    """The record with electrode noise of unit RMS; a lead between two electrodes has the root of two of it."""
    noise = leads_of_electrodes(potential) * (millivolt / np.sqrt(2))
    return (record + noise).astype(np.float32)


def _rms(values: Double) -> Double:
    found: Double = np.sqrt(np.mean(values**2, axis=0))
    return np.where(found > 0, found, 1.0)


def _stretch(samples: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    length = round(share * samples)
    start = int(rng.random() * (samples - length + 1))
    return start, start + length


def _whole(count: float) -> int:
    if count != int(count):
        raise InputError(f"strength {count!r} counts leads: give a whole number.")
    return int(count)
