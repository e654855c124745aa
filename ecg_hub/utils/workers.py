"""Running tasks in several processes, or on the machines of a Ray cluster, safely for callers and interrupted runs.

The processes come from loky (part of joblib), which neither forks, so that they hold no lock of the caller, nor needs
a guarded main module. They end with the caller, also when it is killed, and they do not load the models of ecg_hub.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Literal, TypeVar

from joblib import cpu_count  # type: ignore[import-untyped]
from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

from ecg_hub.errors import InputError
from ecg_hub.home import HOME_OPTION, home

Engine = Literal["local", "ray"]
RAY_RETRIES = 3
"""How often a task is done again whose worker died."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    return int(cpu_count())


def run(
    function: Callable[[Task], Result], tasks: Iterable[Task], processes: int, engine: Engine = "local"
) -> Iterator[Result]:
    """Yield the results of tasks as they are done, in any order; tasks are drawn only when there is work for them."""
    if engine == "ray":
        yield from _run_on_ray(function, tasks, processes)
        return
    if processes == 1:
        yield from map(function, tasks)
        return
    queue = iter(tasks)
    # Each process would start a thread per processor otherwise: processes times processors in all.
    environment = {"OMP_NUM_THREADS": "1"}
    pool = ProcessPoolExecutor(processes, initializer=end_with_parent, initargs=(os.getpid(),), env=environment)

    def submit(number: int) -> set[Future[Result]]:
        with interrupts_held():
            return {pool.submit(function, task) for task in itertools.islice(queue, number)}

    pending: set[Future[Result]] = set()
    try:
        # Twice as many, so that nobody waits while this process hands out the next task.
        pending = submit(2 * processes)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= submit(len(done))
            yield from (future.result() for future in done)
    except (KeyboardInterrupt, GeneratorExit):
        # What they are at may take minutes, and nobody wants it any more; files appear only when they are whole.
        pool.shutdown(wait=True, kill_workers=True)
        raise
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown(wait=True)


def _run_on_ray(function: Callable[[Task], Result], tasks: Iterable[Task], processes: int) -> Iterator[Result]:
    """Yield the results of tasks done by Ray: on the cluster of RAY_ADDRESS, else by workers of this machine.

    A task whose worker or machine dies is done again elsewhere. Each must do the same thing however often it is done.
    """
    ray = _ray(processes)
    task = ray.remote(num_cpus=1, max_retries=RAY_RETRIES)(function)
    wanted = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    queue = iter(tasks)
    pending: list[Any] = []
    try:
        while True:
            # Put one by one: the tasks of ten million records would not fit the memory of the one who hands them out.
            pending += [task.remote(item) for item in itertools.islice(queue, wanted - len(pending))]
            if not pending:
                return
            done, pending = ray.wait(pending, num_returns=1)
            for result in done:
                yield ray.get(result)
    except ray.exceptions.RayTaskError as error:
        # What the function raised, as it would be raised here.
        raise error.cause from None
    except ray.exceptions.WorkerCrashedError as error:
        raise BrokenProcessPool(f"a worker of Ray ended {RAY_RETRIES + 1} times at one task") from error
    finally:
        for result in pending:
            ray.cancel(result, force=True)


def _ray(processes: int) -> Any:
    """Return Ray, connected: to a cluster that is named, else to workers that are started here."""
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'ecg-hub[ray]'.") from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        # The same folder everywhere stands for a URL, and is made on each machine.
        passed = {"OMP_NUM_THREADS": "1", HOME_OPTION: str(home())}
        passed |= {name: os.environ[name] for name in ("AWS_ENDPOINT_URL",) if name in os.environ}
        here = {} if address else {"num_cpus": processes, "include_dashboard": False}
        ray.init(
            address=address, runtime_env={"env_vars": passed}, logging_level="warning", log_to_driver=False, **here
        )
    return ray


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Start processes here: they never see Ctrl-C, which this one gets after the block; it ends them itself.

    A terminal sends Ctrl-C to all of them, and each would print a traceback, even from its first imports.
    """
    # Blocked signals are inherited by forks and by new programs; a handler is not, or is set too late.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started on the way, it would unblock the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, as a killed parent cannot end its workers; Ctrl-C is the parent's."""
    ignore_interrupts()

    def watch() -> None:
        # An orphan gets another parent. Asked again and again, because only Linux would send a signal.
        while os.getppid() == parent:
            time.sleep(0.5)
        # `sys.exit` would end this thread alone.
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def ignore_interrupts(*_: object) -> None:
    """Leave Ctrl-C to the parent process, which ends this one; of workers that were started by other means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
