"""Small CODE-15% folders: an exams.csv and parts whose every sample can be told by eye."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dataset_scripts.mock.code_15 import COLUMNS
from dataset_scripts.readers.exams import FLAGS

SAMPLES = 50


def exam(exam_id: int, part: int = 0, **cells: object) -> dict[str, Any]:
    """One row of exams.csv: a man of 50 without diagnosis."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= dict.fromkeys(FLAGS, False) | {"is_male": True, "age": 50, "patient_id": 1000 + exam_id, "normal_ecg": True}
    return row | {"exam_id": exam_id, "nn_predicted_age": 48.5, "trace_file": f"exams_part{part}.hdf5"} | cells


def write_part(path: Path, ids: Sequence[int], end: bool = True, **options: Any) -> np.ndarray:
    """Write a part in which sample t of lead l of row r is (r + 1) + t / 100 + l / 10000; returns its tracings."""
    rows = len(ids) + end
    grid = np.add.outer(np.add.outer(np.arange(1, rows + 1), np.arange(SAMPLES) / 100), np.arange(12) / 10_000)
    tracings = grid.astype(np.float32)
    if end:
        tracings[-1] = 0
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([*ids, *([0] * end)], dtype=np.int64)
        file.create_dataset("tracings", data=tracings, **options)
    return tracings


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with (folder / "exams.csv").open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return folder
