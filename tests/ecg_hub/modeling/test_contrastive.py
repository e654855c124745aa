"""The contrastive loss against its obvious form, and what is drawn against each positive."""

from __future__ import annotations

import pytest
import torch

from ecg_hub.errors import InputError
from ecg_hub.modeling.contrastive import cpc_loss, number_of_anchors, sample_negatives
from tests.support.contrast import slow_cpc_loss


def example(steps: tuple[int, ...], tokens: int = 40, dim: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    encoded = torch.randn(3, tokens, dim, dtype=torch.float64, generator=generator)
    anchors = number_of_anchors(tokens, steps)
    predictions = torch.randn(3, anchors, dim, dtype=torch.float64, generator=generator)
    return predictions, encoded, sample_negatives(3, tokens, steps, 17, generator=generator)


@pytest.mark.parametrize("steps", [(14,), (1,), (3, 14)])
@pytest.mark.parametrize(("temperature", "normalize"), [(1.0, False), (0.5, False), (0.2, True)])
def test_loss_and_gradients_equal_the_loop(steps: tuple[int, ...], temperature: float, normalize: bool) -> None:
    predictions, encoded, negatives = example(steps)
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for k, step in enumerate(steps):
        results = []
        for function in (cpc_loss, slow_cpc_loss):
            inputs = predictions.clone().requires_grad_(), encoded.clone().requires_grad_()
            loss, hits = function(*inputs, negatives[:, k], step, temperature=temperature, normalize=normalize)
            (loss * weight).sum().backward()
            results.append((loss.detach(), hits, inputs[0].grad, inputs[1].grad))
        for fast, slow in zip(*results, strict=True):
            assert fast is not None
            assert slow is not None
            assert (fast - slow).abs().max() <= 1e-10
        assert not results[0][1].requires_grad


def test_the_gradient_stops_where_none_is_wanted() -> None:
    predictions, encoded, negatives = example((14,))
    loss, _ = cpc_loss(predictions, encoded, negatives[:, 0], 14)
    assert not loss.requires_grad
    with torch.no_grad():
        again, _ = cpc_loss(predictions.requires_grad_(), encoded, negatives[:, 0], 14)
    assert torch.equal(loss, again)


def test_equal_scores_count_for_the_positive() -> None:
    _, _, negatives = example((2,))
    loss, hits = cpc_loss(torch.zeros(3, 38, 6), torch.zeros(3, 40, 6), negatives[:, 0], 2)
    assert torch.equal(hits, torch.ones(3))
    assert loss.tolist() == pytest.approx([torch.tensor(18.0).log().item()] * 3)


def test_half_precision_is_scored_in_float32() -> None:
    predictions, encoded, negatives = example((14,), dim=64)
    half = [tensor.bfloat16().requires_grad_() for tensor in (predictions, encoded)]
    full = [tensor.detach().float().requires_grad_() for tensor in half]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, _ = cpc_loss(*half, negatives[:, 0], 14)
    high, _ = cpc_loss(*full, negatives[:, 0], 14)
    assert low.dtype == torch.float32
    assert torch.equal(low, high)


def test_negatives_are_every_other_token_of_the_sequence() -> None:
    drawn = sample_negatives(50, 9, (2, 5), 40, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (50, 2, 4, 40)
    for k, step in enumerate((2, 5)):
        for i in range(4):
            counts = torch.bincount(drawn[:, k, i].flatten(), minlength=9)
            assert counts[i + step] == 0
            others = counts[torch.arange(9) != i + step]
            # Uniform over eight tokens: 2,000 draws, 250 each, standard deviation 15.
            assert (others - 250).abs().max() < 75


def test_the_same_generator_draws_the_same_negatives() -> None:
    one, two = (sample_negatives(2, 30, (14,), 8, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize(("tokens", "steps"), [(14, (14,)), (20, (0,)), (20, ())])
def test_sequences_without_a_positive_are_refused(tokens: int, steps: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=str(tokens)):
        number_of_anchors(tokens, steps)
