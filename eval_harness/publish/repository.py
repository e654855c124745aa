"""Repositories of results: a plain folder as one, the files at the root, what may not be sent, and copies from a hub.

`eval.yaml` has the keys of the Hub's documentation ("Evaluation Results") and no others, for it is checked when it is
pushed. That lower values of a task are better has no key there, so that the card says it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import yaml
from filelock import FileLock, Timeout

from ecg_hub.errors import EcgHubError, InputError, ResultError
from ecg_hub.hub.client import Commit, HubRepository, StaleParentError, Stored, check_id, said, sha256
from ecg_hub.names import UNVERIFIED, disable_xet, endpoint
from ecg_hub.utils.files import atomic_path, write_text
from ecg_hub.utils.remote import bring, place
from eval_harness.config.protocol import MODES
from eval_harness.publish.layout import PREDICTIONS
from eval_harness.tasks.task import Task

HEAD_FILE, LOCK_FILE = ".head", ".lock"


class FolderRepository:
    """A plain folder as repository, for places without a hub; one writer at a time."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = bring(place(folder))

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def on_public_hub(self) -> bool:
        """A folder is not."""
        return False

    def head(self) -> str | None:
        """The mark of the last commit."""
        path = self.folder / HEAD_FILE
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def files(self, revision: str | None, below: str = "") -> dict[str, Stored]:
        """All files below a folder with their SHA-256."""
        paths = sorted(path for path in (self.folder / below).rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): Stored(path.stat().st_size, sha256(path)) for path in paths}

    def read(self, revision: str | None, path: str) -> bytes | None:
        """The content of a file."""
        file = self.folder / path
        return file.read_bytes() if file.is_file() else None

    def open_request(self, title: str) -> str | None:
        """A folder has none."""
        return None

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None, *, request: bool = False) -> Commit:
        """Write the files, each whole or not at all; the mark last."""
        if request:
            raise ResultError(f"{self.name!r} is a folder: it takes no pull requests. Leave --create-pr out.")
        with self._held():
            if self.head() != parent:
                raise StaleParentError(f"{self.name!r} changed in the meantime.")
            for path, content in files.items():
                with atomic_path(self.folder / path) as temporary:
                    temporary.write_bytes(content)
            # The mark last: a crash before it leaves the old one, so that the same push finds its files and goes on.
            mark = uuid.uuid4().hex
            write_text(self.folder / HEAD_FILE, mark + "\n")
        return Commit(mark, str(self.folder))

    def link(self, path: str) -> str:
        """The path of the file."""
        return str(self.folder / path)

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Checked and written under one lock, or two writers could both see the parent that they expect.
            with FileLock(self.folder / LOCK_FILE, timeout=60):
                yield
        except (OSError, Timeout) as error:
            raise ResultError(f"{self.name!r} cannot be written ({error}).") from error


CARD, EVAL = "README.md", "eval.yaml"
FRAMEWORK, FRAMEWORK_REGISTERED = "ecg-hub", False
"""The public Hub takes the frameworks that huggingface.js lists (packages/tasks/src/eval.ts); this one is not there."""

_CARD = """\
---
pretty_name: ECG leaderboard results
tags: [ecg, benchmark, leaderboard, evaluation]
viewer: false
{lower}---

# ECG leaderboard results

`results/MODEL/REVISION/MODE/TASK.json`: one file per score, with intervals, per-label values and everything that
decided it; `model_meta.json` beside the modes describes the model and lists its entries. Predictions lie in
`predictions/` where the licence of the data allows it. Written by `ecg-eval push`, which computes every score again
before it sends it; `ecg-eval leaderboard` checks the files and makes the page. Nothing here is edited by hand.

Research software, not a medical device.
"""


def root_files(tasks: Iterable[Task], public_hub: bool = False) -> dict[str, bytes]:
    """Return name -> content of the files that a new repository gets."""
    all_tasks = list(tasks)
    lower = [task_id(task.name, mode) for task in all_tasks if not task.higher_is_better for mode in MODES]
    front = yaml.safe_dump({"lower_is_better": lower}, width=120) if lower else ""
    files = {CARD: _CARD.replace("{lower}", front).encode()}
    # The public Hub refuses an eval.yaml with a framework that it does not list, and the whole commit with it.
    if public_hub and not FRAMEWORK_REGISTERED:
        return files
    listed = [
        {"id": task_id(task.name, mode), "config": "default", "split": "test"} for task in all_tasks for mode in MODES
    ]
    content = {
        "name": "ECG leaderboard",
        "description": "Encoders of 12-lead ECGs on clinical tasks: macro AUROC, or mean absolute error of z-scores.",
        "evaluation_framework": FRAMEWORK,
        "tasks": listed,
    }
    return {**files, EVAL: yaml.safe_dump(content, sort_keys=False, width=120).encode()}


def task_id(task: str, mode: str) -> str:
    """Return the name of a score on the hub: "ptbxl_super_linear"."""
    return f"{task}_{mode}"


def withheld(dataset: str) -> str | None:
    """Return why the predictions on a dataset stay where they are, or None if they may be published."""
    from dataset_scripts import catalog

    spec = catalog.datasets().get(dataset)
    if spec is None:
        return f"{dataset} is no published dataset, so nothing is known of its terms"
    if spec.access != "open" or not spec.redistribution:
        return f"{spec.title} ({spec.access}, {spec.licence}) may not be passed on record by record"
    return None


def refuse_withheld(paths: Iterable[str], tasks: Iterable[Task]) -> None:
    """Look once more at everything that is about to be sent: no predictions of data that may not be passed on."""
    datasets = {task.run: task.dataset for task in tasks}
    for path in paths:
        if not path.endswith((".json", ".parquet")) and path not in (CARD, EVAL):
            raise InputError(f"{path!r} is no file of a results repository.")
        if path.endswith(".parquet"):
            match = PREDICTIONS.fullmatch(path)
            # By the path and not by what the caller says of it: this is the last look before data leave the machine.
            run = match[4] if match else path
            reason = withheld(datasets[run]) if run in datasets else f"{run!r} is no run of the benchmark"
            if reason:
                raise InputError(f"{path} must not be published: {reason}.")


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
