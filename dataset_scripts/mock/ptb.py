"""Writes a PTB folder (ptbdb) in its true format: RECORDS, headers with CRLF and 48 comments, .dat and .xyz.

Records last 10 s instead of 32 to 120 s, so that 1,000 of them take less than 250 MB; for the same reason only every
twentieth has its .xyz file (Frank leads), which the others' headers name as well. Diagnoses that no ECG shows (obesity)
are given a shape of their own. From about 1,000 records on every label of the benchmark occurs in every split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.mock.cases import awkward_cases, case_counts, check_rates, deal
from dataset_scripts.mock.simulator import DOWER, digitise, draw_anatomy, simulate
from dataset_scripts.published.ptb import FOLDS, INFARCTION, RECORDS, diagnoses, patient_folds
from ecg_hub.input.samples import MISSING

SAMPLING_RATE = 1000
SECONDS = 10.0
# The release's: a unit is half a microvolt.
UNITS_PER_MV = 2000
XYZ_EVERY = 20
RECORDS_PER_FLOOR = 250
LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
FRANK_LEADS = ("vx", "vy", "vz")
AWKWARD = (
    *("cut .dat", "no .dat", "no file", "no diagnosis key", "comment without colon", "infarction date of a dash"),
    *("infarction date of four digits", "no age and sex", "missing samples", "no diagnosis", "odd age"),
)
"""What `awkward=True` does to one record each, in this order, at the end of RECORDS."""

_CASES = """
300 Myocardial infarction old         | no
200 Myocardial infarction old         | Arterial hypertension, Hyperlipoproteinemia Type IIa
60  Myocardial infarction old         | Diabetes mellitus, Arterial Hypertension
40  Myocardial infarction old         | Obesity, Hypercholesterinemia
20  Myocardial infarction old         | peripheral atherosclerosis, Hyperlipemia
16  Myocardial infarction old         | Renal insufficiency
110 Myocardial infarction catheterized | Hypercholesterinemia
60  Myocardial infarction catheterized | Obesity, Hyperlipoproteinemia Type IV
14  Myocardial infarction catheterized | Ventricular fibrillation
40  Myocardial infarction acute       | Arterial hypertension
12  Myocardial infarction acute       | Coronary artery disease, unknown
140 Healthy control                   | no
26  Bundle branch block               | no
8   Bundle branch block               | Atrial fibrillation
22  Cardiomyopathy                    | no
8   Cardiomyopathy                    | Atrial fibrillation, Renal insufficiency
8   Cardiomyopathy                    | Ventricular tachycardia
20  Dysrhythmia                       | no
8   Dysrhythmia                       | Recurrent ventricular tachycardias
6   Dysrhythmia                       | Ventricular fibrillation, Peripheral atherosclerosis
12  Stable angina                     | Coronary artery disease
8   Hypertrophy                       | Hyperlipidemia
6   Valvular heart disease            | Mitral regurgitation (grade 2)
20  n/a                               | n/a
"""

FINDINGS: dict[str, tuple[str, ...]] = {
    "Healthy control": ("NORM", "SR"),
    "Bundle branch block": ("CLBBB",),
    "Cardiomyopathy": ("IVCD", "NDT"),
    "Dysrhythmia": ("SVARR",),
    "Arterial hypertension": ("VCLVH",),
    "Diabetes mellitus": ("LOWT",),
    "Hypercholesterinemia": ("LPR",),
    "Hyperlipoproteinemia": ("NST_",),
    "Obesity": ("LVOLT",),
    "Coronary artery disease": ("ISC_",),
    "Peripheral atherosclerosis": ("LAO/LAE",),
    "Renal insufficiency": ("EL",),
    "Atrial fibrillation": ("AFIB",),
    "Ventricular fibrillation": ("LNGQT",),
    "Ventricular tachycardia": ("PVC",),
    "Myocardial infarction old": ("IMI",),
    "Myocardial infarction acute": ("ASMI", "STE_"),
    "Myocardial infarction acute catheterized": ("ASMI", "STE_", "INVT"),
    "Hypertrophy": ("LVH",),
    "Valvular heart disease": ("RAO/RAE",),
    "Stable angina": ("STD_",),
}
"""Label -> what shows in the signal."""

# Spelt as in the headers of the release, "laod" included.
_EMPTY_KEYS = """
Peripheral blood Pressure (syst/diast)|Pulmonary artery pressure (at rest) (syst/diast)
Pulmonary artery pressure (at rest) (mean)|Pulmonary capillary wedge pressure (at rest)|Cardiac output (at rest)
Cardiac index (at rest)|Stroke volume index (at rest)|Pulmonary artery pressure (laod) (syst/diast)
Pulmonary artery pressure (laod) (mean)|Pulmonary capillary wedge pressure (load)|Cardiac output (load)
Cardiac index (load)|Stroke volume index (load)|Aorta (at rest) (syst/diast)|Aorta (at rest) mean
Left ventricular enddiastolic pressure|Left coronary artery stenoses (RIVA)|Left coronary artery stenoses (RCX)
Right coronary artery stenoses (RCA)|Echocardiography
"""
HAEMODYNAMICS = tuple(key for line in _EMPTY_KEYS.strip().splitlines() for key in line.split("|"))
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Case:
    """Diagnoses that go together.

    Attributes:
        weight: how often.
        reason: reason for admission.
        state: "old", "acute" or "catheterized" for an infarction, else "".
        additional: the additional diagnoses as they stand in the header.
    """

    weight: float
    reason: str
    state: str
    additional: str


def _parse_case(line: str) -> Case:
    weight, rest = line.split(maxsplit=1)
    reason, additional = (part.strip() for part in rest.split("|"))
    name, _, state = reason.rpartition(" ")
    return Case(float(weight), *((name, state) if name == INFARCTION else (reason, "")), additional)


CASES = tuple(map(_parse_case, _CASES.strip().splitlines()))


@dataclass
class PtbRecord:
    """One record to be written."""

    number: int
    patient: int
    case: Case
    recorded: date
    infarction: date | None
    catheterization: date | None
    awkward: str = ""

    @property
    def name(self) -> str:
        """Folder and name of its files."""
        return f"patient{self.patient:03d}/s{self.number:04d}{'_re' if self.number % 4 else 'lre'}"


def write(folder: Path, records: int, seed: int, awkward: bool, sampling_rates: Sequence[int] | None) -> dict[str, Any]:
    """Write the tree and return the thresholds that suit its size."""
    check_rates("PTB", (SAMPLING_RATE,), sampling_rates)
    entries = plan(records, seed)
    # One patient for each fold stays as it is.
    for entry, kind in awkward_cases(entries[FOLDS - 1 :], AWKWARD, awkward, records):
        entry.awkward = kind
    for entry in entries:
        (folder / entry.name).parent.mkdir(exist_ok=True)
        if entry.awkward != "no file":
            _write_record(folder, entry, seed)
    (folder / RECORDS).write_text("".join(f"{entry.name}\n" for entry in entries), encoding="ascii")
    return {"min_count": max(1, records // RECORDS_PER_FLOOR)}


def plan(records: int, seed: int) -> list[PtbRecord]:
    """Draw the records by patient: one each for the first five people, then one, two or three."""
    rng = np.random.default_rng([seed, 1])
    sizes: list[int] = []
    while sum(sizes) < records:
        sizes.append(min(1 if len(sizes) < FOLDS else int(rng.choice([1, 2, 3])), records - sum(sizes)))
    names = [f"patient{number:03d}" for number in range(1, len(sizes) + 1)]
    folds = patient_folds(names) if len(names) >= FOLDS else dict.fromkeys(names, 0)
    counts = case_counts(len(names), [case.weight for case in CASES], records // RECORDS_PER_FLOOR)
    cases = deal(counts, [folds[name] for name in names], rng)
    entries: list[PtbRecord] = []
    for patient, (size, case) in enumerate(zip(sizes, cases, strict=True), start=1):
        first = date(1990, 1, 1) + timedelta(days=int(rng.integers(0, 2500)))
        infarction, catheterization = _course(CASES[case].state, first, rng)
        for visit in range(size):  # whoever comes back does so weeks later: the infarction is old then
            recorded = first + timedelta(days=visit * int(rng.integers(10, 90)))
            entry = PtbRecord(len(entries) + 1, patient, CASES[case], recorded, infarction, catheterization)
            entries.append(entry)
    return entries


def _course(state: str, first: date, rng: np.random.Generator) -> tuple[date | None, date | None]:
    """Return the dates of infarction and catheterization that give the first record of a person its state."""
    if not state:
        return None, None
    if state == "old":
        infarction = first - timedelta(days=int(rng.integers(4, 900)))
        return (None, None) if rng.random() < 0.3 else (infarction, infarction + timedelta(days=12))
    # 0 to 3 days, the most that counts as acute; the upper end is never drawn.
    infarction = first - timedelta(days=int(rng.integers(0, 4)))
    if state == "acute":
        # One before the infarction does not count, by the rule that the labels follow.
        return infarction, infarction - timedelta(days=30) if rng.random() < 0.3 else None
    return infarction, infarction + timedelta(days=int(rng.integers(0, 30)))


def shown(entry: PtbRecord) -> set[str]:
    """Return the findings that the signal of a record shows."""
    labels = diagnoses(header_cells(entry))
    return {finding for label in labels for finding in FINDINGS.get(label, ())} or {"ABQRS"}


def header_cells(entry: PtbRecord) -> dict[str, str]:
    """Return what the header says of diagnoses and dates, by column of the store."""
    return {
        "reason_for_admission": entry.case.reason,
        "additional_diagnoses": entry.case.additional,
        "ecg_date": entry.recorded.strftime("%d/%m/%Y"),
        "infarction_date": _course_date(entry.infarction),
        "catheterization_date": _course_date(entry.catheterization),
    }


def _course_date(day: date | None) -> str:
    return "n/a" if day is None else f"{day.day:02d}-{MONTHS[day.month - 1]}-{day.year % 100:02d}"


def _write_record(folder: Path, entry: PtbRecord, seed: int) -> None:
    person = np.random.default_rng([seed, 2, entry.patient])
    age, female = int(np.clip(person.normal(57, 14), 17, 87)), bool(person.random() < 0.28)
    anatomy = draw_anatomy(person, age, female)
    eight = simulate(shown(entry), np.random.default_rng([seed, 3, entry.number]), anatomy, SECONDS, SAMPLING_RATE)
    values = digitise(eight, UNITS_PER_MV)
    # Back to the heart's vector, of which the leads are projections.
    frank = np.clip(np.rint(eight @ np.linalg.pinv(DOWER).T * UNITS_PER_MV), -20_000, 20_000).astype(np.int16)
    if entry.awkward == "missing samples":
        values[2000:2600, 7] = MISSING
    stem = folder / entry.name
    lines = [f"{stem.name} {len(LEADS) + len(FRANK_LEADS)} {SAMPLING_RATE} {len(values)}"]
    lines += _signal_lines(f"{stem.name}.dat", values, LEADS) + _signal_lines(f"{stem.name}.xyz", frank, FRANK_LEADS)
    lines += _comments(entry, age, female)
    # Lines end as in the release, with a carriage return.
    stem.with_suffix(".hea").write_bytes("".join(f"{line}\r\n" for line in lines).encode("ascii"))
    if entry.awkward != "no .dat":
        content = values.astype("<i2").tobytes()
        stem.with_suffix(".dat").write_bytes(content[: len(content) // 3] if entry.awkward == "cut .dat" else content)
    # Mostly left out: nothing reads these files, and they are a fifth of the bytes.
    if (entry.number - 1) % XYZ_EVERY == 0:
        stem.with_suffix(".xyz").write_bytes(frank.astype("<i2").tobytes())


def _signal_lines(file: str, values: np.ndarray, leads: Sequence[str]) -> list[str]:
    """Return header lines as the original writes them: no unit, checksums as signed numbers."""
    sums = values.sum(axis=0, dtype=np.int64).astype(np.int16)
    return [
        f"{file} 16 {UNITS_PER_MV} 16 0 {first} {total} 0 {lead}"
        for first, total, lead in zip(values[0], sums, leads, strict=True)
    ]


def _comments(entry: PtbRecord, age: int, female: bool) -> list[str]:
    """Return the 48 comments of a header in their three blocks."""
    cells, odd = header_cells(entry), entry.awkward
    infarction = {
        "infarction date of a dash": "-",
        "infarction date of four digits": "29-Sep-1990",
    }.get(odd, cells["infarction_date"])
    lost = odd == "no age and sex"
    person = {
        "age": "n/a" if lost else "about 60" if odd == "odd age" else str(age),
        "sex": "" if lost else "female" if female else "male",
        "ECG date": cells["ecg_date"],
    }
    diagnosis = {
        "Diagnose": "",
        "Reason for admission": "n/a" if odd == "no diagnosis" else entry.case.reason,
        # The release cuts the word short, too.
        "Acute infarction (localization)": "infero-latera" if entry.case.state else "no",
        "Former infarction (localization)": "no",
        "Additional diagnoses": "n/a" if odd == "no diagnosis" else entry.case.additional,
        "Smoker": "unknown",
        "Number of coronary vessels involved": "unknown",
        "Infarction date (acute)": infarction,
        "Previous infarction (1) date": "n/a",
        "Previous infarction (2) date": "n/a",
    }
    if odd == "no diagnosis key":
        del diagnosis["Additional diagnoses"]
    blocks = [person, diagnosis, _haemodynamics(cells["catheterization_date"]), _therapy(cells)]
    lines = [line for block in blocks for line in ("", *(f"# {key}: {value}".rstrip() for key, value in block.items()))]
    return [*lines, "# synthetic record without a colon"] if odd == "comment without colon" else lines


def _haemodynamics(catheterization: str) -> dict[str, str]:
    first = {"Hemodynamics": "", "Catheterization date": catheterization, "Ventriculography": "n/a"}
    return {**first, "Chest X-ray": "n/a", **dict.fromkeys(HAEMODYNAMICS, "n/a")}


def _therapy(cells: dict[str, str]) -> dict[str, str]:
    return {
        "Therapy": "",
        "Infarction date": cells["infarction_date"],
        "Catheterization date": cells["catheterization_date"],
        "Admission date": cells["infarction_date"],
        "Medication pre admission": "n/a",
        "Start lysis therapy (hh.mm)": "19:45" if cells["infarction_date"] != "n/a" else "n/a",
        "Lytic agent": "n/a",
        "Dosage (lytic agent)": "n/a",
        "Additional medication": "n/a",
        "In hospital medication": "n/a",
        "Medication after discharge": "n/a",
    }
