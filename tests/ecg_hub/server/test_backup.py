"""A copy of a hub while it is served, what is restored from it, and folders that earlier versions wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from ecg_hub.errors import InputError
from ecg_hub.server import audit as audits
from ecg_hub.server.app import HubApp
from ecg_hub.server.audit import audit, backup
from ecg_hub.server.calls import Hub, Options
from ecg_hub.server.history import CommitMessage, Operation
from ecg_hub.server.repos import MAIN, Repo, State, now
from ecg_hub.server.serve import open_hub
from ecg_hub.server.storage import Together, git_oid
from ecg_hub.server.trees import File
from eval_harness.cli.hub.main import main
from tests.support.asgi import ask

OPTIONS = Options(min_free=0)


def _create(hub: Hub, name: str) -> Repo:
    first = hub.history.first("alice")
    return hub.repos.create("models", name, State(now(), heads={MAIN: first[0]}), first)


def _commit(hub: Hub, repo: Repo, path: str, content: bytes) -> str:
    with Together(hub.disk) as files:
        sha256 = hub.blobs.add(content, files)
    step = Operation(path, File(git_oid(content), len(content), sha256))
    return hub.history.commit(repo, MAIN, [step], CommitMessage("alice", path)).oid


def test_a_copy_of_a_busy_hub_is_whole_and_a_second_one_takes_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_hub(tmp_path / "hub", OPTIONS) as hub:
        repo, copied = _create(hub, "ward/m"), audits._copy
        heads = [_commit(hub, repo, "0", b"0")]

        def busy(root: Path, target: Path, path: Path) -> int | None:
            # Between any two files somebody commits, as in the worst case.
            if len(heads) < 40:
                heads.append(_commit(hub, repo, f"{len(heads)}", str(len(heads)).encode()))
            return copied(root, target, path)

        with monkeypatch.context() as patch:
            patch.setattr(audits, "_copy", busy)
            backup(tmp_path / "hub", tmp_path / "copy")
        assert len(heads) > 5
        with open_hub(tmp_path / "copy", OPTIONS) as copy:
            assert not audit(copy).problems
            assert copy.repos.get("models", "ward/m").state().heads[MAIN] == heads[0]
        backup(tmp_path / "hub", tmp_path / "copy")
        assert backup(tmp_path / "hub", tmp_path / "copy") == (0, 0)
        with open_hub(tmp_path / "copy", OPTIONS) as copy:
            assert copy.repos.get("models", "ward/m").state().heads[MAIN] == heads[-1]
            assert not audit(copy).problems
        assert (tmp_path / "copy" / "key").read_bytes() == (tmp_path / "hub" / "key").read_bytes()
        assert (tmp_path / "copy" / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("step", range(0, 8, 2))
def test_an_interrupted_copy_keeps_what_was_copied_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with open_hub(tmp_path / "hub", OPTIONS) as hub:
        repo = _create(hub, "ward/m")
        before = _commit(hub, repo, "a", b"a")
        backup(tmp_path / "hub", tmp_path / "copy")
        after = _commit(hub, repo, "b", b"b")
        count, copied = 0, audits._copy

        def cut(root: Path, target: Path, path: Path) -> int | None:
            nonlocal count
            count += 1
            if count > step:
                raise OSError("cut")
            return copied(root, target, path)

        with monkeypatch.context() as patch:
            patch.setattr(audits, "_copy", cut)
            with pytest.raises(OSError, match="cut"):
                backup(tmp_path / "hub", tmp_path / "copy")
        with open_hub(tmp_path / "copy", OPTIONS) as copy:
            assert not audit(copy).problems
            assert copy.repos.get("models", "ward/m").state().heads[MAIN] == before
        backup(tmp_path / "hub", tmp_path / "copy")
        with open_hub(tmp_path / "copy", OPTIONS) as copy:
            assert copy.repos.get("models", "ward/m").state().heads[MAIN] == after


def test_what_was_deleted_goes_from_the_copy_too_even_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_hub(tmp_path / "hub", OPTIONS) as hub:
        gone, going = _create(hub, "ward/gone"), _create(hub, "ward/going")
        _create(hub, "ward/stays")
        backup(tmp_path / "hub", tmp_path / "copy")
        hub.repos.delete(gone)
        files = audits._files

        def delete_then_list(folder: Path) -> object:
            if folder.parent.name == "going" and going.folder.exists():
                hub.repos.delete(going)
            return files(folder)

        monkeypatch.setattr(audits, "_files", delete_then_list)
        backup(tmp_path / "hub", tmp_path / "copy")
    with open_hub(tmp_path / "copy", OPTIONS) as copy:
        assert [repo.id for repo in copy.repos.all("models")] == ["ward/stays"]
        assert not audit(copy).problems


def test_where_a_copy_may_not_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with open_hub(tmp_path / "hub", OPTIONS):
        for target, message in (
            (tmp_path / "hub" / "copy", "lie in each other"),
            (tmp_path, "lie in each other"),
            (tmp_path / "data", "neither empty"),
        ):
            assert main(["serve", "--root", str(tmp_path / "hub"), "--backup", str(target)]) == 1
            assert message in capsys.readouterr().err
        with open_hub(tmp_path / "other", OPTIONS), pytest.raises(InputError, match="Another process"):
            backup(tmp_path / "hub", tmp_path / "other")
        assert main(["serve", "--root", str(tmp_path / "hub"), "--backup", str(tmp_path / "copy")]) == 0
        assert "copied 1 new file, 32 bytes" in capsys.readouterr().out
    assert main(["serve", "--root", str(tmp_path / "none"), "--backup", str(tmp_path / "copy")]) == 1
    assert "not the folder of a hub" in capsys.readouterr().err
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine"


def test_a_folder_copied_with_plain_tools_while_it_is_stopped_is_the_same_hub(tmp_path: Path) -> None:
    with open_hub(tmp_path / "hub", OPTIONS) as hub:
        head = _commit(hub, _create(hub, "ward/m"), "a", b"a")
    shutil.copytree(tmp_path / "hub", tmp_path / "copy")
    with open_hub(tmp_path / "copy", OPTIONS) as copy:
        assert not audit(copy).problems
        assert ask(HubApp(copy, "127.0.0.1"), "GET", f"ward/m/resolve/{head}/a").text == "a"


def test_a_folder_of_the_first_version_is_read_and_written(tmp_path: Path) -> None:
    """As 8600052 wrote it, by hand: a change of the layout must go on reading this, or change FORMAT."""
    root, content = tmp_path / "hub", b"content"
    sha256 = hashlib.sha256(content).hexdigest()
    tree = f'{{"a.txt":["{git_oid(content)}",{len(content)},"{sha256}",0]}}'.encode()
    tree_oid = hashlib.sha256(tree).hexdigest()[:40]
    fields = {"author": "local", "date": "2026-11-22T02:41:18.000Z", "message": "", "parents": [], "title": "one"}
    commit = json.dumps({**fields, "tree": tree_oid}, sort_keys=True).encode()
    oid = hashlib.sha256(commit).hexdigest()[:40]
    pull = {"base": oid, "head": oid, "merged": None, "status": "open"}
    state = {"created": fields["date"], "gated": False, "heads": {"main": oid}, "next": 2, "private": False}
    state |= {"pulls": {"1": pull}, "sdk": None, "tags": {"v1": oid}}
    talk = {"num": 1, "title": "talk", "author": "local", "createdAt": fields["date"], "status": "open"}
    talk |= {"isPullRequest": True, "events": []}
    for path, written in {
        "FORMAT": b"ecg-hub 1\n",
        "key": b"k" * 32,
        f"blobs/{sha256[:2]}/{sha256}": content,
        f"trees/{tree_oid[:2]}/{tree_oid}": tree,
        f"repos/models/local/m/commits/{oid}": commit,
        "repos/models/local/m/state.json": json.dumps(state),
        "repos/models/local/m/discussions/1.json": json.dumps(talk),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(written if isinstance(written, bytes) else written.encode())
    with open_hub(root, OPTIONS) as hub:
        app = HubApp(hub, "127.0.0.1")
        assert not audit(hub).problems
        assert ask(app, "GET", "m/resolve/v1/a.txt").text == "content"
        (shown,) = json.loads(ask(app, "GET", "api/models/m/discussions").text)["discussions"]
        assert (shown["title"], shown["isPullRequest"]) == ("talk", True)
        _commit(hub, hub.repos.get("models", "local/m"), "b.txt", b"b")
        assert not audit(hub).problems
        assert hub.signer._key == b"k" * 32
