"""MIMIC-IV-ECG with the labels of MIMIC-IV: 12 leads, 10 s, 500 Hz; 1,127 targets for the eleven tasks of one run.

Raw folder: nine tables (see `dataset_scripts/published/mimic_iv_ecg/sources.py`; at the top, in `data/`, or in hosp,
icu, ed; plain or gzip) and the waveforms, as the tree `files/p1000/p1XXXXXXX/s4XXXXXXX/` or in the published zip file.
Rules: arXiv 2509.25095 and its published preparation; the derivation is in `dataset_scripts/published/mimic_iv_ecg/`.

The store holds the ECGs that the tasks use (taken in the emergency department, with a diagnosis; see `selection`),
about a quarter of the 800,035: the others carry no target, and would take 73 GB more. The selection depends on no
threshold. What is left out is listed in the report with the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
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
    TargetGroup,
)
from dataset_scripts.published.mimic_iv_ecg.names import FOLDS, GROUPS, UNITS
from ecg_hub.errors import DataError
from ecg_hub.input.samples import Repair
from ecg_hub.utils.remote import bring, place

if TYPE_CHECKING:
    import pandas as pd

    from dataset_scripts.published.mimic_iv_ecg.derive import Derived


RECORDS = "records_w_diag_icd10.csv"
WAVEFORM_ZIP = "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
CLIP_MV = 3.0
NOT_IN_ED = "not taken in the emergency department"
NO_CODE = "without an ICD-10 code"
NOT_FIRST = "not the first ECG of its stay, in a fold where only those count"


class MIMICIVECG(ECGDataset):
    """MIMIC-IV-ECG 1.0 with MIMIC-IV-ECG-Ext-ICD, MDS-ED, MIMIC-IV and MIMIC-IV-ED."""

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder after checking that the table of records and the waveforms are there."""
        from dataset_scripts.published.mimic_iv_ecg.sources import find_tables

        del sampling_rate
        if data_dir is None:
            raise DataError(f"No folder given for {self.name!r}: pass data_dir. {self.how_to_get()}")
        folder = bring(place(data_dir), lazily=True)
        if not folder.is_dir():
            raise DataError(f"The folder {str(folder)!r} of {self.name!r} does not exist. {self.how_to_get(folder)}")
        # Both raise where something is missing: hours of reading must not end at a table that was never there.
        find_tables(folder, self.how_to_get(folder))
        find_waveforms(folder, self.how_to_get(folder))
        return folder

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read records_w_diag_icd10.csv: the used ECGs in its order; the others are excluded by rule."""
        import pandas as pd

        import dataset_scripts.published.mimic_iv_ecg.sources as sources
        from dataset_scripts.published.mimic_iv_ecg.engine import Engine, Settings
        from dataset_scripts.published.mimic_iv_ecg.selection import read_records

        del sampling_rate
        # Every table may be plain or gzip, at the top, in data/, or in its module's folder, as people unpack them.
        table = sources.open_table(sources.RECORDS, sources.find_tables(data_dir)[sources.RECORDS])
        # In a folder that goes again: what was selected is kept by the record store.
        with TemporaryDirectory() as work:
            records = pd.read_parquet(read_records(Engine(Path(work), Settings.from_environment()), table).path)
        where = find_waveforms(data_dir, self.how_to_get(data_dir))
        records["file"] = [
            where.name if where.suffix == ".zip" else f"{where.relative_to(data_dir).as_posix()}/{stem}"
            for stem in map(stem_of, records["subject_id"], records["study_id"])
        ]
        used = records[records["selected"]]
        frame = pd.DataFrame(
            {
                "record_id": used["study_id"].astype(str),
                "file": used["file"],
                # Within the zip file a record is found by its number; as files, by its path.
                "key": used["study_id"] if where.suffix == ".zip" else 0,
                "patient_id": used["subject_id"].astype(str),
                "age": used["age"],
                "sex": used["gender"].map({"F": "female", "M": "male"}),
                "strat_fold": used["strat_fold"],
                "selection_fold": used["fold"],
                "ecg_time": used["ecg_time"].astype(str),
                "icd10": [" ".join(labels) for labels in used["labels"]],
            }
        ).reset_index(drop=True)
        return Scan(frame, excluded=_left_out(records[~records["selected"]]), version="1.0")

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one WFDB record, from its files or from the zip file; raw samples, not repaired."""
        from dataset_scripts.readers.signal_files import zip_index
        from ecg_hub.input.wfdb import read_record

        if record.file.endswith(".zip"):
            return zip_index(data_dir / record.file).read(record.key)
        return read_record(data_dir / f"{record.file}.hea")

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Return folds, splits and the ICD-10 labels of each ECG before any count; `full_label_table` has targets."""
        # An ECG without a code comes back from Parquet as None or NaN.
        labels = [cell.split() if isinstance(cell, str) else [] for cell in metadata["icd10"]]
        fold = metadata["strat_fold"].to_numpy(dtype=np.int32)
        return LabelTable({"label_diagnostic": labels}, fold, split_by_fold(fold, last=FOLDS - 1))

    def full_label_table(
        self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any], work: Path
    ) -> LabelTable:
        """Derive the targets from the nine tables, or find them derived in `work`."""
        from dataset_scripts.published.mimic_iv_ecg.derive import derive

        derived = derive(data_dir, work, thresholds["min_icd_count"], thresholds["min_chart_count"])
        labels, values = _rows_of(derived, metadata["record_id"].astype("int64").to_numpy())
        fold = metadata["strat_fold"].to_numpy(dtype=np.int32)
        return LabelTable(
            labels={"label_diagnostic": labels},
            fold=fold,
            split=split_by_fold(fold, last=FOLDS - 1),
            fixed={"label_diagnostic": sorted(code for code, _ in derived.codes)},
            targets=(derived.names, values),
            target_groups=derived.groups,
            derivation=derived.report,
            deviations={"tables": f"without {', '.join(derived.absent)}"} if derived.absent else {},
            target_scales={
                name: (deviation, derived.units.get(name, ""))
                for name, (_, deviation, values_) in derived.scale.items()
                # Classes have no scale; values are stored as z-scores, and errors are told in the unit of the
                # measurement.
                if values_
            },
            target_means={name: mean for name, (mean, _, values_) in derived.scale.items() if values_},
        )


def stem_of(subject: int, study: int) -> str:
    """Return where a record lies below `files`, without ending."""
    return f"p{str(subject)[:4]}/p{subject}/s{study}/{study}"


def find_waveforms(folder: Path, how_to_get: str) -> Path:
    """Return the folder `files`, or the zip file of the waveforms."""
    # As wget mirrors the page, as the zip file unpacks, and the zip file left as it is.
    places = (folder / "files", folder / WAVEFORM_ZIP / "files", folder / f"{WAVEFORM_ZIP}.zip")
    for path in places:
        if path.is_dir() or (path.suffix == ".zip" and path.is_file()):
            return path
    raise DataError(
        f"{str(folder)!r} lacks the waveforms: put its folder files/ there, or {WAVEFORM_ZIP}.zip as it is. "
        f"{how_to_get}"
    )


def _left_out(records: pd.DataFrame) -> list[Rejected]:
    """Return the ECGs that the selection leaves out, each with the first rule that does so."""
    # The first rule that applies, so that the numbers of the report add up to all records.
    reasons = np.select([~records["in_ed"], ~records["coded"]], [NOT_IN_ED, NO_CODE], NOT_FIRST)
    rows = zip(records["study_id"].astype(str), records["file"], map(str, reasons), strict=True)
    return [Rejected(study, file, reason) for study, file, reason in rows]


def _rows_of(derived: Derived, studies: np.ndarray) -> tuple[list[list[str]], np.ndarray]:
    """Return the kept codes of each study, and the targets (studies, targets) as float32 with NaN for none."""
    import pyarrow.parquet as pq

    table = pq.read_table(derived.path)
    row_of = {int(study): row for row, study in enumerate(table["study_id"].to_numpy())}
    absent = [int(study) for study in studies if int(study) not in row_of]
    # The tables were exchanged after the store was written: labels would belong to other records.
    if absent:
        raise DataError(
            f"{RECORDS} no longer holds study {absent[0]}, which the record store was made from; prepare it again."
        )
    rows = np.array([row_of[int(study)] for study in studies], dtype=np.int64)
    # In the order of the store, which may hold fewer records than were derived.
    lists = table["labels"].take(rows).to_pylist()
    values = np.empty((len(rows), len(derived.names)), dtype=np.float32)
    codes = len(derived.codes)
    column = {code: number for number, (code, _) in enumerate(derived.codes)}
    # A code that is not named is absent; of all other targets nothing said is nothing known (NaN).
    values[:, :codes] = 0.0
    for row, labels in enumerate(lists):
        values[row, [column[label] for label in labels]] = 1.0
    for number, name in enumerate(derived.names[codes:], start=codes):
        values[:, number] = table[name].to_numpy(zero_copy_only=False)[rows]
    return lists, values


def _groups() -> dict[str, TargetGroup]:
    classes, values = "multi_label_classification", "regression"
    rows: tuple[tuple[str, str, Any, int], ...] = (
        ("cardiac", "diagnoses of ICD-10 chapter IX, circulatory system (codes that begin with I)", classes, 158),
        ("noncardiac", "all other ICD-10 diagnoses", classes, 918),
        ("deterioration", "clinical deterioration", classes, 6),
        ("icu", "admission to intensive care", classes, 2),
        ("mortality", "death within a time", classes, 7),
        ("sex", "sex, 1 = male", classes, 1),
        ("age", "age", values, 1),
        ("biometrics", "height, weight, body mass index", values, 3),
        ("ecg_features", "intervals and axes measured by the machine", values, 7),
        ("lab_values", "lab values within an hour of the ECG", values, 18),
        ("vital_signs", "vital signs within an hour of the ECG", values, 6),
    )
    return {
        name: TargetGroup(title, kind, published, {target: UNITS.get(target, "") for target in GROUPS.get(name, ())})
        for name, title, kind, published in rows
    }


DATASET = MIMICIVECG(
    name="mimic-iv-ecg",
    title="MIMIC-IV-ECG",
    versions=("1.0",),
    sampling_rates=(500,),
    access="credentialed",
    redistribution=False,
    licence=(
        "ODbL 1.0 and PhysioNet Credentialed Health Data License 1.5.0: the first of waveforms and machine "
        "measurements, the second of MIMIC-IV, MIMIC-IV-ED, MIMIC-IV-ECG-Ext-ICD and MDS-ED"
    ),
    citation=(
        "Gow, B. et al. MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset (version 1.0). PhysioNet, 2023, "
        "10.13026/4nqg-sb35. Johnson, A. et al. MIMIC-IV (version 3.1), PhysioNet, 10.13026/kpb9-mt58. Johnson, A. et "
        "al. MIMIC-IV-ED (version 2.2), PhysioNet, 10.13026/5ntk-km72. Strodthoff, N., Lopez Alcaraz, J.M., Haverkamp, "
        "W. Prospects for artificial intelligence-enhanced electrocardiogram as a unified screening tool for cardiac "
        "and non-cardiac conditions. European Heart Journal - Digital Health, 2024 (labels: MIMIC-IV-ECG-Ext-ICD). "
        "Lopez Alcaraz, J.M., Bouma, H., Strodthoff, N. MDS-ED, arXiv:2407.17856, PhysioNet, 10.13026/p90d-vd84. "
        "Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23), 2000."
    ),
    page="https://physionet.org/content/mimic-iv-ecg/1.0/",
    label_columns=("label_diagnostic",),
    folds="strat_fold as shipped with MIMIC-IV-ECG-Ext-ICD, by patient: 0 to 17 train, 18 validation, 19 test",
    metadata_columns={"strat_fold": "int32", "selection_fold": "int32", "ecg_time": "string", "icd10": "string"},
    thresholds={"min_count": 10, "min_icd_count": 2000, "min_chart_count": 1000},
    table_files=(RECORDS,),
    optional_files=(f"{RECORDS}.gz", f"data/{RECORDS}", f"data/{RECORDS}.gz"),
    signal_suffixes=(".hea", ".dat", ".zip"),
    repair=Repair(clip_mv=CLIP_MV),
    target_groups=_groups(),
    description=(
        "800,035 diagnostic ECGs of 161,352 patients of Beth Israel Deaconess Medical Center, Boston, 2008 to 2019 "
        "(dates shifted), recorded on Burdick/Spacelabs, Philips and General Electric carts: 12 leads, 10 s, 500 Hz. "
        "Matched with MIMIC-IV: ICD-10 diagnoses of emergency and hospital stays, outcomes after arrival in the "
        "emergency department, machine measurements, biometrics, vital signs and lab values near the ECG. Used are "
        "ECGs taken in the emergency department with at least one diagnosis. Nobody read the ECGs for these labels: "
        "they are diagnoses, outcomes and measurements of the patient."
    ),
    derivation=(
        "Selection: ECGs taken in the emergency department with at least one ICD-10 code; of the two last values of "
        "`fold` only the first ECG of a stay. `strat_fold` then divides them into training, validation and test.",
        "Codes: every code is cut to five characters, a trailing X goes, its prefixes of three or more characters are "
        "added. Codes of at least 2,000 ECGs (of all 800,035) are targets.",
        "Outcomes: the fifteen deterioration columns of MDS-ED, of the stay with the earliest arrival; -999 is no "
        "value.",
        "Machine measurements: axes within 360 degrees and times within 0 to 5,000 ms; RR, QRS, QT and QTc = QT / "
        "sqrt(RR in s) follow.",
        "Biometrics: outpatient records and charted heights and weights, in inches and pounds, without the lowest and "
        "highest percent of each kind; the nearest within 30 whole days.",
        "Vital signs: emergency department and charted ones, temperatures in Fahrenheit, without the lowest and "
        "highest percent; the nearest within an hour before or after.",
        "Lab values: the most frequent item and unit of each label, without the lowest and highest percent, joined by "
        "five charted ones; the nearest within an hour before or after, by the time of storage.",
        "Charted values count only for labels with at least 1,000 rows. Of equally near values the first in the order "
        "of the tables counts. Measured values become z-scores by mean and deviation of the training ECGs.",
    ),
    problems=(
        "Access is credentialed: MIMIC-IV (https://physionet.org/content/mimiciv/3.1/), MIMIC-IV-ED "
        "(https://physionet.org/content/mimic-iv-ed/2.2/), MIMIC-IV-ECG-Ext-ICD "
        "(https://physionet.org/content/mimic-iv-ecg-ext-icd-labels/1.0.1/) and MDS-ED "
        "(https://physionet.org/content/multimodal-emergency-benchmark/1.0.0/) each ask for a PhysioNet account with "
        "training in human subjects research and a signed agreement; MIMIC-IV-ECG itself is open. No signal, label or "
        "per-record prediction may be passed on, so nothing of it is ever pushed.",
        "Leads are stored in the order I, II, III, aVR, aVF, aVL, V1 to V6. They are put right by name; a reader that "
        "goes by position swaps aVL and aVF.",
        "ECGs are selected by the column `fold` and split by `strat_fold`, two different random divisions of the "
        "patients: validation and test hold follow-up ECGs of a stay as well as first ones, and training lacks some "
        "follow-up ECGs.",
        "The published preparation bridges missing samples linearly and clips at 3 mV before anything else. The store "
        "keeps the raw samples; readers make the same repair. A lead without any sample, and missing samples at the "
        "start, stay missing and become 0 in the model.",
        "mds_ed.csv lists an ECG once per stay whose first 90 minutes it falls into. The row with the earliest arrival "
        "counts.",
        "The published preparation joins machine_measurements.csv and mds_ed.csv by row number. Here both are joined "
        "by study, and the report counts rows where the two disagree.",
        "ECG features are not clipped: single impossible intervals within 0 to 5,000 ms stretch their z-scores.",
        "Weights charted in pounds (Admission Weight (lbs.)) are dropped, those in kg are used. PR, INR(PT), anion "
        "gap and PAR oxygen saturation of chart events are read and not used.",
        "The order of codes with equal counts is not reproducible in the published preparation; compare by name.",
        "Sex and age are missing together in 4,489 rows; these ECGs have no target for them.",
        "The published list of cardiac codes (158) equals the codes that begin with I; libraries that look up chapters "
        "differ on single codes between versions.",
    ),
    releases=(
        Release(
            version="1.0",
            records=800_035,
            label_numbers={"label_diagnostic": 1076},
        ),
    ),
    sources=(
        Source(host="physionet", ref="mimic-iv-ecg/1.0", files=("machine_measurements.csv", "files/*")),
        Source(host="physionet", ref="mimic-iv-ecg-ext-icd-labels/1.0.1", files=(RECORDS,)),
        Source(host="physionet", ref="multimodal-emergency-benchmark/1.0.0", files=("mds_ed.csv",)),
        Source(
            host="physionet",
            ref="mimiciv/3.1",
            files=(
                *("hosp/omr.csv.gz", "hosp/d_labitems.csv.gz", "hosp/labevents.csv.gz", "icu/d_items.csv.gz"),
                "icu/chartevents.csv.gz",
            ),
        ),
        Source(host="physionet", ref="mimic-iv-ed/2.2", files=("ed/vitalsign.csv.gz",)),
    ),
)
