"""The reader of a pre-training run: batches in millivolt at the model's rate, from any number of sources.

A batch depends on the seed and the step alone. It is drawn from lanes (eval_harness.pretrain.order), each over its own
part of the records; a process reads its own lanes, and any step is found without reading what is before it.
Signals stay as they are stored until a batch needs them: gain, window, resampling and clipping are done for all records
of a lane and rate at once, by the feature extractor of the model, so that the values are those it gives for one record.

Batches made ready while the model trains: in a thread, or in processes that share the lanes.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.input.samples import to_millivolt
from ecg_hub.utils.workers import end_with_parent, interrupts_held
from eval_harness.pretrain.augmentation import augmented
from eval_harness.pretrain.order import LANES, Batch, Stream, check_batch, divide, lanes_of_process
from eval_harness.pretrain.record_batch import LEAD_COUNT, Counted, SkippedRecords
from eval_harness.pretrain.sources import TRAIN, RecordSource, combined_fingerprint, train_only
from eval_harness.pretrain.stream import Cutting, LaneStream, Pick

_WAIT_S = 0.1


def in_background(batches: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """Yield batches that a thread makes up to `depth` ahead; closing the iterator, or dropping it, ends the thread."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Batch | BaseException) -> None:
        # With a timeout: a thread that waits for room in the queue would never see that nobody reads it any more.
        while not stop.is_set():
            try:
                ready.put(item, timeout=_WAIT_S)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
        except BaseException as error:  # raised again where the batch is wanted
            put(error)

    thread = threading.Thread(target=work, name="pre-training reader", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def in_processes(reader: StreamingReader, start_step: int, workers: int, depth: int) -> Iterator[Batch]:
    """Yield batches whose lanes are read by worker processes, started afresh, and put together here."""
    loader = DataLoader(
        _Parts(reader, start_step, workers),
        batch_size=None,
        # Without it the loader turns arrays into tensors; of module level, because spawn pickles it.
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=max(depth, 1),
        # A fork would copy locks that threads of torch and Arrow may hold just then.
        multiprocessing_context="spawn",
        # A worker of torch waits for ever, after a kill of this process, to get rid of the batches that it has ready.
        worker_init_fn=partial(_end_with, os.getpid()),
    )
    with interrupts_held():
        parts = iter(loader)
    try:
        while True:
            # The loader takes from its workers in turn, so that consecutive parts are those of one step.
            received = [next(parts) for _ in range(workers)]
            for number, (part, counted) in enumerate(received):
                # Before an error is raised, so that the counts that explain it are there.
                reader.unusable.take_over(number, counted)
                if isinstance(part, EcgHubError):
                    raise part
            yield _joined([part for part, _ in received])
    finally:
        # An error that is a local of the frame it is raised in keeps that frame until the garbage is collected, which
        # closes the queues before the loader can tell its workers to end: it would then wait 5 s for each.
        del parts


class _Parts(IterableDataset[tuple[Batch | EcgHubError, Counted]]):
    """What a worker yields: its lanes' part of each batch, and what it could not use so far."""

    def __init__(self, reader: StreamingReader, start_step: int, workers: int) -> None:
        self.reader, self.start_step, self.workers = reader, start_step, workers

    def __iter__(self) -> Iterator[tuple[Batch | EcgHubError, Counted]]:
        info: Any = get_worker_info()
        share = len(self.reader.lanes) // self.workers
        lanes = self.reader.lanes[info.id * share : (info.id + 1) * share]
        try:
            for batch in self.reader.batches_of(lanes, self.start_step):
                yield batch, self.reader.unusable.counted()
        except EcgHubError as error:  # as an item, because the loader would wrap it in a traceback
            yield error, self.reader.unusable.counted()


def _end_with(parent: int, worker: int) -> None:
    del worker  # its number, as torch passes it
    end_with_parent(parent)


def _joined(parts: list[Batch]) -> Batch:
    clean = [part.clean_values for part in parts if part.clean_values is not None]
    return Batch(
        step=parts[0].step,
        input_values=np.concatenate([part.input_values for part in parts]),
        record_ids=[name for part in parts for name in part.record_ids],
        lanes=tuple(lane for part in parts for lane in part.lanes),
        clean_values=np.concatenate(clean) if clean else None,
    )


def _as_it_is(item: Any) -> Any:
    return item


SHUFFLE_RECORDS = 512
"""Records of a block, per lane: with eight lanes, a batch is drawn from some 4,000 records."""


@dataclass(frozen=True)
class ReaderOptions:
    """How a run is read.

    Attributes:
        seed: of the run.
        batch_size: records per step, over all processes; a multiple of `lanes`.
        lanes: independent streams; a multiple of `world`.
        rank, world: number of this process, and how many there are.
        shuffle_records: records of a block, per lane.
        max_unreadable: share of damaged records that is tolerated.
        prefetch: batches that are made ready in advance; 0 makes each when it is asked for.
        workers: processes that read, each some of this process's lanes; 0 reads in a thread.
        augment: share of the windows that are disturbed; the clean ones are kept beside them.
    """

    seed: int = 0
    batch_size: int = 64
    lanes: int = LANES
    rank: int = 0
    world: int = 1
    shuffle_records: int = SHUFFLE_RECORDS
    max_unreadable: float = 0.01
    prefetch: int = 4
    workers: int = 0
    augment: float = 0.0


class StreamingReader:
    """Batches of windows from shards; a `BatchSource`.

    Args:
        sources: where the records are; they are mixed in proportion to their numbers.
        options: how they are read.
        extractor: prepares windows; by default that of ECG-CPC with the preset of its authors' pre-training (240 Hz,
            10 s, clipped to 3 mV; missing samples are 0).

    Attributes:
        unusable: what could not be used so far.
    """

    def __init__(
        self, sources: Sequence[RecordSource], options: ReaderOptions | None = None, extractor: Any = None
    ) -> None:
        self.sources = list(sources)
        self.options = ReaderOptions() if options is None else options
        self.extractor = pretraining_extractor() if extractor is None else extractor
        if self.extractor.spec().source_steps:
            raise InputError(f"Preset {self.extractor.spec().preset!r} prepares whole records, not windows.")
        counts = [np.asarray(source.counts, dtype=np.int64) for source in self.sources]
        self._counts = np.concatenate([*counts, np.empty(0, np.int64)])
        self._firsts = np.cumsum([0, *map(len, counts)])
        check_batch(self.options.batch_size, self.options.lanes, self.records)
        self.lanes = lanes_of_process(self.options.lanes, self.options.rank, self.options.world)
        if self.options.workers and len(self.lanes) % self.options.workers:
            raise InputError(
                f"{len(self.lanes)} lanes cannot be divided among {self.options.workers} workers; choose a divisor."
            )
        self.unusable = SkippedRecords(int(self._counts.sum()), self.options.max_unreadable)

    @property
    def records(self) -> int:
        """How many records there are to train on, over all processes; those of other splits in the files are none."""
        return sum(source.usable for source in self.sources)

    @property
    def fingerprint(self) -> str:
        """Identity of the records, of how they lie in units, and of the splits that are used."""
        return combined_fingerprint(self.sources)

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the datasets, each once."""
        return tuple(dict.fromkeys(source.corpus for source in self.sources))

    @property
    def simulated(self) -> tuple[str, ...]:
        """Datasets that the simulator wrote, of which no real record is read."""
        real = {source.corpus for source in self.sources if not source.simulated}
        return tuple(corpus for corpus in self.corpora if corpus not in real)

    @property
    def train_only(self) -> dict[str, str]:
        """Datasets of which only training records are read -> fingerprint of their records and splits."""
        return train_only(
            (source.corpus, source.fingerprint if source.split == TRAIN else None) for source in self.sources
        )

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Yield batches from a step on, without end; threads and processes end with the iterator."""
        if self.options.workers:
            return in_processes(self, start_step, self.options.workers, self.options.prefetch)
        plain = self.batches_of(self.lanes, start_step)
        return in_background(plain, self.options.prefetch) if self.options.prefetch else plain

    def batches_of(self, lanes: tuple[int, ...], start_step: int) -> Iterator[Batch]:
        """Yield the part of each batch that some lanes have, made when it is asked for."""
        per_lane = self.options.batch_size // self.options.lanes
        streams = self._streams(lanes)
        step = start_step
        while True:
            picks = [stream.take(step * per_lane, per_lane) for stream in streams]
            # Lane by lane: the values must not depend on how many lanes a process has.
            clean = [self._prepared(group) for group in picks]
            names = [pick.record_id for group in picks for pick in group]
            if self.options.augment:
                disturbed = [self._disturbed(*given, step) for given in zip(clean, picks, lanes, strict=True)]
                yield Batch(step, np.concatenate(disturbed), names, lanes, np.concatenate(clean))
            else:
                yield Batch(step, np.concatenate(clean), names, lanes)
            step += 1

    def _disturbed(
        self, clean: NDArray[np.float32], picks: Sequence[Pick], lane: int, step: int
    ) -> NDArray[np.float32]:
        options, rate, in_mv = self.options, self.extractor.spec().sampling_rate, [pick.has_unit for pick in picks]
        return augmented(clean, rate, options.augment, seed=options.seed, step=step, lane=lane, in_mv=in_mv)

    def _streams(self, lanes: tuple[int, ...]) -> list[LaneStream]:
        options, spec = self.options, self.extractor.spec()
        # Over all lanes, whichever this process has: the division must be the same everywhere.
        pieces = divide(self._counts, options.lanes)
        begins = np.cumsum(self._counts) - self._counts
        cutting = Cutting(spec.input_seconds, spec.sampling_rate)
        seed, size = options.seed, options.shuffle_records
        orders = [Stream(lane, pieces[lane], seed, size, phase=lane / options.lanes) for lane in lanes]
        return [LaneStream(lane, self.sources, self._firsts, begins, cutting, self.unusable) for lane in orders]

    def _prepared(self, picks: Sequence[Pick]) -> NDArray[np.float32]:
        """Return windows (records, leads, samples) in millivolt at the model's rate."""
        spec = self.extractor.spec()
        out = np.empty((len(picks), len(spec.lead_names), spec.samples), dtype=np.float32)
        kinds: dict[tuple[float, np.dtype[Any], bool], list[int]] = {}
        for row, pick in enumerate(picks):
            # Records of one rate and type go through gain, filter and resampling in one call.
            kinds.setdefault((pick.rate, pick.window.dtype, pick.has_unit), []).append(row)
        for (rate, *_), rows in kinds.items():
            out[rows] = self.extractor.prepare_windows(_millivolt([picks[row] for row in rows]), sampling_rate=rate)
        return out


def pretraining_extractor() -> Any:
    """Return the feature extractor of ECG-CPC with what its authors fed in pre-training."""
    from ecg_hub import catalog
    from ecg_hub.modeling.auto import build_feature_extractor

    return build_feature_extractor(catalog.get("ecg-cpc")).with_preset("native")


def _millivolt(picks: Sequence[Pick]) -> NDArray[np.float32]:
    """Return equally long windows (records, 12, samples) in millivolt, NaN where missing; z-scores as they are."""
    first = picks[0].window
    windows = np.empty((len(picks), LEAD_COUNT, len(first)), dtype=first.dtype)
    for row, pick in enumerate(picks):
        windows[row] = pick.window.T  # as int16: half the bytes to move
    if not picks[0].has_unit:
        return windows.astype(np.float32, copy=False)
    shape = (len(picks), LEAD_COUNT, 1)
    gains, baselines = (np.stack([getattr(pick, name) for pick in picks]) for name in ("gain_uv", "baseline"))
    return to_millivolt(windows, gains.reshape(shape), baselines.reshape(shape))
