"""What is on the disk when: flushed before it is named, and the branch moved last."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.server.audit import audit
from ecg_hub.server.calls import Hub, Options
from ecg_hub.server.history import CommitMessage, Operation
from ecg_hub.server.repos import MAIN, Repo, State, now
from ecg_hub.server.storage import Together, git_oid
from ecg_hub.server.trees import File

WORDS = CommitMessage("alice", "a commit")


@pytest.fixture
def store(tmp_path: Path) -> tuple[Hub, Repo]:
    hub = Hub(tmp_path, Options(min_free=0), None, b"key")
    first = hub.history.first("alice")
    return hub, hub.repos.create("models", "ward/ecg", State(now(), heads={MAIN: first[0]}), first)


def _commit(hub: Hub, repo: Repo, path: str, content: bytes) -> str:
    writer = hub.blobs.writer(len(content))
    try:
        writer.write([content])
        sha256 = hashlib.sha256(content).hexdigest()
        writer.finish(sha256, len(content))
    finally:
        writer.close()
    small = File(git_oid(b"small"), 5, _added(hub, b"small"))
    steps = [Operation(path, File("0" * 40, len(content), sha256, lfs=True)), Operation(f"{path}.txt", small)]
    return hub.history.commit(repo, MAIN, steps, WORDS).oid


def test_everything_is_flushed_before_it_is_named_and_the_branch_moves_last(
    store: tuple[Hub, Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, named = set[int](), list[str]()
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    def record_replace(source: Any, target: Any) -> None:
        assert os.stat(source).st_ino in flushed
        assert os.stat(source).st_size > 0
        replace(source, target)
        named.append(Path(target).parts[-3 if "commits" not in str(target) else -2])

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    _commit(*store, "a/b.bin", b"\0content")
    # Content, the folder a, the root folder, the commit; then the state, in the folder of the repository.
    assert named == ["blobs", "blobs", "trees", "trees", "commits", "ward"]


@pytest.mark.parametrize("step", range(6))
def test_a_commit_that_breaks_off_anywhere_leaves_the_old_head_whole(
    store: tuple[Hub, Repo], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    hub, repo = store
    before = _commit(hub, repo, "old.bin", b"\0old")
    replace, count = os.replace, 0

    def break_off(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count > step:
            raise OSError("broken off")
        replace(source, target)

    def two_commits() -> None:
        _commit(hub, repo, "new/one.bin", b"\0new content")
        _commit(hub, repo, "new/two.bin", b"\0newer content")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", break_off)
        with pytest.raises(OSError, match="broken off"):
            two_commits()
    again = Hub(hub.disk.root, Options(min_free=0), None, b"key")
    head = again.repos.get("models", "ward/ecg").state().heads[MAIN]
    assert not audit(again).problems
    tree = again.history.read(repo, head).tree
    names = set(again.history.trees.files(tree))
    assert names in ({"old.bin", "old.bin.txt"}, {"old.bin", "old.bin.txt", "new/one.bin", "new/one.bin.txt"})
    assert (head == before) == ("new/one.bin" not in names)
    _commit(again, repo, "new/one.bin", b"\0new content")
    assert "new/one.bin" in again.history.trees.files(again.history.read(repo, repo.state().heads[MAIN]).tree)


def test_trees_share_folders_and_tell_what_changed(store: tuple[Hub, Repo]) -> None:
    hub, repo = store
    trees = hub.history.trees
    for name in ("a/x", "a/y", "b/z"):
        _commit(hub, repo, name, name.encode())
    first = hub.history.read(repo, repo.state().heads[MAIN]).tree
    _commit(hub, repo, "b/z", b"other")
    second = hub.history.read(repo, repo.state().heads[MAIN]).tree
    assert trees.find(first, "a") == trees.find(second, "a")
    assert [path for path, _, _ in trees.changes(first, second)] == ["b/z"]
    steps = [Operation("a", folder=True), Operation("a", trees.files(first)["b/z"])]
    third = hub.history.commit(repo, MAIN, steps, WORDS).tree
    changed = {path: (before is None, after is None) for path, before, after in trees.changes(second, third)}
    assert changed["a"] == (True, False)
    assert changed["a/x"] == (False, True)
    assert {path for path, _, _ in trees.changes(third, second)} == set(changed)


def _added(hub: Hub, *contents: bytes) -> str:
    with Together(hub.disk) as files:
        return [hub.blobs.add(content, files) for content in contents][-1]


def test_many_files_are_flushed_together_and_named_afterwards(
    store: tuple[Hub, Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, repo = store
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    contents = [b"content %d" % number for number in range(400)]
    with Together(hub.disk) as files:
        names = [hub.blobs.add(content, files) for content in contents]
        assert not any(hub.blobs.path(name).exists() for name in names)
    inodes = {hub.blobs.path(name).stat().st_ino for name in names}
    # Every file once, and every folder once, where each file flushed its folder too.
    assert inodes <= set(flushed)
    assert len(flushed) <= 400 + 256
    assert all(hub.blobs.path(name).read_bytes() == content for name, content in zip(names, contents, strict=True))
    steps = [Operation(f"d{n % 20}/{n}", File("0" * 40, 10, name)) for n, name in enumerate(names)]
    hub.history.commit(repo, MAIN, steps, CommitMessage("a", "many"))
    assert not list(hub.disk.temporary.iterdir())


def test_a_full_disk_leaves_none_of_the_files_that_wait(
    store: tuple[Hub, Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, _ = store

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(hub.blobs.all())
    with monkeypatch.context() as patch:
        patch.setattr("ecg_hub.server.storage.flush_file", full)
        with pytest.raises(OSError, match="No space"):
            _added(hub, b"one", b"one", b"two")
    assert not list(hub.disk.temporary.iterdir())
    assert set(hub.blobs.all()) == before


def test_folders_in_memory_are_bounded_by_their_entries(
    store: tuple[Hub, Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = store[0].history.trees
    monkeypatch.setattr("ecg_hub.server.trees.MAX_KEPT", 1000)
    oids = [trees.write({f"{number}-{n}": File("0" * 40, n, "0" * 64) for n in range(90)}) for number in range(30)]
    for oid in [*oids, *oids[:5], oids[0], oids[0]]:
        assert len(trees.read(oid)) == 90
    assert sum(len(nodes) + 1 for nodes in trees._recent.values()) == trees._kept <= 1000
    assert oids[0] in trees._recent
    assert trees.read(oids[0]) is trees.read(oids[0])
    # One that is over the bound alone is read as well.
    large = trees.write({f"{n}": File("0" * 40, n, "0" * 64) for n in range(2000)})
    assert len(trees.read(large)) == 2000
    trees.read(oids[1])
    assert set(trees._recent) == {oids[1]}
