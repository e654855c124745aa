"""Mutated files through every reader: none may hang, take more memory than its bound, or end in an undocumented error.

    python benchmarks/fuzz_readers.py --count 100000 --seed 1 [--processes 2] [--reader dicom] [--keep DIR]
    python benchmarks/fuzz_readers.py --seed 1 --only 4711 --keep found

Input number N of a seed is the same on every machine: which valid file it comes from and what was changed follow from
both numbers. `--only N` reads that one in this process and shows its traceback; `--keep` writes inputs that fail there.

Each process has a limit of address space (what it has after its imports, and MEMORY_MB) and reads under
ECG_HUB_MAX_RECORD_MB, so a record may take many times its size on the way and no more.
"""

from __future__ import annotations

import argparse
import faulthandler
import math
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ecg_hub.errors import EcgHubError
from tests.support.fuzz_seeds import Seed, seeds
from tests.support.mutations import mutated

RECORD_MB = 16
MEMORY_MB = 640
TIMEOUT_S, MOST_WAITS = 10.0, 6  # of a processor; and how often that may pass on a clock, for other work is there too
OUTCOMES = ("read", "refused", "undocumented", "memory", "hang", "crash")
PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class Failure:
    """An input that a reader did not take as it should."""

    number: int
    reader: str
    outcome: str
    text: str


@dataclass
class Tally:
    """What came of all inputs: reader -> outcome -> number, the failures, and the largest memory of a process in MB."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float = 0.0

    def add(self, number: int, reader: str, outcome: str, text: str) -> None:
        """Count one input."""
        self.counts.setdefault(reader, Counter())[outcome] += 1
        if outcome not in ("read", "refused"):
            self.failures.append(Failure(number, reader, outcome, text))

    def total(self, outcome: str) -> int:
        """Return how many inputs ended so."""
        return sum(count[outcome] for count in self.counts.values())


def make_input(cases: dict[str, Seed], seed: int, number: int) -> tuple[str, dict[str, bytes]]:
    """Return the reader and the files of one input."""
    rng = random.Random(f"{seed}:{number}")
    reader = sorted(cases)[number % len(cases)]
    files = dict(cases[reader].files)
    name = rng.choice(sorted(files))
    files[name] = mutated(files[name], rng)
    return reader, files


def read_input(case: Seed, files: dict[str, bytes], folder: Path) -> tuple[str, str]:
    """Return the outcome of one input and, where it is a failure, what was raised."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        case.read(folder)
    except EcgHubError:
        return "refused", ""
    except MemoryError:
        return "memory", traceback.format_exc(limit=-6)
    except Exception:
        return "undocumented", traceback.format_exc(limit=-6)
    return "read", ""


def load_cases(wanted: Sequence[str] = ()) -> dict[str, Seed]:
    """Return the valid files by reader; those whose name begins with a wanted one, or all."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = seeds(Path(folder))
        # Every reader once, so that what it imports is not part of the first input.
        for name, case in cases.items():
            place = Path(folder, "valid", name)
            place.mkdir(parents=True)
            outcome, text = read_input(case, dict(case.files), place)
            if outcome not in ("read", "refused"):
                raise RuntimeError(f"the valid files of {name} are not read: {text}")
    return {name: case for name, case in cases.items() if not wanted or name.startswith(tuple(wanted))}


def _limit_memory() -> None:
    with Path("/proc/self/statm").open() as file:
        held = int(file.read().split()[0]) * PAGE_BYTES
    bound = held + MEMORY_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def _work(cases: dict[str, Seed], seed: int, numbers: range, results: Connection) -> None:
    """Read inputs one after another; their number is sent before, their outcome behind."""
    os.environ["ECG_HUB_MAX_RECORD_MB"] = str(RECORD_MB)
    faulthandler.disable()
    warnings.simplefilter("ignore")
    _limit_memory()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as top:
        for number in numbers:
            reader, files = make_input(cases, seed, number)
            results.send((number, reader, "", ""))
            folder = Path(top, "input")
            folder.mkdir(exist_ok=True)
            results.send((number, reader, *read_input(cases[reader], files, folder)))
            for path in folder.iterdir():
                path.unlink()
            if number // numbers.step % 500 == 0:
                results.send((-1, "", "", _peak()))
    results.send((-1, "", "", _peak()))


def _peak() -> str:
    return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@dataclass
class _Worker:
    """A process, what it sends, the inputs that are left to it, and the one it is at, since when."""

    process: Any
    results: Connection
    numbers: range
    reader: str = ""
    at: int = -1
    since: float = 0.0
    worked: float = 0.0

    def begin(self) -> None:
        """Note the time of the clock, and of a processor where the system says it."""
        self.since, self.worked = time.monotonic(), _processor_s(self.process.pid)

    def hangs(self) -> bool:
        """Whether the input takes too long by itself, not by what else this machine does."""
        waited = time.monotonic() - self.since
        if waited <= TIMEOUT_S:
            return False
        return waited > MOST_WAITS * TIMEOUT_S or _processor_s(self.process.pid) - self.worked > TIMEOUT_S


def _processor_s(pid: int) -> float:
    # Behind the name in brackets, which may hold anything: state, ten numbers, then ticks as itself and in the kernel.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start(cases: dict[str, Seed], seed: int, numbers: range) -> _Worker:
    receiving, sending = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(cases, seed, numbers, sending), daemon=True
    )
    process.start()
    sending.close()
    return _Worker(process, receiving, numbers)


def run(
    cases: dict[str, Seed], count: int, seed: int, processes: int = 2, first: int = 0, seconds: float = math.inf
) -> Tally:
    """Read `count` inputs of a seed, from number `first` on, for at most some seconds; return what came of them."""
    tally, begin = Tally(), time.monotonic()
    workers = [_start(cases, seed, range(first + k, first + count, processes)) for k in range(processes)]
    while workers and time.monotonic() - begin < seconds:
        ready = wait([worker.results for worker in workers], timeout=0.2)
        for worker in list(workers):
            ended = worker.results in ready and not _receive(worker, tally)
            late = worker.at >= 0 and worker.hangs()
            if ended or late:
                workers.remove(worker)
                workers += _after(worker, cases, seed, tally, late)
    for worker in workers:
        worker.process.kill()
    tally.seconds = time.monotonic() - begin
    return tally


def _receive(worker: _Worker, tally: Tally) -> bool:
    """Take what a process sent; False where it has ended."""
    try:
        number, reader, outcome, text = worker.results.recv()
    except EOFError:
        return False
    if number < 0:
        tally.peak_mb = max(tally.peak_mb, int(text) / 1024)
        worker.at = -1
        return True
    worker.at, worker.reader = (-1 if outcome else number), reader
    worker.begin()
    if outcome:
        tally.add(number, reader, outcome, text)
        worker.numbers = range(number + worker.numbers.step, worker.numbers.stop, worker.numbers.step)
    return True


def _after(worker: _Worker, cases: dict[str, Seed], seed: int, tally: Tally, late: bool) -> Iterator[_Worker]:
    """Count the input that a process hung or died at, and yield a process for what was left to it."""
    worker.process.kill()
    worker.process.join()
    if worker.at >= 0:
        code = worker.process.exitcode
        tally.add(worker.at, worker.reader, "hang" if late else "crash", "" if late else f"exit code {code}")
    rest = (
        range(worker.at + worker.numbers.step, worker.numbers.stop, worker.numbers.step) if worker.at >= 0 else range(0)
    )
    if rest:
        yield _start(cases, seed, rest)


def report(tally: Tally) -> str:
    """Return the numbers of a run as text, one line per reader."""
    total = sum(map(sum, (count.values() for count in tally.counts.values())))
    lines = [f"{'reader':<16}" + "".join(f"{name:>14}" for name in OUTCOMES)]
    for reader, count in sorted(tally.counts.items()):
        lines.append(f"{reader:<16}" + "".join(f"{count[name]:>14,}" for name in OUTCOMES))
    lines.append(f"{'all':<16}" + "".join(f"{tally.total(name):>14,}" for name in OUTCOMES))
    lines.append(f"{total:,} inputs in {tally.seconds:,.0f} s, at most {tally.peak_mb:,.0f} MB in a process")
    return "\n".join(lines)


def keep(cases: dict[str, Seed], seed: int, number: int, folder: Path) -> None:
    """Write the files of one input."""
    reader, files = make_input(cases, seed, number)
    place = folder / f"{seed}-{number}-{reader.replace(' ', '-')}"
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print what came of it, and return 1 where an input was not taken as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="inputs (10000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first input (0)")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="stop then, wherever it is")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--reader", action="append", default=[], help="only readers whose name begins so")
    parser.add_argument("--only", type=int, metavar="N", help="read this input in the calling process")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write inputs that fail there")
    args = parser.parse_args(arguments)
    cases = load_cases(args.reader)
    if args.only is not None:
        return _read_one(cases, args)
    tally = run(cases, args.count, args.seed, args.processes, args.first, args.seconds)
    print(report(tally))
    for failure in sorted(tally.failures, key=lambda item: (item.reader, item.outcome, item.number)):
        print(f"\n{failure.outcome}: input {failure.number} of seed {args.seed}, {failure.reader}\n{failure.text}")
        if args.keep:
            keep(cases, args.seed, failure.number, args.keep)
    return 1 if tally.failures else 0


def _read_one(cases: dict[str, Seed], args: argparse.Namespace) -> int:
    os.environ["ECG_HUB_MAX_RECORD_MB"] = str(RECORD_MB)
    if args.keep:
        keep(cases, args.seed, args.only, args.keep)
    reader, files = make_input(cases, args.seed, args.only)
    print(f"input {args.only} of seed {args.seed}, {reader}")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        cases[reader].read(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
