"""Records that a pre-training run came across and could not use, counted by reason; too much damage stops it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import DataError
from eval_harness.pretrain.rows import Fault

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
        return sum(count for (known, _), count in self.reasons.items() if known == kind)


class Unusable:
    """What a process could not use, each record counted once.

    Args:
        records: records of all sources.
        max_loss: fraction of damaged records that is put up with.
    """

    def __init__(self, records: int, max_loss: float) -> None:
        self._records, self._max_loss = records, max_loss
        self._seen = np.zeros(records, dtype=np.bool_)
        self._own = Counted()
        self._workers: dict[int, Counted] = {}

    def add(self, positions: NDArray[np.int64], faults: dict[int, Fault], names: list[str], corpora: list[str]) -> None:
        """Count the records of a block.

        Args:
            positions: of each record on the line of all records.
            faults: record of the block -> what is wrong with it.
            names: of each record.
            corpora: the dataset of each.

        Raises:
            DataError: more than `max_loss` are damaged; lists the first ones.
        """
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
        if damaged > self._max_loss * judged:
            raise DataError(
                f"{damaged:,} of {judged:,} records are damaged, more than max_loss={self._max_loss} allows. "
                f"{' '.join(self._own.first)} Write these shards again with `ecg-hub data prepare NAME --shards DIR`, "
                "or raise max_loss to go on without them."
            )

    def counted(self) -> Counted:
        """Return what was counted, by this process and by its workers."""
        parts = [self._own, *self._workers.values()]
        reasons = sum((part.reasons for part in parts), Counter[tuple[str, str]]())
        return Counted(reasons, [line for part in parts for line in part.first][:SHOWN])

    def take_over(self, worker: int, counted: Counted) -> None:
        """Note what a worker has counted so far."""
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
        words = {"damaged": "damaged", "excluded": "left out by rule"}
        return [f"{words[kind]}: {reason}: {count:,}" for (kind, reason), count in self.counted().reasons.most_common()]
