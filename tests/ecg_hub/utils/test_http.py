"""Downloads from a host on this machine: continued, checked, and errors that say what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import CheckpointError
from ecg_hub.utils import http as module
from ecg_hub.utils.http import (
    RemoteFile,
    RetryPolicy,
    download,
    fetch_json,
    figshare_files,
    figshare_list,
    zenodo_files,
    zenodo_record,
)
from tests.support.hosts import Host, md5, running

CONTENT = os.urandom(300_000)
AT_ONCE = RetryPolicy(retries=2, wait_seconds=0)
NO_RETRY = RetryPolicy(retries=0)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with running(Host(files={"/f/weights.pt": CONTENT})) as running_host:
        yield running_host


def remote(host: Host, **changes: Any) -> RemoteFile:
    facts = {"size": len(CONTENT), "checksum": f"md5:{md5(CONTENT)}", "remedy": "Look at PAGE."}
    return RemoteFile("weights.pt", f"{host.url}/f/weights.pt", **{**facts, **changes})


def fetch(host: Host, folder: Path, patience: RetryPolicy = AT_ONCE, **changes: Any) -> bytes:
    path = download(remote(host, **changes), folder, patience=patience, quiet=True)
    assert path == folder / "weights.pt"
    assert [left.name for left in folder.iterdir()] == ["weights.pt"]
    return path.read_bytes()


def test_a_file(host: Host, tmp_path: Path) -> None:
    assert fetch(host, tmp_path / "new" / "folder") == CONTENT
    assert host.asked("/f/weights.pt") == [None]
    assert fetch(host, tmp_path / "new" / "folder") == CONTENT
    assert host.asked("/f/weights.pt") == [None]  # it was there


def test_a_file_that_is_there_but_damaged(host: Host, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(CONTENT[:-1] + b"x")
    assert fetch(host, tmp_path) == CONTENT


def test_a_cut_connection_is_taken_up_again(host: Host, tmp_path: Path) -> None:
    host.cuts = [100_000, 50_000]
    assert fetch(host, tmp_path) == CONTENT
    first, second, third = host.asked("/f/weights.pt")
    assert first is None
    assert second == "bytes=100000-"
    assert third == "bytes=150000-"


def test_progress_renews_patience(host: Host, tmp_path: Path) -> None:
    host.cuts = [10_000] * 20
    assert fetch(host, tmp_path) == CONTENT
    assert len(host.asked("/f/weights.pt")) == 21


def test_the_next_call_continues(host: Host, tmp_path: Path) -> None:
    host.cuts = [120_000]
    with pytest.raises(CheckpointError, match=r"stopped after 120,000 of 300,000 bytes .* The same command continues"):
        fetch(host, tmp_path, NO_RETRY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.pt.part", "weights.pt.part.json"]
    assert fetch(host, tmp_path, NO_RETRY) == CONTENT
    assert host.asked("/f/weights.pt") == [None, "bytes=120000-"]


def test_a_host_without_ranges(host: Host, tmp_path: Path) -> None:
    host.ranges, host.cuts = False, [120_000]
    assert fetch(host, tmp_path) == CONTENT
    assert host.asked("/f/weights.pt") == [None, "bytes=120000-"]
    host.cuts = [120_000] * 9
    with pytest.raises(CheckpointError, match="stopped after 120,000"):
        fetch(host, tmp_path / "other")  # no progress: patience ends


def test_a_file_that_changes_while_it_is_fetched(host: Host, tmp_path: Path) -> None:
    host.cuts = [120_000]
    with pytest.raises(CheckpointError, match="stopped"):
        fetch(host, tmp_path, NO_RETRY, checksum=None)
    host.files["/f/weights.pt"], host.etag = CONTENT[::-1], '"2"'
    assert fetch(host, tmp_path, NO_RETRY, checksum=None) == CONTENT[::-1]  # If-Range: not one half of each


def test_a_part_of_another_version_is_thrown_away(host: Host, tmp_path: Path) -> None:
    host.cuts = [120_000]
    with pytest.raises(CheckpointError, match="stopped"):
        fetch(host, tmp_path, NO_RETRY)
    new = CONTENT[::-1]
    host.files["/f/weights.pt"], host.etag = new, None
    assert fetch(host, tmp_path, NO_RETRY, checksum=f"md5:{md5(new)}") == new
    assert host.asked("/f/weights.pt") == [None, None]


def test_a_part_whose_note_is_damaged_is_thrown_away(host: Host, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.part").write_bytes(b"of something else")
    (tmp_path / "weights.pt.part.json").write_bytes(b"\xff{")
    assert fetch(host, tmp_path) == CONTENT


def test_a_part_longer_than_the_file(host: Host, tmp_path: Path) -> None:
    host.cuts = [120_000]
    with pytest.raises(CheckpointError, match="stopped after 120,000 bytes"):
        fetch(host, tmp_path, NO_RETRY, size=None)
    with (tmp_path / "weights.pt.part").open("ab") as file:
        file.write(b"x" * 400_000)
    assert fetch(host, tmp_path, size=None) == CONTENT
    assert host.asked("/f/weights.pt") == [None, "bytes=520000-", None]


@pytest.mark.parametrize("changes", [{"checksum": f"md5:{md5(b'')}"}, {"size": len(CONTENT) - 5}])
def test_a_wrong_checksum_or_size(host: Host, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(
        CheckpointError, match=r"another checksum than 127\.0\.0\.1 states .* was deleted.*Look at PAGE"
    ):
        fetch(host, tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_body_without_end_is_not_read_to_the_end(host: Host, tmp_path: Path) -> None:
    host.surplus = b"x" * 5_000_000
    with pytest.raises(CheckpointError, match="another checksum") as error:
        fetch(host, tmp_path)
    came = re.search(r"came with ([\d,]+) bytes", str(error.value))
    assert came is not None
    assert int(came[1].replace(",", "")) < 1_000_000


def test_a_checksum_of_an_unknown_kind(host: Host) -> None:
    with pytest.raises(ValueError, match="crc99"):
        remote(host, checksum="crc99:1234")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, r"127\.0\.0\.1 has no weights\.pt \(404 .*moved or withdrawn\. Look at PAGE\."),
        (403, "refuses weights.pt to programs"),
        (202, "answers 202 Accepted in place of weights.pt"),
        (206, "answers 206"),
    ],
)
def test_answers_that_no_retry_mends(host: Host, tmp_path: Path, status: int, message: str) -> None:
    host.statuses = [(status, {})]
    with pytest.raises(CheckpointError, match=message):
        fetch(host, tmp_path)
    assert len(host.requests) == 1


def test_a_busy_host(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    host.statuses = [(503, {}), (429, {"Retry-After": "7"})]
    assert fetch(host, tmp_path, RetryPolicy(retries=2, wait_seconds=3)) == CONTENT
    assert waits == [3, 7]
    host.statuses = [(503, {})] * 3
    with pytest.raises(CheckpointError, match=r"gives no weights\.pt: it answers 503 Service Unavailable"):
        fetch(host, tmp_path / "other", RetryPolicy(retries=2, wait_seconds=3))
    assert waits[2:] == [3, 6]


def test_no_connection(host: Host, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = RemoteFile("weights.pt", f"http://127.0.0.1:{free.getsockname()[1]}/", remedy="Look at PAGE.")
    for attempt in (lambda: download(closed, tmp_path, patience=AT_ONCE), lambda: fetch_json(closed, AT_ONCE)):
        with pytest.raises(CheckpointError, match=r"No connection to 127\.0\.0\.1 .*HTTPS_PROXY.*Look at PAGE"):
            attempt()


def test_a_disk_that_fills_up(host: Host, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "weights.pt.part").symlink_to("/dev/full")
    wanted = remote(host)
    about = {"url": wanted.url, "size": wanted.size, "checksum": wanted.checksum}
    (tmp_path / "weights.pt.part.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"The disk is full: .*weights\.pt.*ECG_HUB_HOME"):
        fetch(host, tmp_path)


def test_a_disk_that_is_too_small(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 299_999))
    with pytest.raises(CheckpointError, match=r"The disk is full: .*300,000 bytes are missing, 299,999 are free"):
        fetch(host, tmp_path)
    assert host.requests == []


def test_a_folder_that_cannot_be(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written .*ECG_HUB_HOME"):
        fetch(host, tmp_path / "file" / "folder")


def test_json(host: Host) -> None:
    host.documents["/list"] = {"a": 1}
    host.documents["/page"] = b"<html>"
    host.statuses = [(500, {})]
    assert fetch_json(RemoteFile("list", f"{host.url}/list"), AT_ONCE) == {"a": 1}
    with pytest.raises(CheckpointError, match="something else than a list of files"):
        fetch_json(RemoteFile("list", f"{host.url}/page"), AT_ONCE)
    with pytest.raises(CheckpointError, match="has no list"):
        fetch_json(RemoteFile("list", f"{host.url}/nowhere"), AT_ONCE)


def test_figshare_states_its_own_digest_or_the_uploaders() -> None:
    items = [
        {"name": "a.pt", "id": 7, "size": 12, "computed_md5": "1f", "supplied_md5": "2f"},
        {"name": "b.pt", "id": "8", "size": "3", "computed_md5": "", "supplied_md5": "2f"},
    ]
    assert figshare_list("https://host/v2", 5) == "https://host/v2/articles/5/files?page_size=1000"
    assert [tuple(file) for file in figshare_files("https://host/v2", items)] == [
        ("a.pt", "https://host/v2/file/download/7", 12, "md5:1f"),
        ("b.pt", "https://host/v2/file/download/8", 3, "md5:2f"),
    ]


def test_zenodo_names_the_algorithm() -> None:
    items = [{"key": "a.pt", "links": {"self": "https://host/a.pt"}, "size": 12, "checksum": "md5:1f"}]
    assert zenodo_record("https://host/api", "5") == "https://host/api/records/5"
    assert [tuple(file) for file in zenodo_files(items)] == [("a.pt", "https://host/a.pt", 12, "md5:1f")]
