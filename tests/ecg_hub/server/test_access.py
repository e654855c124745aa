"""Who may see and read what: every route of the app, every kind of repository, every kind of reader."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.server.app import ROUTES, HubApp
from ecg_hub.server.calls import Options
from ecg_hub.server.naming import KINDS
from ecg_hub.server.serve import open_hub
from tests.support.asgi import Answer, ask
from tests.support.hub import MB, READ, WRITE, write_tokens

OTHER = "hf_another-token-that-writes"
SECRET, HIDDEN = "the-content-of-a-file", "ward/hidden"
NAMES = {"ward/open": "public", HIDDEN: "private", "ward/gated": "gated"}
FILES = {
    "README.md": f"---\nlicense: mit\n---\n{SECRET}\n",
    "notes.txt": SECRET,
    "index.html": SECRET,
    "results/model/main/model_meta.json": "{}",
    ".eval_results/a.yaml": f"- dataset: {{id: ward/open, task_id: t}}\n  value: 0.5\n  notes: {SECRET}\n",
}
Ask = Callable[..., Answer]

# What is asked of each route, with {web} and {api} for the addresses of a repository. A new route needs a line here.
READS: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("api", "GET", "list"): ("api/{kind}", "api/{kind}?full=true&cardData=true", "api/{kind}?expand=evalResults"),
    ("api", "GET", ""): ("{api}", "{api}?blobs=true", "{api}?expand=evalResults&expand=siblings"),
    ("api", "GET", "revision"): ("{api}/revision/main", "{api}/revision/main?expand=evalResults"),
    ("api", "GET", "refs"): ("{api}/refs?include_prs=1",),
    ("api", "GET", "commits"): ("{api}/commits/main",),
    ("api", "GET", "tree"): ("{api}/tree/main?recursive=true&expand=true", "{api}/tree/main/results"),
    ("api", "POST", "paths-info"): ("{api}/paths-info/main",),
    ("api", "GET", "auth-check"): ("{api}/auth-check",),
    ("api", "GET", "leaderboard"): ("{api}/leaderboard",),
    ("api", "GET", "discussions"): ("{api}/discussions", "{api}/discussions/1", "{api}/discussions/1?diff=1"),
    ("web", "GET", "list"): ("{kind}", "{kind}?search=ward"),
    ("web", "GET", ""): ("{web}",),
    ("web", "GET", "tree"): ("{web}/tree/main", "{web}/tree/main/results", "{web}/tree/refs%2Fpr%2F1"),
    ("web", "GET", "blob"): ("{web}/blob/main/notes.txt", "{web}/blob/refs%2Fpr%2F1/notes.txt"),
    ("web", "GET", "resolve"): ("{web}/resolve/main/notes.txt", "{web}/resolve/refs%2Fpr%2F1/notes.txt?download=true"),
    ("web", "GET", "view"): ("{web}/view/main/index.html", "{web}/view/main/notes.txt"),
    ("web", "GET", "commits"): ("{web}/commits/main",),
    ("web", "GET", "commit"): ("{web}/commit/main", "{web}/commit/refs%2Fpr%2F1"),
    ("web", "GET", "discussions"): ("{web}/discussions", "{web}/discussions/1"),
    ("web", "GET", "leaderboard"): ("{web}/leaderboard", "{web}/leaderboard/page/index.html"),
    ("site", "GET", ""): ("",),
}  # fmt: skip
WRITES: dict[tuple[str, str, str], str] = {
    ("site", "POST", "api/repos/create"): "api/repos/create",
    ("site", "DELETE", "api/repos/delete"): "api/repos/delete",
    ("site", "POST", "api/repos/move"): "api/repos/move",
    ("site", "POST", "lfs/verify"): f"lfs/{'0' * 64}/verify",
    ("api", "PUT", "settings"): "{api}/settings",
    ("api", "POST", "branch"): "{api}/branch/b",
    ("api", "DELETE", "branch"): "{api}/branch/b",
    ("api", "POST", "tag"): "{api}/tag/main",
    ("api", "DELETE", "tag"): "{api}/tag/t",
    ("api", "POST", "super-squash"): "{api}/super-squash/main",
    ("api", "POST", "preupload"): "{api}/preupload/main",
    ("api", "POST", "commit"): "{api}/commit/main",
    ("api", "POST", "discussions"): "{api}/discussions",
    ("web", "POST", "lfs-batch"): "{web}.git/info/lfs/objects/batch",
}
# Nothing of any repository is shown or changed there: who am I, health, metrics (test_metrics), style, the
# documentation, and an upload whose address is signed (test_auth).
OF_NO_REPOSITORY = {
    *(("site", "GET", "api/whoami-v2"), ("site", "POST", "api/validate-yaml"), ("site", "GET", "healthz")),
    *(("site", "GET", "static/hub.css"), ("site", "GET", "docs"), ("site", "PUT", "lfs")),
    ("site", "GET", "metrics"),
    *(("api", "GET", "xet-write-token"), ("api", "GET", "xet-read-token")),
}
# Where the content of files is all there is to see.
CONTENT = {"blob", "resolve", "view"}


@pytest.fixture(scope="module", params=[True, False], ids=["open-read", "tokens"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, bool]]:
    """A hub with one repository of every kind and visibility, each with a pull request."""
    folder = tmp_path_factory.mktemp("access")
    tokens = write_tokens(folder / "tokens")
    tokens.write_text(f"{tokens.read_text()}{OTHER} carol\n")
    options = Options(open_read=request.param, min_free=MB, page_command=_no_page)
    with open_hub(folder / "hub", options, tokens) as hub:
        app = HubApp(hub, "127.0.0.1")

        def asked(method: str, path: str, token: str | None = None, body: Any = None, **headers: str) -> Answer:
            return ask(app, method, path, body, **headers, **({"authorization": f"Bearer {token}"} if token else {}))

        for kind in KINDS:
            for name in NAMES:
                _fill(asked, kind, name)
        yield asked, request.param


def _no_page(results: Path, output: Path, memory: Path, title: str) -> list[str]:
    return ["false"]


def _fill(asked: Ask, kind: str, name: str) -> None:
    namespace, _, bare = name.partition("/")
    body = {"name": bare, "organization": namespace, "type": kind.removesuffix("s")}
    assert asked("POST", "api/repos/create", WRITE, body).status == 200
    _commit(asked, f"api/{kind}/{name}/commit/main", FILES)
    _commit(asked, f"api/{kind}/{name}/commit/main?create_pr=1", {"notes.txt": f"{SECRET}, changed"})
    change = {"visibility": "private"} if name == HIDDEN else {"gated": "auto"} if name == "ward/gated" else {}
    assert asked("PUT", f"api/{kind}/{name}/settings", WRITE, change).status == 200


def _commit(asked: Ask, path: str, files: dict[str, str]) -> None:
    lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "files"}}]
    for name, text in files.items():
        value = {"path": name, "content": base64.b64encode(text.encode()).decode(), "encoding": "base64"}
        lines.append({"key": "file", "value": value})
    assert asked("POST", path, WRITE, "\n".join(map(json.dumps, lines)).encode()).status == 200


def _addresses(paths: tuple[str, ...], kind: str, name: str) -> list[str]:
    web = name if kind == "models" else f"{kind}/{name}"
    return [path.format(kind=kind, web=web, api=f"api/{kind}/{name}") for path in paths]


def _body(route: tuple[str, str, str]) -> Any:
    return {"paths": list(FILES), "expand": True} if route[1] == "POST" else None


def _reading(asked: Ask, token: str | None) -> Iterator[tuple[tuple[str, str, str], str, str, str, Answer]]:
    for route, paths in READS.items():
        for kind in KINDS:
            for name in NAMES:
                for path in _addresses(paths, kind, name):
                    yield route, kind, name, path, asked(route[1], path, token, _body(route))


def test_every_route_of_the_app_is_walked() -> None:
    assert {*READS, *WRITES, *OF_NO_REPOSITORY} == set(ROUTES)
    assert all(ROUTES[route].write is True for route in WRITES)
    assert all(ROUTES[route].write is False for route in READS)
    assert all(ROUTES[route].write is None for route in OF_NO_REPOSITORY)


def test_without_a_token_only_public_files_are_read(site: tuple[Ask, bool]) -> None:
    asked, open_read = site
    for route, kind, name, path, answer in _reading(asked, None):
        if not open_read:
            assert (answer.status, SECRET in answer.text) == (401, False), path
            continue
        lists = route[2] == "list" or route[0] == "site"
        if lists:
            assert HIDDEN not in answer.text, path
        elif name == HIDDEN:
            assert answer.status == 404, path
        if name != "ward/open" and not lists:
            assert SECRET not in answer.text, path
        if name == "ward/gated" and route[2] in CONTENT:
            assert answer.status == (404 if route[2] == "view" and kind != "spaces" else 401), path
    if open_read:
        # The models of all three report a result on the public dataset; its leaderboard shows those that are public.
        rows = json.loads(asked("GET", "api/datasets/ward/open/leaderboard").text)
        assert [row["modelId"] for row in rows] == ["ward/open"]


@pytest.mark.heavy
def test_every_token_reads_everything(site: tuple[Ask, bool]) -> None:
    asked, open_read = site
    # What a token may read does not depend on what anybody may.
    for token in (READ, OTHER, WRITE) if open_read else (READ,):
        _reads_everything(asked, token)


def _reads_everything(asked: Ask, token: str) -> None:
    shown = set()
    for route, kind, name, path, answer in _reading(asked, token):
        absent = (route[2] == "leaderboard" and kind != "datasets") or (route[2] == "view" and kind != "spaces")
        # A page of results is being made, or could not be: its command fails here.
        made = {202, 500} if "leaderboard/page" in path else {200}
        assert answer.status in ({404} if absent else made), (path, answer.text)
        shown |= {(route, NAMES[name])} if SECRET in answer.text else set()
    # The walk sees content where there is some, so that it could fail.
    for visible in NAMES.values():
        assert {route[2] for route, kind in shown if kind == visible} >= {*CONTENT, "", "tree", "discussions"}


def test_who_may_not_write_changes_nothing(site: tuple[Ask, bool]) -> None:
    asked, _ = site
    before = [asked("GET", f"api/{kind}/{name}", WRITE).text for kind in KINDS for name in NAMES]
    for route, path in WRITES.items():
        for kind in KINDS:
            for name in NAMES:
                (address,) = _addresses((path,), kind, name)
                body = {"name": name.split("/")[1], "organization": "ward", "type": kind.removesuffix("s")}
                assert asked(route[1], address, None, body).status == 401, address
                assert asked(route[1], address, READ, body).status == 403, address
    assert [asked("GET", f"api/{kind}/{name}", WRITE).text for kind in KINDS for name in NAMES] == before


def test_nothing_else_helps_without_a_token(site: tuple[Ask, bool]) -> None:
    asked, open_read = site
    digest = json.loads(asked("POST", "api/models/ward/gated/paths-info/main", WRITE, {"paths": ["notes.txt"]}).text)
    for path in ("ward/gated/resolve/main/notes.txt", f"ward/gated/resolve/{'main'}/notes.txt?token={WRITE}"):
        for headers in (
            {"range": "bytes=0-3"},
            {"if-none-match": f'"{digest[0]["oid"]}"'},
            {"cookie": f"token={WRITE}"},
            {"x-forwarded-user": "alice"},
        ):
            for method in ("GET", "HEAD"):
                answer = asked(method, path, None, None, **headers)
                assert (answer.status, SECRET[:4] in answer.text) == (401, False), (path, headers)
    if open_read:
        page = asked("GET", "ward/gated", None, None, accept="text/html").text
        assert "This repository is gated" in page
        assert "notes.txt" in page


def test_long_metadata_cost_a_stranger_nothing_and_are_checked_for_a_token(
    site: tuple[Ask, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = site
    content = "---\n" + "a: [\n" * 4000 + "\n---\n"
    with monkeypatch.context() as patch:
        patch.setattr("ecg_hub.server.routes_hub.metadata", lambda text: pytest.fail("it was read"))
        answer = asked("POST", "api/validate-yaml", None, {"content": content})
    assert (answer.status, "without a token" in answer.text) == (200, True)
    assert asked("POST", "api/validate-yaml", READ, {"content": content}).status == 400
    assert asked("POST", "api/validate-yaml", None, {"content": "---\na: [\n---\n"}).status == 400
    # The text below the metadata may be as long as it likes.
    answer = asked("POST", "api/validate-yaml", None, {"content": "---\na: 1\n---\n" + "x" * 100_000})
    assert json.loads(answer.text) == {"errors": [], "warnings": []}


def test_looking_writes_nothing(tmp_path: Path) -> None:
    with open_hub(tmp_path / "hub", Options(min_free=MB)) as hub:
        app = HubApp(hub, "127.0.0.1")

        def asked(method: str, path: str, token: str | None = None, body: Any = None) -> Answer:
            return ask(app, method, path, body)

        _fill(asked, "models", "ward/open")
        oid = json.loads(asked("POST", "api/models/ward/open/super-squash/main", None, {}).text)["commitOid"]
        (hub.history.trees.path(hub.history.trees.write({}))).unlink()
        before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "hub").rglob("*"))
        for paths in READS.values():
            for path in _addresses(paths, "models", "ward/open"):
                asked("GET", path)
        added = re.findall(r"<td>added</td><td>([^<]+)</td>", asked("GET", f"ward/open/commit/{oid}").text)
        assert set(added) >= set(FILES)
        assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "hub").rglob("*")) == before
