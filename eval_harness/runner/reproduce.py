"""Makes a run again from its run file alone, and compares what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_hub.errors import InputError, ResultError
from eval_harness.config.options import RunOptions, TrainSubset
from eval_harness.config.protocol import PostTraining, Protocol
from eval_harness.metrics.registry import MACRO_AUROC, main_of
from eval_harness.results.folders import ResultFolder
from eval_harness.results.runfile import RunFile

TOLERANCE = 1e-5
"""Largest difference of a prediction that other hardware or another number of processes may make."""


@dataclass(frozen=True)
class Repeat:
    """One task made again.

    Attributes:
        state: "identical" (same bytes), "equal" (predictions within 1e-5), "differs", or "not made".
        largest: the largest difference of a prediction.
        point, again: the main metric in the run and made again.
        reason: why it was not made, or what differs.
    """

    task: str
    state: str
    largest: float | None = None
    point: float | None = None
    again: float | None = None
    reason: str = ""


def options_of(run: RunFile, data_root: str, output: Path, **others: Any) -> RunOptions:
    """Return the options that make a run again; `others` are fields that decide no score (device, workers, cache).

    A run on mock data needs no `data_root`; "" takes the default one.
    """
    settings = run.settings
    mock = bool(settings.data.get("mock"))
    try:
        values: Any = settings.protocol_values
        protocol = Protocol(**values)
        stages: Any = settings.post_training or {}
        post_training = PostTraining(**stages)
        part: Any = settings.train_subset
        subset = None if part is None else TrainSubset(**part)
    # A field that this version does not know, from a run file of a newer one.
    except TypeError as error:
        raise InputError(f"The run was made with protocol settings that this version does not know: {error}.") from None
    limit = settings.data.get("limit")
    return RunOptions(
        models=(settings.model.id,),
        tasks=tuple(run.tasks),
        modes=(settings.mode,),
        preset=settings.model.preset,
        data_root="mock" if mock else data_root,
        output=output,
        seeds=(settings.seed,),
        protocol=protocol,
        post_training=post_training,
        train_subset=subset,
        dtype=settings.dtype,
        feature_dtype=settings.feature_dtype,
        limit=limit if isinstance(limit, int) else None,
        separate=bool(settings.data.get("separate")),
        **others,
    )


def compare_runs(stored: ResultFolder, again: ResultFolder) -> Iterator[Repeat]:
    """Compare a run with the same run made again, task by task."""
    for task in stored.run.tasks:
        old, new = stored.results.get(task), again.results.get(task)
        if old is None or old.status != "done":
            yield Repeat(task, "not made", reason="the run has no finished result of it")
        elif new is None or new.status != "done":
            yield Repeat(task, "not made", reason="no result" if new is None else f"{new.status}: {new.reason}")
        else:
            yield _compare(task, stored, again)


def _compare(task: str, stored: ResultFolder, again: ResultFolder) -> Repeat:
    old, new = stored.results[task], again.results[task]
    metric = main_of(old.metrics) or MACRO_AUROC
    points = (old.metrics[metric].point, new.metrics[metric].point)
    # The same bytes of predictions: only the statistics can still differ.
    if old.predictions == new.predictions:
        same = old.metrics == new.metrics
        return Repeat(task, "identical" if same else "differs", 0.0, *points, "" if same else "metrics differ")
    try:
        first, second = stored.predictions(old), again.predictions(new)
    except ResultError as error:
        return Repeat(task, "differs", None, *points, str(error))
    if list(first.record_id) != list(second.record_id) or first.labels != second.labels:
        return Repeat(task, "differs", None, *points, "other records or labels were scored")
    # Targets are data, so they have no tolerance.
    if not np.array_equal(first.y_true, second.y_true, equal_nan=True):
        return Repeat(task, "differs", None, *points, "the targets differ")
    largest = float(np.abs(first.y_prob - second.y_prob).max(initial=0.0))
    return Repeat(task, "equal" if largest <= TOLERANCE else "differs", largest, *points)


def changed_environment(stored: ResultFolder, again: ResultFolder) -> list[str]:
    """Say what of the environment differs, e.g. "torch 2.12.0 -> 2.13.0"."""
    old, new = stored.run.environment, again.run.environment
    return [
        f"{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
