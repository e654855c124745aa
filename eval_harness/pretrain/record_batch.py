"""Records in canonical form as they come out of a table: views of their samples, and what is wrong with them.

A record is damaged (it counts as loss) or left out by rule (it does not). What is wrong with a record stays with it:
the others of its table are usable.

Records that a pre-training run came across and could not use, counted by reason; too much damage stops it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING
from ecg_hub.leads import LEADS

SHOWN = 5
JUDGED_FROM = 10_000
"""The fraction of damaged records is taken of at least so many, where there are so many: the first few tell little."""


@dataclass
class Counted:
    """What was counted so far.

    Attributes:
        reasons: (kind, reason) -> records.
        first: the first damaged records with their reasons.
    """

    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> int:
        """Records of a kind of fault."""
        return sum(count for (of, _), count in self.reasons.items() if of == kind)

    def lines(self) -> list[str]:
        """Return one line per reason, the most frequent first."""
        titles = {"damaged": "damaged", "excluded": "left out by rule"}
        return [f"{titles[kind]}: {reason}: {count:,}" for (kind, reason), count in self.reasons.most_common()]


def together(parts: Iterable[Counted]) -> Counted:
    """Return what several readers counted, each of records of its own."""
    listed = list(parts)
    reasons = sum((part.reasons for part in listed), Counter[tuple[str, str]]())
    return Counted(reasons, [line for part in listed for line in part.first][:SHOWN])


class SkippedRecords:
    """What a process could not use, each record counted once."""

    def __init__(self, records: int, max_unreadable: float) -> None:
        self._records, self._max_unreadable = records, max_unreadable
        self._seen = np.zeros(records, dtype=np.bool_)
        self._own = Counted()
        self._workers: dict[int, Counted] = {}

    def add(self, positions: NDArray[np.int64], faults: dict[int, Fault], names: list[str], corpora: list[str]) -> None:
        """Count the records of a block."""
        # A record comes again in every pass, and blocks are read for substitutes too.
        fresh = ~self._seen[positions]
        self._seen[positions] = True
        for row, fault in faults.items():
            if not fresh[row]:
                continue
            self._own.reasons[fault.kind, fault.reason] += 1
            if fault.kind == "damaged" and len(self._own.first) < SHOWN:
                self._own.first.append(f"{names[row]} of {corpora[row]}: {fault.reason}.")
        self._check()

    def _check(self) -> None:
        damaged = self._own.of_kind("damaged")
        judged = max(int(self._seen.sum()), min(self._records, JUDGED_FROM))
        if damaged > self._max_unreadable * judged:
            raise DataError(
                f"{damaged:,} of {judged:,} records are damaged, more than max_unreadable={self._max_unreadable} "
                f"allows. {' '.join(self._own.first)} Write these shards again with `ecg-hub data prepare NAME "
                "--shards DIR`, or raise max_unreadable to go on without them."
            )

    def counted(self) -> Counted:
        """Return what was counted, by this process and by its workers."""
        return together([self._own, *self._workers.values()])

    def take_over(self, worker: int, counted: Counted) -> None:
        """Note what a worker has counted so far."""
        # In place of the last one: a worker sends its totals.
        self._workers[worker] = counted

    @property
    def damaged(self) -> int:
        """Damaged records so far."""
        return self.counted().of_kind("damaged")

    @property
    def excluded(self) -> int:
        """Records that a rule leaves out so far."""
        return self.counted().of_kind("excluded")

    def lines(self) -> list[str]:
        """Return one line per reason, the most frequent first."""
        return self.counted().lines()


LEAD_COUNT = len(LEADS)
REQUIRED = ("record_id", "signal", "gain_uv", "baseline", "sampling_rate")
OPTIONAL = ("split",)
_STRIDE = 50


@dataclass(frozen=True)
class Fault:
    """Why a record is not used: damaged, or left out by rule."""

    kind: Literal["damaged", "excluded"]
    reason: str


@dataclass
class RecordBatch:
    """Records read together, and what they need to become millivolt.

    Attributes:
        record_ids: one per record.
        signals: views (samples, 12) int16 with -32768 = missing, or float32; None where `faults` says why.
        gain_uv: (records, 12) float32, microvolt per unit; NaN for data without a physical unit.
        baseline: (records, 12) int32.
        rates: (records,) Hz.
        splits: one per record, or None where the data name none.
        faults: record -> what is wrong with it.
    """

    record_ids: list[str]
    signals: list[NDArray[Any] | None]
    gain_uv: NDArray[np.float32]
    baseline: NDArray[np.int32]
    rates: NDArray[np.float64]
    splits: list[str | None] | None = None
    faults: dict[int, Fault] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.record_ids)


def unreadable(names: list[str], reason: str) -> RecordBatch:
    """Return rows that are all damaged."""
    count = len(names)
    return RecordBatch(
        record_ids=names,
        signals=[None] * count,
        gain_uv=np.ones((count, LEAD_COUNT), np.float32),
        baseline=np.zeros((count, LEAD_COUNT), np.int32),
        rates=np.zeros(count),
        faults={row: Fault("damaged", reason) for row in range(count)},
    )


def check_schema(schema: pa.Schema, path: str) -> None:
    """Check that a table holds records in canonical form."""
    faults = [f"has no column {name!r}" for name in REQUIRED if name not in schema.names]
    wanted: dict[str, Any] = {
        "signal": _is_signal,
        "gain_uv": lambda kind: _is_list(kind) and pa.types.is_floating(kind.value_type),
        "baseline": lambda kind: _is_list(kind) and pa.types.is_integer(kind.value_type),
        "sampling_rate": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
        "record_id": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    }
    for name, fits in wanted.items():
        if name in schema.names and not fits(_plain(schema.field(name).type)):
            faults.append(f"has {name!r} as {_plain(schema.field(name).type)}")
    if faults:
        raise DataError(
            f"{path!r} {', '.join(faults)}: these are no records in the form of ecg-hub (signal: lists of 12 int16 or "
            "float32, time first). Write such shards with `ecg-hub data prepare NAME --shards DIR`."
        )


def record_batch(table: pa.Table) -> RecordBatch:
    """Return the records of a table whose schema was checked; samples stay where they are."""
    count = len(table)
    ids = [str(value) for value in table.column("record_id").to_pylist()]
    faults: dict[int, Fault] = {}
    signals = [signal for chunk in table.column("signal").chunks for signal in _signals(chunk)]
    gains = _twelve(table.column("gain_uv"), np.float32, np.nan)
    # float64 holds every int32 exactly, and NaN for what is missing.
    baselines = _twelve(table.column("baseline"), np.float64, np.nan)
    rates = table.column("sampling_rate").to_numpy().astype(np.float64)
    for row, signal in enumerate(signals):
        if isinstance(signal, str):
            faults[row] = Fault("damaged", signal)
        # Only floats may be without any gain: they are z-scores then.
        elif (signal.dtype == np.int16 or np.isfinite(gains[row]).any()) and not _usable_scale(
            gains[row], baselines[row]
        ):
            faults[row] = Fault("damaged", "gain or baseline is missing or no usable number")
    return RecordBatch(
        record_ids=ids,
        signals=[None if isinstance(signal, str) else signal for signal in signals],
        gain_uv=gains,
        # NaN has no integer; such a record is among the faults and never read with this 0.
        baseline=np.nan_to_num(baselines).astype(np.int32),
        rates=rates.reshape(count),
        splits=table.column("split").to_pylist() if "split" in table.column_names else None,
        faults=faults,
    )


def emptiness(window: NDArray[Any]) -> str:
    """Return why a window (samples, 12) holds nothing to learn from; "" where it does."""
    if window.dtype != np.int16 and np.isinf(window).any():
        return "a sample is infinite"
    # A few samples show nearly always that it does.
    return _emptiness(window[::_STRIDE]) and _emptiness(window)


def _emptiness(window: NDArray[Any]) -> str:
    whole = window.dtype == np.int16
    present = window != MISSING if whole else ~np.isnan(window)
    if not present.any():
        return "every sample is missing"
    # Missing samples take no part: as the largest they are no minimum, as the smallest no maximum.
    limits = np.iinfo(np.int16) if whole else np.finfo(np.float32)
    low = np.where(present, window, limits.max).min(axis=0)
    high = np.where(present, window, limits.min).max(axis=0)
    return "flat in all leads" if (high <= low).all() else ""


def _plain(kind: Any) -> Any:
    """Return the type that an extension type is stored as."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_signal(kind: Any) -> bool:
    if not (pa.types.is_list(kind) and pa.types.is_list(kind.value_type)):
        return False
    value = kind.value_type.value_type
    return bool(pa.types.is_int16(value) or pa.types.is_float32(value))


def _signals(chunk: pa.Array) -> list[NDArray[Any] | str]:
    """Return each record of a chunk as a view (samples, 12), or the reason why it is none."""
    records = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    # values, not flatten(): offsets count from the beginning of the values, also where the array is a slice.
    ends, rows = records.offsets.to_numpy(), records.values
    cells = rows.offsets.to_numpy()
    values = _samples(rows.values)
    # One check for the chunk; record by record only where some row is not of twelve leads.
    sound = bool((np.diff(cells) == LEAD_COUNT).all())
    absent = np.flatnonzero(records.is_null().to_numpy(zero_copy_only=False))
    signals: list[NDArray[Any] | str] = []
    for begin, end in itertools.pairwise(ends):
        if sound:
            signals.append(values[cells[begin] : cells[end]].reshape(-1, LEAD_COUNT))
        else:
            signals.append(_checked(values, cells[begin : end + 1]))
    for row in absent:
        signals[row] = "the signal is missing"
    return signals


def _checked(values: NDArray[Any], cells: NDArray[Any]) -> NDArray[Any] | str:
    """Return one record of a chunk in which some record has rows of other than twelve leads."""
    widths = np.unique(np.diff(cells))
    if len(widths) and (len(widths) > 1 or widths[0] != LEAD_COUNT):
        return f"rows of {', '.join(map(str, widths[:3]))} leads, not {LEAD_COUNT}"
    return values[cells[0] : cells[-1]].reshape(-1, LEAD_COUNT)


def _samples(values: pa.Array) -> NDArray[Any]:
    if values.null_count:
        values = values.fill_null(MISSING if pa.types.is_int16(values.type) else np.nan)
    # zero_copy_only: should Arrow ever have to copy the samples here, it is to fail, not to cost memory unseen.
    return np.asarray(values.to_numpy(zero_copy_only=True))


def _twelve(column: pa.ChunkedArray, dtype: type[np.generic], fill: float) -> NDArray[Any]:
    """Return a column of lists of twelve numbers as array (records, 12); a list of another form is all `fill`."""
    out = np.full((len(column), LEAD_COUNT), fill, dtype=dtype)
    flat = column.combine_chunks()
    flat = flat.chunk(0) if isinstance(flat, pa.ChunkedArray) and flat.num_chunks == 1 else flat
    if pa.types.is_fixed_size_list(flat.type) and flat.type.list_size == LEAD_COUNT and not flat.null_count:
        # The usual case without a Python object; a null anywhere takes the slow way below.
        inner = flat.flatten()
        if not inner.null_count:
            out[:] = inner.to_numpy().reshape(-1, LEAD_COUNT)
            return out
    for row, cell in enumerate(flat.to_pylist()):
        if cell is not None and len(cell) == LEAD_COUNT and None not in cell:
            out[row] = cell
    return out


def _usable_scale(gain_uv: NDArray[Any], baseline: NDArray[Any]) -> bool:
    return bool(np.isfinite(gain_uv).all() and (gain_uv != 0).all() and np.isfinite(baseline).all())
