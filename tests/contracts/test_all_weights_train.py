"""Where nothing is pre-trained every weight of every model trains; fine-tuning leaves fixed what was published so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from ecg_hub import AutoFeatureExtractor, AutoModel, catalog
from eval_harness.config.protocol import PostTraining, Protocol
from eval_harness.models.adapting import AdaptedModel, adapt, parameter_groups
from eval_harness.models.loading import LoadedModel, load_model, with_random_weights
from eval_harness.training.post_training import stage2_groups
from tests.support.models import signals, tiny

pytestmark = pytest.mark.parametrize("alias", catalog.models())

FIXED_AS_PUBLISHED = {"ecg-fm": "feature_extractor."}
"""Prefix of what the published fine-tuning leaves as it is: docs/differences/ecg_fm.md."""


def still(loaded: LoadedModel, mode: str) -> set[str]:
    """Names of the encoder's parameters that one step leaves as they were; the head's must all have changed."""
    torch.manual_seed(0)
    model = adapt(loaded.encoder, mode, ["a", "b", "c"], "multi_label_classification", Protocol())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    one_step(model, mode)
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    trained = sum(parameter.numel() for name, parameter in model.named_parameters() if name not in same)
    assert model.trained_parameters == trained
    assert not any(name.startswith("classifier.head.") for name in same)
    return {name.split(".", 2)[2] for name in same}


def one_step(model: AdaptedModel, mode: str) -> None:
    """A step of the mode's parameter groups, without weight decay: what changes has a gradient."""
    groups: list[dict[str, Any]]
    groups = stage2_groups(model, PostTraining()) if mode == "post_train" else parameter_groups(model, mode, Protocol())
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    model.train()
    targets = (torch.arange(8)[:, None] % torch.tensor([2, 3, 4]) == 0).float()
    functional.binary_cross_entropy_with_logits(model(signals(model.encoder.config, batch=8)), targets).backward()
    optimizer.step()


def trained_before(alias: str, folder: Path) -> LoadedModel:
    """A folder as training would leave it: its configuration is the published one."""
    model = tiny(alias)
    model.config.random_weights = None
    model.save_pretrained(folder)
    AutoFeatureExtractor.from_pretrained(f"random:{alias}-tiny").save_pretrained(folder)
    return load_model(str(folder), "finetune", "benchmark", seed=0)


@pytest.mark.parametrize("mode", ["scratch", "finetune", "post_train"])
def test_every_weight_of_a_random_encoder_trains(alias: str, mode: str) -> None:
    loaded = load_model(f"random:{alias}-tiny", mode, "benchmark", seed=0)
    assert loaded.released == (alias in FIXED_AS_PUBLISHED)
    assert still(loaded, mode) == set()


def test_every_weight_that_is_drawn_anew_trains_also_after_saving(alias: str, tmp_path: Path) -> None:
    loaded = with_random_weights(trained_before(alias, tmp_path / "before"), seed=1)
    assert loaded.released == (alias in FIXED_AS_PUBLISHED)
    assert still(loaded, "post_train") == set()
    loaded.encoder.save_pretrained(tmp_path / "after")
    again = AutoModel.from_pretrained(tmp_path / "after")
    assert all(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("mode", ["finetune", "post_train"])
def test_fine_tuning_leaves_fixed_what_was_published_so(alias: str, mode: str, tmp_path: Path) -> None:
    loaded = trained_before(alias, tmp_path)
    assert not loaded.released
    names = {name for name, _ in loaded.encoder.named_parameters()}
    prefix = FIXED_AS_PUBLISHED.get(alias)
    assert still(loaded, mode) == {name for name in names if prefix and name.startswith(prefix)}
