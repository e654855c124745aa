"""Training batches with resampling: the harness's loader against a Dataset that cuts and resamples record by record.

    python benchmarks/loader.py [--records 400] [--repeats 5]

Writes a mock PTB-XL (500 Hz), prepares its record store, and reads the training epoch of ECG-CPC (240 Hz, 2.5 s: crops
of 1,250 x 12 become 600 x 12) in batches of 64:

    ours      `Windows.train_batches`: views into the record store, one batched resampling per batch
    memmap    a float32 array of all records on disk; each item opens it, copies its crop, resamples it
    array2d   each item takes its record from the dataset's Array2D column in numpy format, cuts and resamples it

Items are resampled sample by sample and, where resampy is installed, by resampy. Every way draws the same crops and has
to give the same batches within 2e-5. Times are medians of CPU seconds on one thread without reading processes; the ways
take turns. Ends with an error where ours is less than 5 times as fast as the fastest other one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from mock_run import asked, opened
from numpy.typing import NDArray
from resample import plain_ways
from torch.utils.data import DataLoader, Dataset
from turns import check, in_turns, load

from dataset_scripts.reader import SignalReader
from eval_harness.data.windows import EpochPlan, Split, Windows

GOAL = 5.0
TOLERANCE = 2e-5
Crop = NDArray[np.float32]
Item = tuple[torch.Tensor, torch.Tensor]


class PlainDataset(Dataset[Item]):
    """One crop per item: cut, resampled, with its targets."""

    def __init__(
        self, windows: Windows, plan: EpochPlan, record: Callable[[int], Any], way: Callable[..., Crop]
    ) -> None:
        self.split, self.starts, self.length = windows.data.train, plan.starts, windows.length
        self.rates = windows.data.rate, int(windows.extractor.spec().sampling_rate)
        self.record, self.way = record, way

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, position: int) -> Item:
        start = int(self.starts[position])
        crop = np.nan_to_num(np.array(self.record(position)[start : start + self.length], dtype=np.float32))
        values = self.way(np.ascontiguousarray(crop.T), *self.rates)
        return torch.from_numpy(values), torch.from_numpy(self.split.targets[position])


def memmap_of(split: Split, path: Path) -> Callable[[int], Any]:
    """Write all records of a split into one float32 array; each call opens it anew."""
    lengths = split.reader.lengths[split.rows]
    samples = int(lengths.max())
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(split), samples, 12))
    for position, row in enumerate(split.rows):
        table[position, : lengths[position]] = split.reader.window_mv(int(row), 0, int(lengths[position]))
    table.flush()
    return lambda position: np.load(path, mmap_mode="r")[position]


def array2d_of(split: Split) -> Callable[[int], Any]:
    """Records of the store as the datasets library gives them, in millivolt."""
    assert isinstance(split.reader, SignalReader)
    rows = split.reader._split.with_format("numpy")

    def record(position: int) -> Any:
        row = rows[int(split.rows[position])]
        return (row["signal"] - row["baseline"]) * row["gain_uv"] / 1000.0

    return record


def ways_of(windows: Windows, plan: EpochPlan, folder: Path) -> dict[str, Callable[[], Iterable[Any]]]:
    """Name to a call that gives the batches of an epoch."""
    split = windows.data.train
    records = {"memmap": memmap_of(split, folder / "records.npy"), "array2d": array2d_of(split)}
    ways: dict[str, Callable[[], Iterable[Any]]] = {"ours": lambda: windows.train_batches(plan)}
    for place, record in records.items():
        for name, way in plain_ways().items():
            items = PlainDataset(windows, plan, record, way)
            batches = [batch.tolist() for batch in plan.batches]
            ways[f"{place}, {name}"] = lambda items=items, batches=batches: DataLoader(items, batch_sampler=batches)  # type: ignore[misc]
    return ways


def values_of(batches: Iterable[Any]) -> torch.Tensor:
    """All model inputs of an epoch."""
    return torch.cat([batch[0] if isinstance(batch, list) else batch.input_values for batch in batches])


def exhaust(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--least", type=float, default=GOAL, help="end with an error below this ratio")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        _, windows = opened(asked(Path(name), options.records))
        plan = windows.epoch_plan(0, 0, options.batch)
        ways = ways_of(windows, plan, Path(name))
        ours = values_of(ways["ours"]())
        difference = max(float((values_of(way()) - ours).abs().max()) for way in ways.values())
        if difference > TOLERANCE:
            raise SystemExit(f"the batches differ by {difference:.1e}")
        calls = {way: (lambda batches=batches: exhaust(batches())) for way, batches in ways.items()}  # type: ignore[misc]
        seconds = in_turns(calls, options.repeats)
    speed = {way: len(ours) / took for way, took in seconds.items()}
    ratio = speed["ours"] / max(value for way, value in speed.items() if way != "ours")
    report = {
        "crops": len(ours),
        "shape": list(ours.shape[1:]),
        "crops_per_s": {way: round(value, 1) for way, value in speed.items()},
        "ratio": round(ratio, 1),
        "largest_difference": difference,
        "load": load(),
    }
    print(json.dumps(report, indent=1))
    check(ratio, options.least)


if __name__ == "__main__":
    main()
