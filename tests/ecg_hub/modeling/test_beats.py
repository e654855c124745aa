"""The average beat and the rhythm of a window: those that were put into it, and nothing where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_hub.modeling.beats import BEAT_SCALE, RHYTHM_SCALE, measure, number_of_points

RATE = 240
AMPLITUDES = np.array([1.0, -0.5, 0.0], np.float32)


def pulses(*seconds: float, length: float = 2.5, rate: int = RATE) -> NDArray[np.float32]:
    """Three leads with a narrow wave of another height at each of some times."""
    time = np.arange(round(length * rate)) / rate
    wave = sum((np.exp(-(((time - at) / 0.03) ** 2)) for at in seconds), start=np.zeros(len(time)))
    return (AMPLITUDES[:, None] * wave).astype(np.float32)


def test_beats_are_averaged_and_intervals_measured() -> None:
    window = pulses(0.5, 1.1, 2.0)
    found = measure(window[None], RATE)
    beat = found.beats.reshape(3, number_of_points(RATE)) * BEAT_SCALE
    assert found.beats_known.tolist() == [1.0]
    # In mV again: points are means over 4 samples, so that a narrow wave is somewhat lower.
    height = np.sign(beat) * beat**2
    assert height[0].max() == pytest.approx(1.0, abs=0.1)
    assert height[1].min() == pytest.approx(-0.5, abs=0.05)
    assert not beat[2].any()
    assert abs(int(np.abs(height[0]).argmax()) - 15) <= 1, "a quarter of a second before the wave, at 60 Hz"
    assert found.rhythm_known.tolist() == [[1.0, 1.0]]
    assert found.rhythm[0] * RHYTHM_SCALE == pytest.approx([np.log2(0.75), np.log2(0.9 / 0.6)], abs=0.05)


def test_a_window_is_measured_as_it_is_whatever_stands_beside_it() -> None:
    windows = np.stack([pulses(0.5, 1.4, 2.3), pulses(0.9, 1.7), pulses()])
    together = measure(windows, RATE)
    for row, window in enumerate(windows):
        alone = measure(window[None], RATE)
        for name in ("beats", "rhythm", "beats_known", "rhythm_known"):
            np.testing.assert_array_equal(getattr(together, name)[row], getattr(alone, name)[0])


def test_what_is_not_there_is_not_known() -> None:
    flat, one, cut = (measure(pulses(*seconds)[None], RATE) for seconds in ((), (1.2,), (0.1, 2.3)))
    assert (flat.beats_known.item(), flat.rhythm_known.tolist()) == (0, [[0, 0]])
    assert (one.beats_known.item(), one.rhythm_known.tolist()) == (1, [[0, 0]])
    assert (cut.beats_known.item(), cut.rhythm_known.tolist()) == (0, [[1, 0]]), "no beat is whole, both are seen"
    missing = measure(np.full((1, 3, 600), np.nan, np.float32), RATE)
    for values in (flat.beats, missing.beats, missing.rhythm):
        assert not values.any()


def test_other_rates_have_about_as_many_points() -> None:
    assert [number_of_points(rate) for rate in (240, 500, 120, 50)] == [42, 43, 42, 34]
    found = measure(pulses(0.5, 1.1, 2.0, rate=500)[None], 500)
    assert found.rhythm[0, 0] * RHYTHM_SCALE == pytest.approx(np.log2(0.75), abs=0.02)
