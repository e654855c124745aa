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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ecg_hub import catalog
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.names import canonical
from ecg_hub.renamed import renamed_argument
from eval_harness.config.fields import option, wrong_choice
from eval_harness.config.options import DATA_ROOT_HELP, RunOptions
from eval_harness.config.protocol import FROZEN_MODES, protocol
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
    augment: float = _number(
        "share of windows that are read with noise, wrong gain or lost leads; targets stay clean", 0.0
    )
    seed: int = _number("of weights, order, windows, disturbances, negatives and dropout", 0)
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
        if not 0 <= self.augment <= 1:
            raise InputError(f"augment is {self.augment!r}; allowed: 0 (none) to 1 (every window).")
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
        # 1 in place of 0 where the warm-up takes all steps.
        done = max(0.0, (step - self.warmup_steps) / max(1, total - self.warmup_steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def decisive(self, total: int) -> dict[str, Any]:
        """Values that decide the weights after `total` steps; the end counts where the rate falls towards it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["decides"]}
        for name in _LATER:
            if values[name] == PretrainConfig.__dataclass_fields__[name].default:
                del values[name]
        # A constant rate leaves the end open: the same run may be continued to a later one.
        return {**values, "steps": total} if self.schedule == "cosine" else values

    def changes(self) -> dict[str, Any]:
        """The fields that decide the weights and differ from the published run; the seed is not one of those."""
        fields = [f for f in dataclasses.fields(self) if f.metadata["decides"] and f.name != "seed"]
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}


_LATER = ("augment",)
"""Fields that came later. At their defaults they stay out of the fingerprint, so that older folders are continued."""


def _above(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"{name} is {value!r}: it must be above 0.")


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Changes to a configuration from words KEY=VALUE; values are read as YAML ("prediction_steps=[1, 14]")."""
    settings = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise InputError(f"--set takes KEY=VALUE, not {text!r}; for example --set hidden_size=128.")
        try:
            settings[key.strip().replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {text!r}: the value cannot be read: {error}") from error
    return settings


WHAT, DATA, NUMBERS, WATCHING = "what to train", "data", "numbers (default: the published run)", "watching"
_what, _data = functools.partial(option, group=WHAT), functools.partial(option, group=DATA)
_watch = functools.partial(option, group=WATCHING)


@renamed_argument("max_loss", "max_unreadable")
@dataclass(frozen=True)
class DataOptions:
    """What is read, and how."""

    names: tuple[str, ...] = _data(
        "a dataset, the YAML file of an archive of your own, a folder of shards, or ORG/NAME on a hub; repeatable",
        flags=("--data",),
        metavar="NAME",
        required=True,
    )
    data_root: str = _data(DATA_ROOT_HELP, "", metavar="DIR")
    all_records: bool = _data("use the records of validation and test folds, and those in no split, too", False)
    cache_dir: Path | None = _data("prepared data (default: $ECG_HUB_HOME)", None, metavar="DIR")
    max_unreadable: float = _data(
        "share of damaged records that is tolerated (default: {default})",
        0.01,
        metavar="SHARE",
        old_flag="--max-loss",
    )
    num_proc: int | None = _data("processes that prepare a dataset (default: 1)", None, metavar="N")
    num_workers: int = _data("processes that read; 0: a thread (default: {default})", 0, metavar="N")
    prefetch: int = _data("batches made ready in advance (default: {default})", 4, metavar="N")

    def __post_init__(self) -> None:
        """Refuse a call without data."""
        if not self.names:
            raise InputError("No data was given. Example: --data ptb-xl --data-root mock. See `ecg-eval ls datasets`.")


@dataclass(frozen=True)
class Probe:
    """A small task that the encoder is scored on now and then; the first time before the first step."""

    task: str = _watch("score the encoder on this task now and then", flags=("--probe-task",), metavar="TASK")
    every: int = _watch("steps between probes (default: {default})", 500, flags=("--probe-every",), metavar="N")
    data_root: str = _watch("data of the probe (default: --data-root)", "", flags=("--probe-data-root",), metavar="DIR")
    mode: str = _watch("linear or frozen (default: {default})", "linear", flags=("--probe-mode",), metavar="MODE")
    epochs: int = _watch("epochs of the head (default: {default})", 20, flags=("--probe-epochs",), metavar="N")
    limit: int | None = _watch("records per split (default: {default})", 1000, flags=("--probe-limit",), metavar="N")
    include: tuple[Path, ...] = _watch("task file for the probe; repeatable", (), metavar="FILE")
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
        # Built once for its checks, so that a probe that cannot run is refused before the first step.
        self.options(Path("encoder"), Path("results"))

    @property
    def names(self) -> dict[str, Any]:
        """What a line of the log says of the probe: points of others are not of its curve."""
        return {"task": self.task, "mode": self.mode, "epochs": self.epochs}

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
            # No tables on disk: the encoder of a probe is scored once and gone.
            "cache_size": 0.0,
            **more,
        }
        return RunOptions(**given if self.cache_dir is None else {**given, "cache_dir": self.cache_dir})


@dataclass(frozen=True)
class PretrainOptions:
    """What one call is asked to do, besides the numbers.

    Attributes:
        output: folder of the run.
        model: architecture, where training starts from random weights.
        settings: changes to the architecture's configuration.
        init: weights to continue from, instead of an architecture: a folder, a short name, a hub id, a file.
        device: "cpu", "cuda", "mps"; None takes what there is.
        overwrite: discard what a run of other settings left in the folder.
        scale_output: scale the features of the finished model; the checkpoints stay as they were trained.
        track: names of trackers.
        probe: a small task to be scored now and then.
    """

    output: Path = _what("folder of the run", metavar="DIR", required=True)
    model: str = _what("ecg-cpc (default) or ecg-cpc-tiny, from scratch", "ecg-cpc", metavar="M")
    settings: Mapping[str, Any] = _what(
        "change the architecture, e.g. hidden_size=128; repeatable",
        factory=dict,
        flags=("--set",),
        repeated=True,
        parse=parse_settings,
        metavar="KEY=VALUE",
    )
    init: str | None = _what(
        "continue from weights: a folder, a short name, a hub id, or the authors' file", None, metavar="M"
    )
    device: str | None = _what("cpu, cuda, mps (default: what there is)", None, metavar="D")
    overwrite: bool = _what("discard what is in the folder", False)
    scale_output: bool = _what("scale the features of the finished model to a standard deviation of 1", False)
    track: tuple[str, ...] = _watch("tensorboard or trackio, if installed; repeatable", (), metavar="T")
    probe: Probe | None = None
