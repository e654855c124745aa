"""A CODE folder: exams.csv joined with HDF5 parts of many tracings each.

Every exam ends in one place: in `rows` if a part holds its tracing, in `lost` if its row is damaged, its tracing occurs
a second time, or no part at hand holds it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.spec import Rejected
from dataset_scripts.readers.hdf5 import check_rows, opened, stored_array
from dataset_scripts.readers.tables import CellError, age_years, flag, iterate_rows, whole_number
from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS
from ecg_hub.utils.untrusted import reading

if TYPE_CHECKING:
    import h5py
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
            # Otherwise a tracing would find no row and pass for one that the table never listed.
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
    # The first one counts, in the order of the parts.
    second = rows["exam_id"].duplicated().to_numpy()
    repeated = [
        Rejected(str(row.exam_id), str(row.file), f"exam_id {row.exam_id} occurs a second time, in row {row.key}")
        for row in rows[second].itertuples()
    ]
    rows = rows[~second & ~rows["exam_id"].isin(damaged).to_numpy()].reset_index(drop=True)
    exam_row = exams.index.get_indexer(pd.Index(rows["exam_id"]))
    for name in VALUES:
        values = (
            # Objects, so that a value can be None: with gaps pandas would make floats of flags and patient numbers.
            exams[name].astype(object).to_numpy()[exam_row] if len(exams) else np.full(len(rows), None, dtype=object)
        )
        # An exam without a row has the index -1, which numpy takes for the last row.
        values[exam_row < 0] = None
        rows[name] = pd.Series(values, dtype=object)
    return rows, repeated


def _missing_parts(exams: pd.DataFrame, parts: Sequence[PartIndex]) -> list[str]:
    """Return the files that exams.csv names and that could not be opened, in the order of their numbers."""
    named = set(exams["trace_file"]) - {part.file for part in parts} - {""}
    # By length first, so that exams_part10 follows exams_part9.
    return sorted(named, key=lambda name: (len(name), name))


def _without_tracing(exams: pd.DataFrame, with_tracing: set[int], missing: Mapping[str, str]) -> list[Rejected]:
    """Return the exams that no part holds, each with the reason."""
    lost = exams[~exams.index.isin(with_tracing)]
    reasons = {name: f"{name} {reason}" for name, reason in missing.items()}
    return [
        Rejected(str(exam), file or EXAMS_FILE, reasons.get(file, "no part at hand holds a tracing of this exam"))
        for exam, file in zip(lost.index, lost["trace_file"], strict=True)
    ]


Stamp = tuple[int, int, int]

# Records come shard by shard in the order of the scan, which is the order of the file. So a block of rows is read at
# once and kept until the next one is wanted: compressed chunks are unpacked once, and memory stays at one block.
BLOCK_ROWS = 64
BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PartIndex:
    """Which exams a part holds.

    Attributes:
        file: its name in the raw folder.
        exam_ids: (rows,) int64, in file order; rows that only end the file are left out.
        end_rows: rows of exam_id 0 without a signal, with which every part ends; no records.
    """

    file: str
    exam_ids: np.ndarray
    end_rows: int


def find_parts(folder: Path) -> list[str]:
    """Return the names of the HDF5 files of a folder, sorted by the number in the name."""
    names = [path.name for path in folder.glob("*.hdf5") if path.is_file()]
    return sorted(names, key=lambda name: ([int(digits) for digits in re.findall(r"\d+", name)], name))


def read_index(path: Path) -> PartIndex:
    """Read which exams a part holds, without its tracings."""
    try:
        with reading(path.name, "HDF5"), opened(path) as part:
            fault = _fault(part)
            if fault:
                raise DataError(f"{path.name} {fault}")
            check_rows(part["exam_id"], len(part["exam_id"]), f"exam_id of {path.name}")
            check_rows(part["tracings"], 1, f"tracings of {path.name}")
            exam_ids = np.asarray(part["exam_id"], dtype=np.int64)
            ends = len(exam_ids) > 0 and exam_ids[-1] == 0 and not part["tracings"][len(exam_ids) - 1].any()
    except DataError as error:
        if isinstance(error.__cause__, OSError):
            raise DataError(f"{path.name} is no whole HDF5 file ({_reason(error.__cause__)})") from None
        raise
    return PartIndex(path.name, exam_ids[:-1] if ends else exam_ids, int(ends))


def read_tracing(path: Path, row: int) -> np.ndarray:
    """Return one tracing, (samples, 12) float."""
    try:
        stamp = _stamp(path)
        size = _block_rows(str(path), stamp)
        try:
            # A copy: a view would keep the whole block in memory.
            return np.array(_block(str(path), stamp, row // size, size)[row % size])
        except OSError:  # one damaged chunk must not cost the rows around it
            with opened(path) as part:
                return np.asarray(part["tracings"][row])
    except FileNotFoundError:
        raise DataError(f"{path.name} is missing") from None
    # RuntimeError and others where the tables inside a file are damaged.
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"row {row} of {path.name} cannot be read ({_reason(error)})") from None


def _stamp(path: Path) -> Stamp:
    """Return what changes when a file is replaced, so that no block outlives the file it was read from."""
    state = os.stat(path)
    return state.st_ino, state.st_size, state.st_mtime_ns


def _fault(part: h5py.File) -> str:
    """Return what is wrong with the layout of a part, or ""."""
    absent = [name for name in ("exam_id", "tracings") if stored_array(part, name) is None]
    if absent:
        return f"lacks {' and '.join(absent)}; it holds {', '.join(part) or 'nothing'}"
    ids, tracings = part["exam_id"], part["tracings"]
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        return f"has exam_id of shape {ids.shape} and type {ids.dtype}, not whole numbers [rows]"
    if tracings.ndim != 3 or tracings.shape[2] != len(LEADS) or tracings.dtype.kind != "f":
        return f"has tracings of shape {tracings.shape} and type {tracings.dtype}, not float [rows, samples, 12]"
    if len(ids) != len(tracings):
        return f"has {len(ids)} rows in exam_id and {len(tracings)} in tracings"
    return ""


@lru_cache(maxsize=2)
def _block_rows(path: str, stamp: Stamp) -> int:
    """Return how many rows are read at once: whole chunks, about 64 rows, and no more than fit into 256 MiB."""
    del stamp
    with opened(Path(path)) as part:
        tracings = part["tracings"]
        row_bytes = max(1, tracings.dtype.itemsize * int(np.prod(tracings.shape[1:])))
        chunk = tracings.chunks[0] if tracings.chunks else 1
    # Whole chunks: HDF5 unpacks a chunk as a whole, so half of one would cost it twice.
    rows = chunk * max(1, BLOCK_ROWS // chunk)
    return int(min(rows, max(1, BLOCK_BYTES // row_bytes)))


@lru_cache(maxsize=1)
def _block(path: str, stamp: Stamp, number: int, size: int) -> np.ndarray:
    del stamp
    with opened(Path(path)) as part:
        return np.asarray(part["tracings"][number * size : (number + 1) * size])


def _reason(error: BaseException) -> str:
    """Return the text of an HDF5 error on one line."""
    return " ".join(str(error).split())
