"""The validation score that picks the best epoch."""

from __future__ import annotations

import math
from typing import Any

from ecg_hub.errors import InputError
from eval_harness.metrics.ranking import macro_auroc, macro_auroc_paper
from eval_harness.metrics.regression import pooled_mae


def composite(macro_auroc: float, mae: float) -> float:
    """Return (1 - macro AUROC) + MAE, lower is better; the epoch with the lowest one is kept.

    The published code feeds the macro AUROC in which an undefined class counts 0.5, and the pooled MAE.

    Args:
        macro_auroc: in 0..1.
        mae: pooled mean absolute error of the z-scored targets, at least 0.

    Raises:
        InputError: a macro AUROC outside 0..1, a negative MAE, or NaN.

    Example:
        >>> composite(0.9, 0.4)
        0.5
        >>> composite(0.8, 0.2) < composite(0.9, 0.4)  # lower is better; a point of AUROC weighs as one unit of the MAE
        True
    """
    if not 0 <= macro_auroc <= 1:
        raise InputError(f"macro AUROC must lie in 0..1, not {macro_auroc!r}.")
    if not (mae >= 0 and math.isfinite(mae)):
        raise InputError(f"MAE must be a finite number of at least 0, not {mae!r}.")
    return (1.0 - macro_auroc) + mae


def selection_score(targets: Any, outputs: Any, classes: int) -> float:
    """Score an epoch on validation, higher is better (protocol sections 2 and 5).

    Classes only: macro AUROC over the classes with both outcomes; they are the same in every epoch, so the published
    reading picks the same epoch. Regression only: minus the pooled MAE. Both: minus the composite.

    Args:
        targets: (records, outputs), NaN = no target.
        outputs: (records, outputs); the first `classes` of them are probabilities.
        classes: number of leading class outputs.

    Returns:
        The score, or NaN where nothing can be evaluated.

    Example:
        >>> import numpy as np
        >>> targets = np.array([[0.0, 1.0], [1.0, 3.0]])  # one class, one regression target
        >>> outputs = np.array([[0.2, 1.5], [0.7, 3.5]])
        >>> selection_score(targets, outputs, classes=1)  # minus (1 - 1.0 + 0.5): higher is better
        -0.5
        >>> selection_score(targets[:, :1], outputs[:, :1], classes=1)
        1.0
    """
    regression = targets.shape[1] - classes
    if not regression:
        return float(macro_auroc(targets, outputs))
    error = float(pooled_mae(targets[:, classes:], outputs[:, classes:]))
    if not classes:
        return -error
    # The published code takes its own reading here, in which labels without both outcomes weigh too.
    area = float(macro_auroc_paper(targets[:, :classes], outputs[:, :classes]))
    return -composite(area, error) if math.isfinite(error) else math.nan
