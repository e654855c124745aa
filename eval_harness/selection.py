"""The validation score that picks the best epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval_harness.metrics.auroc import macro_auroc, macro_auroc_paper
from eval_harness.metrics.composite import composite
from eval_harness.metrics.regression import pooled_mae


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
    """
    regression = targets.shape[1] - classes
    if not regression:
        return float(macro_auroc(targets, outputs))
    error = float(pooled_mae(targets[:, classes:], outputs[:, classes:]))
    if not classes:
        return -error
    area = float(macro_auroc_paper(targets[:, :classes], outputs[:, :classes]))
    return -composite(area, error) if np.isfinite(error) else float("nan")
