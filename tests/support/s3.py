"""A store of objects on this machine, and a wire to it that breaks.

The server is moto's; it lies in a folder of its own (`make build/moto`), since its packages want an older
python-dateutil than ours.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem

MOTO = Path(__file__).resolve().parents[2] / "build" / "moto"
SECRET = "wJalrXUtnFEMI-never-written-anywhere"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def bucket(name: str = "bucket") -> Iterator[str]:
    """Start a server with one bucket; yields host and port."""
    if not MOTO.is_dir():
        pytest.skip("moto is not installed: make build/moto")
    address = f"127.0.0.1:{free_port()}"
    host, port = address.split(":")
    environment = {**os.environ, "PYTHONPATH": str(MOTO)}
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await(host, int(port), server)
            made = S3FileSystem(
                access_key="key",
                secret_key=SECRET,
                endpoint_override=address,
                scheme="http",
                allow_bucket_creation=True,
            )
            made.create_dir(name)
            yield address
        finally:
            server.kill()


def _await(host: str, port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection((host, port)):
            return
        assert server.poll() is None
        time.sleep(0.1)
    raise TimeoutError("moto did not start")


@contextmanager
def breaking_wire(address: str, after_bytes: int, times: int) -> Iterator[tuple[str, list[int]]]:
    """Pass bytes on to a server; so many connections end after so many bytes of answer.

    Yields the address to speak to, and the list of those cuts.
    """
    host, port = address.split(":")
    cuts: list[int] = []
    door = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, counted: bool) -> None:
        sent = 0
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                sent += len(data)
                if counted and sent > after_bytes and len(cuts) < times:
                    cuts.append(sent)
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def serve() -> None:
        with suppress(OSError):
            while True:
                caller, _ = door.accept()
                server = socket.create_connection((host, int(port)))
                for pair in ((caller, server, False), (server, caller, True)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{door.getsockname()[1]}", cuts
    finally:
        door.close()
