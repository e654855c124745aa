"""From prepared records to the windows and targets of one training run.

Rules of protocol sections 2 and 4: windows are cut at the source rate and resampled afterwards; training draws one
random window per record and epoch; validation and test use consecutive windows without overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from dataset_scripts.core.extent import Copy
from ecg_hub.errors import DataError
from ecg_hub.input.windows import eval_starts, random_start, window_length
from ecg_hub.utils.workers import ignore_interrupts

Float = NDArray[np.float32]
Index = NDArray[np.int64]


class Reader(Protocol):
    """What reads windows of a split: `dataset_scripts.reader.SignalReader`, or a stand-in of the same form."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Samples of each record."""

    def window_mv(self, i: int, start: int, stop: int) -> Float:
        """Samples start to stop of record i, float32 (samples, 12), mV, missing as NaN."""


@dataclass(frozen=True)
class Split:
    """The records of one split that are long enough for a window.

    Attributes:
        rows: rows of the reader, ascending.
        record_ids, patient_ids: one per row.
        ages, sexes: one per row, None where unknown; years, "female" or "male".
        targets: (rows, outputs) float32, NaN where there is no target.
        short: records left out because they are shorter than one window.
    """

    name: str
    reader: Reader
    rows: Index
    record_ids: list[str]
    patient_ids: list[str]
    ages: list[float | None]
    sexes: list[str | None]
    targets: Float
    short: int

    def __len__(self) -> int:
        """Number of records."""
        return len(self.rows)

    def select(self, positions: Index | range) -> Split:
        """The records at some positions, in that order."""
        chosen = np.asarray(positions, dtype=np.int64)

        def pick(values: list[Any]) -> list[Any]:
            return [values[int(position)] for position in chosen]

        return replace(
            self,
            rows=self.rows[chosen],
            record_ids=pick(self.record_ids),
            patient_ids=pick(self.patient_ids),
            ages=pick(self.ages),
            sexes=pick(self.sexes),
            targets=self.targets[chosen],
        )


@dataclass(frozen=True)
class RunData:
    """Everything a training run reads.

    Attributes:
        labels: names of the outputs, in order.
        classes: how many leading outputs are classes; the rest are regression targets.
        rate: sampling rate of the source in Hz.
        groups: target group of the dataset -> its names among the outputs, where the dataset groups them.
        scales: regression target -> (standard deviation, unit) that turns its z-scores into clinical units.
        means: regression target -> the mean, in that unit, which a z-score of 0 stands for; where it is known.
        copy: what the prepared data hold, to be compared with the release; None for data without one.
    """

    train: Split
    validation: Split
    test: Split
    labels: list[str]
    classes: int
    rate: int
    fingerprint: str
    dataset: str
    deviations: dict[str, Any]
    groups: dict[str, list[str]] = field(default_factory=dict)
    scales: dict[str, tuple[float, str]] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)
    copy: Copy | None = None

    @property
    def problem_type(self) -> str:
        """The name transformers configs use."""
        if self.classes == len(self.labels):
            return "multi_label_classification"
        return "mixed" if self.classes else "regression"

    @property
    def target_scales(self) -> dict[str, dict[str, Any]] | None:
        """What turns the z-scores that a head is trained on into values, as a model's configuration has it."""
        known = {name: scale for name, scale in self.scales.items() if name in self.means}
        return {
            name: {"mean": self.means[name], "deviation": deviation, "unit": unit}
            for name, (deviation, unit) in known.items()
        } or None


class FilteredReader:
    """Reads windows of records that a preset prepares as a whole first (filters before cutting).

    The last record is kept, because validation and test read the windows of a record one after the other.
    """

    def __init__(self, reader: Reader, extractor: Any, rate: int) -> None:
        self.reader, self.extractor, self.rate = reader, extractor, rate
        self.lengths = reader.lengths
        self._last: tuple[int, Float] | None = None

    def window_mv(self, i: int, start: int, stop: int) -> Float:
        """Samples start to stop of record i after the preset's record steps, float32 (samples, 12)."""
        if self._last is None or self._last[0] != i:
            # The whole record: a filter started at the edge of every window would leave its transient there.
            record = self.reader.window_mv(i, 0, int(self.lengths[i])).T
            self._last = i, self.extractor.prepare_record(np.ascontiguousarray(record), self.rate).T
        return self._last[1][start:stop]


class WindowDataset(Dataset[tuple[Float, int]]):
    """Windows (samples, 12) in mV by number, each with the position of its record in the split."""

    def __init__(self, split: Split, reader: Reader, positions: Index, starts: Index, length: int) -> None:
        self.split, self.reader, self.positions, self.starts, self.length = split, reader, positions, starts, length

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.positions)

    def __getitem__(self, k: int) -> tuple[Float, int]:
        """Window number k."""
        position, start = int(self.positions[k]), int(self.starts[k])
        row = int(self.split.rows[position])
        return self.reader.window_mv(row, start, start + self.length), position


@dataclass(frozen=True)
class Batch:
    """One batch: model input (windows, leads, samples), targets, and the record's position for each window."""

    input_values: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        move = {"device": device, "non_blocking": True}
        return Batch(self.input_values.to(**move), self.targets.to(**move), self.positions.to(**move))  # type: ignore[call-overload]


class Collate:
    """Turns a list of windows into a batch with the extractor's batched preparation."""

    def __init__(self, extractor: Any, rate: int, targets: Float) -> None:
        self.extractor, self.rate, self.targets = extractor, rate, targets

    def __call__(self, items: Sequence[tuple[Float, int]]) -> Batch:
        """Stack, prepare, and look up the targets."""
        windows = np.stack([window for window, _ in items]).transpose(0, 2, 1)
        positions = np.array([position for _, position in items], dtype=np.int64)
        # All windows of a batch at once, by the same function that prepares a single record for a user.
        values = self.extractor.prepare_windows(windows, sampling_rate=self.rate)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(values)),
            torch.from_numpy(self.targets[positions]),
            torch.from_numpy(positions),
        )


@dataclass(frozen=True)
class EpochPlan:
    """What one process trains on in one epoch.

    Attributes:
        starts: first sample of the drawn window, for every training record.
        numbers: the number of the drawn window among the consecutive ones of the split; None where starts are free.
        batches: positions of the records of each batch.
    """

    starts: Index
    numbers: Index | None
    batches: list[Index]


@dataclass(frozen=True)
class Windows:
    """Makes the loaders of a run: knows the window, the extractor, and this process's share of the work."""

    data: RunData
    extractor: Any
    num_workers: int = 0
    rank: int = 0
    world: int = 1

    @property
    def length(self) -> int:
        """Window length in samples at the source rate."""
        return window_length(self.extractor.spec().input_seconds, self.data.rate)

    def epoch_plan(
        self, seed: int, epoch: int, batch_size: int, consecutive: bool = False, stage: int = 0
    ) -> EpochPlan:
        """Draw one window of every training record and a random order; the last partial batch is dropped.

        Depends only on (seed, stage, epoch), so that a resumed run sees the windows of the undisturbed one. Every
        process takes an equal slice of each batch.
        """
        split = self.data.train
        # "rain" of "train" keeps these draws apart from others of the same seed and epoch. The stage counts only where
        # there are stages: the windows of all other modes stay those that they were.
        rng = np.random.default_rng([seed, epoch, 0x7261696E, stage] if stage else [seed, epoch, 0x7261696E])
        lengths = split.reader.lengths[split.rows]
        numbers = None
        if consecutive:
            counts = lengths // self.length
            drawn = rng.integers(0, counts)
            # Windows are numbered through the split, so that a number finds its row in the table of features.
            numbers, starts = np.cumsum(counts) - counts + drawn, drawn * self.length
        else:
            starts = np.array([random_start(int(n), self.length, rng) for n in lengths], dtype=np.int64)
        # Drawn in every process, whole: each takes its slice of the same order without asking the others.
        order = rng.permutation(len(split))
        share = batch_size // self.world
        firsts = range(self.rank * share, len(order) - batch_size + 1 + self.rank * share, batch_size)
        return EpochPlan(starts, numbers, [order[first : first + share] for first in firsts])

    def train_batches(self, plan: EpochPlan) -> DataLoader[Any]:
        """The batches of an epoch, read and prepared."""
        split = self.data.train
        windows = WindowDataset(split, self._reader(split), np.arange(len(split)), plan.starts, self.length)
        return self._loader(windows, [batch.tolist() for batch in plan.batches])

    def share(self, windows: int) -> range:
        """This process's block of the consecutive windows of a split."""
        # Blocks, not every N-th window: the rows of a table are then written in one piece each.
        bounds = np.linspace(0, windows, self.world + 1).round().astype(int)
        return range(int(bounds[self.rank]), int(bounds[self.rank + 1]))

    def eval_batches(self, split: Split, batch_size: int) -> tuple[DataLoader[Any], Index]:
        """This process's block of the consecutive windows of a split, and the record position of every one of them."""
        positions, starts = consecutive_windows(split, self.length)
        block = self.share(len(positions))
        first, last = block.start, block.stop
        batches = [list(range(k, min(k + batch_size, last))) for k in range(first, last, batch_size)]
        windows = WindowDataset(split, self._reader(split), positions, starts, self.length)
        return self._loader(windows, batches), positions[first:last]

    def _reader(self, split: Split) -> Reader:
        if self.extractor.spec().source_steps:
            return FilteredReader(split.reader, self.extractor, self.data.rate)
        return split.reader

    def _loader(self, windows: WindowDataset, batches: list[list[int]]) -> DataLoader[Any]:
        collate = Collate(self.extractor, self.data.rate, windows.split.targets)
        # Order and starts are drawn already, so that the number of workers changes no batch.
        return DataLoader(
            windows,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.num_workers,
            worker_init_fn=ignore_interrupts if self.num_workers else None,
        )


def consecutive_windows(split: Split, length: int) -> tuple[Index, Index]:
    """Record position and start sample of all consecutive windows of a split."""
    starts = [eval_starts(int(n), length) for n in split.reader.lengths[split.rows]]
    positions = np.repeat(np.arange(len(split)), [len(s) for s in starts])
    flat = np.array([start for record in starts for start in record], dtype=np.int64)
    return positions.astype(np.int64), flat


def mean_by_record(values: Float, positions: Index, records: int) -> Float:
    """Mean over the windows of each record; (windows, outputs) to (records, outputs), NaN where there is no window."""
    total = np.zeros((records, values.shape[1]), dtype=np.float64)
    # add.at: `total[positions] += values` counts a position once, however often it stands there.
    np.add.at(total, positions, values)
    count = np.bincount(positions, minlength=records)[:, None]
    # 0 / 0 where a record has no window is the NaN that is promised.
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32)


def largest_by_record(values: Float, positions: Index, records: int) -> Float:
    """The largest over the windows of each record, in the form of `mean_by_record`."""
    found = np.full((records, values.shape[1]), -np.inf, dtype=np.float32)
    np.maximum.at(found, positions, values)
    found[np.bincount(positions, minlength=records) == 0] = np.nan
    return found


def evenly_spaced(count: int, limit: int | None) -> Index:
    """Positions of at most `limit` of `count` items, spread evenly: the subset that `--limit` scores."""
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    # Spread, because an archive may lie in an order (by date, hospital or class) whose beginning is not like the rest.
    return np.unique(np.linspace(0, count - 1, limit).round().astype(np.int64))


def make_split(
    name: str, reader: Reader, table: dict[str, list[Any]], targets: Float, length: int, limit: int | None
) -> Split:
    """Select the records of a split that hold a window of `length` samples at the source rate, at most `limit`.

    `table` has the columns record_id, patient_id, age and sex; `targets` is (records, outputs).
    """
    lengths = np.asarray(reader.lengths)
    long_enough = np.flatnonzero(lengths >= length)
    rows = long_enough[evenly_spaced(len(long_enough), limit)].astype(np.int64)

    def pick(column: str) -> list[Any]:
        return [table[column][int(row)] for row in rows]

    return Split(
        name=name,
        reader=reader,
        rows=rows,
        record_ids=[str(value) for value in pick("record_id")],
        patient_ids=["" if value is None else str(value) for value in pick("patient_id")],
        ages=[None if value is None else float(value) for value in pick("age")],
        sexes=pick("sex"),
        targets=targets[rows],
        short=int(len(lengths) - len(long_enough)),
    )


def refuse_empty(splits: Sequence[Split], dataset: str) -> None:
    """Raise DataError when a split that the run needs is empty."""
    faults = []
    for split in splits:
        if not len(split):
            short = f" ({split.short} are shorter than one window)" if split.short else ""
            faults.append(f"The {split.name} split of {dataset} has no usable record{short}.")
    if faults:
        raise DataError(" ".join(faults) + " Give a folder with records of all three splits.")
