"""HDF5 and NumPy files that hold many records each, read in file order.

Records come shard by shard in the order of the scan, which is the order of the file. So a block of rows is read at
once and kept until the next one is wanted: compressed chunks are unpacked once, and memory stays at one block.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS

if TYPE_CHECKING:
    import h5py


Stamp = tuple[int, int, int]

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
        with _open(path) as part:
            fault = _fault(part)
            if fault:
                raise DataError(f"{path.name} {fault}")
            exam_ids = np.asarray(part["exam_id"], dtype=np.int64)
            ends = len(exam_ids) > 0 and exam_ids[-1] == 0 and not part["tracings"][len(exam_ids) - 1].any()
    except OSError as error:
        raise DataError(f"{path.name} is no whole HDF5 file ({_reason(error)})") from None
    return PartIndex(path.name, exam_ids[:-1] if ends else exam_ids, int(ends))


def read_tracing(path: Path, row: int) -> np.ndarray:
    """Return one tracing, (samples, 12) float."""
    try:
        stamp = _stamp(path)
        size = _block_rows(str(path), stamp)
        try:
            return np.array(_block(str(path), stamp, row // size, size)[row % size])
        except OSError:  # one damaged chunk must not cost the rows around it
            with _open(path) as part:
                return np.asarray(part["tracings"][row])
    except FileNotFoundError:
        raise DataError(f"{path.name} is missing") from None
    except OSError as error:
        raise DataError(f"row {row} of {path.name} cannot be read ({_reason(error)})") from None


def _open(path: Path) -> h5py.File:
    """Open a part for one look: a handle that is kept would keep others from opening the file in their own way."""
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)  # some read-only and network file systems have no locks


def _stamp(path: Path) -> Stamp:
    """Return what changes when a file is replaced, so that no block outlives the file it was read from."""
    state = os.stat(path)
    return state.st_ino, state.st_size, state.st_mtime_ns


def _fault(part: h5py.File) -> str:
    """Return what is wrong with the layout of a part, or ""."""
    absent = [name for name in ("exam_id", "tracings") if not hasattr(part.get(name), "shape")]
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
    with _open(Path(path)) as part:
        tracings = part["tracings"]
        row_bytes = max(1, tracings.dtype.itemsize * int(np.prod(tracings.shape[1:])))
        chunk = tracings.chunks[0] if tracings.chunks else 1
    rows = chunk * max(1, BLOCK_ROWS // chunk)
    return int(min(rows, max(1, BLOCK_BYTES // row_bytes)))


@lru_cache(maxsize=1)
def _block(path: str, stamp: Stamp, number: int, size: int) -> np.ndarray:
    del stamp
    with _open(Path(path)) as part:
        return np.asarray(part["tracings"][number * size : (number + 1) * size])


def _reason(error: OSError) -> str:
    """Return the text of an HDF5 error on one line."""
    return " ".join(str(error).split())


ROWS_PER_MAP = 512


def check_array(path: Path, shape: tuple[int, ...], reason: str, page: str) -> None:
    """Check that a file holds a float array of a shape, without reading its values.

    Args:
        path: the .npy file.
        shape: what it must be.
        reason: why it must have that many rows, for the error text.
        page: where to get the data.
    """
    expected = f"an array {list(shape)} of float64 was expected, because {reason} of that split"
    try:
        array = _open_memory_map(path)
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} is missing; {expected}. Get it from {page}.") from None
    except (ValueError, OSError, EOFError) as error:
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
    return np.lib.format.open_memmap(path, mode="r")


@lru_cache(maxsize=1)
def _mapped(path: str, stamp: tuple[int, int], part: int) -> np.ndarray:
    """Map a file; a new map every few hundred rows, because pages of a map count as memory until it is closed."""
    del stamp, part
    return _open_memory_map(Path(path))
