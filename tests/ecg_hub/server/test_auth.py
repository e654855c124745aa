"""Tokens: who may read, who may write, and what the log may hold."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import time
from pathlib import Path

import pytest
from huggingface_hub import get_session, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from ecg_hub.errors import InputError
from tests.support.hub import MB, READ, WRITE, TestHub, point_libraries, write_tokens

LONG = "hf_0123456789abcdef"


def _file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "t"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_file_in_all_its_forms(tmp_path: Path) -> None:
    from ecg_hub.server.auth import TokenFile

    digest = hashlib.sha256(b"another-long-token").hexdigest()
    path = _file(
        tmp_path,
        f"# comment\n\n{LONG}\nread:{LONG}2 bob until=2999-01-01\nwrite:sha256={digest} carol\n"
        f"{LONG}3 dan until=2020-01-01\n",
    )
    tokens = TokenFile(path)
    found = {name: tokens.find(name) for name in (LONG, f"{LONG}2", "another-long-token", f"{LONG}3", "no", digest)}
    callers = {name: (caller.name, caller.write) for name, caller in found.items() if caller}
    assert callers == {LONG: ("token-3", True), f"{LONG}2": ("bob", False), "another-long-token": ("carol", True)}


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (f"{LONG}\n", 0o640, "chmod 600"),
        (f"{LONG}\n", 0o604, "chmod 600"),
        ("short\n", 0o600, "line 1: the token has fewer than 16"),
        (f"{LONG} bob\n{LONG} eve\n", 0o600, "line 2: the token stands"),
        ("sha256=abc bob\n", 0o600, "64 hexadecimal"),
        (f"{LONG} bob until=soon\n", 0o600, "date like"),
        (f"{LONG} bob and more\n", 0o600, "cannot be read"),
        ("# nobody\n", 0o600, "holds no token"),
    ],
)
def test_token_files_that_are_refused(tmp_path: Path, text: str, mode: int, message: str) -> None:
    from ecg_hub.server.auth import read_tokens

    with pytest.raises(InputError, match=message) as refused:
        read_tokens(_file(tmp_path, text, mode))
    assert LONG not in str(refused.value)


def test_a_new_token_works_at_once_and_stands_in_the_file_as_its_digest(hub: TestHub) -> None:
    from ecg_hub.server.auth import new_token

    token = new_token(hub.token_file, "carol", write=False)
    assert token not in hub.token_file.read_text()
    assert hub.api(token).whoami()["name"] == "carol"
    assert hub.api(token).whoami()["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(InputError, match="cannot name"):
        new_token(hub.token_file, "a b", write=True)
    kept = [line for line in hub.token_file.read_text().splitlines() if "carol" not in line]
    # As some editors leave it: the last line has no end.
    hub.token_file.write_text("\n".join(kept))
    assert hub.api(new_token(hub.token_file, "dave", write=True)).whoami()["name"] == "dave"
    assert hub.api(hub.read_token).whoami()["name"] == "bob"
    with pytest.raises(HfHubHTTPError, match="Invalid"):
        hub.api(token).whoami()
    hub.token_file.chmod(0o644)
    with pytest.raises(HfHubHTTPError, match="administrator"):
        hub.api(WRITE)._inner_whoami(WRITE)


def test_without_a_token_nothing_is_read_or_written(hub: TestHub) -> None:
    hub.api().create_repo("ward/ecg")
    nobody = hub.api(False)
    with pytest.raises(HfHubHTTPError, match="token is needed"):
        nobody.model_info("ward/ecg")
    with pytest.raises(HfHubHTTPError):
        hf_hub_download("ward/ecg", "a", token=False)
    with pytest.raises(HfHubHTTPError, match="token is needed"):
        nobody.create_repo("ward/other")
    for path in ("", "models", "ward/ecg", "api/models", "api/whoami-v2"):
        answer = get_session().get(f"{hub.url}/{path}")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert get_session().get(f"{hub.url}/healthz").text == "ok\n"


def test_a_wrong_token_is_told_so_and_a_read_token_cannot_write(hub: TestHub) -> None:
    hub.api().create_repo("ward/ecg")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        hub.api("hf_some-other-token-altogether").model_info("ward/ecg")
    reader = hub.api(hub.read_token)
    assert reader.model_info("ward/ecg").id == "ward/ecg"
    for action in (
        lambda: reader.create_repo("ward/x"),
        lambda: reader.delete_repo("ward/ecg"),
        lambda: reader.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="ward/ecg"),
        lambda: reader.create_tag("ward/ecg", tag="v1"),
        lambda: reader.update_repo_settings("ward/ecg", private=True),
    ):
        with pytest.raises(HfHubHTTPError, match="'bob' may only read") as refused:
            action()
        assert refused.value.response.status_code == 403


def test_browsers_give_the_token_as_password_for_reading_only(hub: TestHub) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(f"anyone:{WRITE}".encode()).decode()}
    assert get_session().get(f"{hub.url}/models", headers=basic).status_code == 200
    body = {"name": "x", "organization": "ward"}
    assert get_session().post(f"{hub.url}/api/repos/create", json=body, headers=basic).status_code == 401
    bearer = {"Authorization": f"Bearer {WRITE}"}
    for extra in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = get_session().post(f"{hub.url}/api/repos/create", json=body, headers={**bearer, **extra})
        assert (answer.status_code, "other sites" in answer.text) == (403, True)


def test_upload_addresses_hold_for_their_content_only(hub: TestHub) -> None:
    api, session = hub.api(), get_session()
    api.create_repo("ward/ecg")
    content = b"\0content"
    sha256 = hashlib.sha256(content).hexdigest()
    headers = {"Authorization": f"Bearer {WRITE}"}
    body = {"operation": "upload", "objects": [{"oid": sha256, "size": len(content)}]}
    batch = session.post(f"{hub.url}/ward/ecg.git/info/lfs/objects/batch", json=body, headers=headers).json()
    href = batch["objects"][0]["actions"]["upload"]["href"]
    other = hashlib.sha256(b"other").hexdigest()
    assert session.put(href.replace(sha256, other), content=b"other").status_code == 403
    assert session.put(href.replace("size=8", "size=9"), content=content).status_code == 403
    assert session.put(href[:-1] + ("0" if href[-1] != "0" else "1"), content=content).status_code == 403
    assert session.put(href.split("?")[0], content=content, headers=headers).status_code == 403
    assert session.put(href, content=b"\0kontent").status_code == 400
    assert session.put(href, content=content[:-1]).status_code == 400
    assert not list((hub.root / "tmp").iterdir())
    assert session.put(href, content=content).status_code == 200
    again = session.post(f"{hub.url}/ward/ecg.git/info/lfs/objects/batch", json=body, headers=headers).json()
    assert "actions" not in again["objects"][0]


def test_the_log_says_who_did_what_and_holds_no_secret(hub: TestHub, caplog: pytest.LogCaptureFixture) -> None:
    api = hub.api()
    with caplog.at_level(logging.INFO, logger="ecg_hub.hub"):
        api.create_repo("ward/ecg")
        api.upload_file(path_or_fileobj=b"\0" * 10, path_in_repo="a.bin", repo_id="ward/ecg")
        with pytest.raises(HfHubHTTPError):
            hub.api("hf_some-other-token-altogether").whoami()
        deadline = time.monotonic() + 10
        while "whoami" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)  # the line is written once the answer is out
    assert "alice POST /api/repos/create 200" in caplog.text
    assert " - GET /api/whoami-v2 401" in caplog.text
    assert "PUT /lfs/" in caplog.text
    for secret in (WRITE, "some-other-token", "signature"):
        assert secret not in caplog.text
    stored = b"".join(path.read_bytes() for path in hub.root.rglob("*") if path.is_file())
    assert WRITE.encode() not in stored


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_hubs_folder_and_key_are_its_owners_alone(hub: TestHub) -> None:
    assert hub.root.stat().st_mode & 0o077 == 0
    assert (hub.root / "key").stat().st_mode & 0o077 == 0


def test_open_reading_leaves_private_and_gated_repositories_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecg_hub.server.calls import Options
    from ecg_hub.server.serve import in_background

    tokens = write_tokens(tmp_path / "tokens")
    with in_background(tmp_path / "hub", Options(min_free=MB, open_read=True), tokens) as running:
        hub = TestHub(running.url, tmp_path / "hub", tokens, tmp_path / "home")
        point_libraries(monkeypatch, hub)
        api, nobody = hub.api(), hub.api(False)
        for name in ("open", "closed", "gated"):
            api.create_repo(f"ward/{name}", private=name == "closed")
            api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=f"ward/{name}")
        api.update_repo_settings("ward/gated", gated="auto")
        assert nobody.file_exists("ward/open", "a")
        assert [model.id for model in nobody.list_models()] == ["ward/gated", "ward/open"]
        assert "ward/closed" not in get_session().get(f"{hub.url}/").text
        with pytest.raises(RepositoryNotFoundError):
            nobody.model_info("ward/closed")
        assert nobody.model_info("ward/gated").gated == "auto"
        api.upload_file(path_or_fileobj=b'{"model_type": "s4"}', path_in_repo="config.json", repo_id="ward/gated")
        for one, config, tags in ((nobody, None, []), (hub.api(hub.read_token), {"model_type": "s4"}, ["s4"])):
            assert (one.model_info("ward/gated").config, one.model_info("ward/gated").tags) == (config, tags)
            assert [model.id for model in one.list_models(filter="s4")] == (["ward/gated"] if tags else [])
        with pytest.raises(HfHubHTTPError, match="gated"):
            hf_hub_download("ward/gated", "a", token=False)
        with pytest.raises(HfHubHTTPError, match="token is needed"):
            nobody.create_repo("ward/x")
        assert READ not in str(api.model_info("ward/closed"))


def test_without_tokens_only_loopback_names_are_answered(tmp_path: Path) -> None:
    import httpx2

    from ecg_hub.server.calls import Options
    from ecg_hub.server.serve import in_background

    with in_background(tmp_path / "hub", Options(min_free=MB)) as running, httpx2.Client() as client:
        assert client.get(f"{running.url}/").status_code == 200
        assert client.get(f"{running.url}/", headers={"Host": "evil.example"}).status_code == 403
        body = {"name": "x"}
        assert client.post(f"{running.url}/api/repos/create", json=body).status_code == 200
        foreign = client.post(f"{running.url}/api/repos/create", json=body, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
