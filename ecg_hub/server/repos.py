"""Repositories: what changes about them stands in one small file each, replaced in one step."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ecg_hub.server.naming import (
    KINDS,
    RequestError,
    bad_request,
    check_name,
    is_commit,
    repo_not_found,
    revision_not_found,
)
from ecg_hub.server.storage import Disk
from ecg_hub.utils.files import flush_folder
from ecg_hub.utils.repo_names import is_name

MAIN = "main"
_STATE = "state.json"
_SHORTEST = 7  # hexadecimal digits of an abbreviated commit


@dataclass
class Pull:
    """A pull request as far as commits go.

    Attributes:
        head: its last commit.
        base: commit of the main branch it started from.
        status: "draft", "open", "closed" or "merged".
        merged: commit that brought it into the main branch.
    """

    head: str
    base: str
    status: str
    merged: str | None = None


@dataclass
class State:
    """All that changes about a repository.

    Attributes:
        created: UTC, ISO 8601.
        private: whether only callers with a token see it.
        gated: False, "auto" or "manual"; other than False, only callers with a token get its files.
        sdk: of a space.
        heads: branch to commit.
        tags: tag to commit.
        pulls: number of a pull request to its commits.
        next: number of the next discussion or pull request.
    """

    created: str
    private: bool = False
    gated: bool | str = False
    sdk: str | None = None
    heads: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, Pull] = field(default_factory=dict)
    next: int = 1


class Repo:
    """One repository.

    Attributes:
        kind: "models", "datasets" or "spaces".
        id: namespace/name.
        folder: where its state, commits and discussions lie.
        lock: held by whoever changes the state.
    """

    def __init__(self, disk: Disk, kind: str, repo_id: str, folder: Path, lock: threading.RLock) -> None:
        self.kind = kind
        self.id = repo_id
        self.folder = folder
        self.lock = lock
        self._disk = disk

    @property
    def namespace(self) -> str:
        """First part of the id."""
        return self.id.split("/")[0]

    @property
    def web_path(self) -> str:
        """Path of the repository's page, without a slash in front."""
        return self.id if self.kind == "models" else f"{self.kind}/{self.id}"

    def state(self) -> State:
        """Read the state."""
        try:
            raw = json.loads((self.folder / _STATE).read_bytes())
        except FileNotFoundError:
            raise repo_not_found(self.id) from None
        raw["pulls"] = {number: Pull(**pull) for number, pull in raw["pulls"].items()}
        return State(**raw)

    def save(self, state: State) -> None:
        """Replace the state in one step. The caller holds `lock`."""
        self._disk.write(self.folder / _STATE, _dump(asdict(state)))

    def has_commit(self, oid: str) -> bool:
        """Return whether a commit belongs to the repository."""
        return (self.folder / "commits" / oid).is_file()

    def resolve(self, revision: str, state: State | None = None) -> str:
        """Return the commit that a branch, tag, `refs/...` name or (abbreviated) commit stands for."""
        state = state or self.state()
        # Names come first: a branch may look like an abbreviated commit.
        commit = state.heads.get(revision) or state.tags.get(revision)
        if revision.startswith("refs/"):
            _, kind, name = [*revision.split("/", 2), ""][:3]
            pull = state.pulls.get(name)
            commit = {"heads": state.heads.get(name), "tags": state.tags.get(name)}.get(kind)
            if kind == "pr" and pull:
                commit = pull.head
        if not commit and is_commit(revision) and self.has_commit(revision):
            commit = revision
        commit = commit or self._abbreviated(revision)
        if not commit:
            raise revision_not_found(self.id, revision[:200])
        return commit

    def _abbreviated(self, revision: str) -> str | None:
        if not _SHORTEST <= len(revision) < 40 or not set(revision) <= set("0123456789abcdef"):
            return None
        matches = [entry.name for entry in os.scandir(self.folder / "commits") if entry.name.startswith(revision)]
        return matches[0] if len(matches) == 1 else None


class RepoStore:
    """The folder `repos/<kind>/<namespace>/<name>`."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.folder = disk.root / "repos"
        for kind in KINDS:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
        # As long as somebody holds the repository: else every name that was ever asked for would stay.
        self._locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
        self._guard, self._placing = threading.Lock(), threading.Lock()

    def get(self, kind: str, repo_id: str) -> Repo:
        """Return a repository."""
        # First by its form: whatever cannot be a name never reaches the file system.
        if not all(is_name(part) for part in repo_id.split("/")):
            raise repo_not_found(repo_id[:200])
        repo = self._repo(kind, repo_id)
        if not (repo.folder / _STATE).is_file():
            raise repo_not_found(repo_id)
        return repo

    def all(self, kind: str) -> Iterator[Repo]:
        """Yield the repositories of a kind in the order of their ids."""
        for namespace in sorted(_folders(self.folder / kind)):
            for name in sorted(_folders(self.folder / kind / namespace)):
                repo = self._repo(kind, f"{namespace}/{name}")
                if (repo.folder / _STATE).is_file():
                    yield repo

    def create(self, kind: str, repo_id: str, state: State, first: tuple[str, bytes]) -> Repo:
        """Make a repository, in one step."""
        namespace, name = repo_id.split("/")
        check_name(namespace, "namespace")
        check_name(name)
        repo = self._repo(kind, repo_id)
        with repo.lock:
            self._check_free(kind, repo_id)
            scratch = self.disk.scratch()
            try:
                (scratch / "commits").mkdir(parents=True)
                (scratch / "discussions").mkdir()
                # All of it elsewhere, then one rename: a repository is there whole or not at all.
                self.disk.write(scratch / "commits" / first[0], first[1])
                self.disk.write(scratch / _STATE, _dump(asdict(state)))
                self._place(scratch, repo.folder)
            finally:
                # After the rename there is nothing to remove; after a full disk there is.
                shutil.rmtree(scratch, ignore_errors=True)
        return repo

    def delete(self, repo: Repo) -> None:
        """Remove a repository, in one step; its content goes when `--collect` runs."""
        with repo.lock:
            scratch = self.disk.scratch()
            try:
                # It is gone in one step, however long its removal takes.
                os.rename(repo.folder, scratch)
            except FileNotFoundError:
                raise repo_not_found(repo.id) from None
            flush_folder(repo.folder.parent)
        shutil.rmtree(scratch, ignore_errors=True)

    def move(self, repo: Repo, repo_id: str) -> Repo:
        """Give a repository another id."""
        namespace, name = repo_id.split("/")
        check_name(namespace, "namespace")
        check_name(name)
        target = self._repo(repo.kind, repo_id)
        # In the same order for everybody: two moves crossing each other would wait for each other.
        first, second = sorted((repo, target), key=lambda one: one.id.lower())
        with first.lock, second.lock:
            if repo_id.lower() != repo.id.lower():
                self._check_free(repo.kind, repo_id)
            self._place(repo.folder, target.folder)
            flush_folder(repo.folder.parent)
        return target

    def _repo(self, kind: str, repo_id: str) -> Repo:
        namespace, name = repo_id.split("/")
        with self._guard:
            # Without case: where the file system knows none, two spellings are one repository.
            lock = self._locks.setdefault(f"{kind}/{repo_id.lower()}", threading.RLock())
        return Repo(self.disk, kind, repo_id, self.folder / kind / namespace / name, lock)

    def _check_free(self, kind: str, repo_id: str) -> None:
        namespace, name = repo_id.lower().split("/")
        for taken in _folders(self.folder / kind):
            if taken.lower() == namespace:
                for other in _folders(self.folder / kind / taken):
                    if other.lower() == name:
                        raise RequestError(409, f"The repository '{taken}/{other}' exists already.")

    def _place(self, source: Path, target: Path) -> None:
        # One at a time: the folder of a namespace that one makes, another could remove.
        with self._placing:
            target.parent.mkdir(exist_ok=True)
            try:
                # The namespace's folder may be new.
                flush_folder(target.parent.parent)
                os.rename(source, target)
            except OSError:
                with suppress(OSError):
                    target.parent.rmdir()  # refused where other repositories lie in it
                raise
        flush_folder(target.parent)


def split_id(value: object, namespace: str) -> str:
    """Return namespace/name for an id that may come without a namespace."""
    parts = str(value).split("/")
    if len(parts) > 2 or not all(parts):
        raise bad_request(f"{str(value)[:200]!r} is not of the form namespace/name.")
    return "/".join(parts) if len(parts) == 2 else f"{namespace}/{parts[0]}"


def now() -> str:
    """Return the time as the hub writes it: UTC, ISO 8601 with milliseconds and Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _dump(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _folders(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except FileNotFoundError:
        return []
