"""Writes an EchoNext folder in its true format: the metadata table, and per split two NumPy arrays.

Records are drawn from a list of cases, with findings of the echocardiogram mapped onto findings that the simulator can
draw; which of them goes with which has no meaning beyond making the labels learnable. Validation and test patients have
one record each, and some an earlier one in no_split; the splits are mixed in the table.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates
from dataset_scripts.mock.simulator import draw_anatomy, simulate, twelve_leads
from dataset_scripts.published.echonext import LABELS, METADATA, OTHER_SPELLING, SPLITS

RATE, SAMPLES = 250, 2500
MILLIVOLT_PER_Z = 0.22
MEASURED = (
    *("lvef_value", "ivs_measurement", "lvpw_measurement", "aortic_stenosis_value", "aortic_regurgitation_value"),
    *("mitral_regurgitation_value", "tricuspid_regurgitation_value", "pulmonary_regurgitation_value"),
    *("rv_systolic_function_value", "pericardial_effusion_value", "pasp_value", "tr_max_velocity_value"),
)
COMPOSITE = "shd_moderate_or_greater_flag"
COLUMNS = (
    *("ecg_key", "patient_key", "acquisition_year", "location_setting", "race_ethnicity", "most_recent_ecg", "sex"),
    *("age_at_ecg", "ventricular_rate", "atrial_rate", "pr_interval", "qrs_duration", "qt_corrected", "split"),
    *MEASURED,
    *LABELS,
    COMPOSITE,
)
AWKWARD = ("empty flag", "missing samples", "flat lead", "infinite sample", "unreadable flag")
"""What `awkward=True` does to one training record each, in this order; the metadata get their other spelling, too."""

_NAMES = dict(
    zip(("ef", "wall", "as", "ar", "mr", "tr", "pr", "rv", "effusion", "pasp", "velocity"), LABELS, strict=True)
)
_CASES = """
24 : NORM SR | 6 : SBRAD | 6 : PVC SR | 5 : NDT SR
5 ef : ASMI SR | 5 wall : LVH SR | 4 as : VCLVH LAO/LAE SR | 4 ar : HVOLT SR | 4 mr : AFIB | 4 tr : RAO/RAE SR
4 pr : IRBBB SR | 4 rv : CRBBB SR | 4 effusion : LVOLT STACH | 4 pasp : RVH SR | 4 velocity : LPFB SR
3 ef mr : ASMI AFIB | 3 wall as : LVH VCLVH LAO/LAE SR | 3 tr pasp : RAO/RAE RVH SR | 2 rv pr : CRBBB IRBBB SR
2 ef wall mr : CLBBB AFIB
"""


def _parse_case(text: str) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
    head, findings = text.split(":")
    weight, *names = head.split()
    return float(weight), tuple(_NAMES[name] for name in names), tuple(findings.split())


CASES = tuple(_parse_case(text) for line in _CASES.strip().splitlines() for text in line.split("|"))
"""(weight, labels, findings of the simulator)."""


@dataclass
class EchoNextRecord:
    """One record to be written."""

    ecg_key: int
    patient: int
    age: int
    male: bool
    case: int
    split: str
    recent: bool = True
    awkward: str = ""


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree; no threshold depends on its size, because the label list is fixed."""
    check_rates("EchoNext", (RATE,), sampling_rates)
    entries = plan(records, seed)
    training = [entry for entry in entries if entry.split == "train"]
    for entry, kind in awkward_cases(training, AWKWARD, awkward, records):
        entry.awkward = kind
    for split in SPLITS:
        _write_arrays(folder, [entry for entry in entries if entry.split == split], split, seed)
    _write_table(folder / (OTHER_SPELLING if awkward else METADATA), entries, seed)
    return {}


def plan(records: int, seed: int) -> list[EchoNextRecord]:
    """Draw the records: cases, splits, patients, in the order of the table."""
    rng = np.random.default_rng([seed, 1])
    earlier = records * 6 // 100
    drawn: list[tuple[int, str, int]] = []
    patient = 0
    for case, count in enumerate(case_counts(records - earlier, [weight for weight, _, _ in CASES], floor=0)):
        own: list[int] = []
        for number in range(count):
            # By turns within each case, so that what is rare reaches validation and test as well.
            split = {1: "test", 2: "val"}.get(number % 8, "train")
            again = split == "train" and own and rng.random() < 0.4
            if not again:
                patient += 1
            person = own[int(rng.integers(len(own)))] if again else patient
            if split == "train":
                own.append(person)
            drawn.append((case, split, person))
    # no_split holds earlier records of validation and test patients.
    held = [item for item in drawn if item[1] in ("val", "test")] or drawn
    drawn += [(case, "no_split", person) for case, _, person in (held[n % len(held)] for n in range(earlier))]
    keys = rng.choice(9_000_000, size=records, replace=False) + 100_000
    names = (
        rng.permutation(90_000 + 10 * records)[: patient + 1] + 7
    )  # keys of one to six digits: text order is not theirs
    return [
        _entry(int(keys[n]), drawn[position], names, seed) for n, position in enumerate(rng.permutation(len(drawn)))
    ]


def _entry(key: int, drawn: tuple[int, str, int], names: np.ndarray, seed: int) -> EchoNextRecord:
    case, split, person = drawn
    patient = int(names[person])
    own = np.random.default_rng([seed, 2, patient])
    age = int(np.clip(own.normal(62 if CASES[case][1] else 54, 15), 18, 90))
    return EchoNextRecord(key, patient, age, bool(own.random() < 0.5), case, split, recent=split != "no_split")


def _write_arrays(folder: Path, entries: Sequence[EchoNextRecord], split: str, seed: int) -> None:
    """Write waveforms [n, 1, 2500, 12] and tabular features [n, 7], both float64."""
    header = {"descr": "<f8", "fortran_order": False, "shape": (len(entries), 1, SAMPLES, 12)}
    with (folder / f"EchoNext_{split}_waveforms.npy").open("wb") as handle:
        # Header first, then record by record: the whole array would not fit into memory.
        np.lib.format.write_array_header_1_0(handle, header)
        handle.writelines(_waveform(entry, seed).astype("<f8").tobytes() for entry in entries)
    features = np.array([_features(entry, seed) for entry in entries], dtype="<f8").reshape(-1, 7)
    features[:, 1:] = (features[:, 1:] - (60, 75, 75, 160, 95, 440)) / (16, 17, 30, 32, 22, 35)
    np.save(folder / f"EchoNext_{split}_tabular_features.npy", features)


def _waveform(entry: EchoNextRecord, seed: int) -> np.ndarray:
    """Return one record as z-scores, (2500, 12): centred, clipped at percentiles, divided by a fixed value."""
    anatomy = draw_anatomy(np.random.default_rng([seed, 3, entry.patient]), entry.age, not entry.male)
    rng = np.random.default_rng([seed, 4, entry.ecg_key])
    signal = twelve_leads(simulate(CASES[entry.case][2], rng, anatomy, SAMPLES / RATE, RATE)).astype(np.float64)
    signal -= np.median(signal, axis=0)
    signal = np.clip(signal, *np.quantile(signal, [0.001, 0.999], axis=0)) / MILLIVOLT_PER_Z
    if entry.awkward == "missing samples":
        signal[600:640, 5] = np.nan
    elif entry.awkward == "flat lead":
        signal[:, 9] = 0.0
    elif entry.awkward == "infinite sample":
        signal[10, 0] = np.inf
    return signal


def _features(entry: EchoNextRecord, seed: int) -> tuple[float, ...]:
    """Return sex, age, ventricular and atrial rate, PR, QRS and corrected QT: the true order of the arrays."""
    rng = np.random.default_rng([seed, 6, entry.ecg_key])
    rate = 75 + 14 * rng.standard_normal()
    noise = rng.standard_normal(3)
    return (
        *(float(entry.male), float(entry.age), round(rate), round(rate)),
        *(round(160 + 25 * noise[0]), round(95 + 15 * noise[1]), round(440 + 28 * noise[2])),
    )


def _write_table(path: Path, entries: Sequence[EchoNextRecord], seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    with path.open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(_row(entry, rng, seed) for entry in entries)


def _row(entry: EchoNextRecord, rng: np.random.Generator, seed: int) -> dict[str, Any]:
    given = CASES[entry.case][1]
    flags: dict[str, Any] = {label: int(label in given) for label in LABELS}
    measured = _measurements(flags, rng)
    if entry.awkward == "empty flag":
        flags["tr_max_gte_32_flag"] = ""
    elif entry.awkward == "unreadable flag":
        flags["pasp_gte_45_flag"] = "n.d."
    rates = dict(zip(COLUMNS[8:13], _features(entry, seed)[2:], strict=True))
    return {
        "ecg_key": entry.ecg_key,
        "patient_key": entry.patient,
        "acquisition_year": int(rng.integers(2008, 2023)),
        "location_setting": ("Inpatient", "Outpatient", "Emergency")[int(rng.integers(3))],
        "race_ethnicity": ("Group A", "Group B", "Group C", "Unknown")[int(rng.integers(4))],
        "most_recent_ecg": entry.recent,
        "sex": "male" if entry.male else "female",
        "age_at_ecg": entry.age,
        **rates,
        "split": entry.split,
        **measured,
        **flags,
        COMPOSITE: int(bool(given)),
    }


def _measurements(flags: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return the measured values behind the flags; where a flag is 0 many are absent, as in the release."""
    given = list(flags.values())
    thick, low = (14.5, 9.5), (35, 60)
    graded = ["moderate" if given[n] else "none" for n in range(2, 7)]
    values: list[Any] = [low[not given[0]], *[thick[not given[1]]] * 2, *graded]
    values += ["moderately_reduced" if given[7] else "normal", "large" if given[8] else "none"]
    values += [52 if given[9] else 28, 3.4 if given[10] else 2.3]
    sources = (0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    absent = rng.random(len(MEASURED)) < (0.1, 0.1, 0.1, *[0.05] * 5, 0.1, 0.12, 0.43, 0.55)
    return {
        name: "" if gone and not given[source] else value
        for name, value, gone, source in zip(MEASURED, values, absent, sources, strict=True)
    }
