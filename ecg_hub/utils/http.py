"""One file over HTTP, continued, checked and never half there; and what figshare and Zenodo say of their files.

The file grows under `<name>.part` and gets its name when it is whole. Beside it `<name>.part.json` says what it is a
part of, so that a part of another version is deleted instead of being continued.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx2

from ecg_hub.errors import CheckpointError
from ecg_hub.home import HOME_OPTION
from ecg_hub.utils import __version__
from ecg_hub.utils.files import file_matches, rename_file, unwritable
from ecg_hub.utils.remote import persistently
from ecg_hub.utils.terminal import progress

FIGSHARE = "https://api.figshare.com/v2"
ZENODO = "https://zenodo.org/api"
# What passes by itself.
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
# Packed on the way, sizes and ranges would be those of the packed bytes.
_HEADERS = {"User-Agent": f"ecg-hub/{__version__}", "Accept-Encoding": "identity"}
# A Retry-After may ask for an hour, and somebody sits in front of it.
_LONGEST_WAIT_SECONDS = 60.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteFile:
    """A file on a host.

    Attributes:
        name: its name.
        url: where it is.
        size: in bytes, if the host says so.
        checksum: "md5:<hex>" or of another algorithm of hashlib, if the host says so.
        remedy: closing sentence of error messages, such as where people find the file.
    """

    name: str
    url: str
    size: int | None = None
    checksum: str | None = None
    remedy: str = ""

    def __post_init__(self) -> None:
        algorithm = (self.checksum or "md5:").partition(":")[0]
        if algorithm not in hashlib.algorithms_available:
            raise ValueError(f"checksum {self.checksum!r} is not of the form 'md5:<hex>'")

    @property
    def host(self) -> str:
        """The host's name."""
        return httpx2.URL(self.url).host

    def error(self, text: str) -> CheckpointError:
        """Build an error that ends with the remedy."""
        return CheckpointError(f"{text} {self.remedy}".strip())


@dataclass(frozen=True)
class RetryPolicy:
    """How often a broken connection or a busy host is tried again.

    Attributes:
        retries: attempts in a row that may bring nothing.
        wait_seconds: pause after the first; doubled after each further one. A host's Retry-After comes first.
        timeout_seconds: how long a host that is asked for a list may say nothing.
    """

    retries: int = 5
    wait_seconds: float = 1.0
    timeout_seconds: float = 60.0

    def pause(self, attempt: int, asked: float | None) -> None:
        """Wait before the next attempt."""
        seconds = self.wait_seconds * 2 ** (attempt - 1) if asked is None else asked
        time.sleep(min(seconds, _LONGEST_WAIT_SECONDS))


class _TransferError(Exception):
    """The transfer stopped in a way that another attempt may fix."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def open_client(timeout_seconds: float = 60.0) -> httpx2.Client:
    """Open an HTTP client with our headers; proxies and certificates come from the usual environment variables."""
    # Seconds without a single byte, not seconds of a whole file, which may take hours.
    timeout = httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, 30.0))
    # Hosts redirect to their storage; a token does not go along to another host.
    return httpx2.Client(follow_redirects=True, timeout=timeout, headers=_HEADERS)


def fetch_json(remote: RemoteFile, patience: RetryPolicy | None = None) -> Any:
    """Return the JSON document at an address."""

    def attempt(client: httpx2.Client) -> Any:
        response = client.get(remote.url)
        _check_status(remote, response, (200,))
        try:
            return response.json()
        except ValueError as error:
            raise remote.error(f"{remote.host} answers with something else than a list of files: {error}.") from error

    patience = patience or RetryPolicy(retries=2)
    with open_client(patience.timeout_seconds) as client:
        return _patiently(remote, patience, lambda: 0, lambda: attempt(client))


def stated_size(client: httpx2.Client, url: str) -> int | None:
    """Return the bytes of a file as its host states them, None where it states none or does not answer."""
    with suppress(httpx2.TransportError):
        response = client.head(url)
        length = response.headers.get("Content-Length", "")
        return int(length) if response.status_code == 200 and length.isdigit() else None
    return None


def download(
    remote: RemoteFile,
    folder: Path,
    *,
    patience: RetryPolicy | None = None,
    quiet: bool = False,
    client: httpx2.Client | None = None,
    bar: Any = None,
    option: str = HOME_OPTION,
) -> Path:
    """Download a file, or what is missing of it."""
    target = folder / remote.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.is_file() and _is_whole(remote, target)):
            part = _Part(remote, target)
            own = _own_bar(remote, part, quiet) if bar is None else _Share(bar, part.size)
            _complete(remote, part, patience or RetryPolicy(), own, client)
    except OSError as error:
        raise unwritable(target, error, option) from error
    return target


class _Share:
    """One file's share in a bar over many."""

    def __init__(self, bar: Any, here: int) -> None:
        self._bar, self.n = bar, 0
        self.update(here)

    def __enter__(self) -> _Share:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, size: int) -> None:
        self.n += size
        self._bar.update(size)


def _own_bar(remote: RemoteFile, part: _Part, quiet: bool) -> Any:
    return progress(total=remote.size, initial=part.size, desc=remote.name, unit="B", unit_scale=True, quiet=quiet)


class _Part:
    """The part of a file that is here already."""

    def __init__(self, remote: RemoteFile, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._about = target.with_name(f"{target.name}.part.json")
        self._identity = {"url": remote.url, "size": remote.size, "checksum": remote.checksum}
        note = self._read()
        self.etag: str | None = note.pop("etag", None)
        if note != self._identity or (remote.size is not None and self.size > remote.size):
            self.discard()

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def note(self, etag: str | None) -> None:
        """Remember what the bytes are a part of."""
        # A weak ETag means alike, not equal byte for byte; If-Range must not carry one (RFC 9110, 13.1.5).
        self.etag = None if etag is None or etag.startswith("W/") else etag
        self._about.write_text(json.dumps({**self._identity, "etag": self.etag}), encoding="utf-8")

    def discard(self) -> None:
        """Delete the bytes."""
        self.etag = None
        for path in (self.path, self._about):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name."""
        # The note goes last: a note without its part does no harm, a part without its note is fetched again.
        rename_file(self.path, self.target)
        self._about.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            note = json.loads(self._about.read_text(encoding="utf-8"))
            return note if isinstance(note, dict) else {}
        return {}


def _complete(remote: RemoteFile, part: _Part, patience: RetryPolicy, bar: Any, shared: httpx2.Client | None) -> None:
    """Fetch what is missing, compare the checksum, give the file its name."""
    _check_space(remote, part)
    with bar, open_client() if shared is None else nullcontext(shared) as client:
        _patiently(remote, patience, lambda: part.size, lambda: _fetch_rest(client, remote, part, bar))
    if not _is_whole(remote, part.path):
        size = part.size
        part.discard()
        raise remote.error(
            f"{remote.name} came with {size:,} bytes and another checksum than {remote.host} states "
            f"({remote.checksum}, {remote.size} bytes), and was deleted. The same command starts over."
        )
    part.finish()


def _patiently(
    remote: RemoteFile, patience: RetryPolicy, progress: Callable[[], int], attempt: Callable[[], Answer]
) -> Answer:
    """Try until it works, or until `retries` attempts in a row brought nothing."""
    return persistently(
        attempt,
        passing=(_TransferError, httpx2.TransportError),
        retries=patience.retries,
        final=lambda error, last: remote.error(_stopped(remote, progress(), error)) if last else None,
        pause=lambda failures, error: patience.pause(failures, getattr(error, "retry_after", None)),
        progress=progress,
    )


def _stopped(remote: RemoteFile, size: int, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    if size:
        whole = "" if remote.size is None else f" of {remote.size:,}"
        return (
            f"The download of {remote.name} stopped after {size:,}{whole} bytes ({reason}). The same command continues."
        )
    if isinstance(error, _TransferError):
        return f"{remote.host} gives no {remote.name}: {reason}. Try again later."
    remedy = "Is this machine online? Behind a proxy, set HTTPS_PROXY and SSL_CERT_FILE."
    return f"No connection to {remote.host} ({reason}). {remedy}"


def _fetch_rest(client: httpx2.Client, remote: RemoteFile, part: _Part, bar: Any) -> None:
    """Ask for the missing bytes once and write them."""
    here = part.size
    # A range that begins where the file ends would be answered by 416.
    if here and here == remote.size:
        return
    headers = {"Range": f"bytes={here}-"} if here else {}
    if here and part.etag is not None:
        # A host whose file has changed then sends the whole new one instead of the rest of it.
        headers["If-Range"] = part.etag
    with client.stream("GET", remote.url, headers=headers) as response:
        if response.status_code == 416:
            part.discard()
            raise _TransferError("it has fewer bytes than were here already; starting over")
        _check_status(remote, response, (200, 206) if here else (200,))
        continues = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {here}-"
        )
        if response.status_code == 206 and not continues:
            part.discard()
            raise _TransferError("it sends another range than was asked for; starting over")
        # Before the first byte: bytes without this note are not continued.
        part.note(response.headers.get("ETag"))
        bar.update((here if continues else 0) - bar.n)
        with part.path.open("ab" if continues else "wb") as file:
            # As they come, since the checksum is of these bytes.
            for chunk in response.iter_raw():
                file.write(chunk)
                bar.update(len(chunk))
                if remote.size is not None and file.tell() > remote.size:
                    break  # another file; the checksum will tell
    if remote.size is not None and part.size < remote.size:
        raise _TransferError("the connection was closed early")


def _check_status(remote: RemoteFile, response: httpx2.Response, wanted: tuple[int, ...]) -> None:
    status, host = response.status_code, response.url.host
    if status in wanted:
        return
    if status in _BUSY:
        asked = response.headers.get("Retry-After", "")
        # Retry-After may be a date as well (RFC 9110, 10.2.3); the pauses of our own serve then.
        raise _TransferError(f"it answers {status} {response.reason_phrase}", float(asked) if asked.isdigit() else None)
    if status in (404, 410):
        raise remote.error(f"{host} has no {remote.name} ({status} at {remote.url}): it was moved or withdrawn.")
    if status in (401, 403):
        raise remote.error(f"{host} refuses {remote.name} to programs ({status} at {remote.url}).")
    raise remote.error(f"{host} answers {status} {response.reason_phrase} in place of {remote.name} ({remote.url}).")


def _is_whole(remote: RemoteFile, path: Path) -> bool:
    if remote.size is not None and path.stat().st_size != remote.size:
        return False
    return remote.checksum is None or file_matches(path, remote.checksum)


def _check_space(remote: RemoteFile, part: _Part) -> None:
    free = shutil.disk_usage(part.path.parent).free
    needed = 0 if remote.size is None else remote.size - part.size
    if needed > free:
        # As the operating system would say it later: there is one message for a full disk.
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are missing, {free:,} are free")


class HostedFile(NamedTuple):
    """A file as its host lists it.

    Attributes:
        name: its name, which may name folders.
        url: where it is.
        size: in bytes.
        checksum: "md5:<hex>".
    """

    name: str
    url: str
    size: int
    checksum: str


def figshare_list(api: str, article: int | str | None) -> str:
    """Return the address of the list of an article's files."""
    # Unasked, figshare lists the first ten files only; 1,000 are the most it takes.
    return f"{api}/articles/{article}/files?page_size=1000"


def figshare_files(api: str, items: Iterable[Mapping[str, Any]]) -> Iterator[HostedFile]:
    """Yield the files of an article."""
    for item in items:
        md5 = item.get("computed_md5") or item["supplied_md5"]
        # Its own addresses (figshare.com/ndownloader) answer programs with an empty 202; the API's do not.
        url = f"{api}/file/download/{int(item['id'])}"
        yield HostedFile(str(item["name"]), url, int(item["size"]), f"md5:{md5}")


def zenodo_record(api: str, record: int | str | None) -> str:
    """Return the address of a record, whose "files" are its list of files."""
    return f"{api}/records/{record}"


def zenodo_files(items: Iterable[Mapping[str, Any]]) -> Iterator[HostedFile]:
    """Yield the files of a record."""
    for item in items:
        yield HostedFile(str(item["key"]), str(item["links"]["self"]), int(item["size"]), str(item["checksum"]))
