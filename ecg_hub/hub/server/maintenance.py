"""Looking after a hub that is stopped: is everything there, and what does nobody refer to any more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from ecg_hub.hub.server.calls import Hub
from ecg_hub.hub.server.naming import KINDS
from ecg_hub.hub.server.repos import Repo
from ecg_hub.hub.server.storage import CHUNK
from ecg_hub.hub.server.trees import Folder


@dataclass
class Audit:
    """What a walk over all repositories found.

    Attributes:
        repositories: how many.
        commits: how many.
        blobs: SHA-256 to size of all content that some commit refers to.
        trees: oids of all folders that some commit refers to.
        reachable: commits of each repository.
        problems: sentences; empty if the hub is whole.
    """

    repositories: int = 0
    commits: int = 0
    blobs: dict[str, int] = field(default_factory=dict)
    trees: set[str] = field(default_factory=set)
    reachable: dict[str, set[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the audit as lines of text."""
        size = sum(self.blobs.values())
        head = (
            f"{self.repositories:,} repositories, {self.commits:,} commits, {len(self.blobs):,} files, {size:,} bytes"
        )
        return [head, *self.problems]


def audit(hub: Hub, content: bool = True) -> Audit:
    """Walk over every commit that a branch, tag or pull request leads to.

    Args:
        hub: the hub.
        content: whether every file is read and its SHA-256 compared.
    """
    found = Audit()
    for kind in KINDS:
        for repo in hub.repos.all(kind):
            found.repositories += 1
            for tree in _trees(hub, repo, found):
                _walk(hub, tree, f"{kind}/{repo.id}", found)
    for sha256, size in found.blobs.items() if content else ():
        problem = _compare(hub, sha256, size)
        if problem:
            found.problems.append(problem)
    return found


def collect(hub: Hub) -> tuple[int, int]:
    """Remove commits that nothing leads to, and content of no commit; returns how many files and bytes of content went.

    Nothing is removed from a hub that is not whole: what looks unused may belong to what cannot be read.
    """
    found = audit(hub, content=False)
    if found.problems:
        return 0, 0
    for kind in KINDS:
        for repo in hub.repos.all(kind):
            for entry in sorted((repo.folder / "commits").iterdir()):
                if entry.name not in found.reachable[f"{kind}/{repo.id}"]:
                    entry.unlink()
    count = size = 0
    for path in hub.blobs.all():
        if path.name not in found.blobs:
            count, size = count + 1, size + path.stat().st_size
            path.unlink()
    for folder in sorted(hub.history.trees.folder.iterdir()):
        for path in sorted(folder.iterdir()):
            if path.name not in found.trees:
                path.unlink()
    return count, size


def _trees(hub: Hub, repo: Repo, found: Audit) -> Iterator[str]:
    """Yield the tree of every commit that a branch, tag or pull request leads to."""
    state = repo.state()
    waiting = [*state.heads.values(), *state.tags.values()]
    waiting += [oid for pull in state.pulls.values() for oid in (pull.head, pull.base, pull.merged) if oid]
    seen = found.reachable.setdefault(f"{repo.kind}/{repo.id}", set())
    while waiting:
        oid = waiting.pop()
        if oid in seen:
            continue
        seen.add(oid)
        try:
            commit = hub.history.read(repo, oid)
        except (OSError, ValueError, TypeError, KeyError):
            found.problems.append(f"{repo.kind}/{repo.id}: commit {oid} is missing or cannot be read")
            continue
        found.commits += 1
        waiting += commit.parents
        yield commit.tree


def _walk(hub: Hub, oid: str, where: str, found: Audit) -> None:
    if oid in found.trees:
        return
    found.trees.add(oid)
    try:
        nodes = hub.history.trees.read(oid)
    except (OSError, ValueError, TypeError, LookupError):
        found.problems.append(f"{where}: folder {oid} is missing or cannot be read")
        return
    for node in nodes.values():
        if isinstance(node, Folder):
            _walk(hub, node.oid, where, found)
            continue
        if hub.blobs.size(node.sha256) != node.size:
            found.problems.append(f"{where}: content {node.sha256} is missing or of the wrong size")
        found.blobs[node.sha256] = node.size


def _compare(hub: Hub, sha256: str, size: int) -> str | None:
    digest = hashlib.sha256()
    try:
        with hub.blobs.path(sha256).open("rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
    except OSError:
        return None  # reported by the walk
    return None if digest.hexdigest() == sha256 else f"content {sha256} ({size:,} bytes) is damaged"
