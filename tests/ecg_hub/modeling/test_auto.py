"""The Auto classes with short names and random models; the contract suite has the rest, for every model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassClassValidationError

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError, UnknownNameError
from ecg_hub.modeling import auto as auto_classes
from ecg_hub.names import model_folder
from tests.support.models import tensors, tiny, tiny_classifier


def test_short_name_in_the_home_folder() -> None:
    model = tiny("ecg-cpc")
    model.save_pretrained(model_folder("ecg-cpc"))
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc").save_pretrained(model_folder("ecg-cpc"))
    loaded = ecg_hub.AutoModel.from_pretrained("ecg-cpc")
    assert all(torch.equal(value, tensors(loaded)[name]) for name, value in tensors(model).items())
    assert ecg_hub.AutoConfig.from_pretrained("ecg-cpc").hidden_size == 32
    assert ecg_hub.AutoFeatureExtractor.from_pretrained("ecg-cpc").spec().samples == 600


def test_nothing_is_patched() -> None:
    assert issubclass(ecg_hub.AutoModel, transformers.AutoModel)
    assert "from_pretrained" in vars(transformers.AutoModel)
    with pytest.raises((OSError, ValueError)):
        transformers.AutoModel.from_pretrained("ecg-cpc")


def test_random_models_are_full_size_or_tiny() -> None:
    config = ecg_hub.AutoConfig.from_pretrained("random:ecg-cpc")
    assert config.hidden_size == 512
    assert tiny("ecg-cpc").num_parameters() < 20_000
    assert tiny("ecg-cpc").name_or_path == "random:ecg-cpc-tiny"


def test_random_models_take_configuration_and_dtype() -> None:
    model = tiny("ecg-cpc", hidden_size=48, drop_path_rate=0.25, dtype=torch.bfloat16, revision="main")
    assert model.config.hidden_size == 48
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "revision")
    assert not model.training
    model, info = tiny("ecg-cpc", output_loading_info=True)
    assert info["missing_keys"] == set()
    with pytest.raises(InputError, match="Did you mean 'hidden_size'"):
        tiny("ecg-cpc", hiden_size=48)


def test_random_classifier_counts_as_untrained() -> None:
    assert tiny_classifier("ecg-cpc").head_is_new
    assert tiny_classifier("ecg-cpc", new_head=True, num_labels=7).config.num_labels == 7


def test_a_model_without_weights_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    entry = catalog.get("ecg-cpc")
    bare = replace(entry, alias="bare", weights=replace(entry.weights, kind="none"))
    monkeypatch.setattr(catalog, "_read_all", lambda: (("bare", bare),))
    with pytest.raises(CheckpointError, match="random:bare"):
        ecg_hub.AutoModel.from_pretrained("bare")
    assert ecg_hub.AutoFeatureExtractor.from_pretrained("bare").spec().samples == 600
    assert ecg_hub.AutoConfig.from_pretrained("bare").model_type == "ecg_cpc"


def test_unknown_names(tmp_path: Path) -> None:
    for auto in (ecg_hub.AutoModel, ecg_hub.AutoConfig, ecg_hub.AutoFeatureExtractor):
        with pytest.raises(UnknownNameError, match="Did you mean"):
            auto.from_pretrained("ecg-cpq")
    with pytest.raises(CheckpointError, match="ecg-hub pull"):
        ecg_hub.AutoModelForECGClassification.from_pretrained("ecg-cpc")


def test_registering_twice_changes_nothing() -> None:
    from ecg_hub.registration import register_all

    register_all()
    register_all()
    config = ecg_hub.AutoConfig.from_pretrained("random:ecg-cpc-tiny")
    assert isinstance(transformers.AutoModel.from_config(config), ecg_hub.ECGCPCModel)
    assert isinstance(ecg_hub.AutoModelForECGClassification.from_config(config), ecg_hub.ECGCPCForECGClassification)
    assert type(transformers.AutoConfig.for_model("ecg_cpc")) is ecg_hub.ECGCPCConfig


def test_config_is_strict() -> None:
    from huggingface_hub.errors import StrictDataclassError

    for wrong in (
        {"hidden_size": "a"},
        {"drop_path_rate": 1.0},
        {"problem_type": "single_label_classification"},
        {"problem_type": "mixed", "num_labels": 3, "num_classification_labels": 4},
        {"num_labels": 3, "thresholds": [0.5]},
        {"pooling": "max"},
    ):
        with pytest.raises(StrictDataclassError):
            ecg_hub.ECGCPCConfig(**wrong)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"model_type": "ecg_cpc", "a": ' + "[" * 100_000, "config.json is nested too deeply"),
        ("[]", "config.json is not a mapping"),
        ("5", "config.json is not a mapping"),
        ('{"model_type": null, "auto_map": null}', "names the architecture 'None'"),
        ('{"model_type": ["ecg_cpc"]}', "names the architecture"),
        ('{"model_type": {"a": 1}}', "names the architecture"),
        ('{"model_type": "theirs"}', "names the architecture 'theirs', which `ecg-hub ls` does not list"),
        ('{"auto_map": ["theirs.Config"]}', "names the architecture ''"),
        ("{}", "names the architecture ''"),
    ],
    ids=["deep", "list", "number", "null", "list inside", "mapping", "unknown", "list of code", "empty"],
)
@pytest.mark.parametrize("loader", ["AutoConfig", "AutoModel", "AutoModelForECGClassification"])
def test_somebodys_config_that_is_none_is_refused_in_a_sentence(
    loader: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=said) as refused:
        getattr(auto_classes, loader).from_pretrained(tmp_path)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "5"], ids=["deep", "list", "number"])
def test_somebodys_preprocessor_that_is_none_is_refused_in_a_sentence(content: str, tmp_path: Path) -> None:
    auto_classes.AutoConfig.from_pretrained("random:ecg-cpc-tiny").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"its preprocessor_config.json is n"):
        auto_classes.AutoFeatureExtractor.from_pretrained(tmp_path)


@pytest.mark.parametrize("loader", ["AutoConfig", "AutoModel", "AutoFeatureExtractor", "AutoModelForECGClassification"])
def test_code_beside_the_weights_is_neither_run_nor_asked_about(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(prompt: str = "") -> str:
        raise AssertionError("nobody may be asked whether to run the code")

    monkeypatch.setattr("builtins.input", asked)
    marker = tmp_path / "ran"
    mapped = {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model", "AutoFeatureExtractor": "theirs.Extractor"}
    config = {"model_type": "theirs", "auto_map": {**mapped, "AutoModelForECGClassification": "theirs.Model"}}
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_text(json.dumps(config))
    (tmp_path / "theirs.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(InputError, match="code that lies beside its weights") as refused:
        getattr(auto_classes, loader).from_pretrained(tmp_path)
    message = str(refused.value)
    assert repr(str(tmp_path)) in message
    assert "--model python:FILE:NAME" in message
    assert "trust_remote_code" not in message
    assert "hf.co" not in message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("st-mem", "num_hidden_layers", 10**6, "num_hidden_layers makes 1,000,000 layers; allowed: up to 1,000"),
        ("net1d", "stage_depths", [2, 10**6, 2, 3, 3, 4, 4], "stage_depths makes 1,000,018 layers"),
        ("ecg-cpc", "num_labels", 10**9, "num_labels is 1,000,000,000; up to 100,000 are read"),
    ],
)
def test_a_configuration_without_end_is_refused_before_anything_is_built(
    name: str, field: str, value: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    ecg_hub.AutoConfig.from_pretrained(f"random:{name}-tiny").save_pretrained(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises((InputError, StrictDataclassClassValidationError), match=message):
        ecg_hub.AutoModel.from_pretrained(tmp_path)


def test_a_preset_is_chosen_alike_of_a_name_and_of_a_folder(tmp_path: Path) -> None:
    """Of a name whose weights are not here it was left out without a word."""
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecgfm-ked-tiny").save_pretrained(tmp_path)
    ecg_hub.AutoModel.from_pretrained("random:ecgfm-ked-tiny").save_pretrained(tmp_path)
    for name in ("random:ecgfm-ked", "ecgfm-ked", tmp_path):
        extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(name, preset="native")
        assert (extractor.preset, extractor.sampling_rate, extractor.spec().sampling_rate) == ("native", 100, 100)
        with pytest.raises(UnknownNameError, match="Did you mean 'native'"):
            ecg_hub.AutoFeatureExtractor.from_pretrained(name, preset="natve")
    with pytest.raises(InputError, match=r"takes no 'prset'. Did you mean 'preset'\?"):
        ecg_hub.AutoFeatureExtractor.from_pretrained("ecgfm-ked", prset="native")
