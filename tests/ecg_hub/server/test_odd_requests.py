"""Requests that are well-formed and make no sense: each is told so in a sentence, and none ends in a trace."""

from __future__ import annotations

import errno
import gc
import json
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.server.app import ROUTES, HubApp
from ecg_hub.server.calls import Hub, Options
from ecg_hub.server.serve import open_hub
from tests.ecg_hub.server.test_access import READS, WRITES
from tests.support.asgi import Answer, ask
from tests.support.hub import MB

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 10**30, "", " ", "a", "x" * 300, "ä" * 200, "\0", "\ud800", "../.."),
    *([], [None], [[]], ["a"], [{}], {}, {"a": {}}, {"oid": []}, [{"path": 1}], [{"oid": "0" * 64, "size": "1"}]),
)  # fmt: skip
KEYS = (
    *("name", "organization", "type", "visibility", "private", "sdk", "fromRepo", "toRepo", "gated", "startingPoint"),
    *("tag", "message", "files", "operation", "hash_algo", "objects", "oid", "size", "paths", "expand", "title"),
    *("description", "pullRequest", "comment", "content", "status"),
)
MORE = (
    *("{api}/discussions/1/comment", "{api}/discussions/1/title", "{api}/discussions/1/status"),
    *("{api}/discussions/1/merge", "{api}/discussions/1/comment/x/edit", "{api}/discussions/1/comment/x/hide"),
)
Asking = Callable[..., Answer]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with open_hub(tmp_path / "hub", Options(min_free=MB)) as opened:
        yield opened


@pytest.fixture
def asked(hub: Hub) -> Asking:
    app = HubApp(hub, "127.0.0.1")
    return lambda method, path, body=None, **headers: ask(app, method, path, body, **headers)


def _fill(asked: Asking) -> None:
    assert asked("POST", "api/repos/create", {"name": "m", "organization": "ward"}).status == 200
    assert asked("POST", "api/models/ward/m/discussions", {"title": "one", "description": "text"}).status == 200


def _put(asked: Asking, path: str, text: str) -> None:
    lines: list[Any] = [{"key": "header", "value": {"summary": "s"}}]
    lines.append({"key": "file", "value": {"path": path, "content": text}})
    assert asked("POST", "api/models/ward/m/commit/main", "\n".join(map(json.dumps, lines)).encode()).status == 200


def _check(answer: Answer, what: object) -> None:
    assert answer.status < 500, (what, answer.text)
    if answer.status >= 400:
        assert len(json.loads(answer.text)["error"]) > 10, what


@pytest.mark.heavy
def test_json_of_any_type_is_refused_in_a_sentence(asked: Asking, caplog: pytest.LogCaptureFixture) -> None:
    _fill(asked)
    rng = random.Random(0)
    base = {"name": "m2", "organization": "ward", "title": "a title", "comment": "c", "content": "c", "tag": "v1"}
    base |= {"operation": "upload", "oid": "0" * 64, "size": 1, "fromRepo": "ward/m", "toRepo": "ward/m3"}
    addresses = [(route[1], path) for route, path in WRITES.items() if route != ("site", "DELETE", "api/repos/delete")]
    addresses += [("POST", path) for path in MORE] + [("POST", "api/validate-yaml"), ("POST", "{api}/paths-info/main")]
    for method, path in addresses:
        if "move" in path:
            continue
        for key in KEYS:
            # Others at each place; all of them were tried once.
            for value in rng.sample(ODD, 1):
                body = {**base, key: value}
                _check(asked(method, path.format(api="api/models/ward/m", web="ward/m"), body), (path, key, value))
    for key in ("fromRepo", "toRepo", "type"):
        for value in ODD:
            _check(asked("POST", "api/repos/move", {**base, "fromRepo": "ward/none", key: value}), (key, value))
            _check(asked("DELETE", "api/repos/delete", {"name": "none", key: value}), (key, value))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("value", [[], {}], ids=repr)
def test_a_visibility_that_is_no_word(asked: Asking, value: Any) -> None:
    _fill(asked)
    body = {"name": "m2", "organization": "ward", "visibility": value}
    for method, path in (("POST", "api/repos/create"), ("PUT", "api/models/ward/m/settings")):
        answer = asked(method, path, body)
        _check(answer, path)
        assert answer.status >= 400


def test_lines_of_commits_of_any_type(asked: Asking) -> None:
    _fill(asked)
    rng = random.Random(0)
    for key in ("header", "file", "lfsFile", "deletedFile", "deletedFolder"):
        for field in ("path", "content", "encoding", "oid", "size", "summary", "description", "parentCommit"):
            for value in rng.sample(ODD, 3):
                good = {"path": "a", "content": "", "oid": "0" * 64, "size": 1, "summary": "s"}
                lines = [{"key": "header", "value": {"summary": "s"}}, {"key": key, "value": {**good, field: value}}]
                body = "\n".join(map(json.dumps, lines)).encode()
                _check(asked("POST", "api/models/ward/m/commit/main", body), (key, field, value))


def test_queries_and_addresses_of_any_form(asked: Asking) -> None:
    _fill(asked)
    words = ("limit", "skip", "cursor", "p", "expand", "filter", "sort", "author", "search", "type", "status", "diff")
    for route, paths in READS.items():
        for path in paths:
            address = path.partition("?")[0].format(kind="models", web="ward/m", api="api/models/ward/m")
            for value in ("", "-1", "1e9", "%C2%B2", "%00", "9" * 40, "x" * 300):
                query = "&".join(f"{word}={value}" for word in words)
                _check(asked(route[1], f"{address}?{query}", {} if route[1] == "POST" else None), (address, value))
    for name in ("n" * 300, "ward/" + "n" * 300, "n" * 300 + "/m", "%C3%A4" * 200, "%F0%9F%92%93/m", "a%2Fb/c", "./.."):
        for path in (f"api/models/{name}", name, f"{name}/resolve/main/a", f"{name}.git/info/lfs/objects/batch"):
            answer = asked("POST" if "batch" in path else "GET", path, {"operation": "upload", "objects": []})
            _check(answer, path)
            assert answer.status in (400, 404), path
    for path in ("ward/m/tree/main/" + "n" * 300, "ward/m/blob/main/" + "n/" * 200, f"ward/m/tree/{'n' * 300}"):
        _check(asked("GET", path), path)


@pytest.mark.parametrize(
    "config",
    ["NaN", "1e999", "-Infinity", '[{"a": [NaN]}]', "9" * 4000, "9" * 5000, "[" * 900 + "]" * 900, '"\\ud800"'],
    ids=["nan", "beyond floats", "infinity", "inside", "long", "too long", "deep", "half a letter"],
)
def test_numbers_that_json_lacks_in_a_config_hide_no_repository(asked: Asking, config: str) -> None:
    _fill(asked)
    _put(asked, "config.json", f'{{"model_type": {config}, "architectures": {config}, "auto_map": {{"a": {config}}}}}')
    for path in ("api/models/ward/m", "api/models?full=1&config=1", "api/models?expand=config", "models", "ward/m"):
        assert asked("GET", path).status == 200, path


@pytest.mark.parametrize("value", ["0x" + "f" * 300, "1" + "0" * 309, ".nan", "-.inf", "1e999"])
def test_a_reported_value_that_is_no_number_leaves_a_leaderboard_standing(asked: Asking, value: str) -> None:
    _fill(asked)
    assert asked("POST", "api/repos/create", {"name": "ward/d", "type": "dataset"}).status == 200
    both = (f"- dataset: {{id: ward/d, task_id: t}}\n  value: {number}\n" for number in (value, "0.25"))
    _put(asked, ".eval_results/r.yaml", "".join(both))
    assert "0.25" in asked("GET", "datasets/ward/d/leaderboard").text
    rows = json.loads(asked("GET", "api/datasets/ward/d/leaderboard").text)
    assert [row["value"] for row in rows] == [0.25]
    assert asked("GET", "api/models/ward/m?expand=evalResults").status == 200


def test_the_page_of_a_leaderboard_says_what_models_note_of_their_scores(asked: Asking) -> None:
    """Scores of two epochs or of nine records stood beside the others without a word."""
    _fill(asked)
    assert asked("POST", "api/repos/create", {"name": "ward/d", "type": "dataset"}).status == 200
    notes = ("'protocol paper, deviations: records=9/16 test'", "<b>" + "x" * 400, '"\\ud800"', "[3]")
    entries = (f"- dataset: {{id: ward/d, task_id: t}}\n  value: 0.5\n  notes: {note}\n" for note in notes)
    _put(asked, ".eval_results/r.yaml", "".join(entries))
    answer = asked("GET", "datasets/ward/d/leaderboard")
    assert answer.status == 200
    assert "records=9/16 test" in answer.text
    assert "&lt;b&gt;xxx" in answer.text
    assert "x" * 298 not in answer.text
    assert "[3]" in answer.text


def test_sizes_of_thousands_of_digits(asked: Asking) -> None:
    _fill(asked)
    # Each can be written, their sum not.
    objects = ",".join(f'{{"oid": "{number:064x}", "size": {"9" * 4299}}}' for number in range(20))
    for path, key in (("ward/m.git/info/lfs/objects/batch", "objects"), ("api/models/ward/m/preupload/main", "files")):
        answer = asked("POST", path, f'{{"operation": "upload", "{key}": [{objects}]}}'.encode())
        _check(answer, path)
        assert answer.status == 400
        assert len(answer.text) < 500


@pytest.mark.parametrize(
    "host",
    [
        *("evil@127.0.0.1", "evil:x@localhost", "127.0.0.1/evil", "127.0.0.1?evil", "127.0.0.1#evil", "localhost\\x"),
        *("[::1]evil", "[::1", "::1", "127.0.0.1:99999", "127.0.0.1:80:80", "127.0.0.1:x", "localhost x", "", "127.1"),
        *("localhost.evil.example", "evil.example", "2130706433", "localhost%00", "[::1%25lo]", "127.0.0.1,evil"),
    ],
)  # fmt: skip
def test_a_hub_without_tokens_answers_to_exact_loopback_names_only(asked: Asking, host: str) -> None:
    assert asked("GET", "api/models", host=host).status in (400, 403)
    for good in ("127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000"):
        assert asked("GET", "api/models", host=good).status == 200
    answer = asked("POST", "api/repos/create", {"name": "x"}, origin="http://[")
    assert (answer.status, "other sites" in answer.text) == (403, True)


def test_names_that_were_asked_for_leave_nothing_behind(asked: Asking, hub: Hub) -> None:
    _fill(asked)
    for number in range(300):
        assert asked("GET", f"api/models/ward/none{number}").status == 404
    gc.collect()
    assert len(hub.repos._locks) < 5
    one, two = hub.repos.get("models", "ward/m"), hub.repos.get("models", "ward/m")
    assert one.lock is two.lock


@pytest.mark.parametrize("fails", ["write", "rename"])
def test_a_full_disk_leaves_nothing_of_a_new_repository(
    asked: Asking, hub: Hub, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(hub.disk.root.glob("repos/*/*")) + sorted(hub.disk.temporary.iterdir())
    with monkeypatch.context() as patch:
        if fails == "write":
            patch.setattr(hub.disk, "write", full)
        else:
            patch.setattr("ecg_hub.server.repos.os.rename", full)
        hub.history.trees.write({}) if fails == "rename" else None
        answer = asked("POST", "api/repos/create", {"name": "m", "organization": "new"})
    assert (answer.status, "disk is full" in answer.text) == (507, True)
    assert sorted(hub.disk.root.glob("repos/*/*")) + sorted(hub.disk.temporary.iterdir()) == before
    assert asked("POST", "api/repos/create", {"name": "m", "organization": "new"}).status == 200


def test_every_route_with_a_body_is_tried() -> None:
    tried = {*WRITES, ("api", "POST", "paths-info"), ("site", "POST", "api/validate-yaml")}
    assert {route for route, about in ROUTES.items() if about.body == "json"} <= tried
