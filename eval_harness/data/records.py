"""Opens a dataset for scoring: prepares it once, picks the labels a run is scored on, builds the three splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_scripts.core.walk import folder_of
from ecg_hub.errors import DataError
from ecg_hub.input.windows import window_length
from ecg_hub.utils.remote import place
from eval_harness.config.options import RunOptions
from eval_harness.data.windows import RunData, make_split, refuse_empty
from eval_harness.tasks.registry import Run, custom_datasets
from eval_harness.tasks.task import TARGETS

SPLITS = ("train", "validation", "test")


@dataclass
class Datasets:
    """The prepared datasets of one call of the runner, each prepared on first use."""

    options: RunOptions
    prepared: dict[str, Any] = field(default_factory=dict)

    def open(self, name: str) -> Any:
        """The prepared dataset of that name."""
        if name not in self.prepared:
            from dataset_scripts.load import prepare

            source, folder = locate(self.options, name)
            self.prepared[name] = prepare(
                source,
                data_dir=folder,
                cache_dir=self.options.cache_dir / "datasets",
                min_count=self._min_count(folder),
                max_unreadable=self.options.max_unreadable,
                num_proc=self.options.num_proc,
            )
        return self.prepared[name]

    def _min_count(self, folder: Path) -> int | None:
        """The threshold asked for, or None: the dataset's own (a mock tree brings one that suits its size)."""
        changed = "min_count" in self.options.protocol.deviations()
        return self.options.protocol.min_count if changed else None


def locate(options: RunOptions, name: str) -> tuple[str, Path]:
    """What `dataset_scripts` is asked for, and the folder of the data, published or a user's own."""
    own = custom_datasets(options.include).get(name)
    if own is None:
        return name, folder_of(name, data_root(options, name))
    root = place(options.data_root) if options.data_root not in ("", "mock") else None
    return str(own.source), own.find_folder(root)


def data_root(options: RunOptions, name: str) -> Path:
    """The folder that holds the dataset folders; a mock tree is written on first use."""
    if options.data_root != "mock":
        return place(options.data_root)
    from dataset_scripts.mock import mock_root

    return mock_root(options.cache_dir, [name])


def open_run(run: Run, datasets: Datasets, seconds: float) -> RunData:
    """The records and targets of one training run; records shorter than a window of `seconds` are left out."""
    from dataset_scripts.reader import SignalReader

    options, prepared = datasets.options, datasets.open(run.dataset)
    groups = label_groups(run, prepared)
    available, classes, values = outputs_in(run, prepared)
    scored = [*classes, *values]
    if not scored:
        least = prepared.deviations.get("min_count", prepared.dataset.thresholds["min_count"])
        raise DataError(
            f"{run.dataset}: none of the {run.count} labels of run {run.name!r} occurs often enough in this copy "
            f"(--min-count {least}). Found: {', '.join(available or prepared.targets) or 'none'}."
        )
    length = window_length(seconds, prepared.sampling_rate)
    splits = []
    for name in SPLITS:
        part = prepared.splits[name]
        if run.label_column == TARGETS:
            targets = value_matrix(part, list(prepared.targets), scored)
        else:
            labels = target_matrix(part, run.label_column, available, classes)
            # Classes first: `RunData.classes` counts the leading outputs.
            targets = np.hstack([labels, value_matrix(part, list(prepared.targets), values)])
        # In one go: each `part[column]` copies the features of all columns.
        table = part.select_columns(["record_id", "patient_id", "age", "sex"])[:]
        splits.append(make_split(name, SignalReader(part), table, targets, length, options.limit))
    refuse_empty(splits, run.dataset)
    train, validation, test = splits
    return RunData(
        train=train,
        validation=validation,
        test=test,
        labels=scored,
        classes=len(classes),
        rate=prepared.sampling_rate,
        fingerprint=prepared.fingerprint,
        dataset=run.dataset,
        deviations=data_deviations(prepared, options, [split.short for split in splits]),
        groups={group: [name for name in names if name in set(scored)] for group, names in groups.items()},
        scales={name: scale for name, scale in prepared.target_scales.items() if name in set(values)},
        means={name: mean for name, mean in prepared.target_means.items() if name in set(values)},
        # A simulated tree or a user's own archive has no release that records could be missing from.
        copy=prepared.copy if prepared.dataset.releases and not prepared.deviations.get("synthetic") else None,
    )


def label_groups(run: Run, prepared: Any) -> dict[str, list[str]]:
    """The groups of names that tasks may select: those of the dataset's targets, and the label column as a whole."""
    column = prepared.labels.get(run.label_column)
    return dict(prepared.target_groups) if column is None else {run.label_column: list(column)}


def outputs_in(run: Run, prepared: Any) -> tuple[list[str], list[str], list[str]]:
    """Return the labels that the data have, and which classes and regression targets of the run are among them.

    Targets are in the order of the dataset's column, labels in the order of the task.
    """
    groups = label_groups(run, prepared)
    classes, values = (run.outputs(regression, groups) for regression in (False, True))
    if run.label_column == TARGETS:
        names = list(prepared.targets)
        wanted_classes, wanted_values = set(classes), set(values)
        return names, [n for n in names if n in wanted_classes], [n for n in names if n in wanted_values]
    names = list(prepared.labels.get(run.label_column, ()))
    # A task that names no labels takes the whole column.
    if not classes and not values:
        classes = names
    targets = set(prepared.targets)
    return names, [name for name in classes if name in set(names)], [name for name in values if name in targets]


def target_matrix(part: Any, column: str, names: list[str], scored: list[str]) -> NDArray[np.float32]:
    """Targets (records, scored labels) of one split: 0 or 1, a repeated label counts once."""
    from dataset_scripts.core.labels import label_matrix

    if not scored:
        return np.empty((len(part), 0), dtype=np.float32)
    return np.ascontiguousarray(label_matrix(part, column)[:, [names.index(label) for label in scored]])


def value_matrix(part: Any, names: list[str], scored: list[str]) -> NDArray[np.float32]:
    """Targets (records, scored targets) of one split, NaN where there is none."""
    if not scored or not len(part):
        return np.empty((len(part), len(scored)), dtype=np.float32)
    # As Arrow: indexing the dataset itself makes a Python object of every number.
    lists = part.with_format("arrow").select_columns([TARGETS])[:][TARGETS].combine_chunks()
    # zero_copy_only=False, because nulls have to become NaN, which needs a copy.
    values: NDArray[np.float32] = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(part), len(names))
    if scored == names:
        return values
    columns = {name: column for column, name in enumerate(names)}
    return np.ascontiguousarray(values[:, [columns[target] for target in scored]])


def data_deviations(prepared: Any, options: RunOptions, short: list[int]) -> dict[str, Any]:
    """What differs from the published records: release, thresholds, a limit, records shorter than one window."""
    deviations = dict(prepared.deviations)
    if options.limit is not None:
        deviations["limit"] = options.limit
    if any(short):
        deviations["records_shorter_than_window"] = sum(short)
    return deviations
