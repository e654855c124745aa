"""Many records in little memory, and exact continuation of a process that was killed."""

from __future__ import annotations

import hashlib
import itertools
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from tests.support.shards import extractor, records, table, write_parquet

RECORDS, SAMPLES = 40_000, 1000

READ = """
import sys, itertools
from pathlib import Path
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from tests.support.shards import extractor

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024

folder, steps = sys.argv[1], int(sys.argv[2])
reader = StreamingReader([open_folder(Path(folder))], ReaderOptions(shuffle_records=256), extractor())
memory = []
for batch in itertools.islice(reader.batches(0), steps):
    memory.append(resident())
print(max(memory[60:120]), max(memory[-60:]), reader.records)
"""

DIGESTS = """
import sys, hashlib
from pathlib import Path
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from tests.support.shards import extractor

reader = StreamingReader([open_folder(Path(sys.argv[1]))], ReaderOptions(batch_size=16, shuffle_records=8), extractor())
for batch in reader.batches(int(sys.argv[2])):
    print(batch.step, hashlib.sha256(batch.input_values.tobytes()).hexdigest(), flush=True)
"""


def shards(folder: Path) -> None:
    """40,000 records of 12 x 1,000 samples, 1 GB before packing, in ten files."""
    pool = table(records(64, samples=SAMPLES, rate=100))
    rng = np.random.default_rng(0)
    for number in range(10):
        path = folder / f"train-{number}.parquet"
        with pq.ParquetWriter(path, pool.schema, compression="zstd", use_dictionary=False) as writer:
            for group in range(RECORDS // 10 // 64 + 1):
                names = pa.array([f"{number} {group} {row}" for row in range(64)])
                part = pool.take(pa.array(rng.permutation(64)))
                writer.write_table(part.set_column(0, "record_id", names))


@pytest.mark.heavy
def test_memory_is_flat(tmp_path: Path) -> None:
    shards(tmp_path)
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path), "600"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    early, late, number = map(int, done.stdout.split())
    assert number > RECORDS
    assert late < 1.1 * early, f"{early} MB early, {late} MB late"
    whole_mb = number * SAMPLES * 12 * 2 / 2**20
    assert late < whole_mb, "less than the records take, libraries included"


@pytest.mark.heavy
def test_a_killed_process_continues_exactly(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", records(200))

    def killed(number: int) -> list[str]:
        """Read in a process of its own and kill it in mid-run."""
        with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(number)]
            process.send_signal(signal.SIGKILL)
        return lines

    def here(start: int, number: int) -> list[str]:
        source = StreamingReader([open_folder(tmp_path)], ReaderOptions(batch_size=16, shuffle_records=8), extractor())
        batches = itertools.islice(source.batches(start), number)
        return [f"{batch.step} {hashlib.sha256(batch.input_values.tobytes()).hexdigest()}" for batch in batches]

    command = [sys.executable, "-c", DIGESTS, str(tmp_path)]
    whole = here(0, 30)
    assert len(set(whole)) == 30
    assert killed(12) + here(12, 18) == whole
