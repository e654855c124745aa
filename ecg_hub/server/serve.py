"""Runs the hub until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import DataError, InputError
from ecg_hub.utils.files import replacing, take_lock

if TYPE_CHECKING:
    import uvicorn

    from ecg_hub.server.auth import TokenFile
    from ecg_hub.server.calls import Hub, Options


FORMAT = "ecg-hub 1\n"
GRACE = 30  # seconds that requests under way get after SIGTERM


@dataclass(frozen=True)
class Address:
    """Where the hub listens.

    Attributes:
        host: name or address.
        port: 0 takes a free one.
    """

    host: str = "127.0.0.1"
    port: int = 8000


@contextlib.contextmanager
def open_hub(root: Path, options: Options, token_file: Path | None = None) -> Iterator[Hub]:
    """Open the folder of a hub, alone; half-written files of a killed server are removed."""
    require_packages()
    from ecg_hub.server.calls import Hub

    tokens = _tokens(token_file)
    prepare(root)
    # Locks and caches live in one process: a second one would not know of them.
    with alone(root):
        hub = Hub(root, options, tokens, _key(root))
        # Only under the lock: before it, these may be uploads of another server.
        hub.disk.empty_temporary()
        try:
            yield hub
        finally:
            hub.boards.close()


def serve(root: Path, address: Address, options: Options, token_file: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns 0 after a stop in good order."""
    check_exposure(address.host, token_file, options)
    with open_hub(root, options, token_file) as hub, _listen(address) as listener:
        server = make_server(hub, address.host)
        host, port = listener.getsockname()[:2]
        url = options.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print("\n".join(greeting(url, root, token_file, options)), flush=True)
        server.run(sockets=[listener])
    return 0


def make_server(hub: Hub, host: str) -> uvicorn.Server:
    """Return a server for a hub; `run(sockets=[...])` serves until `should_exit` is set."""
    import uvicorn

    from ecg_hub.server.app import HubApp
    from ecg_hub.server.limits import BoundedProtocol

    class Protocol(BoundedProtocol):
        """With the limits of this hub; uvicorn makes one for each connection."""

        timeout = hub.options.timeout
        most = hub.options.max_per_address
        open = hub.metrics.connections

    class Server(uvicorn.Server):
        """uvicorn's, which would end the process by the signal it got instead of with exit code 0."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            # uvicorn cancels what is not done and does not wait for it: files and connections would outlive the loop.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.wait([*self.server_state.tasks, asyncio.create_task(asyncio.sleep(0))], timeout=5)

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {one: signal.signal(one, self._stop) for one in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for one, handler in before.items():
                    signal.signal(one, handler)

        def _stop(self, number: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

    logging.getLogger("uvicorn.error").addFilter(_cut_off)
    config = uvicorn.Config(
        HubApp(hub, host),
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        http=Protocol,
        limit_concurrency=hub.options.max_connections,
        timeout_keep_alive=max(1, int(hub.options.timeout)),
        timeout_graceful_shutdown=GRACE,
        ws="none",
    )
    return Server(config)


def _cut_off(record: logging.LogRecord) -> bool:
    """Tell in a sentence, and not as a failure of the hub, that a stop ended an answer."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    if cancelled:
        record.msg = f"an answer was cut off: it was not done {GRACE} s after the stop, see the line before"
        record.args = record.exc_info = None
    if cancelled or "timeout graceful shutdown exceeded" in record.getMessage():
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def require_packages() -> None:
    """Check that the packages of the server are installed; nothing else of ecg-hub needs them."""
    try:
        import markdown_it  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"The server needs {error.name}: pip install 'ecg-hub[serve]'") from None


def greeting(url: str, root: Path, token_file: Path | None, options: Options) -> list[str]:
    """Return what is printed at start: who may do what, and the lines for users of the Hugging Face libraries."""
    if token_file is None:
        access = "no token file: whoever reaches this address may read and write"
    else:
        reading = "anybody reads, a token writes" if options.open_read else "a token is needed to read and to write"
        access = f"tokens of {token_file}: {reading}"
    lines = [f"serving {root} at {url}", access, "in the shell of whoever uses it:", f"  export HF_ENDPOINT={url}"]
    lines.append("  export HF_HUB_DISABLE_XET=1")
    if token_file is not None:
        lines.append("  export HF_TOKEN=...   # one of the tokens")
    return [*lines, "stop with Ctrl-C or SIGTERM"]


def check_exposure(host: str, token_file: Path | None, options: Options) -> None:
    """Refuse to let a network in without tokens."""
    if token_file is None and not _is_loopback(host):
        raise InputError(
            f"--host {host!r} is reached by other machines, so a token file is needed: ecg-hub serve --token-file F "
            "--new-token NAME makes one."
        )
    if token_file is None and options.public_url:
        raise InputError("--public-url lets others in, so a token file is needed: --token-file F.")


class _StandardError(logging.Handler):
    """Writes to what standard error is now: a stream of then may be closed."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


@contextlib.contextmanager
def log_to_standard_error() -> Iterator[None]:
    """Write the server's log and one line for each request to standard error; neither ever holds a token."""
    handler = _StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = {"ecg_hub.hub": logging.INFO, "uvicorn": logging.WARNING}
    before = {name: (logger := logging.getLogger(name), logger.level, logger.propagate) for name in loggers}
    for name, level in loggers.items():
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        # Whoever serves from a program of their own finds their log as it was.
        for logger, level, propagate in before.values():
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@dataclass
class BackgroundHub:
    """A hub that serves from a thread of this process: for tests and notebooks.

    Attributes:
        url: its address.
    """

    url: str
    _server: uvicorn.Server = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def stop(self) -> None:
        """Finish the requests under way and stop."""
        self._server.should_exit = True
        self._thread.join()


@contextlib.contextmanager
def in_background(root: Path, options: Options, token_file: Path | None = None) -> Iterator[BackgroundHub]:
    """Serve on a free port of 127.0.0.1 while the block runs."""
    with open_hub(root, options, token_file) as hub, _listen(Address(port=0)) as listener:
        server = make_server(hub, "127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="ecg-hub", daemon=True)
        thread.start()
        running = BackgroundHub(f"http://127.0.0.1:{listener.getsockname()[1]}", server, thread)
        try:
            yield running
        finally:
            running.stop()


def _tokens(path: Path | None) -> TokenFile | None:
    if path is None:
        return None
    from ecg_hub.server.auth import TokenFile

    return TokenFile(path)


def prepare(root: Path) -> None:
    """Make the folder of a hub, or see that it is one of this format."""
    marker = root / "FORMAT"
    try:
        # Private repositories lie there as plain files.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not marker.exists():
            if any(entry.name not in ("lock", "FORMAT.new") for entry in root.iterdir()):
                raise InputError(f"--root {str(root)!r} is neither empty nor the folder of a hub; give another folder.")
            with replacing(marker, root / "FORMAT.new") as new:
                new.write_text(FORMAT)
        version = marker.read_text()
    except OSError as error:
        raise InputError(f"--root {str(root)!r} cannot be used: {error.strerror or error}.") from error
    if version != FORMAT:
        raise DataError(f"{str(root)!r} has the format {version.strip()!r}; this version reads {FORMAT.strip()!r}.")


def alone(root: Path) -> contextlib.AbstractContextManager[Any]:
    """Keep other processes from the folder of a hub."""
    busy = InputError(f"Another process serves {str(root)!r} already; stop it, or give another --root.")
    return take_lock(root / "lock", busy)


def _key(root: Path) -> bytes:
    path = root / "key"
    if not path.exists():
        scratch = root / f"key.{secrets.token_hex(8)}"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        # Whole or absent: with half a key, upload addresses would stop being valid at the next start.
        os.replace(scratch, path)
    return path.read_bytes()


def _listen(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, socket_address = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        # With the protocol named, asyncio switches Nagle's algorithm off; without, each answer waits 40 ms.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(socket_address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise InputError(f"Cannot listen on {address.host}:{address.port}: {error.strerror or error}.") from error
    return listener


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
