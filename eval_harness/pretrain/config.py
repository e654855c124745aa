"""Every number of a pre-training run in one dataclass; the defaults are the published run.

Published: `config_cpc_ecg_s4_heedb.yaml` and the defaults of the authors' repository (AI4HealthUOL/ecg-fm-benchmarking
at 6367295): windows of 10 s at 240 Hz without normalisation, batch 64, AdamW 1e-3 with weight decay 1e-3, constant
rate, float32, 200 epochs, a checkpoint every 10,000 steps.

Names of what can be pre-trained; importable without torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

from ecg_hub import catalog
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.names import canonical
from eval_harness.config.fields import option, wrong_choice
from eval_harness.pretrain.order import LANES

RANDOM, _TINY = "random:", "-tiny"


def trainable() -> list[str]:
    """Short names of the models that can be pre-trained."""
    return [alias for alias, entry in catalog.models().items() if entry.classes.pretraining is not None]


def architecture(name: str) -> str:
    """Return the `random:` name of an architecture."""
    plain = canonical(RANDOM + name.removeprefix(RANDOM)).removeprefix(RANDOM)
    alias = plain.removesuffix(_TINY)
    if alias in trainable():
        return RANDOM + plain
    allowed = [form for short in trainable() for form in (short, short + _TINY)]
    if alias in catalog.models():
        raise InputError(
            f"{alias!r} cannot be pre-trained here: its authors' recipe is not part of the hub. Known: "
            f"{', '.join(allowed)}."
        )
    raise unknown_name("model for pre-training", name, allowed)


SCHEDULES = ("constant", "cosine")
PRECISIONS = ("no", "bf16", "fp16")
BATCH_NORMS = ("local", "sync", "frozen")
_number = functools.partial(option, metavar="N")


@dataclass(frozen=True)
class PretrainConfig:
    """The numbers of a run, checked. Fields that decide the weights are part of the run's fingerprint."""

    seconds: float = _number("length of the windows in s", 10.0)
    batch_size: int = _number("records per optimiser step, over all processes", 64)
    lanes: int = _number("independent streams that a batch is drawn from; a multiple of the processes", LANES)
    shuffle_records: int = _number("records of a lane that are shuffled together, kept in memory", 512)
    epochs: float | None = _number(
        "passes over the data, instead of steps (200 when neither is given)", None, decides=False
    )
    steps: int | None = _number("optimiser steps", None, decides=False)
    learning_rate: float = _number("rate of AdamW", 1e-3)
    weight_decay: float = _number("weight decay of AdamW", 1e-3)
    beta1: float = _number("decay of AdamW's first moment", 0.9)
    beta2: float = _number("decay of AdamW's second moment", 0.999)
    epsilon: float = _number("epsilon of AdamW", 1e-8)
    schedule: str = _number("constant, or cosine to 0 at the last step", "constant", choices=SCHEDULES)
    warmup_steps: int = _number("steps in which the rate rises linearly", 0)
    grad_clip: float | None = _number("largest norm of all gradients together (off)", None)
    mixed_precision: str = _number("no, bf16 or fp16; loss and S4 kernel stay in float32", "no", choices=PRECISIONS)
    accumulate: int = _number("pieces that each process cuts its share of a batch into, to save memory", 1)
    batch_norm: str = _number(
        "local (each piece), sync (over processes, GPUs only) or frozen (running values)", "local", choices=BATCH_NORMS
    )
    seed: int = _number("of weights, order, windows, negatives and dropout", 0)
    checkpoint_every: int = _number("steps between checkpoints (published: 10,000)", 1000, decides=False)
    keep: int = _number("checkpoints that are kept", 3, decides=False)
    log_every: int = _number(
        "steps between lines of the log; the first and the last step have one too", 10, decides=False
    )

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        wrong = wrong_choice(self)
        if wrong is not None:
            raise unknown_name(wrong.name, str(getattr(self, wrong.name)), wrong.metadata["choices"])
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
        # 200 is no default of the field: with `steps` given it would be one epoch count too many.
        return max(1, int((200 if self.epochs is None else self.epochs) * (records // self.batch_size)))

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step."""
        # From 1 on: a rate of 0 would waste the first step.
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warm
        done = max(0.0, (step - self.warmup_steps) / max(1, total - self.warmup_steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def decisive(self, total: int) -> dict[str, Any]:
        """Values that decide the weights after `total` steps; the end counts where the rate falls towards it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["decides"]}
        # A constant rate leaves the end open: the same run may be continued to a later one.
        return {**values, "steps": total} if self.schedule == "cosine" else values

    def changes(self) -> dict[str, Any]:
        """The fields that decide the weights and differ from the published run; the seed is not one of those."""
        fields = [f for f in dataclasses.fields(self) if f.metadata["decides"] and f.name != "seed"]
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}


def _above(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"{name} is {value!r}: it must be above 0.")
