"""Checks a run by itself: every metric is computed again from the stored predictions and compared with the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from ecg_hub.errors import EcgHubError
from eval_harness.results.extent import partial_words
from eval_harness.results.folders import ResultFolder
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Result
from eval_harness.results.scoring import RESAMPLE_SEED, STATISTICS_VERSION, score_task
from eval_harness.tasks.task import Task

TOLERANCE = 1e-9  # another machine may sum in another order
CHECKED = ("metrics", "per_label", "subgroups")


@dataclass(frozen=True)
class Check:
    """What came of one task of a run.

    Attributes:
        state: "equal", "differs", "absent" (not done, or no file), or "not checked".
        findings: what differs, or why it was not checked, one line each.
        notes: what else there is to know: that the score is on part of a dataset's release.
    """

    run: str
    task: str
    state: str
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify(run: ResultFolder, tasks: Mapping[str, Task]) -> list[Check]:
    """Check every task of a run."""
    return [_check(run, name, version, tasks) for name, version in run.run.tasks.items()]


def _check(run: ResultFolder, name: str, version: int, tasks: Mapping[str, Task]) -> Check:
    result = run.results.get(name)
    if result is None or result.status != "done":
        reason = "there is no result file" if result is None else f"{result.status}: {result.reason}"
        return Check(run.name, name, "absent", (reason,))
    if name not in tasks:
        return Check(run.name, name, "not checked", (f"task {name!r} is not known here; pass its file by --include",))
    if tasks[name].version != version:
        here = f"the result is of version {version} of the task, here is version {tasks[name].version}"
        return Check(run.name, name, "not checked", (here,))
    try:
        task = tasks[name].read_from(result.run)
        differing = tuple(compare_with(result, task, run.predictions(result), run.run.settings.protocol_values))
    except EcgHubError as error:
        return Check(run.name, name, "differs", (str(error),))
    notes = (*partial_words(result), *earlier_intervals(result))
    return Check(run.name, name, "differs" if differing else "equal", differing, notes)


def earlier_intervals(result: Result) -> tuple[str, ...]:
    """Return the line that says that the intervals of a result are of an earlier method; nothing for a new one."""
    if result.statistics_version == STATISTICS_VERSION:
        return ()
    return (
        f"its intervals equal those of statistics version {result.statistics_version}, bootstrap percentiles, too "
        f"short with few positives; new results have version {STATISTICS_VERSION} (docs/statistics.md)",
    )


def compare_with(
    result: Result, task: Task, predictions: Predictions, protocol: Mapping[str, JsonValue]
) -> Iterator[str]:
    """Score predictions again and yield every value of the result that is not what comes out."""
    if result.statistics_version > STATISTICS_VERSION:
        yield (
            f"statistics_version: {result.statistics_version} in the result, this ecg-hub knows up to "
            f"{STATISTICS_VERSION}: pip install --upgrade ecg-hub"
        )
        return
    values: Any = protocol
    unit, version = values["resample_unit"], result.statistics_version
    # With the methods of its time: an older result is right if it is what they gave.
    again = score_task(task, predictions, values["resamples"], RESAMPLE_SEED, unit, values["confidence"], version)
    if result.data is not None and again.records != result.data.records.test:
        yield f"test records: {result.data.records.test} in the result, {again.records} in the predictions"
    validation = list(predictions.split).count("validation")
    if result.data is not None and validation != result.data.records.validation:
        yield f"validation records: {result.data.records.validation} in the result, {validation} in the predictions"
    stored = result.model_dump(mode="json")
    computed: dict[str, Any] = {
        "metrics": {name: estimate.model_dump(mode="json") for name, estimate in again.metrics.items()},
        "per_label": [label.model_dump(mode="json") for label in again.per_label],
        "subgroups": [part.model_dump(mode="json") for part in again.subgroups],
    }
    for part in CHECKED:
        yield from differences(part, stored[part], computed[part])


def differences(path: str, stored: JsonValue, computed: JsonValue) -> Iterator[str]:
    """Yield what differs between two JSON values; a value that an older version did not store is passed over."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in stored:
            if key in computed or stored[key] is not None:
                yield from differences(f"{path}.{key}", stored[key], computed.get(key))
    elif isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            yield f"{path}: {len(stored)} entries in the result, {len(computed)} computed"
        # Unequal lengths were yielded above; the entries that both have are still worth comparing.
        for old, new in zip(stored, computed, strict=False):
            yield from differences(f"{path}.{_name(old)}", old, new)
    elif not _same(stored, computed) and stored is not None:
        yield f"{path}: {stored} in the result, {computed} computed"


def _same(one: JsonValue, other: JsonValue) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=0, abs_tol=TOLERANCE)
    return one == other


def _name(entry: JsonValue) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    return str(entry.get("label") or f"{entry.get('name')} {entry.get('value')}")


def verdict(checks: Sequence[Check]) -> int:
    """Exit code: 0 when every task was checked and is equal, else 1."""
    return int(any(check.state != "equal" for check in checks))
