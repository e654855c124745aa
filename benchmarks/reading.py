"""Reading signals: views of the record store against plain iteration over its Array2D column, and a streaming pass.

    OMP_NUM_THREADS=1 python benchmarks/reading.py [--records 1000] [--repeats 5]

Writes a mock PTB-XL, prepares its record store, and reads every record in full:

    views        int16 arrays straight from the Arrow memory, `SignalReader.raw`
    numpy        rows of the dataset in numpy format
    lists        rows of the dataset as they come, nested Python lists
    millivolt    `SignalReader.window_mv`: views, converted to float32 millivolt
    streaming    the store's files through `load_dataset("arrow", streaming=True)`, in numpy format

A timed pass reads one sample of every 4 kB, so that each page is in use; before it, a pass that is not timed sums all
samples, and the sums have to be equal (millivolt has another unit and is left out of this). Times are medians of
process CPU seconds over rounds in which the ways take turns; lists are slow and read once. Ends with an error where
views are less than 20 times as fast as plain iteration, in numpy format as well as in lists.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset, concatenate_datasets
from datasets import load_dataset as load_files

from dataset_scripts.load import prepare
from dataset_scripts.mock import write
from dataset_scripts.reader import SignalReader

LEAST = 20.0
Signals = Callable[[], Iterable[Any]]
_PAGE = 2048  # int16 samples


def views(store: Dataset) -> Iterator[np.ndarray]:
    reader = SignalReader(store)
    return (reader.raw(index) for index in range(len(reader)))


def millivolt(store: Dataset) -> Iterator[np.ndarray]:
    reader = SignalReader(store)
    return (reader.window_mv(index) for index in range(len(reader)))


def rows(store: Dataset | IterableDataset) -> Iterator[Any]:
    return (row["signal"] for row in store)


def touched(signal: Any) -> int:
    """Use one sample per page of an array; of nested lists, one per row."""
    if isinstance(signal, np.ndarray):
        return int(signal.reshape(-1)[::_PAGE].sum())
    return sum(row[0] for row in signal)


def total(signals: Iterable[Any]) -> int:
    """Sum of all samples."""
    return sum(int(np.asarray(signal).sum(dtype=np.int64)) for signal in signals)


def streamed(store: Path) -> IterableDataset:
    """The store's files as a stream."""
    files = sorted(str(path) for path in store.glob("*-records*.arrow"))
    return load_files("arrow", data_files=files, split="train", streaming=True).with_format("numpy")


def timed(ways: dict[str, Signals], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each way; `lists` runs once."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(repeats):
        for name, way in ways.items():
            if name == "lists" and round_:
                continue
            started = time.process_time()
            for signal in way():
                touched(signal)
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = write("ptb-xl", Path(folder) / "ptb-xl", records=options.records, seed=0)
        prepared = prepare("ptb-xl", raw, cache_dir=Path(folder) / "cache", num_proc=1)
        shards = sorted(prepared.store.glob("*-records*.arrow"))
        store = concatenate_datasets([Dataset.from_file(str(path)) for path in shards])
        plain = store.select_columns(["signal"])
        ways: dict[str, Signals] = {
            "views": lambda: views(store),
            "numpy": lambda: rows(plain.with_format("numpy")),
            "lists": lambda: rows(plain),
            "millivolt": lambda: millivolt(store),
            "streaming": lambda: rows(streamed(prepared.store)),
        }
        sums = {name: total(way()) for name, way in ways.items() if name != "millivolt"}
        seconds = timed(ways, options.repeats)
    print(f"{len(store)} records of 12 x 5,000 samples\n")
    for name, took in seconds.items():
        each, ratio = 1e6 * took / len(store), took / seconds["views"]
        print(f"  {name:10s} {each:10.1f} us a record   {ratio:8.1f} x the time of views")
    if len(set(sums.values())) > 1:
        sys.exit(f"the ways read different samples: {sums}")
    if min(seconds["numpy"], seconds["lists"]) < LEAST * seconds["views"]:
        sys.exit(f"views are less than {LEAST:.0f} times as fast as plain iteration")


if __name__ == "__main__":
    main()
