"""Random numbers by (seed, step, lane): the same whoever draws them, and different where they should be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from eval_harness.pretrain.loop import LaneDropout1d, LaneRandom, install_dropout
from tests.support.models import tiny

CPU = torch.device("cpu")


def at(step: int, *lanes: int, seed: int = 1) -> LaneRandom:
    return LaneRandom(seed, step, lanes, 3)


def test_lanes_draw_the_same_alone_and_together() -> None:
    together = at(5, 0, 1, 2, 3)
    alone = [at(5, lane) for lane in range(4)]
    negatives = [source.negatives(40, (14,), 6, CPU) for source in (together, *alone)]
    assert torch.equal(negatives[0], torch.cat(negatives[1:]))
    kept = [source.kept(16, 2, 0.3) for source in (together, *alone)]
    assert torch.equal(kept[0], torch.cat(kept[1:]))


@pytest.mark.parametrize("other", [at(6, 0), at(5, 1), at(5, 0, seed=2)])
def test_other_steps_lanes_and_seeds_draw_others(other: LaneRandom) -> None:
    assert not torch.equal(at(5, 0).negatives(40, (14,), 6, CPU), other.negatives(40, (14,), 6, CPU))
    assert not torch.equal(at(5, 0).kept(64, 0, 0.5), other.kept(64, 0, 0.5))


def test_layers_draw_different_masks() -> None:
    assert not torch.equal(at(5, 0).kept(64, 0, 0.5), at(5, 0).kept(64, 1, 0.5))


def test_dropout_drops_whole_features_at_its_rate() -> None:
    dropout = LaneDropout1d(0.25, 0, LaneRandom(0, 0, (0, 1), 50))
    x = torch.ones(100, 200, 3)
    y = dropout(x)
    assert torch.equal(y, dropout(x))  # a second pass, as gradient checkpointing makes, is the same
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(y[..., 0], y[..., 2])
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(dropout.eval()(x), x)


def test_every_dropout_of_a_model_is_replaced_and_its_weights_stay() -> None:
    model = tiny("ecg-cpc").train()
    names = list(model.state_dict())
    install_dropout(model, LaneRandom(0, 0, (0,), 2))
    found = [module for module in model.modules() if isinstance(module, nn.Dropout1d)]
    assert [type(module) for module in found] == [LaneDropout1d] * 4
    assert len({module.layer for module in found}) == 4
    assert [module.p for module in found] == [0.2] * 4
    assert list(model.state_dict()) == names
    x = torch.randn(2, 12, 100)
    assert torch.equal(model(x).last_hidden_state, model(x).last_hidden_state)
