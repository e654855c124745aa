"""A source of batches in memory, and tiny pre-training runs in this process or, by `python -m`, in others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from eval_harness.pretrain.augmentation import augmented
from eval_harness.pretrain.config import PretrainConfig, PretrainOptions
from eval_harness.pretrain.order import Batch, lanes_of_process
from eval_harness.pretrain.run import pretrain

SETTINGS: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_negatives": 20}
SECONDS = 1.0
NUMBERS: dict[str, Any] = {
    "seconds": SECONDS,
    "batch_size": 8,
    "lanes": 4,
    "steps": 6,
    "checkpoint_every": 2,
    "log_every": 1,
    "seed": 3,
}


def waves(records: int, samples: int) -> NDArray[np.float32]:
    """Records (records, 12, samples) in mV: sines of different rates and phases, so that one can learn."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / 240
    rate = rng.uniform(1.0, 8.0, (records, 1, 1))
    phase = rng.uniform(0.0, 6.0, (records, 12, 1))
    noise = 0.05 * rng.standard_normal((records, 12, samples))
    return (np.sin(2 * np.pi * rate * time + phase) + noise).astype(np.float32)


@dataclass
class MemorySource:
    """A `BatchSource` whose lanes draw from (seed, step, lane)."""

    config: PretrainConfig
    rank: int = 0
    world: int = 1
    count: int = 24
    corpora: tuple[str, ...] = ("ptb-xl",)
    train_only: dict[str, str] = field(default_factory=dict)
    simulated: tuple[str, ...] = ()
    fingerprint: str = "of the waves"
    spoiled: tuple[int, ...] = ()
    values: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.values = waves(self.count, round(240 * self.config.seconds))
        self.values[list(self.spoiled), 0, 5] = np.nan

    @property
    def records(self) -> int:
        return self.count

    def batches(self, start_step: int) -> Iterator[Batch]:
        config, step = self.config, start_step
        lanes = lanes_of_process(config.lanes, self.rank, self.world)
        size = config.batch_size // config.lanes
        while True:
            rows = [np.random.default_rng([config.seed, step, lane]).integers(0, self.count, size) for lane in lanes]
            chosen = np.concatenate(rows)
            clean, names = self.values[chosen], [f"record {row}" for row in chosen]
            if config.augment:
                by_lane = zip(np.split(clean, len(lanes)), lanes, strict=True)
                parts = [augmented(x, 240, config.augment, seed=config.seed, step=step, lane=k) for x, k in by_lane]
                yield Batch(step, np.concatenate(parts), names, lanes, clean)
            else:
                yield Batch(step, clean, names, lanes)
            step += 1


def numbers(**changes: Any) -> PretrainConfig:
    """The numbers of a tiny run."""
    return PretrainConfig(**{**NUMBERS, **changes})


def run(output: Path, source: dict[str, Any] | None = None, draw: bool = False, **changes: Any) -> list[dict[str, Any]]:
    """Do a tiny run; fields of the options and of the numbers as keywords. Returns the log.

    Its curves are drawn where asked: two pictures take ten times as long as six steps.
    """
    names = PretrainOptions.__dataclass_fields__
    options = {name: changes.pop(name) for name in list(changes) if name in names}
    chosen = {"model": "ecg-cpc-tiny", "settings": SETTINGS, "device": "cpu", **options}
    if "init" in options:
        chosen["settings"] = {}
    with nullcontext() if draw else patch("eval_harness.pretrain.run.write_curves", return_value=[]):
        return pretrain(
            PretrainOptions(output=output, **chosen),
            numbers(**changes),
            lambda config, model, rank, world: MemorySource(config, rank, world, **(source or {})),
            quiet=True,
        )


def curve(log: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What of a log does not depend on the clock."""
    return [tuple(row[name] for name in ("step", "loss", "learning_rate", "grad_norm")) for row in log if "loss" in row]


if __name__ == "__main__":
    import ast

    pairs = (word.split("=", 1) for word in sys.argv[2:])
    run(Path(sys.argv[1]), **{name: ast.literal_eval(value) for name, value in pairs})
