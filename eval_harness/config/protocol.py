"""The numbers that decide a score, in one place.

Protocol `paper` is what the published rows of arXiv 2509.25095 were made with. A run that changes any of them
lists the change in its result and shows it beside the score. Protocol `fast` differs in one rule: the windows that
evaluation uses also train the head, one drawn per record and epoch, so that a fixed encoder encodes each window once.

Mode `post_train` (arXiv 2509.12991) has numbers of its own, `PostTraining`. Stage 1, "preview linear probing", trains a
new linear head on the fixed encoder; stage 2 fine-tunes everything with stochastic depth, starting from that head. The
body of the paper gives no numbers that could be checked; the defaults are those of a public re-implementation where it
has one (docs/post_training.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.spelling import looked_up, registered
from ecg_hub.utils.yaml import read_mapping
from eval_harness.config.fields import kind_of, option, options_of, wrong_choice

MODES = {
    "linear": "encoder fixed; mean over tokens, then a linear layer",
    "frozen": "encoder fixed; learned-query attention pooling (16 heads), then a linear layer",
    "finetune": "all weights trained; layer-wise rates 1 / 0.1 / 0.01 for head / late / early layers",
    "scratch": "all weights trained from random initialisation, one rate (the supervised baselines)",
    "post_train": "a head on the fixed encoder, then all weights with stochastic depth (arXiv 2509.12991)",
    "published_head": "nothing trained: the head of the authors, on the labels of a task that its outputs stand for",
}
FROZEN_MODES = frozenset({"linear", "frozen"})
"""Modes that train a head and leave the encoder as it is."""
PUBLISHED_HEAD = "published_head"
"""The mode that trains nothing."""
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
"""Numbers that decide no score of mode `post_train` -> its own settings instead (`PostTraining`)."""
OF_TRAINING = (*NOT_OF_POST_TRAIN, "train_windows")
"""Numbers that decide no score where nothing is trained."""

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
ABSENT = ("none", "null", "")


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
        """The numbers that count in a mode: those that decide nothing in it are the published ones."""
        idle: dict[str, Iterable[str]] = {POST_TRAIN: NOT_OF_POST_TRAIN, PUBLISHED_HEAD: OF_TRAINING}
        base = PROTOCOLS[self.name]
        return dataclasses.replace(self, **{name: getattr(base, name) for name in idle.get(mode, ())})

    def as_dict(self) -> dict[str, Any]:
        """All fields, for run.json and the fingerprint."""
        return dataclasses.asdict(self)


PROTOCOLS = {"paper": Protocol(), "fast": Protocol(name="fast", train_windows="consecutive")}


def protocol(name: str = "paper", **changes: Any) -> Protocol:
    """The protocol of that name with some numbers changed."""
    base = looked_up("protocol", name, PROTOCOLS)
    return dataclasses.replace(base, **{key: value for key, value in changes.items() if value is not None})


def check_mode(mode: str) -> str:
    """Return the mode as it is registered, or raise UnknownNameError with a suggestion."""
    return registered("mode", mode, MODES, "See `ecg-eval ls modes`.")


@dataclass(frozen=True)
class PostTraining:
    """Every number of mode `post_train`; rates are those of AdamW, epochs are passes over the training records."""

    preview: bool = option("stage 1 at all; false fine-tunes from a fresh head", True)
    pretrained: bool = option("the encoder's own weights; false draws them anew from the seed", True)
    batch_size: int = option("training windows per step of both stages, over all processes", 256)
    pos_weight: str | None = option(
        "balanced weighs the positives of a label by negatives/positives of the training records",
        None,
        choices=("balanced",),
    )
    stage1_epochs: int = option("epochs of the head", 30)
    stage1_learning_rate: float = option("rate of the head", 5e-3)
    stage1_weight_decay: float = option("weight decay of the head", 0.1)
    stage1_schedule: str = option("rate over the epochs", "constant", choices=("constant", "cosine", "plateau"))
    stage1_min_learning_rate: float = option("where the cosine ends, and below which no plateau leads", 0.0)
    stage1_plateau_factor: float = option("rate after a plateau of the validation score", 0.5)
    stage1_plateau_patience: int = option("epochs without a better score that make a plateau", 3)
    stage1_dropout: float = option("dropout of the head's input", 0.05)
    stage1_start: str = option("the head that stage 2 starts from, by validation", "best", choices=("best", "last"))
    stage2_epochs: int = option("epochs of all weights", 30)
    stage2_learning_rate: float = option("rate of the last layers", 5e-4)
    stage2_min_learning_rate: float = option("where the cosine over the epochs ends", 1e-5)
    stage2_weight_decay: float = option("weight decay of every parameter", 0.05)
    stage2_warmup_epochs: int = option("epochs in which the rate rises to its full value", 0)
    stage2_layer_decay: float = option("rate of a residual block relative to the next one; 1 is off", 1.0)
    stage2_group_factor: float = option(
        "rate of the late layers relative to the last ones, its square for the early layers; 1 is off", 1.0
    )
    stage2_head_rate_scale: float = option("rate of the head relative to the last layers", 1.0)
    stage2_dropout: float = option("dropout of the head's input", 0.05)
    stage2_grad_clip: float | None = option("largest norm of all gradients together", None)
    stage2_label_smoothing: float = option("targets are drawn this far towards one half, of the whole way", 0.0)
    stage2_ema: float | None = option("decay of averaged weights, which are scored then", None)
    depth_rate: float = option("stochastic depth of stage 2: share of dropped residual branches; 0 is off", 0.5)
    depth_schedule: str = option("from 0 at the first block, or alike in all", "linear", choices=("linear", "constant"))
    depth_mode: str = option("each sample by itself, or the whole batch", "row", choices=("row", "batch"))

    def __post_init__(self) -> None:
        """Refuse values that cannot make a run."""
        wrong = wrong_choice(self)
        if wrong is not None:
            raise unknown_name(f"value of {wrong.name}", getattr(self, wrong.name), wrong.metadata["choices"])
        for name in ("batch_size", "stage1_epochs", "stage2_epochs", "stage1_plateau_patience"):
            self._demand(name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("stage1_learning_rate", "stage2_learning_rate", "stage2_head_rate_scale"):
            self._demand(name, getattr(self, name) > 0, "must be above 0")
        for name in ("stage1_weight_decay", "stage2_weight_decay", "stage2_warmup_epochs"):
            self._demand(name, getattr(self, name) >= 0, "must not be negative")
        # A least rate above the full one would make the schedule rise.
        for stage in (1, 2):
            least, rate = f"stage{stage}_min_learning_rate", getattr(self, f"stage{stage}_learning_rate")
            self._demand(least, 0 <= getattr(self, least) <= rate, f"must lie between 0 and the rate {rate!r}")
        for name in ("stage1_dropout", "stage2_dropout", "depth_rate", "stage2_label_smoothing"):
            self._demand(name, 0 <= getattr(self, name) < 1, "must be at least 0 and below 1")
        for name in ("stage2_layer_decay", "stage2_group_factor", "stage1_plateau_factor"):
            self._demand(name, 0 < getattr(self, name) <= 1, "must be above 0 and at most 1")
        clip, decay = self.stage2_grad_clip, self.stage2_ema
        self._demand("stage2_grad_clip", clip is None or clip > 0, "must be above 0, or none")
        self._demand("stage2_ema", decay is None or 0 < decay < 1, "must lie between 0 and 1, or be none")
        # Warm-up over all epochs would never reach the rate that the result states.
        late = self.stage2_warmup_epochs >= self.stage2_epochs
        self._demand("stage2_warmup_epochs", not late, f"must be fewer than the {self.stage2_epochs} epochs of stage 2")
        both = self.stage2_layer_decay != 1 and self.stage2_group_factor != 1
        self._demand("stage2_layer_decay", not both, "goes with stage2_group_factor=1: one rule sets the layers' rates")

    def _demand(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise InputError(f"{name} is {getattr(self, name)!r}: it {what}.")

    def as_dict(self) -> dict[str, Any]:
        """All settings, for run.json, the history and the fingerprint."""
        return dataclasses.asdict(self)

    def changes(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as a result lists them: `post_train.stage2_epochs`: 5."""
        return {f"post_train.{name}": value for name, value in self.as_dict().items() if value != KNOBS[name].default}


KNOBS = {item.name: item for item in options_of(PostTraining)}


def post_training(given: Mapping[str, Any]) -> PostTraining:
    """The settings with some changed; texts are turned into the type of their setting."""
    for name in given:
        if name not in KNOBS:
            raise unknown_name("setting of post_train", name, KNOBS, "See docs/post_training.md.")
    return PostTraining(**{name: _value(name, value) for name, value in given.items()})


def parse_post_training(written: str | Iterable[Any] | Mapping[str, Any]) -> PostTraining:
    """The settings from the command line or a configuration: KEY=VALUE, files, or a mapping."""
    if isinstance(written, Mapping):
        return post_training(_flat(written))
    given: dict[str, Any] = {}
    for setting in [written] if isinstance(written, str) else written:
        key, sign, value = str(setting).partition("=")
        if sign:
            given[key.strip().replace(".", "_").replace("-", "_")] = value.strip()
        else:
            # In the order given, so that what follows a file changes what it says.
            given |= _flat(_read(Path(key).expanduser()))
    return post_training(given)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_mapping(path, "stage2_epochs: 10")
    except InputError as error:
        raise InputError(
            f"--post-train {str(path)!r} is neither KEY=VALUE nor a YAML file that can be read: {error}"
        ) from error


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        flat |= {f"{name}_{k}": v for k, v in _flat(value).items()} if isinstance(value, Mapping) else {name: value}
    return flat


def _value(name: str, value: Any) -> Any:
    kind, text = kind_of(PostTraining, name), str(value).strip()
    if kind.optional and text.lower() in ABSENT:
        return None
    try:
        if kind.type is bool:
            # bool("false") is True; index raises ValueError for any other word.
            return (YES + NO).index(text.lower()) < len(YES)
        # Through float, since YAML and people write whole numbers as 1e2 or 30.0.
        if kind.type is int and float(text) != int(float(text)):
            raise ValueError(text)
        return int(float(text)) if kind.type is int else kind.type(text)
    except (ValueError, OverflowError) as error:
        what = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind.type, "a word")
        raise InputError(f"{name} is {value!r}: it must be {what} ({KNOBS[name].metadata['help']}).") from error
