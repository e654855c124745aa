"""Who may do what: tokens from a file, and addresses for uploads that are valid for a while."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import threading
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ecg_hub.errors import InputError
from ecg_hub.server.naming import RequestError

if TYPE_CHECKING:
    from ecg_hub.server.repos import State

MIN_TOKEN = 16  # characters
UPLOAD_SECONDS = 24 * 3600  # how long an upload may wait before it starts
_FORM = "a line is [read:]TOKEN [NAME] [until=YYYY-MM-DD], where TOKEN may be sha256=<64 hexadecimal digits>"
# \Z and not $, which a line feed may follow: the name is written into the token file, one holder per line.
_USER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\Z")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: as in the token file; "local" on a hub without tokens; None without a token.
        write: whether they may change things.
    """

    name: str | None
    write: bool = False

    @property
    def authenticated(self) -> bool:
        """Whether a token came along, or none is needed."""
        return self.name is not None

    def sees(self, state: State) -> bool:
        """Whether a repository is there for them: its name, its card's metadata, names of files, history, comments."""
        return self.authenticated or not state.private

    def reads(self, state: State) -> bool:
        """Whether they get what is in the files of a repository, in whatever form it is shown."""
        return self.sees(state) and (self.authenticated or not state.gated)


@dataclass(frozen=True)
class _Token:
    name: str
    write: bool
    until: date | None

    def expired(self) -> bool:
        # The day itself counts, until it ends in UTC.
        return self.until is not None and datetime.now(UTC).date() > self.until


ANYBODY = Caller(None)
LOCAL = Caller("local", write=True)


class TokenFile:
    """The tokens of a file, read again when the file changes; they are kept as digests only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        # Looked at before it is read: a change in between is then read again instead of missed.
        self._stamp = self._stat()
        self._tokens = read_tokens(path)

    def find(self, token: str) -> Caller | None:
        """Return whom a token stands for, or None if it is unknown or expired."""
        self._refresh()
        # Digests are compared, by look-up: how long that takes tells nothing about the token.
        holder = self._tokens.get(_digest(token))
        return Caller(holder.name, holder.write) if holder and not holder.expired() else None

    def _refresh(self) -> None:
        with self._guard:
            try:
                stamp = self._stat()
                if stamp != self._stamp:
                    self._tokens = read_tokens(self.path)
                    # Only now: a file that could not be read is tried again at the next request.
                    self._stamp = stamp
                    _log.warning("token file read again: %d tokens", len(self._tokens))
            except InputError as error:
                raise RequestError(
                    503, "The hub's token file cannot be read; its administrator must fix it."
                ) from error

    def _stat(self) -> tuple[int, int, int, int]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise InputError(f"Token file {str(self.path)!r} cannot be read: {error.strerror}.") from error
        # A replaced file has another inode, even with the same time and size; the mode may let others in.
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def read_tokens(path: Path) -> dict[str, _Token]:
    """Read a token file: SHA-256 of each token to what it allows.

    Empty lines and lines that begin with # are left out.
    """
    check_permissions(path)
    tokens: dict[str, _Token] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Token file {str(path)!r} cannot be read: {type(error).__name__}.") from None
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            digest, token = _parse(line, f"{str(path)!r}, line {number}", f"token-{number}")
            if digest in tokens:
                raise InputError(f"{str(path)!r}, line {number}: the token stands in the file already.")
            tokens[digest] = token
    if not tokens:
        raise InputError(f"Token file {str(path)!r} holds no token: {_FORM}.")
    return tokens


def check_permissions(path: Path) -> None:
    """Refuse a token file that others may read or change."""
    # Elsewhere the mode says nothing about who may read.
    if os.name != "posix":
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"Token file {str(path)!r} cannot be read: {error.strerror}.") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"Others may read token file {str(path)!r} (mode {stat.S_IMODE(mode):03o}): chmod 600 {path}")


def new_token(path: Path, name: str, write: bool) -> str:
    """Append a new token to a token file, as its digest, and return it; the file is made if it is missing."""
    if not _USER.match(name):
        raise InputError(f"{name!r} cannot name the holder of a token: use letters, digits, '_', '-' and '.'.")
    token = "hf_" + secrets.token_urlsafe(32)
    # The mode below is given to a new file only.
    if path.exists():
        check_permissions(path)
    # A last line without its end would become one with ours, and neither token be good.
    before = path.read_bytes() if path.is_file() else b""
    joint = "\n" if before and not before.endswith(b"\n") else ""
    # The mode is set as it is made: others must not read it even for a moment. Appending, so that two writers at once
    # both arrive.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(f"{joint}{'' if write else 'read:'}sha256={_digest(token)} {name}\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def bearer(header: str | None, basic: bool) -> str | None:
    """Return the token of an Authorization header, or None without one; "Basic" is what browsers send on their own."""
    if not header:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    # A browser adds this by itself, also to what a page of another site makes it send.
    if scheme.lower() == "basic" and basic:
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            pass
    raise invalid_credentials()


def invalid_credentials() -> RequestError:
    """Build the refusal of a token that is unknown or expired; huggingface_hub knows the wording."""
    headers = {"WWW-Authenticate": 'Basic realm="ecg-hub"'}
    return RequestError(401, "Invalid credentials in Authorization header", headers=headers)


def gated(repo_id: str) -> RequestError:
    """Build the refusal of a gated repository's files to a caller without a token."""
    return RequestError(401, f"{repo_id!r} is gated: a token is needed.", "GatedRepo")


def token_needed(what: str) -> RequestError:
    """Build the refusal for a caller without a token."""
    headers = {"WWW-Authenticate": 'Basic realm="ecg-hub"'}
    return RequestError(401, f"A token is needed to {what}: set HF_TOKEN.", headers=headers)


class Signer:
    """Signs the addresses to which content is uploaded: huggingface_hub sends no token there."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def query(self, sha256: str, size: int) -> str:
        """Return the query of an address that takes this content."""
        expires = int(time.time()) + UPLOAD_SECONDS
        return urlencode({"size": size, "expires": expires, "signature": self._sign(sha256, size, expires)})

    def check(self, sha256: str, size: str, expires: str, signature: str) -> int:
        """Return the size that an address allows."""
        if _is_number(size) and _is_number(expires):
            signed = self._sign(sha256, int(size), int(expires))
            # Takes equally long for every wrong signature; a query may hold any bytes.
            good = hmac.compare_digest(signed.encode(), signature.encode("utf-8", "surrogateescape"))
            if good and time.time() <= int(expires):
                return int(size)
        raise RequestError(403, "This upload address is not valid (any more); start the upload again.")

    def _sign(self, sha256: str, size: int, expires: int) -> str:
        return hmac.new(self._key, f"{sha256} {size} {expires}".encode(), hashlib.sha256).hexdigest()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _parse(line: str, where: str, default: str) -> tuple[str, _Token]:
    first, *rest = line.split()
    scope, _, bare = first.partition(":") if first.startswith(("read:", "write:")) else ("write", "", first)
    if bare.startswith("sha256="):
        digest = bare.removeprefix("sha256=").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise InputError(f"{where}: sha256= is not followed by 64 hexadecimal digits; {_FORM}.")
    elif len(bare) < MIN_TOKEN:
        raise InputError(f"{where}: the token has fewer than {MIN_TOKEN} characters; {_FORM}.")
    else:
        digest = _digest(bare)
    name, until = default, None
    for word in rest:
        if word.startswith("until="):
            until = _date(word.removeprefix("until="), where)
        elif name == default and _USER.match(word):
            name = word
        else:
            raise InputError(f"{where}: cannot be read; {_FORM}.")
    return digest, _Token(name, scope == "write", until)


def _date(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{where}: until= is not followed by a date like 2027-01-31.") from None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
