"""ZZU pECG (Tan et al., Scientific Data 2025, 10.1038/s41597-025-05225-z): ECGs of children, 5 to 120 s, 500 Hz.

Raw folder: AttributesDictionary.csv, ECGCode.csv, DiseaseCode.csv and the unpacked waveforms, `P00/P00001/...` either
below Child_ecg/ or directly.

Labels: the statements whose whole text is an AHA code of ECGCode.csv, under that table's description; a code with a
modifier ("L145+Modifier362") and a finding without AHA code ("Left ventricular high voltage") are no labels. Records of
nine leads are left out before anything is counted, records under ten seconds after. Folds: ten, by patient, stratified
by disease category, sex and age group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.folds import stratify_groups
from dataset_scripts.core.labels import split_by_fold, vocabulary
from dataset_scripts.core.spec import (
    ECGDataset,
    Exclusion,
    LabelTable,
    PathLike,
    RawRecord,
    Rejected,
    Release,
    Scan,
    Signal,
    Source,
)
from dataset_scripts.readers.tables import OLDEST, TextTable, read_text_table
from ecg_hub.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


ATTRIBUTES = "AttributesDictionary.csv"
STATEMENTS = "ECGCode.csv"
DISEASES = "DiseaseCode.csv"
ATTRIBUTE_COLUMNS = (
    *("filename", "ecg_id", "patient_id", "age", "gender", "lead"),
    *("aha_code", "chn_code", "icd-10 code"),
)
STATEMENT_COLUMNS = ("description", "aha(category&code)", "chn(category&code)")
DISEASE_COLUMNS = ("icd-10 code", "disease category")
WAVEFORM_FOLDERS = ("Child_ecg/", "Child_ecg/Child_ecg/", "")

FOLDS = 10
# 1, 5, 12 and 18 years of 365 days, as published; ages in years are by 365.25.
AGE_LIMITS_DAYS = (365, 1825, 4380, 6570)
DAYS_PER_YEAR = 365.25
NINE_LEADS = "nine leads"
TOO_SHORT = "shorter than 10 s"

# What the published preparation takes for an empty cell: its own "Null", and the marks of pandas.
_EMPTY = frozenset(
    {"", "Null", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
_AGE = re.compile(r"'?(\d{1,5})d?'?")
_FILE = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class Codes:
    """The dictionaries of the release: code -> name.

    Attributes:
        aha: AHA code -> description.
        chn: code of the Chinese vocabulary -> description.
        icd10: ICD-10 code, with the prefix that some carry ("(FO) Q21.1") -> disease category.
    """

    aha: Mapping[str, str]
    chn: Mapping[str, str]
    icd10: Mapping[str, str]


class ZZUpECG(ECGDataset):
    """ZZU pECG, the twelve-lead part."""

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder; see `ECGDataset.check_folder`."""
        folder = super().check_folder(data_dir, sampling_rate)
        waveform_folder(folder, self.page)
        return folder

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read AttributesDictionary.csv; damaged rows are lost, rows of nine leads excluded."""
        import pandas as pd

        # Column names match without case: the published code lowers them.
        table = _read_lowered(data_dir / ATTRIBUTES, ATTRIBUTE_COLUMNS, self.page)
        below = waveform_folder(data_dir, self.page)
        rows: dict[str, dict[str, Any]] = {}
        excluded = []
        lost = [Rejected(f"line {line}", ATTRIBUTES, reason) for line, reason in table.damaged]
        for line, cells in table.rows:
            name = cells["ecg_id"].strip() or f"line {line}"
            try:
                # They lack V2, V4 and V6; the published target drops them before anything is counted.
                if _leads(cells["lead"]) == 9:
                    excluded.append(Rejected(name, below + cells["filename"].strip(), NINE_LEADS))
                    continue
                values = _parse_row(cells, below)
                if name in rows:
                    raise ValueError(f"ECG_ID {name} occurs a second time in line {line}")
                rows[name] = values
            except ValueError as error:
                lost.append(Rejected(name, ATTRIBUTES, str(error)))
        columns = ["record_id", "file", "patient_id", "age", "sex", *self.metadata_columns]
        ordered = pd.DataFrame(list(rows.values()), columns=columns, dtype=object)
        return Scan(ordered, lost=lost, excluded=excluded)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one WFDB record; every lead keeps its own gain and baseline."""
        from ecg_hub.input.wfdb import read_record

        return read_record(data_dir / f"{record.file}.hea")

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive the three label columns and the folds; short records leave after counting and folding."""
        codes = read_codes(data_dir, self.page)
        labels = {
            "label_all": [_names(cell, codes.aha) for cell in metadata["aha_code"]],
            "label_chn": [_names(cell, codes.chn) for cell in metadata["chn_code"]],
            "label_icd10": [_names(cell, codes.icd10) for cell in metadata["icd10_code"]],
        }
        fold = stratified_folds(
            metadata["patient_id"].tolist(),
            labels["label_icd10"],
            metadata["sex"].eq("male").tolist(),
            metadata["age_days"].tolist(),
            thresholds["min_count"],
        )
        short = (metadata["samples"] < thresholds["min_samples"]).to_numpy()
        # The test set is the highest fold that still holds a record after the length rule.
        split = split_by_fold(fold, last=int(fold[~short].max(initial=0)))
        return LabelTable(labels, fold, split, exclusions=[Exclusion(TOO_SHORT, short)])

    def label_title(self, column: str, label: str) -> str:
        """Return the name of a label without the slips of the published table."""
        del column
        return {"Short PR interva": "Short PR interval"}.get(label, label)


def split_codes(cell: str) -> list[str]:
    """Return the codes of a cell such as "'C21';'L147'"; [] where it holds none."""
    if cell in _EMPTY:
        return []
    # Quotes go after the blanks, as in the published code: "' C21'" keeps its blank and is no code.
    return [part.strip().replace("'", "") for part in cell.split(";") if part.strip()]


def read_codes(data_dir: Path, page: str) -> Codes:
    """Read ECGCode.csv and DiseaseCode.csv; the last row of a code wins."""
    statements = _dictionary(data_dir / STATEMENTS, STATEMENT_COLUMNS, page)
    diseases = _dictionary(data_dir / DISEASES, DISEASE_COLUMNS, page)
    description, aha, chn = STATEMENT_COLUMNS
    code, category = DISEASE_COLUMNS
    return Codes(
        aha={cells[aha]: cells[description] for cells in statements if cells[aha] not in _EMPTY},
        chn={cells[chn]: cells[description] for cells in statements if cells[chn] not in _EMPTY},
        icd10={
            part.strip(): cells[category]
            for cells in diseases
            for part in cells[code].split(";")
            if part.strip() and cells[category] not in _EMPTY
        },
    )


def stratified_folds(
    patients: Sequence[str],
    categories: Sequence[Sequence[str]],
    male: Sequence[bool],
    age_days: Sequence[int],
    min_count: int,
) -> np.ndarray:
    """Return the fold 0 to 9 of every record, (records,) int32.

    A record carries its disease categories of `min_count` occurrences or more (repeats kept), a label that all
    records carry, its sex (whatever is not male counts as female) and its age group. Patients are sorted as text.
    """
    # Categories below the count rule steer no folds, as published.
    kept = {name: number for number, name in enumerate(vocabulary(categories, min_count))}
    base = len(kept)
    labels = [
        [*(kept[name] for name in names if name in kept), base, base + (1 if man else 2), base + 3 + _age_group(age)]
        for names, man, age in zip(categories, male, age_days, strict=True)
    ]
    # Ties go by the number of a class, and `stratify_groups` sorts classes as text.
    return stratify_groups(patients, [[f"{number:06d}" for number in row] for row in labels], FOLDS)


def waveform_folder(data_dir: Path, page: str) -> str:
    """Return where the folders P00, P01, ... lie: "Child_ecg/", "Child_ecg/Child_ecg/" or "" (directly)."""
    for folder in WAVEFORM_FOLDERS:
        if any(path.is_dir() for path in (data_dir / folder).glob("P[0-9]*")):
            return folder
    if any((data_dir / name).exists() for name in ("Child_ecg.zip", "Child_ecg.z01")):
        raise DataError(
            f"The waveforms in {str(data_dir)!r} are still packed. Child_ecg.z01 and Child_ecg.zip are two parts of "
            "one archive: unpack them together with `7z x Child_ecg.zip`, or with `zip -s 0 Child_ecg.zip --out "
            "whole.zip` and `unzip whole.zip`."
        )
    raise DataError(
        f"{str(data_dir)!r} holds no waveforms: neither Child_ecg/P00 nor P00 is there. Get Child_ecg.zip and "
        f"Child_ecg.z01 from {page} and unpack them together."
    )


def _parse_row(cells: Mapping[str, str], below: str) -> dict[str, Any]:
    """Return the columns of the store that come from the table; ValueError where a cell is damaged."""
    for name in ("ecg_id", "patient_id"):
        if cells[name].strip() in _EMPTY:
            raise ValueError(f"{name} is empty")
    if _leads(cells["lead"]) != 12:
        raise ValueError(f"Lead {cells['lead']!r} is neither 12 nor 9")
    age = _AGE.fullmatch(cells["age"].strip())
    if age is None or int(age[1]) > OLDEST * DAYS_PER_YEAR:
        raise ValueError(f"Age {cells['age']!r} is not a number of days such as '572d'")
    file = cells["filename"].strip().removesuffix(".hea")
    if not _FILE.fullmatch(file):
        raise ValueError(f"Filename {file!r} is not a file below the folder of waveforms")
    gender = cells["gender"].replace("'", "").strip().lower()
    days = int(age[1])
    return {
        "record_id": cells["ecg_id"].strip(),
        "file": below + file,
        "patient_id": cells["patient_id"].strip(),
        "age": days / DAYS_PER_YEAR,
        "sex": gender if gender in ("male", "female") else None,
        "age_days": days,
        "aha_code": cells["aha_code"],
        "chn_code": cells["chn_code"],
        "icd10_code": cells["icd-10 code"],
    }


def _leads(cell: str) -> int | None:
    """Return the number of leads, None where the cell is no whole number."""
    text = cell.strip().removesuffix(".0")
    return int(text) if text.isdecimal() else None


def _names(cell: Any, names: Mapping[str, str]) -> list[str]:
    """Return the names of the codes in a cell, repeats kept; what is no code of the table is left out."""
    return [names[code] for code in split_codes(cell or "") if code in names]


def _age_group(days: int) -> int:
    return sum(days >= limit for limit in AGE_LIMITS_DAYS)


def _dictionary(path: Path, needed: Sequence[str], page: str) -> list[dict[str, str]]:
    """Return the needed columns of a code table; a line break within a cell becomes a blank."""
    table = _read_lowered(path, needed, page)
    if table.damaged:
        raise DataError(f"{str(path)!r} is damaged: {table.damaged[0][1]}. Get it again from {page}.")
    return [{name: " ".join(cells[name].split()) for name in needed} for _, cells in table.rows]


def _read_lowered(path: Path, needed: Sequence[str], page: str) -> TextTable:
    """Read a table with its column names in lower case."""
    table = read_text_table(path, (), page)
    rows = [(line, {name.strip().lower(): cell for name, cell in cells.items()}) for line, cells in table.rows]
    absent = [name for name in needed if not rows or name not in rows[0][1]]
    if absent:
        had = ", ".join(map(repr, rows[0][1])) if rows else "no rows"
        raise DataError(
            f"{str(path)!r} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}; it has "
            f"{had}. Get it again from {page}."
        )
    return TextTable(rows, table.damaged)


DATASET = ZZUpECG(
    name="zzu-pecg",
    title="ZZU pECG",
    versions=("1",),
    sampling_rates=(500,),
    access="open",
    redistribution=False,
    licence="CC-BY-4.0 by the figshare record; elsewhere CC-BY-NC-ND-4.0 is named, the licence of the article",
    citation=(
        "Tan, J., Fan, H., Luo, J., Zhou, Y., Wang, N., Wang, X., Liu, G., Liu, C., Wang, Z. A pediatric ECG database "
        "with disease diagnosis covering 11643 children. Scientific Data 12, 867, 2025, 10.1038/s41597-025-05225-z. "
        "figshare, 10.6084/m9.figshare.27078763."
    ),
    page="https://doi.org/10.6084/m9.figshare.27078763",
    label_columns=("label_all", "label_chn", "label_icd10"),
    folds=(
        "ten folds by patient, stratified by disease category, sex and age group: 0 to 7 train, 8 validation, 9 test"
    ),
    metadata_columns={"age_days": "int32", "aha_code": "string", "chn_code": "string", "icd10_code": "string"},
    thresholds={"min_count": 10, "min_samples": 5000},
    table_files=(ATTRIBUTES, STATEMENTS, DISEASES),
    description=(
        "14,190 recordings of 11,643 children in hospital (1 day to 15 years) at the First Affiliated Hospital of "
        "Zhengzhou University, China, 2018 to 2024, by MedEx MECG-300 recorders at 500 Hz for 5 to 120 s; 12,334 have "
        "twelve leads, 1,856 nine (no V2, V4 and V6). A junior physician of the ECG room read each tracing and a "
        "senior one confirmed it, in codes of the AHA and of the Chinese recommendations; ICD-10 codes are those of "
        "the hospital stay. Ages are given in days; the dates of recording are shifted."
    ),
    problems=(
        "Codes with a modifier ('L145+Modifier362') and findings without AHA code do not become labels: plain atrial "
        "and ventricular premature complexes, ST deviations of a named kind and 'Left ventricular high voltage' (2,789 "
        "records, the second most frequent finding) count as absent. The lists follow the published preparation.",
        "The published target drops the nine-lead records; of these 50 percent carry one of the 19 diseases, of the "
        "twelve-lead ones 23 percent.",
        "About 12 percent of the records touch a rail at 26.6 mV for a sustained time; they stay in.",
        "'Short PR interva' is spelled so in the published table and is the name of the label.",
        "An ICD-10 code belongs to the hospital stay: the tracing need not show the disease.",
        "Gain and baseline differ from lead to lead and record to record; raw samples cannot be compared without them.",
        "The archive comes in two parts (Child_ecg.z01, Child_ecg.zip) that must be unpacked together.",
        "Data record and article name different licences. Until that is settled, signals and predictions per record "
        "are not passed on.",
    ),
    releases=(
        Release(
            version="1",
            records=14_190,
            label_numbers={"label_all": 58, "label_chn": 60, "label_icd10": 19},
        ),
    ),
    sources=(Source(host="figshare", ref="27078763"),),
)
