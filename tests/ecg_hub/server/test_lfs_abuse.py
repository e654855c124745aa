"""The LFS protocol, played wrongly: nothing that was not uploaded whole is ever committed, kept or shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecg_hub.server import auth
from ecg_hub.server.app import HubApp
from ecg_hub.server.audit import audit
from ecg_hub.server.calls import Hub, Options
from ecg_hub.server.serve import open_hub
from tests.support.asgi import Answer, ask
from tests.support.hub import MB

CONTENT = b"\0what is uploaded"
OID, OTHER = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha256(b"\0other").hexdigest()
BATCH = "ward/m.git/info/lfs/objects/batch"
Asking = Callable[..., Answer]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with open_hub(tmp_path / "hub", Options(min_free=MB, max_file=1000)) as opened:
        yield opened
        # Whatever was tried: nothing half-way in, and what is referred to is there.
        assert not list(opened.disk.temporary.iterdir())
        assert not audit(opened).problems


@pytest.fixture
def asked(hub: Hub) -> Asking:
    app = HubApp(hub, "127.0.0.1")
    assert ask(app, "POST", "api/repos/create", {"name": "m", "organization": "ward"}).status == 200
    return lambda method, path, body=None, **headers: ask(app, method, path, body, **headers)


def _href(asked: Asking, oid: str = OID, size: int = len(CONTENT)) -> str:
    answer = asked("POST", BATCH, {"operation": "upload", "objects": [{"oid": oid, "size": size}]})
    address = urlsplit(json.loads(answer.text)["objects"][0]["actions"]["upload"]["href"])
    return f"{address.path.lstrip('/')}?{address.query}"


def _commit(asked: Asking, oid: str = OID, size: int | None = len(CONTENT)) -> Answer:
    value = {"path": "w.bin", "algo": "sha256", "oid": oid, **({} if size is None else {"size": size})}
    lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "lfsFile", "value": value}]
    return asked("POST", "api/models/ward/m/commit/main", "\n".join(map(json.dumps, lines)).encode())


def test_what_was_not_uploaded_is_not_committed(asked: Asking, hub: Hub) -> None:
    href = _href(asked)
    assert (answer := _commit(asked)).status == 400
    assert "was not uploaded" in answer.text
    assert asked("POST", f"lfs/{OID}/verify", {"oid": OID, "size": len(CONTENT)}).status == 404
    assert not list(hub.blobs.all())
    assert asked("PUT", href, CONTENT).status == 200
    assert asked("POST", f"lfs/{OID}/verify", {"oid": OID, "size": len(CONTENT)}).status == 200
    # A false size is found when it is there, too.
    assert _commit(asked, size=3).status == 400
    assert _commit(asked, size=None).status == 200


@pytest.mark.parametrize(
    ("content", "length"),
    [(CONTENT[:-1], None), (CONTENT + b"x", None), (b"x" * len(CONTENT), None), (CONTENT, "3"), (b"", None)],
    ids=["short", "long", "other digest", "false length", "empty"],
)
def test_content_that_is_not_what_was_announced_is_not_kept(
    asked: Asking, hub: Hub, content: bytes, length: str | None
) -> None:
    answer = asked("PUT", _href(asked), content, **({"content-length": length} if length else {}))
    assert answer.status in (400, 413)
    assert not list(hub.blobs.all())
    assert asked("PUT", _href(asked), CONTENT).status == 200


def test_addresses_are_for_one_content_one_size_and_one_day(asked: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    href = _href(asked)
    for wrong in (
        href.replace(OID, OTHER),
        href.replace(f"size={len(CONTENT)}", "size=5"),
        href.replace("expires=", "expires=9"),
        href[:-1] + ("0" if href[-1] != "0" else "1"),
        href.partition("?")[0],
        f"{href.partition('?')[0]}?size=5&expires=9999999999&signature=",
        f"{href.partition('?')[0]}?size=5&expires=9999999999&signature=%FF",
    ):
        assert asked("PUT", wrong, CONTENT).status == 403, wrong
    monkeypatch.setattr(auth.time, "time", lambda: 10**10)
    assert asked("PUT", href, CONTENT).status == 403
    monkeypatch.undo()
    assert [asked("PUT", href, CONTENT).status for _ in range(3)] == [200, 200, 200]


def test_batches_that_ask_for_too_much_or_for_nonsense(asked: Asking) -> None:
    def batch(*objects: object, **changes: object) -> Answer:
        return asked("POST", BATCH, {"operation": "upload", "objects": list(objects), **changes})

    one = {"oid": OID, "size": 10}
    assert batch(*[{"oid": f"{n:064x}", "size": 1} for n in range(1001)]).status == 400
    assert batch(one, operation="download").status == 400
    assert batch(one, hash_algo="md5").status == 400
    for oid in ("../../key", OID.upper(), OID[:-1], "", None, 5):
        assert batch({"oid": oid, "size": 1}).status == 400
    for size in (-1, 1.5, "5", True, None, 2**63, 10**30):
        assert batch({"oid": OID, "size": size}).status == 400
    for size in (1001, 2**63 - 1):
        (refused,) = json.loads(batch({"oid": OID, "size": size}).text)["objects"]
        assert refused["error"]["code"] in (413, 507)
        assert "actions" not in refused
    # Twice in one batch: one address, for the later size.
    assert len(json.loads(batch(one, {**one, "size": 11}).text)["objects"]) == 1
    assert asked("POST", "ward/none.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}).status == 404
