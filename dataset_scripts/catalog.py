"""The registered datasets: every file of `dataset_scripts/sets/` that holds an instance named `DATASET`."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from dataset_scripts import sets
from dataset_scripts.spec import ECGDataset
from ecg_hub.errors import unknown_name


@functools.cache
def datasets() -> Mapping[str, ECGDataset]:
    """Return the datasets by name, sorted by name.

    Raises:
        TypeError: a file in the folder holds no `DATASET`, or two files use one name.
    """
    found: dict[str, ECGDataset] = {}
    for module in pkgutil.iter_modules(sets.__path__):
        dataset = getattr(importlib.import_module(f"{sets.__name__}.{module.name}"), "DATASET", None)
        if not isinstance(dataset, ECGDataset):
            raise TypeError(f"dataset_scripts/sets/{module.name}.py must define DATASET, an instance of ECGDataset.")
        if dataset.name in found:
            raise TypeError(f"dataset_scripts/sets/{module.name}.py uses the name {dataset.name!r} a second time.")
        found[dataset.name] = dataset
    return MappingProxyType(dict(sorted(found.items())))


def get(name: str) -> ECGDataset:
    """Return one dataset.

    Raises:
        UnknownNameError: no dataset has that name; the text suggests the closest and lists all.
    """
    try:
        return datasets()[name]
    except KeyError:
        raise unknown_name("dataset", name, datasets()) from None
