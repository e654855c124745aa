"""The loss of contrastive predictive coding, without a loop over tokens and without gathered candidates.

Papers: van den Oord et al., arXiv 1807.03748; for ECG-CPC arXiv 2509.25095. A prediction made at token i is compared,
by dot products, with the encoded token i + k (the positive) and with tokens drawn from the same sequence (negatives).

Gathering the candidates costs (batch, tokens, negatives, dim) values. Instead the scores of all pairs of tokens of one
sequence are one matrix product, of which the drawn ones are read. The gradient is closed: with p the softmax over the
candidates, the derivative by the scores is a matrix that holds p where a token was drawn and p - 1 at the positive, and
two more matrix products give the derivatives by predictions and tokens. It is made together with the loss, so that
nothing but these two results is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ecg_hub.errors import InputError

_SCORES_ON_DEVICE = 1 << 26
"""Scores held at once on an accelerator, 256 MB; on a CPU one sequence at a time, which stays in its cache."""


def number_of_anchors(tokens: int, steps: Sequence[int]) -> int:
    """Return how many tokens have a positive at every step ahead."""
    if not steps or min(steps) < 1 or tokens <= max(steps):
        raise InputError(
            f"Sequences of {tokens} tokens, steps ahead {tuple(steps)!r}: each step has to be at least 1, and a "
            "sequence longer than the largest. Feed longer windows."
        )
    return tokens - max(steps)


def sample_negatives(
    batch: int,
    tokens: int,
    steps: Sequence[int],
    number: int,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw negatives: uniformly, with replacement, from the tokens of the sequence other than the positive.

    They are positions of tokens, (batch, steps, anchors, number), int64; a `generator` has to be on `device`.
    """
    anchors = number_of_anchors(tokens, steps)
    shape = (batch, len(steps), anchors, number)
    drawn = torch.randint(tokens - 1, shape, device=device, generator=generator)
    ahead = torch.tensor(list(steps), device=device)[:, None] + torch.arange(anchors, device=device)
    # Drawn from one token fewer; from the positive on, all move up by one, which leaves it out.
    return drawn.add_(drawn >= ahead[None, :, :, None])


def cpc_loss(
    predictions: Tensor,
    encoded: Tensor,
    negatives: Tensor,
    step: int,
    *,
    temperature: float = 1.0,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross entropy of finding the token `step` ahead among drawn ones (arXiv 1807.03748, equation 4).

    `predictions` (batch, anchors, dim) are made at tokens 0 to anchors - 1 of `encoded` (batch, tokens, dim); the
    negatives are (batch, anchors, number). Returned are the loss of each sequence, (batch,), its mean over the anchors,
    and the share of anchors whose positive scores highest, (batch,), without gradient; a tie counts for the positive.
    Both are in float32 at least.
    """
    kind = torch.promote_types(torch.promote_types(predictions.dtype, encoded.dtype), torch.float32)
    # Autocast would round the scores to half precision in front of a softmax.
    with torch.autocast(predictions.device.type, enabled=False):
        predictions, encoded = predictions.to(kind), encoded.to(kind)
        if normalize:
            predictions, encoded = functional.normalize(predictions, dim=-1), functional.normalize(encoded, dim=-1)
        if temperature != 1.0:
            # Out here, so that the closed gradient of the function below needs no factor.
            predictions = predictions / temperature
        # Asked out here: inside an autograd function gradients are always off.
        wanted = torch.is_grad_enabled() and (predictions.requires_grad or encoded.requires_grad)
        losses_and_hits: tuple[Tensor, Tensor] = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
            predictions, encoded, negatives, step, wanted
        )
        return losses_and_hits


class _SampledCrossEntropy(torch.autograd.Function):
    """Loss and hits of each sequence, with the gradients made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, predictions: Tensor, encoded: Tensor, negatives: Tensor, step: int, wanted: bool
    ) -> tuple[Tensor, Tensor]:
        batch, anchors, _ = predictions.shape
        tokens = encoded.shape[1]
        losses, hits = predictions.new_empty(batch), predictions.new_empty(batch)
        by_predictions = torch.empty_like(predictions, memory_format=torch.contiguous_format) if wanted else None
        by_encoded = torch.empty_like(encoded, memory_format=torch.contiguous_format) if wanted else None
        size = 1 if predictions.device.type == "cpu" else max(1, _SCORES_ON_DEVICE // (anchors * tokens))
        buffer = predictions.new_empty(min(size, batch), anchors, tokens)
        for first in range(0, batch, size):
            part = slice(first, first + size)
            mine, others, drawn = predictions[part], encoded[part], negatives[part]
            scores = torch.bmm(mine, others.transpose(1, 2), out=buffer[: len(mine)])
            # The positive of anchor i is token i + step, so that all positives are a diagonal.
            positive = scores.diagonal(step, 1, 2)[:, :anchors]
            candidates = torch.cat([positive[..., None], scores.gather(2, drawn)], dim=2)
            hits[part] = (candidates[..., 0] >= candidates[..., 1:].amax(2)).to(hits.dtype).mean(1)
            logs = candidates.log_softmax(2)
            losses[part] = -logs[..., 0].mean(1)
            if by_predictions is None or by_encoded is None:
                continue
            share = logs.exp_().div_(anchors)
            # The scores have been read, and their memory takes the slope. A token drawn twice counts twice.
            slope = scores.zero_().scatter_add_(2, drawn, share[..., 1:])
            slope.diagonal(step, 1, 2)[:, :anchors] += share[..., 0] - 1 / anchors
            torch.bmm(slope, others, out=by_predictions[part])
            torch.bmm(slope.transpose(1, 2), mine, out=by_encoded[part])
        ctx.mark_non_differentiable(hits)
        if by_predictions is not None and by_encoded is not None:
            ctx.save_for_backward(by_predictions, by_encoded)
        return losses, hits

    # Once: the gradients are numbers from the forward pass, which nothing can be differentiated through again.
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        by_predictions, by_encoded = ctx.saved_tensors
        factor = gradients[0][:, None, None]
        return by_predictions * factor, by_encoded * factor, None, None, None
