"""Places behind URLs (s3://, gs://, hf:// and what fsspec knows): each has a folder on this machine that stands for it.

`place` turns what a user wrote into a path, `bring` makes what is behind it readable there, `publish` sends what was
written there. For ordinary paths all three do nothing, so that everything between them knows paths alone.

A folder that is brought lazily holds an empty file for every object, with its time; `plain_file`, which every reader
asks, fetches the content, and `release` drops it again: an archive of terabytes passes through piece by piece.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from ecg_hub.errors import InputError, RemoteError
from ecg_hub.home import home
from ecg_hub.utils.files import is_inside, replacing
from ecg_hub.utils.stores import WHERE_CREDENTIALS, opened, stem, unreachable
from ecg_hub.utils.text import number_of

# Two letters at least, for one is a drive of Windows; and one slash is enough, for `Path` drops the second.
_URL = re.compile(r"^([a-z][a-z0-9+.]+):/+(.+)$")
_FOLDER, _LISTINGS = "remote", ".listings"
_PIECE = 8 * 2**20
RETRIES, WAIT_SECONDS = 5, 1.0
"""Attempts in a row that may bring nothing, and the pause after the first, doubled after each further one."""

THREADS = 16
"""Files that are fetched at once: a store of objects answers late, and many requests together."""

_DENIED = re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES|no credentials|\b40[13]\b", re.IGNORECASE)
Value = TypeVar("Value")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path names a place on another machine; `file://` names one on this.

    Example:
        >>> is_url("s3://bucket/ecg"), is_url("results/s3"), is_url("C:/data"), is_url("file:///data")
        (True, False, False, False)
    """
    match = _URL.match(os.fspath(path))
    return match is not None and match[1] != "file"


def place(path: str | os.PathLike[str]) -> Path:
    """Return the path on this machine of what a user wrote: the folder that stands for a URL, else the path itself.

    Raises:
        InputError: a URL that holds credentials, or whose path leaves its bucket.

    Example:
        >>> place("~/ecg") == Path.home() / "ecg", place("s3://bucket/ecg").parts[-3:]
        (True, ('s3', 'bucket', 'ecg'))
        >>> place("s3://KEY:SECRET@bucket/ecg")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: The URL of 's3://...@bucket/ecg' holds credentials, ...
    """
    text = os.fspath(path)
    match = _URL.match(text)
    if match is None:
        return Path(text).expanduser()
    scheme, below = match[1], match[2].rstrip("/")
    if scheme == "file":
        return Path("/" + below)
    if "@" in below.split("/")[0]:
        shown = f"{scheme}://...@{below.partition('@')[2]}"
        raise InputError(
            f"The URL of {shown!r} holds credentials, which would be kept in results. {WHERE_CREDENTIALS}."
        )
    if not is_inside(below):
        raise InputError(f"{text!r} is no place: write {scheme}://BUCKET/FOLDER.")
    return home() / _FOLDER / stem(scheme) / below


def data_root() -> Path:
    """Return the folder that holds one folder of raw files per dataset: $ECG_DATA_ROOT, else `data` in `home()`."""
    configured = os.environ.get("ECG_DATA_ROOT")
    return place(configured) if configured else home() / "data"


def url_of(path: str | os.PathLike[str]) -> str | None:
    """Return the URL that a path on this machine stands for, None for an ordinary path."""
    try:
        scheme, *below = Path(path).relative_to(home() / _FOLDER).parts
    except ValueError:
        return None
    return f"{scheme.partition('@')[0]}://{'/'.join(below)}" if below and scheme != _LISTINGS else None


def shown(path: str | os.PathLike[str]) -> str:
    """Return how a path is shown to people: the URL that it stands for, else itself."""
    return url_of(path) or os.fspath(path)


def bring(path: Path, *, lazily: bool = False, needed: bool = True) -> Path:
    """Make what is behind a path readable on this machine; an ordinary path is returned as it is.

    What was brought before and is unchanged (size, and time or digest) is kept; what is gone there, goes here. Files
    that were written here and not published yet stay.

    Args:
        path: as `place` returned it: a file or a folder.
        lazily: make empty files, whose content comes when a reader asks for it.
        needed: whether something has to be there; a folder that is written to may be new.

    Raises:
        RemoteError: nothing is there, it does not answer, or it does not let us in.
    """
    url = url_of(path)
    if url is None or (lazily and path in _OUTLINED and _memory(path).is_file()):
        return path
    memory = _memory(path)
    memory.parent.mkdir(parents=True, exist_ok=True)
    # Several processes of one run begin at once: the first one lists and fetches, the others find it done.
    with FileLock(memory.with_suffix(".lock")):
        listed = listing(url)
        if not listed and needed:
            raise RemoteError(f"There is nothing at {url!r}: no such file, and no file below it. {WHERE_CREDENTIALS}.")
        _sweep(path, _remembered(memory), listed)
        changed = [(name, *state) for name, state in listed.items() if not _is_current(path / name, state, lazily)]
        _each(lambda item: _make(path / item[0], item[1], item[2], lazily), changed)
        with replacing(memory, flush=False) as temporary:
            temporary.write_text("".join(f"{size}\t{stamp}\t{name}\n" for name, (size, stamp) in listed.items()))
    if lazily:
        _OUTLINED.add(path)
    return path


def bring_record(path: Path) -> Path:
    """Bring the files of one record: all in its folder that have its name, with whatever ending."""
    url = url_of(path)
    if url is None:
        return path
    folder, stems = path.parent, {path.name, path.stem}
    fs, root = opened(str(url_of(folder)))
    names = [entry["name"].rpartition("/")[2] for entry in _tried(url, lambda: fs.ls(root, detail=True))]
    _each(lambda name: bring(folder / name), [name for name in names if name in stems or Path(name).stem in stems])
    return path


_OUTLINED: set[Path] = set()
"""Listed once in the life of a process: a run sees one state of its data, and millions of names are not asked twice."""


def outline(path: Path) -> Path:
    """Make the folders at once below a place, empty, so that one is found among them by its name."""
    url = url_of(path)
    if url is not None and path not in _OUTLINED:
        fs, root = opened(url)
        entries = _tried(url, lambda: fs.ls(root, detail=True))
        for entry in entries:
            if entry["type"] == "directory":
                (path / entry["name"].rstrip("/").rpartition("/")[2]).mkdir(parents=True, exist_ok=True)
    return path


def ready(folder: Path) -> None:
    """Bring a folder lazily where another machine did and this one has not."""
    if url_of(folder) is not None and not _memory(folder).is_file():
        bring(folder, lazily=True)


def fetch(path: Path) -> None:
    """Get the content of a file that was brought lazily and is still empty; any other path is left alone."""
    # Asked for every file that is read: an ordinary one costs a comparison of names.
    url = url_of(path)
    if url is None or not path.is_file() or path.stat().st_size:
        return
    size, stamp = _state(url)
    if size:
        _download(url, path, size, stamp)


def fetch_all(paths: Iterable[Path]) -> None:
    """Get the contents of many files at once, as `fetch` does."""
    _each(fetch, [path for path in paths if url_of(path) is not None])


def release(paths: Iterable[Path]) -> None:
    """Drop the contents of files that were brought lazily: they are fetched again when somebody asks."""
    for path in paths:
        if url_of(path) is not None and path.is_file() and (state := path.stat()).st_size:
            _make(path, state.st_size, state.st_mtime_ns, lazily=True)


def sizes(folder: Path) -> Mapping[str, int]:
    """Return the bytes of every file of a folder that was brought, by its name below it; {} for an ordinary folder."""
    return {name: size for name, (size, _) in _remembered(_memory(folder)).items()} if url_of(folder) else {}


def publish(path: Path, leave: Callable[[str], bool] = lambda name: False, *, exactly: bool = False) -> list[str]:
    """Send what was written to a place, files that are new or changed; an ordinary path needs nothing.

    An object appears whole or not at all. JSON files, which say that others are finished, go last.

    Args:
        path: a file or a folder.
        leave: whether a file of that name below `path` stays here. Hidden files always do.
        exactly: whether what is there and not here is removed, after all has been sent.

    Returns:
        The names that were sent.

    Raises:
        RemoteError: the place does not take them.
    """
    url = url_of(path)
    if url is None or not path.exists():
        return []
    held = listing(url)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    named = {"" if file == path else file.relative_to(path).as_posix(): file for file in files}
    hidden = {name for name in named if any(part.startswith(".") for part in name.split("/"))}
    kept = {name for name in named if held.get(name) == _local_state(named[name])}
    sent = [name for name in named if name not in hidden | kept and not leave(name)]
    for last in (False, True):
        part = [name for name in sent if name.endswith(".json") == last]
        _each(lambda name: _upload(named[name], f"{url}/{name}" if name else url), part)
    if exactly:
        _each(lambda name: _drop(f"{url}/{name}" if name else url), [name for name in held if name not in named])
    return sent


def remove(path: Path) -> None:
    """Remove what is at the other end of a place, if anything is; nothing of this machine."""
    url = url_of(path)
    if url is not None and listing(url):
        _drop(url)


def _drop(url: str) -> None:
    fs, root = opened(url)

    def drop() -> None:
        # Of a folder of Google's storage Arrow asks in the end for an object of its name, which is rarely there.
        with suppress(FileNotFoundError):
            fs.rm(root, recursive=True)
        if left := listing(url):
            raise OSError(f"{number_of(len(left), 'file')} of it left")

    _tried(url, drop)


def listing(url: str) -> dict[str, tuple[int, int]]:
    """Return name below the URL -> (bytes, stamp) of every file there; a file itself has the name ""."""
    fs, root = opened(url)
    root = root.rstrip("/")

    def find() -> dict[str, tuple[int, int]]:
        if hasattr(fs, "fs"):  # Arrow's own: one flat list, where fsspec would ask folder by folder
            from pyarrow.fs import FileSelector

            found = fs.fs.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
            states = {info.path: (info.size, info.mtime_ns) for info in found if info.is_file}
            return states or {i.path: (i.size, i.mtime_ns) for i in fs.fs.get_file_info([root]) if i.is_file}
        fs.invalidate_cache()
        return {name: (int(info["size"] or 0), _stamp(info)) for name, info in fs.find(root, detail=True).items()}

    return {name.removeprefix(root).lstrip("/"): state for name, state in sorted(_tried(url, find).items())}


def _stamp(info: Mapping[str, Any]) -> int:
    """Return what changes with the content, as a time in nanoseconds that a file can carry."""
    for key in ("ETag", "etag", "blob_id", "xet_hash", "md5", "version_id"):
        if info.get(key):
            return int(hashlib.sha256(str(info[key]).encode()).hexdigest()[:7], 16) * 10**9
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        if isinstance(value := info.get(key), datetime):
            # Whole microseconds: a float has no room for more.
            return int(value.timestamp() * 10**6) * 1000
        if isinstance(value, int | float):
            return int(value * 10**6) * 1000
    return 0


def _state(url: str) -> tuple[int, int]:
    """Bytes and stamp of one file, by one question."""
    fs, remote = opened(url)
    if not hasattr(fs, "fs"):
        fs.invalidate_cache()
        info = _tried(url, lambda: fs.info(remote))
        return int(info["size"] or 0), _stamp(info)
    (found,) = _tried(url, lambda: fs.fs.get_file_info([remote]))
    if not found.is_file:
        raise RemoteError(f"{url!r} was there and is gone; begin again.")
    return found.size, found.mtime_ns


def _memory(path: Path) -> Path:
    """The list of what was brought to a path, kept beside all places."""
    name = hashlib.sha256(str(path).encode()).hexdigest()[:24]
    return home() / _FOLDER / _LISTINGS / f"{name}.tsv"


def _remembered(memory: Path) -> dict[str, tuple[int, int]]:
    if not memory.is_file():
        return {}
    lines = (line.split("\t", 2) for line in memory.read_text(encoding="utf-8").splitlines())
    return {name: (int(size), int(stamp)) for size, stamp, name in lines}


def _sweep(path: Path, before: Iterable[str], now: Mapping[str, Any]) -> None:
    """Remove what was brought before and is gone."""
    for name in before:
        if name not in now:
            with suppress(OSError):
                (path / name).unlink()


def _is_current(path: Path, state: tuple[int, int], lazily: bool) -> bool:
    here = _local_state(path)
    return here == state or (lazily and here == (0, state[1]))


def _local_state(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        state = path.stat()
        return state.st_size, state.st_mtime_ns
    return None


def _make(path: Path, size: int, stamp: int, lazily: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if size and not lazily:
        _download(str(url_of(path)), path, size, stamp)
        return
    with replacing(path, flush=False) as temporary:
        temporary.touch()
        os.utime(temporary, ns=(stamp, stamp))


def _download(url: str, path: Path, size: int, stamp: int) -> None:
    """Write an object to its file, which appears when it is whole; a lost connection goes on where it ended."""
    fs, remote = opened(url)
    with replacing(path, flush=False) as temporary:
        temporary.touch()

        def go_on() -> None:
            done = temporary.stat().st_size
            with fs.open(remote, "rb") as source, temporary.open("ab") as sink:
                source.seek(done)
                shutil.copyfileobj(source, sink, _PIECE)
            if (done := temporary.stat().st_size) != size:
                raise OSError(f"it ended after {done:,} of {size:,} bytes")

        _tried(url, go_on, lambda: temporary.stat().st_size)
        os.utime(temporary, ns=(stamp, stamp))


def _upload(path: Path, url: str) -> None:
    fs, remote = opened(url)

    def send() -> None:
        # Both kinds of store put an object when it is closed; one that a lost connection ends is never seen.
        if not hasattr(fs, "fs"):  # in a bucket there are no folders, and Arrow would put an empty object for one
            fs.makedirs(remote.rpartition("/")[0], exist_ok=True)
        with path.open("rb") as source, fs.open(remote, "wb") as sink:
            shutil.copyfileobj(source, sink, _PIECE)

    _tried(url, send)
    stamp = _state(url)[1]
    # What was sent and what is there now are the same: neither is sent or fetched again.
    os.utime(path, ns=(stamp, stamp))


def persistently(
    action: Callable[[], Value],
    *,
    passing: tuple[type[Exception], ...],
    retries: int,
    final: Callable[[Exception, bool], Exception | None],
    pause: Callable[[int, Exception], None],
    progress: Callable[[], int] = lambda: 0,
) -> Value:
    """Do what needs the network until it works.

    Args:
        action: one attempt.
        passing: errors that another attempt may not meet.
        retries: attempts in a row that may bring nothing.
        final: the error to end with, given that of an attempt and whether it was the last; None: try again.
        pause: waits, given the number of attempts in a row that brought nothing, and the error of the last.
        progress: how much is there.
    """
    failures, before = 0, progress()
    while True:
        try:
            return action()
        except passing as error:
            # An attempt that brought something counts as a new start: over a line with many cuts a file still arrives.
            failures = 1 if progress() > before else failures + 1
            before = progress()
            if (end := final(error, failures > retries)) is not None:
                raise end from error
            pause(failures, error)


def _tried(url: str, action: Callable[[], Value], progress: Callable[[], int] = lambda: 0) -> Value:
    """Do what needs the store behind a URL."""

    def final(error: Exception, last: bool) -> RemoteError | None:
        if isinstance(error, FileNotFoundError):
            return RemoteError(f"There is nothing at {url!r}. {WHERE_CREDENTIALS}.")
        refused = isinstance(error, PermissionError | NotImplementedError) or _DENIED.search(str(error))
        return unreachable(url, error) if last or refused else None

    return persistently(
        action,
        passing=(Exception,),  # each library has its own for a lost connection
        retries=RETRIES,
        final=final,
        pause=lambda failures, _: time.sleep(WAIT_SECONDS * 2 ** (failures - 1)),
        progress=progress,
    )


def _each(action: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Do something for each item in threads; the first error is raised when those at work have ended."""
    wanted = list(items)
    if len(wanted) < 2:
        for item in wanted:
            action(item)
        return
    pool = ThreadPoolExecutor(min(THREADS, len(wanted)))
    try:
        for _ in _results(pool, action, wanted):
            pass
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(pool: ThreadPoolExecutor, action: Callable[[Any], object], items: list[Any]) -> Iterator[object]:
    yield from pool.map(action, items)
