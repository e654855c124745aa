"""What one call of the runner is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.names import home
from eval_harness.post_training import PostTraining
from eval_harness.protocol import NOT_OF_POST_TRAIN, POST_TRAIN, Protocol, check_mode
from eval_harness.subset_options import TrainSubset

DTYPES = ("float32", "bfloat16", "float16")
FEATURE_DTYPES = ("float32", "float16")
PRESETS = ("benchmark", "native")
NO_DATA_ROOT = (
    "No data root was given. Use --data-root DIR (one folder per dataset in it), set $ECG_DATA_ROOT, or try "
    "--data-root mock."
)


@dataclass(frozen=True)
class RunOptions:
    """The settings of `ecg-eval run`, checked.

    Attributes:
        models: short names, folders, hub ids, or `random:<short name>`.
        tasks: task and suite names; wildcards allowed.
        modes: names of MODES; empty means the model's usual ones.
        data_root: folder that holds one folder per dataset, or "mock".
        output: results go to OUTPUT/<model>/<mode>/.
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
    max_loss: float = 0.01
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
