"""Batches made ready while the model trains: in a thread, or in processes that share the lanes."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ecg_hub.errors import EcgHubError
from eval_harness.pretrain.batch import Batch
from eval_harness.pretrain.unusable import Counted

if TYPE_CHECKING:
    from eval_harness.pretrain.reader import StreamingReader

_WAIT_S = 0.1


def in_background(batches: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """Yield batches that a thread makes up to `depth` ahead; closing the iterator, or dropping it, ends the thread.

    Raises:
        Exception: what making a batch raised, when its turn comes.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Batch | BaseException) -> None:
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
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=max(depth, 1),
        multiprocessing_context="spawn",
    )
    parts = iter(loader)
    while True:
        # The loader takes from its workers in turn, so that consecutive parts are those of one step.
        found = [next(parts) for _ in range(workers)]
        for number, (part, counted) in enumerate(found):
            reader.unusable.take_over(number, counted)
            if isinstance(part, EcgHubError):
                raise part
        yield _joined([part for part, _ in found])


class _Parts(IterableDataset[tuple[Batch | EcgHubError, Counted]]):
    """What a worker yields: its lanes' part of each batch, and what it could not use so far."""

    def __init__(self, reader: StreamingReader, start_step: int, workers: int) -> None:
        self.reader, self.start_step, self.workers = reader, start_step, workers

    def __iter__(self) -> Iterator[tuple[Batch | EcgHubError, Counted]]:
        _end_with_parent()
        info: Any = get_worker_info()
        share = len(self.reader.lanes) // self.workers
        lanes = self.reader.lanes[info.id * share : (info.id + 1) * share]
        try:
            for batch in self.reader.batches_of(lanes, self.start_step):
                yield batch, self.reader.unusable.counted()
        except EcgHubError as error:  # as an item, because the loader would wrap it in a traceback
            yield error, self.reader.unusable.counted()


def _end_with_parent() -> None:
    """End this worker once the process that it reads for is gone.

    After a `kill -9` nobody takes its batches, and it would wait for ever to hand over the next one.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _joined(parts: list[Batch]) -> Batch:
    return Batch(
        step=parts[0].step,
        input_values=np.concatenate([part.input_values for part in parts]),
        record_ids=[name for part in parts for name in part.record_ids],
        lanes=tuple(lane for part in parts for lane in part.lanes),
    )


def _as_it_is(item: Any) -> Any:
    return item
