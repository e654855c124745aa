"""Writes a CODE-15% folder in its true format: exams.csv, and HDF5 parts that each end with an empty row.

Exams are drawn from a list of cases, with the six diagnoses far more frequent than in the release, so that few hundred
exams hold enough of each. One exam in five is a recording of 7.3 s between zeros.
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
from dataset_scripts.published.code_15 import LABELS

RATE = 400
# 10.24 s, the length of every row, and about 7.3 s, the shorter recordings of the release.
SAMPLES, SHORT_SAMPLES = 4096, 2934
COLUMNS = (
    *("exam_id", "age", "is_male", "nn_predicted_age", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"),
    *("patient_id", "death", "timey", "normal_ecg", "trace_file"),
)
AWKWARD = (
    *("interior flat stretch", "odd padding", "large amplitude", "missing samples", "empty age", "all-zero tracing"),
    *("no row in exams.csv", "no tracing", "damaged row", "damaged part"),
)
"""What `awkward=True` does to one exam each, in this order, to the last exams that are drawn."""

CASES: tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...] = (
    (24, (), ("NORM", "SR")),
    (4, (), ("LVH", "SR")),
    (4, (), ("NDT", "SR")),
    (4, (), ("IMI", "SR")),
    (4, (), ("PVC", "SR")),
    (8, ("1AVB",), ("1AVB", "SR")),
    (9, ("RBBB",), ("CRBBB", "SR")),
    (8, ("LBBB",), ("CLBBB", "SR")),
    (9, ("SBRAD",), ("SBRAD",)),
    (8, ("AFIB",), ("AFIB",)),
    (9, ("STACH",), ("STACH",)),
    (2, ("1AVB", "RBBB"), ("1AVB", "CRBBB", "SR")),
    (2, ("LBBB", "AFIB"), ("CLBBB", "AFIB")),
    (2, ("RBBB", "AFIB"), ("CRBBB", "AFIB")),
    (2, ("1AVB", "SBRAD"), ("1AVB", "SBRAD")),
    (1, ("RBBB", "STACH"), ("CRBBB", "STACH")),
)
"""(weight, labels, findings of the simulator)."""


@dataclass
class Exam:
    """One exam to be written."""

    exam_id: int
    patient: int
    age: int
    male: bool
    case: int
    samples: int
    part: int
    awkward: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its diagnoses."""
        return CASES[self.case][1]


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size."""
    check_rates("CODE-15%", (RATE,), sampling_rates)
    exams = plan(records, seed)
    for exam, kind in awkward_cases(exams, AWKWARD, awkward, records):
        exam.awkward = kind
        if kind == "damaged part":
            # In a part of its own, so that the damage takes no other exam along.
            exam.part = 1 + max(other.part for other in exams)
    for part in sorted({exam.part for exam in exams}):
        _write_part(folder, [exam for exam in exams if exam.part == part], part, seed)
    _write_table(folder, exams, seed)
    return {"folds": min(100, max(5, records // 100))}


def plan(records: int, seed: int) -> list[Exam]:
    """Draw the exams: cases, patients, lengths, parts, in the order of the files."""
    rng = np.random.default_rng([seed, 1])
    counts = case_counts(records, [weight for weight, _, _ in CASES], floor=0)
    cases = rng.permutation([case for case, count in enumerate(counts) for _ in range(count)])
    exam_ids = rng.choice(4_500_000, size=records, replace=False) + 1
    new_patients = iter((rng.choice(1_700_000, size=records, replace=False) + 1).tolist())
    parts = min(18, 2 + records // 500, records)
    patients: list[int] = []
    seen = [0] * len(CASES)
    exams = []
    for number, case in enumerate(cases.tolist()):
        again = patients and rng.random() < 0.25
        patients.append(patients[int(rng.integers(len(patients)))] if again else next(new_patients))
        person = np.random.default_rng([seed, 2, patients[-1]])
        age = int(np.clip(person.normal(53, 17), 17, 100))
        # By case, so that the length rule leaves records of every label.
        short = seen[case] % 5 == 4
        seen[case] += 1
        exams.append(
            Exam(
                exam_id=int(exam_ids[number]),
                patient=patients[-1],
                age=age,
                male=bool(person.random() < 0.4),
                case=case,
                samples=SHORT_SAMPLES if short else SAMPLES,
                part=number * parts // records,
            )
        )
    return exams


def _write_part(folder: Path, exams: Sequence[Exam], part: int, seed: int) -> None:
    """Write one part as the original does: contiguous arrays, and one row of zeros with exam_id 0 at the end."""
    import h5py

    path = folder / f"exams_part{part}.hdf5"
    written = [exam for exam in exams if exam.awkward != "no tracing"]
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([*(exam.exam_id for exam in written), 0], dtype=np.int64)
        tracings = file.create_dataset("tracings", (len(written) + 1, SAMPLES, 12), dtype="<f4")
        for row, exam in enumerate(written):
            tracings[row] = _tracing(exam, seed)
        tracings[len(written)] = 0.0
    if any(exam.awkward == "damaged part" for exam in exams):
        with path.open("r+b") as handle:
            handle.truncate(path.stat().st_size * 3 // 5)


def _tracing(exam: Exam, seed: int) -> np.ndarray:
    """Return one row of a part, (4096, 12) float32 in millivolt."""
    anatomy = draw_anatomy(np.random.default_rng([seed, 3, exam.patient]), exam.age, not exam.male)
    rng = np.random.default_rng([seed, 4, exam.exam_id])
    samples = SHORT_SAMPLES + 1 if exam.awkward == "odd padding" else exam.samples
    signal = twelve_leads(simulate(CASES[exam.case][2], rng, anatomy, samples / RATE, RATE))
    out = np.zeros((SAMPLES, 12), dtype=np.float32)
    if exam.awkward == "all-zero tracing":
        return out
    # The release pads shorter recordings by zeros on both sides.
    start = (SAMPLES - len(signal)) // 2
    out[start : start + len(signal)] = signal
    if exam.awkward == "interior flat stretch":
        out[2000:2200] = 0.0
    elif exam.awkward == "large amplitude":
        out[1000:1040, 7] = 281.0
    elif exam.awkward == "missing samples":
        out[1500:1530, 3] = np.nan
    return out


def _write_table(folder: Path, exams: Sequence[Exam], seed: int) -> None:
    """Write exams.csv in an order of its own."""
    rng = np.random.default_rng([seed, 5])
    with (folder / "exams.csv").open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        table.writeheader()
        # As in the release: whoever joins by position labels nearly every exam wrongly.
        for position in rng.permutation(len(exams)):
            exam = exams[position]
            row = _row(exam, rng)
            if exam.awkward == "damaged row":  # a cell too early, as after a lost value
                row = dict(zip(COLUMNS, [row["exam_id"], *list(row.values())[2:], ""], strict=True))
            if exam.awkward != "no row in exams.csv":
                table.writerow(row)


def _row(exam: Exam, rng: np.random.Generator) -> dict[str, Any]:
    chance = rng.random(2)
    followed = chance[0] < 0.68
    given = {column: label in exam.labels for label, (column, _) in LABELS.items()}
    return {
        "exam_id": exam.exam_id,
        "age": "" if exam.awkward == "empty age" else exam.age,
        "is_male": exam.male,
        "nn_predicted_age": f"{exam.age + rng.normal(0, 9):.6f}",
        **{column: given[column] for column in COLUMNS[4:10]},
        "patient_id": exam.patient,
        "death": bool(chance[1] < 0.04) if followed else "",
        "timey": f"{rng.uniform(0.5, 8):.6f}" if followed else "",
        "normal_ecg": exam.case == 0,
        "trace_file": f"exams_part{exam.part}.hdf5",
    }
