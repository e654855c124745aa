"""What the hub says about repositories: the info object, lists, search, and results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ecg_hub.server.auth import Caller
from ecg_hub.server.history import Commit, History
from ecg_hub.server.naming import RequestError
from ecg_hub.server.pages import MAX_CARD, card_tags
from ecg_hub.server.repos import MAIN, Repo, RepoStore, State
from ecg_hub.server.storage import BlobStore
from ecg_hub.server.trees import File, Folder, TreeStore, listing
from ecg_hub.utils.yaml import CardError, load_yaml, metadata, plain

MAX_CONFIG = 1 << 20  # bytes of a config.json or results file that are read
_ALWAYS = ("id", "_id")
_LIST_FIELDS = (
    *("_id", "id", "modelId", "author", "sha", "createdAt", "lastModified", "private", "gated", "disabled"),
    *("downloads", "likes", "library_name", "pipeline_tag", "tags", "sdk"),
)


class Catalog:
    """Reads repositories for people and programs who look for them."""

    def __init__(self, repos: RepoStore, history: History, blobs: BlobStore) -> None:
        self.repos = repos
        self.history = history
        self.blobs = blobs
        # By tree: what a revision says about itself does not change.
        self._about = lru_cache(maxsize=2048)(self._read_about)
        self._config = lru_cache(maxsize=2048)(self._read_config)
        self.results = lru_cache(maxsize=2048)(self._read_results)

    @property
    def trees(self) -> TreeStore:
        """The folders of all revisions."""
        return self.history.trees

    def read_text(self, tree: str, path: str, limit: int) -> str | None:
        """Return a text file of a tree, or None if it is absent, longer than `limit` bytes, or not UTF-8."""
        file = self.trees.find(tree, path)
        if not isinstance(file, File) or file.size > limit:
            return None
        try:
            return self.blobs.read(file.sha256, limit).decode()
        except (UnicodeDecodeError, FileNotFoundError):
            return None

    def info(
        self, repo: Repo, commit: Commit, state: State, caller: Caller, files: bool = True, blobs: bool = False
    ) -> dict[str, Any]:
        """Return the info object of a revision, as far as a caller may see it."""
        info: dict[str, Any] = {
            "_id": f"{repo.kind}/{repo.id}",
            "id": repo.id,
            "author": repo.namespace,
            "sha": commit.oid,
            "lastModified": commit.date,
            "createdAt": state.created,
            "private": state.private,
            "gated": state.gated,
            # The client's objects have these fields; nothing is counted here.
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            **self._about(repo.kind, commit.tree),
        }
        if files:
            every = self.trees.files(commit.tree)
            info["siblings"] = [_sibling(path, file, blobs) for path, file in every.items()]
        if repo.kind == "models":
            info["modelId"] = repo.id
            # What stands in a file is for those who may read it: of a gated repository neither results nor config.json.
            info["evalResults"] = self.results(commit.tree) if caller.reads(state) else []
            info["config"] = self._config(commit.tree) if caller.reads(state) else None
            if model_type := (info["config"] or {}).get("model_type"):
                info["tags"] = list(dict.fromkeys([*info["tags"], str(model_type)]))
        if repo.kind == "spaces":
            info["sdk"] = state.sdk
        return info

    def heads(self, kind: str) -> Iterator[tuple[Repo, State, Commit]]:
        """Yield each repository of a kind with its state and the head of its main branch."""
        for repo in self.repos.all(kind):
            try:
                state = repo.state()
                commit = self.history.read(repo, state.heads[MAIN])
            except (RequestError, FileNotFoundError):
                # Deleted since the folder was listed; of one that is there, the commit is lost.
                if repo.folder.exists():
                    raise
                continue
            yield repo, state, commit

    def search(self, kind: str, query: Query, caller: Caller, files: bool = False) -> list[dict[str, Any]]:
        """Return the repositories that a query asks for, sorted, as info objects of the main branch."""
        infos = []
        # No index to go stale: a hospital has hundreds of repositories, and what their cards say is cached by tree.
        for repo, state, commit in self.heads(kind):
            if not caller.sees(state):
                continue
            if query.author and repo.namespace.lower() != query.author.lower():
                continue
            info = self.info(repo, commit, state, caller, files)
            if query.matches(info):
                infos.append(info)
        if query.sort in ("lastModified", "createdAt"):
            infos.sort(key=lambda info: str(info[query.sort]), reverse=True)
        return infos

    def _read_results(self, tree: str) -> list[dict[str, Any]]:
        """Return the entries of `.eval_results/*.yaml`; a file that cannot be read is an entry with `error`."""
        folder = self.trees.find(tree, ".eval_results")
        if not isinstance(folder, Folder):
            return []
        entries: list[dict[str, Any]] = []
        for name in self.trees.read(folder.oid):
            if name.endswith((".yaml", ".yml")):
                entries += self._results_file(tree, f".eval_results/{name}")
        return entries

    def leaderboard(self, dataset: str, caller: Caller, derived: bool) -> list[dict[str, Any]]:
        """Rank the models that report results on a dataset, task by task.

        A task is better when higher, unless the dataset's card lists it under `lower_is_better` (or its `eval.yaml`, of
        a repository that an older ecg-hub made, says `lower_is_better: true` for it).
        """
        lower = self._lower_is_better(dataset)
        rows: dict[str, list[dict[str, Any]]] = {}
        for repo, state, commit in self.heads("models"):
            if not caller.reads(state):
                continue
            tree = commit.tree
            if not derived and self._about("models", tree)["cardData"].get("base_model"):
                continue
            for entry in self.results(tree):
                data = entry.get("data")
                if data and data["dataset"]["id"] == dataset and _is_number(data["value"]):
                    row = _row(repo, entry)
                    rows.setdefault(row["taskId"], []).append(row)
        ranked = []
        for task in sorted(rows):
            ordered = sorted(rows[task], key=lambda row: row["value"], reverse=task not in lower)
            for row in ordered:
                row["rank"] = 1 + sum(1 for other in ordered if _better(other, row, task in lower))
            ranked += ordered
        return ranked

    def _lower_is_better(self, dataset: str) -> set[str]:
        try:
            repo = self.repos.get("datasets", dataset)
            tree = self.history.read(repo, repo.state().heads[MAIN]).tree
        except Exception:  # there is no such repository, whatever the reason: the list is still worth having
            return set()
        return self._lower_by_card(tree) | self._lower_by_tasks(tree)

    def _lower_by_card(self, tree: str) -> set[str]:
        try:
            tasks = metadata(self.read_text(tree, "README.md", MAX_CARD) or "")["lower_is_better"]
            # A single one may stand there without brackets, and is no list of letters.
            return {str(task) for task in (tasks if isinstance(tasks, list) else [tasks])}
        except Exception:  # somebody's file: whatever is wrong with it
            return set()

    def _lower_by_tasks(self, tree: str) -> set[str]:
        try:
            value = load_yaml(self.read_text(tree, "eval.yaml", MAX_CONFIG) or "")
            return {str(task["id"]) for task in value["tasks"] if task.get("lower_is_better") is True}
        except Exception:  # somebody's file: whatever is wrong with it
            return set()

    def _results_file(self, tree: str, path: str) -> list[dict[str, Any]]:
        text = self.read_text(tree, path, MAX_CONFIG)
        try:
            value = load_yaml(text or "")
        except CardError as error:
            return [{"filename": path, "error": str(error)}]
        items = value if isinstance(value, list) else [value]
        if not all(_is_result(item) for item in items):
            return [{"filename": path, "error": "an entry lacks dataset.id, dataset.task_id or value"}]
        return [{"filename": path, "verified": False, "data": item} for item in items]

    def _read_about(self, kind: str, tree: str) -> dict[str, Any]:
        try:
            card = metadata(self.read_text(tree, "README.md", MAX_CARD) or "")
        except CardError:
            # A card that cannot be read must not hide its repository.
            card = {}
        # By content: what lies twice in a revision is stored once.
        sizes = {file.sha256: file.size for file in self.trees.files(tree).values()}
        about: dict[str, Any] = {"cardData": card, "tags": card_tags(card, kind), "usedStorage": sum(sizes.values())}
        if kind == "datasets":
            about["description"] = card.get("pretty_name") or ""
        if kind == "models":
            index = card.get("model-index")
            about |= {"library_name": card.get("library_name"), "pipeline_tag": card.get("pipeline_tag")}
            about["model-index"] = index if isinstance(index, list) else None
        return about

    def _read_config(self, tree: str) -> dict[str, Any] | None:
        try:
            config = json.loads(self.read_text(tree, "config.json", MAX_CONFIG) or "null")
            if not isinstance(config, dict):
                return None
            # Python reads NaN and 1e999, which no answer may hold.
            return {key: plain(config[key]) for key in ("architectures", "model_type", "auto_map") if key in config}
        except (ValueError, RecursionError):
            return None


class Query:
    """What a list is asked for."""

    def __init__(
        self,
        search: str = "",
        author: str | None = None,
        filters: Iterable[str] = (),
        sort: str = "",
        gated: bool | None = None,
    ) -> None:
        self.terms = search.lower().split()
        self.author = author
        self.filters = {text.lower() for text in filters}
        self.sort = sort
        self.gated = gated

    def matches(self, info: Mapping[str, Any]) -> bool:
        """Return whether an info object fits."""
        if self.gated is not None and bool(info["gated"]) != self.gated:
            return False
        tags = {str(tag).lower() for tag in info["tags"]}
        return all(term in info["id"].lower() for term in self.terms) and self.filters <= tags


def shorten(info: dict[str, Any], expand: list[str], full: bool, card: bool, config: bool) -> dict[str, Any]:
    """Return the fields of an info object that a list shows."""
    if expand:
        return {key: info[key] for key in (*_ALWAYS, *expand) if key in info}
    wanted = [*_LIST_FIELDS, *(["siblings"] if full else []), *(["cardData"] if card or full else [])]
    return {key: info[key] for key in (*wanted, *(["config"] if config else [])) if key in info}


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    entry: dict[str, Any] = {"rfilename": path, "size": file.size, "blobId": file.oid}
    if file.lfs:
        pointer = listing(path, file)["lfs"]["pointerSize"]
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": pointer}
    return entry


def _is_result(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("dataset"), dict) or "value" not in item:
        return False
    return isinstance(item["dataset"].get("id"), str) and isinstance(item["dataset"].get("task_id"), str | int)


def _row(repo: Repo, entry: dict[str, Any]) -> dict[str, Any]:
    data = entry["data"]
    source = data.get("source")
    return {
        "rank": 0,
        "modelId": repo.id,
        "value": data["value"],
        "filename": entry["filename"],
        "verified": False,
        "source": source if isinstance(source, dict) else None,
        "author": {"type": "org", "name": repo.namespace, "fullname": repo.namespace, "avatarUrl": ""},
        "notes": data.get("notes"),
        "taskId": str(data["dataset"]["task_id"]),
    }


def _is_number(value: Any) -> bool:
    # An integer may be larger than what a page can write as a number.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _better(first: dict[str, Any], second: dict[str, Any], lower: bool) -> bool:
    return bool(first["value"] < second["value"] if lower else first["value"] > second["value"])
