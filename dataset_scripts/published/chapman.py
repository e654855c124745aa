"""Chapman-Shaoxing (Zheng et al., Scientific Data 2020, 10.1038/s41597-020-0386-x): 12 leads, 10 s, 500 Hz.

Raw folder: Diagnostics.xlsx and ECGData/<FileName>.csv (also ECGData/ECGData/), as unpacked from figshare; the
denoised copies in ECGDataDenoised/ are not used. Every record has one rhythm and any number of conditions:
`label_rhythm`, `label_condition`, and `label_all`, which takes both.

Folds: ten, by iterative stratification of the unfiltered `label_all` over the rows of the table in its order. They
are made over the whole table, so a record whose file is missing or damaged does not change those of the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.codes import read_codes
from dataset_scripts.core.folds import stratify
from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import (
    ECGDataset,
    LabelTable,
    RawRecord,
    Rejected,
    Release,
    Scan,
    Signal,
    Source,
    split_sizes,
)
from dataset_scripts.readers.signal_files import find_files, float_signal
from dataset_scripts.readers.tables import read_sheet
from ecg_hub.errors import DataError
from ecg_hub.input.samples import lead_columns, missing_leads, take_columns
from ecg_hub.leads import LEADS
from ecg_hub.utils.untrusted import plain_file

if TYPE_CHECKING:
    import pandas as pd


TABLE = "Diagnostics.xlsx"
SIGNALS = "ECGData"
NEEDED = ("FileName", "Rhythm", "Beat", "PatientAge", "Gender")
NO_CONDITION = "NONE"
FOLDS = 10
SAMPLES = 5000
STEP_UV = 4.88
"""The recorder's unit (MUSE): samples are whole multiples of it."""

_NAME = re.compile(r"[\w.-]+")
_SEX = {"MALE": "male", "FEMALE": "female"}


class Chapman(ECGDataset):
    """Chapman-Shaoxing, the figshare release of 10,646 records."""

    def signal_folders(self, sampling_rate: int) -> tuple[str, ...]:
        """Return ECGData."""
        del sampling_rate
        return (SIGNALS,)

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read Diagnostics.xlsx and make the folds; damaged rows are lost records."""
        import pandas as pd

        del sampling_rate
        files = find_files(data_dir, SIGNALS, ".csv")
        rows: dict[str, dict[str, Any]] = {}
        lost = []
        for line, cells in read_sheet(data_dir / TABLE, NEEDED, self.page):
            try:
                values = _parse_row(cells)
                name = values["record_id"]
                if name in rows:
                    raise ValueError(f"FileName {name!r} occurs a second time in row {line}")
                rows[name] = values | {"file": files.get(name, f"{SIGNALS}/{name}.csv")}
            except ValueError as error:
                lost.append(Rejected(str(cells["FileName"] or f"row {line}"), TABLE, str(error)))
        # Over all rows in the order of the workbook and before any label is filtered: ties go by row.
        labels = [[*_conditions(row["beat"]), row["rhythm"]] for row in rows.values()]
        for row, fold in zip(rows.values(), stratify(labels, FOLDS), strict=True):
            row["strat_fold"] = int(fold)
        columns = ["record_id", "file", "age", "sex", *self.metadata_columns]
        return Scan(pd.DataFrame(list(rows.values()), columns=columns, dtype=object), lost=lost)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one CSV file of microvolts."""
        microvolt = read_csv(data_dir / record.file)
        # More rows than 5,000 are a remark, fewer a loss: what is missing cannot be distinguished from damage.
        if len(microvolt) < SAMPLES:
            raise DataError(f"the file is cut short: {len(microvolt)} rows instead of {SAMPLES}")
        remark = f"{len(microvolt)} rows instead of {SAMPLES}" if len(microvolt) > SAMPLES else ""
        return float_signal(microvolt, self.sampling_rate, STEP_UV, remark)

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Derive rhythm, conditions and both; folds as made from the whole table."""
        del data_dir, thresholds
        conditions = [_conditions(cell) for cell in metadata["beat"]]
        rhythms = [[cell] for cell in metadata["rhythm"]]
        both = [condition + rhythm for condition, rhythm in zip(conditions, rhythms, strict=True)]
        fold = metadata["strat_fold"].to_numpy(dtype=np.int32)
        labels = {"label_all": both, "label_condition": conditions, "label_rhythm": rhythms}
        return LabelTable(labels, fold, split_by_fold(fold, last=FOLDS - 1))

    def label_title(self, column: str, label: str) -> str:
        """Return the full name of a rhythm or condition."""
        del column
        return known_labels().get(label, ("", label))[1]


@lru_cache
def known_labels() -> dict[str, tuple[str, str]]:
    """Return every rhythm and condition of the release: label -> ("rhythm" or "condition", full name)."""
    return {row["code"]: (row["kind"], row["description"]) for row in read_codes("chapman")}


def read_csv(path: Path) -> np.ndarray:
    """Read one record, (samples, 12) float64 in microvolt, leads in canonical order; NaN where a cell is empty."""
    import pyarrow as pa
    from pyarrow import csv

    names = _header(path)
    columns = lead_columns(names)
    if absent := missing_leads(columns):
        raise DataError(f"the file lacks the leads {', '.join(absent)}")
    kept = [names[column] for column in columns if column is not None]
    try:
        table = csv.read_csv(
            path,
            # The processes that prepare a store keep all processors busy already.
            read_options=csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(kept, pa.float64()), include_columns=kept, null_values=["", "NaN", "nan"]
            ),
        )
    except (pa.ArrowException, OSError) as error:
        # The library's message repeats the damaged row: samples do not belong into a report.
        reason = re.sub(r"(got \d+): .*", r"\1", str(error), flags=re.DOTALL)  # without the row's samples
        raise DataError(f"the file cannot be read as a table of numbers: {_short(reason)}") from None
    leads = [table.column(name).to_numpy() for name in kept]
    return take_columns(np.stack(leads, axis=1), list(range(len(LEADS))), np.nan)


def _header(path: Path) -> list[str]:
    """Return the names of the columns."""
    try:
        plain_file(path)
        with path.open("rb") as handle:
            line = handle.readline(4096).decode("utf-8-sig").rstrip("\r\n")
    except FileNotFoundError:
        raise DataError("the file is missing") from None
    except UnicodeDecodeError:
        raise DataError("the file is not text in UTF-8") from None
    names = [name.strip().strip('"') for name in line.split(",")]
    if len(set(names)) < len(names):
        raise DataError(f"the header {_short(line)!r} names a column twice")
    return names


def _parse_row(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the store that come from the table; ValueError where a cell is damaged."""
    name = cells["FileName"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"FileName {name!r} is not a name of a file")
    rhythm, beat, sex = cells["Rhythm"], cells["Beat"], cells["Gender"]
    kinds = known_labels()
    if kinds.get(rhythm, ("",))[0] != "rhythm":
        raise ValueError(f"Rhythm {rhythm!r} is none of the eleven rhythms")
    if not isinstance(beat, str):
        raise ValueError(f"Beat {beat!r} is neither a list of conditions nor {NO_CONDITION}")
    unknown = [code for code in _conditions(beat) if kinds.get(code, ("",))[0] != "condition"]
    if unknown:
        raise ValueError(f"Beat names {', '.join(map(repr, unknown))}, which is no known condition")
    if sex is not None and sex not in _SEX:
        raise ValueError(f"Gender {sex!r} is neither MALE nor FEMALE")
    age = _age(cells["PatientAge"])
    return {"record_id": name, "age": age, "sex": _SEX.get(sex), "rhythm": rhythm, "beat": beat}


def _conditions(beat: str) -> list[str]:
    # NONE stands alone wherever it stands; the published filter, which drops the whole cell, relies on that too.
    return [] if beat == NO_CONDITION else beat.split()


def _age(value: Any) -> float | None:
    """Return an age in years, which the workbook holds as text; None where the cell is empty."""
    if value is None:
        return None
    try:
        age = float(value)
    except (TypeError, ValueError):
        age = np.nan
    if not 0 <= age <= 130:
        raise ValueError(f"PatientAge {value!r} is not an age in years")
    return age


def _short(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= 120 else line[:117] + "..."


_CONDITION_COUNTS = {
    **{"1AVB": 252, "2AVB": 8, "2AVB1": 6, "2AVB2": 1, "3AVB": 1, "ABI": 3, "ALS": 385, "APB": 278, "AQW": 237},
    **{"ARS": 224, "AVB": 166, "CCR": 162, "CR": 77, "ERV": 22, "FQRS": 3, "IDC": 133, "IVB": 105, "JEB": 17},
    **{"JPS": 6, "JPT": 1, "LBBB": 94, "LBBBB": 5, "LFBBB": 108, "LRRI": 25, "LVH": 15, "LVHV": 1314},
    **{"LVQRSAL": 3, "LVQRSCL": 145, "LVQRSLL": 110, "MI": 1, "MIBW": 1, "MIFW": 27, "MILW": 14, "MISW": 3},
    **{"PRIE": 13, "PWC": 95, "QTIE": 58, "RAH": 3, "RAHV": 8, "RBBB": 460, "RVH": 4, "STDD": 406, "STE": 2},
    **{"STTC": 1170, "STTU": 183, "TWC": 1906, "TWO": 159, "UW": 22, "VB": 3, "VEB": 7, "VET": 8, "VFW": 2},
    **{"VPB": 310, "VPE": 13, "WAVN": 5, "WPW": 5},
}
_RHYTHM_COUNTS = {
    **{"AF": 445, "AFIB": 1780, "AT": 121, "AVNRT": 16, "AVRT": 8, "SA": 399, "SAAWR": 7, "SB": 3889, "SR": 1826},
    **{"ST": 1568, "SVT": 587},
}

DATASET = Chapman(
    name="chapman",
    title="Chapman-Shaoxing",
    versions=("2",),
    sampling_rates=(500,),
    access="open",
    redistribution=True,
    licence="CC-BY-4.0",
    citation=(
        "Zheng, J., Zhang, J., Danioko, S., Yao, H., Guo, H., Rakovski, C. A 12-lead electrocardiogram database for "
        "arrhythmia research covering more than 10,000 patients. Scientific Data 7, 48 (2020), "
        "10.1038/s41597-020-0386-x. Data: figshare, 10.6084/m9.figshare.c.4560497.v2."
    ),
    page="https://doi.org/10.6084/m9.figshare.c.4560497.v2",
    label_columns=("label_all", "label_condition", "label_rhythm"),
    folds=(
        "ten folds by iterative stratification of all rhythms and conditions over the rows of Diagnostics.xlsx: "
        "0 to 7 train, 8 validation, 9 test"
    ),
    metadata_columns={"rhythm": "string", "beat": "string", "strat_fold": "int32"},
    thresholds={"min_count": 10},
    table_files=(TABLE,),
    signal_suffixes=(".csv",),
    description=(
        "10,646 records of 10,646 patients, 10 s at 500 Hz each, from Shaoxing People's Hospital in China, published "
        "with Chapman University. Recorded with the MUSE ECG system (GE) in units of 4.88 microvolt. A licensed "
        "physician labelled rhythm and conditions, a second one checked them, and a senior physician decided where "
        "they differed: 11 rhythms, one per record, and 56 named conditions, of which any number may stand together."
    ),
    problems=(
        "AF is atrial flutter and AFIB atrial fibrillation; ST is sinus tachycardia. Read by the usual abbreviations, "
        "the labels would be swapped.",
        "RhythmNames.xlsx calls sinus irregularity SI, Diagnostics.xlsx writes SA; the label is SA.",
        "A preparation that keeps the eight commonest rhythms loses 414 records and the label SA; the published list "
        "has 42 labels and 9 rhythms.",
        "The same recordings are JS00001 to JS10646 of the PhysioNet/CinC Challenge 2021 and of PhysioNet's "
        "ecg-arrhythmia. A model pretrained on either has seen the test records.",
        "Some files hold flat leads or values beyond 10 mV. The published preparation neither checks nor clips, so "
        "they take part here as well; a record of zeros or without any value is named in the report.",
        "Several conditions have some ten to twenty records, so that one or two positives make their test AUROC.",
        "The article gives CC BY 4.0, the figshare page CC0; the stricter one is named here.",
    ),
    releases=(
        Release(
            version="2",
            records=10_646,
            label_counts={
                "label_all": {**_CONDITION_COUNTS, **_RHYTHM_COUNTS},
                "label_condition": _CONDITION_COUNTS,
                "label_rhythm": _RHYTHM_COUNTS,
            },
            label_numbers={"label_all": 42, "label_condition": 33, "label_rhythm": 9},
            label_hashes={
                "label_all": "02c38539f0d1868edd7a08edfec2c04cc6d2932f8892aa24058e49559fce8a89",
                "label_condition": "8c6323ed8b11100a60a6520a57bc0a817e839ac2e4576657a58d847dffff0f0b",
                "label_rhythm": "8c859cb7ac15b8dee1538a8d2faab28f6300d5344a7c90f46ae65f9c7b817ecc",
            },
            fold_sizes=(1065, 1065, 1063, 1065, 1066, 1066, 1065, 1065, 1062, 1064),
            fold_sha256="ed176b593391af1c3129a576c53f02d1ae3958136818469389e13c061484a390",
            split_sizes=split_sizes(8_520, 1_062, 1_064),
        ),
    ),
    sources=(
        Source(
            host="figshare",
            ref="collections/4560497",
            files=("*.xlsx", "ECGData.zip"),
            unpack=True,
        ),
    ),
)
