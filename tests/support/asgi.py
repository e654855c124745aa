"""Requests to an ASGI application without a socket: a walk over all routes makes thousands."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message

# One for all requests: a loop of its own for each would start its threads each time.
RUNNER = asyncio.Runner()


@dataclass(frozen=True)
class Answer:
    """What came back; the text is that of a text, or its bytes one by one."""

    status: int
    headers: dict[str, str]
    text: str


def ask(app: ASGIApp, method: str, path: str, body: Any = None, host: str = "127.0.0.1", **headers: str) -> Answer:
    """Send one request; a body is sent as it is, or as JSON."""
    address = urlsplit(f"/{path}")
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(address.path),
        "raw_path": address.path.encode(),
        "query_string": address.query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    messages: list[Message] = []

    waiting = [content]

    async def receive() -> Message:
        if not waiting:
            # The client stays; what is told next is that it has gone.
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(), "more_body": False}

    async def send(message: Message) -> None:
        messages.append(dict(message))

    RUNNER.run(app(scope, receive, send))
    start = messages[0]
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in messages[1:]).decode("utf-8", "replace"),
    )
