"""Every number of a pre-training run in one dataclass; the defaults are the published run.

Published: `config_cpc_ecg_s4_heedb.yaml` and the defaults of the authors' repository (AI4HealthUOL/ecg-fm-benchmarking
at 6367295): windows of 10 s at 240 Hz without normalisation, batch 64, AdamW 1e-3 with weight decay 1e-3, constant
rate, float32, 200 epochs, a checkpoint every 10,000 steps.

Names of what can be pre-trained; importable without torch.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from ecg_hub import catalog
from ecg_hub.errors import InputError, unknown_name
from eval_harness.pretrain.order import LANES

RANDOM, _TINY = "random:", "-tiny"


def trainable() -> list[str]:
    """Short names of the models that can be pre-trained."""
    return [alias for alias, entry in catalog.models().items() if entry.classes.pretraining is not None]


def architecture(name: str) -> str:
    """Return the `random:` name of an architecture."""
    plain = name.removeprefix(RANDOM)
    alias = plain.removesuffix(_TINY)
    if alias in trainable():
        return RANDOM + plain
    allowed = [form for known in trainable() for form in (known, known + _TINY)]
    if alias in catalog.models():
        raise InputError(
            f"{alias!r} cannot be pre-trained here: its authors' recipe is not part of the hub. Known: "
            f"{', '.join(allowed)}."
        )
    raise unknown_name("model for pre-training", name, allowed)


SCHEDULES = ("constant", "cosine")
PRECISIONS = ("no", "bf16", "fp16")
BATCH_NORMS = ("local", "sync", "frozen")
CHOICES = {"schedule": SCHEDULES, "mixed_precision": PRECISIONS, "batch_norm": BATCH_NORMS}


def _number(default: Any, text: str, decides: bool = True) -> Any:
    return field(default=default, metadata={"help": text, "decides": decides})


@dataclass(frozen=True)
class PretrainConfig:
    """The numbers of a run, checked. Fields that decide the weights are part of the run's fingerprint."""

    seconds: float = _number(10.0, "length of the windows in s")
    batch_size: int = _number(64, "records per optimiser step, over all processes")
    lanes: int = _number(LANES, "independent streams that a batch is drawn from; a multiple of the processes")
    shuffle_records: int = _number(512, "records of a lane that are shuffled together, kept in memory")
    epochs: float | None = _number(None, "passes over the data, instead of steps (200 when neither is given)", False)
    steps: int | None = _number(None, "optimiser steps", False)
    learning_rate: float = _number(1e-3, "rate of AdamW")
    weight_decay: float = _number(1e-3, "weight decay of AdamW")
    beta1: float = _number(0.9, "decay of AdamW's first moment")
    beta2: float = _number(0.999, "decay of AdamW's second moment")
    epsilon: float = _number(1e-8, "epsilon of AdamW")
    schedule: str = _number("constant", "constant, or cosine to 0 at the last step")
    warmup_steps: int = _number(0, "steps in which the rate rises linearly")
    grad_clip: float | None = _number(None, "largest norm of all gradients together (off)")
    mixed_precision: str = _number("no", "no, bf16 or fp16; loss and S4 kernel stay in float32")
    accumulate: int = _number(1, "pieces that each process cuts its share of a batch into, to save memory")
    batch_norm: str = _number(
        "local", "local (each piece), sync (over processes, GPUs only) or frozen (running values)"
    )
    seed: int = _number(0, "of weights, order, windows, negatives and dropout")
    checkpoint_every: int = _number(1000, "steps between checkpoints (published: 10,000)", False)
    keep: int = _number(3, "checkpoints that are kept", False)
    log_every: int = _number(10, "steps between lines of the log; the first and the last step have one too", False)

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(name, str(getattr(self, name)), choices)
        whole = ("batch_size", "lanes", "shuffle_records", "accumulate", "checkpoint_every", "keep", "log_every")
        for name in (*whole, "seconds", "learning_rate", "epsilon"):
            _above(name, getattr(self, name))
        for name in ("steps", "epochs", "grad_clip"):
            if getattr(self, name) is not None:
                _above(name, getattr(self, name))
        for name in ("weight_decay", "warmup_steps", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}: it must be 0 or more.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}; allowed: 0 <= {name} < 1.")
        if self.steps is not None and self.epochs is not None:
            raise InputError(f"Give steps ({self.steps}) or epochs ({self.epochs:g}), not both.")

    def total_steps(self, records: int) -> int:
        """Optimiser steps of the run; the last partial batch of an epoch is dropped, as published."""
        if self.steps is not None:
            return self.steps
        return max(1, int((200 if self.epochs is None else self.epochs) * (records // self.batch_size)))

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warm
        done = max(0.0, (step - self.warmup_steps) / max(1, total - self.warmup_steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def decisive(self, total: int) -> dict[str, Any]:
        """Values that decide the weights after `total` steps; the end counts where the rate falls towards it."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["decides"]}
        return {**found, "steps": total} if self.schedule == "cosine" else found

    def changes(self) -> dict[str, Any]:
        """The fields that decide the weights and differ from the published run; the seed is not one of those."""
        fields = [f for f in dataclasses.fields(self) if f.metadata["decides"] and f.name != "seed"]
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}


def _above(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"{name} is {value!r}: it must be above 0.")
