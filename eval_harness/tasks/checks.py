"""Whether tasks fit what they name: their dataset, the run they are read from, the task that supersedes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_hub.errors import InputError, did_you_mean
from eval_harness.tasks.task import TARGETS, Task

if TYPE_CHECKING:
    from dataset_scripts.custom import CustomDataset


def check_references(by_name: Mapping[str, Task], built_in: Mapping[str, Task]) -> None:
    """Runs and successors must exist, and tasks of one run must agree on what is trained."""
    for task in by_name.values():
        if task.superseded_by is not None and task.superseded_by not in by_name:
            hint = did_you_mean(task.superseded_by, by_name)
            raise InputError(f"Task {task.name!r}: superseded_by names the unknown task {task.superseded_by!r}.{hint}")
        sharing = [other for other in by_name.values() if other.run == task.run]
        home = by_name.get(task.run)
        if home is None and len(sharing) == 1:
            raise InputError(
                f"Task {task.name!r}: run {task.run!r} is no task and no other task is read from it."
                f"{did_you_mean(task.run, by_name)} Write run: {task.name} to train for it alone."
            )
        if home is not None and home.run != home.name:
            raise InputError(f"Task {task.name!r}: {task.run!r} is itself read from run {home.run!r}; write that run.")
        _check_agrees(task, home or sharing[0], definition_of(task.run, by_name, built_in))


def _check_agrees(task: Task, reference: Task, definition: Sequence[Task]) -> None:
    for field in ("dataset", "label_column"):
        if getattr(task, field) != getattr(reference, field):
            raise InputError(
                f"Task {task.name!r}: {field} {getattr(task, field)!r} differs from {getattr(reference, field)!r} of "
                f"{reference.name!r}, which is read from the same run {task.run!r}."
            )
    trained = {(label, other.kind) for other in definition for label in other.labels}
    # A label that the run does not train has no column in its predictions to be read from.
    surplus = [label for label in task.labels if (label, task.kind) not in trained]
    chosen = task.targets
    if chosen is not None and not any(_covers(other, task) for other in definition):
        surplus = [f"group {chosen.group}"]
    if surplus:
        raise InputError(
            f"Task {task.name!r}: run {task.run!r} does not train {', '.join(map(repr, surplus[:5]))} as {task.kind}; "
            f"it trains the outputs of {', '.join(repr(other.name) for other in definition)}."
            f"{did_you_mean(surplus[0], [label for label, kind in trained if kind == task.kind])}"
        )


def _covers(trained: Task, wanted: Task) -> bool:
    """Whether a task that defines a run selects all that another one selects."""
    whole, part = trained.targets, wanted.targets
    if whole is None or part is None or (whole.group, trained.kind) != (part.group, wanted.kind):
        return False
    # Without a pattern a group is whole. Whether one pattern lies within another is not decidable by text, so only
    # equal ones count.
    return whole.pattern in (None, part.pattern)


def definition_of(run: str, by_name: Mapping[str, Task], built_in: Mapping[str, Task]) -> list[Task]:
    """The tasks whose labels a run trains: the task of its name, else the built-in ones, else all that share it."""
    if run in by_name:
        return [by_name[run]]
    sharing = [task for task in by_name.values() if task.run == run]
    # A user's task that joins a published run must not change what that run trains.
    return [task for task in sharing if task.name in built_in] or sharing


def check_dataset(path: Path, task: Task, own: Mapping[str, CustomDataset]) -> None:
    """The dataset exists, registered or a user's own, and has what the task reads from it."""
    from dataset_scripts import catalog

    available = {**catalog.datasets(), **own}
    if task.dataset not in available:
        hint = did_you_mean(task.dataset, available)
        raise InputError(
            f"{path}: field 'dataset': {task.dataset!r} is no dataset.{hint} Known: {', '.join(sorted(available))}. "
            "Include the YAML file that describes an archive of your own, or give its path here."
        )
    columns = list(available[task.dataset].label_columns)
    # Own archives have targets only where their description names columns for them.
    regression_alone = task.kind == "regression" and (task.dataset not in own or own[task.dataset].targets)
    if available[task.dataset].target_groups or regression_alone:
        columns.append(TARGETS)
    if task.label_column not in columns:
        raise InputError(
            f"{path}: field 'label_column': dataset {task.dataset!r} has no {task.label_column!r}."
            f"{did_you_mean(task.label_column, columns)} Known: {', '.join(columns) or 'none'}."
        )
    groups = [*available[task.dataset].target_groups, *available[task.dataset].label_columns]
    if task.targets is not None and task.targets.group not in groups:
        raise InputError(
            f"{path}: field 'targets.group': dataset {task.dataset!r} has no group {task.targets.group!r}."
            f"{did_you_mean(task.targets.group, groups)} Known: {', '.join(groups) or 'none'}."
        )
    if task.dataset in own:
        _check_labels(path, task, own[task.dataset])


def _check_labels(path: Path, task: Task, dataset: CustomDataset) -> None:
    """Labels of an archive whose description lists them all must be among them."""
    listed = dataset.targets if task.kind == "regression" else dataset.labels
    # None: the description leaves the labels to the files, and the run says what is missing.
    unknown = [label for label in task.labels if label not in listed] if listed is not None else []
    if unknown:
        raise InputError(
            f"{path}: field 'labels': dataset {task.dataset!r} has no {', '.join(map(repr, unknown))}."
            f"{did_you_mean(unknown[0], listed or ())} Known: {', '.join(listed or ()) or 'none'}."
        )
