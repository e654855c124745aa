"""What goes at the same time or against the clock: deleted while read, parents that moved, clocks that jump."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.server import auth, repos
from ecg_hub.server.app import ROUTES, HubApp
from ecg_hub.server.audit import audit
from ecg_hub.server.calls import Call, Hub, Options
from ecg_hub.server.repos import Repo
from ecg_hub.server.routes_files import Download
from ecg_hub.server.serve import open_hub
from tests.ecg_hub.server.test_access import READS
from tests.support.asgi import Answer, ask
from tests.support.hangs import ends
from tests.support.hub import MB, READ, WRITE, write_tokens

Asking = Callable[..., Answer]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with open_hub(tmp_path / "hub", Options(min_free=MB)) as opened:
        yield opened
        assert not audit(opened).problems


@pytest.fixture
def asked(hub: Hub) -> Asking:
    app = HubApp(hub, "127.0.0.1")
    asking = lambda method, path, body=None, **headers: ask(app, method, path, body, **headers)  # noqa: E731
    _create(asking, "m")
    return asking


def _create(asked: Asking, name: str) -> None:
    assert asked("POST", "api/repos/create", {"name": name, "organization": "ward"}).status == 200


def _commit(asked: Asking, parent: str | None = None, repo: str = "m", text: str = "a", **more: str) -> Answer:
    header = {"summary": f"says {text}", **({"parentCommit": parent} if parent is not None else {}), **more}
    value = {"path": "a.txt", "content": base64.b64encode(text.encode()).decode(), "encoding": "base64"}
    lines = [{"key": "header", "value": header}, {"key": "file", "value": value}]
    return asked("POST", f"api/models/ward/{repo}/commit/main", "\n".join(map(json.dumps, lines)).encode())


def _head(asked: Asking) -> str:
    return str(json.loads(asked("GET", "api/models/ward/m").text)["sha"])


@pytest.mark.parametrize("moment", ["before it is looked up", "after it was looked up"])
def test_a_repository_that_goes_while_it_is_read_is_not_there(
    asked: Asking, hub: Hub, monkeypatch: pytest.MonkeyPatch, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    state, found = Repo.state, Call.repo

    def gone(repo: Repo) -> None:
        if (repo.folder / "state.json").exists():
            hub.repos.delete(repo)

    def state_then_gone(repo: Repo) -> Any:
        value = state(repo)
        gone(repo)
        return value

    def repo_then_gone(call: Call) -> Repo:
        repo = found(call)
        gone(repo)
        return repo

    for route, paths in READS.items():
        if ROUTES[route].body == "json":
            continue
        for path in paths:
            if not hub.repos.folder.joinpath("models", "ward", "m").exists():
                _create(asked, "m")
                assert _commit(asked).status == 200
            hub.history._load.cache_clear()
            with monkeypatch.context() as patch:
                if moment.startswith("before"):
                    patch.setattr(Repo, "state", state_then_gone)
                else:
                    patch.setattr(Call, "repo", repo_then_gone)
                answer = asked("GET", path.format(kind="models", web="ward/m", api="api/models/ward/m"))
            # The lists go on without it.
            listed = route[2] == "list" or route[0] == "site"
            assert answer.status in ((200,) if listed else (200, 404)), (path, answer.text)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_download_under_way_ends_whole_when_its_repository_goes(
    asked: Asking, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _commit(asked, text="content").status == 200
    app = HubApp(hub, "127.0.0.1")

    send = Download.__call__

    async def delete_then_send(self: Any, *arguments: Any) -> None:
        hub.repos.delete(hub.repos.get("models", "ward/m"))
        await send(self, *arguments)

    monkeypatch.setattr(Download, "__call__", delete_then_send)
    assert ask(app, "GET", "ward/m/resolve/main/a.txt").text == "content"
    assert ask(app, "GET", "ward/m/resolve/main/a.txt").status == 404


def test_parents_that_are_not_the_head(asked: Asking) -> None:
    first = _head(asked)
    second = json.loads(_commit(asked, first).text)["commitOid"]
    _create(asked, "other")
    foreign = json.loads(_commit(asked, repo="other", text="other").text)["commitOid"]
    # The one before, one of another repository, none at all, and what is no commit.
    assert _commit(asked, first, text="b").status == 412
    for parent in (foreign, "0" * 40, "f" * 7, "no-such-branch", "refs/pr/9", "../main", "\u0000", ""):
        answer = _commit(asked, parent, text="b")
        assert answer.status in (404, 412), (parent, answer.text)
    assert _commit(asked, 5, text="b").status == 400  # type: ignore[arg-type]
    assert _head(asked) == second
    # By any name of the head it is accepted; the same one again is the answer that was lost.
    third = json.loads(_commit(asked, second[:10], text="c").text)["commitOid"]
    assert json.loads(_commit(asked, second[:10], text="c").text)["commitOid"] == third
    assert _commit(asked, "main", text="d").status == 200
    assert len(json.loads(asked("GET", "api/models/ward/m/commits/main").text)) == 4


class _Clock:
    """A clock that is set back and forth."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift = timedelta()
        clock = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime.now(tz) + clock.shift

        monkeypatch.setattr(repos, "datetime", Shifted)
        monkeypatch.setattr(auth, "datetime", Shifted)
        really = auth.time.time
        monkeypatch.setattr(auth.time, "time", lambda: really() + clock.shift.total_seconds())


@pytest.mark.parametrize("days", [-3650, -1, 1, 3650])
def test_commits_follow_each_other_whatever_the_clock_says(
    asked: Asking, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    clock, heads = _Clock(monkeypatch), [_head(asked)]
    etags = set()
    for number in range(4):
        clock.shift = timedelta(days=days) if number % 2 else timedelta()
        heads.append(json.loads(_commit(asked, heads[-1], text=f"{number}").text)["commitOid"])
        answer = asked("GET", "ward/m/resolve/main/a.txt")
        # The client's cache goes by the content, not by the time of a file.
        etags.add(answer.headers["etag"])
        assert answer.text == f"{number}"
        assert asked("GET", "ward/m/resolve/main/a.txt", **{"if-none-match": answer.headers["etag"]}).status == 304
        later = {"if-none-match": '"0"', "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}
        assert asked("GET", "ward/m/resolve/main/a.txt", **later).text == f"{number}"
    assert len(etags) == 4
    listed = [one["id"] for one in json.loads(asked("GET", "api/models/ward/m/commits/main").text)]
    assert listed == heads[::-1]
    assert asked("GET", "api/models?sort=lastModified").status == asked("GET", "").status == 200


def test_tokens_and_upload_addresses_go_by_the_clock_and_come_back_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    today = datetime.now(UTC).date()
    tokens.write_text(f"{WRITE} alice until={today}\nread:{READ} bob\n")
    file, signer, clock = auth.TokenFile(tokens), auth.Signer(b"key"), _Clock(monkeypatch)
    query = dict(pair.split("=") for pair in signer.query("0" * 64, 5).split("&"))
    for days, known, valid in ((0, True, True), (2, False, False), (-400, True, True), (0, True, True)):
        clock.shift = timedelta(days=days)
        assert (file.find(WRITE) is not None) == known
        assert file.find(READ) is not None
        if valid:
            assert signer.check("0" * 64, query["size"], query["expires"], query["signature"]) == 5
        else:
            with pytest.raises(auth.RequestError, match="not valid"):
                signer.check("0" * 64, query["size"], query["expires"], query["signature"])
    # A token file that is replaced while the clock stands in the past is another file all the same.
    new = tmp_path / "new"
    new.write_text(f"read:{READ} bob\n")
    new.chmod(0o600)
    os.utime(new, (1, 1))
    os.replace(new, tokens)
    assert file.find(WRITE) is None


@pytest.mark.heavy
@pytest.mark.parametrize("layout", ["f{0}", "d{1}/f{0}"], ids=["one folder", "200 folders"])
def test_twenty_thousand_files_are_listed_and_committed_to(asked: Asking, layout: str) -> None:
    count = 20_000
    lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "many"}}]
    for number in range(count):
        value = {"path": layout.format(number, number % 200), "content": "eA==", "encoding": "base64"}
        lines.append({"key": "file", "value": value})
    assert asked("POST", "api/models/ward/m/commit/main", "\n".join(map(json.dumps, lines)).encode()).status == 200
    folder = "" if layout == "f{0}" else "/d7"
    one = layout.format(7, 7)
    for path in (
        *("api/models/ward/m", "api/models/ward/m?blobs=true", "api/models?full=true", "ward/m/commit/main", "ward/m"),
        *(
            "api/models/ward/m/tree/main?recursive=true&cursor=19000",
            f"api/models/ward/m/tree/main{folder}?expand=true",
        ),
        *(f"ward/m/tree/main{folder}", f"ward/m/resolve/main/{one}", f"ward/m/blob/main/{one}"),
    ):
        with ends():
            assert asked("GET", path).status == 200
    assert len(json.loads(asked("GET", "api/models/ward/m").text)["siblings"]) == count
    with ends():
        assert _commit(asked, text="one more").status == 200
