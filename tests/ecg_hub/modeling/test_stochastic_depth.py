"""Stochastic depth: which samples are dropped, and that the expectation stays."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.modeling.layers import DropPath, set_drop_path


def test_drops_whole_samples_and_rescales() -> None:
    torch.manual_seed(0)
    output = DropPath(0.25).train()(torch.ones(4000, 3, 5))
    per_sample = output.flatten(1)
    assert torch.equal(per_sample, per_sample[:, :1].expand_as(per_sample))
    assert torch.allclose(per_sample.unique(), torch.tensor([0.0, 4 / 3]))
    assert output.mean().item() == pytest.approx(1.0, abs=0.03)


def test_off_means_untouched() -> None:
    x = torch.randn(2, 3)
    torch.manual_seed(0)
    assert DropPath(0.0).train()(x) is x
    assert DropPath(0.5).eval()(x) is x
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)


def test_schedules() -> None:
    def rates(schedule: str, blocks: int = 5) -> list[float]:
        config = SimpleNamespace(drop_path_rate=0.4, drop_path_schedule=schedule)
        return [DropPath.for_block(config, block, blocks).rate for block in range(blocks)]

    assert rates("linear") == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert rates("constant") == [0.4] * 5
    assert rates("linear", 1) == [0.4]


def test_two_branches_of_a_block_share_a_rate() -> None:
    config = SimpleNamespace(drop_path_rate=0.0, drop_path_schedule="linear")
    blocks = [nn.ModuleList(DropPath.for_block(config, block, 3) for _ in range(2)) for block in range(3)]
    model = nn.Sequential(*blocks)
    assert set_drop_path(model, 0.5) == 6
    assert [path.rate for block in blocks for path in block] == [0, 0, 0.25, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(InputError, match="0 <= rate < 1"):
        set_drop_path(DropPath(), rate)


def test_unknown_schedule() -> None:
    with pytest.raises(InputError, match="'cosine'"):
        DropPath().set_rate(0.1, "cosine")
