"""Which names are allowed: repositories, files, branches and tags."""

from __future__ import annotations

import re

from ecg_hub.hub.server.refusals import RequestError, bad_request

KINDS = ("models", "datasets", "spaces")
# What may follow a repository's id in an address: such a word cannot name a repository.
VERBS = frozenset(
    {
        *("auth-check", "blob", "branch", "commit", "commits", "discussions", "leaderboard", "lfs-files", "paths-info"),
        *("preupload", "raw", "refs", "resolve", "revision", "settings", "super-squash", "tag", "tree", "view"),
        *("xet-read-token", "xet-write-token"),
    }
)
RESERVED = frozenset({"api", "datasets", "healthz", "lfs", "models", "repos", "spaces", "static"})
MAX_PATH, MAX_SEGMENT, MAX_DEPTH = 1024, 255, 32

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\Z")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_name(name: object, what: str = "repository") -> str:
    """Return the name of a repository or namespace.

    Raises:
        RequestError: 400; not 1 to 96 of A-Z a-z 0-9 _ . -, or a word that addresses use.
    """
    text = str(name)
    if not _NAME.match(text) or "--" in text or ".." in text or text.lower().endswith(".git"):
        raise bad_request(
            f"{text[:100]!r} cannot name a {what}: use 1 to 96 letters, digits, '_', '-' and '.', no '--' or '..', no "
            "'-' or '.' at either end, not ending in '.git'."
        )
    if text.lower() in RESERVED | VERBS:
        raise bad_request(f"{text!r} cannot name a {what}: addresses of this hub use the word.")
    return text


def check_path(path: object) -> str:
    """Return a file's path inside a repository: relative, '/' between folders.

    Raises:
        RequestError: 400; empty, absolute, with '..', '.', an empty part, a backslash, a control character, a part
            named .git, or too long.
    """
    text = path if isinstance(path, str) else ""
    parts = text.split("/")
    problem = None
    if not text:
        problem = "it is empty"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "it has an empty part, '.' or '..'"
    elif "\\" in text or _CONTROL.search(text):
        problem = "it has a backslash or a control character"
    elif any(part.lower() == ".git" for part in parts):
        problem = "a part of it is named .git"
    elif any(part != part.strip() for part in parts):
        problem = "a part of it begins or ends with a space"
    elif not _encodable(text):
        problem = "it is not valid Unicode"
    elif len(text.encode()) > MAX_PATH or len(parts) > MAX_DEPTH:
        problem = f"it is longer than {MAX_PATH} bytes or deeper than {MAX_DEPTH} folders"
    elif any(len(part.encode()) > MAX_SEGMENT for part in parts):
        problem = f"a part of it is longer than {MAX_SEGMENT} bytes"
    if problem:
        raise bad_request(f"{text[:200]!r} cannot be a path in a repository: {problem}.")
    return text


def check_ref(name: object, what: str) -> str:
    """Return the name of a branch or tag.

    Raises:
        RequestError: 400; unusual letters, '..', '//', a trailing '/', '.' or '.lock', or looks like a commit.
    """
    text = str(name)
    clean = _REF.match(text) and ".." not in text and "//" not in text and not text.endswith(("/", ".", ".lock"))
    if not clean or text.startswith("refs/") or _COMMIT.match(text):
        raise bad_request(
            f"{text[:200]!r} cannot name a {what}: use letters, digits, '_', '.', '+', '-' and '/' between them, not "
            "'refs/...' and not 40 hexadecimal digits."
        )
    return text


def is_commit(text: str) -> bool:
    """Return whether a revision has the form of a full commit id."""
    return _COMMIT.match(text) is not None


def check_sha256(text: object) -> str:
    """Return a SHA-256 as 64 lower-case hexadecimal digits.

    Raises:
        RequestError: 400.
    """
    if not isinstance(text, str) or not _SHA256.match(text):
        raise bad_request(f"{str(text)[:100]!r} is not a SHA-256 of 64 lower-case hexadecimal digits.")
    return text


def check_size(value: object) -> int:
    """Return a size in bytes.

    Raises:
        RequestError: 400; not a whole number from 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_request(f"A size is a whole number of bytes, not {value!r}.")
    return value


def check_kind(kind: object) -> str:
    """Return the plural kind ("models") of a repository type ("model", None).

    Raises:
        RequestError: 400.
    """
    plural = f"{kind or 'model'}s"
    if plural not in KINDS:
        raise RequestError(400, f"This hub keeps models, datasets and spaces, not repositories of type {kind!r}.")
    return plural


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
