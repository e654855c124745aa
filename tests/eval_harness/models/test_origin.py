"""A model that is scored says where its weights come from, and a trained one which authors' file it descends from."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.hub.cards import folder_withheld
from ecg_hub.hub.package import pack
from ecg_hub.names import model_folder
from ecg_hub.origin import origin_of
from eval_harness.config.protocol import protocol
from eval_harness.models.adapting import POOLING, AdaptedModel, adapt
from eval_harness.models.custom_heads import read_head, save_custom_head
from eval_harness.models.custom_models import CustomClassifier, CustomEncoder
from eval_harness.models.loading import load_model, origin_notice, with_random_weights
from eval_harness.results.contamination import state
from eval_harness.runner.job import model_info, note_access, note_training
from eval_harness.runner.plan import entry_for
from tests.support.checkpoints import SOURCE, convert_filled, save_tiny


@pytest.mark.parametrize("mode", sorted(set(POOLING) - {"scratch"}))
def test_training_keeps_the_origin(mode: str, tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny("st-mem", tmp_path / "m", SOURCE)), mode, "benchmark", 0)
    classifier = adapt(loaded.encoder, mode, ["AF", "SR"], "multi_label_classification", protocol()).classifier
    classifier.save_pretrained(tmp_path / "trained")
    loaded.extractor.save_pretrained(tmp_path / "trained")
    assert classifier.config.source == SOURCE
    assert origin_of(classifier) == loaded.origin, "nothing is random but the head"
    assert loaded.origin is not None
    assert loaded.origin.kind == "unverified"
    again = load_model(str(tmp_path / "trained"), "linear", "benchmark", 0)
    assert (again.is_random, again.corpora) == (False, loaded.corpora)
    with pytest.raises(InputError, match=r"descend from authors\.pt of ST-MEM, which may not be passed on"):
        pack(tmp_path / "trained", "m")


def test_a_kept_head_on_random_weights_says_how_they_were_drawn() -> None:
    loaded = load_model("random:ecg-cpc-tiny", "linear", "benchmark", 3)
    classifier = adapt(loaded.encoder, "linear", ["AF"], "multi_label_classification", protocol()).classifier
    assert classifier.config.random_weights == {"name": "random:ecg-cpc-tiny", "seed": 3}


def test_weights_drawn_anew_descend_from_nothing(tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny("st-mem", tmp_path / "m", SOURCE)), "linear", "benchmark", 0)
    redrawn = with_random_weights(loaded, 1)
    assert redrawn.weights_sha256 != loaded.weights_sha256
    assert redrawn.encoder.config.source is None
    assert loaded.encoder.config.source == SOURCE


def test_weights_drawn_anew_have_seen_nothing(tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", pretraining={"corpora": ["ptb-xl"], "train_only": {"ptb-xl": "f"}})
    loaded = load_model(str(folder), "linear", "benchmark", 0)
    assert loaded.config_corpora == loaded.corpora == ["ptb-xl"]
    assert loaded.config_train_only == {"ptb-xl": "f"}
    redrawn = with_random_weights(loaded, 1)
    assert redrawn.config_corpora is None
    assert redrawn.config_train_only is None
    assert redrawn.encoder.config.pretraining is None


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    return convert_filled("ecg-cpc", tmp_path / "authors")


@pytest.mark.heavy
def test_a_short_name_is_the_catalogues_checkpoint(converted: Path) -> None:
    loaded = load_model("ecg-cpc", "linear", "benchmark", 0)
    info = model_info(loaded)
    assert (info.id, info.origin, info.evidence, info.parameters) == ("ecg-cpc", "catalogue", "declared", 2_932_736)
    assert info.source is not None
    assert info.source.file == "published.ckpt"
    assert loaded.corpora == list(catalog.get("ecg-cpc").pretraining_corpora)
    assert origin_notice(loaded, "ecg-cpc", "linear", 0) is None
    by_folder = load_model(str(converted), "linear", "benchmark", 0)
    assert model_info(by_folder).model_dump() == {**info.model_dump(), "id": str(converted)}


@pytest.mark.parametrize("mark", [True, False])
def test_other_weights_under_a_short_name(mark: bool, tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", model_folder("ecg-cpc"))
    change_config(folder, random_weights={"name": "random:ecg-cpc-tiny", "seed": 0} if mark else None)
    for name in ("ecg-cpc", "unverified:ecg-cpc"):
        loaded = load_model(name, "linear", "benchmark", 0)
        info = model_info(loaded)
        assert (info.id, info.parameters) == ("unverified:ecg-cpc", 6976)
        assert info.origin == ("random" if mark else "unverified")
        assert loaded.corpora == ([] if mark else None)
        notice = str(origin_notice(loaded, name, "linear", 0))
        assert notice.startswith(f"{name} finds unverified weights, shown as 'unverified:ecg-cpc': its config.json")
        assert entry_for(name) is catalog.get("ecg-cpc")
        assert load_model(name, "scratch", "benchmark", 0).id == "ecg-cpc"


def test_random_weights_in_a_folder_are_random(tmp_path: Path) -> None:
    model = ecg_hub.AutoModel.from_pretrained("random:ecg-cpc-tiny")
    model.save_pretrained(tmp_path / "mine")
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny").save_pretrained(tmp_path / "mine")
    loaded = load_model(str(tmp_path / "mine"), "linear", "benchmark", 0)
    assert loaded.is_random
    assert loaded.corpora == []
    assert model_info(loaded).origin == "random"
    assert "mine: random weights: its config.json says" in str(origin_notice(loaded, loaded.id, "linear", 0))


def test_a_folder_that_says_nothing_is_unverified_and_its_corpora_unknown(tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny("ecg-cpc", tmp_path / "mine", SOURCE)), "linear", "benchmark", 0)
    assert model_info(loaded).origin == "unverified"
    assert loaded.corpora is None


@pytest.mark.heavy
def test_drawn_anew_and_from_scratch_are_random(converted: Path) -> None:
    redrawn = with_random_weights(load_model("ecg-cpc", "post_train", "benchmark", 0), 1)
    scratch = load_model("ecg-cpc", "scratch", "benchmark", 0)
    for loaded in (redrawn, scratch):
        info = model_info(loaded)
        assert (info.id, info.origin, info.source) == ("ecg-cpc", "random", None)
        assert str(origin_notice(loaded, "ecg-cpc", "scratch", 0)).endswith("random weights (seed 0), as asked")


@pytest.mark.parametrize(
    ("training", "pretraining", "expected"),
    [
        ([{"dataset": "ptb-xl", "began": "random"}], None, ["ptb-xl"]),
        ([{"dataset": "sph", "began": "catalogue"}, {"dataset": "sph", "began": "own"}], None, ["heedb", "sph"]),
        ([{"dataset": "sph", "began": "own"}], {"corpora": ["ptb-xl"]}, ["ptb-xl", "sph"]),
        ([{"dataset": "sph", "began": "unverified"}], None, ["undeclared", "sph"]),
    ],
)
def test_what_training_has_seen(training: Any, pretraining: Any, expected: list[str], tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", training=training, pretraining=pretraining)
    loaded = load_model(str(folder), "linear", "benchmark", 0)
    seen = [*catalog.get("ecg-cpc").pretraining_corpora, "sph"] if "heedb" in expected else expected
    assert loaded.config_corpora == loaded.corpora == seen
    assert model_info(loaded).origin == "own"
    assert state(loaded.corpora, "sph") == ("seen" if "sph" in expected else "clean")
    assert state(loaded.corpora, "georgia") == ("unknown" if "undeclared" in expected else state(seen, "georgia"))


def test_training_the_encoder_ends_the_mark_of_random_weights() -> None:
    loaded = load_model("random:ecg-cpc-tiny", "finetune", "benchmark", 3)
    run = SimpleNamespace(name="ptbxl_super")
    job: Any = SimpleNamespace(run=run, mode="finetune", seed=3)
    data: Any = SimpleNamespace(dataset="ptb-xl", deviations={})
    config = loaded.encoder.config
    assert config.random_weights == {"name": "random:ecg-cpc-tiny", "seed": 3}
    note_training(config, job, loaded, data)
    step = {"dataset": "ptb-xl", "run": "ptbxl_super", "mode": "finetune", "seed": 3, "began": "random"}
    assert (config.random_weights, config.training) == (None, [step])
    data.deviations["synthetic"] = True
    note_training(config, job, loaded, data)
    assert config.training == [step, step | {"simulated": True}], "a card must not claim real records"


def test_a_configuration_names_credentialed_data_but_not_what_was_simulated() -> None:
    config: Any = SimpleNamespace(credentialed=None)
    for dataset, deviations, expected in (
        ("ptb-xl", {}, None),
        ("mimic-iv-ecg", {"synthetic": True}, None),
        ("mimic-iv-ecg", {}, ["mimic-iv-ecg"]),
        ("mimic-iv-ecg", {}, ["mimic-iv-ecg"]),
    ):
        data = SimpleNamespace(dataset=dataset, deviations=deviations)
        job = SimpleNamespace(run=SimpleNamespace(dataset=dataset))
        opened: Any = SimpleNamespace(data=data, job=job, options=SimpleNamespace(include=()))
        note_access(config, opened)
        assert config.credentialed == expected


def test_a_head_on_an_own_encoder_names_credentialed_data_and_stays_inside(tmp_path: Path) -> None:
    encoder = CustomEncoder(lambda signals: signals.mean(-1), 12, None)
    info: Any = SimpleNamespace(id="python:mine.py:Encoder", weights_sha256="0" * 64)
    for dataset, named in (("mimic-iv-ecg", ["mimic-iv-ecg"]), ("ptb-xl", None)):
        model = AdaptedModel(CustomClassifier(encoder, "mean", 2, 1), "linear")
        job = SimpleNamespace(run=SimpleNamespace(dataset=dataset))
        data = SimpleNamespace(dataset=dataset, deviations={})
        opened: Any = SimpleNamespace(data=data, job=job, options=SimpleNamespace(include=()))
        note_access(model.classifier.config, opened)
        save_custom_head(tmp_path / dataset, model, info, "linear", ["AF", "NSR"], None, 1)
        assert read_head(tmp_path / dataset).credentialed == named, "the next head of the encoder inherits nothing"
        assert bool(folder_withheld(tmp_path / dataset)) == bool(named)
    with pytest.raises(InputError, match=r"mimic-iv-ecg, which is for credentialed users(?s:.)*submit them"):
        pack(tmp_path / "mimic-iv-ecg", "m")
    with pytest.raises(CheckpointError, match="the head of an encoder that is not ours"):
        pack(tmp_path / "ptb-xl", "m")


def change_config(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **values}))
