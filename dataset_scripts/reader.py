"""Fast reading of signals: windows straight from the Arrow memory of a split, converted to millivolt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ecg_hub.errors import InputError
from ecg_hub.input.samples import Repair, to_millivolt
from ecg_hub.leads import LEADS

if TYPE_CHECKING:
    from datasets import Dataset


_LEADS = len(LEADS)


class SignalReader:
    """Reads signals of a split of `load_dataset`, also after select, shuffle, filter or slicing.

    The samples stay in the memory-mapped file: a window touches only its own pages.

    Args:
        split: a dataset with the columns signal, gain_uv and baseline.
        repaired: whether to make the repair that the dataset declares (`ECGDataset.repair`): MIMIC-IV-ECG bridges
            missing samples and clips. False gives what was recorded.

    Attributes:
        lengths: (records,) int64, samples per record.
        unit: "mV", or "zscore" for data without a physical unit.

    Raises:
        InputError: the dataset lacks one of the columns.

    Example:
        >>> import tempfile
        >>> from dataset_scripts import load_dataset, mock
        >>> folder = tempfile.TemporaryDirectory()
        >>> raw = mock.write("ptb-xl", folder.name + "/ptb-xl", records=40)
        >>> train = load_dataset("ptb-xl", raw, cache_dir=folder.name)["train"]
        >>> reader = SignalReader(train.select([3, 1]))
        >>> reader.raw(0).shape, reader.raw(0).dtype  # stored samples, time first
        ((5000, 12), dtype('int16'))
        >>> reader.window_mv(1, start=500, stop=1750).shape  # millivolts
        (1250, 12)
        >>> reader.windows_mv([0, 0, 1], [0, 1250, 0], samples=1250).shape  # leads first, as models want them
        (3, 12, 1250)
        >>> reader.window_mv(0, 4000, 6000)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: The window 4000 to 6000 leaves record 0, which has 5000 samples.
        >>> del reader, train
        >>> folder.cleanup()
    """

    lengths: np.ndarray
    unit: str

    def __init__(self, split: Dataset, repaired: bool = True) -> None:
        absent = {"signal", "gain_uv", "baseline"} - set(split.column_names)
        if absent:
            raise InputError(f"The dataset lacks the columns {', '.join(sorted(absent))}; it has {split.column_names}.")
        self._split = split
        table = split.data.table
        self._chunks, self._chunk, self._start, lengths = _locate(table.column("signal"))
        # `select`, `shuffle` and `filter` leave the table as it is and put indices over it; `datasets` has no public
        # way to them.
        rows = np.arange(len(lengths)) if split._indices is None else _numbers(split._indices.column(0))
        self._chunk, self._start, self.lengths = self._chunk[rows], self._start[rows], lengths[rows]
        self._gain_uv = _fixed_lists(table.column("gain_uv"), np.float32)[rows]
        self._baseline = _fixed_lists(table.column("baseline"), np.int32)[rows]
        self.unit = "mV" if split.features["signal"].dtype == "int16" else "zscore"
        self._repair = _declared_repair(split) if repaired and self.unit == "mV" else None
        self._repaired = repaired

    def __len__(self) -> int:
        return len(self.lengths)

    def __reduce__(self) -> tuple[type[SignalReader], tuple[Dataset, bool]]:
        # To a worker goes the split alone, which is a path and some indices; positions are found again there.
        return SignalReader, (self._split, self._repaired)

    def raw(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return stored samples (stop - start, 12) as a read-only view: int16 with -32768 = missing, or float32.

        Raises:
            InputError: no such record, or the window is not inside it.
        """
        if not 0 <= index < len(self.lengths):
            raise InputError(f"Record {index!r} does not exist; the split has {len(self.lengths)} records.")
        length = int(self.lengths[index])
        end = length if stop is None else stop
        if not 0 <= start <= end <= length:
            raise InputError(f"The window {start!r} to {end!r} leaves record {index}, which has {length} samples.")
        begin = int(self._start[index])
        # A view of the memory map: only the pages of this window are read.
        values = self._chunks[self._chunk[index]][begin + start * _LEADS : begin + end * _LEADS]
        return values.reshape(-1, _LEADS)

    def scales(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return gain_uv (records, 12) float32 and baseline (records, 12) int32 of records start to stop."""
        return self._gain_uv[start:stop], self._baseline[start:stop]

    def window_mv(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a window (stop - start, 12) float32 in millivolt, NaN where a sample is missing.

        Data without a physical unit come as they are (`unit`). A window of a dataset that declares a repair is cut
        from the repaired record: samples outside of the window count.

        Raises:
            InputError: no such record, or the window is not inside it.
        """
        raw = self.raw(index, start, stop)
        if self.unit == "zscore":
            return raw.astype(np.float32)
        gain_uv, baseline = self._gain_uv[index], self._baseline[index]
        window = to_millivolt(raw, gain_uv, baseline)
        if self._repair is None:
            return window
        return self._repair.apply(window, start, self.raw(index), gain_uv, baseline)

    def windows_mv(self, indices: Iterable[int], starts: Iterable[int], samples: int) -> np.ndarray:
        """Return equally long windows (windows, 12, samples) float32 in millivolt, NaN where a sample is missing.

        Args:
            indices: the record of each window.
            starts: its first sample.
            samples: its length.

        Raises:
            InputError: no such record, or a window is not inside it.
        """
        pairs = list(zip(indices, starts, strict=True))
        out = np.empty((len(pairs), _LEADS, samples), dtype=np.float32)
        for number, (index, start) in enumerate(pairs):
            out[number] = self.window_mv(index, start, start + samples).T
        return out


def _declared_repair(split: Dataset) -> Repair | None:
    """Return the repair of the dataset that a split belongs to; None where it declares none or is unknown."""
    from dataset_scripts.catalog import datasets

    known = datasets().get(split.info.dataset_name or "")
    return known.repair if known is not None else None


def _locate(column: pa.ChunkedArray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Return the flat samples of each chunk, and for each record its chunk, its first position and its length."""
    flat, chunks, starts, lengths = [], [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number, chunk in enumerate(column.chunks):
        records = chunk.storage
        rows = records.values
        # Offsets have 32 bits; times twelve leads they may leave that range.
        ends = records.offsets.to_numpy().astype(np.int64)
        if rows.offsets[-1].as_py() - rows.offsets[0].as_py() != _LEADS * len(rows):
            raise InputError(f"The column signal holds rows of other than {_LEADS} leads.")
        # An error, should Arrow have to copy: the copy would be the whole dataset in memory.
        flat.append(rows.values.to_numpy(zero_copy_only=True))
        chunks.append(np.full(len(records), number, dtype=np.int64))
        # The inner array may itself be a slice, whose first offset is not 0.
        starts.append(ends[:-1] * _LEADS + rows.offsets[0].as_py())
        lengths.append(np.diff(ends))
    return flat, np.concatenate(chunks), np.concatenate(starts), np.concatenate(lengths)


def _fixed_lists(column: pa.ChunkedArray, dtype: type[np.generic]) -> np.ndarray:
    """Return a column of lists of twelve numbers as array (records, 12)."""
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False).reshape(-1, _LEADS)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)
