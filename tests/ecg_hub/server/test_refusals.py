"""Bad input: each is refused with a sentence, and the hub goes on."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, get_session, hf_hub_download
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from ecg_hub.server import app, storage
from ecg_hub.utils import yaml
from tests.support.hub import MB, WRITE, TestHub, point_libraries, write_tokens

HEADERS = {"Authorization": f"Bearer {WRITE}"}


@pytest.fixture(autouse=True)
def _alive(hub: TestHub) -> Iterator[None]:
    """A repository to start with; afterwards the hub answers and its files are as they were."""
    api = hub.api()
    api.create_repo("ward/ecg")
    api.upload_file(path_or_fileobj=b"kept", path_in_repo="kept.txt", repo_id="ward/ecg")
    yield
    assert Path(hf_hub_download("ward/ecg", "kept.txt")).read_bytes() == b"kept"
    assert not list((hub.root / "tmp").iterdir())


def _commit(hub: TestHub, *lines: Any, raw: bytes | None = None) -> Any:
    body = raw if raw is not None else b"\n".join(json.dumps(line).encode() for line in lines)
    return get_session().post(f"{hub.url}/api/models/ward/ecg/commit/main", content=body, headers=HEADERS)


def _line(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


BAD_PATHS = (
    *("../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", ".git/config", "a/.GIT/x", "a\\b", "a\nb", "a\x00b"),
    *("x" * 300, "a/" * 40 + "b", " a", "a/b ", "\udc80"),
)
BAD_ADDRESSES = (
    "ward/ecg/resolve/main/..%2F..%2F..%2Fkey",
    "ward/ecg/resolve/main/%2e%2e/%2e%2e/key",
    "ward/ecg/resolve/..%2F..%2Fkey/x",
    "ward/ecg/resolve/main/%00",
    "ward/ecg/resolve/main/%ff%fe",
    "%2e%2e/%2e%2e/resolve/main/key",
    "ward%2F..%2F..%2Fecg/resolve/main/key",
    "api/models/..%2F../tree/main",
    "api/models/ward/ecg/tree/main/..%2F..",
    "spaces/../../view/main/key",
    "lfs/..%2F..%2Fkey",
    "static/..%2Fhub.css",
)
BAD_CARDS = (
    "---\nlicense: [mit\n---\n",
    "---\n- a\n- list\n---\n",
    "---\na: &a [x, x]\nb: [*a, *a]\n---\n",
    "---\nx: " + "[" * 600 + "\n---\n",
    "---\nx: !!python/object/apply:os.system [id]\n---\n",
    "---\n" + "\n".join(f"k{n}: {n}" for n in range(300)) + "\n---\n",
)
BAD_COMMITS = (
    (b"not json\n", "not a JSON object"),
    (b"[1,2]\n", "not a JSON object"),
    (b'{"key":"header"}\n', "not a JSON object"),
    (b'{"key":"header","value":[]}\n', "not an object"),
    (b"[" * 100_000, "not a JSON object"),
    (b"", "no header"),
    (b'{"key":"rename","value":{"path":"a"}}', "no operation 'rename'"),
    (b'{"key":"file","value":{"path":"a"}}', "without content"),
    (b'{"key":"file","value":{"path":"a","content":"%%%","encoding":"base64"}}', "not base64"),
    (b'{"key":"lfsFile","value":{"path":"a","oid":"../../key"}}', "not a SHA-256"),
    (b'{"key":"lfsFile","value":{"path":"a","oid":"' + b"0" * 64 + b'"}}', "was not uploaded"),
)
HEADER = _line("header", summary="s", description="")


def test_paths_that_lead_elsewhere_are_refused(hub: TestHub) -> None:
    before = {path: path.stat().st_size for path in hub.root.rglob("*") if path.is_file()}
    for path in BAD_PATHS:
        answer = _commit(hub, HEADER, _line("file", path=path, content="eA==", encoding="base64"))
        assert (answer.status_code, "cannot be a path" in answer.json()["error"]) == (400, True), path
        assert _commit(hub, HEADER, _line("deletedFile", path=path)).status_code == 400, path
    assert {path: path.stat().st_size for path in hub.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("start", [0, 6])
def test_addresses_that_lead_elsewhere_find_nothing(hub: TestHub, start: int) -> None:
    place = urlsplit(hub.url)
    for path in BAD_ADDRESSES[start : start + 6]:
        # Straight to the socket: clients would tidy the path up.
        with socket.create_connection((place.hostname, place.port)) as connection:
            request = f"GET /{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITE}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert answer.split(b" ")[1] in (b"400", b"404", b"405"), path
        assert (hub.root / "key").read_bytes() not in answer


def test_malformed_commits(hub: TestHub) -> None:
    for raw, message in BAD_COMMITS:
        answer = _commit(hub, raw=raw)
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), raw[:80]


def test_a_commit_is_whole_or_nothing(hub: TestHub) -> None:
    good = _line("file", path="good.txt", content=base64.b64encode(b"good").decode(), encoding="base64")
    for bad in (_line("deletedFile", path="absent"), _line("file", path="kept.txt/x", content="", encoding="base64")):
        assert _commit(hub, HEADER, good, bad).status_code in (400, 404)
    assert hub.api().list_repo_files("ward/ecg") == ["kept.txt"]


def test_large_requests_are_refused_before_they_fill_the_memory(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    session = get_session()
    huge = b'{"content": "' + b"x" * 20_000_000 + b'"}'
    for content in (huge, (huge[start : start + MB] for start in range(0, len(huge), MB))):
        answer = session.post(f"{hub.url}/api/validate-yaml", content=content, headers=HEADERS)
        assert (answer.status_code, "over the limit" in answer.text) == (413, True)
    line = b'{"key":"file","value":{"path":"a","content":"' + b"A" * 20_000_000 + b'","encoding":"base64"}}'
    assert _commit(hub, raw=line).status_code == 413
    monkeypatch.setattr(app, "MAX_JSON", 100)
    assert session.post(f"{hub.url}/api/validate-yaml", json={"content": "x" * 200}, headers=HEADERS).status_code == 413


def test_files_over_the_limit_and_a_full_disk_are_told_before_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecg_hub.server.calls import Options
    from ecg_hub.server.serve import in_background

    tokens = write_tokens(tmp_path / "tokens2")
    for options, message in (
        (Options(max_file=1000, min_free=MB), "limit of 1,000 bytes"),
        (Options(min_free=10**18), "Ask its administrator"),
    ):
        root = tmp_path / f"hub-{options.max_file}"
        with monkeypatch.context() as patch, in_background(root, options, tokens) as running:
            other = TestHub(running.url, root, tokens, tmp_path / "home2")
            point_libraries(patch, other)
            other.api().create_repo("ward/ecg")
            with pytest.raises((HfHubHTTPError, ValueError, RuntimeError), match=message):
                other.api().upload_file(path_or_fileobj=b"\0" * 2000, path_in_repo="a.bin", repo_id="ward/ecg")
            assert other.api().list_repo_files("ward/ecg") == []


def test_a_disk_that_runs_full_during_an_upload(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.BlobWriter, "write", full)
    content = b"\0" * 3_000_000
    sha256 = hashlib.sha256(content).hexdigest()
    body = {"operation": "upload", "objects": [{"oid": sha256, "size": len(content)}]}
    batch = get_session().post(f"{hub.url}/ward/ecg.git/info/lfs/objects/batch", json=body, headers=HEADERS).json()
    answer = get_session().put(batch["objects"][0]["actions"]["upload"]["href"], content=content)
    assert (answer.status_code, "disk is full" in answer.text) == (507, True)
    assert hub.api().list_repo_files("ward/ecg") == ["kept.txt"]


def test_a_connection_cut_in_the_middle_of_an_upload_leaves_nothing(hub: TestHub) -> None:
    body = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 5_000_000}]}
    batch = get_session().post(f"{hub.url}/ward/ecg.git/info/lfs/objects/batch", json=body, headers=HEADERS).json()
    href = urlsplit(batch["objects"][0]["actions"]["upload"]["href"])
    with socket.create_connection((href.hostname, href.port)) as connection:
        head = f"PUT {href.path}?{href.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 2_000_000)
        deadline = time.monotonic() + 10
        while not list((hub.root / "tmp").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
    while list((hub.root / "tmp").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list((hub.root / "tmp").iterdir())


def test_cards_with_broken_metadata_are_refused_and_tolerated(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "MAX_NODES", 500)
    api = hub.api()
    for card in BAD_CARDS:
        with pytest.raises(ValueError, match="Invalid metadata"):
            api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="ward/ecg")
        content = base64.b64encode(card.encode()).decode()
        answer = _commit(hub, HEADER, _line("file", path="README.md", content=content, encoding="base64"))
        assert answer.status_code == 200
        assert api.model_info("ward/ecg").card_data is None
        assert get_session().get(f"{hub.url}/ward/ecg", headers=HEADERS).status_code == 200
    assert len(list(api.list_models())) == 1


def test_a_client_with_xet_is_told_the_variable(hub: TestHub) -> None:
    answer = get_session().get(f"{hub.url}/api/models/ward/ecg/xet-write-token/main", headers=HEADERS)
    assert (answer.status_code, "HF_HUB_DISABLE_XET=1" in answer.headers["X-Error-Message"]) == (400, True)


def test_addresses_of_other_services_do_not_exist(hub: TestHub) -> None:
    for path in ("api/agent-harnesses", "api/daily_papers", "api/jobs/x", "api/models/ward/ecg/lfs-files"):
        assert get_session().get(f"{hub.url}/{path}", headers=HEADERS).status_code == 404
    answer = get_session().delete(f"{hub.url}/api/models", headers=HEADERS)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_a_failure_of_our_own_is_logged_and_says_nothing_of_the_inside(
    hub: TestHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError("inside")

    with monkeypatch.context() as patch:
        patch.setattr("ecg_hub.server.info.Catalog.info", broken)
        answer = get_session().get(f"{hub.url}/api/models/ward/ecg", headers=HEADERS)
    assert (answer.status_code, "inside" in answer.text) == (500, False)
    assert "ZeroDivisionError" in caplog.text


def test_content_lost_from_the_disk_is_named(hub: TestHub) -> None:
    api = hub.api()
    api.upload_file(path_or_fileobj=b"\0lost", path_in_repo="lost.bin", repo_id="ward/ecg")
    sha256 = hashlib.sha256(b"\0lost").hexdigest()
    (hub.root / "blobs" / sha256[:2] / sha256).unlink()
    answer = get_session().get(f"{hub.url}/ward/ecg/resolve/main/lost.bin", headers=HEADERS)
    assert (answer.status_code, "backup" in answer.text) == (500, True)
    with pytest.raises(BadRequestError, match="branch"):
        api.create_branch("ward/ecg", branch="a..b")
    api.create_commit("ward/ecg", [CommitOperationAdd("again.bin", b"\0lost")], commit_message="again")
    assert Path(hf_hub_download("ward/ecg", "lost.bin")).read_bytes() == b"\0lost"
