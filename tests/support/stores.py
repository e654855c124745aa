"""Stores of objects on this machine, and a wire to one that breaks.

The servers are moto's and gcp-storage-emulator's; they lie in a folder of their own (`make build/stores`), since moto's
packages want an older python-dateutil than ours.
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

SERVERS = Path(__file__).resolve().parents[2] / "build" / "stores"
# It answers one request after the other, and so waits for ever for a client that reads two files at once; and what it
# holds is not made for threads.
GOOGLE = """
import threading
from gcp_storage_emulator import server
from gcp_storage_emulator.__main__ import main

lock = threading.RLock()

def one_at_a_time(handler):
    def locked(*args):
        with lock:
            return handler(*args)
    return locked

for _, methods in server.HANDLERS:
    methods.update({method: one_at_a_time(handler) for method, handler in methods.items()})
server.server.HTTPServer = server.server.ThreadingHTTPServer
main()
"""
SECRET = "wJalrXUtnFEMI-never-written-anywhere"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def bucket(name: str = "bucket") -> Iterator[str]:
    """Start a server that speaks S3, with one bucket; yields host and port."""
    with _started("-m", "moto.server", "-H", "127.0.0.1", "-p") as address:
        made = S3FileSystem(
            access_key="key", secret_key=SECRET, endpoint_override=address, scheme="http", allow_bucket_creation=True
        )
        made.create_dir(name)
        yield address


@contextmanager
def google_bucket(name: str = "bucket") -> Iterator[str]:
    """Start a server that speaks as Google's storage does, with one bucket; yields host and port."""
    options = ("start", "--in-memory", f"--default-bucket={name}", "--host=127.0.0.1", "--port")
    with _started("-c", GOOGLE, *options) as address:
        yield address


@contextmanager
def _started(*program: str) -> Iterator[str]:
    """Start a server that takes its port as last option."""
    if not SERVERS.is_dir():
        pytest.skip("the servers are not installed: make build/stores")
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(SERVERS)}
    command = [sys.executable, *program, str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await("127.0.0.1", port, server)
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def _await(host: str, port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection((host, port)):
            return
        assert server.poll() is None
        time.sleep(0.1)
    raise TimeoutError("the server did not start")


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
