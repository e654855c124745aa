"""A short name is the catalogue's checkpoint or says that it is not; so do random weights and authors' files."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.names import model_folder, resolve
from ecg_hub.origin import is_catalogue, origin_of, shown_name, weights_digest
from ecg_hub.registration import register
from tests.support.checkpoints import SOURCE, convert_filled
from tests.support.models import tiny, tiny_classifier

HF_ENTRIES = sorted(entry.alias for entry in catalog.models().values() if entry.weights.repo is not None)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A converted ECG-CPC under its short name."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECG_HUB_HOME", str(home))
        convert_filled("ecg-cpc", home / "authors")
        yield home


@pytest.fixture
def home(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_HUB_HOME", str(converted))


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc").save_pretrained(folder)
    return folder


@pytest.mark.heavy
@pytest.mark.usefixtures("home")
def test_a_conversion_is_the_catalogues_as_declared(caplog: pytest.LogCaptureFixture) -> None:
    model = ecg_hub.AutoModel.from_pretrained("ecg-cpc")
    assert caplog.text == ""
    origin = origin_of(model)
    assert (origin.kind, origin.evidence) == ("catalogue", "declared")
    assert shown_name("ecg-cpc", model, origin) == "ecg-cpc"
    assert not is_catalogue(model, "ecg-fm", origin)
    classifier = ecg_hub.AutoModelForECGClassification.from_pretrained("ecg-cpc", num_labels=3, new_head=True)
    assert origin_of(classifier) == origin


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("field", "evidence"), [("sha256", "file"), ("tensors_sha256", "tensors")])
def test_digests_that_the_catalogue_knows(field: str, evidence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, entry = ecg_hub.AutoModel.from_pretrained("ecg-cpc"), catalog.get("ecg-cpc")
    known = model.config.source["sha256"] if field == "sha256" else model.config.conversion["weights_sha256"]
    for value, expected in ((known, ("catalogue", evidence)), ("0" * 64, ("unverified", None))):
        weights = dataclasses.replace(entry.weights, **{field: value})
        changed = (("ecg-cpc", dataclasses.replace(entry, weights=weights)),)
        monkeypatch.setattr(catalog, "_read_all", lambda changed=changed: changed)
        origin = origin_of(model)
        assert (origin.kind, origin.evidence) == expected


@pytest.mark.usefixtures("home")
def test_weights_that_were_trained_since_are_not_the_catalogues() -> None:
    model = ecg_hub.AutoModel.from_pretrained("ecg-cpc")
    with torch.no_grad():
        next(model.parameters()).mul_(1.0001)
    origin = origin_of(model)
    assert origin.kind == "unverified"
    assert "no longer those converted from published.ckpt" in origin.reason
    assert shown_name("ecg-cpc", model, origin) == "unverified:ecg-cpc"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"source": None}, "no record of a conversion"),
        ({"conversion": None}, "no record of a conversion"),
        ({"conversion": {"model": "st-mem"}}, "of another architecture"),
        ({"conversion": {"model": "nonsense"}}, "'nonsense', of another architecture"),
        ({"pretraining": {"corpora": ["ptb-xl"]}}, "how the weights were trained"),
        ({"training": [{"dataset": "ptb-xl"}]}, "how the weights were trained"),
    ],
)
def test_what_the_record_must_say(change: dict[str, Any], expected: str) -> None:
    model = ecg_hub.AutoModel.from_pretrained("ecg-cpc")
    for name, value in change.items():
        setattr(model.config, name, value)
    origin = origin_of(model)
    assert origin.kind != "catalogue"
    assert expected in origin.reason


def test_a_small_model_with_a_forged_record_is_refused_by_its_size() -> None:
    model = ecg_hub.AutoModel.from_pretrained("random:ecg-cpc-tiny")
    digest = weights_digest(model)
    model.config.random_weights = None
    model.config.source, model.config.conversion = SOURCE, {"model": "ecg-cpc", "weights_sha256": digest}
    assert origin_of(model).reason == "it has 6,976 parameters, ECG-CPC 2,932,736"


@pytest.mark.parametrize("place", ["home", "here"])
def test_other_weights_under_a_short_name_are_said(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = model_folder("ecg-cpc") if place == "home" else tmp_path / "ecg-cpc"
    monkeypatch.chdir(tmp_path)
    save(tiny("ecg-cpc"), folder)
    with caplog.at_level(logging.WARNING):
        model = ecg_hub.AutoModel.from_pretrained("ecg-cpc")
    assert caplog.messages == [
        "ecg-cpc finds unverified weights, shown as 'unverified:ecg-cpc': its config.json says that the weights were "
        "drawn at random as 'random:ecg-cpc-tiny' with seed 0 and never trained."
    ]
    again = ecg_hub.AutoModel.from_pretrained("unverified:ecg-cpc")
    assert shown_name("unverified:ecg-cpc", again, origin_of(model)) == "unverified:ecg-cpc"
    assert resolve("unverified:ecg-cpc").target == str(folder.resolve())


def test_random_weights_say_so_for_ever(tmp_path: Path) -> None:
    model = ecg_hub.AutoModel.from_pretrained("random:ecg-cpc-tiny", seed=7)
    for step in range(3):
        model.save_pretrained(tmp_path / str(step))
        said = json.loads((tmp_path / str(step) / "config.json").read_text())["random_weights"]
        assert said == {"name": "random:ecg-cpc-tiny", "seed": 7}
        model = transformers.AutoModel.from_pretrained(tmp_path / str(step))
    assert origin_of(model).kind == "random"
    classifier = ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path / "2", num_labels=2, new_head=True)
    assert origin_of(classifier).kind == "random"


@pytest.mark.parametrize("auto", [transformers.AutoModel, ecg_hub.AutoModel, ecg_hub.AutoModelForECGClassification])
def test_a_model_made_of_a_configuration_is_random(auto: Any) -> None:
    config = ecg_hub.AutoConfig.from_pretrained("random:ecg-cpc-tiny")
    assert origin_of(auto.from_config(config)).kind == "random"
    assert config.random_weights is None  # it may load a checkpoint next


def authors_folder(folder: Path, alias: str, architecture: str = "HuBERTECG") -> Path:
    """A repository in the layout of the authors of HuBERT-ECG: HubertConfig's fields, their class, no preprocessor."""
    folder.mkdir(parents=True)
    model = tiny(alias)
    model.save_pretrained(folder)
    ours = json.loads((folder / "config.json").read_text())
    hubert = ("hidden_size", "intermediate_size", "conv_dim", "conv_kernel", "conv_stride", "num_attention_heads")
    content = {name: ours[name] for name in (*hubert, "num_hidden_layers", "num_conv_pos_embeddings")}
    content |= {"model_type": model.config.model_type, "architectures": [architecture]}
    content |= {
        "mask_time_prob": 0.33,
        "mask_time_length": 1,
        "layerdrop": 0.1,
        "ensemble_length": 1,
        "vocab_sizes": [500],
    }
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "auto",
    [
        ecg_hub.AutoModel,
        ecg_hub.AutoConfig,
        ecg_hub.AutoFeatureExtractor,
        ecg_hub.AutoModelForECGClassification,
        transformers.AutoModel,
        ecg_hub.HuBERTECGModel,
    ],
)
def test_the_layout_of_the_authors_of_hubert_ecg_is_refused(auto: Any, tmp_path: Path) -> None:
    folder = authors_folder(tmp_path / "hubert-ecg-base", "hubert-ecg")
    with pytest.raises(CheckpointError, match=r"layout of the authors' own package \(HuBERTECG\)") as raised:
        auto.from_pretrained(str(folder))
    assert "`ecg-hub pull hubert-ecg`" in str(raised.value)
    assert "--model hubert-ecg" in str(raised.value)
    if auto in (ecg_hub.AutoModel, transformers.AutoModel):
        assert str(folder) in str(raised.value)


def test_older_repositories_with_code_of_their_own_are_refused_too(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path / "hubert-ecg-base", "hubert-ecg")
    content = json.loads((folder / "config.json").read_text())
    content["auto_map"] = {"AutoConfig": "hubert_ecg.HuBERTECGConfig", "AutoModel": "hubert_ecg.HuBERTECG"}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="--model hubert-ecg"):
        ecg_hub.AutoModel.from_pretrained(str(folder))


def test_our_own_layout_is_not_taken_for_the_authors(tmp_path: Path) -> None:
    tiny_classifier("hubert-ecg").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content["architectures"] = ["SomebodysSubclass"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert ecg_hub.AutoConfig.from_pretrained(tmp_path).layerdrop == 0.0


@pytest.mark.parametrize("alias", HF_ENTRIES)
def test_the_authors_repository_by_its_id(alias: str) -> None:
    repo = str(catalog.get(alias).weights.repo)
    for name in (repo, repo.lower()):
        with pytest.raises(CheckpointError, match=f"--model {alias}, ") as raised:
            ecg_hub.AutoModel.from_pretrained(name)
        assert f"`ecg-hub pull {alias}`" in str(raised.value)


@pytest.mark.parametrize("alias", ["ecg-fm", "ecg-founder", "st-mem"])
def test_a_folder_with_the_authors_file(alias: str, tmp_path: Path) -> None:
    file = str(catalog.get(alias).weights.file)
    (tmp_path / file).write_bytes(b"weights")
    with pytest.raises(CheckpointError, match=f"holds {file} of the authors and no config.json") as raised:
        ecg_hub.AutoModel.from_pretrained(str(tmp_path))
    assert f"`ecg-hub convert {alias} --checkpoint FILE`" in str(raised.value)


def test_two_packages_that_register_one_model_type_are_said(caplog: pytest.LogCaptureFixture) -> None:
    class TheirConfig(transformers.PreTrainedConfig):
        model_type = "hubert_ecg"

    transformers.AutoConfig.register("hubert_ecg", TheirConfig, exist_ok=True)
    try:
        model = ecg_hub.AutoModel.from_pretrained("random:hubert-ecg-tiny")
        assert type(model) is ecg_hub.HuBERTECGModel
        assert caplog.messages == [
            f"{__name__} has registered the model type 'hubert_ecg' too: from now on the Auto classes load ecg_hub's "
            "HuBERTECGConfig. Use the other package's classes by their names."
        ]
    finally:
        register(catalog.get("hubert-ecg"))
    assert transformers.AutoConfig.for_model("hubert_ecg").__class__ is ecg_hub.HuBERTECGConfig
