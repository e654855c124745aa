"""The registered datasets: the `DATASET` of every file of `dataset_scripts/published/`, or its `DATASETS`.

Files whose name begins with an underscore hold what several datasets share.

A user's own archive is no member of the list; it is named by the path of the YAML file that describes it.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import os
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from dataset_scripts import published as sets
from dataset_scripts.core.spec import ECGDataset, PathLike
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.utils.rows import Rows

ACCESS = ("open", "restricted", "credentialed")


@functools.cache
def datasets() -> Mapping[str, ECGDataset]:
    """Return the datasets by name, sorted by name.

    Raises:
        TypeError: a file in the folder holds no `DATASET` (or `DATASETS`), or two datasets use one name.

    Example:
        >>> list(datasets())[:4]
        ['chapman', 'code-15', 'cpsc-extra', 'cpsc2018']
    """
    by_name: dict[str, ECGDataset] = {}
    for module in pkgutil.iter_modules(sets.__path__):
        if module.name.startswith("_"):
            continue
        for dataset in _declared(module.name):
            if dataset.name in by_name:
                raise TypeError(
                    f"dataset_scripts/published/{module.name}.py uses the name {dataset.name!r} a second time."
                )
            by_name[dataset.name] = dataset
    # Cached and shared by all callers, so nobody may change it.
    return MappingProxyType(dict(sorted(by_name.items())))


def _declared(module: str) -> tuple[ECGDataset, ...]:
    """Return the datasets of one file: `DATASETS` where one factory makes several, else `DATASET`."""
    declaring = importlib.import_module(f"{sets.__name__}.{module}")
    declared = getattr(declaring, "DATASETS", None) or (getattr(declaring, "DATASET", None),)
    if not all(isinstance(dataset, ECGDataset) for dataset in declared):
        raise TypeError(f"dataset_scripts/published/{module}.py must define DATASET, an instance of ECGDataset.")
    return tuple(declared)


def is_path(name: PathLike) -> bool:
    """Return whether a name is the path of a YAML file that describes a user's own archive.

    Example:
        >>> is_path("my_archive.yaml"), is_path("ptb-xl")
        (True, False)
    """
    return os.fspath(name).endswith((".yaml", ".yml"))


def get(name: PathLike, data_dir: PathLike | None = None) -> ECGDataset:
    """Return one dataset.

    Args:
        name: a registered dataset, or the path of the YAML file that describes a user's own archive.
        data_dir: the folder of such an archive; None takes the one that the file names.

    Raises:
        UnknownNameError: no dataset has that name; the text suggests the closest and lists all.
        InputError: the description is not valid, or has the name of a registered dataset.
        DataError: what it describes is not there.

    Example:
        >>> get("ptb-xl").access, get("mimic-iv-ecg").access
        ('open', 'credentialed')
        >>> get("ptbxl")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown dataset 'ptbxl'. Did you mean 'ptb-xl' or 'ptb'? ...
    """
    if is_path(name):
        # Imported here: describing an archive needs pydantic, listing the published datasets does not.
        from dataset_scripts.custom import open_custom

        own = open_custom(name)
        refuse_published_name(own.name, own.source)
        return own.bound(data_dir)
    name = os.fspath(name)
    try:
        return datasets()[name]
    except KeyError:
        raise unknown_name("dataset", name, datasets()) from None


def list_datasets(pattern: str | None = None, *, access: str | None = None) -> Rows:
    """Return what `ecg_hub.list_datasets` lists."""
    if access is not None and access not in ACCESS:
        raise unknown_name("access", access, ACCESS)
    return Rows(
        {
            "dataset": dataset.name,
            "title": dataset.title,
            "access": dataset.access,
            "licence": dataset.licence,
            "redistribution": dataset.redistribution,
            "rates_hz": dataset.sampling_rates,
            "page": dataset.page,
        }
        for dataset in datasets().values()
        if fnmatch.fnmatchcase(dataset.name, pattern or "*") and access in (None, dataset.access)
    )


def refuse_published_name(name: str, source: PathLike) -> None:
    """Refuse a user's own archive that has the name of a registered dataset."""
    if name in datasets():
        raise InputError(
            f"{source}: field 'name': {name!r} is a published dataset, and a result under its name must mean that one; "
            "choose another name."
        )
