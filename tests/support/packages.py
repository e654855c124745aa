"""Installs packages for a test: copied to a folder, with the metadata that an installer writes."""

from __future__ import annotations

import importlib
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataset_scripts import catalog as dataset_catalog
from ecg_hub import catalog, registration
from ecg_hub.packages import SWITCH
from eval_harness.tasks import registry

EXAMPLE = Path(__file__).resolve().parent / "example_package"


def install(source: Path, target: Path) -> Path:
    """Install a package from its source folder; returns the folder that goes to sys.path."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    for package in source.iterdir():
        if package.is_dir():
            shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return announce(target, project["name"], project["version"], project["entry-points"])


def announce(target: Path, name: str, version: str, groups: dict[str, dict[str, str]]) -> Path:
    """Write the metadata of an installed package."""
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    sections = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))
    return target


@contextmanager
def installed(target: Path) -> Iterator[None]:
    """Look at the packages of a folder, and of no other; everything is as before afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        patch.syspath_prepend(str(target))
        _forget()
        try:
            yield
        finally:
            patch.undo()
            _forget()


def environment(target: Path, home: Path) -> dict[str, str]:
    """The environment of another process that has the packages of a folder."""
    paths = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, SWITCH: "1", "PYTHONPATH": paths, "ECG_HUB_HOME": str(home)}


def _forget() -> None:
    importlib.invalidate_caches()
    for cached in (catalog._read_all, dataset_catalog._listed, registry._listed, registration._is_sound):
        cached.cache_clear()
