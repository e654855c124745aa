"""What a client without a token can hold: heads, silence, slow bodies, answers that nobody takes, many connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecg_hub.server.calls import Options
from ecg_hub.server.limits import MAX_AHEAD, MAX_HEAD
from ecg_hub.server.serve import BackgroundHub, in_background
from tests.support.hub import MB, Impatient, write_tokens

TIMEOUT, HEALTH = 0.3, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def _served(folder: Path, **options: float) -> Iterator[BackgroundHub]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.server.asyncio", Impatient())
        tokens = write_tokens(folder / "tokens")
        with in_background(folder / "hub", Options(min_free=MB, open_read=True, **options), tokens) as running:  # type: ignore[arg-type]
            yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundHub]:
    with _served(tmp_path_factory.mktemp("limits"), timeout=TIMEOUT) as running:
        yield running


def _connect(server: BackgroundHub, **options: int) -> socket.socket:
    place = urlsplit(server.url)
    connection = socket.socket()
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.settimeout(20)
    connection.connect((place.hostname, place.port))
    return connection


def _rest(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


def _others_are_answered(server: BackgroundHub) -> None:
    """Within the patience of the connection; how soon is measured by benchmarks/hub_load.py."""
    with closing(_connect(server)) as connection:
        connection.sendall(HEALTH)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def _flood(connection: socket.socket, piece: bytes, size: int) -> int:
    sent = 0
    try:
        while sent < size:
            connection.sendall(piece)
            sent += len(piece)
    except ConnectionError:
        pass
    return sent


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: " + b"b" * 997 + b"\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\na: ", b"b" * 1000),
        (b"GET /", b"b" * 1000),
        (b"", b"\r\n" * 500),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: " + b"b" * 997 + b"\r\n"),
    ],
    ids=["many headers", "one header", "address", "empty lines", "trailers"],
)
def test_forty_megabytes_of_headers_are_refused_while_others_are_answered(
    server: BackgroundHub, begin: bytes, piece: bytes
) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(begin)
        sent: list[int] = []
        flood = threading.Thread(target=lambda: sent.append(_flood(connection, piece * 100, 40 * MB)))
        flood.start()
        for _ in range(5):
            _others_are_answered(server)
        flood.join()
        answer = _rest(connection)
    # What is under way in the buffers of both ends, and no more.
    assert sent[0] < 20 * MB
    assert not answer or answer.split(b" ")[1] in (b"431", b"401")


def test_a_head_of_its_limit_is_read_and_one_over_it_is_told(server: BackgroundHub) -> None:
    for size, status in ((MAX_HEAD - 1000, b"200"), (MAX_HEAD + 10, b"431")):
        with closing(_connect(server)) as connection:
            connection.sendall(
                b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\na: %b\r\n\r\n" % (b"b" * size)
            )
            answer = _rest(connection)
        assert answer.split(b" ")[1] == status
    assert b"65,536 bytes" in answer


def test_requests_sent_ahead_are_bounded(server: BackgroundHub) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(HEALTH * (MAX_AHEAD * 5))
        assert b"HTTP/1.1 431" in _rest(connection)


def test_slow_and_silent_clients_are_closed_and_others_answered(server: BackgroundHub) -> None:
    heads = [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\na:", b"\r\n"]
    heads.append(b"POST /api/validate-yaml HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{")
    connections = [_connect(server) for _ in range(15) for _ in heads]
    for number, connection in enumerate(connections):
        connection.sendall(heads[number % len(heads)])
    begin = time.monotonic()
    gone: set[int] = set()
    # A byte now and then, as a slow-loris does it.
    while len(gone) < len(connections) and time.monotonic() - begin < 15:
        _others_are_answered(server)
        for number, connection in enumerate(connections):
            try:
                if number not in gone and heads[number % len(heads)]:
                    connection.send(b"\n" if heads[number % len(heads)] == b"\r\n" else b"a")
                connection.settimeout(0.001)
                if not connection.recv(1000):
                    gone.add(number)
            except TimeoutError:
                pass
            except ConnectionError:
                gone.add(number)
        time.sleep(0.05)
    assert len(gone) == len(connections)
    for connection in connections:
        connection.close()


def test_an_answer_that_nobody_takes_ends(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_bytes(b"x" * 30_000_000)
    with (
        _served(tmp_path, timeout=TIMEOUT, docs=site) as server,
        closing(_connect(server, SO_RCVBUF=4096)) as connection,
    ):  # type: ignore[arg-type]
        connection.sendall(b"GET /docs/ HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(2.5 * TIMEOUT)
        assert len(_rest(connection)) < 20_000_000


def test_a_slow_hub_and_a_slow_but_steady_client_are_waited_for(
    server: BackgroundHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecg_hub.server.storage.Disk.check_room", lambda disk, size: time.sleep(2.2 * TIMEOUT))
    with closing(_connect(server)) as connection:
        connection.sendall(HEALTH)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    body = b'{"content": "' + b"x" * 4800 + b'"}'
    head = b"POST /api/validate-yaml HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with closing(_connect(server)) as connection:
        connection.sendall(head)
        for start in range(0, len(body), 600):
            connection.sendall(body[start : start + 600])
            time.sleep(0.1)
        assert _rest(connection).startswith(b"HTTP/1.1 200")


def test_a_refused_request_is_not_read_for_ever(server: BackgroundHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecg_hub.server.app.DRAIN_SECONDS", 0.1)
    with closing(_connect(server)) as connection:
        connection.sendall(b"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
        assert _flood(connection, b"x" * 100_000, 400 * MB) < 300 * MB


def test_connections_over_the_limit_are_told_so(tmp_path: Path) -> None:
    with _served(tmp_path, max_connections=3) as server:
        held = [_connect(server) for _ in range(3)]
        with closing(_connect(server)) as connection:
            connection.sendall(HEALTH)
            assert connection.recv(100).startswith(b"HTTP/1.1 503")
        for one in held:
            one.close()
        time.sleep(0.1)
        _others_are_answered(server)


def test_one_address_holds_a_share_of_the_connections_and_a_proxy_of_this_machine_all(tmp_path: Path) -> None:
    with _served(tmp_path, max_per_address=3) as server:
        place = urlsplit(server.url)
        other = ("127.0.0.2", 0)  # loopback as well, but not where a proxy comes from

        def connect() -> socket.socket:
            return socket.create_connection((str(place.hostname), place.port or 0), 20, other)

        try:
            held = [connect() for _ in range(3)]
        except OSError:
            pytest.skip("this system has one loopback address")
        with closing(connect()) as connection:
            answer = _rest(connection)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"One address may hold 3" in answer
        proxied = [_connect(server) for _ in range(6)]
        _others_are_answered(server)
        for one in (*held, *proxied):
            one.close()
        begin = time.monotonic()
        # Given back: the next one from there is answered.
        while True:
            with closing(connect()) as connection:
                connection.sendall(HEALTH)
                if connection.recv(100).startswith(b"HTTP/1.1 200"):
                    break
            assert time.monotonic() - begin < 10
