"""A trained model says which authors' file it descends from: `ecg-hub push` goes by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub.errors import InputError
from ecg_hub.hub.package import pack
from eval_harness.adapt import POOLING, adapt
from eval_harness.loading import load_model, with_random_weights
from eval_harness.protocol import protocol
from tests.support.checkpoints import SOURCE, save_tiny


@pytest.mark.parametrize("mode", sorted(set(POOLING) - {"scratch"}))
def test_training_keeps_the_origin(mode: str, tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny("st-mem", tmp_path / "m", SOURCE)), mode, "benchmark", 0)
    classifier = adapt(loaded.encoder, mode, ["AF", "SR"], "multi_label_classification", protocol()).classifier
    classifier.save_pretrained(tmp_path / "trained")
    loaded.extractor.save_pretrained(tmp_path / "trained")
    assert classifier.config.source == SOURCE
    with pytest.raises(InputError, match=r"descend from authors\.pt of ST-MEM, which may not be passed on"):
        pack(tmp_path / "trained", "m")


def test_weights_drawn_anew_descend_from_nothing(tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny("st-mem", tmp_path / "m", SOURCE)), "linear", "benchmark", 0)
    redrawn = with_random_weights(loaded, 1)
    assert redrawn.weights_sha256 != loaded.weights_sha256
    assert redrawn.encoder.config.source is None
    assert loaded.encoder.config.source == SOURCE


def test_weights_drawn_anew_have_seen_nothing(tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", pretraining={"corpora": ["ptb-xl"], "train_only": {"ptb-xl": "f"}})
    loaded = load_model(str(folder), "linear", "benchmark", 0)
    assert loaded.own_corpora == loaded.corpora == ["ptb-xl"]
    assert loaded.own_train_only == {"ptb-xl": "f"}
    redrawn = with_random_weights(loaded, 1)
    assert redrawn.own_corpora is None
    assert redrawn.own_train_only is None
    assert redrawn.encoder.config.pretraining is None
