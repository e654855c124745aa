"""Every corruption on records small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from eval_harness.analyses.corruptions import (
    ELECTRODES,
    NotApplicableError,
    corruptions,
    generator,
    leads_of_electrodes,
)
from tests.conftest import ROOT

Float = NDArray[np.float32]
ALL = corruptions()
RATE = 500.0


def record(samples: int = 400) -> Float:
    """Lead k holds k + 1, with a small ramp."""
    ramp = np.arange(samples, dtype=np.float32)[:, None] * np.float32(1e-3)
    return np.arange(1, 13, dtype=np.float32) + ramp


def apply(name: str, strength: float, values: Float | None = None, rate: float = RATE, seed: int = 0) -> Float:
    given = record() if values is None else values
    return ALL[name](given, rate, strength, generator(seed, name, "a"))


def lead(name: str) -> int:
    return LEADS.index(name)


@pytest.mark.parametrize("name", ALL)
def test_strength_0_is_bit_identical(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    values[7, 3] = np.nan
    out = apply(name, 0, values)
    assert out.dtype == np.float32
    assert out.tobytes() == values.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_every_strength_leaves_its_input_alone_and_is_deterministic(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32)
    before = values.copy()
    for strength in ALL[name].strengths:
        first, second = apply(name, strength, values), apply(name, strength, values)
        assert first.shape == values.shape
        assert first.dtype == np.float32
        assert first.tobytes() == second.tobytes()
    assert values.tobytes() == before.tobytes()
    assert list(ALL[name].strengths) == sorted(set(ALL[name].strengths))
    assert ALL[name].most >= ALL[name].strengths[-1] > 0
    assert apply(name, ALL[name].strengths[-1], values).tobytes() != values.tobytes() or name == "reversal"


@pytest.mark.parametrize("name", ALL)
def test_strengths_outside_are_refused(name: str) -> None:
    for strength in (-0.1, ALL[name].most + 1, float("nan")):
        with pytest.raises(InputError, match=name):
            apply(name, strength)


@pytest.mark.parametrize("lost", LEADS)
def test_a_lead_is_lost(lost: str) -> None:
    out = apply(f"lead_loss_{lost}", 1.0)
    assert np.isnan(out[:, lead(lost)]).all()
    kept = [k for k in range(12) if k != lead(lost)]
    assert np.array_equal(out[:, kept], record()[:, kept])
    half = apply(f"lead_loss_{lost}", 0.5)
    where = np.flatnonzero(np.isnan(half[:, lead(lost)]))
    assert len(where) == 200
    assert where[-1] - where[0] == 199


def test_limb_leads_only_and_lead_i_only() -> None:
    limb, watch = apply("limb_leads_only", 1.0), apply("lead_i_only", 1.0)
    assert np.array_equal(limb[:, :6], record()[:, :6])
    assert np.isnan(limb[:, 6:]).all()
    assert np.array_equal(watch[:, 0], record()[:, 0])
    assert np.isnan(watch[:, 1:]).all()


def test_random_leads_are_nested() -> None:
    lost = [set(np.flatnonzero(np.isnan(apply("leads_lost", n)[0]))) for n in (1, 4, 12)]
    assert [len(found) for found in lost] == [1, 4, 12]
    assert lost[0] < lost[1] < lost[2]
    with pytest.raises(InputError, match="whole number"):
        apply("leads_lost", 1.5)


def test_flat_leads_hold_at_their_median() -> None:
    values = record(5)
    values[0, :] = np.nan
    out = apply("flat_leads", 12, values)
    assert np.array_equal(out, np.tile(np.median(values[1:], axis=0), (5, 1)))
    some = apply("flat_leads", 3)
    assert int((np.ptp(some, axis=0) == 0).sum()) == 3
    gone = np.full((4, 12), np.nan, dtype=np.float32)
    assert np.isnan(apply("flat_leads", 12, gone)).all()


def test_reversal_of_the_arms() -> None:
    out = apply("reversal", 1.0)
    first = dict(zip(LEADS, out[0], strict=True))
    # I 1, II 2, III 3, aVR 4, aVL 5, aVF 6, V1 to V6 7 to 12
    assert [first[name] for name in LEADS] == [-1, 3, 2, 5, 4, 6, 7, 8, 9, 10, 11, 12]


def test_reversal_is_what_exchanged_electrodes_record() -> None:
    potential = np.random.default_rng(1).normal(size=(6, 9))
    exchanged = potential[:, [1, 0, *range(2, 9)]]
    out = apply("reversal", 1.0, leads_of_electrodes(potential).astype(np.float32))
    np.testing.assert_allclose(out, leads_of_electrodes(exchanged), atol=1e-6)


def test_reversal_strikes_a_nested_share_of_the_records() -> None:
    struck = {}
    for share in (0.25, 0.5):
        changed = [ALL["reversal"](record(), RATE, share, generator(0, "reversal", str(k))) for k in range(400)]
        struck[share] = {k for k, out in enumerate(changed) if out[0, 0] < 0}
    assert struck[0.25] < struck[0.5]
    assert len(struck[0.25]) == pytest.approx(100, abs=30)
    assert len(struck[0.5]) == pytest.approx(200, abs=35)


def test_a_lower_rate_takes_away_high_frequencies() -> None:
    seconds = np.arange(2000) / RATE
    slow, fast = np.sin(2 * np.pi * 5 * seconds), np.sin(2 * np.pi * 90 * seconds)
    values = np.zeros((2000, 12), dtype=np.float32)
    values[:, 0], values[:, 1] = slow, fast
    inner = slice(200, 1800)
    for factor, kept in ((2, True), (5, False)):  # 250 Hz holds 90 Hz, 100 Hz does not
        out = apply("resampling", factor, values)
        assert out.shape == values.shape
        assert np.abs(out[inner, 0] - slow[inner]).max() < 0.02
        assert (np.abs(out[inner, 1]).max() > 0.9) == kept
    values[30, 4] = np.nan
    assert np.flatnonzero(np.isnan(apply("resampling", 2, values)).any(axis=1)).tolist() == [30]
    with pytest.raises(InputError, match="factor"):
        apply("resampling", 0.5)


def test_gain_goes_both_ways() -> None:
    ratios = [ALL["gain"](record(), RATE, 0.25, generator(0, "gain", str(k)))[0] / record()[0] for k in range(60)]
    assert {round(float(value), 3) for ratio in ratios for value in ratio} == {1.25, 0.8}


@pytest.mark.parametrize(
    ("name", "low", "high"), [("baseline_wander", 0.0, 0.6), ("mains_hum", 49, 51), ("muscle_noise", 19.5, 150.5)]
)
def test_noise_has_its_size_and_band_and_keeps_einthoven(name: str, low: float, high: float) -> None:
    clean = np.zeros((10_000, 12), dtype=np.float32)
    clean[5, 2] = np.nan
    noises = [ALL[name](clean, RATE, 0.1, generator(0, name, str(k))).astype(float) for k in range(60)]
    assert all(np.flatnonzero(np.isnan(noise).any(axis=1)).tolist() == [5] for noise in noises)
    whole = [np.delete(noise, 5, axis=0) for noise in noises]
    size = np.sqrt(np.mean([noise[:, :3] ** 2 for noise in whole]))
    assert size == pytest.approx(0.1, rel=0.15)
    for noise in whole[:3]:
        np.testing.assert_allclose(noise[:, 2], noise[:, 1] - noise[:, 0], atol=1e-6)
        np.testing.assert_allclose(noise[:, 3], -(noise[:, 0] + noise[:, 1]) / 2, atol=1e-6)
        power = np.abs(np.fft.rfft(noise[:, 7] * np.hanning(len(noise)))) ** 2
        frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
        assert power[(frequency >= low) & (frequency <= high)].sum() > 0.99 * power.sum()


@pytest.mark.parametrize("name", ["baseline_wander", "mains_hum", "muscle_noise"])
def test_noise_is_the_same_only_stronger(name: str) -> None:
    clean = np.zeros((1000, 12), dtype=np.float32)
    np.testing.assert_allclose(apply(name, 0.2, clean), 2 * apply(name, 0.1, clean), atol=1e-6)
    assert not np.allclose(apply(name, 0.1, clean), apply(name, 0.1, clean, seed=1))


def test_mains_of_the_americas() -> None:
    clean = np.zeros((5000, 12), dtype=np.float32)
    out = corruptions(60)["mains_hum"](clean, RATE, 0.1, generator(0, "mains_hum", "a"))
    peak = np.fft.rfftfreq(5000, 1 / RATE)[np.abs(np.fft.rfft(out[:, 7])).argmax()]
    assert peak == pytest.approx(60)


def test_rates_that_do_not_hold_a_noise() -> None:
    for name, rate in (("mains_hum", 100.0), ("muscle_noise", 40.0)):
        with pytest.raises(NotApplicableError, match=f"{rate:g} Hz"):
            apply(name, 0.1, rate=rate)


def test_missing_segment_is_one_stretch_of_all_leads() -> None:
    out = apply("missing_segment", 0.25)
    gone = np.flatnonzero(np.isnan(out).all(axis=1))
    assert len(gone) == 100
    assert gone[-1] - gone[0] == 99
    assert np.array_equal(np.delete(out, gone, axis=0), np.delete(record(), gone, axis=0))
    starts = set()
    for k in range(30):
        found = ALL["missing_segment"](record(), RATE, 0.25, generator(0, "missing_segment", str(k)))
        starts.add(int(np.flatnonzero(np.isnan(found[:, 0]))[0]))
    assert len(starts) > 15
    assert np.isnan(apply("missing_segment", 1)).all()


def test_leads_of_electrodes_by_hand() -> None:
    potential = np.array([[1.0, 3.0, 8.0, 10, 20, 30, 40, 50, 60]])
    assert len(ELECTRODES) == 9
    expected = [2, 7, 5, 1 - 5.5, 3 - 4.5, 8 - 2, *(v - 4 for v in (10, 20, 30, 40, 50, 60))]
    assert leads_of_electrodes(potential)[0].tolist() == pytest.approx(expected)


def test_the_page_lists_every_group_with_its_strengths() -> None:
    page = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    for corruption in ALL.values():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{corruption.group}` |")]
        assert row.endswith(", ".join(f"{strength:g}" for strength in corruption.strengths) + " |")
