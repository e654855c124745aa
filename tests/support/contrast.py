"""The loss of contrastive predictive coding in its obvious form: a loop over tokens that gathers every candidate."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def slow_cpc_loss(
    predictions: Tensor,
    encoded: Tensor,
    negatives: Tensor,
    step: int,
    temperature: float = 1.0,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss and hits of each sequence, (batch,); arguments as in `ecg_hub.modeling.contrastive.cpc_loss`."""
    losses, hits = [], []
    anchors = predictions.shape[1]
    for i in range(anchors):
        rows = torch.arange(len(encoded))[:, None]
        candidates = torch.cat([encoded[:, i + step][:, None], encoded[rows, negatives[:, i]]], dim=1)
        made = predictions[:, i]
        if normalize:
            candidates, made = functional.normalize(candidates, dim=-1), functional.normalize(made, dim=-1)
        scores = (made[:, None] * candidates).sum(-1) / temperature
        target = torch.zeros(len(scores), dtype=torch.int64)
        losses.append(functional.cross_entropy(scores, target, reduction="none"))
        hits.append((scores.argmax(-1) == target).to(scores.dtype))
    return torch.stack(losses).mean(0), torch.stack(hits).mean(0)
