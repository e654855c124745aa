"""Convolution folded with its norm, and stochastic depth."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ecg_hub.errors import InputError
from ecg_hub.modeling.layers import BatchNorm, ConvNorm, DropPath, grouped_conv1d, set_drop_path


def filled(channels_in: int, channels_out: int, kernel_size: int, stride: int) -> ConvNorm:
    torch.manual_seed(0)
    layer = ConvNorm(channels_in, channels_out, kernel_size, stride, eps=1e-3)
    with torch.no_grad():
        for tensor in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(layer.norm.running_var, 0.5, 2.0)
    return layer


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (5, 2), (7, 2), (1, 2)])
def test_same_as_convolution_then_norm(kernel_size: int, stride: int) -> None:
    layer = filled(3, 4, kernel_size, stride)
    plain = nn.Sequential(
        nn.Conv1d(3, 4, kernel_size, stride, kernel_size // 2, bias=False), nn.BatchNorm1d(4, eps=1e-3)
    )
    plain[0].load_state_dict(layer.conv.state_dict())
    plain[1].load_state_dict(layer.norm.state_dict())
    for samples in (1, 8, 9, 40):  # with few outputs the norm stays apart, with many it is folded in
        x = torch.randn(5, 3, samples)
        for mode in (False, True):
            ours, expected = layer.train(mode)(x), plain.train(mode)(x)
            assert ours.shape == (5, 4, -(-samples // stride))
            assert torch.allclose(ours, expected, atol=1e-5)
    assert all(torch.equal(ours, plain[1].state_dict()[name]) for name, ours in layer.norm.state_dict().items())


def test_gradients_flow_in_evaluation_mode() -> None:
    layer = filled(3, 4, 3, 1).eval()
    layer(torch.randn(2, 3, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_counts_a_batch_once(use_reentrant: bool) -> None:
    plain = filled(3, 4, 3, 1).train()
    layer = copy.deepcopy(plain)
    x = torch.randn(6, 3, 20, requires_grad=True)
    plain(x).square().sum().backward()
    checkpoint(layer, x, use_reentrant=use_reentrant).square().sum().backward()
    assert layer.norm.num_batches_tracked.item() == 1
    for name, tensor in plain.state_dict().items():
        assert torch.equal(layer.state_dict()[name], tensor), name
    for name, parameter in plain.named_parameters():
        assert torch.allclose(layer.get_parameter(name).grad, parameter.grad, atol=1e-6), name


def test_the_norm_is_a_batch_norm_to_others() -> None:
    assert isinstance(BatchNorm(3), nn.BatchNorm1d)
    assert BatchNorm(3).state_dict().keys() == nn.BatchNorm1d(3).state_dict().keys()


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


@pytest.mark.parametrize("groups", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("cast", [False, True])
def test_grouped_convolution_in_bfloat16_is_rounded_only(groups: int, cast: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 32, 150), torch.randn(32, 32 // groups, 16) / 10, torch.randn(32)
    exact = functional.conv1d(x, weight, bias, stride=2, padding=8, groups=groups)
    if not cast:
        x, weight, bias = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        low = grouped_conv1d(x, weight, bias, stride=2, padding=8, groups=groups)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().max() < 0.02 * exact.abs().max()
