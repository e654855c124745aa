"""Which record stands where in a pre-training run: a pure function of (seed, lane, position).

The records of all sources lie on one line, in units that are read at once (a row group of Parquet, a batch of Arrow).
The line is cut into as many equal parts as there are lanes. A lane goes over its part again and again: for each pass
it permutes the units, groups consecutive ones into blocks of about `shuffle_records` records, and shuffles each block.
That mixes like a shuffle buffer, but nothing depends on what was read before: a run finds its place by arithmetic.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

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
    """Divide the records of units among lanes, as evenly as whole records go.

    Args:
        counts: records of each unit.
        lanes: how many parts.

    Raises:
        InputError: fewer records than lanes.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total < lanes:
        raise InputError(f"{total} records cannot be divided among {lanes} lanes: add --data, or choose fewer lanes.")
    bounds = [total * lane // lanes for lane in range(lanes + 1)]
    return [_between(counts, ends, low, high) for low, high in itertools.pairwise(bounds)]


def _between(counts: Index, ends: Index, low: int, high: int) -> Pieces:
    """The pieces that hold records `low` to `high` of the line."""
    units = np.arange(np.searchsorted(ends, low, "right"), np.searchsorted(ends, high, "left") + 1)
    begins = ends[units] - counts[units]
    start, stop = np.maximum(low - begins, 0), np.minimum(high - begins, counts[units])
    filled = np.flatnonzero(stop > start)
    return Pieces(units.astype(np.int64), start, stop).select(filled)


class Lane:
    """The order of the records of one lane.

    Args:
        number: of the lane.
        pieces: its part of the units.
        seed: of the run.
        shuffle_records: records of a block, about.
        phase: fraction of a block that is taken off the first one, so that lanes do not all read at the same step.
    """

    def __init__(self, number: int, pieces: Pieces, seed: int, shuffle_records: int, phase: float = 0.0) -> None:
        self.number, self.seed = number, seed
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
