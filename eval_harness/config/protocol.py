"""The numbers that decide a score, in one place.

Protocol `paper` is what the published rows of arXiv 2509.25095 were made with. A run that changes any of them
lists the change in its result and shows it beside the score. Protocol `fast` differs in one rule: the windows that
evaluation uses also train the head, one drawn per record and epoch, so that a fixed encoder encodes each window once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ecg_hub.errors import InputError, unknown_name
from eval_harness.config.fields import option

MODES = {
    "linear": "encoder fixed; mean over tokens, then a linear layer",
    "frozen": "encoder fixed; learned-query attention pooling (16 heads), then a linear layer",
    "finetune": "all weights trained; layer-wise rates 1 / 0.1 / 0.01 for head / late / early layers",
    "scratch": "all weights trained from random initialisation, one rate (the supervised baselines)",
    "post_train": "a head on the fixed encoder, then all weights with stochastic depth (arXiv 2509.12991)",
}
DEFAULT_MODES = ("linear", "frozen", "finetune")
POST_TRAIN = "post_train"
NOT_OF_POST_TRAIN = {
    "epochs": "stage1_epochs, stage2_epochs",
    "batch_size": "batch_size",
    "learning_rate": "stage1_learning_rate, stage2_learning_rate",
    "weight_decay": "stage1_weight_decay, stage2_weight_decay",
    "layer_rate_factor": "stage2_group_factor, stage2_layer_decay",
    "attention_heads": "none: its head is linear",
}
"""Numbers that decide no score of mode `post_train` -> its own settings instead (eval_harness.config.post_training)."""


@dataclass(frozen=True)
class Protocol:
    """Every number that decides a score; the defaults are the published protocol."""

    epochs: int = option("passes over the training records", 100)
    batch_size: int = option("training windows per step, over all processes", 64)
    learning_rate: float = option("AdamW rate of the head, constant", 1e-3)
    weight_decay: float = option("AdamW weight decay on every parameter", 1e-3)
    layer_rate_factor: float = option(
        "rate of the late layers relative to the head; its square for the early ones", 0.1
    )
    attention_heads: int = option("heads of the learned-query pooling of mode `frozen`", 16)
    min_count: int = option("labels with fewer occurrences in the whole dataset are left out", 10)
    resamples: int = option("bootstrap resamples of the test records", 1000)
    confidence: float = option("coverage of the intervals", 0.95)
    resample_unit: str = option("what a resample draws: record or patient", "record")
    train_windows: str = option("one window per record and epoch: random, or one of the consecutive ones", "random")
    name: str = "paper"

    def __post_init__(self) -> None:
        """Refuse values that cannot make a run."""
        for number in ("epochs", "batch_size", "attention_heads", "min_count", "resamples"):
            if getattr(self, number) < 1:
                raise InputError(f"{number} is {getattr(self, number)!r}: it must be at least 1.")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.layer_rate_factor < 0:
            raise InputError(
                f"learning_rate {self.learning_rate!r} must be above 0; weight_decay {self.weight_decay!r} and "
                f"layer_rate_factor {self.layer_rate_factor!r} must not be negative."
            )
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence!r}: it lies between 0 and 1, usually 0.95.")
        if self.resample_unit not in ("record", "patient"):
            raise unknown_name("resample unit", self.resample_unit, ("record", "patient"))
        if self.train_windows not in ("random", "consecutive"):
            raise unknown_name("kind of training windows", self.train_windows, ("random", "consecutive"))

    def deviations(self) -> dict[str, Any]:
        """The fields that differ from the protocol of this name."""
        base = PROTOCOLS[self.name]
        pairs = ((f.name, getattr(self, f.name), getattr(base, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value, published in pairs if value != published}

    def for_mode(self, mode: str) -> Protocol:
        """The numbers that count in a mode: those that mode `post_train` sets itself are the published ones."""
        if mode != POST_TRAIN:
            return self
        base = PROTOCOLS[self.name]
        return dataclasses.replace(self, **{name: getattr(base, name) for name in NOT_OF_POST_TRAIN})

    def as_dict(self) -> dict[str, Any]:
        """All fields, for run.json and the fingerprint."""
        return dataclasses.asdict(self)


PROTOCOLS = {"paper": Protocol(), "fast": Protocol(name="fast", train_windows="consecutive")}


def protocol(name: str = "paper", **changes: Any) -> Protocol:
    """The protocol of that name with some numbers changed."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return dataclasses.replace(PROTOCOLS[name], **{key: value for key, value in changes.items() if value is not None})


def check_mode(mode: str) -> str:
    """Return the mode, or raise UnknownNameError with a suggestion."""
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES, "See `ecg-eval ls modes`.")
    return mode
