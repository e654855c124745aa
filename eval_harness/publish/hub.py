"""What the hub knows of the models that were scored, and a results repository copied here as it is at one commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.hub.client import HubRepository, check_id, said
from ecg_hub.names import UNVERIFIED, disable_xet, endpoint


@dataclass(frozen=True)
class ModelFacts:
    """What a hub says of a model at a revision. `licence`: as its card states it, or None."""

    licence: str | None = None


class UnreachableError(EcgHubError):
    """The hub could not be asked."""


class Models(Protocol):
    """Who knows whether a model exists."""

    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        """Return what is known of a model at a commit, None if there is no such model or commit."""


class HubModels:
    """The models on the hub at $HF_ENDPOINT, each asked for once."""

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
    """Return why a model's revision is not believed, or None, and what the hub says of the model."""
    if revision is None:
        return None, None
    facts = models.look_up(model.removeprefix(UNVERIFIED), revision)
    if facts is None:
        return f"there is no commit {revision!r} of {model!r} on {endpoint()}", None
    return None, facts


@dataclass(frozen=True)
class Snapshot:
    """A copy.

    Attributes:
        folder: where it lies.
        name: repository and commit, for people.
        link: path -> address of a file at this commit.
    """

    folder: Path
    name: str
    link: Callable[[str], str]


def download(repo: str, folder: Path, api: Any = None) -> Snapshot:
    """Copy the results of a repository."""
    hub = HubRepository(check_id(repo), "dataset", api)
    head = hub.head()
    if head is None:
        raise InputError(f"{hub.name} is not there, or your token may not see it; `ecg-eval push` makes it.")
    with said(hub.name):
        hub.api.snapshot_download(
            repo, repo_type="dataset", revision=head, local_dir=folder, allow_patterns=["results/**"]
        )
    (folder / "results").mkdir(parents=True, exist_ok=True)
    base = f"{endpoint()}/datasets/{repo}/blob/{head}"
    return Snapshot(folder, f"{repo} at {head[:12]}", lambda path: f"{base}/{quote(path)}")
