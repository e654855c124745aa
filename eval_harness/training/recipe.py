"""What one stage of training does: epochs, batch, rates over the epochs, loss; and what of it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eval_harness.config.protocol import Protocol
from eval_harness.models.adapting import AdaptedModel, parameter_groups

History = Sequence[Mapping[str, float | None]]


def unchanged(history: History) -> float:
    """The rate of every epoch is the full one."""
    return 1.0


@dataclass(frozen=True)
class Recipe:
    """One stage of training.

    Attributes:
        groups: gives the parameter groups of a model, each with its full rate `lr`.
        consecutive: whether training windows are drawn among those of evaluation, which a fixed encoder encodes once.
        stage: number of the stage, from 1, which decides its random numbers; 0 where training has one stage only.
        rate_factor: of the epochs done so far, by how much all rates are multiplied in the next one.
        label_smoothing: targets of classes become y (1 - s) + s / 2.
        balanced: weigh the positives of each class by negatives/positives of the training records.
        grad_clip: largest norm of all gradients together.
        average: decay of an exponential average of the weights, which is scored and kept instead of them.
        keep: the weights that are left in the model at the end: of the best epoch by validation, or of the last.
        remedy: what to change when the loss is not finite.
    """

    epochs: int
    batch_size: int
    weight_decay: float
    groups: Callable[[AdaptedModel], list[dict[str, Any]]]
    consecutive: bool = False
    stage: int = 0
    rate_factor: Callable[[History], float] = unchanged
    label_smoothing: float = 0.0
    balanced: bool = False
    grad_clip: float | None = None
    average: float | None = None
    keep: Literal["best", "last"] = "best"
    remedy: str = "Lower --learning-rate or use --dtype float32."


def protocol_recipe(protocol: Protocol, mode: str) -> Recipe:
    """The one stage of the protocol's modes."""
    return Recipe(
        epochs=protocol.epochs,
        batch_size=protocol.batch_size,
        weight_decay=protocol.weight_decay,
        groups=lambda model: parameter_groups(model, mode, protocol),
        consecutive=protocol.train_windows == "consecutive",
    )


def cosine(epoch: int, epochs: int, least: float, warmup: int = 0) -> float:
    """The factor of an epoch (from 0): a linear rise over the warm-up, then half a cosine from 1 towards `least`.

    As PyTorch's CosineAnnealingLR, `least` is what an epoch after the last would have.
    """
    # The first epoch has a rate above 0 and the first after the warm-up the full one.
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    return least + (1 - least) * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2


def plateau(history: History, factor: float, patience: int, least: float) -> float:
    """The factor after some epochs: lowered whenever more than `patience` in a row brought no better validation score.

    As PyTorch's ReduceLROnPlateau without threshold and cool-down; a function of the history, so that a run that
    continues has the rates of the undisturbed one.
    """
    best, waited, rate = -math.inf, 0, 1.0
    for step in history:
        score = step["validation"]
        # An epoch without a score counts as one that brought nothing better.
        if score is not None and score > best:
            best, waited = score, 0
        else:
            waited += 1
        if waited > patience:
            rate, waited = max(rate * factor, least), 0
    return rate
