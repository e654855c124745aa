"""Subgroups of the test records: by sex and by age band."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval_harness.predictions import Predictions

AGE_EDGES = (0, 1, 5, 12, 18, 40, 60, 80)
"""Years at which a band begins; the bands of childhood are those of the pediatric dataset's folds."""

MIN_RECORDS = 10


def age_band(age: float) -> str:
    """Return the band of an age in years: "under 1", "1-4", ..., "60-79", "80 and over"."""
    if age >= AGE_EDGES[-1]:
        return f"{AGE_EDGES[-1]} and over"
    low, high = next((low, high) for low, high in pairwise(AGE_EDGES) if age < high)
    return "under 1" if low == 0 else f"{low}-{high - 1}"


def subgroups(test: Predictions) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Yield name, value and rows of every subgroup with at least ten records; a lone value is no subgroup."""
    bands = [None if age is None or np.isnan(age) else age_band(age) for age in test.age or ()]
    for name, values in (("sex", list(test.sex or ())), ("age", bands)):
        found = [value for value in _in_order(name) if value in set(values)]
        if len(found) < 2:
            continue
        for value in found:
            rows = np.flatnonzero([entry == value for entry in values])
            if rows.size >= MIN_RECORDS:
                yield name, value, rows


def _in_order(name: str) -> list[str]:
    return ["female", "male"] if name == "sex" else [age_band(edge) for edge in AGE_EDGES]
