"""Records read without keeping their signals: whether they can be read, and what their own files say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.utils import tqdm

from dataset_scripts.builder import store_features
from dataset_scripts.frames import Seen
from dataset_scripts.shards import Shard, read_all
from dataset_scripts.spec import ECGDataset, Scan
from dataset_scripts.workers import run
from ecg_hub.errors import InputError

CHUNK_RECORDS = 256


@dataclass(frozen=True)
class Outcome:
    """What reading one record gave.

    Attributes:
        status: "ok", "lost" or "excluded".
        reason: why it is lost or excluded.
        seen: its length and metadata, where it is ok.
    """

    status: str
    reason: str
    seen: Seen | None


def read_records(dataset: ECGDataset, folder: Path, scan: Scan, sampling_rate: int, num_proc: int = 1) -> list[Outcome]:
    """Read the records of a scan and return one outcome per record, in order.

    Args:
        dataset: how to read.
        folder: the raw folder.
        scan: what its tables hold.
        sampling_rate: Hz.
        num_proc: processes that read.

    Raises:
        InputError: `num_proc` is below 1.
        BrokenProcessPool: a process was ended from outside.
    """
    if num_proc < 1:
        raise InputError(f"num_proc={num_proc!r} is not a number of processes; pass 1 or more.")
    outcomes: dict[int, list[Outcome]] = {}
    with tqdm(total=len(scan), unit=" records", desc=f"Reading {dataset.title}", disable=None) as bar:
        for number, chunk in run(_read_chunk, _tasks(dataset, folder, scan, sampling_rate), num_proc):
            outcomes[number] = chunk
            bar.update(len(chunk))
    return list(itertools.chain.from_iterable(outcomes[number] for number in sorted(outcomes)))


def _tasks(dataset: ECGDataset, folder: Path, scan: Scan, sampling_rate: int) -> Iterator[tuple[int, Shard]]:
    features = store_features(dataset)
    for number, start in enumerate(range(0, len(scan), CHUNK_RECORDS)):
        records = list(scan.records(start, start + CHUNK_RECORDS))
        yield number, Shard(dataset, folder, records, sampling_rate, features)


def _read_chunk(task: tuple[int, Shard]) -> tuple[int, list[Outcome]]:
    number, shard = task
    outcomes = []
    for line, _, signal in read_all(shard):
        seen = None if signal is None else Seen(len(signal.samples), dict(signal.metadata))
        outcomes.append(Outcome(line["status"], line["reason"], seen))
    return number, outcomes
