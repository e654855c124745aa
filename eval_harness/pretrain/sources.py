"""Where records for pre-training come from: a prepared dataset, or files of shards.

A source is a list of units (row groups, batches), each read at once and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eval_harness.pretrain.rows import Fault, Rows

if TYPE_CHECKING:
    from dataset_scripts.load import Prepared

UNIT_RECORDS = 64
"""Records of a unit where the source has no units of its own."""

TRAIN = "train"


class DamagedUnit(Exception):  # noqa: N818 - not an error of the caller: the unit's records count as lost
    """Raised by `RecordSource.read` for a unit that cannot be decoded; the text is the reason."""


class RecordSource(Protocol):
    """Records in units.

    Attributes:
        corpus: name of the dataset.
        fingerprint: identity of the content.
        counts: (units,) int64, records of each unit.
        split: the split that is used; None for every record.
        mapped: whether signals lie in a mapped file, so that keeping a view of them costs no memory.
        remote: whether units come over the network, so that several are worth reading at once.
    """

    corpus: str
    fingerprint: str
    counts: NDArray[np.int64]
    split: str | None

    @property
    def mapped(self) -> bool:
        """Whether signals lie in a mapped file."""

    @property
    def remote(self) -> bool:
        """Whether units come over the network."""

    def read(self, unit: int, start: int, stop: int) -> Rows:
        """Return rows `start` to `stop` of a unit.

        Raises:
            DamagedUnit: the unit cannot be decoded.
            DataError: the source is no longer there, or is not what it was.
        """

    def place(self, unit: int) -> str:
        """Return where a unit lies, for messages."""


class StoreSource:
    """The record store of a prepared dataset, mapped into memory: views of the samples, nothing is copied.

    Args:
        prepared: the dataset.
        all_records: use validation and test records, and those in no split, too.
    """

    mapped, remote = True, False

    def __init__(self, prepared: Prepared, all_records: bool = False) -> None:
        from dataset_scripts.signals import SignalReader

        parts = [prepared.splits[TRAIN]]
        if all_records:
            parts += [prepared.splits["validation"], prepared.splits["test"], prepared.left_out]
        self.corpus = prepared.dataset.name
        self.fingerprint = prepared.fingerprint
        self.split = None if all_records else TRAIN
        self._rate = prepared.sampling_rate
        self._ids = [part.select_columns("record_id") for part in parts]
        self._readers = [SignalReader(part) for part in parts]
        self._units = [
            (part, start) for part, whole in enumerate(parts) for start in range(0, len(whole), UNIT_RECORDS)
        ]
        lengths = [len(whole) for whole in parts]
        self.counts = np.array([min(UNIT_RECORDS, lengths[part] - start) for part, start in self._units], np.int64)

    def read(self, unit: int, start: int, stop: int) -> Rows:
        """Return rows of a unit as views of the store."""
        part, first = self._units[unit]
        reader, begin, end = self._readers[part], first + start, first + stop
        gain_uv, baseline = reader.scales(begin, end)
        return Rows(
            record_ids=self._ids[part][begin:end]["record_id"],
            signals=[reader.raw(index) for index in range(begin, end)],
            gain_uv=gain_uv,
            baseline=baseline,
            rates=np.full(end - begin, self._rate, dtype=np.float64),
        )

    def place(self, unit: int) -> str:
        """Return the dataset's name and the records of a unit."""
        return f"{self.corpus}, records from {self._units[unit][1]}"


def other_split(rows: Rows, split: str | None) -> dict[int, Fault]:
    """Return the rows that belong to another split than the one in use, each with the rule that leaves it out."""
    if split is None or rows.splits is None:
        return {}
    return {
        row: Fault("excluded", f"split {value or 'none'}") for row, value in enumerate(rows.splits) if value != split
    }


def train_only(read: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return the corpora of which nothing but training records was read, all times by the same splits.

    Args:
        read: corpus and fingerprint of its records and splits where only training records were read, else None; a
            corpus may come several times.
    """
    found: dict[str, set[str | None]] = {}
    for corpus, fingerprint in read:
        found.setdefault(corpus, set()).add(fingerprint)
    alone = {corpus: next(iter(prints)) for corpus, prints in found.items() if len(prints) == 1}
    return {corpus: fingerprint for corpus, fingerprint in alone.items() if fingerprint is not None}


def combined_fingerprint(sources: Sequence[Any]) -> str:
    """Return 16 hexadecimal digits over several sources: records, splits, and units, on which the order depends."""
    from dataset_scripts.fingerprint import content_fingerprint

    return content_fingerprint(
        [source.corpus, source.fingerprint, source.split, hashlib.sha256(source.counts.tobytes()).hexdigest()]
        for source in sources
    )
