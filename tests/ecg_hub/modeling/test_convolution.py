from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ecg_hub.modeling.layers import BatchNorm, ConvNorm


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
