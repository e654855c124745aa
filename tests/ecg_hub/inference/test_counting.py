"""Counted operations against formulas written out by hand, and the memory of tensors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from ecg_hub.inference.counting import TensorMemory, count_macs
from ecg_hub.modeling.s4 import S4Convolution
from ecg_hub.models.ecg_jepa.modeling_ecg_jepa import cross_pattern_attention
from tests.support.models import signals, tiny


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)  # type: ignore[operator,no-any-return]


def test_matrix_products_and_convolutions() -> None:
    assert count_macs(nn.Linear(5, 7), torch.zeros(2, 3, 5)) == 2 * 3 * 5 * 7
    conv = nn.Conv1d(6, 8, kernel_size=3, stride=2, groups=2)
    assert count_macs(conv, torch.zeros(4, 6, 21)) == 4 * 8 * 10 * (6 // 2) * 3
    assert count_macs(Call(lambda x: torch.einsum("bij,bkj->bik", x, x)), torch.zeros(2, 3, 4)) == 2 * 3 * 3 * 4
    assert count_macs(nn.Sequential(nn.GELU(), nn.LayerNorm(5)), torch.zeros(2, 5)) == 0


def test_fused_attention() -> None:
    q, k, v = torch.zeros(2, 3, 10, 4), torch.zeros(2, 3, 20, 4), torch.zeros(2, 3, 20, 4)
    fused = Call(lambda x: functional.scaled_dot_product_attention(x, k, v))
    by_hand = Call(lambda x: (x @ k.transpose(-1, -2)).softmax(-1) @ v)
    assert count_macs(fused, q) == count_macs(by_hand, q) == 2 * 3 * 10 * 20 * (4 + 4)


def test_structured_attention_counts_what_it_computes() -> None:
    heads = torch.randn(2, 3, 8, 50, 6)
    scores = 2 * 3 * 8 * 50 * (50 + 8)
    assert count_macs(Call(lambda x: cross_pattern_attention(x, x, x)), heads) == scores * (6 + 6)


@pytest.mark.parametrize("tokens", [300, 301])
def test_s4_is_counted_by_its_fourier_transforms(tokens: int) -> None:
    layer = S4Convolution(features=6, state_size=4, kernel_length=300)
    layer.initialize()
    points = 600 if tokens == 300 else 625  # the next sizes that a fast Fourier transform likes
    transform = 2.5 * points * math.log2(points)
    product = 6 * (points // 2 + 1)
    expected = 2 * 6 * (2 * transform + product) / 2
    assert count_macs(layer.eval(), torch.zeros(2, 6, tokens)) == pytest.approx(expected, abs=1)


def test_a_transformer_by_hand() -> None:
    model = tiny("st-mem")
    width, hidden, tokens, patches = 32, 64, 120, 96
    block = tokens * (3 * width * width + width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    assert count_macs(model, signals(model.config, batch=1)) == patches * 75 * width + 2 * block
    assert count_macs(tiny("st-mem", attn_implementation="eager"), signals(model.config, batch=1)) == (
        patches * 75 * width + 2 * block
    )


def test_memory_of_tensors() -> None:
    held = torch.zeros(100)
    with TensorMemory([held]) as memory:
        assert memory.live == 400
        x = torch.zeros(1000)
        y = x * 2
        assert (memory.live, memory.peak) == (8400, 8400)
        part = y[:10]
        del y
        assert memory.live == 8400  # a view keeps the whole
        del part
        assert (memory.live, memory.peak) == (4400, 8400)
        held[:5].mul_(2)
        assert memory.live == 4400  # in place, and a view of what was there
        memory.restart()
        z = x.view(10, 100) + 1
        assert (memory.live, memory.peak) == (8400, 8400)
        del z
    del x
    assert memory.live == 400


def test_memory_of_intermediate_results() -> None:
    chain = nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(4)))
    x = torch.zeros(1, 1000)
    with torch.no_grad(), TensorMemory([x, *chain.parameters()]) as memory:
        chain(x)
    weights = 4 * 4 * 1000 * 1000
    assert memory.peak == weights + 3 * 4000  # the input, and two neighbours at a time
