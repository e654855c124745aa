"""The catalogue: what model.yaml may say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ecg_hub import catalog
from ecg_hub.errors import EcgHubError, UnknownNameError


def test_entries() -> None:
    entry = catalog.get("ecg-cpc")
    assert entry.model_type == "ecg_cpc"
    assert str(entry.input) == "12 x 2.5 s @ 240 Hz"
    assert entry.licence.spdx == "CC-BY-4.0"
    assert entry.licence.redistribution
    assert entry.pretraining_corpora == ("heedb-1.0",)
    assert catalog.by_model_type("ecg_cpc") is entry
    assert catalog.by_model_type("bert") is None
    assert list(catalog.models()) == sorted(catalog.models())


def test_every_folder_is_listed_once() -> None:
    folders = {path.parent.name for path in catalog.MODELS_FOLDER.glob("*/__init__.py")}
    assert folders == {path.parent.name for path in catalog.MODELS_FOLDER.glob("*/model.yaml")}
    entries = catalog.models().values()
    for attribute in ("alias", "model_type", "class_names"):
        assert len({getattr(entry, attribute) for entry in entries}) == len(folders)
    assert all(entry.alias.replace("-", "_") == entry.alias.replace("-", "_").lower() for entry in entries)


def test_models_is_a_copy() -> None:
    catalog.models().clear()
    assert "ecg-cpc" in catalog.models()


def test_unknown_model() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'ecg-cpc'.*ecg-hub ls"):
        catalog.get("ecgcpd")


def test_wrong_files(tmp_path: Path) -> None:
    raw = yaml.safe_load((catalog.MODELS_FOLDER / "ecg_cpc" / "model.yaml").read_text())
    path = tmp_path / "model.yaml"

    def written(**changes: object) -> Path:
        path.write_text(yaml.safe_dump({**raw, **changes}))
        return path

    assert catalog.read_entry(written()).alias == "ecg-cpc"
    with pytest.raises(EcgHubError, match="licenze"):
        catalog.read_entry(written(licenze="MIT"))
    with pytest.raises(EcgHubError, match="'fondation'; allowed: foundation, supervised"):
        catalog.read_entry(written(kind="fondation"))
    with pytest.raises(EcgHubError, match=r"weights\.kind"):
        catalog.read_entry(written(weights={"kind": "dropbox"}))
    with pytest.raises(EcgHubError, match="spdx"):
        catalog.read_entry(written(licence={"name": "MIT", "redistribution": True}))
    del raw["dim"]
    with pytest.raises(EcgHubError, match="dim"):
        catalog.read_entry(written())
