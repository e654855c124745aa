"""A probe during pre-training: the encoder as it is, scored on a small task by the harness itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.metrics.registry import MACRO_AUROC, MACRO_MAE
from eval_harness.models.adapting import FROZEN_MODES

METRICS = (MACRO_AUROC, MACRO_MAE)
DTYPES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Probe:
    """What is probed, how, and how often.

    Attributes:
        task: name of a task.
        every: steps between probes; the first is before the first step.
        data_root: folder of the datasets, or "mock".
        mode: "linear" or "frozen".
        epochs: of the head.
        limit: records per split at most.
        include: task files and descriptions of own archives.
        cache_dir: of prepared data.
    """

    task: str
    every: int = 500
    data_root: str = ""
    mode: str = "linear"
    epochs: int = 20
    limit: int | None = 1000
    include: tuple[Path, ...] = ()
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run before anything is trained."""
        from eval_harness.tasks.registry import expand

        if self.mode not in FROZEN_MODES:
            raise InputError(f"A probe leaves the encoder as it is; mode {self.mode!r} does not: linear or frozen.")
        if self.every < 1 or self.epochs < 1:
            raise InputError(f"A probe every {self.every} steps with {self.epochs} epochs: both must be 1 or more.")
        if len(tasks := expand((self.task,), self.include)) != 1:
            raise InputError(f"{self.task!r} stands for {len(tasks)} tasks; probe one.")
        self.options(Path("encoder"), Path("results"))

    def due(self, step: int) -> bool:
        """Whether a probe belongs to a number of steps done."""
        return step % self.every == 0

    def options(self, encoder: Path, output: Path, **more: Any) -> RunOptions:
        """The run of the harness that a probe is: protocol `fast`, whose features are encoded once."""
        given: dict[str, Any] = {
            "models": (str(encoder),),
            "tasks": (self.task,),
            "modes": (self.mode,),
            "data_root": self.data_root,
            "output": output,
            "protocol": protocol("fast", epochs=self.epochs),
            "limit": self.limit,
            "include": self.include,
            "cache_size": 0.0,
            **more,
        }
        return RunOptions(**given if self.cache_dir is None else {**given, "cache_dir": self.cache_dir})


def run_probe(
    probe: Probe, folder: Path, fill: Callable[[Path], None], accelerator: Any, seed: int
) -> dict[str, Any] | None:
    """Score the encoder as it is; a failed probe is a line with its reason and ends nothing."""
    from eval_harness.runner.run import evaluate

    encoder = folder / "encoder"
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        encoder.mkdir(parents=True)
        fill(encoder)
    accelerator.wait_for_everyone()
    device = accelerator.device.type
    options = probe.options(encoder, folder, seeds=(seed,), device=device, dtype=DTYPES[accelerator.mixed_precision])
    results = evaluate(options, quiet=True)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return None
    shutil.rmtree(encoder, ignore_errors=True)
    (result,) = results
    row = {"task": probe.task, "mode": probe.mode, "epochs": probe.epochs}
    if result.status != "done":
        return {**row, "point": None, "reason": result.reason}
    metric = next(name for name in METRICS if name in result.metrics)
    records = None if result.data is None else result.data.records.model_dump()
    score = result.metrics[metric]
    return {**row, "metric": metric, "point": score.point, "low": score.low, "high": score.high, "records": records}
