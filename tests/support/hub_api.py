"""The few calls of `huggingface_hub.HfApi` that publishing makes, in memory, with the client's own errors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def failure(kind: type[HfHubHTTPError], status: int, text: str = "no") -> HfHubHTTPError:
    request = httpx2.Request("POST", "http://127.0.0.1/api")
    return kind(text, response=httpx2.Response(status, request=request))


@dataclass
class Repo:
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    titles: list[str] = field(default_factory=list)
    requests: list[SimpleNamespace] = field(default_factory=list)
    licence: str | None = None

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{id(self)} {len(self.commits)}".encode()).hexdigest()

    def at(self, revision: str) -> dict[str, bytes]:
        for number in range(1, len(self.commits) + 1):
            if hashlib.sha1(f"{id(self)} {number}".encode()).hexdigest() == revision:
                return self.commits[number - 1]
        raise failure(RevisionNotFoundError, 404)


class HubApi:
    """`before_commit` is called with the repository's name just before a commit is looked at: the other writer."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.before_commit: Any = None
        self.refuse: HfHubHTTPError | None = None

    def _repo(self, name: str, kind: str | None) -> Repo:
        if (name, kind or "model") not in self.repos:
            raise failure(RepositoryNotFoundError, 404)
        return self.repos[name, kind or "model"]

    def create_repo(self, name: str, *, repo_type: str, exist_ok: bool, **_: Any) -> None:
        self.repos.setdefault((name, repo_type), Repo())

    def repo_info(self, name: str, *, repo_type: str, revision: str | None = None) -> Any:
        return SimpleNamespace(sha=self._repo(name, repo_type).sha)

    def model_info(self, name: str, *, revision: str) -> Any:
        repo = self._repo(name, "model")
        repo.at(revision)
        return SimpleNamespace(sha=revision, card_data=SimpleNamespace(license=repo.licence))

    def list_repo_tree(
        self, name: str, path_in_repo: str | None, *, recursive: bool, revision: str, repo_type: str
    ) -> Any:
        files = self._repo(name, repo_type).at(revision)
        below = {path: data for path, data in files.items() if path_in_repo is None or path.startswith(path_in_repo)}
        if path_in_repo and not below:
            raise failure(RemoteEntryNotFoundError, 404)
        for path, data in below.items():
            lfs = SimpleNamespace(sha256=hashlib.sha256(data).hexdigest()) if path.endswith(".parquet") else None
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            yield SimpleNamespace(path=path, size=len(data), blob_id=blob, lfs=lfs)

    def hf_hub_download(self, name: str, path: str, *, revision: str, repo_type: str, local_dir: str) -> str:
        files = self._repo(name, repo_type).at(revision)
        if path not in files:
            raise failure(RemoteEntryNotFoundError, 404)
        target = Path(local_dir) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files[path])
        return str(target)

    def snapshot_download(
        self, name: str, *, repo_type: str, revision: str, local_dir: Path, allow_patterns: list[str]
    ) -> None:
        for path, data in self._repo(name, repo_type).at(revision).items():
            if path.startswith("results/"):
                (local_dir / path).parent.mkdir(parents=True, exist_ok=True)
                (local_dir / path).write_bytes(data)

    def get_repo_discussions(self, name: str, **_: Any) -> Any:
        return iter(self._repo(name, _["repo_type"]).requests)

    def create_commit(
        self,
        name: str,
        operations: Any,
        *,
        commit_message: str,
        repo_type: str,
        parent_commit: str,
        create_pr: bool,
        **_: Any,
    ) -> Any:
        if self.before_commit is not None:
            self.before_commit(name)
        if self.refuse is not None:
            raise self.refuse
        repo = self._repo(name, repo_type)
        if parent_commit != repo.sha:
            raise failure(HfHubHTTPError, 412, "stale")
        added = {operation.path_in_repo: operation.path_or_fileobj for operation in operations}
        if create_pr:
            request = SimpleNamespace(
                title=commit_message, num=len(repo.requests) + 1, url=f"http://127.0.0.1/pr/{len(repo.requests)}"
            )
            repo.requests.append(request)
            return SimpleNamespace(oid=repo.sha, pr_url=request.url, commit_url="")
        repo.commits.append({**repo.commits[-1], **added})
        repo.titles.append(commit_message)
        return SimpleNamespace(oid=repo.sha, pr_url=None, commit_url=f"http://127.0.0.1/commit/{repo.sha}")
