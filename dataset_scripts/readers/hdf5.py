"""HDF5 files of raw folders: arrays that lie in the file itself, of a size that is known before they are read.

HDF5 lets a file point to others: by an external link, by an array whose bytes lie in an external file, and by a virtual
array put together of other files. Any of these makes samples of whatever the reader may open, so all are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_hub.errors import DataError
from ecg_hub.utils.untrusted import check_values, plain_file

if TYPE_CHECKING:
    import h5py


@contextmanager
def opened(path: Path, locking: bool | None = None) -> Iterator[h5py.File]:
    """Open a plain file for reading; without locks where the file system has none."""
    import h5py

    plain_file(path, math.inf)
    try:
        file = h5py.File(path, "r", locking=locking)
    except OSError as error:
        # Some read-only and network file systems have no locks.
        if "lock" not in str(error):
            raise
        file = h5py.File(path, "r", locking=False)
    with file:
        yield file


def stored_array(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return an array of a file, None where there is none of that name.

    Raises:
        DataError: its values lie in another file.
    """
    import h5py

    link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise DataError(f"{name!r} is a link to another file, which is not followed")
    array = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(array, h5py.Dataset):
        return None
    if array.external or array.is_virtual:
        raise DataError(f"the values of {name!r} lie in another file, which is not read")
    return array


def check_rows(array: h5py.Dataset, rows: int, what: str) -> None:
    """Refuse an array of which some rows, or the chunks that hold them, are larger than a record may be."""
    chunk = array.chunks or (1,)
    # HDF5 unpacks a chunk as a whole, and a chunk may be larger than the array.
    check_values(math.prod(chunk) * array.dtype.itemsize // 4, f"a chunk of {what}")
    check_values(rows * math.prod(array.shape[1:]), what)
