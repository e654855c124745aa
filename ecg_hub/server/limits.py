"""HTTP connections with bounds: on the bytes of a head, on how long a client may take, on what it may send ahead.

uvicorn itself reads heads of any size and waits for ever for the next byte; what is sent here needs no token yet.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD = 64 << 10  # bytes of a request's first line and headers, also of trailers behind a body
MAX_AHEAD = 16  # requests that wait on one connection for the answer to an earlier one
PROXY = frozenset({"127.0.0.1", "::1"})
MIN_RATE = 1000  # bytes a second: slower bodies hold a connection, and a thread that waits for them, for days


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Every `timeout` seconds it must have got on since the last look: a head came to its end, enough of a body arrived,
    or some of the answer left. While the hub itself works on an answer, a client may wait.

    Attributes:
        timeout: seconds.
        most: connections that one address may hold.
        open: how many each address holds; shared by all connections of a hub.
    """

    timeout = 20.0
    most = 100
    open: ClassVar[Counter[str]] = Counter()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pending = 0  # bytes since the last piece of a body or the last end of a request
        self._heads = self._body = self._resumed = 0
        self._last = (0, 0, 0)
        self._was_paused = self._too_large = False
        self._address: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, and look at it from now on."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self.open[self._address] += 1
        # A proxy on this machine connects for everybody, and has a limit of its own.
        if self.open[self._address] > self.most and self._address not in PROXY:
            self._refuse(503, f"One address may hold {self.most} connections; close some, or ask the administrator.\n")
        self._timer = self.loop.call_later(self.timeout, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        if self._address is not None:
            self.open[self._address] -= 1
            if not self.open[self._address]:
                del self.open[self._address]
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; at most 256 KiB come at once, so that a head over the limit is never read to its end."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_HEAD and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the head is too long or too many requests wait."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD or len(self.pipeline) >= MAX_AHEAD:
            self._too_large = True
            # The parser passes it on as an error of its own, and the base class answers that.
            raise ValueError("over the limits")
        self._heads += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._pending, self._body = 0, self._body + len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._pending = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request; close if this one is still arriving, which would be read for nothing."""
        unread = self.cycle.more_body and not self.pipeline
        super().on_response_complete()
        if unread:
            self.transport.close()

    def resume_writing(self) -> None:
        """Note that a client took some of the answer."""
        self._resumed += 1
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it, and close."""
        if not self._too_large:
            super().send_400_response(msg)
            return
        self._refuse(431, f"A request's head may have {MAX_HEAD:,} bytes, and {MAX_AHEAD} requests may wait.\n")

    def _refuse(self, status: int, text: str) -> None:
        """Answer without having read the request, and close."""
        head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
        self.transport.write(STATUS_LINE[status] + head + text.encode())
        self.transport.close()

    def _look(self) -> None:
        if self.transport.is_closing():
            # What was to be sent is never taken: nothing else ends that.
            self.transport.abort()
            return
        now, paused = (self._heads, self._body, self._resumed), self.flow.write_paused
        # A request whose head ended since the last look had no time yet for anything else.
        if now[0] == self._last[0] and self._stalls(paused):
            self.transport.abort()
            return
        self._last, self._was_paused = now, paused
        self._timer = self.loop.call_later(self.timeout, self._look)

    def _stalls(self, paused: bool) -> bool:
        """Whether the client is what is waited for, and did too little since the last look."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        if paused:
            return self._was_paused and self._resumed == self._last[2]
        # What lies here unread waits for the hub, and so does a client that was not told yet to send its body.
        awaited = cycle.more_body and not cycle.body and not cycle.waiting_for_100_continue
        return awaited and self._body - self._last[1] < MIN_RATE * self.timeout
