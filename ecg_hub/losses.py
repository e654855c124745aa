"""Training losses that skip NaN targets.

Reference: the protocol of arXiv 2509.25095. Multi-label tasks take the mean binary cross entropy over batch x classes;
the joint MIMIC task averages per class over the rows that have a target, then over the classes that have such a row,
and adds the same average of the absolute error over its regression targets.

No loss here looks at values on the host, so none waits for the device. A batch without any target gives 0.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ecg_hub.errors import InputError, unknown_name

PROBLEM_TYPES = ("multi_label_classification", "regression", "mixed")


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    problem_type: str = "multi_label_classification",
    num_classification_labels: int | None = None,
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Training loss of a problem type, a scalar in float32.

    Args:
        logits: (batch, outputs).
        targets: (batch, outputs): 0 to 1 for classes, any number for regression targets, NaN where there is no target.
        problem_type: "multi_label_classification", "regression" or "mixed".
        num_classification_labels: with "mixed", how many of the leading outputs are classes; the others are
            regression targets.
        pos_weight: (classes,), the weight of a positive target of each class; None weighs all targets alike.

    Raises:
        InputError: if the shapes differ, or "mixed" comes without the number of classes.
        UnknownNameError: if the problem type does not exist.
    """
    if logits.shape != targets.shape:
        raise InputError(
            f"Targets have shape {tuple(targets.shape)!r}, logits {tuple(logits.shape)!r}; make them equal."
        )
    if problem_type == "multi_label_classification":
        return binary_loss(logits, targets, pos_weight)
    if problem_type == "regression":
        return regression_loss(logits, targets)
    if problem_type != "mixed":
        raise unknown_name("problem_type", problem_type, PROBLEM_TYPES)
    if num_classification_labels is None:
        raise InputError("problem_type 'mixed' needs num_classification_labels: how many leading outputs are classes.")
    n = num_classification_labels
    classes = binary_loss_per_class(logits[:, :n], targets[:, :n], pos_weight)
    return classes + regression_loss(logits[:, n:], targets[:, n:])


def binary_loss(logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross entropy, averaged over all targets that are not NaN.

    Args:
        logits: (batch, classes).
        targets: (batch, classes), 0 to 1, or NaN where there is no target.
        pos_weight: (classes,), the weight of a positive target of each class; None weighs all targets alike.
    """
    valid, filled = _split(targets)
    errors = functional.binary_cross_entropy_with_logits(
        logits.float(), filled, reduction="none", pos_weight=pos_weight
    )
    return (errors * valid).sum() / valid.sum().clamp(min=1)


def binary_loss_per_class(logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross entropy, averaged per class over its targets, then over the classes that have one.

    Args:
        logits: (batch, classes).
        targets: (batch, classes), 0 to 1, or NaN where there is no target.
        pos_weight: (classes,), the weight of a positive target of each class; None weighs all targets alike.
    """
    valid, filled = _split(targets)
    errors = functional.binary_cross_entropy_with_logits(
        logits.float(), filled, reduction="none", pos_weight=pos_weight
    )
    return _mean_of_columns(errors, valid)


def regression_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Absolute error, averaged per column over its targets, then over the columns that have one.

    Args:
        predictions: (batch, columns).
        targets: (batch, columns), or NaN where there is no target.
    """
    valid, filled = _split(targets)
    return _mean_of_columns((predictions.float() - filled).abs(), valid)


def _split(targets: Tensor) -> tuple[Tensor, Tensor]:
    targets = targets.float()
    missing = targets.isnan()
    return (~missing).float(), targets.masked_fill(missing, 0.0)


def _mean_of_columns(errors: Tensor, valid: Tensor) -> Tensor:
    rows = valid.sum(0)
    columns = (errors * valid).sum(0) / rows.clamp(min=1)
    return columns.sum() / (rows > 0).sum().clamp(min=1)
