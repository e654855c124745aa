"""Made-up targets and scores with every awkward class: ties, constant scores, missing targets, absent outcomes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def scored(records: int = 120, classes: int = 8, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets and scores (records, classes) float32.

    Class 0 is plain; 1 has scores of one decimal; 2 a constant score; 3 misses 30 % of its targets; 4 has one positive;
    5 no positive; 6 no negative; 7 only missing targets; later ones repeat the kinds 0, 1 and 3 at other prevalences.
    """
    rng = np.random.default_rng(seed)
    prevalence = rng.uniform(0.05, 0.6, classes)
    y_true = (rng.random((records, classes)) < prevalence).astype(np.float32)
    y_score = np.clip(0.25 * y_true + 0.75 * rng.random((records, classes)), 0, 1).astype(np.float32)
    for k in range(classes):
        kind = k if k < 8 else (0, 1, 3)[k % 3]
        if kind == 1:
            y_score[:, k] = np.round(y_score[:, k], 1)
        elif kind == 2:
            y_score[:, k] = 0.5
        elif kind == 3:
            y_true[rng.random(records) < 0.3, k] = np.nan
        elif kind == 4:
            y_true[:, k] = 0
            y_true[records // 2, k] = 1
        elif kind in (5, 6):
            y_true[:, k] = kind - 5
        elif kind == 7:
            y_true[:, k] = np.nan
    return y_true, y_score
