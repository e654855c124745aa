"""Which record stands where in a pre-training run: a function of (seed, lane, step) alone, whoever reads it.

The records of all sources lie on one line, in units that are read at once (a row group of Parquet, a batch of Arrow).
The line is cut into as many equal parts as there are lanes. A lane goes over its part again and again: for each pass
it permutes the units, groups consecutive ones into blocks of about `shuffle_records` records, and shuffles each block.
That mixes like a shuffle buffer, but nothing depends on what was read before: a run finds its place by arithmetic.

A global batch is drawn from `lanes` independent streams. Process r of W handles lanes r::W, so that the union over the
processes is the batch of one process, and anything drawn at random for a lane may be keyed by (seed, step, lane).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError

Index = NDArray[np.int64]

_PASS, _BLOCK = 0x70617373, 0x626C6F63


@dataclass(frozen=True)
class Pieces:
    """Parts of units: rows `start` to `stop` of each; three arrays of one length."""

    unit: Index
    start: Index
    stop: Index

    def __len__(self) -> int:
        return len(self.unit)

    def select(self, which: Index) -> Pieces:
        """The pieces at some positions."""
        return Pieces(self.unit[which], self.start[which], self.stop[which])

    @property
    def sizes(self) -> Index:
        """Records of each piece."""
        return self.stop - self.start


@dataclass(frozen=True)
class Block:
    """Records that are read together and shuffled.

    Attributes:
        number: of the block in its pass.
        pieces: what to read, in order.
        first: position in the pass of its first record.
        order: which record of the pieces stands at each place of the block.
        draws: (records, 2) numbers in [0, 1), one row per record of the pieces: for the start of the window, and for
            the record that takes the place of an unusable one.
    """

    number: int
    pieces: Pieces
    first: int
    order: Index
    draws: NDArray[np.float64]


def divide(counts: Index, lanes: int) -> list[Pieces]:
    """Divide the records of units among lanes, as evenly as whole records go."""
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total < lanes:
        raise InputError(f"{total} records cannot be divided among {lanes} lanes: add --data, or choose fewer lanes.")
    # In whole numbers, so that lanes differ by one record at most and leave none out.
    bounds = [total * lane // lanes for lane in range(lanes + 1)]
    return [_between(counts, ends, low, high) for low, high in itertools.pairwise(bounds)]


def _between(counts: Index, ends: Index, low: int, high: int) -> Pieces:
    """The pieces that hold records `low` to `high` of the line."""
    # A unit that a bound cuts is read by both lanes, each its rows of it.
    # "right" for the lower bound: a unit that ends there is the last of the lane before.
    units = np.arange(np.searchsorted(ends, low, "right"), np.searchsorted(ends, high, "left") + 1)
    begins = ends[units] - counts[units]
    start, stop = np.maximum(low - begins, 0), np.minimum(high - begins, counts[units])
    filled = np.flatnonzero(stop > start)
    return Pieces(units.astype(np.int64), start, stop).select(filled)


class Stream:
    """The order of the records of one lane."""

    def __init__(self, number: int, pieces: Pieces, seed: int, shuffle_records: int, phase: float = 0.0) -> None:
        self.number, self.seed = number, seed
        # Each lane begins its blocks at another phase: not all of them have to fill a new one at the same step.
        self._pieces, self._size, self._shift = pieces, shuffle_records, int(phase * shuffle_records)
        self.records = int(pieces.sizes.sum())
        self._layout: tuple[int, Pieces, Index, Index] | None = None

    def block_at(self, position: int) -> tuple[int, Block, int]:
        """Return pass, block and place in the block of a position counted from the start of the run."""
        passed, within = divmod(position, self.records)
        _, _, firsts, _ = self._pass(passed)
        number = int(np.searchsorted(firsts, within, "right")) - 1
        return passed, self.block(passed, number), within - int(firsts[number])

    def block(self, passed: int, number: int) -> Block:
        """Return a block of a pass."""
        _, pieces, firsts, edges = self._pass(passed)
        chosen = pieces.select(np.arange(edges[number], edges[number + 1]))
        records = int(chosen.sizes.sum())
        # A generator per block: any of them is drawn without the ones before it, which is how a run finds its place.
        rng = np.random.default_rng([self.seed, _BLOCK, self.number, passed, number])
        return Block(number, chosen, int(firsts[number]), rng.permutation(records), rng.random((records, 2)))

    def blocks(self, passed: int) -> int:
        """How many blocks a pass has."""
        return len(self._pass(passed)[2])

    def _pass(self, passed: int) -> tuple[int, Pieces, Index, Index]:
        """Return the pieces of a pass in its order, the first position and the first piece of each block."""
        if self._layout is None or self._layout[0] != passed:
            rng = np.random.default_rng([self.seed, _PASS, self.number, passed])
            pieces = self._pieces.select(rng.permutation(len(self._pieces)))
            before = np.cumsum(pieces.sizes) - pieces.sizes
            _, edges = np.unique((before + self._shift) // self._size, return_index=True)
            self._layout = passed, pieces, before[edges], np.append(edges, len(pieces)).astype(np.int64)
        return self._layout


LANES = 8


@dataclass(frozen=True)
class Batch:
    """The part of one global batch that a process trains on.

    Attributes:
        step: the optimiser step that it is for, from 0.
        input_values: (records, leads, samples) float32, millivolt; the same number of records of each lane.
        record_ids: one per record, to name them.
        lanes: the lanes in this part, ascending; the records lie lane after lane.
        clean_values: the same windows undisturbed, where `input_values` are disturbed; else None.
    """

    step: int
    input_values: NDArray[np.float32]
    record_ids: list[str]
    lanes: tuple[int, ...]
    clean_values: NDArray[np.float32] | None = None

    @property
    def undisturbed(self) -> NDArray[np.float32]:
        """The windows without what augmentation did to them."""
        return self.input_values if self.clean_values is None else self.clean_values

    @property
    def per_lane(self) -> int:
        """Records of each lane."""
        return len(self.record_ids) // len(self.lanes)


class BatchSource(Protocol):
    """Where batches come from.

    Attributes:
        records: how many records there are, over all processes.
        fingerprint: identity of their content; another one is another run.
        corpora: names of the datasets, as contamination.yaml knows them, or of a user's own archives.
        train_only: those of which only training records are read -> fingerprint of their records and splits.
        simulated: those whose records come from the simulator.
    """

    @property
    def records(self) -> int:
        """How many records there are."""

    @property
    def fingerprint(self) -> str:
        """Identity of the content."""

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the datasets."""

    @property
    def train_only(self) -> dict[str, str]:
        """Datasets of which only training records are read."""

    @property
    def simulated(self) -> tuple[str, ...]:
        """Datasets whose records come from the simulator."""

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Yield the batches from a step on, without end."""


def lanes_of_process(lanes: int, rank: int, world: int) -> tuple[int, ...]:
    """The lanes of a process."""
    if lanes < 1 or lanes % world:
        raise InputError(
            f"{lanes} lanes cannot be divided among {world} processes: choose --lanes as a multiple of their number."
        )
    return tuple(range(rank, lanes, world))


def check_batch(batch_size: int, lanes: int, records: int) -> None:
    """Refuse a batch that the lanes or the records cannot fill."""
    if batch_size < 1 or batch_size % lanes:
        raise InputError(f"A batch of {batch_size} cannot be drawn from {lanes} lanes: choose a multiple of the lanes.")
    if records < batch_size:
        raise InputError(
            f"There are {records} records, fewer than one batch of {batch_size}. Add --data, or choose a smaller "
            f"--batch-size (a multiple of {lanes} lanes)."
        )
