"""Which files a source has, where they lie, their checksums, and archives unpacked file by file.

PhysioNet: SHA256SUMS.txt of the project. figshare: `/articles/ID/files` and `/collections/ID/articles`, with MD5.
Zenodo: `/records/ID`, with MD5. A plain URL states nothing.
"""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from dataset_scripts.core.spec import Source
from ecg_hub.errors import CheckpointError, DataError, InputError
from ecg_hub.utils import http
from ecg_hub.utils.files import SUMS_FILE, is_inside, parse_sums, replacing
from ecg_hub.utils.http import FIGSHARE, ZENODO, figshare_files, figshare_list, zenodo_files, zenodo_record
from ecg_hub.utils.terminal import progress
from ecg_hub.utils.untrusted import check_zip

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

MAX_RATIO = 200
"""Most times its own size that an archive may expand to: signals pack to a half, text and zeros to a fiftieth."""

SMALL_ARCHIVE = 2**30
"""Bytes that any archive may expand to."""

MAX_EXTENSION = 2**20
"""Bytes of a header of a tar archive that holds a long name or further records."""

_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)

Member = tuple[str, int, Callable[[], IO[bytes] | None]]


def is_archive(name: str) -> bool:
    """Tell by its name whether a file is an archive; spreadsheets, which are zip files inside, are none."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, quiet: bool = False) -> list[str]:
    """Unpack an archive and return the files it holds; those that are there with the right size are left alone."""
    try:
        names: list[str] = []
        expanded = 0
        largest = MAX_RATIO * archive.stat().st_size + SMALL_ARCHIVE
        with progress(desc=f"Unpacking {archive.name}", unit=" files", quiet=quiet) as bar:
            for name, size, opened in _members(archive):
                # A name such as ../../x would write anywhere on the disk.
                if not is_inside(name):
                    raise DataError(
                        f"{archive.name} holds {name!r}, which lies outside its folder; it is not unpacked."
                    )
                expanded += size
                if expanded > largest:
                    raise DataError(
                        f"{archive.name} expands to more than {MAX_RATIO} times its size; what is left of it is not "
                        "unpacked. Remove it, and get it again from a place you trust."
                    )
                _extract(folder / name, size, opened)
                names.append(name)
                bar.update()
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"{str(archive)!r} cannot be unpacked ({error}). Remove it and give the same command again; an archive in "
            f"several parts (.z01, .z02) needs a program such as `7z x {archive.name}`."
        ) from error
    return names


class _Member(tarfile.TarInfo):
    """A member of a tar archive; `tarfile` takes names and records beyond the usual header into memory as they come."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # The method that tarfile has for subclasses to override.
        if self.type in _EXTENSIONS and self.size > MAX_EXTENSION:
            raise tarfile.TarError(f"a header of {self.size:,} bytes; up to {MAX_EXTENSION:,} are read")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


def _members(archive: Path) -> Iterator[Member]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            check_zip(opened, archive.name, archive.stat().st_size)
            for entry in opened.infolist():
                # macOS packs attributes of each file beside it, under the same name.
                if not entry.is_dir() and not entry.filename.startswith("__MACOSX/"):
                    # Bound as a default: a plain closure would open whatever the loop has reached when it is called.
                    yield entry.filename, entry.file_size, lambda entry=entry: opened.open(entry)  # type: ignore[misc]
        return
    with tarfile.open(archive, "r:*", tarinfo=_Member) as tar:
        for member in tar:
            # No links and devices: a link in a tar archive may lead anywhere.
            if member.isfile():
                yield member.name.removeprefix("./"), member.size, lambda member=member: tar.extractfile(member)  # type: ignore[misc]


def _extract(target: Path, size: int, opened: Callable[[], IO[bytes] | None]) -> None:
    if target.is_file() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not flushed one by one, which would take minutes for tens of thousands of small files: one that a crash cuts off
    # has the wrong size and is unpacked again.
    with replacing(target, target.with_name(f".{target.name}.partial"), flush=False) as partial:
        with partial.open("wb") as sink:
            source = opened()
            if source is None:
                raise EOFError(f"{target.name} has no content")
            with source:
                shutil.copyfileobj(source, sink, 2**20)
        if partial.stat().st_size != size:
            raise EOFError(f"{target.name} ends early")


# What zipfile and tarfile end in where an archive is damaged, encrypted (RuntimeError) or has names that are no text.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)
PAGE_ARTICLES = 100
_FIGSHARE = re.compile(r"(?:10\.6084/m9\.figshare\.(c\.)?|(article|collection)s?/)?(\d+)(?:[./]v?\d+)?")


@dataclass(frozen=True)
class Hosts:
    """Addresses of the hosts; others in tests."""

    physionet: str = "https://physionet.org/files"
    figshare: str = FIGSHARE
    zenodo: str = ZENODO


class Transport:
    """What moves bytes, over connections that stay open between files; safe in several threads."""

    def __init__(self, remedy: str = "", patience: http.RetryPolicy | None = None) -> None:
        self._remedy = remedy
        self._patience = patience
        self._client = http.open_client()

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def document(self, url: str) -> Any:
        """Return a JSON document."""
        try:
            return http.fetch_json(http.RemoteFile(f"list {url!r}", url, remedy=self._remedy), self._patience)
        except CheckpointError as error:
            raise DataError(str(error)) from error

    def size(self, url: str) -> int | None:
        """Return the bytes of a file as its host states them, or None."""
        return http.stated_size(self._client, url)

    def file(self, url: str, target: Path, size: int | None, checksum: str | None, quiet: bool) -> None:
        """Fetch a file, or what is missing of it, and compare size and checksum."""
        remote = http.RemoteFile(target.name, url, size, checksum, self._remedy)
        try:
            http.download(remote, target.parent, patience=self._patience, quiet=quiet, client=self._client)
        except CheckpointError as error:
            if isinstance(error.__cause__, OSError):  # its remedy names the folder of model weights
                raise error.__cause__ from None
            raise DataError(str(error)) from error


@dataclass(frozen=True)
class RemoteFile:
    """A file to be fetched.

    Attributes:
        path: where it goes, below the raw folder, in POSIX form.
        url: where it is.
        size: bytes, where the host says so.
        checksum: "<algorithm>:<digest>", where the host says so.
        unpack: whether it is an archive to be unpacked beside itself.
    """

    path: str
    url: str
    size: int | None = None
    checksum: str | None = None
    unpack: bool = False


def list_files(source: Source, transport: Transport, hosts: Hosts, scratch: Path) -> list[RemoteFile]:
    """Return the files of a source, those that its patterns choose."""
    try:
        files = list(_LISTINGS[source.host](source, transport, hosts, scratch))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Both are kinds of ValueError; their texts already say what to do.
        if isinstance(error, DataError | InputError):
            raise
        raise DataError(
            f"{source.host} lists the files of {source.ref!r} in a form that is not known: {error!r}."
        ) from None
    # Each pattern must hit: a renamed file must not pass for one that is not wanted.
    for pattern in source.files:
        if not any(fits(file.path, pattern) for file in files):
            raise DataError(f"{source.host} has no file {pattern!r} in {source.ref!r}: it was moved or withdrawn.")
    chosen = [file for file in files if not source.files or any(fits(file.path, p) for p in source.files)]
    outside = [file.path for file in chosen if not is_inside(file.path)]
    if outside:
        raise DataError(f"{source.host} lists {outside[0]!r}, which lies outside the folder; nothing is fetched.")
    return [
        replace(
            file,
            path=str(PurePosixPath(source.folder) / file.path),
            unpack=source.unpack and is_archive(file.path),
        )
        for file in chosen
    ]


def figshare_parts(ref: str) -> tuple[str, int]:
    """Return ("articles" or "collections", number) of "collections/4560497", "articles/27078763" or a DOI.

    A bare number is an article: both kinds are numbered alike, and guessing could fetch something else.
    """
    match = _FIGSHARE.fullmatch(ref)
    if match is None:
        raise InputError(f"{ref!r} is no figshare item; write 'articles/ID', 'collections/ID' or the DOI.")
    return "collections" if match[1] or match[2] == "collection" else "articles", int(match[3])


def physionet_parts(ref: str) -> tuple[str, str]:
    """Return project with version, and the folder below it ("" or "training/ningbo")."""
    project, _, rest = ref.strip("/").partition("/")
    version, _, below = rest.partition("/")
    if not version:
        raise InputError(f"{ref!r} is no PhysioNet project; write 'project/version' as in 'ptb-xl/1.0.3'.")
    return f"{project}/{version}", below.strip("/")


def _physionet(source: Source, transport: Transport, hosts: Hosts, scratch: Path) -> Iterator[RemoteFile]:
    project, below = physionet_parts(source.ref)
    base = f"{hosts.physionet}/{quote(project)}"
    listing = scratch / SUMS_FILE
    listing.unlink(missing_ok=True)  # an older one may be of another release
    transport.file(f"{base}/{SUMS_FILE}", listing, None, None, quiet=True)
    sums = parse_sums(listing.read_text(encoding="utf-8"))
    if not sums:
        raise DataError(f"{SUMS_FILE} of {project} on PhysioNet lists no files.")
    for name, checksum in sums.items():
        if not below or name.startswith(f"{below}/"):
            path = name[len(below) :].lstrip("/")
            yield RemoteFile(path, f"{base}/{quote(name)}", None, checksum)


def _figshare(source: Source, transport: Transport, hosts: Hosts, scratch: Path) -> Iterator[RemoteFile]:
    del scratch
    kind, number = figshare_parts(source.ref)
    articles = [number] if kind == "articles" else list(_collection(number, transport, hosts))
    for article in articles:
        items = transport.document(figshare_list(hosts.figshare, article))
        yield from (RemoteFile(*file) for file in figshare_files(hosts.figshare, items))


def _collection(number: int, transport: Transport, hosts: Hosts) -> Iterator[int]:
    page = 1
    while True:
        query = f"page={page}&page_size={PAGE_ARTICLES}"
        articles: Sequence[Mapping[str, Any]] = transport.document(
            f"{hosts.figshare}/collections/{number}/articles?{query}"
        )
        yield from (int(article["id"]) for article in articles)
        # figshare states no total, so a page that is not full is the last.
        if len(articles) < PAGE_ARTICLES:
            return
        page += 1


def _zenodo(source: Source, transport: Transport, hosts: Hosts, scratch: Path) -> Iterator[RemoteFile]:
    del scratch
    number = source.ref.rpartition("zenodo.")[2]
    if not number.isdigit():
        raise InputError(f"{source.ref!r} is no Zenodo record; write its number or its DOI.")
    items = transport.document(zenodo_record(hosts.zenodo, number))["files"]
    yield from (RemoteFile(*file) for file in zenodo_files(items))


def _url(source: Source, transport: Transport, hosts: Hosts, scratch: Path) -> Iterator[RemoteFile]:
    del transport, hosts, scratch
    name = unquote(PurePosixPath(urlsplit(source.ref).path).name)
    if not name:
        raise InputError(f"{source.ref!r} names no file.")
    yield RemoteFile(name, source.ref)


def fits(name: str, pattern: str) -> bool:
    """Tell whether a pattern names a file, matches it, or names a folder above it."""
    return fnmatchcase(name, pattern) or name.startswith(pattern.rstrip("/") + "/")


_LISTINGS = {"physionet": _physionet, "figshare": _figshare, "zenodo": _zenodo, "url": _url}
