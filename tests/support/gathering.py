"""Run under torchrun: predictions and a table of windows whose features are known, by every process its block.

    torchrun --nproc_per_node 3 -m tests.support.gathering OUT {pooled,tokens}

The stand-in encoder gives each window features that no batch can change, so that the result has to be equal to the bit.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from eval_harness.data.windows import RunData, Split, Windows
from eval_harness.training.feature_store import FeatureStore
from eval_harness.training.features import FeatureCache, Predictor, gatherer

LENGTHS = np.array([40, 10, 23, 70, 10, 10, 35], dtype=np.int64)  # 4, 1, 2, 7, 1, 1, 3 windows: 19 in all
BATCH = 4


class Reader:
    """Record i counts its samples from 100 i."""

    lengths = LENGTHS

    def window_mv(self, i: int, start: int, stop: int) -> np.ndarray:
        return np.repeat((100.0 * i + np.arange(start, stop, dtype=np.float32))[:, None], 12, axis=1)


class Extractor:
    """Windows of one second at 10 Hz, as they are."""

    def spec(self) -> Any:
        return SimpleNamespace(input_seconds=1.0, source_steps=())

    def prepare_windows(self, windows: np.ndarray, sampling_rate: int) -> np.ndarray:
        return windows.astype(np.float32)


class Model(torch.nn.Module):
    """Features are the first and the last sample of a window; the head scales them."""

    frozen = True

    def __init__(self, expects: str) -> None:
        super().__init__()
        self.expects = expects

    def encode(self, values: torch.Tensor) -> torch.Tensor:
        ends = torch.stack([values[:, 0, 0], values[:, 0, -1]], dim=1)
        return ends if self.expects == "pooled" else ends[:, None].repeat(1, 3, 1)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return (features if self.expects == "pooled" else features[:, 1]) / 256.0


def whole(rank: int, world: int) -> Windows:
    count = len(LENGTHS)
    split = Split(
        "validation", Reader(), np.arange(count), [str(i) for i in range(count)], [""] * count, [None] * count,
        [None] * count, np.zeros((count, 2), dtype=np.float32), 0,
    )  # fmt: skip
    data = RunData(split, split, split, ["a", "b"], 0, 10, "f", "known", {})
    return Windows(data, Extractor(), rank=rank, world=world)


def main(out: Path, expects: str) -> None:
    accelerator = Accelerator(cpu=True)
    windows = whole(accelerator.process_index, accelerator.num_processes)
    store = FeatureStore(out, 1.0) if expects == "tokens" else None
    predictor = Predictor(
        windows, BATCH, torch.device("cpu"), FeatureCache(store), nullcontext, gatherer(accelerator), quiet=True
    )
    model: Any = Model(expects)
    predictions = predictor.predict(model, windows.data.validation)
    table = predictor.table(model, windows.data.validation)
    assert table is not None
    np.savez(out / f"{accelerator.process_index}.npz", predictions=predictions, table=table.rows)
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
