"""The catalogue: what model.yaml may say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ecg_hub import catalog
from ecg_hub.catalog_reading import read_folder, read_folders
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an architecture with one further checkpoint."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "model.yaml").write_text((catalog.MODELS_FOLDER / "ecg_founder" / "model.yaml").read_text())
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: object) -> None:
    weights = {"kind": "manual", "page": "https://example.org", "file": "w.pt"}
    own = {"alias": "further", "title": "Further", "summary": "Further weights.", "weights": weights, **changes}
    kept = {name: value for name, value in own.items() if value is not None}
    (folder / "checkpoints" / "further.yaml").write_text(yaml.safe_dump(kept))


def test_what_a_checkpoint_does_not_say_is_the_architectures(folder: Path) -> None:
    benchmark = {"sampling_rate": 100, "input_seconds": 5, "lead_names": ["II"], "steps": []}
    write(folder, config={"lead_names": ["II"]}, presets={"benchmark": benchmark}, finetuning_corpora=["sph"])
    entry, further = read_folder(folder)
    assert (further.architecture, further.is_default, entry.is_default) == (entry.alias, False, True)
    assert (further.licence, further.dim, further.classes) == (entry.licence, entry.dim, entry.classes)
    # Replaced as a whole, or what is fed would be of two checkpoints.
    assert set(further.presets) == {"benchmark"}
    assert str(further.input) == "1 x 5 s @ 100 Hz"
    assert further.corpora == ("heedb-1.0", "sph")
    # A head, a remark and a proof are of the weights that have them.
    assert (further.head, further.note, further.proof) == (None, None, None)
    assert entry.head is not None
    assert further.build_config().lead_names == ["II"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "title is missing"),
        ({"weights": None}, "weights is missing"),
        ({"model_type": "mine"}, "model_type is that of the architecture"),
        ({"alias": "other"}, "called as the alias"),
        ({"licence": {"name": "MIT"}}, r"licence: missing .*'redistribution'.*Fields of licence: name, spdx"),
        ({"presets": {"native": {}}}, "presets: benchmark lacks lead_names, input_seconds, sampling_rate"),
        ({"licenze": "MIT"}, "licenze"),
        (
            {"head": {"entries": "h.", "num_labels": 2, "kind": "round"}},
            r"head\.kind is 'round'; allowed: linear, other",
        ),
    ],
)
def test_wrong_checkpoints(changes: dict[str, object], message: str, folder: Path) -> None:
    write(folder, **changes)
    with pytest.raises(EcgHubError, match=message):
        read_folder(folder)


def test_a_published_name_is_not_that_of_a_small_random_model(folder: Path) -> None:
    path = folder / "checkpoints" / "ECG_Founder_tiny.yaml"
    (folder / "checkpoints" / "further.yaml").rename(path)
    path.write_text(path.read_text().replace("alias: further", f"alias: {path.stem}"))
    with pytest.raises(EcgHubError, match="'ecg-founder-tiny' is the small random model"):
        read_folder(folder)


def test_a_file_that_is_no_yaml(folder: Path) -> None:
    (folder / "checkpoints" / "further.yaml").write_text("alias: [further")
    with pytest.raises(EcgHubError, match=r"further\.yaml is no YAML that can be read: .*line 1"):
        read_folder(folder)


def test_an_alias_stands_for_one_checkpoint(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EcgHubError, match="'ecg-founder' is a checkpoint of"):
        read_folders([folder, catalog.MODELS_FOLDER / "ecg_founder"])


def test_another_name_of_the_same_weights() -> None:
    assert catalog.get("HuBERT_ECG_base") is catalog.get("hubert-ecg")
    assert "hubert-ecg-base" not in catalog.checkpoints()
