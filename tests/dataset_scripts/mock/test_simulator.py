"""The simulator: exact lead relations, determinism, and a visible trace of every finding."""

from __future__ import annotations

import numpy as np
import pytest

from dataset_scripts.mock.findings import FINDINGS
from dataset_scripts.mock.ptb_xl import STATEMENTS
from dataset_scripts.mock.simulator import (
    Anatomy,
    Beats,
    Heart,
    digitise,
    draw_anatomy,
    place_beats,
    simulate,
    twelve_leads,
)
from ecg_hub.errors import UnknownNameError
from ecg_hub.leads import LEADS

AVERAGE = Anatomy(axis=0.0, amplitude=1.0, electrodes=np.ones(8, dtype=np.float32))


def record(*findings: str, seed: int = 0, rate: int = 500, seconds: float = 10.0) -> dict[str, np.ndarray]:
    """Return one average patient's record by lead name, in millivolt."""
    eight = simulate(findings, np.random.default_rng(seed), AVERAGE, seconds, rate)
    return dict(zip(LEADS, twelve_leads(eight).T, strict=True))


def median_beat(*findings: str, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the median beat around the R peaks (-300 to +500 ms at 500 Hz) by lead, and the RR intervals in s."""
    leads = record(*findings, seed=seed)
    # R peaks are found on the steepness of all leads together, so that they do not depend on polarity.
    slope = sum(np.abs(np.gradient(leads[name])) for name in ("II", "V1", "V2", "V5"))
    slope = np.convolve(slope, np.ones(25) / 25, mode="same")
    peaks, threshold = [], 0.45 * np.quantile(slope, 0.995)
    for index in np.flatnonzero(slope > threshold):
        if not peaks or index - peaks[-1] > 120:
            peaks.append(int(index))
    centres = [p + int(np.argmax(slope[p : p + 60])) for p in peaks if 170 < p < 4700]
    cut = {n: np.median([x[c - 150 : c + 250] for c in centres], axis=0) for n, x in leads.items()}
    return {n: x - np.median(x[75:110]) for n, x in cut.items()}, np.diff(centres) / 500.0


def test_every_statement_of_ptb_xl_is_a_finding() -> None:
    assert len(STATEMENTS) == 71
    assert list(FINDINGS)[:71] == sorted(STATEMENTS, key=list(FINDINGS).index)


@pytest.mark.parametrize("finding", FINDINGS)
def test_lead_relations_hold_exactly_and_values_are_plausible(finding: str) -> None:
    units = digitise(simulate([finding], np.random.default_rng(7))).astype(np.int64)
    one, two, three, avr, avl, avf = units[:, :6].T
    assert (three == two - one).all()
    assert (2 * avr == -(one + two)).all()
    assert (2 * avl == 2 * one - two).all()
    assert (2 * avf == 2 * two - one).all()
    assert units.shape == (5000, 12)
    assert 200 < np.abs(units).max() < 6000


def test_relations_hold_in_millivolt_too() -> None:
    leads = record("SR")
    np.testing.assert_allclose(leads["III"], leads["II"] - leads["I"], atol=1e-6)
    np.testing.assert_allclose(leads["aVR"] + leads["aVL"] + leads["aVF"], 0, atol=1e-6)


def test_the_same_seed_gives_the_same_record_and_another_one_another() -> None:
    first, again, other = (simulate(["AFIB"], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).all()


def test_the_order_of_findings_does_not_matter() -> None:
    first, second = (simulate(names, np.random.default_rng(1)) for names in (["LVH", "SR"], ["SR", "LVH"]))
    assert (first == second).all()


def test_unknown_findings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown finding 'AFib'\. Did you mean 'AFIB'"):
        simulate(["AFib"], np.random.default_rng(0))


@pytest.mark.parametrize(("rate", "seconds"), [(100, 10.0), (250, 10.0), (400, 7.5), (1000, 30.0)])
def test_other_rates_and_lengths(rate: int, seconds: float) -> None:
    eight = simulate(["NORM", "SR"], np.random.default_rng(0), seconds=seconds, sampling_rate=rate)
    assert eight.shape == (round(rate * seconds), 8)
    assert eight.dtype == np.float32
    assert 0.4 < np.abs(eight).max() < 5


@pytest.mark.parametrize(
    ("finding", "low", "high"), [("SBRAD", 40, 56), ("SR", 58, 95), ("STACH", 100, 142), ("PSVT", 155, 210)]
)
def test_rates(finding: str, low: float, high: float) -> None:
    for seed in range(3):
        _, intervals = median_beat(finding, seed=seed)
        assert low < 60 / np.median(intervals) < high


def test_fibrillation_is_irregular_and_has_no_p_wave() -> None:
    beat, intervals = median_beat("AFIB")
    sinus, regular = median_beat("SR")
    assert np.std(intervals) / np.mean(intervals) > 0.1 > 3 * np.std(regular) / np.mean(regular)
    p_wave = slice(55, 110)  # 190 to 80 ms before the R peak
    assert np.ptp(sinus["II"][p_wave]) > 0.08
    assert np.ptp(beat["II"][p_wave]) < 0.06


def test_bundle_branch_blocks_widen_the_complex_to_their_side() -> None:
    left, right, normal = (median_beat(name, "SR")[0] for name in ("CLBBB", "CRBBB", "NORM"))
    complex_ = slice(110, 215)

    def width(beat: dict[str, np.ndarray], lead: str) -> int:
        return int((np.abs(beat[lead][complex_]) > 0.15 * np.abs(beat[lead][complex_]).max()).sum())

    assert width(left, "V6") > 1.5 * width(normal, "V6")
    assert left["V1"][complex_].max() < 0.2 < -left["V1"][complex_].min()
    assert right["V1"][complex_].max() > 0.4 > normal["V1"][complex_].max()
    assert right["I"][150:200].min() < -0.2


def test_infarction_shows_in_its_leads() -> None:
    inferior, septal, normal = (median_beat(name, "SR")[0] for name in ("IMI", "ASMI", "NORM"))
    early = slice(115, 150)
    for lead in ("III", "aVF"):
        assert inferior[lead][early].min() < -0.25 < normal[lead][early].min()
    assert septal["V2"][110:150].max() < 0.12 < normal["V2"][110:150].max()


def test_hypertrophy_is_high_voltage_with_strain() -> None:
    thick, normal = (median_beat(name, "SR")[0] for name in ("LVH", "NORM"))
    assert thick["V5"].max() + abs(thick["V1"].min()) > 1.4 * (normal["V5"].max() + abs(normal["V1"].min()))
    t_wave = slice(250, 320)
    assert thick["V6"][t_wave].mean() < 0.0 < normal["V6"][t_wave].mean()


def test_fascicular_block_turns_the_axis() -> None:
    left, right, normal = (median_beat(name, "SR")[0] for name in ("LAFB", "LPFB", "NORM"))

    def axis(beat: dict[str, np.ndarray]) -> float:
        area = {lead: float(beat[lead][120:200].sum()) for lead in ("I", "aVF")}
        return float(np.degrees(np.arctan2(area["aVF"], area["I"])))

    # A normal axis lies between -30 and 90 degrees.
    assert axis(left) < -30 < axis(normal) < 90 < axis(right)


def heart(**changes: object) -> Heart:
    return Heart(**{"rate": 75.0, "irregularity": 0.01, "pr": 160.0, "axis": 0.0, **changes})  # type: ignore[arg-type]


def placed(**changes: object) -> Beats:
    beats = place_beats(heart(**changes), 10.0, np.random.default_rng(3))
    inside = [times[(times > 0) & (times < 10)] for times in (beats.atrial, beats.ventricular, beats.premature)]
    return Beats(*inside, beats.interval)


def test_sinus_beats_follow_p_waves_at_a_fixed_interval() -> None:
    beats = placed(pr=200.0)
    p_waves = beats.atrial[beats.atrial < beats.ventricular[-1]]
    delays = beats.ventricular[np.searchsorted(beats.ventricular, p_waves)] - p_waves
    assert np.ptp(delays) < 1e-9
    assert 0.15 < delays[0] < 0.2
    assert len(beats.ventricular) in (12, 13)


@pytest.mark.parametrize(("pattern", "every"), [("bigeminy", 2), ("trigeminy", 3)])
def test_extrasystoles_are_early_and_followed_by_a_pause(pattern: str, every: int) -> None:
    beats = placed(pattern=pattern)
    everything = np.sort(np.concatenate([beats.ventricular, beats.premature]))
    gaps = np.diff(everything)
    early = np.isin(everything[1:], beats.premature)
    assert abs(len(everything) / len(beats.premature) - every) < 0.7
    assert gaps[early].max() < 0.8 * beats.interval
    assert gaps[1:][early[:-1]].min() > 1.2 * beats.interval


def test_single_premature_beats_come_in_the_asked_number() -> None:
    assert len(placed(ventricular=2).premature) == 2
    gaps = np.diff(placed(atrial=2).ventricular)
    assert (gaps < 0.8 * 0.8).sum() == 2
    assert len(placed(atrial=1, ventricular=1).premature) == 1


def test_blocks_part_atria_and_ventricles() -> None:
    third, second = placed(pattern="third_degree", rate=38.0), placed(pattern="second_degree")
    assert len(third.atrial) > 1.6 * len(third.ventricular)
    assert 0.6 < len(second.ventricular) / len(second.atrial) < 0.85


@pytest.mark.parametrize("rhythm", ["fibrillation", "flutter", "paced"])
def test_rhythms_without_p_waves(rhythm: str) -> None:
    assert len(placed(rhythm=rhythm).atrial) == 0


def test_flutter_conducts_whole_flutter_waves() -> None:
    for rate in (72.0, 110.0, 150.0):
        assert (placed(rhythm="flutter", rate=rate).interval / 0.2) == pytest.approx(round(60 / rate / 0.2))


def test_extrasystoles_are_wide() -> None:
    plain, ectopic = (median_power(*names) for names in (["SR"], ["SR", "BIGU"]))
    assert ectopic > 2 * plain


def median_power(*findings: str) -> float:
    """Return the power of V2 between 1 and 6 Hz, where wide complexes have theirs; the median over five records."""
    powers = []
    for seed in range(5):
        lead = record(*findings, seed=seed)["V2"]
        powers.append(float((np.abs(np.fft.rfft(lead))[10:60] ** 2).sum()))
    return float(np.median(powers))


@pytest.mark.parametrize("finding", sorted(set(FINDINGS) - {"NORM"}))
def test_every_finding_leaves_a_trace(finding: str) -> None:
    """With the same chance, the record differs by more than noise from one without the finding, or in its rhythm."""
    rhythm = () if finding in {"SR", "SBRAD", "STACH", "SARRH", "AFIB", "AFLT", "PACE"} else ("SR",)
    beat, intervals = median_beat(finding, *rhythm, seed=5)
    normal, regular = median_beat("NORM", "SR", seed=5)
    shape = max(np.abs(beat[lead] - normal[lead]).max() for lead in LEADS)
    timing = np.abs(np.quantile(intervals, [0.1, 0.5, 0.9]) - np.quantile(regular, [0.1, 0.5, 0.9])).max()
    assert shape > 0.08 or timing > 0.05 or finding == "SR"


def test_patients_differ_and_sex_and_age_show_on_average() -> None:
    def mean(age: float, female: bool) -> tuple[float, float]:
        people = [draw_anatomy(np.random.default_rng(seed), age, female) for seed in range(200)]
        return float(np.mean([p.amplitude for p in people])), float(np.mean([p.axis for p in people]))

    assert mean(50, True)[0] < 0.95 * mean(50, False)[0]
    assert mean(80, True)[1] < mean(30, True)[1] - 10
