"""Two fingerprints: of a raw folder (finds the store again) and of a store's content (goes into results).

The raw one is cheap and local: names, sizes and times of the signal files, and the content of the tables. A folder
that is moved keeps it; one that changes in any of these gets a new store. The content one covers every sample and
every metadata value, so two machines with the same data agree on it, however the files got there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.core.spec import ECGDataset, RawRecord, Signal
from dataset_scripts.core.walk import walk
from ecg_hub.errors import DataError
from ecg_hub.utils.files import file_sha256
from ecg_hub.utils.remote import fetch_all, sizes

if TYPE_CHECKING:
    import pandas as pd


def raw_fingerprint(dataset: ECGDataset, folder: Path, sampling_rate: int) -> str:
    """Return 16 hexadecimal digits over the raw files that a store at this rate is made of."""
    tables = (*dataset.table_files, *dataset.optional_files)
    try:
        # Tables by content, since one edited cell changes labels; signals by size and time, since reading all of them
        # would take as long as writing the store.
        fetch_all(folder / name for name in tables)
        lines = [f"{name}\t{file_sha256(folder / name)}\n" for name in tables if (folder / name).is_file()]
        for root in dataset.signal_folders(sampling_rate):
            # Sorted: the order of `scandir` is the file system's own.
            lines += sorted(_signal_lines(folder, root, dataset.signal_suffixes, set(tables)))
    except OSError as error:
        raise DataError(f"The folder of {dataset.name!r} cannot be read: {error}.") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _signal_lines(folder: Path, root: str, suffixes: tuple[str, ...], tables: set[str]) -> Iterator[str]:
    """Yield `name size time` of every signal file below a folder; names are relative to the raw folder."""
    # Files behind a URL are empty here until they are read.
    known = sizes(folder)
    for place, entries in walk(folder / root):
        for entry in entries:
            if entry.name.endswith(suffixes):
                name = os.path.relpath(place / entry.name, folder).replace(os.sep, "/")
                # A table that lies among the signals is in already, by content.
                if name not in tables:
                    yield f"{name}\t{_size_and_time(entry, known.get(name))}\n"


def _size_and_time(entry: os.DirEntry[str], size: int | None = None) -> str:
    try:
        state = entry.stat()
    except OSError:  # a dangling link: the record will be reported as lost
        return "unreadable"
    return f"{state.st_size if size is None else size}\t{state.st_mtime_ns}"


def record_digest(record: RawRecord, signal: Signal) -> str:
    """Return 32 hexadecimal digits over everything that the store holds of one record."""
    digest = hashlib.blake2b(digest_size=16)
    identity = [record.record_id, record.patient_id, record.age, record.sex, signal.sampling_rate]
    digest.update(canonical_json([identity, {**record.metadata, **signal.metadata}]).encode())
    for array in (signal.gain_uv, signal.baseline, signal.samples):
        # Type and shape as well: the same bytes could be another array.
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def store_fingerprint(name: str, report: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits over the records of a store, from the digests in its report."""
    # From the report and not from the signals: a store of hundreds of gigabytes is identified by reading one small
    # file.
    kept = report.loc[report["status"] == "ok", "digest"]
    return content_fingerprint([name, *kept])


def content_fingerprint(parts: Iterable[Any]) -> str:
    """Return 16 hexadecimal digits over values that JSON can hold, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(canonical_json(part).encode())
        # A mark between the parts: two lists that differ only in where one part ends must not agree.
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def canonical_json(value: Any) -> str:
    """Return JSON that is the same for equal values: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
