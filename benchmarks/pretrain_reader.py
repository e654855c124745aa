"""The pre-training reader at scale: rate, memory and seeking, against `datasets`' own stream and against the model.

    OMP_NUM_THREADS=1 python benchmarks/pretrain_reader.py [--records 100000] [--folder DIR] [--steps 1600]

Writes shards of simulated records of 12 x 5,000 samples (a pool of mock PTB-XL records, each copy shifted in time and
scaled, so that no two are equal), then measures in records per second of processor time, so that what else runs on the
machine counts less:

    reader       `StreamingReader` from Parquet: int16 to windows of 12 x 2,400 in millivolt, batches of 64
    mapped       the same from uncompressed Arrow files (10,000 records), mapped into memory
    datasets     `load_dataset("parquet", streaming=True)` with a shuffle buffer, each record through the extractor
    training     one step of the full-size ECG-CPC encoder, forward and backward with a plain loss, batch 16

the size of a record and the time to read it in two ways of writing Parquet (as shards are written, and as
`Dataset.to_parquet` does by default), the resident memory once the shuffle buffers are full and in the last tenth of
the steps, and the seconds to the first batch at step 0 and far ahead. Everything that was written is removed. Ends with
an error where the reader does not give five times what training takes, or where memory grows by more than a tenth.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset, IterableDataset
from datasets import load_dataset as load_files
from datasets.utils import disable_progress_bars
from tqdm import tqdm

import ecg_hub
from dataset_scripts.load import prepare
from dataset_scripts.mock import write
from dataset_scripts.reader import SignalReader
from dataset_scripts.tools.export import COLUMNS
from dataset_scripts.tools.publish import write_parquet
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.reader import SHUFFLE_RECORDS, ReaderOptions, StreamingReader, pretraining_extractor

SHARD, MAPPED = 4096, 10_000
BATCH, TRAINED = 64, 16
LEAST, GROWTH = 5.0, 1.10


def pool(folder: Path, number: int) -> Dataset:
    """Simulated records of ten seconds at 500 Hz, in the columns of shards."""
    raw = write("ptb-xl", folder / "ptb-xl", records=number, seed=0)
    prepared = prepare("ptb-xl", raw, cache_dir=folder / "cache", num_proc=1)
    return prepared.splits["train"].select_columns(list(COLUMNS))


def varied(records: Dataset, first: int, count: int) -> Dataset:
    """Records `first` to `first + count`: copies from the pool, shifted and scaled, each with a name of its own."""
    reader = SignalReader(records)
    length = int(reader.lengths.min())
    rng = np.random.default_rng(first)
    chosen, shifts = rng.integers(0, len(records), count), rng.integers(0, length, count)
    signals = np.empty((count, length, 12), dtype=np.int16)
    for row, (index, shift) in enumerate(zip(chosen, shifts, strict=True)):
        raw = reader.raw(int(index), 0, length)
        signals[row, : length - shift], signals[row, length - shift :] = raw[shift:], raw[:shift]
    schema = records.features.arrow_schema
    names = [name for name in COLUMNS if name not in ("record_id", "signal", "gain_uv")]
    columns = {name: records.with_format("arrow")[chosen][name].combine_chunks() for name in names}
    columns["record_id"] = pa.array([f"{first + row}" for row in range(count)])
    gains = rng.uniform(0.8, 1.25, (count, 1)).astype(np.float32).repeat(12, axis=1)
    columns["gain_uv"] = pa.FixedSizeListArray.from_arrays(pa.array(gains.reshape(-1)), 12)
    rows = pa.ListArray.from_arrays(
        pa.array(np.arange(count * length + 1, dtype=np.int32) * 12), pa.array(signals.reshape(-1))
    )
    storage = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * length), rows)
    columns["signal"] = pa.ExtensionArray.from_storage(schema.field("signal").type, storage)
    return Dataset(pa.table([columns[name] for name in COLUMNS], schema=schema))


def write_all(records: Dataset, folder: Path, number: int) -> None:
    """Write Parquet shards, and the first records as Arrow too."""
    for kind in ("parquet", "arrow"):
        (folder / kind).mkdir()
    for first in tqdm(range(0, number, SHARD), desc="writing shards"):
        part = varied(records, first, min(SHARD, number - first))
        write_parquet(part, folder / "parquet" / f"train-{first:08d}.parquet")
        if first < MAPPED:
            table = part.data.table
            with pa.ipc.new_stream(str(folder / "arrow" / f"train-{first:08d}.arrow"), table.schema) as stream:
                stream.write_table(table, max_chunksize=64)


def packed(part: Dataset, folder: Path) -> dict[str, tuple[float, float]]:
    """Way of writing Parquet -> kilobytes of a record, and milliseconds of processor time to read it."""
    ways = {"shards": folder / "ours.parquet", "to_parquet": folder / "default.parquet"}
    write_parquet(part, ways["shards"])
    part.to_parquet(ways["to_parquet"], batch_size=64)
    found = {}
    for name, path in ways.items():
        cpu = time.process_time()
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, use_threads=False)
        found[name] = path.stat().st_size / len(part) / 1e3, 1e3 * (time.process_time() - cpu) / len(part)
    return found


def resident_mb() -> float:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def read(folder: Path, steps: int, start: int = 0) -> tuple[float, float, list[float], StreamingReader]:
    """Records per processor second and per second of the clock, resident memory at each step, and the reader."""
    reader = StreamingReader([open_folder(folder)], ReaderOptions(batch_size=BATCH, prefetch=0))
    memory = []
    batches = reader.batches(start)
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in tqdm(range(steps), desc=f"reading {folder.name}"):
        assert next(batches).input_values.shape == (BATCH, 12, 2400)
        memory.append(resident_mb())
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    return steps * BATCH / cpu, steps * BATCH / clock, memory, reader


def stream_of_datasets(folder: Path, records: int) -> float:
    """Records per processor second of the straightforward way."""
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    stream: IterableDataset = load_files("parquet", data_files=files, split="train", streaming=True)
    shuffled = stream.shuffle(seed=0, buffer_size=512).with_format("numpy")
    windows = _windows(shuffled)
    next(windows)  # fills the buffer
    cpu = time.process_time()
    for _ in tqdm(itertools.islice(windows, records), total=records, desc="reading with datasets"):
        pass
    return records / (time.process_time() - cpu)


def _windows(rows: Any) -> Iterator[np.ndarray]:
    extractor = pretraining_extractor()
    for row in rows:
        millivolt = (row["signal"].T.astype(np.float32) - row["baseline"][:, None]) * row["gain_uv"][:, None] / 1000
        millivolt[row["signal"].T == -32768] = np.nan
        yield extractor.prepare_windows(millivolt[None, :, :5000], sampling_rate=int(row["sampling_rate"]))


def training(steps: int) -> tuple[float, float]:
    """Records per processor second, and per second of the clock on two threads, of full-size training."""
    model = ecg_hub.AutoModel.from_pretrained("random:ecg-cpc").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = torch.randn(TRAINED, 12, 2400)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    for step in tqdm(range(steps + 1), desc="training"):
        if step == 1:  # the first one warms up
            clock, cpu = time.perf_counter(), time.process_time()
        model(values).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    return steps * TRAINED / (time.process_time() - cpu), steps * TRAINED / (time.perf_counter() - clock)


def first_batch(folder: Path, step: int) -> float:
    """Seconds from opening a folder to the batch of a step."""
    begin = time.perf_counter()
    next(StreamingReader([open_folder(folder)], ReaderOptions(batch_size=BATCH, prefetch=0)).batches(step))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--pool", type=int, default=500, help="simulated records that they are copies of")
    parser.add_argument("--steps", type=int, help="steps to read (default: one pass)")
    parser.add_argument("--train-steps", type=int, default=3)
    parser.add_argument("--folder", help="where shards are written (default: the folder for temporary files)")
    options = parser.parse_args()
    disable_progress_bars()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        records = pool(folder, options.pool)
        sizes = packed(varied(records, 0, min(1024, options.records)), folder)
        began = time.process_time()
        write_all(records, folder, options.records)
        wrote = time.process_time() - began
        size = sum(path.stat().st_size for path in (folder / "parquet").iterdir())
        steps = options.steps or options.records // BATCH
        rate, by_clock, memory, reader = read(folder / "parquet", steps)
        mapped, *_ = read(folder / "arrow", min(steps, MAPPED // BATCH))
        seeks = [first_batch(folder / "parquet", step) for step in (0, 10**6)]
        plain = stream_of_datasets(folder / "parquet", min(8000, options.records // 2))
        trained, trained_by_clock = training(options.train_steps)
    finally:
        shutil.rmtree(folder)
    tenth = max(1, len(memory) // 10)
    # The lanes fill their first blocks one after the other.
    filled = min(len(memory) - 1, 2 * SHUFFLE_RECORDS // 8)
    early, late = max(memory[filled : filled + tenth]), max(memory[-tenth:])
    print(f"\n{options.records:,} records, {size / options.records / 1e3:.1f} kB each (120 kB of samples)")
    print(f"writing     {options.records / wrote:8.0f} records per processor second, simulation included")
    for name, (kilobytes, milliseconds) in sizes.items():
        print(f"{name:11s} {kilobytes:8.1f} kB a record, {milliseconds:.2f} ms to read it")
    print(f"reader      {rate:8.0f} records per processor second, {by_clock:.0f} by the clock")
    print(f"mapped      {mapped:8.0f}")
    print(f"datasets    {plain:8.0f}   the reader gives {rate / plain:.1f} x")
    print(f"training    {trained:8.1f}   the reader gives {rate / trained:.0f} x; on two cores {trained_by_clock:.1f}")
    print(f"memory      {early:8.0f} MB after {filled} steps, {late:.0f} MB in the last tenth of {steps:,}")
    print(f"first batch {seeks[0]:8.2f} s at step 0, {seeks[1]:.2f} s at step 1,000,000")
    print(f"not usable  {reader.unusable.damaged + reader.unusable.excluded}")
    if rate < LEAST * trained:
        sys.exit(f"the reader gives less than {LEAST:.0f} times what training takes")
    if late > GROWTH * early:
        sys.exit("memory grows")


if __name__ == "__main__":
    main()
