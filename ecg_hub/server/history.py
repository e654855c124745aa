"""Folders of a revision as small files that revisions share, and commits. A branch moves in one step, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ecg_hub.server.naming import RequestError, bad_request
from ecg_hub.server.repos import MAIN, Repo, State, now
from ecg_hub.server.storage import Disk, Together, lfs_pointer, make_fan


@dataclass(frozen=True, slots=True)
class File:
    """A file of a revision.

    Attributes:
        oid: git's id of the file, or of the pointer that git would keep in its place.
        size: bytes.
        sha256: of the content.
        lfs: whether the client sent it as a large file.
    """

    oid: str
    size: int
    sha256: str
    lfs: bool = False

    @property
    def etag(self) -> str:
        """What the client caches the file under."""
        # As on the public hub: what a client has in its cache is found again, whichever hub it came from.
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a revision; `oid` is a digest of all that is in it."""

    oid: str


Node = File | Folder


class TreeStore:
    """The folder `trees/ab/abcd...`; a file in it is whole and never changes."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.folder = disk.root / "trees"
        make_fan(self.folder)
        # Around the bound method: a decorator's cache would keep every store alive. What is named by its content
        # never changes.
        self.read = lru_cache(maxsize=4096)(self._read)

    def path(self, oid: str) -> Path:
        """Return where a folder's file lies."""
        return self.folder / oid[:2] / oid

    def _read(self, oid: str) -> Mapping[str, Node]:
        return {name: _node(fields) for name, fields in json.loads(self.path(oid).read_bytes()).items()}

    def write(self, nodes: Mapping[str, Node], files: Together | None = None) -> str:
        """Keep a folder, from the flush of `files` on where they are given; returns its oid."""
        # By name, whatever order they came in: equal folders are one file with one id.
        content = json.dumps({name: _fields(nodes[name]) for name in sorted(nodes)}, separators=(",", ":")).encode()
        # 40 digits, as clients expect of git.
        oid = hashlib.sha256(content).hexdigest()[:40]
        path = self.path(oid)
        with nullcontext(files) if files else Together(self.disk) as taken:
            # Perhaps another request's, renamed a moment ago and not durable yet.
            taken.settle(path) if path.exists() else taken.write(path, content)
        return oid

    def find(self, root: str, path: str) -> Node | None:
        """Return the file or folder at a path of the tree `root`, or None."""
        node: Node | None = Folder(root)
        for part in path.split("/") if path else ():
            if not isinstance(node, Folder):
                return None
            node = self.read(node.oid).get(part)
        return node

    def walk(self, root: str, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """Yield path and node of everything below a folder, a folder before what is in it."""
        for name, node in self.read(root).items():
            yield f"{prefix}{name}", node
            if isinstance(node, Folder):
                yield from self.walk(node.oid, f"{prefix}{name}/")

    def files(self, root: str) -> dict[str, File]:
        """Return all files by path."""
        return {path: node for path, node in self.walk(root) if isinstance(node, File)}

    def changes(self, old: str, new: str, prefix: str = "") -> Iterator[tuple[str, File | None, File | None]]:
        """Yield path, old and new file of every file that differs; equal folders are not looked into."""
        if old == new:
            return
        before, after = self.read(old), self.read(new)
        for name in sorted({*before, *after}):
            first, second = before.get(name), after.get(name)
            if first == second:
                continue
            yield from self._differ(f"{prefix}{name}", first, second)

    def _differ(
        self, path: str, first: Node | None, second: Node | None
    ) -> Iterator[tuple[str, File | None, File | None]]:
        if isinstance(first, Folder) and isinstance(second, Folder):
            yield from self.changes(first.oid, second.oid, f"{path}/")
            return
        if isinstance(first, Folder):
            yield from ((inner, file, None) for inner, file in self._below(first, path))
            first = None
        if isinstance(second, Folder):
            yield from ((inner, None, file) for inner, file in self._below(second, path))
            second = None
        if first or second:
            yield path, first, second

    def _below(self, folder: Folder, path: str) -> Iterator[tuple[str, File]]:
        return ((inner, node) for inner, node in self.walk(folder.oid, f"{path}/") if isinstance(node, File))


class Draft:
    """A tree being changed; only folders that are touched are read and written."""

    def __init__(self, trees: TreeStore, root: str | None) -> None:
        self._trees = trees
        # A copy: `read` gives every caller the same object from its cache.
        self._nodes: dict[str, Node | Draft] = dict(trees.read(root)) if root else {}

    def put(self, path: str, file: File) -> None:
        """Add or replace a file."""
        folder, _, rest = path.partition("/")
        if not rest:
            if isinstance(self._nodes.get(folder), (Folder, Draft)):
                raise bad_request(
                    f"{folder!r} is a folder of the repository and cannot become a file; delete it first."
                )
            self._nodes[folder] = file
            return
        inner = self._inner(folder, make=True)
        if inner is None:
            raise bad_request(f"{folder!r} is a file of the repository and cannot become a folder; delete it first.")
        inner.put(rest, file)

    def delete(self, path: str, folder: bool) -> None:
        """Remove a file or a folder."""
        head, _, rest = path.partition("/")
        if rest:
            inner = self._inner(head, make=False)
            if inner is None:
                raise _nothing(path)
            inner.delete(rest, folder)
            # As in git, there are no empty folders.
            if not inner._nodes:
                del self._nodes[head]
            return
        if not isinstance(self._nodes.get(head), (Folder, Draft) if folder else File):
            raise _nothing(path)
        del self._nodes[head]

    def write(self, files: Together) -> str:
        """Keep the tree, from the flush of `files` on; returns its oid."""
        done: dict[str, Node] = {}
        for name, node in self._nodes.items():
            done[name] = Folder(node.write(files)) if isinstance(node, Draft) else node
        return self._trees.write(done, files)

    def _inner(self, name: str, make: bool) -> Draft | None:
        node = self._nodes.get(name)
        if isinstance(node, Draft):
            return node
        if isinstance(node, Folder) or (node is None and make):
            draft = Draft(self._trees, node.oid if isinstance(node, Folder) else None)
            self._nodes[name] = draft
            return draft
        return None


def listing(path: str, node: Node) -> dict[str, Any]:
    """Return a file or folder as the tree endpoints list it."""
    if isinstance(node, Folder):
        return {"type": "directory", "path": path, "oid": node.oid, "size": 0}
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": node.oid, "size": node.size}
    if node.lfs:
        pointer = len(lfs_pointer(node.sha256, node.size))
        entry["lfs"] = {"oid": node.sha256, "size": node.size, "pointerSize": pointer}
    return entry


def _nothing(path: str) -> RequestError:
    # huggingface_hub looks for this wording to explain the trailing '/' of folders.
    return RequestError(404, f"A file with this name doesn't exist: {path!r}.", "EntryNotFound")


def _fields(node: Node) -> list[Any]:
    return [node.oid] if isinstance(node, Folder) else [node.oid, node.size, node.sha256, int(node.lfs)]


def _node(fields: list[Any]) -> Node:
    return Folder(fields[0]) if len(fields) == 1 else File(fields[0], fields[1], fields[2], bool(fields[3]))


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
