"""What all models share, beyond the contract suite."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.modeling.modeling_utils import ECGPreTrainedModel, initialize_as_torch, run_in_slices


@pytest.mark.parametrize("samples", [75, 150, 600])
def test_allowed_lengths(samples: int) -> None:
    ECGPreTrainedModel._check_samples(samples, limited())


@pytest.mark.parametrize("samples", [0, 74, 76, 599, 675])
def test_refused_lengths(samples: int) -> None:
    with pytest.raises(InputError, match=rf"{samples} samples.*at least 75, at most 600, in multiples of 75"):
        ECGPreTrainedModel._check_samples(samples, limited())


def limited() -> SimpleNamespace:
    return SimpleNamespace(
        min_samples=75, max_samples=600, sample_multiple=75, samples=600, input_seconds=2.4, sampling_rate=250
    )


def test_run_in_slices_splits_large_batches_in_evaluation_only() -> None:
    seen: list[int] = []

    def stages(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(len(x))
        return x + 1, x.sum((1, 2))

    x = torch.randn(40, 3, 5)
    with torch.no_grad():
        plus, total = run_in_slices(stages, x, False)
        assert seen == [16, 16, 8]
        assert torch.equal(plus, x + 1)
        assert torch.equal(total, x.sum((1, 2)))
        run_in_slices(stages, x, True)
    run_in_slices(stages, x, False)
    assert seen[3:] == [40, 40]


@pytest.mark.parametrize(
    ("module", "fan_in"),
    [(nn.Linear(64, 48), 64), (nn.Conv1d(8, 48, 5), 40), (nn.Conv2d(4, 48, 3), 36), (nn.Linear(8, 8, bias=False), 8)],
)
def test_initialisation_is_pytorchs_own(module: nn.Module, fan_in: int) -> None:
    torch.manual_seed(0)
    bound = 1 / math.sqrt(fan_in)
    before = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(9)
        initialize_as_torch(module)
    for name, tensor in module.named_parameters():
        for values in (before[name], tensor):  # uniform within the bound, PyTorch's and ours
            assert 0.75 * bound < values.abs().max().item() <= bound + 1e-6
        assert abs(tensor.mean().item()) < 0.3 * bound


def test_norms_start_neutral() -> None:
    for module in (nn.BatchNorm1d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.LayerNorm(4, elementwise_affine=False)):
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.fill_(3)
            initialize_as_torch(module)
        fresh = type(module)(2, 4) if isinstance(module, nn.GroupNorm) else type(module)(4)
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, fresh.state_dict()[name])


def test_embeddings_are_standard_normal() -> None:
    module = nn.Embedding(200, 50)
    with torch.no_grad():
        module.weight.fill_(0)
        initialize_as_torch(module)
    assert module.weight.std().item() == pytest.approx(1.0, rel=0.05)
