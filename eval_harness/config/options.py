"""What one call of the runner is asked to do; importable without torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.names import home
from ecg_hub.utils.renamed import renamed_argument
from eval_harness.config.post_training import PostTraining
from eval_harness.config.protocol import NOT_OF_POST_TRAIN, POST_TRAIN, Protocol, check_mode

PREFIX = "python:"
TRIVIAL = "trivial"
"""The baseline without an encoder."""

FORM = "python:FILE.py:NAME or python:MODULE:NAME"


def is_own(name: str) -> bool:
    """Whether a model name is a Python object."""
    return name.startswith(PREFIX)


@dataclass(frozen=True)
class TrainSubset:
    """Which part of the training records a run sees.

    Attributes:
        fraction: share of the training records, above 0, at most 1.
        seed: of the draw; 0 draws the published records.
        nested: whether smaller subsets lie in the larger ones of the same seed.
        one_record_per_patient: keep one record of each patient first, as published, also with fraction 1.
        validation: whether the validation records are reduced alike, as published; the test records never are.
        labelled_only: leave out records with none of the run's labels, in all three splits.
    """

    fraction: float = 1.0
    seed: int = 0
    nested: bool = False
    one_record_per_patient: bool = True
    validation: bool = True
    labelled_only: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 < self.fraction <= 1:
            raise InputError(f"The fraction of training records is {self.fraction!r}: above 0, at most 1, e.g. 1/8.")
        if self.seed < 0:
            raise InputError(f"The seed of a subset is {self.seed!r}: it must not be negative.")

    def as_dict(self) -> dict[str, Any]:
        """All fields, for run.json."""
        return dataclasses.asdict(self)

    def deviations(self) -> dict[str, Any]:
        """How a result lists them: the fraction always, the rest where it is not as published."""
        plain = {f.name: f.default for f in dataclasses.fields(self) if f.name != "fraction"}
        changed = {f"subset_{name}": value for name, value in self.as_dict().items() if plain.get(name, value) != value}
        return {"train_fraction": self.fraction, **changed}


def parse_fraction(text: str) -> float:
    """A share as people write it: "1/8" or "0.125"."""
    above, slash, below = str(text).partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        value = float("nan")
    if not 0 < value <= 1:
        raise InputError(f"{text!r} is no fraction of the training records: write 1, 1/2 ... 1/128, or 0.3.")
    return value


DTYPES = ("float32", "bfloat16", "float16")
FEATURE_DTYPES = ("float32", "float16")
PRESETS = ("benchmark", "native")
NO_DATA_ROOT = (
    "No data root was given. Use --data-root DIR (one folder per dataset in it), set $ECG_DATA_ROOT, or try "
    "--data-root mock."
)


@renamed_argument("max_loss", "max_unreadable")
@dataclass(frozen=True)
class RunOptions:
    """The settings of `ecg-eval run`, checked.

    Attributes:
        models: short names, folders, hub ids, or `random:<short name>`.
        tasks: task and suite names; wildcards allowed.
        modes: names of MODES; empty means the model's usual ones.
        data_root: folder that holds one folder per dataset, or "mock".
        output: results go to OUTPUT/<model>/<mode>/.
        max_unreadable: share of unreadable records that is tolerated.
        limit: at most this many records per split, evenly spaced.
        separate: train tasks that share a published run by themselves.
        micro_batch: windows that go through the model at once, the batch of a step being accumulated; None takes all.
        shard: (i, n) does every n-th job from the i-th on (i from 1); None does all.
        cache_size: GiB of encoded windows that may be kept on disk; 0 keeps pooled features in memory only.
        feature_dtype: of the windows kept: float32, or float16 for half the room.
        post_training: the settings of mode `post_train`.
        train_subset: the part of the training records that is used; None takes all.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    modes: tuple[str, ...] = ()
    preset: str = "benchmark"
    data_root: str = ""
    output: Path = Path("results")
    seeds: tuple[int, ...] = (0,)
    protocol: Protocol = field(default_factory=Protocol)
    device: str | None = None
    dtype: str = "float32"
    micro_batch: int | None = None
    num_workers: int = 0
    num_proc: int | None = None
    limit: int | None = None
    max_unreadable: float = 0.01
    separate: bool = False
    save_model: bool = False
    overwrite: bool = False
    shard: tuple[int, int] | None = None
    include: tuple[Path, ...] = ()
    cache_dir: Path = field(default_factory=home)
    cache_size: float = 20.0
    feature_dtype: str = "float32"
    post_training: PostTraining = field(default_factory=PostTraining)
    train_subset: TrainSubset | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run before anything is loaded."""
        if not self.models:
            raise InputError("No model was given. Example: --model random:ecg-cpc. See `ecg-eval ls models`.")
        if not self.tasks:
            raise InputError("No task was given. Example: --tasks ptbxl_super. See `ecg-eval ls tasks`.")
        for mode in self.modes:
            check_mode(mode)
        self._check_post_training()
        if self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.feature_dtype not in FEATURE_DTYPES:
            raise unknown_name("feature dtype", self.feature_dtype, FEATURE_DTYPES)
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit!r}: it must be at least 1 record per split.")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise InputError(f"micro_batch is {self.micro_batch!r}: it must be at least 1 window.")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise InputError(f"shard is {self.shard!r}: write I/N with I from 1 to N, for example --shard 1/4.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"seeds are {self.seeds!r}: give one or several different numbers from 0 up.")
        if not self.data_root and not self.include:  # a description among the included files names its own folder
            raise InputError(NO_DATA_ROOT)

    def _check_post_training(self) -> None:
        """Refuse settings that would silently decide nothing."""
        if POST_TRAIN not in self.modes and self.modes and self.post_training != PostTraining():
            raise InputError(
                f"--post-train sets mode {POST_TRAIN!r}, which was not asked for; add --mode {POST_TRAIN}."
            )
        idle = [name for name in self.protocol.deviations() if name in NOT_OF_POST_TRAIN]
        if self.modes == (POST_TRAIN,) and idle:
            instead = "; ".join(f"{name}: {NOT_OF_POST_TRAIN[name]}" for name in idle)
            raise InputError(
                f"Mode {POST_TRAIN!r} has settings of its own instead of {', '.join(idle)}: give --post-train "
                f"KEY=VALUE ({instead})."
            )
