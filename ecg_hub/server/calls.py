"""One request on its way to its answer: the hub, the caller, and what they ask for."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from ecg_hub.server.auth import Caller, Signer, TokenFile, gated, token_needed
from ecg_hub.server.discussions import Discussions
from ecg_hub.server.history import Commit, History
from ecg_hub.server.info import Catalog
from ecg_hub.server.metrics import Metrics
from ecg_hub.server.naming import Address, RequestError, repo_not_found, revision_and_rest
from ecg_hub.server.pages import Boards, PageCommand
from ecg_hub.server.repos import Repo, RepoStore, State, split_id
from ecg_hub.server.storage import BlobStore, Disk
from ecg_hub.server.trees import TreeStore

GB = 10**9
Shows = Literal["files", "names"]


@dataclass(frozen=True)
class Options:
    """How a hub behaves.

    Attributes:
        namespace: of repositories whose id comes without one.
        open_read: whether public repositories are read without a token.
        public_url: address that clients use, if a proxy stands in front; else it follows from each request.
        max_file: largest file in bytes.
        min_free: bytes that uploads leave free on the disk.
        page_command: makes the page of a repository of results; None shows no such pages.
        docs: folder of the built documentation site, shown at /docs/; None shows none.
        timeout: seconds in which a client must get on with what it sends or takes.
        max_connections: from then on, requests are answered 503.
        max_per_address: from then on, connections of one address are answered 503; loopback has no such limit.
    """

    namespace: str = "local"
    open_read: bool = False
    public_url: str | None = None
    max_file: int = 50 * GB
    min_free: int = 1 * GB
    page_command: PageCommand | None = None
    docs: Path | None = None
    timeout: float = 20.0
    max_connections: int = 500
    max_per_address: int = 100


class Hub:
    """Everything that the routes work on."""

    def __init__(self, root: Path, options: Options, tokens: TokenFile | None, key: bytes) -> None:
        self.options = options
        self.tokens = tokens
        self.disk = Disk(root, options.min_free)
        self.blobs = BlobStore(self.disk, options.max_file)
        self.repos = RepoStore(self.disk)
        self.history = History(self.disk, TreeStore(self.disk))
        self.discussions = Discussions(self.disk, self.history, self.blobs)
        self.catalog = Catalog(self.repos, self.history, self.blobs)
        self.boards = Boards(self.disk, self.history.trees, self.blobs, options.page_command)
        self.signer = Signer(key)
        self.metrics = Metrics()


@dataclass
class Call:
    """One request.

    Attributes:
        hub: the hub.
        request: as it came.
        address: its path.
        caller: who asks.
        shows: what of a repository the route shows to everybody who sees it; see `Route`.
        body: JSON object of the request, if the route takes one.
    """

    hub: Hub
    request: Request
    address: Address
    caller: Caller
    shows: Shows = "files"
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Address of the hub as the client sees it, without a slash at the end."""
        # Addresses in answers are for the client; behind a proxy, what arrives here names another host and scheme.
        if self.hub.options.public_url:
            return self.hub.options.public_url.rstrip("/")
        return f"{self.request.url.scheme}://{self.request.headers.get('host', 'localhost')}"

    @property
    def author(self) -> str:
        """Name under which the caller commits."""
        return self.caller.name or "anonymous"

    def repo(self) -> Repo:
        """Return the repository that the address names."""
        repo_id = split_id(self.address.repo, self.hub.options.namespace)
        repo = self.hub.repos.get(self.address.kind, repo_id)
        # Not 403: whoever may not see it is not told that it exists.
        if not self.caller.sees(repo.state()):
            raise repo_not_found(repo_id)
        if self.shows == "files":
            self.require_files(repo)
        return repo

    def require_files(self, repo: Repo) -> None:
        """Refuse callers who may not read the files of a repository."""
        if not self.caller.reads(repo.state()):
            raise gated(repo.id)

    def revision(self) -> tuple[str, str]:
        """Return the revision in the address and the path after it."""
        return revision_and_rest(self.address.tail)

    def commit(self) -> tuple[Repo, State, Commit, str]:
        """Return repository, state, commit and the path after the revision."""
        repo = self.repo()
        state = repo.state()
        revision, rest = self.revision()
        return repo, state, self.hub.history.read(repo, repo.resolve(revision, state)), rest

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is set to true or 1."""
        return self.request.query_params.get(name, "").lower() in ("true", "1")

    def require_read(self) -> None:
        """Refuse callers without a token on a hub that asks for one."""
        if not self.caller.authenticated and not self.hub.options.open_read:
            raise token_needed("read from this hub")

    def require_write(self) -> None:
        """Refuse callers who may only read."""
        if not self.caller.authenticated:
            raise token_needed("change anything on this hub")
        if not self.caller.write:
            raise RequestError(403, f"The token of {self.caller.name!r} may only read")


@dataclass(frozen=True)
class Route:
    """Who answers a request.

    Attributes:
        answer: runs in a thread, or on the event loop if it is a coroutine function.
        write: whether the caller must be allowed to change things; None asks for nothing, not even to read.
        shows: "files" refuses a gated repository to callers without a token; "names" shows its file names, history
            and card metadata, and asks `Caller.reads` before it shows more.
        body: what is read before `answer` runs.
    """

    answer: Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]
    write: bool | None = False
    shows: Shows = "files"
    body: Literal["none", "json"] = "none"


def answer_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    # A client's JSON may hold half of a surrogate pair, which UTF-8 cannot write.
    content = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(content, status, dict(headers or {}), media_type="application/json")
