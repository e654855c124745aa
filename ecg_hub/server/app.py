"""From a request to an answer: who asks, what for, who answers, and one line in the access log."""

from __future__ import annotations

import asyncio
import errno
import html
import inspect
import json
import logging
import re
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ecg_hub.server import routes_discussions, routes_files, routes_hub, routes_repos, routes_site, routes_upload
from ecg_hub.server.auth import ANYBODY, LOCAL, Caller, bearer, invalid_credentials
from ecg_hub.server.calls import Call, Hub, Route, answer_json
from ecg_hub.server.naming import Address, RequestError, bad_request, parse, too_large
from ecg_hub.server.pages import page
from ecg_hub.server.repos import split_id

MAX_JSON = 8 << 20  # bytes of a request's JSON object
DRAIN_BYTES, DRAIN_SECONDS = 64 << 20, 3.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READS = ("GET", "HEAD")
# No user in front, nothing behind, and of IPv6 the form in brackets.
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_access = logging.getLogger("ecg_hub.hub.access")
_log = logging.getLogger(__name__)

# (area, method, verb); HEAD is answered as GET.
ROUTES: dict[tuple[str, str, str], Route] = {
    **routes_repos.ROUTES,
    **routes_files.ROUTES,
    **routes_upload.ROUTES,
    **routes_discussions.ROUTES,
    **routes_site.ROUTES,
    **routes_hub.ROUTES,
}


class HubApp:
    """The ASGI application."""

    def __init__(self, hub: Hub, host: str) -> None:
        self.hub = hub
        self._hosts = _LOOPBACK | {host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        started, seen = time.monotonic(), _Seen(send)
        received = _Received(receive)
        self.hub.metrics.begin()
        request = Request(scope, received)
        try:
            response = await self._answer(request, received, seen)
            await response(scope, received, seen)
        except ClientDisconnect:
            # nginx's number for a client that went away; an answer under way keeps the status it began with.
            seen.status = seen.status or 499
        finally:
            # Without the query, which may carry the signature of an upload address.
            raw = scope.get("raw_path", b"").decode("ascii", "replace")
            seconds = time.monotonic() - started
            self.hub.metrics.end(seen.method, seen.route, seen.status or 500, seconds, seen.size)
            _access.info(
                "%s %s %s %s %d %d %.0f ms",
                scope["client"][0] if scope.get("client") else "-",
                seen.user,
                scope["method"],
                raw,
                seen.status or 500,
                seen.size,
                1000 * seconds,
            )

    async def _answer(self, request: Request, received: _Received, seen: _Seen) -> Response:
        try:
            return await self._route(request, seen)
        except RequestError as error:
            refusal = error
        except OSError as error:
            if error.errno not in _FULL:
                _log.exception("request failed")
            refusal = _file_system(error)
        except ClientDisconnect:
            raise
        except Exception:
            _log.exception("request failed")
            refusal = RequestError(500, "The hub failed; its log says why.")
        await received.drain()
        return _refuse(request, refusal)

    async def _route(self, request: Request, seen: _Seen) -> Response:
        raw = request.scope.get("raw_path", b"/").decode("ascii", "replace")
        address = parse(raw, docs=self.hub.options.docs is not None)
        # In a thread: the token file may have to be read again.
        caller = await run_in_threadpool(self._caller, request)
        seen.user = caller.name or "-"
        self._check_origin(request)
        key, route = _find(request.method, address)
        seen.method, seen.route = key[1], f"{key[0]}/{key[2]}".rstrip("/")
        call = Call(self.hub, request, address, caller, route.shows)
        if route.write is not None:
            call.require_write() if route.write else call.require_read()
        if route.body == "json":
            call.body = await _read_object(request)
        try:
            if inspect.iscoroutinefunction(route.answer):
                response: Response = await route.answer(call)
            else:
                response = await run_in_threadpool(route.answer, call)  # type: ignore[arg-type]
        except FileNotFoundError:
            # Another request may have deleted the repository meanwhile; this one then says that it is not there.
            if address.repo is not None:
                self.hub.repos.get(address.kind, split_id(address.repo, self.hub.options.namespace))
            raise
        return response

    def _caller(self, request: Request) -> Caller:
        if self.hub.tokens is None:
            return LOCAL
        token = bearer(request.headers.get("authorization"), basic=request.method in _READS)
        if token is None:
            return ANYBODY
        caller = self.hub.tokens.find(token)
        if caller is None:
            raise invalid_credentials()
        return caller

    def _check_origin(self, request: Request) -> None:
        """Refuse what a page of another site makes a browser send."""
        # Addresses in answers are made of it, and whoever reads a form in two ways can be misled.
        hosts = request.headers.getlist("host")
        host = hosts[0] if hosts else ""
        form = _HOST.match(host)
        if len(hosts) > 1 or (hosts and form is None) or (form and int(form["port"] or 0) > 65535):
            raise bad_request(f"The header Host is NAME or NAME:PORT, not {', '.join(hosts)[:100]!r}.")
        # A name of another site that points to 127.0.0.1 (DNS rebinding) would let its pages read a hub without
        # tokens.
        name = form["name"].strip("[]").lower() if form else ""
        if self.hub.tokens is None and name not in self._hosts:
            raise RequestError(403, f"This hub does not answer to the name {host[:100]!r}.")
        if request.method in _READS:
            return
        # Browsers say on whose behalf they send; huggingface_hub and curl send neither header.
        origin = request.headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise RequestError(403, "Pages of other sites may not change anything here.")


class _Received:
    """Passes a request on and remembers whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._done = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._done = message["type"] != "http.request" or not message.get("more_body")
        return message

    async def drain(self) -> None:
        """Read the rest of a refused request, up to a limit: a client that still sends would not read the answer."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._done and size < DRAIN_BYTES:
                    size += len((await self()).get("body", b""))


class _Seen:
    """Passes an answer on and remembers status and size for the log."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.size = 0
        self.user = "-"
        # For the metrics: those of a request that no route takes are counted together.
        self.method, self.route = "-", "none"

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # What somebody uploaded is never taken for HTML or a script by its content.
            message = {**message, "headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _find(method: str, address: Address) -> tuple[tuple[str, str, str], Route]:
    asked = "GET" if method == "HEAD" else method
    verb = "/".join(address.tail) if address.area == "site" else address.verb
    if address.area == "site" and address.tail[:1] == ("docs",):
        verb = "docs"
    if address.area == "site" and address.tail[:1] == ("lfs",):
        verb = "lfs/verify" if address.tail[2:] == ("verify",) else "lfs"
    if address.area != "site" and address.repo is None:
        verb = "list"
    key = address.area, asked, verb
    route = ROUTES.get(key)
    if route is None:
        others = sorted(offered for area, offered, name in ROUTES if (area, name) == (address.area, verb))
        if others:
            raise RequestError(405, f"{method} is not offered here.", headers={"Allow": ", ".join(others)})
        raise RequestError(404, "This hub does not offer that address.")
    return key, route


async def _read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object (or form, where a client sends one) of a request."""
    if int(request.headers.get("content-length") or 0) > MAX_JSON:
        raise too_large(f"The request is over the limit of {MAX_JSON:,} bytes.")
    # Content-Length may be missing or false, so what arrives is counted as well.
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_JSON:
            raise too_large(f"The request is over the limit of {MAX_JSON:,} bytes.")
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        try:
            return dict(parse_qs(content.decode(), keep_blank_values=True, errors="strict"))
        except (UnicodeDecodeError, ValueError):
            raise bad_request("The form cannot be read.") from None
    try:
        value = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise bad_request("The request is not JSON.") from None
    if not isinstance(value, dict):
        raise bad_request("The request is not a JSON object.")
    return value


def _refuse(request: Request, error: RequestError) -> Response:
    headers = error.all_headers()
    # Browsers get a page, programs JSON; huggingface_hub shows `error` and X-Error-Message.
    if request.method in _READS and "text/html" in request.headers.get("accept", ""):
        return page(
            f"{error.status}", f"<h1>{error.status}</h1><p>{html.escape(error.message)}</p>", error.status, headers
        )
    return answer_json({"error": error.message}, error.status, headers)


def _file_system(error: OSError) -> RequestError:
    if error.errno in _FULL:
        return RequestError(507, "The hub's disk is full. Ask its administrator to make room, then upload again.")
    return RequestError(500, "The hub cannot read or write its folder; its log says why.")
