"""Folders of a revision as small files that revisions share, and a tree while it is changed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.server.naming import RequestError, bad_request
from ecg_hub.server.storage import Disk, Together, lfs_pointer, make_fan

MAX_KEPT = 200_000  # entries of folders in memory, about 100 MB


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
        self._guard = threading.Lock()
        self._recent: OrderedDict[str, Mapping[str, Node]] = OrderedDict()
        self._kept = 0

    def path(self, oid: str) -> Path:
        """Return where a folder's file lies."""
        return self.folder / oid[:2] / oid

    def read(self, oid: str) -> Mapping[str, Node]:
        """Return what is in a folder; those read last stay in memory, which never go stale."""
        with self._guard:
            if (known := self._recent.get(oid)) is not None:
                self._recent.move_to_end(oid)
                return known
        nodes = {name: _node(fields) for name, fields in json.loads(self.path(oid).read_bytes()).items()}
        with self._guard:
            if oid not in self._recent:
                self._recent[oid] = nodes
                self._kept += len(nodes) + 1
            # By entries and not by folders: one folder may have twenty thousand, a new one with every commit.
            while self._kept > MAX_KEPT and len(self._recent) > 1:
                self._kept -= len(self._recent.popitem(last=False)[1]) + 1
        return nodes

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

    def changes(self, old: str | None, new: str, prefix: str = "") -> Iterator[tuple[str, File | None, File | None]]:
        """Yield path, old and new file of every file that differs; equal folders are not looked into."""
        if old == new:
            return
        before, after = self.read(old) if old else {}, self.read(new)
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
