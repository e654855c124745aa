"""What one call of the runner will do: a list of jobs, known before anything heavy is loaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_hub.catalog import checkpoints
from ecg_hub.names import UNVERIFIED, entry_of, model_folder, unknown_model
from eval_harness.config.options import TRIVIAL, RunOptions, is_python_object
from eval_harness.config.protocol import DEFAULT_MODES, PUBLISHED_HEAD
from eval_harness.tasks.registry import Run, Task, expand, runs


@dataclass(frozen=True)
class Job:
    """One training run of one model in one mode with one seed, and the tasks read from it.

    Attributes:
        folder: where its results go.
        skip: why it cannot be asked of this model, or None.
        missing: which weights or data it lacks, or None (`eval_harness.runner.preflight`).
    """

    model: str
    mode: str
    seed: int
    run: Run
    tasks: tuple[Task, ...]
    folder: Path
    skip: str | None = None
    missing: str | None = None

    @property
    def title(self) -> str:
        """Model, mode and run in one line."""
        return f"{self.model} {self.mode} {self.run.name} seed {self.seed}"

    @property
    def predictions_path(self) -> Path:
        """Where the predictions of the run lie."""
        return self.folder / "predictions" / f"{self.run.name}.parquet"

    @property
    def model_path(self) -> Path:
        """Where `--save-model` keeps encoder and head."""
        return self.folder / "model" / self.run.name

    @property
    def definitions(self) -> dict[str, str]:
        """The digests of what its tasks score and of what its run trains, for `RunFile.definitions`."""
        return {f"task {task.name}": task.defined for task in self.tasks} | {f"run {self.run.name}": self.run.defined}


def plan(options: RunOptions) -> list[Job]:
    """The jobs in the order they are done: model, mode, seed, run."""
    wanted = runs(expand(options.tasks, options.include), options.include, options.separate)
    # Model outermost: the runner holds one encoder at a time.
    jobs = []
    for model in options.models:
        entry = entry_for(model)
        for mode in options.modes or usual_modes(model, entry):
            for seed in options.seeds:
                folder = result_folder(options, model, mode, seed)
                skip = reason_to_skip(model, entry, mode)
                jobs += [
                    Job(model, mode, seed, run, tasks, folder, reason)
                    for run in wanted
                    for tasks, reason in parts_of(run, model, mode, skip)
                ]
    # Every N-th job, not a block of them: each shard gets its part of the costly modes.
    return jobs if options.shard is None else jobs[options.shard[0] - 1 :: options.shard[1]]


def entry_for(model: str) -> Any:
    """The catalogue entry of a short name; None for a folder or a hub id."""
    if model.startswith("random:"):
        return entry_of(model)
    name = model.removeprefix(UNVERIFIED)
    if name in checkpoints():
        return checkpoints()[name]
    if is_python_object(model) or model == TRIVIAL or Path(name).expanduser().is_dir() or "/" in name:
        return None
    raise unknown_model(name)


def usual_modes(model: str, entry: Any) -> tuple[str, ...]:
    """The modes of a model when none is asked for: `scratch` for what has no published weights.

    A Python object need not have anything to train, so it is only fine-tuned when that is asked for.
    """
    if model == TRIVIAL:
        return ("linear",)
    if is_python_object(model):
        return tuple(mode for mode in DEFAULT_MODES if mode != "finetune")
    return ("scratch",) if entry is not None and entry.weights.kind == "none" else DEFAULT_MODES


def reason_to_skip(model: str, entry: Any, mode: str) -> str | None:
    """Why a mode makes no sense for a model, or None; a user's trained weights under its short name count."""
    if mode == PUBLISHED_HEAD:
        return no_published_head(model, head_entry(model) if entry is None else entry)
    if model == TRIVIAL and mode != "linear":
        return f"{model} is a linear model without an encoder (mode linear)"
    if entry is None or entry.weights.kind != "none" or mode == "scratch" or model.startswith("random:"):
        return None
    if not (model_folder(entry.alias) / "config.json").is_file() and not Path(model).is_dir():
        return f"{model} has no pre-trained weights: it is trained from scratch (mode scratch)"
    return None


def parts_of(run: Run, model: str, mode: str, skip: str | None) -> list[tuple[tuple[Task, ...], str | None]]:
    """The tasks of a run that can be scored in a mode, then those that cannot, each with the reason."""
    head = None if mode != PUBLISHED_HEAD or skip is not None else head_entry(model)
    if head is None:
        return [(tuple(run.tasks), skip)]
    reasons = {task: not_mapped(head, run, task) for task in run.tasks}
    can = tuple(task for task, reason in reasons.items() if reason is None)
    cannot = [((task,), reason) for task, reason in reasons.items() if reason is not None]
    return [(can, None), *cannot] if can else [*cannot]


def head_entry(model: str) -> Any:
    """The catalogue entry whose head a short name or folder has; None of a hub id, which is not asked here."""
    from ecg_hub.catalog import of_config

    config = Path(model).expanduser() / "config.json"
    if not config.is_file():
        return entry_for(model)
    try:
        return of_config(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # told when it is loaded


def not_mapped(entry: Any, run: Run, task: Task) -> str | None:
    """Why no output of a published head stands for a label of a task, or None where one does."""
    from eval_harness.tasks.harmonise import map_head

    # Regression targets and labels that only the data name have no codes.
    labels = task.labels if task.kind == "multi_label_classification" else ()
    if map_head(str(entry.head.vocabulary), entry.labels, run.dataset, labels, run.label_column).outputs:
        return None
    return (
        f"none of the {task.count} labels of {task.name} is mapped to one of the {entry.head.num_labels} of the "
        f"published head of {entry.alias}"
    )


def no_published_head(model: str, entry: Any) -> str | None:
    """Why a model has no head of its authors that can be scored, or None; a hub id tells when it is loaded."""
    if model == TRIVIAL or is_python_object(model) or model.startswith("random:"):
        return f"{model} has no head of its authors (mode {PUBLISHED_HEAD})"
    if entry is None:
        return None
    if entry.head is None:
        return f"{entry.alias} has no published head: its authors give an encoder alone"
    if not entry.keeps_head:
        return f"the published head of {entry.alias} is of a form that no classifier here computes"
    return None if entry.labels else f"the names of the outputs of the published head of {entry.alias} are not known"


def model_slug(model: str) -> str:
    """Folder name of a model: `org__name`, `random__ecg-cpc`; a local folder's last part."""
    # The name of what the path leads to: "." and a link are no names of models.
    if not model.startswith("random:") and Path(model).expanduser().is_dir():
        return Path(model).expanduser().resolve().name
    # A colon is no file name on Windows, and a slash would make a folder of each organisation.
    return model.replace(":", "__").replace("/", "__").replace(os.sep, "__")


def result_folder(options: RunOptions, model: str, mode: str, seed: int) -> Path:
    """OUTPUT/<model>/<mode>, and below it seed_<n> when several seeds are asked for."""
    folder = options.output / model_slug(model) / mode
    return folder if len(options.seeds) == 1 else folder / f"seed_{seed}"
