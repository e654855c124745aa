"""A results repository of a hub, copied here as it is at one commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ecg_hub.errors import InputError
from ecg_hub.hub.client import said
from ecg_hub.names import endpoint
from eval_harness.publish.hub import HubPublisher


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
    """Copy the results of a repository.

    Args:
        repo: "ORG/NAME".
        folder: where to.
        api: a `huggingface_hub.HfApi`.

    Raises:
        InputError: there is no such repository, or the hub does not answer.
    """
    hub = HubPublisher(repo, api=api)
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
