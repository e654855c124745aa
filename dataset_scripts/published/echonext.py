"""EchoNext (Elias and Finer, PhysioNet, restricted access): 10 s, 12 leads, 250 Hz, with findings of an echocardiogram.

Raw folder: echonext_metadata_100k.csv (also spelt EchoNext_metadata_100k.csv) and EchoNext_<split>_waveforms.npy for
train, val and test, each [records, 1, 2500, 12] float64. The rows of a split in the table are in the order of that
split's array, so the table must be whole: a row that does not say its split would shift all rows after it. The array
of no_split is not read.

Signals are median-filtered, clipped and z-scored by the publisher; there is no way back to millivolt. Labels are the
eleven flags of single findings; the composite flag is not among them. Splits are the shipped ones; folds 0 to 7 of the
training part are stratified by patient, 8 is validation and 9 test. Training patients without any flag get no fold
(-1) and are training all the same. no_split holds earlier records of validation and test patients and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.folds import stratify_groups
from dataset_scripts.core.spec import (
    ECGDataset,
    LabelTable,
    PathLike,
    RawRecord,
    Rejected,
    Release,
    Scan,
    Signal,
    is_mock,
    split_sizes,
)
from dataset_scripts.readers.tables import CellError, age_years, flag, iterate_rows, short, whole_number
from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS
from ecg_hub.utils.files import file_sha256
from ecg_hub.utils.remote import bring, place
from ecg_hub.utils.untrusted import plain_file, reading

if TYPE_CHECKING:
    import pandas as pd


METADATA = "echonext_metadata_100k.csv"
OTHER_SPELLING = "EchoNext_metadata_100k.csv"
METADATA_SHA256 = "a1fb9f1a4d5fa2ea7238fe70247a2b8ad8a13d7b3ed9ee3685dd40871fac3c1f"
LABELS: Mapping[str, str] = {
    "lvef_lte_45_flag": "left ventricular ejection fraction of 45 percent or less",
    "lvwt_gte_13_flag": "left ventricular wall thickness of 13 mm or more",
    "aortic_stenosis_moderate_or_greater_flag": "aortic stenosis, moderate or greater",
    "aortic_regurgitation_moderate_or_greater_flag": "aortic regurgitation, moderate or greater",
    "mitral_regurgitation_moderate_or_greater_flag": "mitral regurgitation, moderate or greater",
    "tricuspid_regurgitation_moderate_or_greater_flag": "tricuspid regurgitation, moderate or greater",
    "pulmonary_regurgitation_moderate_or_greater_flag": "pulmonary regurgitation, moderate or greater",
    "rv_systolic_dysfunction_moderate_or_greater_flag": "right ventricular systolic dysfunction, moderate or greater",
    "pericardial_effusion_moderate_large_flag": "pericardial effusion, moderate or large",
    "pasp_gte_45_flag": "pulmonary artery systolic pressure of 45 mmHg or more",
    "tr_max_gte_32_flag": "tricuspid regurgitation velocity of 3.2 m/s or more",
}
"""Column of the metadata, which is also the label -> meaning, in the published order."""

SPLITS: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test", "no_split": ""}
TRAINING_FOLDS, VALIDATION_FOLD, TEST_FOLD = 8, 8, 9
SEED = 42
SHAPE = (1, 2500, len(LEADS))
NEEDED = ("ecg_key", "patient_key", "split", "sex", "age_at_ecg", *LABELS)
SUBGROUPS = ("location_setting", "race_ethnicity", "acquisition_year")
"""Columns kept as text for looking at subgroups, where the table has them."""

_SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"} | dict.fromkeys(
    ("", "unknown", "other", "nan", "n/a")
)


class EchoNext(ECGDataset):
    """EchoNext, release 1.1.0."""

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder after checking that the metadata are there, in either spelling."""
        spelt = self
        if data_dir is not None and (bring(place(data_dir), lazily=True) / OTHER_SPELLING).is_file():
            spelt = replace(self, table_files=(OTHER_SPELLING,))
        # A bare `super()` would go on with self, which looks for the table in its other spelling.
        return super(EchoNext, spelt).check_folder(data_dir, sampling_rate)

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """Read the metadata and check that every array fits its split."""
        import pandas as pd

        del sampling_rate
        path = _metadata_file(data_dir)
        rows, rejected, sizes = _read_metadata(path, self.page)
        for split, size in sizes.items():
            if SPLITS[split] and size:
                check_array(data_dir / waveform_file(split), (size, *SHAPE), f"{path.name} has {size} rows", self.page)
        columns = ["record_id", "file", "key", "patient_id", "age", "sex", *self.metadata_columns]
        table = pd.DataFrame(rows, columns=columns, dtype=object)
        # No file of the release states its version, so the table's checksum does.
        version = "1.1.0" if file_sha256(path) == METADATA_SHA256 else None
        return Scan(table, lost=rejected["lost"], excluded=rejected["excluded"], version=version)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read one record as float32 z-scores."""
        samples = read_record(data_dir / record.file, record.key)[0].astype(np.float32)
        # Infinity cannot be stored in a way that models survive; NaN is a missing sample and stays.
        if np.isinf(samples).any():
            raise DataError("a sample is infinite")
        empty = [name for name in LABELS if record.metadata[name] is None]
        absent = int(np.isnan(samples).sum())
        remarks = [f"{absent} samples are NaN"] if absent else []
        remarks += [f"no value, taken as 0: {', '.join(empty)}"] if empty else []
        return Signal(
            samples=samples,
            # The release holds z-scores: there is no way back to millivolt.
            gain_uv=np.full(len(LEADS), np.nan, dtype=np.float32),
            baseline=np.zeros(len(LEADS), dtype=np.int32),
            sampling_rate=self.sampling_rate,
            remark="; ".join(remarks),
        )

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Take the eleven flags as they are; splits as shipped, folds of the training part by patient."""
        del data_dir, thresholds
        # An empty flag counts as 0, which the report says.
        flags = [metadata[name].eq(True).tolist() for name in LABELS]
        labels = [
            [label for label, given in zip(LABELS, row, strict=True) if given] for row in zip(*flags, strict=True)
        ]
        shipped = metadata["shipped_split"].to_numpy(dtype=object)
        fold = np.full(len(metadata), -1, dtype=np.int32)
        training = np.flatnonzero(shipped == "train")
        # Names that sort like the published class numbers: the order of the classes decides ties.
        order = {label: f"{number:02d}" for number, label in enumerate(LABELS)}
        fold[training] = stratify_groups(
            metadata["patient_id"].iloc[training].tolist(),
            [[order[label] for label in labels[row]] for row in training],
            TRAINING_FOLDS,
            SEED,
            numeric=True,
        )
        fold[shipped == "val"] = VALIDATION_FOLD
        fold[shipped == "test"] = TEST_FOLD
        split = np.array([SPLITS[name] for name in shipped], dtype=object)
        return LabelTable({"label_all": labels}, fold, split, fixed={"label_all": tuple(LABELS)})

    def full_label_table(
        self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any], work: Path
    ) -> LabelTable:
        """Return the label table; that the metadata are not the published ones is a deviation."""
        table = super().full_label_table(metadata, data_dir, thresholds, work)
        if is_mock(data_dir) or file_sha256(_metadata_file(data_dir)) == METADATA_SHA256:
            return table
        # Sorted anew, a table of the same rows gives every record the labels of another one.
        deviation = {"metadata": "other than 1.1.0: signals are found by the order of its rows"}
        return replace(table, deviations={**table.deviations, **deviation})

    def label_title(self, column: str, label: str) -> str:
        """Return the finding in words."""
        del column
        return LABELS.get(label, label)


def waveform_file(split: str) -> str:
    """Return the name of the array of a shipped split."""
    return f"EchoNext_{split}_waveforms.npy"


def _metadata_file(folder: Path) -> Path:
    """Return the metadata in the spelling that is there."""
    # The release and the published code spell the name differently, which matters where case does.
    other = folder / OTHER_SPELLING
    return other if other.is_file() and not (folder / METADATA).is_file() else folder / METADATA


def _read_metadata(path: Path, page: str) -> tuple[list[dict[str, Any]], dict[str, list[Rejected]], dict[str, int]]:
    """Return the rows of train, val and test, those that are lost or left out, and the rows of every split."""
    rows: list[dict[str, Any]] = []
    rejected: dict[str, list[Rejected]] = {"lost": [], "excluded": []}
    sizes = dict.fromkeys(SPLITS, 0)
    seen: set[str] = set()
    for line, cells in iterate_rows(path, NEEDED, page, SUBGROUPS):
        if isinstance(cells, str) or cells["split"] not in SPLITS:
            fault = cells if isinstance(cells, str) else f"line {line}: split {short(cells['split'])}"
            raise DataError(
                f"{str(path)!r}: {fault}. The order of the rows decides which signal belongs to which, so a row that "
                f"is not of {', '.join(SPLITS)} cannot be passed over. Get the file again from {page}."
            )
        split = cells["split"]
        # Rows of a split stand in the order of its array; the published code takes positions in the whole table,
        # which agree only where the table is sorted by split.
        file, key = waveform_file(split), sizes[split]
        sizes[split] += 1
        if not SPLITS[split]:
            rejected["excluded"].append(Rejected(cells["ecg_key"], file, f"{split}: not part of the published splits"))
            continue
        try:
            rows.append({**_parse(cells, seen), "file": file, "key": key})
        except CellError as error:
            rejected["lost"].append(Rejected(cells["ecg_key"] or f"line {line}", path.name, str(error)))
    return rows, rejected, sizes


def _parse(cells: Mapping[str, str], seen: set[str]) -> dict[str, Any]:
    """Return the columns of the store that come from the table; CellError where a cell is damaged."""
    record = cells["ecg_key"]
    if not record or record in seen:
        raise CellError(f"ecg_key {short(record)} {'occurs a second time' if record else 'is empty'}")
    sex = cells["sex"].lower()
    if sex not in _SEXES:
        raise CellError(f"sex {short(cells['sex'])} is neither male nor female")
    values = {
        "record_id": record,
        "patient_id": str(whole_number(cells, "patient_key")),
        "age": age_years(cells, "age_at_ecg"),
        "sex": _SEXES[sex],
        "shipped_split": cells["split"],
        **{name: flag(cells, name) for name in LABELS},
        **{name: cells[name] or None for name in SUBGROUPS},
    }
    seen.add(record)
    return values


ROWS_PER_MAP = 512


def check_array(path: Path, shape: tuple[int, ...], reason: str, page: str) -> None:
    """Check that a .npy file holds a float array of a shape, without reading its values; `reason` is for the error."""
    expected = f"an array {list(shape)} of float64 was expected, because {reason} of that split"
    if not path.exists():
        raise DataError(f"{str(path)!r} is missing; {expected}. Get it from {page}.")
    try:
        # A damaged header is taken for a piece of Python: what may come of it no list of errors covers.
        with reading(path.name, "npy"):
            array = _open_memory_map(path)
    except DataError as error:
        raise DataError(
            f"{str(path)!r} is no whole .npy file ({error}); {expected}. Get it again from {page}."
        ) from None
    if array.shape != shape or array.dtype not in (np.float64, np.float32):
        raise DataError(
            f"{str(path)!r} holds {list(array.shape)} of {array.dtype}; {expected}. The rows of the table and of the "
            f"array belong together one by one. Get both again from {page}."
        )


def read_record(path: Path, row: int) -> np.ndarray:
    """Return one row of an array as a view of the file."""
    try:
        state = path.stat()
        array = _mapped(str(path), (state.st_size, state.st_mtime_ns), row // ROWS_PER_MAP)
        return np.asarray(array[row])
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise DataError(f"row {row} of {path.name} cannot be read ({error})") from None


def _open_memory_map(path: Path) -> np.ndarray:
    plain_file(path, math.inf)
    return np.lib.format.open_memmap(path, mode="r")


@lru_cache(maxsize=1)
def _mapped(path: str, stamp: tuple[int, int], part: int) -> np.ndarray:
    """Map a file; a new map every few hundred rows, because pages of a map count as memory until it is closed."""
    del stamp, part
    return _open_memory_map(Path(path))


DATASET = EchoNext(
    name="echonext",
    title="EchoNext",
    versions=("1.1.0",),
    sampling_rates=(250,),
    access="restricted",
    redistribution=False,
    licence="PhysioNet Restricted Health Data License 1.5.0",
    citation=(
        "Elias, P., Finer, J. EchoNext: A Dataset for Detecting Echocardiogram-Confirmed Structural Heart Disease from "
        "ECGs (version 1.1.0). PhysioNet, 2025, 10.13026/r9pp-3y42 (DOI of version 1.0.0). Poterucha, T.J. et al. "
        "Detecting structural heart disease from electrocardiograms using AI. Nature, 2025, "
        "10.1038/s41586-025-09227-0. Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23), "
        "2000."
    ),
    page="https://physionet.org/content/echonext/1.1.0/",
    label_columns=("label_all",),
    folds=(
        "splits as shipped: train, val (fold 8), test (fold 9), no_split left out; folds 0 to 7 of the training part "
        "stratified by patient, -1 where a patient has none of the findings (training too)"
    ),
    metadata_columns={
        "shipped_split": "string",
        **dict.fromkeys(LABELS, "bool"),
        **dict.fromkeys(SUBGROUPS, "string"),
    },
    thresholds={"min_count": 10},
    table_files=(METADATA,),
    optional_files=(OTHER_SPELLING,),
    signal_suffixes=("_waveforms.npy",),
    unit="zscore",
    description=(
        "100,000 ECGs of 36,286 patients of Columbia University Irving Medical Center and Allen Hospital, New York, "
        "each paired with the findings of an echocardiogram: ejection fraction, wall thickness, valve disease, right "
        "ventricular function, pulmonary pressure, pericardial effusion. The eleven findings were derived from the "
        "measurements and gradings of the echocardiography reports. 12 leads, 10 s, 250 Hz; the publisher filtered "
        "every lead with a median filter, clipped it at percentiles and standardised it. Validation and test hold one "
        "ECG per patient."
    ),
    problems=(
        "The signals are z-scores by a mean and a standard deviation that were not released. Models that expect "
        "millivolt get other amplitudes than they were trained on.",
        "The order of the leads is not stated in the release. The standard order is assumed; the relations between "
        "the limb leads agree with it.",
        "A flag is 0 also where the value was never measured: tr_max_gte_32_flag for 54,996 records, pasp_gte_45_flag "
        "for 43,424. For these two findings many negatives are unknowns, and prevalence is understated by half.",
        "The README calls the metadata EchoNext_metadata_100k.csv, the release holds echonext_metadata_100k.csv; the "
        "published preparation asks for the former and does not find it where names are case-sensitive. Both work.",
        "The published preparation joins signals and table by position across the splits, which is right only if "
        "the table is sorted by split. Here rows are counted within each split.",
        "The tabular feature arrays are in another order than the README says (age is column 1). They are not used.",
        "Training patients without any of the eleven findings get no fold in the published preparation (-1) and "
        "count as training.",
    ),
    releases=(
        Release(
            version="1.1.0",
            records=100_000,
            label_numbers={"label_all": 11},
            split_sizes=split_sizes(72_475, 4_626, 5_442),
            files={METADATA: METADATA_SHA256},
        ),
    ),
)
