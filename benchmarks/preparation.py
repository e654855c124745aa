"""Time and peak memory of preparing each dataset from a generated tree, and what that means at full size.

    python benchmarks/preparation.py [NAME ...] [--records 2000] [--processes 1]
    python benchmarks/preparation.py [NAME ...] [--records 600] --bare [--repeats 3]

With --bare the processor's time of preparing is compared with that of reading the same files and doing nothing with
them: bytes as they are, HDF5 and zip unpacked, text decoded; and two processes are compared with one.

Each preparation runs in a process of its own. Time grows with the number of records; memory does not (a shard at a
time), but for what a table holds per record, which the second column of memory shows: the growth from a quarter of the
records to all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREPARE = """
import json, resource, sys, time
import dataset_scripts.load as load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
found = load.prepare(sys.argv[1], sys.argv[2], cache_dir=sys.argv[3], num_proc=int(sys.argv[4]), max_unreadable=0.05)
seconds = time.perf_counter() - started
started = time.perf_counter()
load.prepare(sys.argv[1], sys.argv[2], cache_dir=sys.argv[3])
again = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "again": again, "peak_mb": peak / 1024, "before_mb": before / 1024,
                  "records": len(found.report)}))
"""


# What no preparation can do without: every byte of every file, unpacked. Twice, since the first fills the disk's cache.
BARE = """
import json, sys, time, zipfile
from pathlib import Path
import h5py
import numpy as np
def read(path):
    if path.suffix in (".h5", ".hdf5"):
        with h5py.File(path) as file:
            file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            [packed.read(name) for name in packed.namelist()]
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix in (".csv", ".hea", ".txt"):
        path.read_text(errors="replace")
    else:
        path.read_bytes()
files = [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
for _ in range(2):
    started, wall = time.process_time(), time.perf_counter()
    for path in files:
        read(path)
    cpu, wall = time.process_time() - started, time.perf_counter() - wall
print(json.dumps({"cpu": cpu, "seconds": wall}))
"""

# `prepare` waits for its workers, whose time is then among that of the children.
COUNTED = """
import json, resource, sys, time
import dataset_scripts.load as load
def used():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)
# Once for nothing: what is imported on the way is the same for any number of records.
for cache in ("first", "measured"):
    before, started = used(), time.perf_counter()
    found = load.prepare(
        sys.argv[1], sys.argv[2], cache_dir=f"{sys.argv[3]}-{cache}", num_proc=int(sys.argv[4]), max_unreadable=0.05
    )
print(json.dumps({"cpu": used() - before, "seconds": time.perf_counter() - started, "records": len(found.report)}))
"""


def compare_bare(name: str, records: int, repeats: int) -> dict[str, float]:
    """Return processor's seconds of the bare read, of one process and of two, each the least of some repeats."""
    from dataset_scripts import mock

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / name
        mock.write(name, raw, records=records)
        found["mb"] = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file()) / 2**20
        for repeat in range(repeats):
            cache = f"{scratch}/cache-{repeat}"
            runs = {
                "bare": _run(BARE, str(raw)),
                "one": _run(COUNTED, name, str(raw), f"{cache}-1", "1"),
                "two": _run(COUNTED, name, str(raw), f"{cache}-2", "2"),
            }
            found["records"] = runs["one"]["records"]
            for kind, run in runs.items():
                for what in ("cpu", "seconds"):
                    key = f"{kind}_{what}"
                    found[key] = min(found.get(key, run[what]), run[what])
    return found


def _run(program: str, *words: str) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def print_bare(names: list[str], records: int, repeats: int) -> None:
    """Print the comparison as a Markdown table."""
    print("| dataset | files, MB | bare read, records/s | prepared, records/s | times the bare read | two processes |")
    print("|---|---|---|---|---|---|")
    for name in names:
        found = compare_bare(name, records, repeats)
        number = found["records"]
        print(
            f"| {name} | {found['mb']:,.0f} | {number / found['bare_cpu']:,.0f} | {number / found['one_cpu']:,.0f} | "
            f"{found['one_cpu'] / found['bare_cpu']:.1f} | {found['one_seconds'] / found['two_seconds']:.2f} |",
            flush=True,
        )


def measure(name: str, folder: Path, records: int, processes: int) -> dict[str, float]:
    """Write a tree, prepare it in another process, and return seconds and memory."""
    from dataset_scripts import mock

    raw = folder / f"{name}-{records}"
    started = time.perf_counter()
    mock.write(name, raw, records=records)
    written = time.perf_counter() - started
    size = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file())
    command = [
        sys.executable,
        "-c",
        PREPARE,
        name,
        str(raw),
        str(folder / "cache" / f"{name}-{records}"),
        str(processes),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "written": written, "mb": size / 2**20}


def main() -> None:
    """Measure and print a Markdown table."""
    from dataset_scripts.catalog import datasets

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="datasets; default all")
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--bare", action="store_true", help="compare with reading the same files")
    parser.add_argument("--repeats", type=int, default=3, help="of --bare; the least counts")
    args = parser.parse_args()
    if args.bare:
        print_bare(args.names or sorted(datasets()), args.records, args.repeats)
        return
    print(
        "| dataset | tree, MB | prepare, s | records/s | again, s | peak, MB | growth, MB | full size | extrapolated |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in args.names or sorted(datasets()):
        with tempfile.TemporaryDirectory() as scratch:
            small = measure(name, Path(scratch), args.records // 4, args.processes)
            found = measure(name, Path(scratch), args.records, args.processes)
        published = datasets()[name].releases[0].records if datasets()[name].releases else 0
        rate = found["records"] / found["seconds"]
        print(
            f"| {name} | {found['mb']:,.0f} | {found['seconds']:.1f} | {rate:,.0f} | {found['again']:.1f} | "
            f"{found['peak_mb']:,.0f} | {found['peak_mb'] - small['peak_mb']:+,.0f} | {published:,} | "
            f"{published / rate / 60:,.1f} min |",
            flush=True,
        )


if __name__ == "__main__":
    main()
