"""A dataset or model repository on a hub as publisher, and what the hub knows of the models that were scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol

from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.names import disable_xet, endpoint
from eval_harness.publish.publisher import StaleParentError

STALE = (409, 412)


class HubPublisher:
    """A repository on the hub at $HF_ENDPOINT.

    Args:
        repo: "ORG/NAME".
        kind: "dataset", "model" or "space".
        api: a `huggingface_hub.HfApi`; by default one with the user's own token.

    Raises:
        InputError: no such form of name; all methods: the hub refuses or does not answer.
    """

    def __init__(self, repo: str, kind: Literal["dataset", "model", "space"] = "dataset", api: Any = None) -> None:
        if len(repo.split("/")) != 2 or not all(repo.split("/")):
            raise InputError(f"{repo!r} is no repository; write ORG/NAME.")
        disable_xet()
        from huggingface_hub import HfApi

        self.repo, self.kind, self.api = repo, kind, HfApi() if api is None else api

    @property
    def name(self) -> str:
        """The repository."""
        return f"{self.repo} at {endpoint()}"

    def head(self) -> str | None:
        """The commit of the default branch."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with self.said():
                return str(self.api.repo_info(self.repo, repo_type=self.kind).sha)
        except RepositoryNotFoundError:
            return None

    def files(self, head: str | None, below: str) -> dict[str, str]:
        """One request for the whole tree."""
        if head is None:
            return {}
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with self.said():
                tree = self.api.list_repo_tree(
                    self.repo, below or None, recursive=True, revision=head, repo_type=self.kind
                )
                found: list[Any] = [item for item in tree if hasattr(item, "blob_id")]
        except EntryNotFoundError:
            return {}
        return {item.path: item.lfs.sha256 if item.lfs else item.blob_id for item in found}

    def read(self, head: str | None, path: str) -> bytes | None:
        """Download one file."""
        if head is None:
            return None
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with self.said(), TemporaryDirectory(prefix="ecg-push-") as folder:
                file = self.api.hf_hub_download(self.repo, path, revision=head, repo_type=self.kind, local_dir=folder)
                return Path(file).read_bytes()
        except EntryNotFoundError:
            return None

    def open_request(self, title: str) -> str | None:
        """Look through the open pull requests; a server that keeps no list has none."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            found = self.api.get_repo_discussions(
                self.repo, repo_type=self.kind, discussion_type="pull_request", discussion_status="open"
            )
            return next((str(request.url) for request in found if request.title == title), None)
        except HfHubHTTPError:
            return None

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None, request: bool = False) -> str:
        """Make the repository where it is missing, then one commit."""
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import RepositoryNotFoundError

        with self.said():
            try:
                if parent is None:
                    self._create()
                    parent = str(self.api.repo_info(self.repo, repo_type=self.kind).sha)
                done = self.api.create_commit(
                    self.repo,
                    [CommitOperationAdd(path, content) for path, content in files.items()],
                    commit_message=message,
                    repo_type=self.kind,
                    parent_commit=parent,
                    create_pr=request,
                )
            except RepositoryNotFoundError as error:
                raise InputError(f"{self.name} is not there, or your token may not see it.") from error
        return str((done.pr_url if request else None) or done.commit_url)

    def link(self, path: str) -> str:
        """The page of the file."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{endpoint()}/{prefix}{self.repo}/blob/main/{path}"

    def _create(self) -> None:
        kind: dict[str, Any] = {"space_sdk": "static"} if self.kind == "space" else {}
        self.api.create_repo(self.repo, repo_type=self.kind, exist_ok=True, **kind)

    @contextmanager
    def said(self) -> Iterator[None]:
        """Turn what the client raises into sentences that name the remedy; "not there" passes through."""
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

        try:
            yield
        except (EntryNotFoundError, RepositoryNotFoundError, EcgHubError):
            raise
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", None)
            if status in STALE:
                raise StaleParentError(f"{self.name} changed in the meantime.") from error
            remedy = " Run `hf auth login` with a token that may write there." if status in (401, 403) else ""
            raise InputError(f"{self.name} refuses: {_first_line(error)}{remedy}") from error
        except Exception as error:
            if not _is_connection(error):
                raise
            raise InputError(f"{self.name} does not answer ({type(error).__name__}: {_first_line(error)}).") from error


@dataclass(frozen=True)
class ModelFacts:
    """What a hub says of a model at a revision. `licence`: as its card states it, or None."""

    licence: str | None = None


class UnreachableError(EcgHubError):
    """The hub could not be asked."""


class Models(Protocol):
    """Who knows whether a model exists."""

    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        """Return what is known of a model at a commit, None if there is no such model or commit.

        Raises:
            UnreachableError: nobody could be asked.
        """


class HubModels:
    """The models on the hub at $HF_ENDPOINT, each asked for once.

    Args:
        api: a `huggingface_hub.HfApi`.
    """

    def __init__(self, api: Any = None) -> None:
        self._api = api
        self._known: dict[tuple[str, str], ModelFacts | None] = {}

    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        """Ask the hub."""
        key = (model, revision)
        if key not in self._known:
            self._known[key] = self._ask(model, revision)
        return self._known[key]

    def _ask(self, model: str, revision: str) -> ModelFacts | None:
        disable_xet()
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            info = (self._api or HfApi()).model_info(model, revision=revision)
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            return None
        except Exception as error:  # offline, refused, broken: all the same here, nobody could be asked
            raise UnreachableError(f"{endpoint()} could not be asked ({type(error).__name__}).") from error
        if str(info.sha) != revision:
            return None  # a branch or tag is no commit: it may stand for something else tomorrow
        licence = getattr(info.card_data, "license", None) if info.card_data else None
        return ModelFacts(str(licence) if licence else None)


def revision_problem(model: str, revision: str | None, models: Models) -> tuple[str | None, ModelFacts | None]:
    """Return why a model's revision is not believed, or None, and what the hub says of the model.

    Args:
        model: id in the result.
        revision: commit in the result; None for a model that is on no hub, of which the weights' digest speaks.
        models: who knows.

    Raises:
        UnreachableError: nobody could be asked.
    """
    if revision is None:
        return None, None
    facts = models.look_up(model, revision)
    if facts is None:
        return f"there is no commit {revision!r} of {model!r} on {endpoint()}", None
    return None, facts


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _is_connection(error: Exception) -> bool:
    """Whether an exception is the network's: of the HTTP client, the operating system or the client's offline mode."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    module = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError | OfflineModeIsEnabled | LocalTokenNotFoundError) or module.startswith("httpx")
