"""Mode `post_train`: its settings, the rates of its stages, and what each stage changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ecg_hub import AutoModel
from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.modeling.heads import binary_loss
from ecg_hub.modeling.layers import DropPath, set_drop_path
from eval_harness.cli.eval.run import options_from
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import KNOBS, NOT_OF_POST_TRAIN, PostTraining, Protocol, parse_post_training, protocol
from eval_harness.models.adapting import AdaptedModel, adapt
from eval_harness.training.post_training import (
    block_depths,
    check_depth,
    residual_blocks,
    stage1_recipe,
    stage2_groups,
    stage2_recipe,
    stochastic_depth,
)
from eval_harness.training.recipe import cosine, plateau
from eval_harness.training.trainer import average


def adapted(alias: str = "ecg-cpc", **changes: Any) -> AdaptedModel:
    encoder = AutoModel.from_pretrained(f"random:{alias}-tiny", **changes)
    return adapt(encoder, "post_train", ["a", "b"], "multi_label_classification", Protocol())


def test_settings_come_from_words_files_and_mappings(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("stage1: {epochs: 4, learning-rate: 1e-3}\ndepth: {mode: batch}\npos_weight: balanced\n")
    found = parse_post_training([str(file), "stage1.epochs=6", "preview=false", "stage2_ema=0.99", "pos_weight=none"])
    expected = PostTraining(
        preview=False, stage1_epochs=6, stage1_learning_rate=1e-3, depth_mode="batch", stage2_ema=0.99
    )
    assert found == expected
    assert parse_post_training({"stage2": {"epochs": "5"}, "stage2_grad_clip": None}) == PostTraining(stage2_epochs=5)
    assert found.changes() == {
        "post_train.preview": False,
        "post_train.stage1_epochs": 6,
        "post_train.stage1_learning_rate": 1e-3,
        "post_train.stage2_ema": 0.99,
        "post_train.depth_mode": "batch",
    }
    assert PostTraining().changes() == {}


def test_the_defaults_are_those_of_the_method() -> None:
    plain = PostTraining()
    assert (plain.stage1_epochs, plain.stage1_learning_rate, plain.stage1_weight_decay) == (30, 5e-3, 0.1)
    assert (plain.stage2_epochs, plain.stage2_learning_rate, plain.stage2_weight_decay) == (30, 5e-4, 0.05)
    assert (plain.stage2_min_learning_rate, plain.stage1_start, plain.batch_size) == (1e-5, "best", 256)
    assert (plain.depth_rate, plain.depth_schedule, plain.depth_mode) == (0.5, "linear", "row")
    off = ("stage2_grad_clip", "stage2_ema", "pos_weight")
    assert [getattr(plain, name) for name in off] == [None] * 3
    assert (plain.stage2_layer_decay, plain.stage2_label_smoothing, plain.stage2_warmup_epochs) == (1.0, 0.0, 0)


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("stage2_epoch=3", UnknownNameError, "stage2_epochs"),
        ("stage1_schedule=step", UnknownNameError, "plateau"),
        ("stage1_epochs=2.5", InputError, "whole number"),
        ("stage1_epochs=0", InputError, "at least 1"),
        ("preview=maybe", InputError, "true or false"),
        ("stage2_learning_rate=fast", InputError, "a number"),
        ("stage2_learning_rate=1e-6", InputError, "stage2_min_learning_rate"),
        ("depth_rate=1", InputError, "below 1"),
        ("depth_rate=nan", InputError, "below 1"),
        ("stage2_ema=1", InputError, "between 0 and 1"),
        ("stage2_grad_clip=0", InputError, "above 0"),
        ("stage2_warmup_epochs=30", InputError, "fewer than the 30"),
        ("nowhere.yaml", InputError, "KEY=VALUE"),
    ],
)
def test_what_cannot_be_set_is_refused(word: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        parse_post_training([word])


def test_two_rules_for_the_rates_of_layers_are_refused() -> None:
    with pytest.raises(InputError, match="stage2_group_factor"):
        PostTraining(stage2_layer_decay=0.8, stage2_group_factor=0.1)


def test_settings_that_would_decide_nothing_are_refused() -> None:
    given: dict[str, Any] = {"models": ("random:ecg-cpc",), "tasks": ("ptbxl_super",), "data_root": "mock"}
    with pytest.raises(InputError, match="--mode post_train"):
        RunOptions(**given, modes=("linear",), post_training=PostTraining(stage2_epochs=3))
    with pytest.raises(InputError, match="stage2_epochs"):
        RunOptions(**given, modes=("post_train",), protocol=protocol(epochs=3))
    both = RunOptions(**given, modes=("linear", "post_train"), protocol=protocol(epochs=3, resamples=50))
    assert both.protocol.for_mode("post_train") == protocol(resamples=50)
    assert both.protocol.for_mode("linear").epochs == 3
    assert set(NOT_OF_POST_TRAIN) <= set(Protocol().as_dict())


def test_the_command_line_and_a_configuration_set_them() -> None:
    merged: dict[str, Any] = {"model": ["random:ecg-cpc"], "tasks": ["ptbxl_super"], "data_root": "mock"}
    words = options_from({**merged, "mode": ["post_train"], "post_train": ["depth_rate=0.2", "stage1_epochs=3"]})
    mapping = options_from(
        {**merged, "mode": ["post_train"], "post_train": {"depth_rate": 0.2, "stage1": {"epochs": 3}}}
    )
    assert words.post_training == mapping.post_training == PostTraining(depth_rate=0.2, stage1_epochs=3)
    assert options_from({**merged, "train_fraction": "1/8"}).train_subset.fraction == 1 / 8  # type: ignore[union-attr]
    assert all(item.metadata["help"] for item in KNOBS.values())


def test_the_cosine_is_that_of_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=1e-5)
    for epoch in range(30):
        assert 5e-4 * cosine(epoch, 30, 1e-5 / 5e-4) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_a_warm_up_rises_and_leaves_the_cosine_the_other_epochs() -> None:
    rates = [cosine(epoch, 6, 0.0, warmup=2) for epoch in range(6)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == pytest.approx([cosine(epoch, 4, 0.0) for epoch in range(4)])


def test_the_plateau_is_that_of_torch() -> None:
    scores = [0.5, 0.6, 0.6, 0.59, 0.58, 0.57, 0.56, 0.61, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.5, patience=2, threshold=0.0)
    history: list[dict[str, float | None]] = []
    for score in scores:
        history.append({"validation": score})
        schedule.step(score)
        assert plateau(history, 0.5, 2, 0.0) == optimizer.param_groups[0]["lr"]
    assert plateau(history, 0.5, 2, 0.0) == 0.125
    assert plateau(history, 0.5, 2, 0.2) == 0.2


def test_stage_1_has_one_group_and_its_schedule() -> None:
    model = adapted()
    recipe = stage1_recipe(PostTraining(stage1_schedule="cosine", stage1_epochs=10, stage1_start="last"))
    (group,) = recipe.groups(model)
    assert [id(p) for p in group["params"]] == [id(p) for p in model.head.parameters()]
    assert (group["lr"], recipe.weight_decay, recipe.keep, recipe.consecutive) == (5e-3, 0.1, "last", True)
    assert recipe.rate_factor([{}] * 5) == pytest.approx(0.5)
    assert stage1_recipe(PostTraining()).rate_factor([{}] * 5) == 1.0


def group_rates(model: AdaptedModel, settings: PostTraining) -> dict[int, float]:
    """Rate of every trained parameter, each of which must be in exactly one group."""
    groups = stage2_groups(model, settings)
    found = [(id(p), group["lr"]) for group in groups for p in group["params"]]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(found) == len(trained)
    assert {number for number, _ in found} == trained
    return dict(found)


def test_rates_and_decay_of_stage_2_are_as_configured() -> None:
    model = adapted(num_hidden_layers=3)
    model.freeze(False)
    settings = PostTraining(stage2_head_rate_scale=2.0, stage2_group_factor=0.1, stage2_weight_decay=0.07)
    rates = group_rates(model, settings)
    assert {rates[id(p)] for p in model.head.parameters()} == {1e-3}
    groups = model.encoder.config.layer_groups
    for name, parameter in model.encoder.named_parameters():
        early = any(name.startswith(prefix) for prefix in groups["early"])
        assert rates[id(parameter)] == pytest.approx(5e-4 * (0.01 if early else 0.1)), name
    recipe = stage2_recipe(settings)
    optimizer = torch.optim.AdamW(recipe.groups(model), weight_decay=recipe.weight_decay)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.07}
    plain = group_rates(model, PostTraining())
    assert set(plain.values()) == {5e-4}


def test_layer_decay_falls_block_by_block() -> None:
    model = adapted(num_hidden_layers=3)
    rates = group_rates(model, PostTraining(stage2_layer_decay=0.5))
    blocks = residual_blocks(model.encoder)
    assert blocks == ["predictor.0", "predictor.1", "predictor.2"]
    depths = block_depths(model.encoder)
    for name, parameter in model.encoder.named_parameters():
        inside = [k for k, block in enumerate(blocks, start=1) if name.startswith(block + ".")]
        assert depths[name] == (inside[0] if inside else depths[name])
        assert rates[id(parameter)] == pytest.approx(5e-4 * 0.5 ** (4 - depths[name]))
    assert depths[next(iter(depths))] == 0
    assert {rates[id(p)] for p in model.head.parameters()} == {5e-4}


class NoBlocks(nn.Module):
    """An encoder without any residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)


def test_a_model_without_residual_blocks_is_refused_with_the_remedy() -> None:
    model = adapted()
    model.classifier = nn.Module()
    model.classifier.base_model = NoBlocks()
    with pytest.raises(InputError, match="depth_rate=0"):
        check_depth(model, PostTraining())
    check_depth(model, PostTraining(depth_rate=0))
    with pytest.raises(InputError, match="stage2_layer_decay=1"):
        block_depths(model.encoder)


def test_stochastic_depth_is_set_for_stage_2_only() -> None:
    model = adapted(num_hidden_layers=3)
    paths = [module for module in model.encoder.modules() if isinstance(module, DropPath)]
    with stochastic_depth(model, PostTraining(depth_rate=0.4, depth_mode="batch")):
        assert [(path.rate, path.mode) for path in paths] == [(0.0, "batch"), (0.2, "batch"), (0.4, "batch")]
        assert model.encoder.config.drop_path_rate == 0.4
    assert [(path.rate, path.mode) for path in paths] == [(0.0, "row")] * 3
    assert model.encoder.config.drop_path_rate == 0.0


def test_a_whole_batch_is_dropped_together_and_the_mean_stays() -> None:
    path = DropPath(0.25, mode="batch").train()
    torch.manual_seed(0)
    draws = torch.stack([path(torch.ones(4, 2, 3)) for _ in range(2000)])
    assert draws.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert all(len(draw.unique()) == 1 for draw in draws)
    assert float(draws.mean()) == pytest.approx(1.0, abs=0.03)
    rows = DropPath(0.5).train()(torch.ones(64, 2, 3))
    assert len(rows.unique()) == 2
    with pytest.raises(InputError, match="'column'"):
        set_drop_path(nn.Module(), 0.5, mode="column")


def test_dropout_of_the_heads_input_draws_nothing_when_off() -> None:
    model = adapted().train()
    features = torch.ones(4, model.encoder.config.hidden_size)
    state = torch.random.get_rng_state()
    plain = model.classify(features)
    assert torch.equal(torch.random.get_rng_state(), state)
    model.dropout = 0.5
    assert not torch.equal(model.classify(features), plain)
    assert torch.equal(model.eval().classify(features), plain)


def test_what_was_never_trained_is_not_let_go() -> None:
    encoder = AutoModel.from_pretrained("random:ecg-jepa-tiny")
    fixed = [name for name, p in encoder.named_parameters() if not p.requires_grad]
    model = adapt(encoder, "post_train", ["a"], "multi_label_classification", Protocol())
    model.freeze(True)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.requires_grad for p in model.head.parameters())
    model.freeze(False)
    assert [name for name, p in model.encoder.named_parameters() if not p.requires_grad] == fixed


def test_averaged_weights_follow_with_the_decay() -> None:
    averaged: dict[str, torch.Tensor] = {}
    average(averaged, {"w": torch.tensor([1.0]), "n": torch.tensor(1)}, 0.9)
    average(averaged, {"w": torch.tensor([2.0]), "n": torch.tensor(2)}, 0.9)
    assert averaged["w"].tolist() == pytest.approx([1.1])
    assert averaged["n"].tolist() == 2


def test_positives_can_be_weighed() -> None:
    logits, targets = torch.tensor([[0.3, -1.0]]), torch.tensor([[1.0, 0.0]])
    weighed = binary_loss(logits, targets, torch.tensor([3.0, 5.0]))
    single = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")[0]
    assert float(weighed) == pytest.approx(float((3 * single[0] + single[1]) / 2))


def test_an_encoder_keeps_its_weights_when_it_is_adapted() -> None:
    encoder = AutoModel.from_pretrained("random:ecg-cpc-tiny")
    before = copy.deepcopy(encoder.state_dict())
    model = adapt(encoder, "post_train", ["a"], "multi_label_classification", Protocol())
    assert all(np.array_equal(before[name], tensor) for name, tensor in model.encoder.state_dict().items())
