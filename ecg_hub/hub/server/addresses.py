"""What an address of the hub means. Paths are split before %2F is decoded, since a revision may hold slashes."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from ecg_hub.hub.server.naming import KINDS, VERBS
from ecg_hub.hub.server.refusals import bad_request

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


def parse(raw_path: str) -> Address:
    """Read a path as it was sent, still percent-encoded.

    Raises:
        RequestError: 400; not UTF-8, or a NUL in it.
    """
    try:
        parts = [unquote(part, errors="strict") for part in raw_path.split("/")]
    except UnicodeDecodeError:
        raise bad_request("The path is not UTF-8.") from None
    if any("\x00" in part for part in parts):
        raise bad_request("The path holds a NUL.")
    while parts and not parts[-1]:
        parts.pop()
    while parts and not parts[0]:
        parts.pop(0)
    if parts[:1] == ["api"]:
        if len(parts) > 1 and parts[1] in KINDS:
            return _api(parts[1], parts[2:])
        return Address("site", tail=tuple(parts))
    if not parts or parts[0] in ("lfs", "static", "healthz"):
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
    if len(parts) == 1 or parts[1] in VERBS:
        return parts[0], parts[1:]
    return f"{parts[0]}/{parts[1]}", parts[2:]
