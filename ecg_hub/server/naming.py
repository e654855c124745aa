"""Names and addresses of the hub: what is allowed, what an address means, and how a refusal is answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ecg_hub.utils import repo_names
from ecg_hub.utils.repo_names import VERBS


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        message: one sentence for the person at the client; never holds a token.
        code: value of `X-Error-Code`, by which huggingface_hub chooses its exception.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def all_headers(self) -> dict[str, str]:
        """Return the headers of the answer; the message is cut to what a header can carry."""
        # A header is one line of ASCII, and a message may quote any path that a client sent.
        plain = "".join(letter if " " <= letter <= "~" else "?" for letter in self.message)[:1000]
        headers = {"X-Error-Message": plain, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return headers


def repo_not_found(repo: str) -> RequestError:
    """Build the refusal for a repository that does not exist, or that the caller may not know of."""
    return RequestError(404, f"There is no repository {repo!r} here.", "RepoNotFound")


def revision_not_found(repo: str, revision: str) -> RequestError:
    """Build the refusal for a branch, tag or commit that does not exist."""
    return RequestError(404, f"{repo!r} has no revision {revision!r}.", "RevisionNotFound")


def entry_not_found(repo: str, path: str, commit: str) -> RequestError:
    """Build the refusal for a file that a commit does not hold; the client keeps the absence under that commit."""
    message = f"{repo!r} holds no {path!r} at {commit[:12]}."
    return RequestError(404, message, "EntryNotFound", {"X-Repo-Commit": commit})


def bad_request(message: str) -> RequestError:
    """Build the refusal for a malformed request."""
    return RequestError(400, message)


def too_large(message: str) -> RequestError:
    """Build the refusal for something over a limit."""
    return RequestError(413, message)


KINDS = ("models", "datasets", "spaces")
MAX_SIZE = 1 << 63  # bytes: what file systems count to
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def check_name(name: object, what: str = "repository") -> str:
    """Return the name of a repository or namespace; see `repo_names.check_name`."""
    try:
        return repo_names.check_name(name, what)
    except ValueError as error:
        raise bad_request(str(error)) from None


def check_path(path: object) -> str:
    """Return a file's path inside a repository; see `repo_names.check_path`."""
    try:
        return repo_names.check_path(path)
    except ValueError as error:
        raise bad_request(str(error)) from None


def check_ref(name: object, what: str) -> str:
    """Return the name of a branch or tag; see `repo_names.check_ref`."""
    try:
        return repo_names.check_ref(name, what)
    except ValueError as error:
        raise bad_request(str(error)) from None


def is_commit(text: str) -> bool:
    """Return whether a revision has the form of a full commit id."""
    return _COMMIT.match(text) is not None


def check_sha256(text: object) -> str:
    """Return a SHA-256 as 64 lower-case hexadecimal digits."""
    if not isinstance(text, str) or not _SHA256.match(text):
        raise bad_request(f"{str(text)[:100]!r} is not a SHA-256 of 64 lower-case hexadecimal digits.")
    return text


def check_size(value: object) -> int:
    """Return a size in bytes."""
    # Thousands of digits are no size either, and a sum of them cannot be written.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_SIZE:
        raise bad_request(f"A size is a whole number of bytes, not {str(value)[:100]!r}.")
    return value


def check_kind(kind: object) -> str:
    """Return the plural kind ("models") of a repository type ("model", None)."""
    plural = f"{kind or 'model'}s"
    if plural not in KINDS:
        raise RequestError(400, f"This hub keeps models, datasets and spaces, not repositories of type {kind!r}.")
    return plural


LFS_BATCH = ("info", "lfs", "objects", "batch")


@dataclass(frozen=True)
class Address:
    """A parsed path.

    Attributes:
        area: "api" or "web" for what concerns a kind of repository, "site" for everything else.
        kind: "models", "datasets" or "spaces"; empty in the area "site".
        repo: id as given, with or without namespace; None for a list of repositories.
        verb: what is asked of it; empty is the repository itself.
        tail: what follows the verb; in the area "site" the whole path.
    """

    area: str
    kind: str = ""
    repo: str | None = None
    verb: str = ""
    tail: tuple[str, ...] = ()


def parse(raw_path: str, docs: bool = False) -> Address:
    """Read a path as it was sent, still percent-encoded; `docs` says whether the hub shows a documentation site."""
    try:
        # Split before it is decoded: in `refs%2Fpr%2F1` the slashes belong to the revision.
        parts = [unquote(part, errors="strict") for part in raw_path.split("/")]
    except UnicodeDecodeError:
        raise bad_request("The path is not UTF-8.") from None
    if any("\x00" in part for part in parts):
        raise bad_request("The path holds a NUL.")
    # Some clients end an address with a slash.
    while parts and not parts[-1]:
        parts.pop()
    while parts and not parts[0]:
        parts.pop(0)
    if parts[:1] == ["api"]:
        if len(parts) > 1 and parts[1] in KINDS:
            return _api(parts[1], parts[2:])
        return Address("site", tail=tuple(parts))
    # Only then: a hub made by an earlier version may hold repositories of a namespace docs or metrics.
    site = not parts or parts[0] in ("lfs", "static", "healthz") or parts == ["metrics"]
    if site or (docs and parts[0] == "docs"):
        return Address("site", tail=tuple(parts))
    kind = parts.pop(0) if parts[0] in KINDS else "models"
    return _web(kind, parts)


def revision_and_rest(tail: tuple[str, ...]) -> tuple[str, str]:
    """Return the revision at the beginning of a tail, and the path after it; `refs/pr/1` may come undecoded or not."""
    size = 3 if tail[:1] == ("refs",) else 1
    return "/".join(tail[:size]) or "main", "/".join(tail[size:])


def encode(path: str) -> str:
    """Return a path percent-encoded, slashes kept."""
    return quote(path, safe="/")


def _api(kind: str, parts: list[str]) -> Address:
    repo, rest = _split(parts)
    return Address("api", kind, repo, rest[0] if rest else "", tuple(rest[1:]))


def _web(kind: str, parts: list[str]) -> Address:
    for count in (1, 2):
        if tuple(parts[count:]) == LFS_BATCH and parts[count - 1].endswith(".git"):
            return Address("web", kind, "/".join(parts[:count]).removesuffix(".git"), "lfs-batch")
    repo, rest = _split(parts)
    return Address("web", kind, repo, rest[0] if rest else "", tuple(rest[1:]))


def _split(parts: list[str]) -> tuple[str | None, list[str]]:
    if not parts:
        return None, []
    # Verbs cannot name a repository, so that ids of one part and of two can be distinguished.
    if len(parts) == 1 or parts[1] in VERBS:
        return parts[0], parts[1:]
    return f"{parts[0]}/{parts[1]}", parts[2:]
