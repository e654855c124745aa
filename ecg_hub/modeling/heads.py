"""The two classification heads of the benchmark, and losses that skip NaN targets.

Reference: the protocol of arXiv 2509.25095. Multi-label tasks take the mean binary cross entropy over batch x classes;
the joint MIMIC task averages per class over the rows that have a target, then over the classes that have such a row,
and adds the same average of the absolute error over its regression targets. The heads are those of its modes "linear"
and "frozen". Each says what it takes: `expects` is "pooled", (batch, dim), or "tokens", (batch, tokens, dim).

No loss here looks at values on the host, so none waits for the device. A batch without any target gives 0.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init

from ecg_hub.errors import InputError, unknown_name

PROBLEM_TYPES = ("multi_label_classification", "regression", "mixed")


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    problem_type: str = "multi_label_classification",
    num_classification_labels: int | None = None,
    pos_weight: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Training loss of a problem type, a scalar in float32.

    Args:
        logits: (batch, outputs).
        targets: (batch, outputs): 0 to 1 for classes, any number for regression targets, NaN where there is no target.
        problem_type: "multi_label_classification", "regression" or "mixed".
        num_classification_labels: with "mixed", how many of the leading outputs are classes; the others are
            regression targets.
        pos_weight: (classes,), the weight of a positive target of each class; None weighs all targets alike.
        known: (outputs,), how many targets of each output the whole batch has, if these rows are a piece of one: losses
            of the pieces add up to that of the batch.

    Raises:
        InputError: if the shapes differ, or "mixed" comes without the number of classes.
        UnknownNameError: if the problem type does not exist.

    Example:
        >>> logits = torch.zeros(2, 2)
        >>> unknown = torch.tensor([[1.0, torch.nan], [0.0, torch.nan]])
        >>> round(float(classification_loss(logits, unknown)), 4)  # log 2: what has no target does not count
        0.6931
        >>> mixed = torch.tensor([[1.0, 3.0], [0.0, 5.0]])  # one class, then one regression target
        >>> round(float(classification_loss(logits, mixed, "mixed", num_classification_labels=1)), 4)
        4.6931
    """
    if logits.shape != targets.shape:
        raise InputError(
            f"Targets have shape {tuple(targets.shape)!r}, logits {tuple(logits.shape)!r}; make them equal."
        )
    if problem_type == "multi_label_classification":
        return binary_loss(logits, targets, pos_weight, known)
    if problem_type == "regression":
        return regression_loss(logits, targets, known)
    if problem_type != "mixed":
        raise unknown_name("problem_type", problem_type, PROBLEM_TYPES)
    if num_classification_labels is None:
        raise InputError("problem_type 'mixed' needs num_classification_labels: how many leading outputs are classes.")
    n = num_classification_labels
    of_classes, of_values = (None, None) if known is None else (known[:n], known[n:])
    classes = binary_loss_per_class(logits[:, :n], targets[:, :n], pos_weight, of_classes)
    return classes + regression_loss(logits[:, n:], targets[:, n:], of_values)


def binary_loss(
    logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """Binary cross entropy, averaged over all targets that are not NaN.

    Args:
        logits: (batch, classes).
        targets: (batch, classes), 0 to 1, or NaN where there is no target.
        pos_weight: (classes,), the weight of a positive target of each class; None weighs all targets alike.
        known: (classes,), the targets of the whole batch, if these rows are a piece of one.

    Example:
        >>> logits = torch.tensor([[0.0], [0.0]])
        >>> round(float(binary_loss(logits, torch.tensor([[1.0], [torch.nan]]))), 4)
        0.6931
        >>> float(binary_loss(logits, torch.full((2, 1), torch.nan)))  # no target: 0 and no NaN in the gradient
        0.0
    """
    valid, filled = _split(targets)
    errors = functional.binary_cross_entropy_with_logits(
        logits.float(), filled, reduction="none", pos_weight=pos_weight
    )
    return (errors * valid).sum() / (valid if known is None else known).sum().clamp(min=1)


def binary_loss_per_class(
    logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """Binary cross entropy as `binary_loss`, but averaged per class over its targets, then over classes with any."""
    valid, filled = _split(targets)
    errors = functional.binary_cross_entropy_with_logits(
        logits.float(), filled, reduction="none", pos_weight=pos_weight
    )
    return _mean_of_columns(errors, valid, known)


def regression_loss(predictions: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Absolute error, averaged per column over its targets, then over the columns that have one.

    Args:
        predictions: (batch, columns).
        targets: (batch, columns), or NaN where there is no target.
        known: (columns,), the targets of the whole batch, if these rows are a piece of one.

    Example:
        >>> targets = torch.tensor([[1.0, 10.0], [3.0, torch.nan]])
        >>> float(regression_loss(torch.zeros(2, 2), targets))  # (2 + 10) / 2: columns weigh the same
        6.0
    """
    valid, filled = _split(targets)
    return _mean_of_columns((predictions.float() - filled).abs(), valid, known)


def _split(targets: Tensor) -> tuple[Tensor, Tensor]:
    targets = targets.float()
    missing = targets.isnan()
    # Filled before the loss is taken: multiplying a NaN by 0 afterwards leaves NaN, in the gradient as well.
    return (~missing).float(), targets.masked_fill(missing, 0.0)


def _mean_of_columns(errors: Tensor, valid: Tensor, known: Tensor | None) -> Tensor:
    # `clamp` instead of a condition: an empty column divides 0 by 1, and nobody asks the device how many there are.
    rows = valid.sum(0) if known is None else known
    columns = (errors * valid).sum(0) / rows.clamp(min=1)
    return columns.sum() / (rows > 0).sum().clamp(min=1)


POOLINGS = ("mean", "attention")
NEGLIGIBLE = 46.0
"""How far below the highest a score counts as no attention: exp(-46) is 1e-20. A tenth of a trained head's weights,
or of their gradients, would else be subnormal numbers, with which processors multiply many times slower."""


class MeanLinearHead(nn.Module):
    """One linear map on the pooled vector."""

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
        # At once, because a head also stands around encoders that are no transformers models.
        self.initialize()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, dim) to logits (batch, num_labels)."""
        heads, dim = self.num_heads, self.query.shape[-1]
        # Head h is made of consecutive rows of each matrix. q . (W_k x) = (W_k^T q) . x, and W_v, being linear, may
        # come after the weighted mean: both maps act once, not once per token.
        query = self.q_proj(self.query).view(heads, dim // heads)
        key_maps = torch.einsum("hi,hid->hd", query, self.k_proj.weight.view(heads, -1, dim))
        scores = torch.matmul(tokens, key_maps.T) / math.sqrt(dim // heads)
        scores = scores.masked_fill(scores < scores.amax(dim=1, keepdim=True) - NEGLIGIBLE, -math.inf)
        pooled = torch.matmul(scores.softmax(dim=1).transpose(1, 2), tokens)
        values = torch.einsum("bhd,hid->bhi", pooled, self.v_proj.weight.view(heads, -1, dim))
        logits: Tensor = self.c_proj(values.flatten(1))
        return logits

    def initialize(self) -> None:
        """Query normal with variance 1/dim; the matrices uniform within 1/sqrt(dim)."""
        # As published; the matrices get what PyTorch gives a linear layer.
        bound = 1.0 / math.sqrt(self.query.shape[-1])
        init.normal_(self.query, std=bound)
        for projection in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            init.uniform_(projection.weight, -bound, bound)


Head = MeanLinearHead | AttentionPoolingHead


def build_head(pooling: str, dim: int, num_labels: int, num_heads: int = 16) -> Head:
    """Build a head by name."""
    if pooling == "mean":
        return MeanLinearHead(dim, num_labels)
    if pooling == "attention":
        return AttentionPoolingHead(dim, num_labels, num_heads)
    raise unknown_name("pooling", pooling, POOLINGS)


def maximum_columns(config: Any) -> list[int]:
    """Return the outputs of which a record has the largest value of its windows.

    Args:
        config: configuration of a classifier.

    Example:
        >>> from types import SimpleNamespace
        >>> maximum_columns(SimpleNamespace(id2label={0: "SR", 1: "PVC"}, record_maximum=["PVC"]))
        [1]
    """
    chosen = set(getattr(config, "record_maximum", None) or ())
    return [int(index) for index, label in config.id2label.items() if label in chosen] if chosen else []
