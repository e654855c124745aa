"""`evaluate`: what the command line runs, called from Python, with models and tasks that may be objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import yaml

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.utils.files import write_text
from ecg_hub.utils.terminal import quieted
from eval_harness.api.results import OWN_TASKS, Results, StrPath, named_by_keyword
from eval_harness.config.options import PREFIX, RunOptions
from eval_harness.config.protocol import DEFAULT_MODES
from eval_harness.config.reading import options_from
from eval_harness.tasks.registry import tasks as known_tasks
from eval_harness.tasks.registry import validate
from eval_harness.tasks.task import Task, read_task

if TYPE_CHECKING:
    from eval_harness.models.loading import LoadedModel

Model: TypeAlias = Any
"""A name, folder, hub id, PreTrainedModel, nn.Module, object with `encode`, or (model, ECGFeatureExtractor)."""


class Settings(TypedDict, total=False):
    """Further keywords of `evaluate`: options of the command line, and every number of the protocol."""

    preset: str
    separate: bool
    train_fraction: float | str
    dtype: str
    micro_batch: int
    shard: str
    num_workers: int
    num_proc: int
    cache_dir: StrPath
    cache_size: float
    feature_dtype: str
    max_unreadable: float
    save_model: bool
    download: bool
    post_train: Mapping[str, Any]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    layer_rate_factor: float
    attention_heads: int
    min_count: int
    resamples: int
    confidence: float
    resample_unit: str
    train_windows: str


@named_by_keyword()
def evaluate(
    model: Model | Sequence[Model] | Mapping[str, Model],
    tasks: str | Task | Sequence[str | Task],
    *,
    modes: str | Sequence[str] | None = None,
    protocol: str = "paper",
    data_root: StrPath | None = None,
    output: StrPath = "results",
    limit: int | None = None,
    seed: int | Sequence[int] = 0,
    include: StrPath | Iterable[StrPath] = (),
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    raise_errors: bool = False,
    **settings: Unpack[Settings],
) -> Results:
    """Score models on tasks: the run of `ecg-eval`, with its folders, fingerprints and numbers.

    A call that is repeated continues what is in `output`, and of a finished run it only reads the results.

    Args:
        model: one or several of: a name ("ecg-cpc", "random:ecg-cpc-tiny", "trivial"), a folder, a hub id; a
            PreTrainedModel of this hub; any nn.Module (its `encode`, else its `forward`) or object with `encode`, with
            `sampling_rate` in Hz and `input_seconds`; a pair (model, ECGFeatureExtractor). Objects are called by their
            class; a dict {"my name": model} calls them otherwise. Yours is copied, never changed.
        tasks: names, suites or patterns, for example "ptbxl_super" or "all"; a Task, also one made in Python.
        modes: "linear", "frozen", "finetune", "scratch", "post_train", "published_head"; None takes the usual ones of
            a model, of an object "linear" and "frozen".
        protocol: "paper" or "fast".
        data_root: holds a folder per dataset; "mock" simulates them; None takes $ECG_DATA_ROOT, else
            $ECG_HUB_HOME/data.
        output: results go to OUTPUT/MODEL/MODE.
        limit: at most so many records per split, evenly spaced.
        seed: one or several; several give OUTPUT/MODEL/MODE/seed_N.
        include: your own task files or folders of them.
        device: "cpu", "cuda" or "mps"; None takes what there is.
        overwrite: discard results in `output` that were made with other settings.
        quiet: show no progress bars.
        raise_errors: raise the first failure, with its traceback; else it is a row with a reason and the next run is
            done.
        **settings: numbers of the protocol (`epochs=5`), which are listed as deviations, and further options of
            `ecg-eval run`: see `Settings`.

    Returns:
        Results, one for each model, mode, seed and task. Of several processes the first holds them.

    Raises:
        UnknownNameError: no such model, task, mode or keyword, with suggestions.
        InputError: a value that does not fit, or an object that is no model.
        ResultError: `output` holds results of other settings.

    Example:
        >>> import tempfile
        >>> from dataset_scripts.mock import mock_root
        >>> folder = tempfile.TemporaryDirectory()
        >>> paths = {"output": f"{folder.name}/results", "cache_dir": folder.name}
        >>> paths["data_root"] = mock_root(folder.name, "ptb-xl", records=120)  # 120 simulated records
        >>> results = evaluate("random:ecg-cpc-tiny", "ptbxl_super", modes="linear", epochs=1, quiet=True, **paths)
        >>> results.to_frame()[["model", "mode", "task", "status"]]
                         model    mode         task status
        0  random:ecg-cpc-tiny  linear  ptbxl_super   done
        >>> evaluate("random:ecg-cpc-tiny", "ptbxl_supper", **paths)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.UnknownNameError: Unknown task or suite 'ptbxl_supper'. Did you mean 'ptbxl_super'...
        >>> folder.cleanup()
    """
    given = {
        "protocol": protocol,
        "mode": modes,
        "data_root": data_root,
        "output": output,
        "limit": limit,
        "seed": seed,
        "device": device,
        "overwrite": overwrite,
        **known_settings(settings),
    }
    models = named_models(model)
    files = [Path(include)] if isinstance(include, str | os.PathLike) else [Path(path) for path in include]
    names, own = named_tasks(tasks, files, Path(output))
    given |= {"model": list(models), "tasks": names, "include": [*files, *own]}
    options = options_from({name: value for name, value in given.items() if value is not None})
    return _run(options, models, quiet, raise_errors)


def _run(options: RunOptions, models: Mapping[str, Model], quiet: bool, raise_errors: bool) -> Results:
    """Plan, load what is in memory, run."""
    from eval_harness.runner.plan import plan

    # Planned before anything heavy is loaded: a name that does not exist is told at once.
    jobs = plan(options)
    objects = {name: made for name, made in models.items() if made is not None}
    refuse_scratch(options, objects)
    from eval_harness.runner.run import evaluate as run

    with quieted() if quiet else nullcontext():
        results = run(
            options,
            quiet,
            raise_errors=raise_errors,
            held=held_models(objects, options.preset),
            command=["eval_harness.evaluate", f"model={list(options.models)}", f"tasks={list(options.tasks)}"],
        )
    folders = [job.folder for job in jobs for _ in job.tasks]
    # Of several processes the first one writes and holds the results.
    complete = len(results) == len(folders)
    return Results(results, folders, options.output, options.include) if complete else Results([], [], options.output)


def known_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the further keywords, or refuse one that does not exist."""
    for name in settings:
        if name not in Settings.__annotations__:
            raise unknown_name("keyword", name, KEYWORDS, "They are the options of `ecg-eval run --help`.")
    return dict(settings)


KEYWORDS = (
    "model", "tasks", "modes", "protocol", "data_root", "output", "limit", "seed", "include", "device", "overwrite",
    "quiet", "raise_errors", *Settings.__annotations__,
)  # fmt: skip


def named_models(model: Any) -> dict[str, Any]:
    """Return what was given by name: None for what has its name already, else the object."""
    if isinstance(model, Mapping):
        pairs = [(_object_name(key, value), value) for key, value in model.items()]
    else:
        pairs = [_named(one) for one in (model if _is_several(model) else [model])]
    named: dict[str, Any] = {}
    for name, made in pairs:
        if made is not None and name in named:
            raise InputError(
                f"Two models are called {name!r}; give a dict that names them, for example {{'first': one, 'second': "
                "other}."
            )
        named[name] = made
    return named


def _is_several(model: Any) -> bool:
    from eval_harness.models.objects import is_pair

    return isinstance(model, list | tuple) and not is_pair(model)


def _named(model: Any) -> tuple[str, Any]:
    if isinstance(model, str | os.PathLike):
        return os.fspath(model), None
    made = model[0] if isinstance(model, tuple) else model
    # With the prefix of Python objects, so that no object passes for a model of the catalogue by its class's name.
    return PREFIX + (made if isinstance(made, type) else type(made)).__name__, model


def _object_name(key: Any, value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        raise InputError(
            f"{os.fspath(value)!r} has its name already; a dict names objects, a list takes names and objects."
        )
    if not isinstance(key, str) or not key.strip() or set(key) & set(",/\\:"):
        raise InputError(f"{key!r} cannot name a model: a name is a text without comma, colon and slash.")
    return PREFIX + key


def refuse_scratch(options: RunOptions, objects: Mapping[str, Any]) -> None:
    """Refuse to train an object from scratch: nobody knows how its weights are drawn."""
    if objects and "scratch" in options.modes:
        raise InputError(
            f"Mode 'scratch' draws the weights of a registered architecture; {next(iter(objects))!r} is an object. Its "
            f"own weights are trained in mode 'finetune'; usual modes: {', '.join(DEFAULT_MODES)}."
        )


def held_models(objects: Mapping[str, Any], preset: str) -> dict[str, LoadedModel]:
    """Load what is in memory: an object that is no model is refused before anything runs."""
    if not objects:
        return {}
    from eval_harness.models.objects import load_object

    return {name: load_object(made, name, preset) for name, made in objects.items()}


def named_tasks(
    tasks: str | Task | Sequence[str | Task], include: Sequence[Path], output: Path
) -> tuple[list[str], list[Path]]:
    """Return the names of the tasks, and the files written for those that are in memory alone."""
    given = [tasks] if isinstance(tasks, str | Task) else list(tasks)
    known = known_tasks(include)
    names, files = [], []
    for task in given:
        # One that is equal to a known task needs no file, which would define it a second time.
        if isinstance(task, Task) and known.get(task.name) != task:
            files.append(write_task(task, output / OWN_TASKS / f"{task.name}.yaml", include))
        names.append(task.name if isinstance(task, Task) else task)
    return names, files


def write_task(task: Task, path: Path, include: Sequence[Path]) -> Path:
    """Write a task beside the results, where whoever compares or scores again finds its labels."""
    if path.is_file() and (stored := read_task(path)) != task and stored.version == task.version:
        raise InputError(
            f"{str(path)!r} defines task {task.name!r} otherwise, and results under one name and version must mean one "
            "thing: raise the version of yours, rename it, or choose another output."
        )
    content = task.model_dump(mode="json", exclude_defaults=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    try:
        validate([path, *include])
    except InputError:
        path.unlink()  # every later call would find it there
        raise
    return path
