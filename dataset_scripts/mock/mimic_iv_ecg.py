"""Writes a MIMIC-IV-ECG folder in its true formats: nine tables, and a tree of WFDB records.

Patients are drawn from a list of cases (findings and ICD-10 codes that go together), with one to three ECGs each, also
ECGs that the selection leaves out: not in the emergency department, without codes, or a later one of a stay. Waveforms
have the stored lead order with aVF before aVL, 200 units per mV, and here and there missing samples. The machine
measurements are taken from the simulated signals. All identifiers, times and values are invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.mock.cases import check_rates
from dataset_scripts.mock.mimic_tables import write_tables
from dataset_scripts.mock.simulator import digitise, draw_anatomy, simulate
from dataset_scripts.published.mimic_iv_ecg.names import FOLDS
from ecg_hub.errors import InputError
from ecg_hub.input.samples import MISSING

HEADER_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
# From the canonical order: MIMIC-IV-ECG has aVF before aVL.
STORED_COLUMNS = (0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11)
UNITS_PER_MV = 200
RATE = 500
AWKWARD = ("missing samples", "missing from the start", "lead missing", "truncated file", "missing file")
"""What `awkward=True` does to the waveform of one used ECG each, in this order, at the end of the table."""

# weight, findings of the simulator, codes that go with them
_CASES = """
90 SR|R079 Z87891
60 SR|R0789 F329
40 NDT SR|I10 E785
45 LVH SR|I10 I119
25 LVH LAO/LAE SR|I5033 I509 I10
20 NDT LAFB SR|I5023 I509 I429
40 AFIB|I4891 I10
20 AFIB LVH|I482 I509 I10
12 AFLT|I4892
25 IMI SR|I252 I2510
25 ASMI SR|I252 I2510 I255
20 ISC_ STD_ SR|I214 I2510
12 INJAS ASMI SR|I2109 I213
15 CLBBB SR|I447 I429
20 CRBBB SR|I4510 I2720
15 1AVB SR|I440
10 3AVB|I442 Z950
16 PACE|Z950 I495
30 SBRAD|R001
40 STACH|R000 A419
20 STACH NDT|J9601 A419 R6521
12 STACH RVH RAO/RAE|I2699 I2720 J9601
12 LNGQT SR|I4581 T43215A
12 EL SR|E875 N186 Z992
20 LOWT SR|E876 E871
12 LVOLT SR|I313 J90
20 PVC SR|I493
15 PAC SR|I491
"""
CASES: tuple[tuple[float, tuple[str, ...], tuple[str, ...]], ...] = tuple(
    (float(line.split(maxsplit=1)[0]), tuple(left.split()[1:]), tuple(right.split()))
    for line in _CASES.strip().splitlines()
    for left, _, right in [line.partition("|")]
)
# code, chance in men, chance in women: what stands in lists whatever the ECG shows
BACKGROUND = (
    *(("E119", 0.28, 0.24), ("E785", 0.4, 0.35), ("N179", 0.2, 0.14), ("K219", 0.2, 0.25), ("N400", 0.3, 0.0)),
    *(("N390", 0.05, 0.25), ("F419", 0.1, 0.2), ("J449", 0.15, 0.12), ("D649", 0.15, 0.22), ("E039", 0.05, 0.18)),
    *(
        ("Z7982", 0.2, 0.15),
        ("Z794", 0.12, 0.1),
        ("W19XXXA", 0.06, 0.09),
        ("T36X5XA", 0.05, 0.05),
        ("G4733", 0.1, 0.05),
    ),
    *(("Y92239", 0.08, 0.08), ("M810", 0.02, 0.15), ("Z66", 0.05, 0.05)),
)


@dataclass
class Ecg:
    """One ECG to be written.

    Attributes:
        subject, study: identifiers.
        time: when it was recorded.
        number: its number within the stay, 0 first; -1 outside of a stay.
        in_ed: whether it was taken in the emergency department.
        stay: identifier of the emergency stay, or None.
        arrival: start of that stay.
        codes: ICD-10 codes as written.
        fold, strat_fold: of the patient.
        findings: what the simulator shows.
        measured: the machine's measurements, once the signal is there.
    """

    subject: int
    study: int
    time: datetime
    age: int
    female: bool
    sex_known: bool
    number: int
    in_ed: bool
    stay: int | None
    arrival: datetime
    codes: list[str]
    fold: int
    strat_fold: int
    findings: tuple[str, ...]
    awkward: str = ""
    selected: bool = True
    measured: dict[str, int] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Path below the raw folder without ending."""
        return f"files/p{str(self.subject)[:4]}/p{self.subject}/s{self.study}/{self.study}"


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree, with `records` kept ECGs and a quarter more that rules leave out; return its thresholds."""
    check_rates("MIMIC-IV-ECG", (RATE,), sampling_rates)
    if awkward and records <= len(AWKWARD):
        raise InputError(f"records={records!r} is too few for the {len(AWKWARD)} awkward cases.")
    thresholds = {"min_icd_count": max(2, records // 40), "min_chart_count": max(4, records // 10)}
    ecgs = plan(records, seed)
    last = [ecg for ecg in ecgs if ecg.selected][-len(AWKWARD) :]
    for ecg, kind in zip(last, AWKWARD if awkward else (), strict=False):
        ecg.awkward = kind
    _codes_at_the_limit(ecgs, thresholds["min_icd_count"])
    for ecg in ecgs:
        _write_signal(folder, ecg, seed)
    write_tables(folder, ecgs, seed, thresholds["min_chart_count"])
    return thresholds


def plan(records: int, seed: int) -> list[Ecg]:
    """Draw patients until the selection keeps as many ECGs as asked for; sorted by subject and time as in the table."""
    rng = np.random.default_rng([seed, 1])
    weights = np.array([weight for weight, _, _ in CASES])
    of_case = [0] * len(CASES)
    ecgs: list[Ecg] = []
    kept = patient = 0
    while kept < records:
        case = int(rng.choice(len(CASES), p=weights / weights.sum()))
        turn = (of_case[case] + case) % 8
        strat_fold = FOLDS - turn if turn in (1, 2) else int(rng.integers(0, FOLDS - 2))
        # The column for selection has validation and test patients of its own.
        fold = {3: FOLDS - 1, 7: FOLDS - 2}.get(patient % 10, int(rng.integers(0, FOLDS - 2)))
        of_case[case] += 1
        for ecg in _patient(rng, patient, case, fold, strat_fold):
            ecg.selected = ecg.in_ed and bool(ecg.codes) and (fold < FOLDS - 2 or ecg.number == 0)
            # Not one kept ECG more than asked for, also where a patient would have another.
            if ecg.selected and kept == records:
                continue
            kept += ecg.selected
            ecgs.append(ecg)
        patient += 1
    ecgs.sort(key=lambda ecg: (ecg.subject, ecg.time))
    for number, ecg in enumerate(ecgs):
        # After sorting: study numbers rise with the rows, and are no row numbers.
        ecg.study = 40_000_007 + 3 * number
    return ecgs


def _patient(rng: np.random.Generator, patient: int, case: int, fold: int, strat_fold: int) -> list[Ecg]:
    """Draw a patient's ECGs: the first one is kept, later ones are often left out by a rule."""
    _, findings, codes = CASES[case]
    subject = 10_000_019 + 97 * patient + 20_000 * (patient % 7)
    female = bool(rng.random() < 0.48)
    age = int(np.clip(rng.normal(52 if findings == ("SR",) else 68, 15), 18, 98))
    arrival = datetime(2140, 1, 1) + timedelta(minutes=int(rng.integers(0, 20_000_000)))
    stay = 30_000_000 + patient * 5
    ecgs = []
    for number in range(int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))):
        kind = "first" if number == 0 else str(rng.choice(["same stay", "inpatient", "no codes", "new stay"]))
        if kind == "new stay":
            arrival += timedelta(days=int(rng.integers(2, 400)))
            stay += 1
        offset = timedelta(minutes=int(rng.integers(3, 80)) + (90 * number if kind == "same stay" else 0))
        listed = [code for code, men, women in BACKGROUND if rng.random() < (women if female else men)]
        ecgs.append(
            Ecg(
                subject=subject,
                study=0,
                time=arrival
                + offset
                + timedelta(days=2 if kind == "inpatient" else 0, seconds=int(rng.integers(0, 60))),
                age=age,
                female=female,
                sex_known=patient % 25 != 24,
                number={"same stay": number, "inpatient": -1}.get(kind, 0),
                in_ed=kind != "inpatient",
                stay=None if kind == "inpatient" else stay,
                arrival=arrival,
                codes=[] if kind == "no codes" else _spelled([*codes, *listed], rng),
                fold=fold,
                strat_fold=strat_fold,
                findings=findings,
            )
        )
    return ecgs


def _spelled(codes: list[str], rng: np.random.Generator) -> list[str]:
    """Return codes in the spellings of the original: here and there with blanks, or listed twice."""
    # Real lists hold both, and the label rule has to undo them.
    written = [f"{code}  " if rng.random() < 0.02 else code for code in codes]
    return [*written, written[0]] if rng.random() < 0.05 else written


def _codes_at_the_limit(ecgs: Sequence[Ecg], limit: int) -> None:
    """Give one code to exactly as many ECGs as the limit asks for, and another to one fewer."""
    coded = [ecg for ecg in ecgs if ecg.codes]
    for number, ecg in enumerate(coded[: 2 * limit]):
        if number < limit:
            ecg.codes.append("H9190")
        elif number < 2 * limit - 1:
            ecg.codes.append("L570")


def _write_signal(folder: Path, ecg: Ecg, seed: int) -> None:
    anatomy = draw_anatomy(np.random.default_rng([seed, 3, ecg.subject]), ecg.age, ecg.female)
    rng = np.random.default_rng([seed, 4, ecg.study])
    eight = simulate(ecg.findings, rng, anatomy)
    ecg.measured = measure(eight, ecg.findings, rng)
    values = digitise(eight, UNITS_PER_MV)[:, STORED_COLUMNS]
    if ecg.study % 50 == 7:
        values[1200:1240, 6] = MISSING
    if ecg.awkward == "missing samples":
        values[1000:1100, 7] = MISSING
        values[-50:, 1] = MISSING
    elif ecg.awkward == "missing from the start":
        values[:300, 4] = MISSING
    elif ecg.awkward == "lead missing":
        values[:, 11] = MISSING
    _write_wfdb(folder / ecg.stem, ecg, values)


def _write_wfdb(stem: Path, ecg: Ecg, values: np.ndarray) -> None:
    """Write one record as the original does: format 16, 200 units per mV."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # WFDB's checksum: the sum in 16 bits.
    sums = values.sum(axis=0, dtype=np.int64) % 65536
    lines = [f"{stem.name} 12 {RATE} {len(values)} {ecg.time:%H:%M:%S} {ecg.time:%d/%m/%Y}"]
    lines += [
        f"{stem.name}.dat 16 {UNITS_PER_MV}.0(0)/mV 16 0 {first} {total} 0 {lead}"
        for lead, first, total in zip(HEADER_LEADS, values[0], sums, strict=True)
    ]
    lines.append(f"# <subject_id>: {ecg.subject}")
    stem.with_suffix(".hea").write_text("\n".join(lines) + "\n", encoding="ascii")
    if ecg.awkward != "missing file":
        content = values.astype("<i2").tobytes()
        stem.with_suffix(".dat").write_bytes(
            content[: len(content) // 3] if ecg.awkward == "truncated file" else content
        )


def measure(eight: np.ndarray, findings: Sequence[str], rng: np.random.Generator) -> dict[str, int]:
    """Return what the machine measures on a signal (samples, 8): times in ms, axes in degrees, 29999 for none."""
    peaks = _r_peaks(eight)
    rr = float(np.median(np.diff(peaks))) * 1000 / RATE if len(peaks) > 2 else 29999.0
    wide = {"CLBBB", "CRBBB", "PACE"} & set(findings)
    onset = 180 + int(rng.integers(0, 40))
    qrs = (140 if wide else 90) + int(rng.integers(-8, 9))
    qt = 400 * np.sqrt(min(rr, 2000) / 1000) * (1.28 if "LNGQT" in findings else 1.0) + rng.normal(0, 8)
    no_p = bool({"AFIB", "AFLT", "PACE"} & set(findings))
    return {
        "rr_interval": round(rr),
        "p_onset": 29999 if no_p else 40,
        "p_end": 29999 if no_p else 140,
        "qrs_onset": onset,
        "qrs_end": onset + qrs,
        "t_end": onset + round(float(qt)),
        "p_axis": 29999 if no_p else int(rng.normal(50, 15)),
        "qrs_axis": _axis(eight, peaks, -25, 25),
        "t_axis": _axis(eight, peaks, 90, 170),
    }


def _r_peaks(eight: np.ndarray) -> np.ndarray:
    """Return the samples with the steepest slopes over all leads, 250 ms apart or more."""
    slope = np.convolve((np.diff(eight, axis=0) ** 2).sum(axis=1), np.ones(20) / 20, mode="same")
    # A share of a high quantile and not of the maximum, which one artefact would set.
    order = np.flatnonzero(slope > 0.3 * np.quantile(slope, 0.995))
    peaks: list[int] = []
    for sample in order:
        if not peaks or sample - peaks[-1] > RATE // 4:
            peaks.append(int(sample))
        elif slope[sample] > slope[peaks[-1]]:
            peaks[-1] = int(sample)
    return np.array(peaks)


def _axis(eight: np.ndarray, peaks: np.ndarray, start: int, stop: int) -> int:
    """Return the direction in the frontal plane of the area under a part of the beat, degrees."""
    parts = [eight[peak + start : peak + stop, :2].sum(axis=0) for peak in peaks if start + peak >= 0]
    if not parts:
        return 29999
    # aVF follows as II - I / 2. An augmented lead is smaller by sqrt(3) / 2 than I, which the factor below takes back.
    first, second = np.median(parts, axis=0)
    return round(float(np.degrees(np.arctan2((second - first / 2) * 2 / np.sqrt(3), first))))
