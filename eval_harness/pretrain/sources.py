"""Where records for pre-training come from: a prepared dataset, or files of shards.

A source is a list of units (row groups, batches), each read at once and in any order.

Folders of shards as a source: Parquet row groups or Arrow batches, on a disk or on a hub.

pyarrow reads row groups directly: `datasets`' own stream decodes every row that it skips or shuffles past, cannot go on
at an exact row of a shuffled pass, and gives one record at a time (docs/pretraining_data.md has the measured ratio).
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecg_hub.errors import DataError
from eval_harness.pretrain.record_batch import OPTIONAL, REQUIRED, Fault, RecordBatch, check_schema, record_batch

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
        usable: records of the split that is used, as far as can be told before they are read.
        split: the split that is used; None for every record.
        simulated: whether the records come from the simulator.
        mapped: whether signals lie in a mapped file, so that keeping a view of them costs no memory.
        remote: whether units come over the network, so that several are worth reading at once.
    """

    corpus: str
    fingerprint: str
    counts: NDArray[np.int64]
    split: str | None
    simulated: bool

    @property
    def usable(self) -> int:
        """Records of the split that is used."""

    @property
    def mapped(self) -> bool:
        """Whether signals lie in a mapped file."""

    @property
    def remote(self) -> bool:
        """Whether units come over the network."""

    def read(self, unit: int, start: int, stop: int) -> RecordBatch:
        """Return rows `start` to `stop` of a unit."""


class StoreSource:
    """The record store of a prepared dataset, mapped into memory: views of the samples, nothing is copied."""

    mapped, remote = True, False

    def __init__(self, prepared: Prepared, all_records: bool = False) -> None:
        from dataset_scripts.reader import SignalReader

        parts = [prepared.splits[TRAIN]]
        if all_records:
            parts += [prepared.splits["validation"], prepared.splits["test"], prepared.left_out]
        self.corpus = prepared.dataset.name
        self.fingerprint = prepared.fingerprint
        self.split = None if all_records else TRAIN
        self.simulated = bool(prepared.deviations.get("synthetic"))
        self._rate = prepared.sampling_rate
        self._ids = [part.select_columns("record_id") for part in parts]
        self._readers = [SignalReader(part) for part in parts]
        self._units = [
            (part, start) for part, whole in enumerate(parts) for start in range(0, len(whole), UNIT_RECORDS)
        ]
        lengths = [len(whole) for whole in parts]
        self.counts = np.array([min(UNIT_RECORDS, lengths[part] - start) for part, start in self._units], np.int64)

    @property
    def usable(self) -> int:
        """Records of the split that is used."""
        return int(self.counts.sum())

    def read(self, unit: int, start: int, stop: int) -> RecordBatch:
        """Return rows of a unit as views of the store."""
        part, first = self._units[unit]
        reader, begin, end = self._readers[part], first + start, first + stop
        gain_uv, baseline = reader.scales(begin, end)
        return RecordBatch(
            record_ids=self._ids[part][begin:end]["record_id"],
            signals=[reader.raw(index) for index in range(begin, end)],
            gain_uv=gain_uv,
            baseline=baseline,
            rates=np.full(end - begin, self._rate, dtype=np.float64),
        )


def other_split(rows: RecordBatch, split: str | None) -> dict[int, Fault]:
    """Return the rows that belong to another split than the one in use, each with the rule that leaves it out."""
    if split is None or rows.splits is None:
        return {}
    return {
        row: Fault("excluded", f"split {value or 'none'}") for row, value in enumerate(rows.splits) if value != split
    }


def train_only(read: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return the corpora of which nothing but training records was read, all times by the same splits."""
    prints_of: dict[str, set[str | None]] = {}
    for corpus, fingerprint in read:
        prints_of.setdefault(corpus, set()).add(fingerprint)
    alone = {corpus: next(iter(prints)) for corpus, prints in prints_of.items() if len(prints) == 1}
    return {corpus: fingerprint for corpus, fingerprint in alone.items() if fingerprint is not None}


def combined_fingerprint(sources: Sequence[Any]) -> str:
    """Return 16 hexadecimal digits over several sources: records, splits, and units, on which the order depends."""
    from dataset_scripts.core.fingerprint import content_fingerprint

    return content_fingerprint(
        [source.corpus, source.fingerprint, source.split, hashlib.sha256(source.counts.tobytes()).hexdigest()]
        for source in sources
    )


AGAIN = "Write it again with `ecg-hub data prepare NAME --shards DIR`: finished shards are kept."
LARGEST_GROUP = 2 * 2**30
"""Bytes of a row group, as its footer gives them; it is read at once."""

_OPEN_FILES = 64


@dataclass(frozen=True)
class ShardFile:
    """One file of shards.

    Attributes:
        path: of the file, on the file system of its source.
        groups: records of each row group or batch.
        others: how many of them are known to be of other splits than training.
    """

    path: str
    groups: tuple[int, ...]
    others: int = 0


@dataclass
class FileSource:
    """Shards in files.

    Attributes:
        corpus, fingerprint, split, simulated: as in `RecordSource`.
        files: with the records of their row groups.
        filesystem: an fsspec file system, or None for the local one.
    """

    corpus: str
    fingerprint: str
    files: Sequence[ShardFile]
    split: str | None = "train"
    filesystem: Any = None
    simulated: bool = False
    counts: NDArray[np.int64] = field(init=False)
    _locations: NDArray[np.int64] = field(init=False, repr=False)
    _opened: OrderedDict[str, Any] = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        locations = [(number, group) for number, file in enumerate(self.files) for group in range(len(file.groups))]
        self._locations = np.array(locations, dtype=np.int64).reshape(-1, 2)
        self.counts = np.array([rows for file in self.files for rows in file.groups], dtype=np.int64)

    @property
    def usable(self) -> int:
        """Records of the split that is used."""
        left_out = 0 if self.split is None else sum(file.others for file in self.files)
        return int(self.counts.sum()) - left_out

    @property
    def mapped(self) -> bool:
        """Whether signals lie in a mapped file."""
        return bool(self.files) and self.files[0].path.endswith(".arrow")

    @property
    def remote(self) -> bool:
        """Whether units come over the network."""
        return self.filesystem is not None

    def __getstate__(self) -> dict[str, Any]:
        # Goes to spawned workers, to which neither an open file nor a memory map can be pickled.
        return {**self.__dict__, "_opened": OrderedDict()}

    def read(self, unit: int, start: int, stop: int) -> RecordBatch:
        """Return rows of a row group or batch."""
        number, group = (int(value) for value in self._locations[unit])
        path = self.files[number].path
        try:
            table = self._batch(path, group) if self.mapped else self._row_group(path, group)
        except pa.ArrowInvalid as error:
            raise DamagedUnit(f"{self._location(unit)} cannot be decoded: {_first_line(error)}") from error
        except (OSError, httpx2.HTTPError) as error:
            # Arrow reports damaged pages as OSError without a number.
            if isinstance(error, OSError) and error.errno is None and not self.remote:
                raise DamagedUnit(f"{self._location(unit)} cannot be decoded: {_first_line(error)}") from error
            raise DataError(
                f"{path!r} cannot be read: {error}. The same command continues where it stopped."
            ) from error
        if len(table) != self.counts[unit]:
            raise DataError(f"{path!r} was changed: row group {group} holds {len(table)} records. {AGAIN}")
        return record_batch(table.slice(start, stop - start))

    def _location(self, unit: int) -> str:
        """File and row group of a unit."""
        number, group = self._locations[unit]
        return f"{self.files[number].path}, row group {group}"

    def _row_group(self, path: str, group: int) -> pa.Table:
        metadata = self._opened.get(path)
        with opened_parquet(path, self.filesystem, metadata) as file:
            if metadata is None:
                check_schema(file.schema_arrow, path)
                self._keep(path, file.metadata)
            # Parquet keeps columns apart: others that a user's files have are not even read.
            names = [name for name in (*REQUIRED, *OPTIONAL) if name in file.schema_arrow.names]
            return file.read_row_group(group, columns=names, use_threads=False)

    def _batch(self, path: str, group: int) -> pa.Table:
        batches = self._opened.get(path)
        if batches is None:
            table = map_arrow(path)
            check_schema(table.schema, path)
            batches = table.to_batches()
            self._keep(path, batches)
        return pa.Table.from_batches([batches[group]])

    def _keep(self, path: str, opened: Any) -> None:
        self._opened[path] = opened
        # Footers and maps add up: a corpus of ten million records has some 2,400 files.
        if len(self._opened) > _OPEN_FILES:
            self._opened.popitem(last=False)


@contextmanager
def opened_parquet(path: str, filesystem: Any = None, metadata: Any = None) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, here or on a hub; pages are compared with their checksums where they have them."""
    with ExitStack() as stack:
        # No cache of fsspec: it reads ahead, and a row group is asked for whole and once.
        source = path if filesystem is None else stack.enter_context(filesystem.open(path, "rb", cache_type="none"))
        yield stack.enter_context(
            pq.ParquetFile(
                # pre_buffer joins the columns of a row group into one request, which over a network is what costs.
                source,
                metadata=metadata,
                pre_buffer=filesystem is not None,
                page_checksum_verification=True,
            )
        )


def map_arrow(path: str) -> pa.Table:
    """Return an Arrow file, stream or random access, mapped into memory."""
    with pa.memory_map(path) as mapped:
        try:
            # `datasets` writes the stream format; the other one is what most other tools call an Arrow file.
            reader = pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            try:
                return pa.ipc.open_file(mapped).read_all()
            except pa.ArrowInvalid as error:
                raise _cut_off(path, error) from error
        try:
            return reader.read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise _cut_off(path, error) from error


def index_arrow(path: str, count_others: bool = False) -> tuple[ShardFile, Any]:
    """Return an Arrow file with the records of its batches, and its schema; see `index_parquet`."""
    table = map_arrow(path)
    check_schema(table.schema, path)
    others = _others(table) if count_others else 0
    return ShardFile(path, tuple(len(batch) for batch in table.to_batches()), others), table.schema


def index_parquet(path: str, filesystem: Any = None, count_others: bool = False) -> tuple[ShardFile, Any]:
    """Return a Parquet file with the records of its row groups, and its Arrow schema.

    With `count_others` its column `split`, where it has one, is looked at for records of other splits than training.
    """
    try:
        with opened_parquet(path, filesystem) as file:
            # The footer alone is read, and one small column.
            metadata, schema = file.metadata, file.schema_arrow
            counting = count_others and "split" in schema.names
            others = _others(file.read(["split"], use_threads=False)) if counting else 0
    except pa.ArrowInvalid as error:
        raise _cut_off(path, error) from error
    check_schema(schema, path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > LARGEST_GROUP:
        raise DataError(
            f"{path!r} has a row group of {largest / 2**30:.1f} GiB, which has to be read at once; write row groups of "
            "some 64 records, as `ecg-hub data prepare NAME --shards DIR` does."
        )
    return ShardFile(path, tuple(int(group.num_rows) for group in groups), others), schema


def _others(table: pa.Table) -> int:
    """Count the rows whose column `split` names another split than training, or none."""
    if "split" not in table.column_names:
        return 0
    return sum(value != TRAIN for value in table.column("split").to_pylist())


def local_size(path: Path) -> int:
    """Return the bytes of a file."""
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise DataError(f"{str(path)!r} is missing: {error.strerror}. {AGAIN}") from error


def _cut_off(path: str, error: Exception) -> DataError:
    return DataError(f"{path!r} is cut off or is no such file: {_first_line(error)}. {AGAIN}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
