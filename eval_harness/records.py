"""Opens a dataset for scoring: prepares it once, picks the labels a run is scored on, builds the three splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import DataError
from ecg_hub.windows import window_length
from eval_harness.data import RunData, make_split, refuse_empty
from eval_harness.options import RunOptions
from eval_harness.registry import Run

SPLITS = ("train", "validation", "test")


@dataclass
class Datasets:
    """The prepared datasets of one call of the runner, each prepared on first use."""

    options: RunOptions
    prepared: dict[str, Any] = field(default_factory=dict)

    def open(self, name: str) -> Any:
        """The prepared dataset of that name.

        Raises:
            DataError: its folder is absent, incomplete or too damaged.
        """
        if name not in self.prepared:
            from dataset_scripts.load import prepare

            folder = data_root(self.options, name) / name
            self.prepared[name] = prepare(
                name,
                data_dir=folder,
                cache_dir=self.options.cache_dir / "datasets",
                min_count=self._min_count(folder),
                max_loss=self.options.max_loss,
                num_proc=self.options.num_proc,
            )
        return self.prepared[name]

    def _min_count(self, folder: Path) -> int | None:
        """The threshold asked for, or None: the dataset's own (a mock tree brings one that suits its size)."""
        changed = "min_count" in self.options.protocol.deviations()
        return self.options.protocol.min_count if changed else None


def data_root(options: RunOptions, name: str) -> Path:
    """The folder that holds the dataset folders; a mock tree is written on first use."""
    if options.data_root != "mock":
        return Path(options.data_root).expanduser()
    from dataset_scripts.mock import mock_root

    return mock_root(options.cache_dir, [name])


def open_run(run: Run, datasets: Datasets, seconds: float) -> RunData:
    """The records and targets of one training run.

    Args:
        run: what is trained.
        datasets: the prepared datasets.
        seconds: window length of the model; shorter records are left out.

    Raises:
        DataError: no data, none of the run's labels in it, or an empty split.
    """
    from dataset_scripts.signals import SignalReader

    options, prepared = datasets.options, datasets.open(run.dataset)
    found = prepared.labels[run.label_column]
    wanted = list(run.labels) or list(found)
    scored = [label for label in wanted if label in set(found)]
    if not scored:
        raise DataError(
            f"{run.dataset}: none of the {len(wanted)} labels of run {run.name!r} occurs often enough in this copy "
            f"(--min-count {options.protocol.min_count}). Found: {', '.join(found) or 'none'}."
        )
    length = window_length(seconds, prepared.sampling_rate)
    splits = []
    for name in SPLITS:
        part = prepared.splits[name]
        targets = target_matrix(part, run.label_column, found, scored)
        table = {column: list(part[column]) for column in ("record_id", "patient_id")}
        splits.append(make_split(name, SignalReader(part), table, targets, length, options.limit))
    refuse_empty(splits, run.dataset)
    train, validation, test = splits
    return RunData(
        train=train,
        validation=validation,
        test=test,
        labels=scored,
        classes=len(scored),
        rate=prepared.sampling_rate,
        fingerprint=prepared.fingerprint,
        dataset=run.dataset,
        deviations=data_deviations(prepared, options, [split.short for split in splits]),
    )


def target_matrix(part: Any, column: str, found: list[str], scored: list[str]) -> NDArray[np.float32]:
    """Targets (records, scored labels) of one split: 0 or 1, a repeated label counts once."""
    from dataset_scripts.labels import label_matrix

    return np.ascontiguousarray(label_matrix(part, column)[:, [found.index(label) for label in scored]])


def data_deviations(prepared: Any, options: RunOptions, short: list[int]) -> dict[str, Any]:
    """What differs from the published records: release, thresholds, a limit, records shorter than one window."""
    found = dict(prepared.deviations)
    if options.limit is not None:
        found["limit"] = options.limit
    if any(short):
        found["records_shorter_than_window"] = sum(short)
    return found
