"""What one call of the runner, or of an analysis of its results, is asked to do; importable without torch."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from ecg_hub.catalog import checkpoints
from ecg_hub.errors import InputError, unknown_name
from ecg_hub.home import home
from ecg_hub.names import canonical
from ecg_hub.renamed import renamed_argument
from ecg_hub.spelling import matching, spelt
from ecg_hub.utils.remote import data_root, shown
from eval_harness.config.fields import option, wrong_choice
from eval_harness.config.protocol import (
    KNOBS,
    MODES,
    NOT_OF_POST_TRAIN,
    POST_TRAIN,
    PostTraining,
    Protocol,
    check_mode,
    parse_post_training,
)

PREFIX = "python:"
TRIVIAL = "trivial"
"""The baseline without an encoder."""

_PATTERN = re.compile(r"[*?\[]")
FORM = "python:FILE.py:NAME or python:MODULE:NAME"


def model_name(name: str) -> str:
    """A model's name in the spelling of the catalogue, that of the baseline included."""
    return TRIVIAL if spelt(name, [TRIVIAL]) else canonical(name)


def model_names(name: str) -> tuple[str, ...]:
    """What a name given as a model stands for: itself, or the short names that fit a pattern such as `hubert-ecg-*`."""
    # A path may hold brackets, and is no pattern.
    if not _PATTERN.search(name) or is_python_object(name) or "/" in name or Path(name).expanduser().exists():
        return (model_name(name),)
    found = matching(name, checkpoints())
    if not found:
        raise unknown_name("pattern of models", name, checkpoints(), "See `ecg-hub ls`.")
    return tuple(found)


def is_python_object(name: str) -> bool:
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
        # Its share is always a deviation: the published rows are of all training records.
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


DTYPES = ("float32", "bfloat16", "float16", "auto")
FEATURE_DTYPES = ("float32", "float16")
PRESETS = ("benchmark", "native")
DATA_ROOT_HELP = "one folder per dataset, or `mock` (default: $ECG_DATA_ROOT, else $ECG_HUB_HOME/data)"


def default_data_root() -> str:
    """Where datasets are looked for when nobody says: $ECG_DATA_ROOT, else `data` below $ECG_HUB_HOME."""
    return shown(data_root())


def parse_shard(text: Any) -> tuple[int, int]:
    """Number and count of a share of the jobs: "1/4"."""
    index, _, number = str(text).partition("/")
    try:
        return int(index), int(number)
    except ValueError as error:
        raise InputError(f"shard is {text!r}: write I/N with I from 1 to N, for example --shard 1/4.") from error


def parse_seeds(names: Sequence[str]) -> tuple[int, ...]:
    """Seeds as people write them; none is seed 0."""
    try:
        return tuple(int(name) for name in names) or (0,)
    except ValueError as error:
        raise InputError(f"seeds are {','.join(names)!r}: give whole numbers, for example --seeds 0,1,2.") from error


def parse_subset(text: Any) -> TrainSubset:
    """The part of the training records of `--train-fraction`."""
    return TrainSubset(parse_fraction(str(text)))


WHAT, HOW = "what to score", "how to run"
NUMBERS = "protocol numbers (every change is listed in the result)"
_what, _how = functools.partial(option, group=WHAT), functools.partial(option, group=HOW)


@renamed_argument("max_loss", "max_unreadable")
@dataclass(frozen=True)
class RunOptions:
    """The settings of `ecg-eval run`, checked: each field is an option, and its text says what it is.

    Attributes:
        models: short names, folders, hub ids, or `random:<short name>`.
        modes: names of MODES; empty means the model's usual ones.
        shard: (i, n) does every n-th job from the i-th on (i from 1); None does all.
        micro_batch: windows that go through the model at once, the batch of a step being accumulated; None takes all.
        cache_size: GiB of encoded windows that may be kept on disk; 0 keeps pooled features in memory only.
        train_subset: the part of the training records that is used; None takes all.
    """

    models: tuple[str, ...] = _what(
        "short name or pattern, folder, hub id or random:NAME", flags=("--model",), metavar="M"
    )
    tasks: tuple[str, ...] = _what("tasks and suites; wildcards allowed", metavar="T")
    modes: tuple[str, ...] = _what(", ".join(MODES), (), flags=("--mode",), metavar="MODE")
    preset: str = _what("what the encoder is fed (default: {default})", "benchmark", choices=PRESETS)
    data_root: str = _what(DATA_ROOT_HELP, factory=default_data_root, metavar="DIR")
    include: tuple[Path, ...] = _what("your own task files or folders of them", (), metavar="PATH")
    separate: bool = _what("train tasks of a joint run by themselves", False)
    train_subset: TrainSubset | None = _what(
        "stratified part of the training records, e.g. 1/8",
        None,
        flags=("--train-fraction",),
        metavar="F",
        parse=parse_subset,
    )
    download: bool = _what("first fetch the open datasets that are missing below the data root", False)
    limit: int | None = _what("at most N records per split, evenly spaced", None, metavar="N")
    output: Path = _how("results go to DIR/MODEL/MODE (default: {default})", Path("results"), metavar="DIR")
    seeds: tuple[int, ...] = _how(
        "one or several seeds", (0,), flags=("--seed", "--seeds"), metavar="N", parse=parse_seeds
    )
    device: str | None = _how("cpu, cuda, mps (default: what there is)", None, metavar="D")
    dtype: str = _how(
        "precision of training and scoring; auto is bfloat16 where hardware has it (default: {default})",
        "float32",
        choices=DTYPES,
    )
    micro_batch: int | None = _how("windows at once; a batch is accumulated", None, metavar="N")
    shard: tuple[int, int] | None = _how(
        "do every N-th run from the I-th on, as one of N jobs", None, metavar="I/N", parse=parse_shard
    )
    num_workers: int = _how("processes that read windows (default: {default})", 0, metavar="N")
    num_proc: int | None = _how("processes that prepare a dataset (default: 1)", None, metavar="N")
    cache_dir: Path = _how("prepared data (default: $ECG_HUB_HOME)", factory=home, metavar="DIR")
    cache_size: float = _how("disk for encoded windows (default: {default:g})", 20.0, metavar="GIB")
    feature_dtype: str = _how("precision of those (default: {default})", "float32", choices=FEATURE_DTYPES)
    max_unreadable: float = _how(
        "unreadable records tolerated (default: {default})", 0.01, metavar="SHARE", old_flag="--max-loss"
    )
    save_model: bool = _how("keep encoder and head as a loadable folder", False)
    overwrite: bool = _how("discard results made with other settings", False)
    protocol: Protocol = field(default_factory=Protocol)
    post_training: PostTraining = option(
        f"setting of mode post_train, or a YAML file of them: {', '.join(KNOBS)}",
        factory=PostTraining,
        group=NUMBERS,
        flags=("--post-train",),
        metavar="KEY=VALUE",
        parse=parse_post_training,
        repeated=True,
    )

    def __post_init__(self) -> None:
        """Write names as they are registered, and refuse what cannot run before anything is loaded."""
        if not self.models:
            raise InputError("No model was given. Example: --model random:ecg-cpc. See `ecg-eval ls models`.")
        if not self.tasks:
            raise InputError("No task was given. Example: --tasks ptbxl_super. See `ecg-eval ls tasks`.")
        # Past the frozen class, whose making this still is.
        object.__setattr__(
            self, "models", tuple(dict.fromkeys(found for name in self.models for found in model_names(name)))
        )
        object.__setattr__(self, "modes", tuple(check_mode(mode) for mode in self.modes))
        self._check_post_training()
        wrong = wrong_choice(self)
        if wrong is not None:
            raise unknown_name(wrong.name.replace("_", " "), getattr(self, wrong.name), wrong.metadata["choices"])
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit!r}: it must be at least 1 record per split.")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise InputError(f"micro_batch is {self.micro_batch!r}: it must be at least 1 window.")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise InputError(f"shard is {self.shard!r}: write I/N with I from 1 to N, for example --shard 1/4.")
        # numpy takes no negative seed; the same seed twice would be the same folder twice.
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"seeds are {self.seeds!r}: give one or several different numbers from 0 up.")
        if not self.data_root:  # so that every caller may pass on what it was not given
            object.__setattr__(self, "data_root", default_data_root())
        if self.download and self.data_root == "mock":
            raise InputError(
                "--download fetches real records and --data-root mock simulates them: leave one of them out."
            )

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


@dataclass(frozen=True)
class ReopenOptions:
    """What an analysis of the trained heads of a finished run is asked, besides its own settings.

    Attributes:
        folder: a result folder of `ecg-eval run --save-model`.
        output: where results go; None is a folder below that.
        records: at most this many records, evenly spaced.
        resamples: bootstrap replicates; None takes those of the run.
        model: where the encoder is, of a run whose encoder is not the hub's; None takes what the run names.
    """

    folder: Path
    _: KW_ONLY
    output: Path | None = None
    records: int | None = None
    resamples: int | None = None
    quiet: bool = False
    data_root: str = option("the datasets, or `mock` (default: as of `run`; mock runs need none)", "", metavar="DIR")
    model: str | None = option("the run's encoder, where it is a Python object or has moved", None, metavar="M")
    device: str | None = option("cpu, cuda, mps (default: what there is)", None, metavar="D")
    num_workers: int | None = option("processes that read (default: 0)", None, metavar="N")
    cache_dir: Path | None = option("prepared data (default: $ECG_HUB_HOME)", None, metavar="DIR")
    include: tuple[Path, ...] = option("your own task files or folders of them", (), metavar="PATH")
    overwrite: bool = option("discard a result made with other settings", False)

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        if self.records is not None and self.records < 1:
            raise InputError(f"records is {self.records!r}: it must be at least 1.")
        if self.resamples is not None and self.resamples < 1:
            raise InputError(f"resamples is {self.resamples!r}: it must be at least 1.")

    @property
    def open_options(self) -> dict[str, Any]:
        """What decides how a run is opened; what is None is as in the run."""
        names = ("data_root", "include", "model", "device", "num_workers", "cache_dir")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}
