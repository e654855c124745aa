"""Commits, and branches that move to them in one step, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ecg_hub.server.naming import RequestError, bad_request
from ecg_hub.server.repos import MAIN, Repo, State, now
from ecg_hub.server.storage import Disk, Together
from ecg_hub.server.trees import Draft, File, TreeStore

MAX_TITLE, MAX_MESSAGE = 500, 65536  # characters


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes:
        oid: 40 hexadecimal digits, the beginning of the SHA-256 of the commit's file.
        tree: oid of its root folder.
        parents: oids; none for the first commit, two for a merge.
        author: name that goes with the token.
        date: UTC, ISO 8601.
        title: first line.
        message: the rest.
    """

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    date: str
    title: str
    message: str


@dataclass(frozen=True)
class Operation:
    """One step of a commit.

    Attributes:
        path: file or folder.
        file: what to put there; None deletes.
        folder: whether a folder is deleted.
    """

    path: str
    file: File | None = None
    folder: bool = False


@dataclass(frozen=True)
class CommitMessage:
    """Who commits and why."""

    author: str
    title: str
    message: str = ""


def encode(tree: str, parents: Iterable[str], message: CommitMessage) -> tuple[str, bytes]:
    """Return oid and content of a new commit's file."""
    fields = {
        "tree": tree,
        "parents": list(parents),
        "author": message.author,
        "date": now(),
        "title": message.title[:MAX_TITLE],
        "message": message.message[:MAX_MESSAGE],
    }
    content = json.dumps(fields, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:40], content


class History:
    """Reads and writes the commits of repositories."""

    def __init__(self, disk: Disk, trees: TreeStore) -> None:
        self.disk = disk
        self.trees = trees
        # Commits never change, so they may stay in memory.
        self._load = lru_cache(maxsize=4096)(_load)

    def read(self, repo: Repo, oid: str) -> Commit:
        """Return a commit of a repository."""
        return self._load(repo.folder / "commits" / oid)

    def first(self, author: str) -> tuple[str, bytes]:
        """Return oid and content of the first, empty commit of a repository."""
        return encode(self.trees.write({}), (), CommitMessage(author, "initial commit"))

    def add(self, repo: Repo, tree: str, parents: Iterable[str], message: CommitMessage) -> Commit:
        """Write a commit's file; nothing refers to it yet. The caller holds the repository's lock."""
        oid, content = encode(tree, parents, message)
        self.disk.write(repo.folder / "commits" / oid, content)
        return self.read(repo, oid)

    def log(self, repo: Repo, oid: str) -> Iterator[Commit]:
        """Yield a commit and its first parents back to the first commit."""
        following: str | None = oid
        while following:
            commit = self.read(repo, following)
            yield commit
            following = commit.parents[0] if commit.parents else None

    def commit(
        self,
        repo: Repo,
        revision: str,
        operations: Iterable[Operation],
        message: CommitMessage,
        parent: str | None = None,
    ) -> Commit:
        """Apply operations to a branch or pull request; returns its new head, or the old one if nothing differs."""
        steps = list(operations)
        with repo.lock:
            state = repo.state()
            head, move = branch(repo, state, revision)
            old = self.read(repo, head)
            if parent is not None and repo.resolve(parent, state) != head:
                # The client sends a commit again when its answer was lost: that is no conflict.
                return self._repeated(repo, old, steps, message, repo.resolve(parent, state))
            tree = self.apply(old.tree, steps)
            # No empty commit: a folder that is uploaded again must not lengthen the history.
            if tree == old.tree:
                return old
            # The commit's file before the state that names it: a crash in between leaves a commit that nothing leads
            # to.
            new = self.add(repo, tree, [head], message)
            move(new.oid)
            repo.save(state)
            return new

    def squash(self, repo: Repo, name: str, message: CommitMessage) -> Commit:
        """Replace the history of a branch by one commit with the same files."""
        with repo.lock:
            state = repo.state()
            head, move = branch(repo, state, name)
            new = self.add(repo, self.read(repo, head).tree, [], message)
            move(new.oid)
            repo.save(state)
            return new

    def last_changes(self, repo: Repo, oid: str, paths: Iterable[str]) -> dict[str, Commit]:
        """Return for each path the commit that last changed it or something below it."""
        waiting, latest = set(paths), dict[str, Commit]()
        for commit in self.log(repo, oid):
            if not waiting:
                break
            parents = [self.read(repo, parent) for parent in commit.parents[:1]]
            if not parents:
                latest.update(dict.fromkeys(waiting, commit))
                break
            for changed, _, _ in self.trees.changes(parents[0].tree, commit.tree):
                for path in _with_folders(changed):
                    if path in waiting:
                        latest[path] = commit
                        waiting.discard(path)
        return latest

    def apply(self, tree: str, steps: Iterable[Operation]) -> str:
        """Return the tree that operations make of a tree; nothing refers to it yet."""
        draft = Draft(self.trees, tree)
        for step in steps:
            if step.file is None:
                draft.delete(step.path, step.folder)
            else:
                draft.put(step.path, step.file)
        with Together(self.disk) as files:
            return draft.write(files)

    def _repeated(
        self, repo: Repo, head: Commit, steps: list[Operation], message: CommitMessage, parent: str
    ) -> Commit:
        """Accept a commit that arrived before, when only its answer was lost; refuse any other with a stale parent."""
        same = head.parents == (parent,) and (head.author, head.title) == (message.author, message.title[:MAX_TITLE])
        if same and self.apply(self.read(repo, parent).tree, steps) == head.tree:
            return head
        raise RequestError(
            412,
            f"{repo.id!r} has moved on: its head is {head.oid}, not {parent}. Look at the new head and commit again.",
        )


def branch(repo: Repo, state: State, revision: str) -> tuple[str, Callable[[str], None]]:
    """Return the head of a branch or pull request, and what moves it in the state."""
    name = revision.removeprefix("refs/heads/")
    if name in state.heads:
        return state.heads[name], lambda oid: state.heads.__setitem__(name, oid)
    pull = state.pulls.get(revision.removeprefix("refs/pr/")) if revision.startswith("refs/pr/") else None
    if pull is not None:
        if pull.status in ("merged", "closed"):
            raise bad_request(f"Pull request {revision!r} is {pull.status}; it takes no more commits.")
        return pull.head, lambda oid: setattr(pull, "head", oid)
    repo.resolve(revision, state)
    raise bad_request(f"{revision[:200]!r} is not a branch: commit to {MAIN!r}, another branch or a pull request.")


def _with_folders(path: str) -> Iterator[str]:
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        yield "/".join(parts[:depth])


def _load(path: Path) -> Commit:
    fields = json.loads(path.read_bytes())
    fields["parents"] = tuple(fields["parents"])
    return Commit(oid=path.name, **fields)
