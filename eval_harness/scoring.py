"""From the predictions of a run to the metrics of one task, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError, ResultError
from eval_harness.bootstrap import bootstrap_counts
from eval_harness.predictions import Predictions
from eval_harness.results import Estimate, LabelCoverage, LabelResult
from eval_harness.statistics import (
    Interval,
    Resampled,
    interval,
    macro,
    macro_paper,
    resample_errors,
    resample_ranking,
)
from eval_harness.taskfiles import Task

ResampleUnit = Literal["record", "patient"]


class ScoringError(ResultError):
    """Predictions that give no score of a task: no test records, none of its labels, no label with both outcomes."""


@dataclass(frozen=True)
class Score:
    """The score of one task on the test split.

    Attributes:
        metrics: for classes macro_auroc, macro_auroc_paper and macro_auprc; for regression mae (pooled, as published)
            and macro_mae (mean over targets).
        per_label: one entry per scored label, in the order of the task.
        labels: published and scored labels, and the missing ones.
        records: number of test records.
    """

    metrics: dict[str, Estimate]
    per_label: list[LabelResult]
    labels: LabelCoverage
    records: int


def label_coverage(task: Task, run_labels: Sequence[str]) -> LabelCoverage:
    """Return which published labels of a task the outputs of its run hold."""
    outputs = set(run_labels)
    missing = [label for label in task.labels if label not in outputs]
    return LabelCoverage(published=len(task.labels), scored=len(task.labels) - len(missing), missing=missing)


def score_task(
    task: Task,
    predictions: Predictions,
    resamples: int = 1000,
    seed: int = 0,
    by: ResampleUnit = "record",
    confidence: float = 0.95,
) -> Score:
    """Score one task on the test records of its run's predictions.

    The task's labels are picked out of the run's outputs by name. The same seed draws the same resamples for every
    model with the same test records in the same order.

    Args:
        task: the task; `task.run` must be the run of the predictions.
        predictions: of the run; validation records are left aside.
        resamples: bootstrap replicates.
        seed: of the resamples.
        by: "record", or "patient" to draw all records of a patient together.
        confidence: coverage of the intervals.

    Raises:
        ScoringError: the test split is empty, the run has none of the task's labels, or nothing can be evaluated.
        InputError: predictions of another run, predictions that are not finite, targets that are not 0, 1 or NaN,
            or resampling by patient without patients.
    """
    if predictions.run != task.run:
        raise InputError(
            f"Task {task.name!r} is read from run {task.run!r}; these are predictions of {predictions.run!r}."
        )
    coverage = label_coverage(task, predictions.labels)
    test = predictions.part("test")
    records = len(test.record_id)
    if records == 0:
        raise ScoringError(f"{task.name}: the test split holds no record, so there is nothing to score.")
    if coverage.scored == 0:
        raise ScoringError(f"{task.name}: run {task.run!r} has no output for any of its {coverage.published} labels.")
    names = [label for label in task.labels if label not in set(coverage.missing)]
    columns = [predictions.labels.index(name) for name in names]
    counts = bootstrap_counts(records, resamples, seed, _groups(test) if by == "patient" else None)
    score = _regression if task.kind == "regression" else _classification
    metrics, per_label = score(task.name, names, test.y_true[:, columns], test.y_prob[:, columns], counts, confidence)
    return Score(metrics, per_label, coverage, records)


def _classification(
    task: str,
    names: Sequence[str],
    y_true: NDArray[np.float32],
    y_prob: NDArray[np.float32],
    counts: NDArray[np.uint16],
    confidence: float,
) -> tuple[dict[str, Estimate], list[LabelResult]]:
    areas, precisions = resample_ranking(y_true, y_prob, counts)
    evaluable = int((~np.isnan(areas.point)).sum())
    if evaluable == 0:
        raise ScoringError(
            f"{task}: none of {len(names)} labels has both positive and negative records among the "
            f"{y_true.shape[0]} of the test split, so no AUROC is defined. Score more records."
        )
    metrics = {
        "macro_auroc": _estimate(interval(*macro(areas), confidence=confidence), evaluable),
        "macro_auroc_paper": _estimate(interval(*macro_paper(areas), confidence=confidence, paper=True), len(names)),
        "macro_auprc": _estimate(interval(*macro(precisions), confidence=confidence), evaluable),
    }
    per_label = [
        LabelResult(
            label=name,
            positives=int((y_true[:, k] == 1).sum()),
            records=int((~np.isnan(y_true[:, k])).sum()),
            auroc=_output(areas, k, confidence),
            auprc=_output(precisions, k, confidence),
        )
        for k, name in enumerate(names)
    ]
    return metrics, per_label


def _regression(
    task: str,
    names: Sequence[str],
    y_true: NDArray[np.float32],
    y_pred: NDArray[np.float32],
    counts: NDArray[np.uint16],
    confidence: float,
) -> tuple[dict[str, Estimate], list[LabelResult]]:
    errors, point, pooled = resample_errors(y_true, y_pred, counts)
    known = int((~np.isnan(errors.point)).sum())
    if known == 0:
        raise ScoringError(f"{task}: no target has a value on the {y_true.shape[0]} records of the test split.")
    metrics = {
        "mae": _estimate(interval(point, pooled, confidence=confidence), known),
        "macro_mae": _estimate(interval(*macro(errors), confidence=confidence), known),
    }
    per_label = [
        LabelResult(label=name, records=int((~np.isnan(y_true[:, k])).sum()), mae=_output(errors, k, confidence))
        for k, name in enumerate(names)
    ]
    return metrics, per_label


def _groups(test: Predictions) -> NDArray[Any]:
    if test.patient_id is None or all(patient is None for patient in test.patient_id):
        raise InputError("These predictions name no patients; resample by record.")
    # A record without a patient is its own group; the prefix keeps the two kinds of names apart.
    pairs = zip(test.patient_id, test.record_id, strict=True)
    return np.array([f"record {record}" if patient is None else f"patient {patient}" for patient, record in pairs])


def _output(resampled: Resampled, k: int, confidence: float) -> Estimate:
    return _estimate(interval(float(resampled.point[k]), resampled.replicates[:, k], confidence=confidence))


def _estimate(found: Interval, classes: int | None = None) -> Estimate:
    return Estimate(point=found.point, low=found.low, high=found.high, classes=classes)
