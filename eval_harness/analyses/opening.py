"""Opening datasets, splits and devices outside of a training run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import DataError, InputError
from ecg_hub.names import home
from ecg_hub.windows import window_length
from eval_harness.data import RunData, Split, make_split
from eval_harness.options import RunOptions
from eval_harness.records import SPLITS, Datasets


def data_options(
    models: Sequence[str], data_root: str, include: Sequence[Path] = (), cache_dir: Path | None = None, **others: Any
) -> RunOptions:
    """Options of a runner that is only asked for data and a device: checked as those of `ecg-eval run` are."""
    return RunOptions(
        models=tuple(models),
        tasks=("none",),  # nothing is trained or scored through these options; the name is never looked up
        data_root=data_root,
        include=tuple(include),
        cache_dir=home() if cache_dir is None else cache_dir,
        **others,
    )


def open_split(
    datasets: Datasets, dataset: str, split: str, seconds: float, records: int | None
) -> tuple[RunData, Any]:
    """Open one split of a dataset without targets.

    Args:
        datasets: the prepared datasets.
        dataset: its name.
        split: train, validation or test.
        seconds: records must hold a window of this length.
        records: at most this many, evenly spaced.

    Returns:
        The data, in all three places the same split, and the prepared dataset.

    Raises:
        InputError: no such split.
        DataError: no record is long enough.
    """
    from dataset_scripts.signals import SignalReader

    if split not in SPLITS:
        raise InputError(f"Unknown split {split!r}; allowed: {', '.join(SPLITS)}.")
    prepared = datasets.open(dataset)
    part = prepared.splits[split]
    table = {column: list(part[column]) for column in ("record_id", "patient_id", "age", "sex")}
    targets = np.zeros((len(part), 0), dtype=np.float32)
    length = window_length(seconds, prepared.sampling_rate)
    chosen = make_split(split, SignalReader(part), table, targets, length, records)
    if not len(chosen):
        short = f" ({chosen.short} are shorter than {seconds:g} s)" if chosen.short else ""
        raise DataError(f"The {split} split of {dataset} has no usable record{short}.")
    data = RunData(
        train=chosen, validation=chosen, test=chosen, labels=[], classes=0, rate=prepared.sampling_rate,
        fingerprint=prepared.fingerprint, dataset=dataset, deviations=dict(prepared.deviations),
    )  # fmt: skip
    return data, prepared


def part_of(split: Split, positions: Any) -> Split:
    """Return some records of a split, by position."""
    chosen = np.asarray(positions, dtype=np.int64)

    def pick(values: list[Any]) -> list[Any]:
        return [values[int(k)] for k in chosen]

    return dataclasses.replace(
        split,
        rows=split.rows[chosen],
        record_ids=pick(split.record_ids),
        patient_ids=pick(split.patient_ids),
        ages=pick(split.ages),
        sexes=pick(split.sexes),
        targets=split.targets[chosen],
    )


def ids_digest(ids: Sequence[str]) -> str:
    """SHA-256 of record names in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
