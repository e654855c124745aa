"""The models that exist, read from YAML files. Imports neither torch nor transformers.

An architecture is code, a folder `ecg_hub/models/<name>/` with a `model.yaml` (docs/contributing/model.md); a further
checkpoint of it is one file more in `checkpoints/` (docs/contributing/checkpoint.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import ecg_hub.packages as packages
from ecg_hub.catalog_entry import (
    CHECKPOINTS,
    DOWNLOADS,
    MODELS_FOLDER,
    Classes,
    Head,
    InputContract,
    Licence,
    ModelEntry,
    Weights,
    load_reference,
)
from ecg_hub.catalog_reading import KINDS, MODEL_FILE, WEIGHT_KINDS, offered, read_entry, read_folders
from ecg_hub.spelling import looked_up

__all__ = [
    "CHECKPOINTS",
    "DOWNLOADS",
    "KINDS",
    "MODELS_FOLDER",
    "WEIGHT_KINDS",
    "Classes",
    "Head",
    "InputContract",
    "Licence",
    "ModelEntry",
    "Weights",
    "built_in",
    "by_model_type",
    "checkpoints",
    "checkpoints_of",
    "get",
    "load_reference",
    "look_alikes",
    "models",
    "of_config",
    "public_classes",
    "read_entry",
    "short_names",
]


def models() -> dict[str, ModelEntry]:
    """Return all architectures by alias, in alphabetical order; each has its default checkpoint's name and facts.

    Example:
        >>> models()["ecg-cpc"].title, models()["s4"].weights.kind  # the second is trained from scratch
        ('ECG-CPC', 'none')
    """
    return {alias: entry for alias, entry in _read_all() if entry.is_default}


def checkpoints() -> dict[str, ModelEntry]:
    """Return all that a short name may stand for, by alias: the architectures and their further checkpoints.

    Example:
        >>> [alias for alias, entry in checkpoints().items() if entry.architecture == "ecg-founder"]
        ['ecg-founder', 'ecg-founder-1lead']
    """
    return dict(_read_all())


def short_names() -> dict[str, ModelEntry]:
    """Return the checkpoints by all names that they may be asked for by.

    Example:
        >>> short_names()["hubert-ecg-base"].alias  # beside hubert-ecg-small and hubert-ecg-large
        'hubert-ecg'
    """
    return {**checkpoints(), **{name: entry for _, entry in _read_all() for name in entry.other_names}}


def checkpoints_of(architecture: str) -> list[ModelEntry]:
    """Return an architecture's checkpoints, the default one first."""
    own = [entry for _, entry in _read_all() if entry.architecture == architecture]
    return sorted(own, key=lambda entry: (not entry.is_default, entry.alias))


def look_alikes(entry: ModelEntry) -> list[ModelEntry]:
    """Return the other checkpoints whose files have the same names and shapes: a name or digest tells them apart.

    Example:
        >>> [other.alias for other in look_alikes(get("ecg-jepa"))]
        ['ecg-jepa-random']
    """

    def form(one: ModelEntry) -> tuple[Any, ...]:
        return one.architecture, one.parameters, one.head and (one.head.entries, one.head.num_labels)

    return [other for _, other in _read_all() if form(other) == form(entry) and other.alias != entry.alias]


def built_in() -> dict[str, ModelEntry]:
    """Return the checkpoints of this package by alias, without those of other installed packages."""
    return {alias: entry for alias, entry in _read_all() if entry.package == packages.OWN}


def get(alias: str) -> ModelEntry:
    """Return one checkpoint.

    Args:
        alias: short name such as "ecg-cpc", in any spelling.

    Raises:
        UnknownNameError: if there is no such model; suggests the closest.

    Example:
        >>> entry = get("ecg-cpc")
        >>> str(entry.input), entry.dim, entry.parameters
        ('12 x 2.5 s @ 240 Hz', 512, 2932736)
        >>> entry.licence.spdx, entry.licence.redistribution
        ('CC-BY-4.0', True)
        >>> get("ecg-cpq")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown model 'ecg-cpq'. ...
    """
    return looked_up("model", alias, short_names(), "See `ecg-hub ls`; a folder or a hub id ORG/NAME works too.")


def by_model_type(model_type: str) -> ModelEntry | None:
    """Return the architecture with a `model_type` of config.json, or None if it is not one of ours.

    What is said of weights goes by `of_config`: one architecture has weights of several origins and licences.

    Example:
        >>> by_model_type("ecg_s4").alias  # names in config.json differ from short names
        's4'
        >>> by_model_type("bert") is None
        True
    """
    return next((entry for entry in models().values() if entry.model_type == model_type), None)


def of_config(config: Any) -> ModelEntry | None:
    """Return the checkpoint that weights are or descend from, by their configuration; None if it is not one of ours.

    The converter writes the alias into `conversion`, which stays when the weights are trained and saved again. Without
    it, in files of earlier versions or for weights that began at random, the architecture stands for them.

    Args:
        config: a configuration, or the content of a config.json.

    Example:
        >>> record = {"model": "ecg-founder-1lead"}
        >>> of_config({"model_type": "ecg_founder", "conversion": record}).alias
        'ecg-founder-1lead'
        >>> of_config({"model_type": "ecg_founder"}).alias
        'ecg-founder'
    """
    content: Mapping[str, Any] = config if isinstance(config, Mapping) else vars(config)
    model_type = str(config.get("model_type") if isinstance(config, Mapping) else getattr(config, "model_type", None))
    record = content.get("conversion")
    entry = checkpoints().get(str(record.get("model"))) if isinstance(record, Mapping) else None
    return entry if entry is not None and entry.model_type == model_type else by_model_type(model_type)


def public_classes() -> dict[str, str]:
    """Return the classes of all models that users see, with the modules where they are.

    Example:
        >>> public_classes()["ECGS4Model"]
        'ecg_hub.models.ecg_s4.modeling_ecg_s4'
    """
    references = (reference for entry in built_in().values() for reference in entry.public_classes)
    return {name: module for module, _, name in (reference.partition(":") for reference in references)}


@lru_cache(maxsize=1)
def _read_all() -> tuple[tuple[str, ModelEntry], ...]:
    own = read_folders(path.parent for path in sorted(MODELS_FOLDER.glob(f"*/{MODEL_FILE}")))
    types = {entry.model_type: entry.architecture for entry in own.values()}
    listed = packages.listed("model", packages.MODELS, own, lambda offer: offered(offer, types))
    return tuple(sorted({**own, **listed.added}.items()))
