"""What the training loop reads: batches that depend on (seed, step) alone, whoever reads them.

A global batch is drawn from `lanes` independent streams. Process r of W handles lanes r::W, so that the union over the
processes is the batch of one process, and anything drawn at random for a lane may be keyed by (seed, step, lane).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError

LANES = 8


@dataclass(frozen=True)
class Batch:
    """The part of one global batch that a process trains on.

    Attributes:
        step: the optimiser step that it is for, from 0.
        input_values: (records, leads, samples) float32, millivolt; the same number of records of each lane.
        record_ids: one per record, to name them.
        lanes: the lanes in this part, ascending; the records lie lane after lane.
    """

    step: int
    input_values: NDArray[np.float32]
    record_ids: list[str]
    lanes: tuple[int, ...]

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

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Yield the batches from a step on, without end.

        Args:
            start_step: the first step that is wanted; what is before it is not read.
        """


def own_lanes(lanes: int, rank: int, world: int) -> tuple[int, ...]:
    """The lanes of a process.

    Args:
        lanes: streams of the run.
        rank: number of the process, from 0.
        world: number of processes.

    Raises:
        InputError: the lanes cannot be divided among the processes.
    """
    if lanes < 1 or lanes % world:
        raise InputError(
            f"{lanes} lanes cannot be divided among {world} processes: choose --lanes as a multiple of their number."
        )
    return tuple(range(rank, lanes, world))


def check_batch(batch_size: int, lanes: int, records: int) -> None:
    """Refuse a batch that the lanes or the records cannot fill.

    Args:
        batch_size: records per step, over all processes.
        lanes: streams of the run.
        records: how many there are.

    Raises:
        InputError: the batch is no multiple of the lanes, or larger than the data.
    """
    if batch_size < 1 or batch_size % lanes:
        raise InputError(f"A batch of {batch_size} cannot be drawn from {lanes} lanes: choose a multiple of the lanes.")
    if records < batch_size:
        raise InputError(
            f"There are {records} records, fewer than one batch of {batch_size}. Add --data, or choose a smaller "
            f"--batch-size (a multiple of {lanes} lanes)."
        )
