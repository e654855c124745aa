"""The record store: every readable record of a raw folder, written once, as a Hugging Face dataset builder.

Columns: record_id, patient_id, signal (samples, 12) int16 (float32 for z-scored data), gain_uv, baseline,
sampling_rate, age, sex, and the raw columns that the dataset's label layer needs. One split, "records".

The cache folder is `<cache>/<dataset>/<rate>hz-<raw fingerprint>/<version>`: it follows the content of the raw
folder, not its path. Writing goes shard by shard into `<version>.shards`; finished shards outlive an interruption.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from datasets import Array2D, DatasetInfo, Features, List, SplitGenerator, Value

from dataset_scripts.core.fingerprint import raw_fingerprint
from dataset_scripts.core.report import check_unreadable, read_report, rejected_rows, report_text, write_report
from dataset_scripts.core.shards import BATCH_RECORDS, Shard, ShardFiles, example, read_all, write_shard
from dataset_scripts.core.spec import ECGDataset, Scan
from ecg_hub.errors import DataError
from ecg_hub.leads import LEADS
from ecg_hub.utils.remote import bring, listing, publish, remove, url_of
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.untrusted import MAX_RECORD_MB, record_bounds, stated_record_mb
from ecg_hub.utils.untrusted import max_record_mb as bound_in_force
from ecg_hub.utils.workers import Engine, run, usable_processors

INFO_FILE = "dataset_info.json"
"""What `datasets` writes last."""

STORE_VERSION = 1
"""Raise it whenever the layout of the store changes; every store is then written anew."""

SERIAL_BELOW = 4096
"""Fewer records than this are read in the calling process unless `num_proc` asks otherwise."""

_SHARD_RECORDS = (64, 1024)
_SHARDS_WANTED = 16
_MOST_PROCESSES = 8


def store_features(dataset: ECGDataset) -> Features:
    """Return the columns of a dataset's record store with their types."""
    leads = len(LEADS)
    dtype = "float32" if dataset.unit == "zscore" else "int16"
    columns: dict[str, Any] = {
        "record_id": Value("string"),
        "patient_id": Value("string"),
        "signal": Array2D(shape=(None, leads), dtype=dtype),
        "gain_uv": List(Value("float32"), length=leads),
        "baseline": List(Value("int32"), length=leads),
        "sampling_rate": Value("int32"),
        "age": Value("float32"),
        "sex": Value("string"),
    }
    return Features(columns | {name: Value(kind) for name, kind in dataset.metadata_columns.items()})


class ECGBuilder(datasets.GeneratorBasedBuilder):
    """Writes and opens the record store of one dataset, from a raw folder that `ECGDataset.check_folder` returned."""

    DEFAULT_WRITER_BATCH_SIZE = BATCH_RECORDS

    def __init__(
        self,
        dataset: ECGDataset,
        folder: Path,
        cache_dir: Path,
        sampling_rate: int,
        max_record_mb: float | None = None,
    ) -> None:
        self.dataset = dataset
        with record_bounds(max_record_mb or stated_record_mb() or dataset.max_record_mb):
            self.max_record_mb = bound_in_force()
        self.folder = folder
        self.sampling_rate = sampling_rate
        self.engine: Engine = "local"
        self._scan: Scan | None = None
        # The store is found by content: a moved folder keeps it, a changed one gets another beside it.
        name = f"{sampling_rate}hz-{raw_fingerprint(dataset, folder, sampling_rate)}"
        # Records that one bound loses another one reads.
        if self.max_record_mb != MAX_RECORD_MB:
            name += f"-{self.max_record_mb:g}mb"
        version = f"{STORE_VERSION}.{dataset.store_version}.0"
        try:
            super().__init__(cache_dir=str(cache_dir), dataset_name=dataset.name, config_name=name, version=version)
        except OSError as error:
            remedy = "Pass cache_dir (--cache-dir), or set ECG_HUB_HOME, to a folder that can be written."
            raise DataError(f"The cache folder {str(cache_dir)!r} cannot be used: {error}. {remedy}") from error

    def scan(self) -> Scan:
        """Return the scan of the raw folder's tables, made once."""
        if self._scan is None:
            self._scan = self.dataset.scan(self.folder, self.sampling_rate)
        return self._scan

    def version(self) -> str | None:
        """Return the release of the data that the tables reveal; kept in the store, so a finished one needs no scan."""
        return self._version_file.read_text(encoding="utf-8").strip() or None

    @property
    def _version_file(self) -> Path:
        return self.store / "data_version.txt"

    @property
    def store(self) -> Path:
        """The folder of the finished store."""
        return Path(self._cache_dir)

    def bring(self) -> None:
        """Bring a finished store from the place that the cache folder stands for; an ordinary folder is left alone."""
        url = url_of(self.store)
        if url is None:
            return
        # Part of a store that is being sent is none yet; then there may be shards that other machines wrote.
        there = INFO_FILE in listing(url)
        bring(self.store if there else self._workshop, needed=False)

    def write_part(self, number: int, parts: int, num_proc: int | None = None) -> tuple[int, int]:
        """Write the shards of one of several jobs, which may run at the same time; whoever prepares finds them.

        Args:
            number: of the job, from 1.
            parts: how many jobs there are.
            num_proc: as of `prepare`.

        Returns:
            Shards of this job and the records in them.
        """
        spans = plan(len(self.scan()))
        files = self._shard_files(len(spans))
        own = range(number - 1, len(spans), parts)
        url = url_of(self._workshop)
        there = {} if url is None else listing(url)
        wanted = [shard for shard in own if files[shard].marker.name not in there]
        with self._writing():
            self._workshop.mkdir(parents=True, exist_ok=True)
            self._write_shards(spans, files, num_proc, wanted)
        return len(own), sum(spans[shard][1] - spans[shard][0] for shard in own)

    @property
    def _workshop(self) -> Path:
        """Where shards lie until all are there."""
        return Path(self._cache_dir + ".shards")

    def _shard_files(self, total: int) -> list[ShardFiles]:
        return [ShardFiles(self._workshop, f"{number:05d}-of-{total:05d}") for number in range(total)]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what ends the writing of shards into an error that says how to go on."""
        try:
            yield
        except OSError as error:
            raise DataError(
                f"Writing the record store to {str(self._workshop)!r} failed: {error}. Make room or choose another "
                "cache_dir; the same command continues where it stopped."
            ) from error
        except BrokenProcessPool as error:
            raise DataError(
                f"A process that read {self.dataset.title} was ended from outside, most likely for want of memory. "
                "The same command continues where it stopped; pass a smaller num_proc."
            ) from error

    def _info(self) -> DatasetInfo:
        return DatasetInfo(
            description=f"{self.dataset.title}: the record store.",
            citation=self.dataset.citation,
            homepage=self.dataset.page,
            license=self.dataset.licence,
            features=store_features(self.dataset),
        )

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        del dl_manager
        return [SplitGenerator(name="records", gen_kwargs={"spans": plan(len(self.scan()))})]

    def _generate_examples(self, spans: list[tuple[int, int]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows of the store without writing it (streaming, other file formats)."""
        number = 0
        for span in spans:
            shard = self._shard(span)
            for _, record, signal in read_all(shard):
                if signal is not None:
                    yield number, example(record, signal, shard.features)
                    number += 1

    def _prepare_split(
        self,
        split_generator: SplitGenerator,
        file_format: str = "arrow",
        num_proc: int | None = None,
        max_shard_size: int | str | None = None,
    ) -> None:
        """Write the shards, keep those that an earlier run finished, and put them together with the report."""
        # Only Arrow is written shard by shard; other formats go the way of the base class, through
        # `_generate_examples`.
        if file_format != "arrow":
            super()._prepare_split(split_generator, file_format, num_proc, max_shard_size)
            return
        spans: list[tuple[int, int]] = split_generator.gen_kwargs["spans"]
        files = self._shard_files(len(spans))
        with self._writing():
            self._workshop.mkdir(parents=True, exist_ok=True)
            # Finished shards stay; whatever a killed run left half-written goes, in the store's unfinished folder
            # everything.
            _remove_partial_files(self._workshop, Path(self._output_dir))
            states = self._write_shards(spans, files, num_proc, range(len(spans)))
            # Those that other machines wrote.
            bring(self._workshop, needed=False)
            self._assemble(split_generator, files, states)
        # Not before they are linked into the store: until then the shards are what an interrupted run continues from.
        shutil.rmtree(self._workshop, ignore_errors=True)

    def publish(self) -> None:
        """Send the finished store to the place that the cache folder stands for, and remove its shards there."""
        publish(self.store)
        remove(self._workshop)

    def _shard(self, span: tuple[int, int], shared: frozenset[str] = frozenset()) -> Shard:
        records = list(self.scan().records(*span))
        features = store_features(self.dataset)
        return Shard(self.dataset, self.folder, records, self.sampling_rate, features, self.max_record_mb, shared)

    def _shared(self, spans: list[tuple[int, int]]) -> frozenset[str]:
        """The files that hold records of several shards, of a folder whose files have to be fetched."""
        if url_of(self.folder) is None:
            return frozenset()
        names = self.scan().table["file"]
        times = Counter(name for span in spans for name in set(names.iloc[slice(*span)]))
        return frozenset(name for name, number in times.items() if number > 1)

    def _write_shards(
        self, spans: list[tuple[int, int]], files: list[ShardFiles], num_proc: int | None, wanted: Iterable[int]
    ) -> list[dict[str, int]]:
        """Write those of the wanted shards that are not finished yet, and return the states of all wanted in order."""
        states = {number: state for number in wanted if (state := files[number].finished()) is not None}
        missing = [number for number in wanted if number not in states]
        processes = min(_processes(len(self.scan())) if num_proc is None else num_proc, len(missing))
        # A generator: the records of a shard are listed when its turn comes, and not those of all shards at once.
        shared = self._shared(spans)
        tasks = ((number, self._shard(spans[number], shared), files[number]) for number in missing)
        sizes = {number: spans[number][1] - spans[number][0] for number in wanted}
        done = sum(sizes[number] for number in states)
        with progress(
            total=sum(sizes.values()), initial=done, unit=" records", desc=f"Preparing {self.dataset.name}"
        ) as bar:
            for number, state in run(_write_numbered, tasks, max(processes, 1), self.engine):
                states[number] = state
                bar.update(sizes[number])
        return [states[number] for number in wanted]

    def _assemble(self, split_generator: SplitGenerator, files: list[ShardFiles], states: list[dict[str, int]]) -> None:
        """Write the report, link the shards into the store, and describe it to the base class."""
        output = Path(self._output_dir)
        rejected = rejected_rows(self.scan().lost, "lost") + rejected_rows(self.scan().excluded, "excluded")
        parts = (file.report.read_text(encoding="utf-8") for file in files)
        write_report(output, itertools.chain(parts, [report_text(rejected)]))
        (output / self._version_file.name).write_text(self.scan().version or "", encoding="utf-8")
        # Nothing could be read: the error says why, where an empty store would only be found later.
        if not any(state["rows"] for state in states):
            check_unreadable(self.dataset, read_report(output), max_unreadable=1.0)
        for number, file in enumerate(files):
            _place(file.signals, output / _shard_name(self.dataset_name, number, len(files)))
        info = split_generator.split_info
        info.num_examples = sum(state["rows"] for state in states)
        info.num_bytes = sum(state["num_bytes"] for state in states)
        # `datasets` looks for numbered files where there are lengths, and for one without a number where there are
        # none.
        if len(files) > 1:
            info.shard_lengths = [state["rows"] for state in states]


def plan(records: int) -> list[tuple[int, int]]:
    """Divide records into shards (start, stop); the division depends on their number alone.

    So an interrupted preparation finds its shards again, whatever `num_proc` is.
    """
    low, high = _SHARD_RECORDS
    size = min(max(math.ceil(records / _SHARDS_WANTED), low), high)
    return [(start, min(start + size, records)) for start in range(0, max(records, 1), size)]


def _write_numbered(task: tuple[int, Shard, ShardFiles]) -> tuple[int, dict[str, int]]:
    number, shard, files = task
    return number, write_shard(shard, files)


def _processes(records: int) -> int:
    return 1 if records < SERIAL_BELOW else min(usable_processors(), _MOST_PROCESSES)


def _remove_partial_files(workshop: Path, output: Path) -> None:
    """Remove what an interrupted run left besides finished shards."""
    for path in (*workshop.glob("*.partial"), *output.iterdir()):
        path.unlink()


def _place(source: Path, target: Path) -> None:
    """Link a finished shard into the store; where the file system has no links, move it."""
    try:
        # A link costs no room and leaves the shard where a killed run finds it.
        os.link(source, target)
    except OSError:
        os.replace(source, target)


def _shard_name(dataset_name: str, number: int, total: int) -> str:
    return f"{dataset_name}-records-{number:05d}-of-{total:05d}.arrow" if total > 1 else f"{dataset_name}-records.arrow"
