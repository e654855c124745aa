"""Folders of a revision: one small file per folder, shared by all revisions in which the folder is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ecg_hub.hub.server.disk import Disk, sync_folder
from ecg_hub.hub.server.refusals import RequestError, bad_request
from ecg_hub.hub.server.storage import lfs_pointer, make_fan


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
        self.read = lru_cache(maxsize=4096)(self._read)

    def path(self, oid: str) -> Path:
        """Return where a folder's file lies."""
        return self.folder / oid[:2] / oid

    def _read(self, oid: str) -> Mapping[str, Node]:
        return {name: _node(fields) for name, fields in json.loads(self.path(oid).read_bytes()).items()}

    def write(self, nodes: Mapping[str, Node]) -> str:
        """Keep a folder; returns its oid."""
        content = json.dumps({name: _fields(nodes[name]) for name in sorted(nodes)}, separators=(",", ":")).encode()
        oid = hashlib.sha256(content).hexdigest()[:40]
        path = self.path(oid)
        if path.exists():
            sync_folder(path.parent)
        else:
            self.disk.write(path, content)
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
        self._nodes: dict[str, Node | Draft] = dict(trees.read(root)) if root else {}

    def put(self, path: str, file: File) -> None:
        """Add or replace a file.

        Raises:
            RequestError: 400; a file stands where a folder is needed, or the other way round.
        """
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
        """Remove a file or a folder.

        Raises:
            RequestError: 404; there is none.
        """
        head, _, rest = path.partition("/")
        if rest:
            inner = self._inner(head, make=False)
            if inner is None:
                raise _nothing(path)
            inner.delete(rest, folder)
            if not inner._nodes:
                del self._nodes[head]
            return
        if not isinstance(self._nodes.get(head), (Folder, Draft) if folder else File):
            raise _nothing(path)
        del self._nodes[head]

    def write(self) -> str:
        """Keep the tree; returns its oid."""
        done: dict[str, Node] = {}
        for name, node in self._nodes.items():
            done[name] = Folder(node.write()) if isinstance(node, Draft) else node
        return self._trees.write(done)

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
