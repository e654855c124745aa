"""Looks after the folder of a hub: whether it is whole, what may go, and a copy of it while it is served."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ecg_hub.errors import InputError
from ecg_hub.server.calls import Hub
from ecg_hub.server.naming import KINDS
from ecg_hub.server.repos import Repo
from ecg_hub.server.serve import alone, prepare
from ecg_hub.server.trees import Folder
from ecg_hub.utils.files import file_sha256, replacing
from ecg_hub.utils.text import number_of


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
        counts = f"{number_of(self.commits, 'commit')}, {number_of(len(self.blobs), 'file')}, {size:,} bytes"
        repositories = "1 repository" if self.repositories == 1 else f"{self.repositories:,} repositories"
        return [f"{repositories}, {counts}", *self.problems]


def audit(hub: Hub, content: bool = True) -> Audit:
    """Walk over every commit that a branch, tag or pull request leads to."""
    report = Audit()
    for kind in KINDS:
        for repo in hub.repos.all(kind):
            report.repositories += 1
            for tree in _trees(hub, repo, report):
                _walk(hub, tree, f"{kind}/{repo.id}", report)
    for sha256, size in report.blobs.items() if content else ():
        problem = _compare(hub, sha256, size)
        if problem:
            report.problems.append(problem)
    return report


def collect(hub: Hub) -> tuple[int, int]:
    """Remove commits that nothing leads to, and content of no commit; returns how many files and bytes of content went.

    Nothing is removed from a hub that is not whole: what looks unused may belong to what cannot be read.
    """
    report = audit(hub, content=False)
    if report.problems:
        return 0, 0
    for kind in KINDS:
        for repo in hub.repos.all(kind):
            for entry in sorted((repo.folder / "commits").iterdir()):
                if entry.name not in report.reachable[f"{kind}/{repo.id}"]:
                    entry.unlink()
    # Commits before content: an interruption leaves content without a commit, never a commit without content.
    count = size = 0
    for path in hub.blobs.all():
        if path.name not in report.blobs:
            count, size = count + 1, size + path.stat().st_size
            path.unlink()
    for folder in sorted(hub.history.trees.folder.iterdir()):
        for path in sorted(folder.iterdir()):
            if path.name not in report.trees:
                path.unlink()
    return count, size


def _trees(hub: Hub, repo: Repo, report: Audit) -> Iterator[str]:
    """Yield the tree of every commit that a branch, tag or pull request leads to."""
    state = repo.state()
    waiting = [*state.heads.values(), *state.tags.values()]
    waiting += [oid for pull in state.pulls.values() for oid in (pull.head, pull.base, pull.merged) if oid]
    seen = report.reachable.setdefault(f"{repo.kind}/{repo.id}", set())
    while waiting:
        oid = waiting.pop()
        if oid in seen:
            continue
        seen.add(oid)
        try:
            commit = hub.history.read(repo, oid)
        except (OSError, ValueError, TypeError, KeyError):
            report.problems.append(f"{repo.kind}/{repo.id}: commit {oid} is missing or cannot be read")
            continue
        report.commits += 1
        waiting += commit.parents
        yield commit.tree


def _walk(hub: Hub, oid: str, where: str, report: Audit) -> None:
    if oid in report.trees:
        return
    report.trees.add(oid)
    try:
        nodes = hub.history.trees.read(oid)
    except (OSError, ValueError, TypeError, LookupError):
        report.problems.append(f"{where}: folder {oid} is missing or cannot be read")
        return
    for node in nodes.values():
        if isinstance(node, Folder):
            _walk(hub, node.oid, where, report)
            continue
        if hub.blobs.size(node.sha256) != node.size:
            report.problems.append(f"{where}: content {node.sha256} is missing or of the wrong size")
        report.blobs[node.sha256] = node.size


def _compare(hub: Hub, sha256: str, size: int) -> str | None:
    try:
        whole = file_sha256(hub.blobs.path(sha256)) == sha256
    except OSError:
        return None  # reported by the walk
    return None if whole else f"content {sha256} ({size:,} bytes) is damaged"


def backup(root: Path, target: Path) -> tuple[int, int]:
    """Copy a hub, which may be served meanwhile; returns how many files and bytes were new.

    The copy is a hub of its own, as whole as at the moment when the copy began: what a head leads to was on the disk
    before the head moved, so heads are read first. What is there already is not copied again, and of an interrupted
    copy the old heads stay.

    Raises:
        InputError: if `root` is no hub, or `target` something else than an earlier copy.
    """
    if not (root / "FORMAT").is_file():
        raise InputError(f"--root {str(root)!r} is not the folder of a hub.")
    if target.resolve().is_relative_to(root.resolve()) or root.resolve().is_relative_to(target.resolve()):
        raise InputError(f"--backup {str(target)!r} and --root {str(root)!r} lie in each other; give another folder.")
    prepare(target)
    with alone(target):
        states = {path.relative_to(root): path.read_bytes() for path in _present(root.glob("repos/*/*/*/state.json"))}
        done = [_copy(root, target, path) for path in [root / "key", *_files(root / "blobs"), *_files(root / "trees")]]
        for state in list(states):
            files = [*_files((root / state).parent / "commits"), *_files((root / state).parent / "discussions")]
            done += [_copy(root, target, path) for path in files]
            # Deleted meanwhile: a state without all of its commits would be damage.
            if not (root / state).exists():
                del states[state]
        # The content of all before the heads that lead to it.
        os.sync()
        for state, content in states.items():
            with replacing(target / state) as new:
                new.write_bytes(content)
        for old in target.glob("repos/*/*/*"):
            if old.relative_to(target) / "state.json" not in states:
                shutil.rmtree(old)
    sizes = [size for size in done if size is not None]
    return len(sizes), sum(sizes)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _present(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.is_file())


def _copy(root: Path, target: Path, path: Path) -> int | None:
    """Copy a file unless it is there; returns its size if it was copied."""
    copy = target / path.relative_to(root)
    try:
        status = path.stat()
        # Named by their content but for discussions, and those grow: by time as well.
        there = copy.stat() if copy.exists() else None
        if there and (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
            return None
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy, flush=False) as new:
            shutil.copy2(path, new)
    except FileNotFoundError:
        return None  # deleted meanwhile
    return status.st_size
