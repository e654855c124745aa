"""`run.json`: everything needed to repeat a run, its fingerprint, and in words what differs from another."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from ecg_hub.errors import ResultError
from ecg_hub.utils.files import write_text
from eval_harness.results.schema import ModelInfo, Sha256, Strict, UtcTime, in_words, read_json

PACKAGES = ("ecg-hub", "torch", "transformers", "datasets", "accelerate", "numpy", "scipy", "pyarrow", "wfdb")


def environment(device: str = "cpu", processes: int = 1) -> dict[str, str]:
    """Versions of what computes the scores, Python, platform, device and processes."""
    versions = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    return {**versions, **_installed(), "device": device, "processes": str(processes)}


@cache
def _installed() -> Mapping[str, str]:
    """The versions of PACKAGES, looked up once: that goes through all that is installed, and every job writes them."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


RUN_FILE = "run.json"
ABSENT = "nothing"
# Settings of later versions, which the fingerprint leaves out where they are unused: a new one belongs in here.
LATER = ("post_training", "train_subset", "released", "head_sha256", "head_rules_sha256")
FOLLOWS = ("origin", "evidence", "source")
"""What is said of a model's weights and follows from them: `weights_sha256` decides."""
T = TypeVar("T")


class RunSettings(Strict):
    """What decides the scores of a result folder; two runs with equal settings may share one.

    Attributes:
        model: the encoder, with the digest of its weights.
        extractor_sha256: digest of the feature extractor's configuration.
        mode: training mode.
        protocol: name of the protocol.
        protocol_values: every number of the protocol as used.
        seed: of the run.
        dtype: of training and scoring.
        feature_dtype: of the encoded windows that are kept.
        data: how data were asked for (root or mock, limit, thresholds of the label rules).
        post_training: every setting of mode `post_train`; None in the other modes.
        train_subset: the part of the training records that was used; None where all were.
        released: True where nothing is pre-trained and weights train that the published fine-tuning of this model
            leaves fixed; earlier versions left those at their random start. None elsewhere.
        head_sha256: in mode `published_head`, digest of the head that is scored; None elsewhere.
        head_rules_sha256: in that mode, digest of the tables that link its outputs to labels, and of how the windows of
            a record are joined; None elsewhere.
    """

    model: ModelInfo
    extractor_sha256: str | None = None
    mode: str
    protocol: str
    protocol_values: dict[str, JsonValue]
    seed: int
    dtype: str = "float32"
    feature_dtype: str = "float32"
    data: dict[str, JsonValue] = Field(default_factory=dict)
    post_training: dict[str, JsonValue] | None = None
    train_subset: dict[str, JsonValue] | None = None
    released: Literal[True] | None = None
    head_sha256: Sha256 | None = None
    head_rules_sha256: Sha256 | None = None


class RunFile(Strict):
    """The content of run.json.

    Attributes:
        settings: what decides the scores.
        fingerprint: digest of the settings.
        datasets: fingerprint of each dataset prepared so far; a folder may gain datasets, not change them.
        tasks: version of each task asked for so far.
        definitions: digest of what each task scores (`Task.defined`), and under "run NAME" of the outputs that a run
            trains; empty in files of earlier versions.
        command: the command line, ready to be given again.
        environment: versions and machine.
        created: when the folder was begun.
    """

    schema_version: Literal["1.0"] = "1.0"
    settings: RunSettings
    fingerprint: str
    datasets: dict[str, str] = Field(default_factory=dict)
    tasks: dict[str, int] = Field(default_factory=dict)
    definitions: dict[str, str] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    created: UtcTime


def fingerprint(settings: RunSettings) -> str:
    """Return the SHA-256 of the settings in canonical JSON (sorted keys, no spaces).

    Settings that came later count only where they are used, so that older run files keep their fingerprint.
    """
    content = _decisive(settings)
    # Also what pydantic fills in for an old file is left out, so that both give one digest.
    content = {name: value for name, value in content.items() if name not in LATER or value is not None}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(stored: RunFile, asked: RunFile) -> list[str]:
    """Say in words what differs between a folder's run and the one asked for; empty when they may share the folder.

    Settings must be equal; a dataset or task that both name must have the same fingerprint, or version and definition.
    Further datasets and tasks are no difference: they are added.
    """
    # In words from the settings, not from the fingerprints, which would only say that something differs.
    lines = list(walk("", _decisive(stored.settings), _decisive(asked.settings)))
    lines += [
        f"dataset {name}: the raw folder or its labels changed (fingerprint {old[:12]} in the folder, {new[:12]} now)"
        for name, old, new in _changed(stored.datasets, asked.datasets)
    ]
    lines += [
        f"task {name}: version {old} in the folder, {new} now" for name, old, new in _changed(stored.tasks, asked.tasks)
    ]
    lines += [
        f"{name}: its task file says something else than in the folder (labels, column, kind, metric or dataset)"
        for name, _, _ in _changed(stored.definitions, asked.definitions)
    ]
    return lines


def _decisive(settings: RunSettings) -> dict[str, JsonValue]:
    """Settings as JSON, without what follows from others."""
    content: dict[str, Any] = settings.model_dump(mode="json")
    return content | {"model": {name: value for name, value in content["model"].items() if name not in FOLLOWS}}


def merged(stored: RunFile | None, asked: RunFile) -> RunFile:
    """Return the run file to write: of a continued run the begin, with the datasets and tasks of both."""
    if stored is None:
        return asked
    # Command and environment are those of the last call; each result carries the environment that it was made in.
    return asked.model_copy(
        update={
            "created": stored.created,
            "datasets": {**stored.datasets, **asked.datasets},
            "tasks": {**stored.tasks, **asked.tasks},
            "definitions": {**stored.definitions, **asked.definitions},
        }
    )


def write_run(folder: Path, run: RunFile) -> None:
    """Write run.json atomically."""
    write_text(folder / RUN_FILE, run.model_dump_json(indent=1) + "\n")


def read_run(path: Path) -> RunFile:
    """Read run.json."""
    try:
        run = RunFile.model_validate(read_json(path))
    except ValidationError as error:
        raise ResultError(f"{str(path)!r} is not a run file of this version: {in_words(error)}.") from error
    # A changed setting beside old results would be believed by everything that reads the folder.
    if run.fingerprint != fingerprint(run.settings):
        raise ResultError(f"{str(path)!r} was changed by hand: its settings do not match its fingerprint.")
    return run


def _changed(stored: Mapping[str, T], asked: Mapping[str, T]) -> Iterator[tuple[str, T, T]]:
    for name in sorted(set(stored) & set(asked)):
        if stored[name] != asked[name]:
            yield name, stored[name], asked[name]


def walk(path: str, stored: JsonValue, asked: JsonValue) -> Iterator[str]:
    """Say in words where two settings differ."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted(set(stored) | set(asked)):
            yield from walk(f"{path}.{key}" if path else key, stored.get(key), asked.get(key))
    elif stored != asked:
        yield f"{path}: {_shown(stored)} in the folder, {_shown(asked)} asked for"


def _shown(value: JsonValue) -> str:
    return ABSENT if value is None else json.dumps(value, ensure_ascii=False)
