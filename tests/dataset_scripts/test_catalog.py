from __future__ import annotations

import subprocess
import sys
import types

import pytest

from dataset_scripts import catalog
from dataset_scripts import published as sets
from dataset_scripts.core.spec import ECGDataset
from ecg_hub.errors import InputError, UnknownNameError

HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "wfdb", "sklearn")


def test_names_and_objects_agree() -> None:
    assert "ptb-xl" in catalog.datasets()
    assert all(name == dataset.name for name, dataset in catalog.datasets().items())
    assert list(catalog.datasets()) == sorted(catalog.datasets())


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown dataset 'ptbxll'\. Did you mean 'ptb-xl'"):
        catalog.get("ptbxll")


@pytest.mark.heavy
def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, dataset_scripts\n"
        "text = [dataset.licence + dataset.page for dataset in dataset_scripts.datasets().values()]\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_file_without_dataset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog._listed.cache_clear()
    monkeypatch.setattr(catalog, "importlib", types.SimpleNamespace(import_module=lambda name: types.ModuleType(name)))
    with pytest.raises(TypeError, match="must define DATASET"):
        catalog.datasets()
    catalog._listed.cache_clear()


def test_what_datasets_share_is_no_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog._listed.cache_clear()
    names = [types.SimpleNamespace(name="_challenge")]
    monkeypatch.setattr(catalog, "pkgutil", types.SimpleNamespace(iter_modules=lambda path: names))
    assert catalog.datasets() == {}
    catalog._listed.cache_clear()


def test_a_name_used_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(DATASET=catalog.get("ptb-xl"))
    catalog._listed.cache_clear()
    names = [types.SimpleNamespace(name="one"), types.SimpleNamespace(name="two")]
    monkeypatch.setattr(catalog, "pkgutil", types.SimpleNamespace(iter_modules=lambda path: names))
    monkeypatch.setattr(catalog, "importlib", types.SimpleNamespace(import_module=lambda name: module))
    with pytest.raises(TypeError, match="a second time"):
        catalog.datasets()
    catalog._listed.cache_clear()


def test_public_names_are_there() -> None:
    import dataset_scripts

    assert all(getattr(dataset_scripts, name) is not None for name in dataset_scripts.__all__)
    assert dir(dataset_scripts) == sorted(dataset_scripts.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        dataset_scripts.nothing  # noqa: B018
    assert isinstance(dataset_scripts.get("ptb-xl"), ECGDataset)
    assert sets.__name__ == "dataset_scripts.published"


@pytest.mark.parametrize("name", ["ptb-xl", "PTBXL"])
def test_an_own_archive_takes_no_published_name(name: str) -> None:
    with pytest.raises(InputError, match=r"mine\.yaml: field 'name': 'ptb-xl' is a published dataset"):
        catalog.refuse_published_name(name, "mine.yaml")
