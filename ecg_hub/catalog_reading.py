"""Reading model.yaml, and the files in `checkpoints/` beside it, of which each says only what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

import ecg_hub.packages as packages
from ecg_hub.catalog_entry import (
    CHECKPOINTS,
    DOWNLOADS,
    EMBEDDED,
    Classes,
    Head,
    InputContract,
    Licence,
    ModelEntry,
    Pretraining,
    Weights,
)
from ecg_hub.errors import EcgHubError
from ecg_hub.spelling import normalised

KINDS = ("foundation", "supervised")
WEIGHT_KINDS = (*DOWNLOADS, "manual", EMBEDDED, "none")
HEAD_KINDS = ("linear", "other")
MODEL_FILE = "model.yaml"
REQUIRED = ("alias", "title", "summary", "weights")
"""What every checkpoint has of its own."""
_INHERITED = ("model_type", "classes", "tiny", "input")
_OF_ITS_OWN_WEIGHTS = ("finetuning_corpora", "head", "note", "other_names", "parity", "pretraining", "proof")
"""What model.yaml says of the weights that the architecture's name means, and of no others."""
_SET_HERE = ("package", "folder", "parent")
_PARTS = {
    "licence": Licence,
    "input": InputContract,
    "pretraining": Pretraining,
    "weights": Weights,
    "classes": Classes,
    "head": Head,
}
_TUPLES = ("pretraining_corpora", "finetuning_corpora", "other_names")


def read_entry(path: Path) -> ModelEntry:
    """Read and check one model.yaml.

    Args:
        path: the file.

    Raises:
        EcgHubError: if a field is missing, unknown or has a value that is not allowed.

    Example:
        >>> from ecg_hub.catalog import MODELS_FOLDER
        >>> str(read_entry(MODELS_FOLDER / "ecg_s4" / "model.yaml").input)
        '12 x 2.5 s @ 100 Hz'
    """
    return _entry(_load(path), path)


def read_checkpoint_entry(path: Path, raw: Mapping[str, Any]) -> ModelEntry:
    """Read one file of `checkpoints/`: everything that it does not say is that of the architecture.

    Fields are replaced as a whole: a checkpoint with `presets` has those and no others.

    Args:
        path: the file.
        raw: content of the model.yaml of the architecture.

    Raises:
        EcgHubError: if a field is missing, unknown, not to be changed, or has a value that is not allowed.
    """
    own = _load(path)
    for name in (*(name for name in REQUIRED if name not in own), *(name for name in _INHERITED if name in own)):
        have = "is that of the architecture and cannot be given" if name in own else "is missing"
        raise EcgHubError(f"{path}: {name} {have}. Of its own a checkpoint has {', '.join(REQUIRED)}.")
    if own["alias"] != path.stem:
        raise EcgHubError(f"{path}: alias is {own['alias']!r}; the file is called as the alias, {path.stem!r}.")
    small = f"{raw['alias']}-tiny"
    if normalised(own["alias"]) == normalised(small):
        raise EcgHubError(f"{path}: {small!r} is the small random model of {raw['alias']!r}; take another alias.")
    inherited = {name: value for name, value in raw.items() if name not in _OF_ITS_OWN_WEIGHTS}
    merged = {**inherited, **own, "input": _input(raw["input"], own.get("presets"), path)}
    return replace(_entry(merged, path), parent=raw["alias"])


def read_folder(folder: Path) -> list[ModelEntry]:
    """Return the architecture in a folder and its further checkpoints."""
    raw = _load(folder / MODEL_FILE)
    entry = _entry(raw, folder / MODEL_FILE)
    return [entry, *(read_checkpoint_entry(path, raw) for path in sorted((folder / CHECKPOINTS).glob("*.yaml")))]


def read_folders(folders: Iterable[Path]) -> dict[str, ModelEntry]:
    """Return the checkpoints of several folders by alias; one that is there twice is refused."""
    entries: dict[str, ModelEntry] = {}
    for entry in (entry for folder in folders for entry in read_folder(folder)):
        if entry.alias in entries:
            other = entries[entry.alias]
            raise EcgHubError(
                f"{entry.alias!r} is a checkpoint of {entry.architecture!r} and of {other.architecture!r}."
            )
        entries[entry.alias] = entry
    return entries


def offered(offer: packages.Offer, types: Mapping[str, str]) -> list[tuple[str, ModelEntry]]:
    """Return the models of another package: folders with a model.yaml, or a ModelEntry."""
    if offer.folder is None:
        loaded = offer.load()
        entries = list(loaded) if isinstance(loaded, list | tuple) else [loaded]
        if not all(isinstance(entry, ModelEntry) for entry in entries):
            raise EcgHubError(f"{offer.entry.value} is neither a folder with a model.yaml nor a ModelEntry.")
    else:
        candidates = (offer.folder, *sorted(path for path in offer.folder.iterdir() if path.is_dir()))
        folders = [folder for folder in candidates if (folder / MODEL_FILE).is_file()]
        if not folders:
            raise EcgHubError(f"The folder of {offer.entry.value} holds no model.yaml.")
        entries = [replace(entry, folder=folder) for folder in folders for entry in read_folder(folder)]
    for entry in entries:
        if entry.model_type in types:
            taken = types[entry.model_type]
            raise EcgHubError(f"model_type {entry.model_type!r} is that of {taken!r} of {packages.OWN}.")
    return [(entry.alias, replace(entry, package=offer.package)) for entry in entries]


def _load(path: Path) -> dict[str, Any]:
    # The parser in C where PyYAML has it, because every command reads all of these files.
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise EcgHubError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise EcgHubError(f"{path} is no mapping of fields.")
    return raw


def _entry(raw: Mapping[str, Any], path: Path) -> ModelEntry:
    try:
        entry = ModelEntry(**{name: _part(name, value, path) for name, value in raw.items()})
    except TypeError as error:
        allowed = ", ".join(item.name for item in fields(ModelEntry) if item.name not in _SET_HERE)
        raise EcgHubError(f"{path}: {error}. Fields of a model: {allowed}.") from error
    for name in _TUPLES:
        # YAML knows lists only, and what is frozen should hold nothing that can be changed.
        object.__setattr__(entry, name, tuple(getattr(entry, name)))
    head_kind = entry.head.kind if entry.head is not None else HEAD_KINDS[0]
    for name, value, choices in (
        ("kind", entry.kind, KINDS),
        ("weights.kind", entry.weights.kind, WEIGHT_KINDS),
        ("head.kind", head_kind, HEAD_KINDS),
    ):
        if value not in choices:
            raise EcgHubError(f"{path}: {name} is {value!r}; allowed: {', '.join(choices)}.")
    return entry


def _part(name: str, value: Any, path: Path) -> Any:
    """A field's value, as an object where it has fields of its own."""
    kind = _PARTS.get(name)
    if kind is None:
        return value
    try:
        return kind(**value)
    except TypeError as error:
        fault = str(error).rpartition("__init__() ")[2]
        allowed = ", ".join(item.name for item in fields(kind))
        raise EcgHubError(f"{path}: {name}: {fault}. Fields of {name}: {allowed}.") from error


def _input(inherited: Mapping[str, Any], presets: Mapping[str, Any] | None, path: Path) -> dict[str, Any]:
    """What `benchmark` feeds: of a checkpoint with presets of its own not that of the architecture."""
    if presets is None:
        return dict(inherited)
    benchmark, fed = presets.get("benchmark", {}), ("lead_names", "input_seconds", "sampling_rate")
    missing = [name for name in fed if name not in benchmark]
    if missing:
        raise EcgHubError(f"{path}: presets: benchmark lacks {', '.join(missing)}; presets are given whole.")
    leads, seconds, rate = (benchmark[name] for name in fed)
    return {"leads": leads, "seconds": seconds, "sampling_rate": rate, "unit": inherited["unit"]}
