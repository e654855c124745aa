"""Disturbed windows for pre-training: the model reads them, and what it has to predict comes from the clean ones.

The disturbances are those of the robustness analysis (`eval_harness.analyses.robustness.corruptions`), at strengths
drawn anew for every window: noise of the electrodes (baseline wander, mains hum of 50 or 60 Hz, muscle noise), a wrong
gain, lost leads. What a window gets depends on the seed, the step, the lane and its row in the lane, and on nothing
else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eval_harness.analyses.robustness.corruptions import Corruption, NotApplicableError, corruptions

Windows = NDArray[np.float32]

_AUGMENT = 0x617567
CHANCE = 0.5
"""Of each kind of noise and of a wrong gain, in a window that is disturbed."""
LOST = 0.3
"""Chance that leads are missing in it."""
MILLIVOLT: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"baseline_wander": (0.02, 0.5), "mains_hum": (0.005, 0.2), "muscle_noise": (0.005, 0.2)}
)
"""Noise -> the range that its strength is drawn from, evenly in its logarithm; mV RMS over the twelve leads."""
GAIN = 0.25
MAINS_HZ = (50.0, 60.0)
MOST_LOST = 6
"""Leads lost at random: 1 to so many."""
ONLY_LIMB, ONLY_I = 0.25, 0.1
"""Where leads are missing, the chances that the chest leads are, and that all but lead I are."""

_OF_MAINS = {hz: corruptions(hz) for hz in MAINS_HZ}


def augmented(
    clean: Windows, rate: float, share: float, *, seed: int, step: int, lane: int, in_mv: Sequence[bool] | None = None
) -> Windows:
    """Return the windows (records, 12, samples) of one lane, a share of them disturbed; `clean` stays as it is.

    Leads that the record lacks, which are 0 throughout, stay so. Windows that are not `in_mv` (z-scores) get no noise,
    whose strengths are in mV.
    """
    out = clean.copy()
    for row, window in enumerate(clean):
        noises = MILLIVOLT if in_mv is None or in_mv[row] else {}
        rng = np.random.default_rng([seed, _AUGMENT, step, lane, row])
        if rng.random() < share:
            out[row] = np.where(window.any(axis=1, keepdims=True), _disturbed(window, rate, rng, noises), np.float32(0))
    return out


def _disturbed(
    window: Windows, rate: float, rng: np.random.Generator, noises: Mapping[str, tuple[float, float]]
) -> Windows:
    """One window (12, samples) with what its generator draws."""
    known = _OF_MAINS[MAINS_HZ[rng.integers(len(MAINS_HZ))]]
    signal = window.T
    if rng.random() < CHANCE:
        signal = _applied(known["gain"], signal, rate, rng.uniform(0, GAIN), rng)
    for name, (low, high) in noises.items():
        if rng.random() < CHANCE:
            signal = _applied(known[name], signal, rate, low * math.exp(rng.random() * math.log(high / low)), rng)
    if rng.random() < LOST:
        kind = rng.random()
        if kind < ONLY_LIMB:
            signal = known["limb_leads_only"](signal, rate, 1.0, rng)
        elif kind < ONLY_LIMB + ONLY_I:
            signal = known["lead_i_only"](signal, rate, 1.0, rng)
        else:
            signal = known["leads_lost"](signal, rate, int(rng.integers(1, MOST_LOST + 1)), rng)
    # As models are fed what is missing.
    return np.nan_to_num(signal.T)


def _applied(
    corruption: Corruption, signal: Windows, rate: float, strength: float, rng: np.random.Generator
) -> Windows:
    try:
        return corruption(signal, rate, strength, rng)
    except NotApplicableError:  # a rate that does not hold this noise
        return signal
