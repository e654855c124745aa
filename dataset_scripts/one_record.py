"""One record of a raw folder: its signal in millivolt, and what is known of it. No record store is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_scripts.frames import Seen, from_headers, label_frame
from dataset_scripts.samples import MISSING
from dataset_scripts.spec import ECGDataset, PathLike, RawRecord, RecordExcluded, Scan, Signal
from ecg_hub.errors import DataError, did_you_mean

NEIGHBOURS = 12


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        record_id: the dataset's own name of it.
        values: (samples, 12) float32, NaN = missing; millivolt, or without unit where `unit` is "zscore".
        sampling_rate: Hz.
        unit: "mV" or "zscore".
        patient_id, age, sex: None where unknown; age in years.
        labels: label column -> what each of the record's labels means; {} where they cannot be derived.
        synthetic: whether the folder is a mock tree.
    """

    record_id: str
    values: np.ndarray
    sampling_rate: int
    unit: str
    patient_id: str | None
    age: float | None
    sex: str | None
    labels: Mapping[str, Sequence[str]]
    synthetic: bool


def read_one(dataset: ECGDataset, data_dir: PathLike, record_id: str, sampling_rate: int | None = None) -> Record:
    """Read one record of a raw folder.

    Args:
        dataset: whose folder it is.
        data_dir: the folder.
        record_id: the dataset's own name of the record.
        sampling_rate: Hz, where the raw data come at several; default the published one.

    Raises:
        DataError: the folder lacks something, it has no such record, or the record cannot be read.
    """
    rate = dataset.check_rate(sampling_rate)
    folder = dataset.check_folder(data_dir, rate)
    scan = dataset.scan(folder, rate)
    row = _find(dataset, scan, record_id)
    record = next(scan.records(row, row + 1))
    signal = _read(dataset, folder, record)
    known = {"patient_id": record.patient_id, "age": record.age, "sex": record.sex, **signal.metadata}
    return Record(
        record_id=record.record_id,
        values=to_physical(signal, dataset.unit),
        sampling_rate=signal.sampling_rate,
        unit=dataset.unit,
        patient_id=known["patient_id"],
        age=known["age"],
        sex=known["sex"],
        labels=_labels(dataset, folder, scan, row, signal, rate),
        synthetic=(folder / "mock.json").is_file(),
    )


def to_physical(signal: Signal, unit: str) -> np.ndarray:
    """Return samples (samples, 12) as float32 millivolt with NaN where missing; z-scored ones as they are."""
    if unit == "zscore":
        return np.asarray(signal.samples, dtype=np.float32)
    millivolt = (signal.samples.astype(np.float64) - signal.baseline) * signal.gain_uv / 1000.0
    millivolt[signal.samples == MISSING] = np.nan
    return millivolt.astype(np.float32)


def _find(dataset: ECGDataset, scan: Scan, record_id: str) -> int:
    """Return the row of a record; leading zeros may be left out or added."""
    ids = [str(name) for name in scan.table["record_id"]]
    for wanted in (record_id, record_id.lstrip("0") or "0"):
        if wanted in ids:
            return ids.index(wanted)
    for rejected in (*scan.lost, *scan.excluded):
        if rejected.record_id == record_id:
            raise DataError(f"Record {record_id!r} of {dataset.title} is not used: {rejected.reason}.")
    first = ", ".join(ids[:3])
    raise DataError(
        f"{dataset.title} has no record {record_id!r} in this folder.{did_you_mean(record_id, ids)} "
        f"Its {len(ids):,} records are named like {first or 'none'}."
    )


def _read(dataset: ECGDataset, folder: Path, record: RawRecord) -> Signal:
    try:
        return dataset.read(folder, record)
    except RecordExcluded as rule:
        raise DataError(f"Record {record.record_id!r} of {dataset.title} is left out by rule: {rule}.") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise DataError(f"Record {record.record_id!r} ({record.file}) cannot be read: {error}") from error


def _labels(dataset: ECGDataset, folder: Path, scan: Scan, row: int, signal: Signal, rate: int) -> dict[str, list[str]]:
    """Return the record's labels in words, rare ones included; {} where they cannot be derived from what is here."""
    if from_headers(dataset, scan):  # labels are in the records' own files: fold rules need a few others beside it
        rows, seen = _neighbours(dataset, folder, scan, row, signal)
    else:
        rows, seen = list(range(len(scan))), None
    frame = label_frame(dataset, scan.table.iloc[rows], rate, seen)
    try:
        table = dataset.label_table(frame, folder, dict(dataset.thresholds))
    except DataError:
        return {}
    at = rows.index(row)
    return {
        column: [dataset.label_title(column, label) for label in dict.fromkeys(lists[at])]
        for column, lists in table.labels.items()
    }


def _neighbours(
    dataset: ECGDataset, folder: Path, scan: Scan, row: int, signal: Signal
) -> tuple[list[int], list[Seen]]:
    """Return the record's row and some others, spread over the table, that can be read."""
    rows, seen = [], []
    for number in sorted({row, *np.linspace(0, len(scan) - 1, NEIGHBOURS).astype(int).tolist()}):
        try:
            other = signal if number == row else _read(dataset, folder, next(scan.records(number, number + 1)))
        except DataError:
            continue
        rows.append(number)
        seen.append(Seen(len(other.samples), other.metadata))
    return rows, seen
