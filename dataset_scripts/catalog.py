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
from types import MappingProxyType, ModuleType

import ecg_hub.packages as packages
from dataset_scripts import published as sets
from dataset_scripts.core.spec import ECGDataset, PathLike
from ecg_hub.errors import InputError
from ecg_hub.spelling import looked_up, registered, spelt
from ecg_hub.utils.rows import Rows

ACCESS = ("open", "restricted", "credentialed")


def datasets() -> Mapping[str, ECGDataset]:
    """Return the datasets by name, sorted by name, those of other installed packages among them.

    Raises:
        TypeError: a file in the folder holds no `DATASET` (or `DATASETS`), or two datasets use one name. What another
            package does wrong costs a warning.

    Example:
        >>> datasets()["ptb-xl"].title, "code-15" in datasets()
        ('PTB-XL', True)
    """
    return _listed()[0]


def package_of(name: str) -> str:
    """Return the package that brings a dataset."""
    return _listed()[1].package_of(name)


@functools.cache
def _listed() -> tuple[Mapping[str, ECGDataset], packages.Listed[ECGDataset]]:
    listed = packages.listed("dataset", packages.DATASETS, _built_in(), _offered)
    # Cached and shared by all callers, so nobody may change it.
    return MappingProxyType(dict(sorted({**listed.own, **listed.added}.items()))), listed


def _offered(offer: packages.Offer) -> list[tuple[str, ECGDataset]]:
    """The datasets of another package: a module like those of `dataset_scripts.published`, or an ECGDataset."""
    loaded = offer.load()
    declared = _declared(loaded) if isinstance(loaded, ModuleType) else (loaded,)
    if not all(isinstance(dataset, ECGDataset) for dataset in declared):
        raise TypeError(f"{offer.entry.value} is no ECGDataset")
    return [(dataset.name, dataset) for dataset in declared]


def _built_in() -> dict[str, ECGDataset]:
    by_name: dict[str, ECGDataset] = {}
    for module in pkgutil.iter_modules(sets.__path__):
        # What several datasets share, and declares none itself.
        if module.name.startswith("_"):
            continue
        for dataset in _declared(importlib.import_module(f"{sets.__name__}.{module.name}")):
            if dataset.name in by_name:
                raise TypeError(
                    f"dataset_scripts/published/{module.name}.py uses the name {dataset.name!r} a second time."
                )
            by_name[dataset.name] = dataset
    return by_name


def _declared(declaring: ModuleType) -> tuple[ECGDataset, ...]:
    """Return the datasets of one file: `DATASETS` where one factory makes several, else `DATASET`."""
    declared = getattr(declaring, "DATASETS", None) or (getattr(declaring, "DATASET", None),)
    if not all(isinstance(dataset, ECGDataset) for dataset in declared):
        raise TypeError(f"{declaring.__name__} must define DATASET, an instance of ECGDataset.")
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
        name: a registered dataset in any spelling, or the path of the YAML file that describes a user's own archive.
        data_dir: the folder of such an archive; None takes the one that the file names.

    Raises:
        UnknownNameError: no dataset has that name; the text suggests the closest and lists all.
        InputError: the description is not valid, or has the name of a registered dataset.
        DataError: what it describes is not there.

    Example:
        >>> get("ptb-xl").access, get("mimic-iv-ecg").access
        ('open', 'credentialed')
        >>> get("ptbxl").name, get("Code15").name  # in any spelling
        ('ptb-xl', 'code-15')
        >>> get("ptbxll")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown dataset 'ptbxll'. Did you mean 'ptb-xl' or 'ptb'? ...
    """
    if is_path(name):
        # Imported here: describing an archive needs pydantic, listing the published datasets does not.
        from dataset_scripts.custom import open_custom

        own = open_custom(name)
        refuse_published_name(own.name, own.source)
        return own.bound(data_dir)
    return looked_up("dataset", os.fspath(name), datasets())


def list_datasets(pattern: str | None = None, *, access: str | None = None) -> Rows:
    """Return what `ecg_hub.list_datasets` lists."""
    access = None if access is None else registered("access", access, ACCESS)
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
    published = spelt(name, datasets())
    if published is not None:
        raise InputError(
            f"{source}: field 'name': {published!r} is a published dataset, and a result under its name must mean "
            "that one; choose another name."
        )
