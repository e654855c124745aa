"""The tables of a CODE folder: exams.csv joined with the exam_ids of the HDF5 parts.

Every exam ends in one place: in `rows` if a part holds its tracing, in `lost` if its row is damaged, its tracing occurs
a second time, or no part at hand holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.spec import Rejected
from dataset_scripts.readers.arrays import PartIndex, find_parts, read_index
from dataset_scripts.readers.tables import CellError, age_years, flag, iterate_rows, whole_number
from ecg_hub.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


EXAMS_FILE = "exams.csv"
FLAGS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
"""The six diagnoses, in the order of the file."""

NEEDED = ("exam_id", "age", "is_male", *FLAGS, "patient_id", "normal_ecg", "trace_file")
VALUES = ("patient_id", "age", "is_male", *FLAGS, "normal_ecg", "trace_file")


@dataclass(frozen=True)
class ExamTables:
    """What the tables of a folder say.

    Attributes:
        exams: index exam_id; columns patient_id (int), age (years, NaN), is_male, the six diagnoses, normal_ecg (bool)
            and trace_file: every sound row of exams.csv, in its order.
        rows: one row per usable tracing, in the order of the parts: exam_id, file, key (its row in the file), and the
            columns of `exams`, None where exams.csv has no row.
        lost: damaged rows, second occurrences, exams without a tracing.
        missing_parts: files that exams.csv names and that are not there or cannot be opened.
    """

    exams: pd.DataFrame
    rows: pd.DataFrame
    lost: Sequence[Rejected]
    missing_parts: Sequence[str]


def read_tables(folder: Path, page: str) -> ExamTables:
    """Read exams.csv and the exam_ids of all parts; what was read is kept until a file changes."""
    names = (EXAMS_FILE, *find_parts(folder))
    stamps = tuple((name, _size_and_time(folder / name)) for name in names)
    return _read_tables(str(folder), stamps, page)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=1)
def _read_tables(folder: str, stamps: tuple[tuple[str, tuple[int, int]], ...], page: str) -> ExamTables:
    del stamps
    exams, lost, damaged = _read_exams(Path(folder) / EXAMS_FILE, page)
    parts, unreadable = _read_parts(Path(folder))
    rows, repeated = _join(parts, exams, damaged)
    missing = _missing_parts(exams, parts)
    lost += repeated
    lost += _without_tracing(
        exams, set(rows["exam_id"]), {name: unreadable.get(name, "is missing") for name in missing}
    )
    return ExamTables(exams, rows, lost, missing)


def _read_exams(path: Path, page: str) -> tuple[pd.DataFrame, list[Rejected], set[int]]:
    """Return the sound rows of exams.csv, the damaged ones, and the exam_ids of those damaged ones that have one."""
    import pandas as pd

    values: dict[int, tuple[Any, ...]] = {}
    lost: list[Rejected] = []
    damaged: set[int] = set()
    for line, cells in iterate_rows(path, NEEDED, page):
        if isinstance(cells, str):
            lost.append(Rejected(f"line {line}", EXAMS_FILE, cells))
            continue
        exam = None
        try:
            exam = whole_number(cells, "exam_id")
            if exam in values or exam in damaged:
                raise CellError(f"exam_id {exam} occurs a second time in line {line}")
            values[exam] = _parse(cells)
        except CellError as fault:
            lost.append(Rejected(cells["exam_id"] or f"line {line}", EXAMS_FILE, str(fault)))
            if exam is not None and exam not in values:
                damaged.add(exam)
    columns = list(zip(*values.values(), strict=True)) or [()] * len(VALUES)
    frame = pd.DataFrame(
        dict(zip(VALUES, map(list, columns), strict=True)), index=pd.Index(list(values), dtype="int64")
    )
    kinds = {"patient_id": "int64", "age": "float64", "trace_file": "str"}
    return frame.astype({name: kinds.get(name, "bool") for name in VALUES}), lost, damaged


def _parse(cells: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the values of one row in the order of `VALUES`; CellError where a cell is something else."""
    patient, age = whole_number(cells, "patient_id"), age_years(cells, "age")
    flags = {name: flag(cells, name) for name in ("is_male", *FLAGS, "normal_ecg")}
    empty = [name for name, value in flags.items() if value is None]
    if empty:
        raise CellError(f"{', '.join(empty)} is empty")
    named = {**flags, "patient_id": patient, "age": np.nan if age is None else age, "trace_file": cells["trace_file"]}
    return tuple(named[name] for name in VALUES)


def _read_parts(folder: Path) -> tuple[list[PartIndex], dict[str, str]]:
    """Return the index of every part that can be opened, and the reason for every other one."""
    parts: list[PartIndex] = []
    unreadable: dict[str, str] = {}
    for name in find_parts(folder):
        try:
            parts.append(read_index(folder / name))
        except DataError as error:
            unreadable[name] = str(error).removeprefix(name).strip()
    return parts, unreadable


def _join(parts: Sequence[PartIndex], exams: pd.DataFrame, damaged: set[int]) -> tuple[pd.DataFrame, list[Rejected]]:
    """Return the tracings with their values, and those that occur a second time."""
    import pandas as pd

    sizes = [len(part.exam_ids) for part in parts]
    rows = pd.DataFrame(
        {
            "exam_id": np.concatenate([np.empty(0, np.int64), *(part.exam_ids for part in parts)]),
            "file": np.repeat(np.array([part.file for part in parts], dtype=object), sizes),
            "key": np.concatenate([np.empty(0, np.int64), *map(np.arange, sizes)]),
        }
    )
    second = rows["exam_id"].duplicated().to_numpy()
    repeated = [
        Rejected(str(row.exam_id), str(row.file), f"exam_id {row.exam_id} occurs a second time, in row {row.key}")
        for row in rows[second].itertuples()
    ]
    rows = rows[~second & ~rows["exam_id"].isin(damaged).to_numpy()].reset_index(drop=True)
    exam_row = exams.index.get_indexer(pd.Index(rows["exam_id"]))
    for name in VALUES:
        values = (
            exams[name].astype(object).to_numpy()[exam_row] if len(exams) else np.full(len(rows), None, dtype=object)
        )
        values[exam_row < 0] = None
        rows[name] = pd.Series(values, dtype=object)
    return rows, repeated


def _missing_parts(exams: pd.DataFrame, parts: Sequence[PartIndex]) -> list[str]:
    """Return the files that exams.csv names and that could not be opened, in the order of their numbers."""
    named = set(exams["trace_file"]) - {part.file for part in parts} - {""}
    return sorted(named, key=lambda name: (len(name), name))


def _without_tracing(exams: pd.DataFrame, with_tracing: set[int], missing: Mapping[str, str]) -> list[Rejected]:
    """Return the exams that no part holds, each with the reason."""
    lost = exams[~exams.index.isin(with_tracing)]
    reasons = {name: f"{name} {reason}" for name, reason in missing.items()}
    return [
        Rejected(str(exam), file or EXAMS_FILE, reasons.get(file, "no part at hand holds a tracing of this exam"))
        for exam, file in zip(lost.index, lost["trace_file"], strict=True)
    ]
