"""What figshare and Zenodo say of their files: name, address, size and MD5 of each, in a public JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

FIGSHARE = "https://api.figshare.com/v2"
ZENODO = "https://zenodo.org/api"


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
