"""A file host on 127.0.0.1 that misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40


@dataclass
class Host:
    """What the host has, how it behaves, and what it was asked for.

    Attributes:
        files: content by path.
        documents: JSON documents by path, without query.
        ranges: whether `Range` is honoured.
        etag: sent with every file; `If-Range` is compared with it.
        cuts: of each of the next answers with a file, after how many bytes the connection is closed.
        statuses: status and headers of the next answers, instead of what was asked for.
        surplus: bytes sent after the end of a file, without a Content-Length.
        requests: method, path and Range of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"1"'
    cuts: list[int] = field(default_factory=list)
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    surplus: bytes = b""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked(self, path: str) -> list[str | None]:
        """The Range of each GET of a path."""
        return [span for method, asked, span in self.requests if method == "GET" and asked.split("?")[0] == path]


class _Handler(BaseHTTPRequestHandler):
    host: Host

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        host, path = self.host, self.path.split("?")[0]
        host.requests.append((self.command, self.path, self.headers.get("Range")))
        if host.statuses:
            status, headers = host.statuses.pop(0)
            self._head(status, {"Content-Length": "0", **headers})
        elif path in host.documents:
            content = host.documents[path]
            self._send(content if isinstance(content, bytes) else json.dumps(content).encode(), "application/json")
        elif path in host.files:
            self._file(host.files[path], body)
        else:
            self._head(404, {"Content-Length": "0", "X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def _file(self, content: bytes, body: bool) -> None:
        host, start, status = self.host, 0, 200
        headers = {"X-Repo-Commit": COMMIT, "ETag": host.etag} if host.etag else {}
        span, expected = self.headers.get("Range"), self.headers.get("If-Range")
        if span and host.ranges and expected in (None, host.etag):
            start, status = int(span.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                self._head(416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if host.surplus:
            self.close_connection = True
        else:
            headers["Content-Length"] = str(len(content) - start)
        self._head(status, headers)
        if not body:
            return
        rest = content[start:] + host.surplus
        cut = host.cuts.pop(0) if host.cuts else len(rest)
        with suppress(ConnectionError):  # the client may have had enough
            self.wfile.write(rest[:cut])
        self.close_connection = self.close_connection or cut < len(rest)

    def _send(self, content: bytes, kind: str) -> None:
        self._head(200, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def running(host: Host) -> Iterator[Host]:
    """Run a host; its address is in `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": host}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def md5(content: bytes) -> str:
    """Checksum as figshare and Zenodo state it, without the algorithm's name."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
