"""From the predictions of a run to the metrics of one task, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError, ResultError
from eval_harness.bootstrap import bootstrap_counts
from eval_harness.decisions import resample_calibration, resample_decisions
from eval_harness.metrics.thresholds import choose_thresholds
from eval_harness.predictions import Predictions
from eval_harness.results import Estimate, LabelCoverage, LabelResult, Subgroup
from eval_harness.statistics import (
    Interval,
    Resampled,
    interval,
    macro,
    macro_paper,
    resample_errors,
    resample_ranking,
)
from eval_harness.subgroups import subgroups
from eval_harness.taskfiles import Task

ResampleUnit = Literal["record", "patient"]

# One seed for all results, whatever the run's seed: models and seeds are compared on the same resamples.
RESAMPLE_SEED = 0


class ScoringError(ResultError):
    """Predictions that give no score of a task: no test records, none of its labels, no label with both outcomes."""


@dataclass(frozen=True)
class Sample:
    """Targets and outputs of the labels of one task, (records, labels) each."""

    task: str
    names: Sequence[str]
    y_true: NDArray[np.float32]
    y_prob: NDArray[np.float32]

    def rows(self, rows: NDArray[np.intp]) -> Sample:
        """Some of the records."""
        return Sample(self.task, self.names, self.y_true[rows], self.y_prob[rows])


@dataclass(frozen=True)
class Bootstrap:
    """How the records are drawn again: number of resamples, seed, the patient of each record or None, coverage."""

    resamples: int
    seed: int
    groups: NDArray[Any] | None
    confidence: float

    def counts(self, records: int) -> NDArray[np.uint16]:
        """How often each record is drawn, (records, resamples)."""
        return bootstrap_counts(records, self.resamples, self.seed, self.groups)

    def rows(self, rows: NDArray[np.intp]) -> Bootstrap:
        """The same for some of the records, which are drawn among themselves."""
        groups = None if self.groups is None else self.groups[rows]
        return Bootstrap(self.resamples, self.seed, groups, self.confidence)


@dataclass(frozen=True)
class Score:
    """The score of one task on the test split.

    Attributes:
        metrics: for classes macro_auroc, macro_auroc_paper, and the means over labels of AUPRC, F1, sensitivity and
            specificity (at thresholds chosen on validation), Brier score and calibration error; for regression mae
            (pooled, as published) and macro_mae (mean over targets).
        per_label: one entry per scored label, in the order of the task.
        labels: published and scored labels, and the missing ones.
        records: number of test records.
        subgroups: the main metrics by sex and age band, where the data say them.
    """

    metrics: dict[str, Estimate]
    per_label: list[LabelResult]
    labels: LabelCoverage
    records: int
    subgroups: list[Subgroup]


def label_coverage(
    task: Task, run_labels: Sequence[str], groups: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> LabelCoverage:
    """Return which published labels of a task the outputs of its run hold.

    Args:
        task: the task.
        run_labels: names of the outputs.
        groups: target group -> its names among them.
    """
    scored = task.labels_among(run_labels, groups)
    missing = [label for label in task.labels if label not in set(scored)]
    unnamed = 0 if task.labels else max(task.count - len(scored), 0)
    return LabelCoverage(published=task.count, scored=len(scored), missing=missing, unnamed=unnamed)


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
        predictions: of the run; validation records give the thresholds, test records the score.
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
    coverage = label_coverage(task, predictions.labels, predictions.groups)
    test = predictions.part("test")
    records = len(test.record_id)
    if records == 0:
        raise ScoringError(f"{task.name}: the test split holds no record, so there is nothing to score.")
    if coverage.scored == 0:
        raise ScoringError(f"{task.name}: run {task.run!r} has no output for any of its {coverage.published} labels.")
    names = task.labels_among(predictions.labels, predictions.groups)
    columns = [predictions.labels.index(name) for name in names]
    bootstrap = Bootstrap(resamples, seed, patient_groups(test) if by == "patient" else None, confidence)
    sample = Sample(task.name, names, test.y_true[:, columns], test.y_prob[:, columns])
    if task.kind == "regression":
        metrics, per_label = _regression(sample, bootstrap, predictions.scales)
    else:
        validation = predictions.part("validation")
        cut = choose_thresholds(validation.y_true[:, columns], validation.y_prob[:, columns])
        metrics, per_label = _classification(sample, bootstrap, cut)
    parts = [
        Subgroup(name=name, value=value, records=rows.size, metrics=found)
        for name, value, rows in subgroups(test)
        if (found := _main_metrics(sample.rows(rows), bootstrap.rows(rows), task.kind))
    ]
    return Score(metrics, per_label, coverage, records, parts)


def _classification(
    sample: Sample, bootstrap: Bootstrap, thresholds: NDArray[np.float64]
) -> tuple[dict[str, Estimate], list[LabelResult]]:
    y_true, y_prob, counts = sample.y_true, sample.y_prob, bootstrap.counts(len(sample.y_true))
    areas, precisions = resample_ranking(y_true, y_prob, counts)
    evaluable = int((~np.isnan(areas.point)).sum())
    if evaluable == 0:
        raise ScoringError(
            f"{sample.task}: none of {len(sample.names)} labels has both positive and negative records among the "
            f"{len(y_true)} of the test split, so no AUROC is defined. Score more records."
        )
    found = {
        "auroc": areas,
        "auprc": precisions,
        **resample_decisions(y_true, y_prob, thresholds, counts),
        **resample_calibration(y_true, y_prob, counts),
    }
    confidence = bootstrap.confidence
    paper = interval(*macro_paper(areas), confidence=confidence, paper=True)
    metrics = {f"macro_{name}": _macro(values, confidence) for name, values in found.items()}
    metrics = {
        "macro_auroc": metrics["macro_auroc"],
        "macro_auroc_paper": _estimate(paper, len(sample.names)),
        **metrics,
    }
    per_label = []
    for k, name in enumerate(sample.names):
        measured: dict[str, Any] = {metric: _output(values, k, confidence) for metric, values in found.items()}
        positives, records = int((y_true[:, k] == 1).sum()), int((~np.isnan(y_true[:, k])).sum())
        threshold = float(thresholds[k])
        per_label.append(LabelResult(label=name, positives=positives, records=records, threshold=threshold, **measured))
    return metrics, per_label


def _regression(
    sample: Sample, bootstrap: Bootstrap, scales: Mapping[str, tuple[float, str]]
) -> tuple[dict[str, Estimate], list[LabelResult]]:
    y_true, confidence = sample.y_true, bootstrap.confidence
    errors, point, pooled = resample_errors(y_true, sample.y_prob, bootstrap.counts(len(y_true)))
    known = int((~np.isnan(errors.point)).sum())
    if known == 0:
        raise ScoringError(f"{sample.task}: no target has a value on the {len(y_true)} records of the test split.")
    metrics = {
        "mae": _estimate(interval(point, pooled, confidence=confidence), known),
        "macro_mae": _macro(errors, confidence),
    }
    per_label = []
    for k, name in enumerate(sample.names):
        found = _output(errors, k, confidence)
        scale, unit = scales.get(name, (None, None))
        per_label.append(
            LabelResult(
                label=name,
                records=int((~np.isnan(y_true[:, k])).sum()),
                mae=found,
                mae_clinical=None if scale is None else _scaled(found, scale),
                unit=unit,
            )
        )
    return metrics, per_label


def _main_metrics(sample: Sample, bootstrap: Bootstrap, kind: str) -> dict[str, Estimate]:
    """The main metrics of a subgroup; empty where none is defined."""
    confidence, counts = bootstrap.confidence, bootstrap.counts(len(sample.y_true))
    if kind == "regression":
        errors, point, pooled = resample_errors(sample.y_true, sample.y_prob, counts)
        known = int((~np.isnan(errors.point)).sum())
        return {"mae": _estimate(interval(point, pooled, confidence=confidence), known)} if known else {}
    areas, precisions = resample_ranking(sample.y_true, sample.y_prob, counts)
    if np.isnan(areas.point).all():
        return {}
    return {"macro_auroc": _macro(areas, confidence), "macro_auprc": _macro(precisions, confidence)}


def patient_groups(test: Predictions) -> NDArray[Any]:
    """The patient of every record, for resampling by patient; a record without one is its own.

    Raises:
        InputError: the predictions name no patients.
    """
    if test.patient_id is None or all(patient is None for patient in test.patient_id):
        raise InputError("These predictions name no patients; resample by record.")
    # A record without a patient is its own group; the prefix keeps the two kinds of names apart.
    pairs = zip(test.patient_id, test.record_id, strict=True)
    return np.array([f"record {record}" if patient is None else f"patient {patient}" for patient, record in pairs])


def _output(resampled: Resampled, k: int, confidence: float) -> Estimate:
    return _estimate(interval(float(resampled.point[k]), resampled.replicates[:, k], confidence=confidence))


def _macro(resampled: Resampled, confidence: float) -> Estimate:
    defined = int((~np.isnan(resampled.point)).sum())
    return _estimate(interval(*macro(resampled), confidence=confidence), defined)


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    ends = (estimate.point, estimate.low, estimate.high)
    point, low, high = (None if value is None else value * scale for value in ends)
    return Estimate(point=point, low=low, high=high)


def _estimate(found: Interval, classes: int | None = None) -> Estimate:
    return Estimate(point=found.point, low=found.low, high=found.high, classes=classes)
