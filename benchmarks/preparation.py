"""Time and peak memory of preparing each dataset from a generated tree, and what that means at full size.

    python benchmarks/preparation.py [NAME ...] [--records 2000] [--processes 1]

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
    args = parser.parse_args()
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
