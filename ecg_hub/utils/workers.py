"""Running tasks in several processes, safely for callers and for interrupted runs.

The processes come from loky (part of joblib), which neither forks, so that they hold no lock of the caller, nor needs
a guarded main module. They end with the caller, also when it is killed, and they do not load the models of ecg_hub.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

from joblib import cpu_count  # type: ignore[import-untyped]
from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    return int(cpu_count())


def run(function: Callable[[Task], Result], tasks: Iterable[Task], processes: int) -> Iterator[Result]:
    """Yield the results of tasks as they are done, in any order; tasks are drawn only when there is work for them."""
    if processes == 1:
        yield from map(function, tasks)
        return
    queue = iter(tasks)
    environment = {"OMP_NUM_THREADS": "1"}
    pool = ProcessPoolExecutor(processes, initializer=end_with_parent, initargs=(os.getpid(),), env=environment)
    with pool:
        pending: set[Future[Result]] = {pool.submit(function, task) for task in itertools.islice(queue, 2 * processes)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(function, task) for task in itertools.islice(queue, len(done))}
                yield from (future.result() for future in done)
        finally:
            for future in pending:
                future.cancel()


def end_with_parent(parent: int) -> None:
    """Watch the parent process and end this one when it is gone: a killed parent cannot end its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
