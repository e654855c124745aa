"""What installed packages add to the listings, announced by entry points: models, datasets and tasks.

    [project.entry-points."ecg_hub.models"]
    anything = "their_package.models"

A package that is broken, or that uses a name which is taken, costs one warning and is left out; docs/contributing/
package.md says what each group takes. ECG_HUB_PACKAGES=0 looks at none.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from ecg_hub.errors import InputError
from ecg_hub.spelling import normalised

MODELS, DATASETS, TASKS = "ecg_hub.models", "ecg_hub.datasets", "ecg_hub.tasks"
OWN = "ecg-hub"
"""The package of everything that is registered here."""
SWITCH = "ECG_HUB_PACKAGES"

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """One entry point of an installed package.

    Attributes:
        entry: name, value and group.
    """

    entry: EntryPoint

    @property
    def package(self) -> str:
        """Name and version of the package, "their-package 1.2"."""
        dist = self.entry.dist
        return "an unnamed package" if dist is None else f"{dist.name} {dist.version}"

    @property
    def folder(self) -> Path | None:
        """The folder that the entry point names, found without importing anything of it; None where it is none."""
        first, *rest = self.entry.module.split(".")
        # Of the first part alone: `find_spec` imports every package above what it is asked for.
        spec = None if self.entry.attr else find_spec(first)
        places = [] if spec is None else spec.submodule_search_locations or []
        return next((path for path in (Path(place, *rest) for place in places) if path.is_dir()), None)

    def load(self) -> Any:
        """Import what the entry point names: a module, or an object in one."""
        return self.entry.load()


@dataclass(frozen=True)
class Listed(Generic[T]):
    """What is registered, that of this package and that of others.

    Attributes:
        own: by name, of this package.
        added: by name, of others.
        packages: name -> package, of those that others bring.
    """

    own: Mapping[str, T]
    added: Mapping[str, T]
    packages: Mapping[str, str]

    def package_of(self, name: str) -> str:
        """The package that brings a name."""
        return self.packages.get(name, OWN)


def listed(kind: str, group: str, own: Mapping[str, T], read: Callable[[Offer], Iterable[tuple[str, T]]]) -> Listed[T]:
    """Return what is registered here and what the entry points of a group add to it.

    Args:
        kind: "model", "dataset" or "task", for warnings.
        group: of the entry points.
        own: what this package registers.
        read: the items of an entry point, with their names.
    """
    added: dict[str, T] = {}
    packages: dict[str, str] = {}
    taken = {normalised(name): (name, OWN) for name in own}
    for offer in offers(group):
        try:
            items = list(read(offer))
            for name, _ in items:
                # All names before any is taken: a package is listed as a whole or not at all.
                _refuse_taken(kind, name, taken)
        except Exception as error:  # whatever the code of another package raises: the listing goes on without it
            logger.warning(
                f"{offer.package} is left out: its entry point {offer.entry.name} = {offer.entry.value} of {group} "
                f"failed with {type(error).__name__}: {error}"
            )
            continue
        for name, item in items:
            added[name], packages[name] = item, offer.package
            taken[normalised(name)] = (name, offer.package)
    return Listed(own, added, packages)


def offers(group: str) -> list[Offer]:
    """Return the entry points of a group, by package and name."""
    if os.environ.get(SWITCH, "").upper() in ("0", "OFF", "NO", "FALSE"):
        return []
    found = [Offer(entry) for entry in entry_points(group=group)]
    # importlib gives them in the order of sys.path, and of two packages with one name the first wins.
    return sorted(found, key=lambda offer: (offer.package, offer.entry.name))


def _refuse_taken(kind: str, name: str, taken: Mapping[str, tuple[str, str]]) -> None:
    if normalised(name) in taken:
        other, package = taken[normalised(name)]
        raise InputError(f"the {kind} {name!r} has the name of {other!r} of {package}; choose another one")
