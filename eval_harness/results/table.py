"""Results as one tidy table: a row for every model, mode, seed, task and metric, or for every label of them.

Every row says what it was made with, so that rows of several folders can be put together, filtered and plotted without
going back to the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eval_harness.metrics.registry import metrics
from eval_harness.results.folders import ResultFolder, find_runs
from eval_harness.results.schema import Estimate, LabelResult, Result
from eval_harness.results.summary import deviations_text

if TYPE_CHECKING:
    import pandas as pd

Source = Path | str | ResultFolder | Result

# "Int64" and "boolean" with a capital or in full: in "int64" and "bool" a missing value makes floats and objects.
TYPES: Final = {
    "model": "string",
    "revision": "string",
    "preset": "string",
    "mode": "string",
    "seed": "Int64",
    "task": "string",
    "task_version": "Int64",
    "dataset": "string",
    "label": "string",
    "metric": "string",
    "higher_is_better": "boolean",
    "point": "float64",
    "low": "float64",
    "high": "float64",
    "unit": "string",
    "n": "Int64",
    "positives": "Int64",
    "threshold": "float64",
    "classes": "Int64",
    "status": "string",
    "reason": "string",
    "simulated": "boolean",
    "contamination": "string",
    "protocol": "string",
    "deviations": "string",
    "statistics_version": "Int64",
    "origin": "string",
    "weights_sha256": "string",
    "data_fingerprint": "string",
    "created": "string",
}
"""Column -> pandas type, in the order of the table."""

OF_LABELS = ("label", "unit", "positives", "threshold")
"""Columns that only a table of labels has."""


def results_frame(source: Source | Iterable[Source], per_label: bool = False) -> pd.DataFrame:
    """Return results as a tidy table.

    Args:
        source: result folders or folders above them, `ResultFolder`s or `Result`s, one or many.
        per_label: a row for every label and metric in place of the task's means.

    Returns:
        One row for every model, mode, seed, task and metric; a task that failed or was skipped has one row, without
        metric and point, and its reason. `n` is the number of test records behind the number, `low` and `high` are the
        95 % interval, `simulated` says that the ECGs were, and `deviations` is "none" for the bare protocol. With
        `per_label` also `label`, `positives`, `threshold` (chosen on validation) and `unit` (None for z-scores).

    Raises:
        InputError: a path that holds no results.
        ResultError: a file that is not a result.

    Example:
        >>> from eval_harness.results.table import results_frame
        >>> frame = results_frame("results/")  # doctest: +SKIP
        >>> frame.pivot_table(index="task", columns="model", values="point")  # doctest: +SKIP
    """
    import pandas as pd

    many = [source] if isinstance(source, Path | str | ResultFolder | Result) else source
    rows = [row for result in _results(many) for row in _rows(result, per_label)]
    columns = {name: kind for name, kind in TYPES.items() if per_label or name not in OF_LABELS}
    # Types by name: a column that happens to be empty must not change its type from one folder to the next.
    return pd.DataFrame(rows, columns=[*columns]).astype(columns)


def _results(sources: Iterable[Source]) -> Iterator[Result]:
    for source in sources:
        if isinstance(source, Result):
            yield source
        else:
            for run in [source] if isinstance(source, ResultFolder) else find_runs([source]):
                yield from run.results.values()


def _rows(result: Result, per_label: bool) -> list[dict[str, Any]]:
    common = _common(result)
    if result.status != "done" or result.data is None:
        return [common]
    if per_label:
        return [common | row for label in result.per_label for row in _label_rows(label)]
    n = result.data.records.test
    return [common | {"n": n, **_numbers(name, estimate)} for name, estimate in result.metrics.items()]


def _common(result: Result) -> dict[str, Any]:
    """What every row of a result says."""
    model, data = result.model, result.data
    return {
        "model": model.id,
        "revision": model.revision,
        "preset": model.preset,
        "mode": result.mode,
        "seed": result.seed,
        "task": result.task,
        "task_version": result.task_version,
        "dataset": data.name if data else None,
        "status": result.status,
        "reason": result.reason,
        "simulated": result.is_synthetic,
        "contamination": data.contamination if data else None,
        "protocol": result.protocol.name,
        "deviations": deviations_text(result),
        "statistics_version": result.statistics_version,
        "origin": model.origin,
        "weights_sha256": model.weights_sha256,
        "data_fingerprint": data.fingerprint if data else None,
        "created": result.created,
    }


def _label_rows(label: LabelResult) -> Iterator[dict[str, Any]]:
    about = {"label": label.label, "n": label.records, "positives": label.positives, "threshold": label.threshold}
    for name in LabelResult.model_fields:
        estimate = getattr(label, name)
        if isinstance(estimate, Estimate):
            unit = label.unit if name == "mae_clinical" else None
            yield about | {"unit": unit, **_numbers(name, estimate)}


def _numbers(name: str, estimate: Estimate) -> dict[str, Any]:
    return {
        "metric": name,
        "higher_is_better": _higher_is_better(name),
        "point": estimate.point,
        "low": estimate.low,
        "high": estimate.high,
        "classes": estimate.classes,
    }


def _higher_is_better(name: str) -> bool | None:
    """The direction of a metric; a label's is that of the mean over labels, and no other in clinical units."""
    known, plain = metrics(), name.removesuffix("_clinical")
    metric = next((known[key] for key in (plain, f"macro_{plain}") if key in known), None)
    return metric.higher_is_better if metric else None
