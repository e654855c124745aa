"""PTB Diagnostic ECG Database 1.0.0 (ptbdb; Bousseljot et al. 1995): 15 signals, 32 to 120 s, 1000 Hz.

Raw folder: RECORDS, patient001/ to patient294/ with <record>.hea, .dat (the twelve leads) and .xyz (Frank leads, which
are left out; the file need not be there). There is no table: everything stands in the comments of the headers.

Labels: the reason for admission and the additional diagnoses, spelled alike; an infarction is distinguished by
its date. Infarction 0 to 3 days before the ECG: acute, and catheterized if the catheterization is not before the
infarction, however late. Any other or no date: old. Folds: five, by patient, drawn from the patients that are there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import (
    ECGDataset,
    LabelTable,
    PathLike,
    RawRecord,
    Rejected,
    Release,
    Scan,
    Signal,
    Source,
    split_sizes,
)
from dataset_scripts.readers.tables import OLDEST
from ecg_hub.errors import DataError
from ecg_hub.input.samples import lead_columns
from ecg_hub.utils.remote import bring, place

if TYPE_CHECKING:
    import pandas as pd

    from ecg_hub.input.wfdb import Header


RECORDS = "RECORDS"
FOLDS = 5
FOLD_SEED = 42
RECORDS_IN_RELEASE = 549
INFARCTION = "Myocardial infarction"
ACUTE_DAYS = 3

HEADER_KEYS: Mapping[str, str] = {
    "reason_for_admission": "Reason for admission",
    "additional_diagnoses": "Additional diagnoses",
    "ecg_date": "ECG date",
    "infarction_date": "Infarction date (acute)",
    "catheterization_date": "Catheterization date",
}
"""Column of the store -> key of the header comment it is taken from."""

NEEDED_KEYS = ("Reason for admission", "Additional diagnoses")
NO_DIAGNOSIS = frozenset({"", "no", "n/a", "unknown", "M. Bechterew", "M. Basedow"})

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "Arterial hypertension": ("Arterial Hypertension",),
    "Hyperlipoproteinemia": (
        *("Hyperlipoproteinemia Type IIa", "Hyperlipoproteinemia Typ IIa", "Hyperlipoproteinemia Type IIb"),
        *("Hyperlipoproteinemia Type IV", "Hyperlipoproteinemia Type IV b", "Hyperlipemia", "Hyperlipidemia"),
    ),
    "Ventricular tachycardia": (
        *("Ventricular tachycardias", "Recurrent ventricular tachycardia", "Recurrent ventricular tachycardias"),
        "Recurrent sustained ventricular tachycardia",
    ),
    "Peripheral atherosclerosis": ("peripheral atherosclerosis",),
    "Postop. Thyroidectomy": ("Postop. Thyriodectomy",),
    "Mitral regurgitation": ("Mitral regurgitation (grade 2)",),
    "Hypertrophic obstructive cardiomyopathy": (
        "Hypertrophic obstructive cardiomyopathy (intraventricular gradient 100-160mmHg)",
        "Hypertrophic obstructive cardiomyopathy (intraventricular gradient 70-90mmHg)",
    ),
}
"""Label -> spellings in the headers that become it; whole diagnoses only, upper and lower case distinguished."""

_UNIFIED = {spelling: label for label, spellings in SPELLINGS.items() for spelling in spellings}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ECG_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_COURSE_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{2})")
_RECORD = re.compile(r"patient(\d+)/[A-Za-z0-9_]+")
_CHALLENGE_PLACES = ("", "g*/", "ptb/", "ptb/g*/", "training/ptb/", "training/ptb/g*/")


class PTB(ECGDataset):
    """The PTB Diagnostic ECG Database."""

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder; see `ECGDataset.check_folder`."""
        # Before the usual check, whose error would say only what is missing and not that it is another edition.
        if data_dir is not None:
            _refuse_challenge_form(bring(place(data_dir), lazily=True), self.page)
        folder = super().check_folder(data_dir, sampling_rate)
        if not any(path.is_dir() for path in folder.glob("patient[0-9]*")):
            raise DataError(
                f"{str(folder)!r} holds no folder patient001, patient002, ...: it is not the PTB Diagnostic ECG "
                f"Database, or not the folder that holds patient001. {self.how_to_get(folder)}"
            )
        return folder

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """List the records of RECORDS (where it is there) and of the folders, by patient number and record name."""
        import pandas as pd

        list_file = data_dir / RECORDS
        # RECORDS may be absent, as in a copy of single folders.
        listed = list_file.read_text(encoding="utf-8", errors="replace").split() if list_file.is_file() else []
        names = {name for name in listed if _RECORD.fullmatch(name)}
        lost = [
            Rejected(name, RECORDS, f"{name!r} does not name a record as patientNNN/record")
            for name in dict.fromkeys(listed)
            if name not in names
        ]
        # A copy may hold folders that RECORDS does not list, and lack some that it does.
        names |= {f"{path.parent.name}/{path.stem}" for path in data_dir.glob("patient[0-9]*/[!.]*.hea")}
        rows: dict[str, dict[str, Any]] = {}
        for name in sorted((name for name in names if _RECORD.fullmatch(name)), key=_order):
            patient, record = name.split("/")
            if record in rows:
                lost.append(Rejected(name, name, f"record {record} occurs a second time"))
            else:
                rows[record] = {"record_id": record, "file": name, "patient_id": patient}
        table = pd.DataFrame(list(rows.values()), columns=["record_id", "file", "patient_id"], dtype=object)
        return Scan(table, lost=lost, version=self.versions[0] if len(rows) == RECORDS_IN_RELEASE else None)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one WFDB record with the diagnoses, dates, age and sex of its header."""
        from ecg_hub.input.wfdb import read_header, signal_of

        header = read_header(data_dir / f"{record.file}.hea")
        cells = parse_comments(header.comments)
        absent = [key for key in NEEDED_KEYS if key not in cells]
        if absent:
            raise DataError(f"the header has no comment {' and no comment '.join(map(repr, absent))}")
        columns: dict[str, Any] = {column: cells.get(key) for column, key in HEADER_KEYS.items()}
        age, sex, remarks = _person(cells)
        signal = signal_of(_without_other_files(header), **columns, age=age, sex=sex)
        remarks = [signal.remark, *remarks, *_date_remarks(columns)]
        return replace(signal, remark="; ".join(filter(None, remarks)))

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive the diagnoses, and draw the folds from the patients that are there."""
        rows = metadata[list(HEADER_KEYS)].to_dict("records")
        labels = [diagnoses({str(name): _text(cell) for name, cell in row.items()}) for row in rows]
        folds = patient_folds(metadata["patient_id"].unique().tolist())
        fold = metadata["patient_id"].map(folds).to_numpy(dtype=np.int32)
        return LabelTable({"label_all": labels}, fold, split_by_fold(fold, last=FOLDS - 1))


def parse_comments(comments: Sequence[str]) -> dict[str, str]:
    """Return the header comments "key: value"; the last of equal keys wins, text after a second colon is not kept."""
    # As the published code splits; of the two catheterization dates in a header the last one wins this way.
    fields = (comment.split(":") for comment in comments)
    return {parts[0].strip(): parts[1].strip() for parts in fields if len(parts) > 1}


def diagnoses(cells: Mapping[str, str]) -> list[str]:
    """Return the labels of one record, repeats kept."""
    stated = [cells["reason_for_admission"], *cells["additional_diagnoses"].split(",")]
    names = [text.strip() for text in stated]
    state = f"{INFARCTION} {infarction_state(cells)}"
    return [state if name == INFARCTION else _UNIFIED.get(name, name) for name in names if name not in NO_DIAGNOSIS]


def infarction_state(cells: Mapping[str, str]) -> str:
    """Return "old", "acute" or "acute catheterized" from the dates of ECG, infarction and catheterization."""
    ecg, infarction, catheterization = (_date_or_none(cells[name], name) for name in _DATE_COLUMNS)
    if ecg is None or infarction is None or not 0 <= (ecg - infarction).days <= ACUTE_DAYS:
        return "old"
    # On the day of the infarction or later, however late: weeks count as well, as published.
    return "acute" if catheterization is None or catheterization < infarction else "acute catheterized"


_DATE_COLUMNS = ("ecg_date", "infarction_date", "catheterization_date")


def parse_date(text: str, column: str) -> date | None:
    """Parse 17/10/1990 (`ecg_date`) or 29-Sep-90 (the other columns); None where the header gives no date.

    Two-digit years from 69 on are 19xx.
    """
    if text in ("", "n/a") or (text == "-" and column == "catheterization_date"):
        return None
    match = (_ECG_DATE if column == "ecg_date" else _COURSE_DATE).fullmatch(text)
    try:
        if match is not None and column == "ecg_date":
            return date(int(match[3]), int(match[2]), int(match[1]))
        if match is not None:
            # The turn that %y of `strptime` makes.
            year = int(match[3]) + (1900 if int(match[3]) >= 69 else 2000)
            return date(year, 1 + _MONTHS.index(match[2].lower()), int(match[1]))
    except ValueError:  # no such month or day
        pass
    raise ValueError(f"{HEADER_KEYS[column]} {text!r} is not a date")


def patient_folds(patients: Sequence[str]) -> dict[str, int]:
    """Return the fold 0 to 4 of every patient, drawn over the sorted patient numbers; -1 with fewer than five."""
    from sklearn.model_selection import StratifiedKFold

    # The draw is over positions, so a patient who is missing moves nearly all others to other folds.
    ordered = sorted(patients, key=lambda name: int(name.removeprefix("patient")))
    if len(ordered) < FOLDS:
        return dict.fromkeys(ordered, -1)
    drawn = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=FOLD_SEED)
    # One class for all patients, as published: nothing is stratified, the folds are a shuffle.
    parts = drawn.split(np.zeros(len(ordered)), np.zeros(len(ordered)))
    return {ordered[position]: fold for fold, (_, chosen) in enumerate(parts) for position in chosen}


def _date_or_none(text: str, column: str) -> date | None:
    try:
        return parse_date(text, column)
    except ValueError:
        return None


def _date_remarks(columns: Mapping[str, str | None]) -> list[str]:
    """Return a remark on every date that is absent or cannot be read and so counts as none."""
    remarks = []
    for name in _DATE_COLUMNS:
        text = columns[name]
        if text is None:
            remarks.append(f"the header has no comment {HEADER_KEYS[name]!r}")
            continue
        try:
            parse_date(text, name)
        except ValueError as error:
            remarks.append(f"{error} and counts as none")
    return remarks


def _person(cells: Mapping[str, str]) -> tuple[float | None, str | None, list[str]]:
    """Return age in years, sex, and remarks on values that are neither given nor n/a."""
    age_text, sex_text = cells.get("age", ""), cells.get("sex", "").lower()
    remarks = []
    age = float(age_text) if re.fullmatch(r"\d{1,3}(\.\d+)?", age_text) else None
    age = None if age is not None and age > OLDEST else age
    if age is None and age_text not in ("", "n/a"):
        remarks.append(f"age {age_text!r} is not a number of years")
    sex = sex_text if sex_text in ("male", "female") else None
    if sex is None and sex_text not in ("", "n/a"):
        remarks.append(f"sex {sex_text!r} is neither male nor female")
    return age, sex, remarks


def _without_other_files(header: Header) -> Header:
    """Return the header without the signal files that hold none of the twelve leads, so that they may be absent."""
    # The three Frank leads lie in a file of their own, which nothing here needs.
    columns = lead_columns([signal.name for signal in header.signals])
    needed = {header.signals[column].file for column in columns if column is not None}
    return replace(header, signals=[signal for signal in header.signals if signal.file in needed])


def _order(name: str) -> tuple[int, str]:
    """Return patient number and record name of "patientNNN/record"."""
    patient, record = name.split("/")
    return int(patient.removeprefix("patient")), record


def _text(cell: Any) -> str:
    """Return a cell of the store as text, "" where it is missing."""
    return cell if isinstance(cell, str) else ""


def _refuse_challenge_form(folder: Path, page: str) -> None:
    """Stop where a folder holds the Challenge 2021 form of PTB, which lacks diagnoses and dates."""
    for prefix in _CHALLENGE_PLACES:
        for path in folder.glob(f"{prefix}S[0-9][0-9][0-9][0-9].hea"):
            raise DataError(
                f"{str(folder)!r} holds PTB in the form of the Challenge 2021 ({path.name}, SNOMED CT codes). It gives "
                "neither the diagnoses nor the dates that the labels of 'ptb' are made of. Get the PTB Diagnostic ECG "
                f"Database from {page} and pass the folder that holds patient001."
            )


DATASET = PTB(
    name="ptb",
    title="PTB Diagnostic ECG Database",
    versions=("1.0.0",),
    sampling_rates=(1000,),
    access="open",
    redistribution=True,
    licence="ODC-By-1.0",
    citation=(
        "Bousseljot, R., Kreiseler, D., Schnabel, A. Nutzung der EKG-Signaldatenbank CARDIODAT der PTB über das "
        "Internet. Biomedizinische Technik 40, Ergänzungsband 1, S317, 1995. PhysioNet, 10.13026/C28C71. ODC-By 1.0. "
        "Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23), 2000."
    ),
    page="https://physionet.org/content/ptbdb/1.0.0/",
    label_columns=("label_all",),
    folds=(
        "five folds by patient (scikit-learn StratifiedKFold, seed 42, over the sorted patient numbers): "
        "0 to 2 train, 3 validation, 4 test"
    ),
    metadata_columns=dict.fromkeys(HEADER_KEYS, "string"),
    thresholds={"min_count": 10},
    table_files=(),
    optional_files=(RECORDS,),
    signal_suffixes=(".hea", ".dat"),
    description=(
        "549 recordings of 290 people, healthy volunteers and patients of the department of cardiology of the "
        "University Clinic Benjamin Franklin in Berlin, digitised by the Physikalisch-Technische Bundesanstalt and "
        "published on PhysioNet in 2004. A prototype recorder with 16 bits and 0.5 microvolt per unit took the twelve "
        "leads and the three Frank leads at 1000 Hz for 32 to 120 s. Ages run from 17 to 87 years, 209 people are men. "
        "The header of each record holds a clinical summary: the diagnoses are those of the hospital stay and not a "
        "reading of the tracing."
    ),
    problems=(
        "Several labels are no findings of an ECG (obesity, diabetes mellitus, hyperlipoproteinemia): they stem from "
        "the clinical summary, and a score on them measures what correlates with them in this one clinic.",
        "27 records give no reason for admission; they stay in and count as negative for every label they lack.",
        "Ventricular fibrillation and tachycardia are diagnoses of the stay too, seldom the rhythm of the tracing.",
        "People have one to seven records, so folds by patient differ in size (103 to 122 records).",
        "s0544_re (patient285) shows no ECG and gives no sex; the published preparation keeps it, and so does this.",
        "The published code splits the comments at every colon and keeps the second field, and of the two "
        "catheterization dates the last one; the labels follow it.",
        "A catheterization weeks after the ECG also makes an acute infarction 'catheterized', as published.",
        "The folds are drawn over the patients that are there: a missing patient changes the folds of nearly all.",
    ),
    releases=(
        Release(
            version="1.0.0",
            records=RECORDS_IN_RELEASE,
            label_numbers={"label_all": 18},
            fold_sizes=(103, 122, 114, 104, 106),
            fold_sha256="b61db0dbfdabb26b6ac73958063027dc5cb09b417c5a4559b60efeee60d89f26",
            split_sizes=split_sizes(339, 104, 106),
        ),
    ),
    sources=(Source(host="physionet", ref="ptbdb/1.0.0"),),
)
