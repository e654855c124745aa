"""CODE-15% (Ribeiro et al., Zenodo 4916206): 345,779 exams of 7.3 or 10.24 s, 12 leads, 400 Hz, six diagnoses.

Raw folder: exams.csv and exams_part0.hdf5 to exams_part17.hdf5, each with `exam_id` [rows] and `tracings` [rows, 4096,
12], float32 in millivolt; the order is I, II, III, aVR, aVL, aVF, V1 to V6. exams.csv is in another order than the
parts, so the two are joined on exam_id. Every part ends with an all-zero row of exam_id 0: it is no exam, and appears
neither in the store nor in the report.

Padding: shorter recordings stand between zeros. The published rule counts the rows in which all leads are 0, wherever
they are, and cuts half of them (rounded down) from either end. Where that cuts signal, the report says so.

Folds: patients in ascending order, in batches of 10,000, stratified into 100 folds by their diagnoses, sex and age
group. The rows are all exams that the parts at hand and exams.csv both hold, whether their tracing can be used or not.
So a missing part changes nearly all folds; `folds_from_table=True` takes the rows of exams.csv instead, which is the
same for the whole release and keeps the published folds for a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.folds import stratify_groups
from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import (
    ECGDataset,
    Exclusion,
    LabelTable,
    PathLike,
    RawRecord,
    RecordExcluded,
    Release,
    Scan,
    Signal,
    Source,
)
from dataset_scripts.readers.exams import EXAMS_FILE, FLAGS, ExamTables, find_parts, read_tables, read_tracing
from dataset_scripts.readers.signal_files import float_signal
from ecg_hub.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


RELEASE_EXAMS = 345_779
LABELS: Mapping[str, tuple[str, str]] = {
    "1AVB": ("1dAVb", "first degree atrioventricular block"),
    "RBBB": ("RBBB", "right bundle branch block"),
    "LBBB": ("LBBB", "left bundle branch block"),
    "SBRAD": ("SB", "sinus bradycardia"),
    "AFIB": ("AF", "atrial fibrillation"),
    "STACH": ("ST", "sinus tachycardia"),
}
"""Label -> column of exams.csv and meaning, in the published order."""

# Names that sort like the published class numbers 0 to 13: six diagnoses, one that every exam has, sex, age group.
_CLASSES = tuple(f"{number:02d}" for number in range(14))
_EVERY, _MALE, _FEMALE, _YOUNGEST = 6, 7, 8, 9
_AGE_LIMITS = (20.0, 40.0, 60.0, 80.0)


class CODE15(ECGDataset):
    """CODE-15%, release 1.0.0."""

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder after checking that it holds exams.csv and at least one part."""
        folder = super().check_folder(data_dir, sampling_rate)
        if not find_parts(folder):
            packed = sorted(path.name for path in folder.glob("exams_part*.zip"))
            hint = f" Unpack {packed[0]} and the other archives there." if packed else ""
            raise DataError(
                f"{str(folder)!r} holds {EXAMS_FILE} but no exams_part*.hdf5.{hint} {self.how_to_get(folder)}"
            )
        return folder

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """List the tracings of all parts in file order, joined with exams.csv."""
        import pandas as pd

        del sampling_rate
        tables = read_tables(data_dir, self.page)
        rows = tables.rows
        table = pd.DataFrame(
            {
                "record_id": rows["exam_id"].astype(str),
                "file": rows["file"],
                "key": rows["key"],
                "patient_id": _text(rows["patient_id"]),
                "age": rows["age"],
                "sex": rows["is_male"].map({True: "male", False: "female"}),
                **{name: rows[name] for name in self.metadata_columns},
            }
        )
        return Scan(table, lost=tables.lost, version=describe_version(tables))

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one tracing and cut its padding by the published rule."""
        kept, remark = trim(read_tracing(data_dir / record.file, record.key))
        if not len(kept):
            raise RecordExcluded("no sample is left when the zero padding is cut")
        # Millivolt, whatever the README of the release says (1e-4 V).
        return float_signal(kept.astype(np.float64) * 1000.0, self.sampling_rate, remark=remark)

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Take the six diagnoses as they are, and make the folds by patient."""
        flags = [metadata[column].eq(True).tolist() for column, _ in LABELS.values()]
        labels = [
            [label for label, given in zip(LABELS, row, strict=True) if given] for row in zip(*flags, strict=True)
        ]
        tables = read_tables(data_dir, self.page)
        exams = tables.exams
        # As published, folds are made of the exams whose tracing is at hand: one missing part changes nearly all.
        if not thresholds["folds_from_table"]:
            exams = exams.loc[exams.index.isin(tables.rows["exam_id"])]
        folds = make_folds(exams, thresholds["folds"], thresholds["batch_patients"])
        # A tracing without a row in the table has fold -1 in the published code too, and takes no part.
        fold = folds.reindex(metadata["record_id"].astype("int64"), fill_value=-1).to_numpy(dtype=np.int32)
        unlisted: np.ndarray = fold < 0
        short = (metadata["samples"] < thresholds["min_samples"]).to_numpy(dtype=bool)
        # The test set is the highest fold that still holds a record after the length rule.
        used = fold[~unlisted & ~short]
        return LabelTable(
            labels={"label_all": labels},
            fold=fold,
            split=split_by_fold(fold, last=int(used.max(initial=0))),
            fixed={"label_all": tuple(LABELS)},
            exclusions=[
                Exclusion(f"no row in {EXAMS_FILE} (fold -1)", unlisted, counted=False),
                Exclusion(f"shorter than {thresholds['min_samples']} samples", short),
            ],
        )

    def label_title(self, column: str, label: str) -> str:
        """Return the diagnosis in words."""
        del column
        return LABELS[label][1] if label in LABELS else label


def trim(tracing: np.ndarray) -> tuple[np.ndarray, str]:
    """Cut the zero padding of a tracing (samples, 12) as published; a remark says where that costs signal."""
    # Zero rows are counted wherever they stand, and half of them cut from each end: a flat stretch inside costs signal.
    zero: np.ndarray = np.logical_not(tracing.any(axis=1))
    cut = int(zero.sum()) // 2
    stop = len(tracing) - cut
    lost = int((~zero[:cut]).sum() + (~zero[stop:]).sum())
    remark = f"the published cutting of zero rows removes {lost} samples of signal" if lost else ""
    return tracing[cut:stop], remark


def make_folds(exams: pd.DataFrame, folds: int, batch_patients: int) -> pd.Series:
    """Return exam_id -> fold, by patient."""
    import pandas as pd

    groups = [str(patient) for patient in exams["patient_id"]]
    fold = stratify_groups(groups, fold_classes(exams), folds, seed=0, numeric=True, batch=batch_patients)
    return pd.Series(fold, index=exams.index)


def fold_classes(exams: pd.DataFrame) -> list[list[str]]:
    """Return what each exam is stratified by; besides its diagnoses one class of all exams, its sex and age group.

    The class of all exams decides ties at the end, and an unknown age counts as 80 and over, both as published.
    """
    diagnoses = exams[[column for column, _ in LABELS.values()]].to_numpy(dtype=bool)
    age = exams["age"].to_numpy(dtype=float)
    group = np.searchsorted(_AGE_LIMITS, age, side="right")  # NaN comes after all numbers
    sex = np.where(exams["is_male"].to_numpy(dtype=bool), _MALE, _FEMALE)
    rest = zip(sex.tolist(), (group + _YOUNGEST).tolist(), strict=True)
    return [
        [_CLASSES[number] for number in (*(n for n, given in enumerate(row) if given), _EVERY, *common)]
        for row, common in zip(diagnoses.tolist(), rest, strict=True)
    ]


def describe_version(tables: ExamTables) -> str | None:
    """Return "1.0.0" for the whole release, None for another table, and a warning where parts are missing.

    The warning stands in place of the release, so every result that was made without these parts shows it.
    """
    release = "1.0.0" if len(tables.exams) == RELEASE_EXAMS else None
    if not tables.missing_parts:
        return release
    return (
        f"{release or 'release unknown'} without {', '.join(tables.missing_parts)}: nearly all folds differ from the "
        "published ones unless folds_from_table=True"
    )


def _text(values: pd.Series) -> pd.Series:
    """Return whole numbers as text, None where there is none."""
    return values.map(lambda value: None if value is None else str(value))


DATASET = CODE15(
    name="code-15",
    title="CODE-15%",
    versions=("1.0.0",),
    sampling_rates=(400,),
    access="open",
    redistribution=True,
    licence="CC-BY-4.0",
    citation=(
        "Ribeiro, A.H., Paixão, G.M.M., Lima, E.M., Horta Ribeiro, M., Pinto Filho, M.M., Gomes, P.R., Oliveira, D.M., "
        "Meira Jr., W., Schön, T.B., Ribeiro, A.L.P. CODE-15%: a large scale annotated dataset of 12-lead ECGs "
        "(version 1.0.0). Zenodo, 2021, 10.5281/zenodo.4916206. CC BY 4.0. Ribeiro et al., Automatic diagnosis of the "
        "12-lead ECG using a deep neural network, Nature Communications 11, 1760, 2020, 10.1038/s41467-020-15432-4."
    ),
    page="https://zenodo.org/records/4916206",
    label_columns=("label_all",),
    folds=(
        "100 folds by patient, stratified by diagnoses, sex and age group in batches of 10,000 patients: "
        "0 to 97 train, 98 validation, 99 test"
    ),
    metadata_columns={**dict.fromkeys(FLAGS, "bool"), "normal_ecg": "bool"},
    thresholds={
        "min_count": 10,
        "min_samples": 4000,
        "folds": 100,
        "batch_patients": 10_000,
        "folds_from_table": False,
    },
    table_files=(EXAMS_FILE,),
    signal_suffixes=(".hdf5",),
    description=(
        "345,779 exams of 233,770 patients, a 15 percent sample of the CODE cohort: 12-lead ECGs recorded from 2010 "
        "to 2016 in primary care units of Minas Gerais, Brazil, on portable electrocardiographs of the Telehealth "
        "Network of Minas Gerais, and sent to cardiologists for reporting. Recordings last 7.3 or 10.24 s at 400 Hz. "
        "The six diagnoses were drawn from the cardiologists' reports by text mining, together with the automatic "
        "measurements and Minnesota codes of the recording software; they were not read anew. Age, sex and, for two "
        "thirds of the exams, follow-up of mortality come with them."
    ),
    problems=(
        "The README gives the unit as 1e-4 V; the values are millivolt. Scaled by the README, every amplitude is "
        "wrong by a constant factor.",
        "Every part ends with an all-zero row of exam_id 0, and exams.csv is in another order than the parts. "
        "Whoever joins by position labels nearly every exam wrongly; here the join is on exam_id.",
        "The published preparation counts all-zero rows anywhere in a tracing and cuts half of them from either end: "
        "an interior flat stretch cuts signal, and an odd number leaves one row of padding. It is followed; the "
        "report names the exams that lose signal.",
        "The length rule (10 s) leaves out all recordings of 7.3 s, after the folds are made.",
        "An exam without any of the six diagnoses is not a normal one: of 308,004 such exams only 134,657 are flagged "
        "normal_ecg. The others count as negatives for all six.",
        "The published folds depend on all exams at once, through batches of patients: a missing part changes nearly "
        "all of them. The results then carry the missing parts in the version, and folds_from_table=True keeps the "
        "published folds.",
        "The test set is one fold of a hundred, before the length rule about 3,458 exams: intervals are wider than "
        "the size of the dataset suggests.",
        "Some recordings occur twice under different patients, so that folds by patient do not keep all copies apart.",
    ),
    releases=(
        Release(
            version="1.0.0",
            records=RELEASE_EXAMS,
            label_counts={
                "label_all": {
                    "1AVB": 5_716,
                    "RBBB": 9_672,
                    "LBBB": 6_026,
                    "SBRAD": 5_605,
                    "AFIB": 7_033,
                    "STACH": 7_584,
                }
            },
            label_numbers={"label_all": 6},
        ),
    ),
    sources=(Source(host="zenodo", ref="4916206", files=(EXAMS_FILE, "exams_part*.zip"), unpack=True),),
)
