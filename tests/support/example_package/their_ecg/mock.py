"""Writes the dataset's mock tree: noise around zero, or around half a millivolt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from their_ecg.dataset import RATE, TABLE

LABELS = ("low", "high")


def write(
    folder: Path, records: int, seed: int, awkward: bool = False, sampling_rates: Sequence[int] | None = None
) -> dict[str, Any]:
    """Write the tree; returns the thresholds that suit its size."""
    rng = np.random.default_rng(seed)
    lines = ["record_id,label,strat_fold"]
    for number in range(records):
        # Every fold has both labels.
        kind = number // 10 % 2
        samples = rng.normal(500 * kind, 50, size=(2 * RATE, 12))
        np.save(folder / f"r{number}.npy", samples.astype(np.int16))
        lines.append(f"r{number},{LABELS[kind]},{number % 10}")
    (folder / TABLE).write_text("\n".join(lines) + "\n")
    return {"min_count": 1}
