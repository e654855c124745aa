"""Every corruption on records small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from eval_harness.analyses.robustness.corruptions import (
    ELECTRODES,
    EXCHANGES,
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


EXCHANGED = {
    "reversal": ("RA", "LA"),
    "reversal_LA_LL": ("LA", "LL"),
    "reversal_RA_RL": ("RA", "RL"),
    "reversal_V1_V2": ("V1", "V2"),
}


def test_exchanged_electrodes_by_hand() -> None:
    # I 1, II 2, III 3, aVR 4, aVL 5, aVF 6, V1 to V6 7 to 12
    expected = {
        "reversal": [-1, 3, 2, 5, 4, 6, 7, 8, 9, 10, 11, 12],
        "reversal_LA_LL": [2, 1, -3, 4, 6, 5, 7, 8, 9, 10, 11, 12],
        "reversal_RA_RL": [-3, 0, 3, 1.5, -3, 1.5, *(v - 2 / 3 for v in range(7, 13))],
        "reversal_V1_V2": [1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 11, 12],
    }
    assert expected.keys() == EXCHANGES.keys() == EXCHANGED.keys()
    for name, leads in expected.items():
        assert apply(name, 1.0)[0].tolist() == pytest.approx(leads), name


@pytest.mark.parametrize("name", EXCHANGED)
def test_exchanges_are_what_exchanged_electrodes_record(name: str) -> None:
    """The potential of RL is that of LL; it is the reference, so where it lies itself shows nowhere."""
    potential = np.random.default_rng(1).normal(size=(6, 9))
    places = {electrode: k for k, electrode in enumerate(ELECTRODES)} | {"RL": ELECTRODES.index("LL")}
    first, second = EXCHANGED[name]
    moved = potential.copy()
    moved[:, places[first]] = potential[:, places[second]]
    if second != "RL":
        moved[:, places[second]] = potential[:, places[first]]
    out = apply(name, 1.0, leads_of_electrodes(potential).astype(np.float32))
    np.testing.assert_allclose(out, leads_of_electrodes(moved), atol=1e-6)
    np.testing.assert_allclose(out[:, lead("III")], out[:, lead("II")] - out[:, lead("I")], atol=1e-6)
    np.testing.assert_allclose(out[:, 3:6].sum(axis=1), 0, atol=1e-6)


def test_what_is_missing_stays_missing_under_an_exchange() -> None:
    values = record()
    values[7, lead("II")] = np.nan
    for name, struck in (("reversal_LA_LL", ["I"]), ("reversal_RA_RL", ["II", *LEADS[6:]]), ("reversal_V1_V2", ["II"])):
        out = apply(name, 1.0, values)
        assert [LEADS[k] for k in np.flatnonzero(np.isnan(out[7]))] == struck
        assert not np.isnan(np.delete(out, 7, axis=0)).any()


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


@pytest.mark.parametrize("factor", ALL["resampling"].strengths)
def test_a_lower_rate_makes_no_steps_at_ends_and_gaps(factor: float) -> None:
    """1,008 leads that a quarter of the lowest rate holds, off the zero line by up to 1 mV, one with a gap."""
    rng, seconds = np.random.default_rng(0), np.arange(1000) / RATE
    for k in range(84):
        frequency, phase = rng.uniform(0.5, 5, (3, 12)), rng.uniform(0, 2 * np.pi, (3, 12))
        waves = np.sin(2 * np.pi * frequency * seconds[:, None, None] + phase).sum(axis=1) / 6
        values = (waves + rng.uniform(-1, 1, 12)).astype(np.float32)
        values[400:460, 3] = np.nan
        out = ALL["resampling"](values, RATE, factor, generator(0, "resampling", str(k)))
        assert np.array_equal(np.isnan(out), np.isnan(values))
        assert np.nanmax(np.abs(out - values)) < 0.05


def test_a_lower_rate_of_short_and_empty_leads() -> None:
    values = np.full((40, 12), 0.7, dtype=np.float32)
    values[:, 2] = np.nan
    out = apply("resampling", 10, values)
    assert np.isnan(out[:, 2]).all()
    assert np.abs(np.delete(out, 2, axis=1) - np.float32(0.7)).max() < 0.01


def test_gain_goes_both_ways() -> None:
    ratios = [ALL["gain"](record(), RATE, 0.25, generator(0, "gain", str(k)))[0] / record()[0] for k in range(60)]
    assert {round(float(value), 3) for ratio in ratios for value in ratio} == {1.25, 0.8}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "low", "high"), [("baseline_wander", 0.0, 0.6), ("mains_hum", 49, 51), ("muscle_noise", 19.5, 150.5)]
)
def test_noise_has_its_size_and_band_and_keeps_einthoven(name: str, low: float, high: float) -> None:
    clean = np.zeros((10_000, 12), dtype=np.float32)
    clean[5, 2] = np.nan
    noises = [ALL[name](clean, RATE, 0.1, generator(0, name, str(k))).astype(float) for k in range(60)]
    assert all(np.flatnonzero(np.isnan(noise).any(axis=1)).tolist() == [5] for noise in noises)
    whole = [np.delete(noise, 5, axis=0) for noise in noises]
    for noise in whole[:3]:
        np.testing.assert_allclose(noise[:, 2], noise[:, 1] - noise[:, 0], atol=1e-6)
        np.testing.assert_allclose(noise[:, 3], -(noise[:, 0] + noise[:, 1]) / 2, atol=1e-6)
        power = np.abs(np.fft.rfft(noise[:, 7] * np.hanning(len(noise)))) ** 2
        frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
        assert power[(frequency >= low) & (frequency <= high)].sum() > 0.99 * power.sum()


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["baseline_wander", "mains_hum", "muscle_noise"])
def test_noise_has_its_strength_in_every_record(name: str) -> None:
    """1,000 draws over the strengths of the curve: RMS over the twelve leads, and the laws of the leads."""
    clean = np.zeros((400, 12), dtype=np.float32)
    for k in range(1000):
        strength = ALL[name].strengths[k % len(ALL[name].strengths)]
        noise = ALL[name](clean, RATE, strength, generator(0, name, str(k))).astype(float)
        by_lead = np.mean(noise**2, axis=0)
        assert abs(np.sqrt(by_lead.mean()) / strength - 1) < 1e-5
        if name == "muscle_noise":  # all electrodes alike
            assert 0.7 * strength < np.sqrt(by_lead.min()) <= np.sqrt(by_lead.max()) < 1.4 * strength
        assert np.abs(noise[:, 2] - (noise[:, 1] - noise[:, 0])).max() < 2e-6
        assert np.abs(noise[:, 3:6].sum(axis=1)).max() < 2e-6


def test_records_too_short_for_a_noise_are_not_called_noisy() -> None:
    with pytest.raises(NotApplicableError, match="3 samples"):
        apply("muscle_noise", 0.1, np.zeros((3, 12), dtype=np.float32))


def test_counted_leads_are_among_those_that_the_record_has() -> None:
    values = record()
    values[:, 2:] = np.nan
    for name in ("leads_lost", "flat_leads"):
        out = apply(name, 2, values)
        known = out[:, :2]
        assert np.isnan(known).all() if name == "leads_lost" else (np.ptp(known, axis=0) == 0).all()


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


SHARE = "share of the record"
SIZE = "mV RMS over the twelve leads"
MADE = {
    **{f"lead_loss_{name}": ("lead_loss", f"{name} lost", SHARE, (0.5, 1), 1) for name in LEADS},
    "leads_lost": ("leads_lost", "random leads lost", "leads lost, drawn for each record", (1, 2, 4, 8, 11), 12),
    "limb_leads_only": ("limb_leads_only", "limb leads only", SHARE, (0.25, 0.5, 1), 1),
    "lead_i_only": ("lead_i_only", "lead I only, as on a watch", SHARE, (0.25, 0.5, 1), 1),
    "reversal": ("reversal", "RA and LA exchanged", "share of the records", (0.1, 0.25, 0.5, 1), 1),
    "reversal_LA_LL": ("reversal_LA_LL", "LA and LL exchanged", "share of the records", (0.1, 0.25, 0.5, 1), 1),
    "reversal_RA_RL": ("reversal_RA_RL", "RA and RL exchanged", "share of the records", (0.1, 0.25, 0.5, 1), 1),
    "reversal_V1_V2": ("reversal_V1_V2", "V1 and V2 exchanged", "share of the records", (0.1, 0.25, 0.5, 1), 1),
    "resampling": ("resampling", "lower sampling rate", "times lower rate", (2, 4, 5, 10), 50),
    "gain": ("gain", "gain error", "1 + strength times too large or too small", (0.1, 0.25, 0.5, 1), 9),
    "baseline_wander": ("baseline_wander", "baseline wander", SIZE, (0.1, 0.25, 0.5, 1), 10),
    "mains_hum": ("mains_hum", "mains hum, 60 Hz", SIZE, (0.02, 0.05, 0.1, 0.2), 10),
    "muscle_noise": ("muscle_noise", "muscle noise", SIZE, (0.02, 0.05, 0.1, 0.2), 10),
    "missing_segment": ("missing_segment", "missing segment", SHARE, (0.1, 0.25, 0.5, 0.75), 1),
    "flat_leads": ("flat_leads", "flat leads", "flat leads, drawn for each record", (1, 2, 4, 8), 12),
}


def test_what_a_corruption_is_called_and_what_its_strength_counts() -> None:
    """Group, title, unit, curve and largest strength, in the order in which they are reported."""
    made = {c.name: (c.group, c.title, c.unit, c.strengths, c.most) for c in corruptions(60).values()}
    assert made == MADE
    assert list(made) == list(corruptions(60)) == list(MADE)


def test_which_leads_are_lost() -> None:
    whole = {"missing_segment": LEADS, "limb_leads_only": LEADS[6:], "lead_i_only": LEADS[1:]}
    for name, lost in {**whole, **{f"lead_loss_{name}": (name,) for name in LEADS}}.items():
        out = corruptions()[name](record(), RATE, 1.0, generator(0, name, "a"))
        assert tuple(LEADS[k] for k in np.flatnonzero(np.isnan(out[0]))) == lost


def test_each_exchange_of_the_table_is_made_of_its_own_electrodes() -> None:
    changed = {"reversal": LEADS[:5], "reversal_LA_LL": ("I", "II", "III", "aVL", "aVF"), "reversal_V1_V2": LEADS[6:8]}
    for name, leads in {**changed, "reversal_RA_RL": tuple(k for k in LEADS if k != "III")}.items():
        out = corruptions()[name](record(), RATE, 1.0, generator(0, name, "a"))
        assert tuple(LEADS[k] for k in np.flatnonzero(out[0] != record()[0])) == leads


# What is drawn for a record is part of the version of the corruptions: studies are continued years later, and two
# machines have to disturb a record alike. So the tests below draw from the same generator and make the rest themselves.


def noisy(electrodes: NDArray[np.float64], millivolt: float, clean: Float) -> NDArray[np.float64]:
    """The record with a potential of the electrodes (samples, 9), in the leads `millivolt` RMS large."""
    right, left, foot = electrodes[:, :3].T
    limb = [left - right, foot - right, foot - left, (2 * right - left - foot) / 2, (2 * left - right - foot) / 2]
    chest = electrodes[:, 3:] - (right + left + foot)[:, None] / 3
    leads = np.column_stack([*limb, (2 * foot - right - left) / 2, chest])
    return clean + millivolt * leads / np.sqrt((leads**2).mean())


def test_wander_is_four_waves_at_every_electrode() -> None:
    """Frequencies of 0.05 to 0.5 Hz and phases of a whole turn, each drawn for itself."""
    rng, seconds = generator(3, "baseline_wander", "a"), np.arange(400) / RATE
    frequency, phase = rng.uniform(0.05, 0.5, (4, 9)), rng.uniform(0, 2 * np.pi, (4, 9))
    waves = sum(np.sin(2 * np.pi * frequency[k] * seconds[:, None] + phase[k]) for k in range(4))
    out = corruptions()["baseline_wander"](record(), RATE, 0.5, generator(3, "baseline_wander", "a"))
    np.testing.assert_allclose(out, noisy(np.asarray(waves), 0.5, record()), atol=2e-6)


@pytest.mark.parametrize("rate", [500.0, 101.0])
def test_hum_is_one_sine_with_a_strength_at_every_electrode(rate: float) -> None:
    """Strengths are Gaussian, the phase is any of a turn; any rate above 100 Hz holds 50 Hz."""
    for seed in range(3):
        rng = generator(seed, "mains_hum", "a")
        strength, phase = rng.normal(size=9), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * 50 * np.arange(400) / rate + phase)
        out = corruptions()["mains_hum"](record(), rate, 0.2, generator(seed, "mains_hum", "a"))
        np.testing.assert_allclose(out, noisy(np.outer(wave, strength), 0.2, record()), atol=2e-6)


@pytest.mark.parametrize(("rate", "samples"), [(500.0, 400), (500.0, 401), (41.0, 400)])
def test_muscle_noise_is_white_noise_between_20_and_150_hz(rate: float, samples: int) -> None:
    """Both ends are part of it; of records with an odd number of samples too, and at any rate above 40 Hz."""
    white = np.fft.rfft(generator(1, "muscle_noise", "a").normal(size=(samples, 9)), axis=0)
    hertz = np.arange(len(white)) * rate / samples
    band = (hertz > 20 - 1e-9) & (hertz < 150 + 1e-9)
    noise = np.fft.irfft(white * band[:, None], samples, axis=0)
    out = corruptions()["muscle_noise"](record(samples), rate, 0.1, generator(1, "muscle_noise", "a"))
    np.testing.assert_allclose(out, noisy(noise, 0.1, record(samples)), atol=2e-6)


def test_a_gain_is_too_large_for_heads_and_too_small_for_tails() -> None:
    for k in range(8):
        factor = 1.25 if generator(0, "gain", str(k)).random() < 0.5 else 0.8
        out = corruptions()["gain"](record(), RATE, 0.25, generator(0, "gain", str(k)))
        np.testing.assert_allclose(out, factor * record(), rtol=1e-6)


def test_a_stretch_begins_anywhere_up_to_the_last_place_that_holds_it() -> None:
    """3 of 5 samples begin at the first, second or third."""
    starts = []
    for k in range(200):
        out = corruptions()["missing_segment"](record(5), RATE, 0.6, generator(0, "missing_segment", str(k)))
        starts.append(int(np.flatnonzero(np.isnan(out[:, 0]))[0]))
        assert np.isnan(out[:, 0]).sum() == 3
    counts = np.bincount(starts)
    assert len(counts) == 3
    assert counts.min() > 45


def test_any_lead_may_be_lost_or_flat() -> None:
    """The first of a permutation of the twelve that is drawn for each record."""
    for k in range(20):
        for name in ("leads_lost", "flat_leads"):
            drawn = generator(0, name, str(k)).permutation(12)[:4]
            out = corruptions()[name](record(), RATE, 4, generator(0, name, str(k)))
            assert set(np.flatnonzero(out[1] != record()[1])) == set(drawn)


def test_a_rate_once_or_one_and_a_half_times_lower_is_a_lower_rate() -> None:
    slow = np.sin(2 * np.pi * 3 * np.arange(1000) / RATE)[:, None].repeat(12, axis=1).astype(np.float32)
    for factor, difference in ((1, 0.0), (1.5, 0.01)):
        out = corruptions()["resampling"](slow, RATE, factor, generator(0, "resampling", "a"))
        assert np.abs(out - slow).max() <= difference


def test_the_page_lists_every_group_with_its_strengths() -> None:
    page = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    for corruption in ALL.values():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{corruption.group}` |")]
        assert row.endswith(", ".join(f"{strength:g}" for strength in corruption.strengths) + " |")
