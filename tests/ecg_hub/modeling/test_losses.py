"""Losses against their definition, with and without missing targets."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.modeling.heads import binary_loss, binary_loss_per_class, classification_loss, regression_loss

NAN = float("nan")


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    return logits, (torch.rand(6, 4, generator=generator) < 0.4).float()


def test_complete_targets_give_the_plain_mean(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    expected = binary_cross_entropy_with_logits(logits, targets)
    assert torch.allclose(classification_loss(logits, targets), expected)
    assert torch.allclose(binary_loss_per_class(logits, targets), expected)
    assert torch.allclose(regression_loss(logits, targets), l1_loss(logits, targets))


def test_missing_targets_are_left_out(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    targets[0, 0] = targets[1:4, 2] = NAN
    kept = ~targets.isnan()
    assert torch.allclose(binary_loss(logits, targets), binary_cross_entropy_with_logits(logits[kept], targets[kept]))
    columns = [binary_cross_entropy_with_logits(logits[kept[:, c], c], targets[kept[:, c], c]) for c in range(4)]
    assert torch.allclose(binary_loss_per_class(logits, targets), torch.stack(columns).mean())
    errors = [l1_loss(logits[kept[:, c], c], targets[kept[:, c], c]) for c in range(4)]
    assert torch.allclose(regression_loss(logits, targets), torch.stack(errors).mean())
    assert not torch.allclose(binary_loss(logits, targets), binary_loss_per_class(logits, targets))


def test_columns_without_targets_do_not_count(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    expected = binary_loss_per_class(logits[:, 1:], targets[:, 1:]), regression_loss(logits[:, 1:], targets[:, 1:])
    targets[:, 0] = NAN
    assert torch.allclose(binary_loss_per_class(logits, targets), expected[0])
    assert torch.allclose(regression_loss(logits, targets), expected[1])


def test_mixed_is_the_sum(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    targets[:, 3] *= 2.5
    targets[2, 1] = targets[1, 3] = NAN
    expected = binary_loss_per_class(logits[:, :3], targets[:, :3]) + regression_loss(logits[:, 3:], targets[:, 3:])
    assert torch.allclose(classification_loss(logits, targets, "mixed", 3), expected)
    assert torch.allclose(classification_loss(logits, targets, "regression"), regression_loss(logits, targets))


def test_no_target_at_all_gives_zero_and_no_gradient(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    logits.requires_grad_()
    empty = torch.full_like(targets, NAN)
    for problem in ("multi_label_classification", "regression", "mixed"):
        loss = classification_loss(logits, empty, problem, 2)
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_half_precision_logits_are_raised(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    loss = classification_loss(logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, binary_cross_entropy_with_logits(logits.bfloat16().float(), targets))


def test_wrong_arguments(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    with pytest.raises(InputError, match=r"\(6, 3\)"):
        classification_loss(logits, targets[:, :3])
    with pytest.raises(InputError, match="num_classification_labels"):
        classification_loss(logits, targets, "mixed")
    with pytest.raises(UnknownNameError, match="'regression'"):
        classification_loss(logits, targets, "regresion")
