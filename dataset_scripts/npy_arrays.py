"""NumPy files that hold one record per row, read through a memory map."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ecg_hub.errors import DataError

ROWS_PER_MAP = 512


def check_array(path: Path, shape: tuple[int, ...], reason: str, page: str) -> None:
    """Check that a file holds a float array of a shape, without reading its values.

    Args:
        path: the .npy file.
        shape: what it must be.
        reason: why it must have that many rows, for the error text.
        page: where to get the data.

    Raises:
        DataError: the file is missing, shorter than its header says, or of another shape or type.
    """
    expected = f"an array {list(shape)} of float64 was expected, because {reason} of that split"
    try:
        array = _open(path)
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
    """Return one row of an array as a view of the file.

    Raises:
        DataError: the file is missing, cut short, or has fewer rows.
    """
    try:
        state = path.stat()
        array = _mapped(str(path), (state.st_size, state.st_mtime_ns), row // ROWS_PER_MAP)
        return np.asarray(array[row])
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise DataError(f"row {row} of {path.name} cannot be read ({error})") from None


def _open(path: Path) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="r")


@lru_cache(maxsize=1)
def _mapped(path: str, stamp: tuple[int, int], part: int) -> np.ndarray:
    """Map a file; a new map every few hundred rows, because pages of a map count as memory until it is closed."""
    del stamp, part
    return _open(Path(path))
