"""Modules of this repository run as programs, in processes forked from one that has imported what they need.

A new interpreter takes five seconds of a processor to import torch and transformers, more than most tests then have it
do. These processes are as good to kill and to count, and inherit from the tests no more than a new one would: the
server that forks them is a program of its own. What a command does before it has imported anything is for new ones.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.stores import free_port

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.forked_imports"])


class Forked:
    """A running program, with the part of `subprocess.Popen` that tests need; what it prints is thrown away."""

    def __init__(self, module: str, words: Sequence[str], **environment: str) -> None:
        self._errors, errors = CONTEXT.Pipe(duplex=False)
        values = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = CONTEXT.Process(target=_become, args=(module, list(words), values, errors))
        self._process.start()
        errors.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Send SIGSTOP and wait until nothing runs any more, or it has ended."""
        self.send_signal(signal.SIGSTOP)
        while self.poll() is None and "T" not in self._status()[:1]:
            time.sleep(0.001)

    def processor_s(self) -> float:
        """The seconds of a processor that it has used, whatever else the machine is at; 0 once it has ended."""
        numbers = self._status()[11:13]
        return sum(map(int, numbers)) / os.sysconf("SC_CLK_TCK")

    def _status(self) -> list[str]:
        """What /proc says of the process from its state on; nothing once it has ended."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            return []

    def communicate(self, timeout: float = 600) -> str:
        """What it and all that it started say as errors, until the last of them has ended."""
        said, end, descriptor = b"", time.monotonic() + timeout, self._errors.fileno()
        while part := self._read(descriptor, end):
            said += part
        self._errors.close()
        self._process.join(max(end - time.monotonic(), 1.0))
        return said.decode()

    def _read(self, descriptor: int, end: float) -> bytes:
        if not select.select([descriptor], [], [], max(end - time.monotonic(), 0.0))[0]:
            self._process.kill()
            raise TimeoutError(f"process {self.pid} and what it started have not ended")
        return os.read(descriptor, 1 << 16)


def finish(*processes: Forked) -> None:
    """Wait for programs that have to end well."""
    said = [process.communicate() for process in processes]
    for process, errors in zip(processes, said, strict=True):
        assert process.poll() == 0, errors


def together(number: int, module: str, words: Sequence[str], **environment: str) -> list[Forked]:
    """Start the processes of one distributed run, with the variables that torchrun gives them."""
    if number == 1:
        return [Forked(module, words, **environment)]
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(number)}
    meet |= {"LOCAL_WORLD_SIZE": str(number), **environment}
    return [Forked(module, words, **meet, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(number)]


def _become(module: str, words: list[str], environment: Mapping[str, str], errors: Connection) -> None:
    os.dup2(errors.fileno(), 2)
    errors.close()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    os.chdir(ROOT)
    os.fsync = lambda descriptor: None  # as in tests/conftest.py: what is killed loses nothing of what it wrote
    # Not those of the server, which began within some test.
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
