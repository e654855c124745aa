"""The two classification heads of the benchmark: mean + linear, and learned-query attention pooling.

Reference: arXiv 2509.25095 (the modes "linear" and "frozen"). Each head says what it eats: `expects` is "pooled",
(batch, dim), or "tokens", (batch, tokens, dim).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import initialization as init

from ecg_hub.errors import InputError, unknown_name

POOLINGS = ("mean", "attention")


class MeanLinearHead(nn.Module):
    """One linear map on the pooled vector.

    Args:
        dim: width of the encoder.
        num_labels: number of outputs.
    """

    expects: ClassVar[Literal["pooled", "tokens"]] = "pooled"

    def __init__(self, dim: int, num_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (batch, dim) to logits (batch, num_labels)."""
        logits: Tensor = self.linear(pooled)
        return logits

    def initialize(self) -> None:
        """Uniform within 1/sqrt(dim), PyTorch's default."""
        bound = 1.0 / math.sqrt(self.linear.in_features)
        init.uniform_(self.linear.weight, -bound, bound)
        init.uniform_(self.linear.bias, -bound, bound)


class AttentionPoolingHead(nn.Module):
    """Multi-head attention of one learned query over the tokens, mapped straight to the classes; no biases.

    Computed in the folded form: scores and pooling act on the tokens themselves with one vector of width dim per head,
    and the value projection comes after pooling. The logits are the same, the cost per token falls from 2 dim^2 to
    2 heads dim multiplications.

    Args:
        dim: width of the tokens, a multiple of `num_heads`.
        num_labels: number of outputs.
        num_heads: number of attention heads.

    Raises:
        InputError: if dim is not a multiple of num_heads.
    """

    expects: ClassVar[Literal["pooled", "tokens"]] = "tokens"

    def __init__(self, dim: int, num_labels: int, num_heads: int = 16) -> None:
        super().__init__()
        if dim % num_heads:
            raise InputError(
                f"Attention pooling needs dim to be a multiple of num_heads; got {dim!r} and {num_heads!r}."
            )
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(1, 1, dim))
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.c_proj = nn.Linear(dim, num_labels, bias=False)
        self.initialize()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, dim) to logits (batch, num_labels)."""
        heads, dim = self.num_heads, self.query.shape[-1]
        query = self.q_proj(self.query).view(heads, dim // heads)
        key_maps = torch.einsum("hi,hid->hd", query, self.k_proj.weight.view(heads, -1, dim))
        scores = torch.matmul(tokens, key_maps.T) / math.sqrt(dim // heads)
        pooled = torch.matmul(scores.softmax(dim=1).transpose(1, 2), tokens)
        values = torch.einsum("bhd,hid->bhi", pooled, self.v_proj.weight.view(heads, -1, dim))
        logits: Tensor = self.c_proj(values.flatten(1))
        return logits

    def initialize(self) -> None:
        """Query normal with variance 1/dim; the matrices uniform within 1/sqrt(dim)."""
        bound = 1.0 / math.sqrt(self.query.shape[-1])
        init.normal_(self.query, std=bound)
        for projection in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            init.uniform_(projection.weight, -bound, bound)


Head = MeanLinearHead | AttentionPoolingHead


def build_head(pooling: str, dim: int, num_labels: int, num_heads: int = 16) -> Head:
    """Build a head by name.

    Args:
        pooling: "mean" (linear on the pooled vector) or "attention" (learned query over the tokens).
        dim: width of the encoder.
        num_labels: number of outputs.
        num_heads: heads of the attention pooling.

    Raises:
        UnknownNameError: if the pooling does not exist.
        InputError: if dim is not a multiple of num_heads.
    """
    if pooling == "mean":
        return MeanLinearHead(dim, num_labels)
    if pooling == "attention":
        return AttentionPoolingHead(dim, num_labels, num_heads)
    raise unknown_name("pooling", pooling, POOLINGS)
