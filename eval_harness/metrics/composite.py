"""The selection score of a joint run with classes and regression targets (MIMIC-IV-ECG)."""

from __future__ import annotations

import math

from ecg_hub.errors import InputError


def composite(macro_auroc: float, mae: float) -> float:
    """Return (1 - macro AUROC) + MAE, lower is better; the epoch with the lowest one is kept.

    The published code feeds the macro AUROC in which an undefined class counts 0.5, and the pooled MAE.

    Args:
        macro_auroc: in 0..1.
        mae: pooled mean absolute error of the z-scored targets, at least 0.

    Raises:
        InputError: a macro AUROC outside 0..1, a negative MAE, or NaN.
    """
    if not 0 <= macro_auroc <= 1:
        raise InputError(f"macro AUROC must lie in 0..1, not {macro_auroc!r}.")
    if not (mae >= 0 and math.isfinite(mae)):
        raise InputError(f"MAE must be a finite number of at least 0, not {mae!r}.")
    return (1.0 - macro_auroc) + mae
