"""What may name a repository, a file in it, a branch or a tag; for whoever writes to a hub, and for the hub itself."""

from __future__ import annotations

import re

from ecg_hub.utils.terminal import escaped

# What may follow a repository's id in an address: such a word cannot name a repository.
VERBS = frozenset(
    {
        *("auth-check", "blob", "branch", "commit", "commits", "discussions", "leaderboard", "lfs-files", "paths-info"),
        *("preupload", "raw", "refs", "resolve", "revision", "settings", "super-squash", "tag", "tree", "view"),
        *("xet-read-token", "xet-write-token"),
    }
)
RESERVED = frozenset({"api", "datasets", "docs", "healthz", "lfs", "metrics", "models", "repos", "spaces", "static"})
# 255 bytes are what common file systems take of one name.
MAX_PATH, MAX_SEGMENT, MAX_DEPTH = 1024, 255, 32

# At most 96 characters, as huggingface_hub's own check has it. \Z, since $ also matches before a last line break.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\Z")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_name(text: str) -> bool:
    """Return whether a text has the form of a name, reserved or not."""
    return bool(_NAME.match(text)) and "--" not in text and ".." not in text and not text.lower().endswith(".git")


def check_name(name: object, what: str = "repository") -> str:
    """Return the name of a repository or namespace."""
    text = str(name)
    if not is_name(text):
        raise ValueError(
            f"{text[:100]!r} cannot name a {what}: use 1 to 96 letters, digits, '_', '-' and '.', no '--' or '..', no "
            "'-' or '.' at either end, not ending in '.git'."
        )
    if text.lower() in RESERVED | VERBS:
        raise ValueError(f"{text!r} cannot name a {what}: addresses of this hub use the word.")
    return text


def check_path(path: object) -> str:
    """Return a file's path inside a repository: relative, '/' between folders."""
    text = path if isinstance(path, str) else ""
    parts = text.split("/")
    problem = None
    if not text:
        problem = "it is empty"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "it has an empty part, '.' or '..'"
    elif "\\" in text or _CONTROL.search(text):
        problem = "it has a backslash or a control character"
    # After the surrogates, which have a sentence of their own.
    elif _encodable(text) and escaped(text) != text:
        problem = "it has a mark that steers a terminal, turns the direction of writing or cannot be seen"
    # In any case of letters: macOS and Windows take .GIT for .git, the hole of CVE-2014-9390.
    elif any(part.lower() == ".git" for part in parts):
        problem = "a part of it is named .git"
    # Windows drops blanks at the end of a name, and two paths would be one file.
    elif any(part != part.strip() for part in parts):
        problem = "a part of it begins or ends with a space"
    elif not _encodable(text):
        problem = "it is not valid Unicode"
    elif len(text.encode()) > MAX_PATH or len(parts) > MAX_DEPTH:
        problem = f"it is longer than {MAX_PATH} bytes or deeper than {MAX_DEPTH} folders"
    elif any(len(part.encode()) > MAX_SEGMENT for part in parts):
        problem = f"a part of it is longer than {MAX_SEGMENT} bytes"
    if problem:
        raise ValueError(f"{text[:200]!r} cannot be a path in a repository: {problem}.")
    return text


def check_ref(name: object, what: str) -> str:
    """Return the name of a branch or tag."""
    text = str(name)
    clean = _REF.match(text) and ".." not in text and "//" not in text and not text.endswith(("/", ".", ".lock"))
    # 40 hexadecimal digits would be taken for a commit; git itself refuses names that end in .lock.
    if not clean or text.startswith("refs/") or _COMMIT.match(text):
        raise ValueError(
            f"{text[:200]!r} cannot name a {what}: use letters, digits, '_', '.', '+', '-' and '/' between them, not "
            "'refs/...' and not 40 hexadecimal digits."
        )
    return text


def _encodable(text: str) -> bool:
    try:
        # Fails for lone surrogates, which `os.fsdecode` makes of file names that are no UTF-8.
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
