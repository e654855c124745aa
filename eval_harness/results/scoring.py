"""From the predictions of a run to the metrics of one task, with intervals; also by sex and age band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError, ResultError
from eval_harness.metrics.calibration import binned_errors
from eval_harness.metrics.checks import Values, checked_pair
from eval_harness.metrics.ranking import evaluable_mean
from eval_harness.metrics.registry import MACRO_AUROC, MACRO_AUROC_PAPER, MACRO_MAE, MAE, of_kind
from eval_harness.metrics.thresholds import choose_thresholds
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import Estimate, LabelCoverage, LabelResult, Subgroup
from eval_harness.stats import earlier, estimates
from eval_harness.stats.bootstrap import bootstrap_counts, class_replicates
from eval_harness.stats.estimates import Measured
from eval_harness.stats.influence import Units
from eval_harness.stats.resampled import Interval, Resampled, interval, macro_paper
from eval_harness.tasks.task import Task

AGE_EDGES = (0, 1, 5, 12, 18, 40, 60, 80)
"""Years at which a band begins; the bands of childhood are those of the pediatric dataset's folds."""

# Of fewer records an interval says next to nothing.
MIN_RECORDS = 10


def age_band(age: float) -> str:
    """Return the band of an age in years: "under 1", "1-4", ..., "60-79", "80 and over"."""
    if age >= AGE_EDGES[-1]:
        return f"{AGE_EDGES[-1]} and over"
    low, high = next((low, high) for low, high in pairwise(AGE_EDGES) if age < high)
    return "under 1" if low == 0 else f"{low}-{high - 1}"


def subgroups(test: Predictions) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Yield name, value and rows of every subgroup with at least ten records; a lone value is no subgroup."""
    # An age that is not known belongs to no band, rather than to the youngest or to one of its own.
    bands = [None if age is None or np.isnan(age) else age_band(age) for age in test.age or ()]
    for name, values in (("sex", list(test.sex or ())), ("age", bands)):
        present = [value for value in _in_order(name) if value in set(values)]
        if len(present) < 2:
            continue
        for value in present:
            rows = np.flatnonzero([entry == value for entry in values])
            if rows.size >= MIN_RECORDS:
                yield name, value, rows


def _in_order(name: str) -> list[str]:
    # A fixed order, so that tables of several models stand line by line beside each other.
    return ["female", "male"] if name == "sex" else [age_band(edge) for edge in AGE_EDGES]


ResampleUnit = Literal["record", "patient"]

# One seed for all results, whatever the run's seed: models and seeds are compared on the same resamples.
RESAMPLE_SEED = 0

STATISTICS_VERSION = 2
"""Of the methods of the intervals. Version 1: percentiles of the bootstrap for every metric."""


class ScoringError(ResultError):
    """Predictions that give no score of a task: no test records, none of its labels, no label with both outcomes."""


@dataclass(frozen=True)
class Sample:
    """Targets and outputs of the labels of one task, (records, labels) each, checked."""

    task: str
    names: Sequence[str]
    y_true: Values
    y_prob: Values

    def rows(self, rows: NDArray[np.intp]) -> Sample:
        """Some of the records."""
        return Sample(self.task, self.names, self.y_true[rows], self.y_prob[rows])


@dataclass(frozen=True)
class Uncertainty:
    """How intervals are made: what is independent, coverage, and the resamples of the published reading.

    Attributes:
        groups: (records,) the patient of each record; None takes records as independent.
        confidence: coverage, between 0 and 1.
        resamples: replicates of the macro AUROC as published.
        seed: of the resamples.
        version: of the methods, 1 or 2.
    """

    groups: NDArray[Any] | None
    confidence: float
    resamples: int
    seed: int
    version: int

    @property
    def units(self) -> Units:
        """What is independent."""
        return Units.of(self.groups)

    def counts(self, records: int) -> NDArray[np.uint16]:
        """How often each record is drawn, (records, resamples)."""
        return bootstrap_counts(records, self.resamples, self.seed, self.groups)

    def rows(self, rows: NDArray[np.intp]) -> Uncertainty:
        """The same for some of the records."""
        return replace(self, groups=None if self.groups is None else self.groups[rows])


@dataclass(frozen=True)
class Score:
    """The score of one task on the test split.

    Attributes:
        metrics: for classes macro_auroc, macro_auroc_paper, and the means over labels of AUPRC, F1, sensitivity and
            specificity (at thresholds chosen on validation), Brier score and calibration error, and the debiased
            calibration error over all labels; for regression mae (pooled, as published) and macro_mae (mean over
            targets); then whatever else `eval_harness.metrics.registry` lists, without an interval.
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
    """Return which published labels of a task the outputs of its run hold."""
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
    statistics: int = STATISTICS_VERSION,
) -> Score:
    """Score one task on the test records of its run's predictions.

    The task's labels are picked out of the run's outputs by name. The same seed draws the same resamples for every
    model with the same test records in the same order.

    Args:
        task: the task; `task.run` must be the run of the predictions.
        predictions: of the run; validation records give the thresholds, test records the score.
        resamples: bootstrap replicates of macro_auroc_paper; the other intervals need none.
        seed: of the resamples.
        by: "record" takes records as independent, "patient" patients with all their records.
        confidence: coverage of the intervals.
        statistics: version of the methods of the intervals; 1 to check a result that was made with it.
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
    # By name, because several tasks are read from the outputs of one run, and a part of the data lacks some labels.
    names = task.labels_among(predictions.labels, predictions.groups)
    columns = [predictions.labels.index(name) for name in names]
    doubt = Uncertainty(patient_groups(test) if by == "patient" else None, confidence, resamples, seed, statistics)
    # The door of the test records: what is behind it takes the arrays as they are.
    pair = checked_pair(test.y_true[:, columns], test.y_prob[:, columns], binary=task.kind != "regression")
    sample = Sample(task.name, names, *pair)
    if task.kind == "regression":
        metrics, per_label = _regression(sample, doubt, predictions.scales)
    else:
        validation = predictions.part("validation")
        # On validation alone: a threshold chosen on the test records would flatter every decision at it.
        cut = choose_thresholds(validation.y_true[:, columns], validation.y_prob[:, columns])
        metrics, per_label = _classification(sample, doubt, cut)
    parts = [
        Subgroup(name=name, value=value, records=rows.size, metrics=main)
        for name, value, rows in subgroups(test)
        if (main := _main_metrics(sample.rows(rows), doubt.rows(rows), task.kind))
    ]
    return Score(metrics, per_label, coverage, records, parts)


def _classification(
    sample: Sample, doubt: Uncertainty, thresholds: NDArray[np.float64]
) -> tuple[dict[str, Estimate], list[LabelResult]]:
    by_metric = _measured(sample, doubt, thresholds)
    metrics = {
        MACRO_AUROC: _macro(by_metric["auroc"], doubt),
        MACRO_AUROC_PAPER: _paper(sample, by_metric["auroc"].point, doubt),
        **{f"macro_{name}": _macro(values, doubt) for name, values in by_metric.items() if name != "auroc"},
    }
    columns = [
        {name: _estimate(values.output(k)) for name, values in by_metric.items()} for k in range(len(sample.names))
    ]
    if doubt.version != earlier.VERSION:
        _add_calibration(sample, doubt, metrics, columns)
        _add_listed(sample, metrics, thresholds)
    per_label = []
    for k, name in enumerate(sample.names):
        positives, records = int((sample.y_true[:, k] == 1).sum()), int((~np.isnan(sample.y_true[:, k])).sum())
        measured: dict[str, Any] = {"threshold": float(thresholds[k]), **columns[k]}
        per_label.append(LabelResult(label=name, positives=positives, records=records, **measured))
    return metrics, per_label


def _measured(
    sample: Sample, doubt: Uncertainty, thresholds: NDArray[np.float64]
) -> Mapping[str, Measured | earlier.Percentiles]:
    """Every metric of the labels that is averaged over them."""
    y_true, y_prob, units, confidence = sample.y_true, sample.y_prob, doubt.units, doubt.confidence
    measured = estimates.ranking(y_true, y_prob, units, confidence)
    if np.isnan(measured["auroc"].point).all():
        raise ScoringError(
            f"{sample.task}: none of {len(sample.names)} labels has both positive and negative records among the "
            f"{len(y_true)} of the test split, so no AUROC is defined. Score more records."
        )
    if doubt.version == earlier.VERSION:
        return earlier.classification(y_true, y_prob, thresholds, doubt.counts(len(y_true)), confidence)
    measured |= estimates.decisions(y_true, y_prob, thresholds, units, confidence)
    return measured | estimates.brier_scores(y_true, y_prob, units, confidence)


def _add_calibration(
    sample: Sample, doubt: Uncertainty, metrics: dict[str, Estimate], columns: Sequence[dict[str, Estimate]]
) -> None:
    """The plain calibration error without an interval, and the debiased one, over all labels and of each."""
    plain = binned_errors(sample.y_true, sample.y_prob)
    each, over_all = estimates.calibration(sample.y_true, sample.y_prob, doubt.units, doubt.confidence)
    # The plain error is biased upwards by binning, and its resamples are more so: an interval would lie beside the
    # truth.
    defined = int((~np.isnan(plain)).sum())
    metrics["macro_calibration_error"] = Estimate(point=evaluable_mean(plain), classes=defined)
    metrics["macro_calibration_rms"] = _estimate(over_all, defined)
    for error, debiased, column in zip(plain, each, columns, strict=True):
        column |= {"calibration_error": Estimate(point=float(error)), "calibration_rms": _estimate(debiased)}


def _add_listed(sample: Sample, metrics: dict[str, Estimate], thresholds: NDArray[np.float64] | None = None) -> None:
    """The listed metrics of the kind of task that no formula above has an interval for: their points alone."""
    kind = "regression" if thresholds is None else "multi_label_classification"
    for metric in of_kind(kind):
        # What is listed and has a formula above is there already, with an interval.
        if metric.name not in metrics:
            values = np.asarray(metric.values(sample.y_true, sample.y_prob, thresholds), dtype=np.float64)
            classes = int((~np.isnan(values)).sum()) if values.ndim else None
            metrics[metric.name] = Estimate(point=evaluable_mean(np.atleast_1d(values)), classes=classes)


def _paper(sample: Sample, areas: NDArray[np.float64], doubt: Uncertainty) -> Estimate:
    """The published reading with its percentile interval, which may lie beside its point."""
    counts = doubt.counts(len(sample.y_true))
    replicates, _ = class_replicates(sample.y_true, sample.y_prob, counts, with_precision=False)
    resampled = Resampled(areas, replicates)
    published = interval(*macro_paper(resampled), confidence=doubt.confidence, paper=True)
    return _estimate(published, len(sample.names))


def _regression(
    sample: Sample, doubt: Uncertainty, scales: Mapping[str, tuple[float, str]]
) -> tuple[dict[str, Estimate], list[LabelResult]]:
    y_true = sample.y_true
    errors, pooled = _errors(sample, doubt)
    defined = int((~np.isnan(errors.point)).sum())
    if defined == 0:
        raise ScoringError(f"{sample.task}: no target has a value on the {len(y_true)} records of the test split.")
    metrics = {MAE: _estimate(pooled, defined), MACRO_MAE: _macro(errors, doubt)}
    if doubt.version != earlier.VERSION:
        _add_listed(sample, metrics)
    per_label = []
    for k, name in enumerate(sample.names):
        error = _estimate(errors.output(k))
        scale, unit = scales.get(name, (None, None))
        per_label.append(
            LabelResult(
                label=name,
                records=int((~np.isnan(y_true[:, k])).sum()),
                mae=error,
                mae_clinical=None if scale is None else _scaled(error, scale),
                unit=unit,
            )
        )
    return metrics, per_label


def _errors(sample: Sample, doubt: Uncertainty) -> tuple[Measured | earlier.Percentiles, Interval]:
    if doubt.version == earlier.VERSION:
        counts = doubt.counts(len(sample.y_true))
        return earlier.errors(sample.y_true, sample.y_prob, counts, doubt.confidence)
    return estimates.errors(sample.y_true, sample.y_prob, doubt.units, doubt.confidence)


def _main_metrics(sample: Sample, doubt: Uncertainty, kind: str) -> dict[str, Estimate]:
    """The main metrics of a subgroup; empty where none is defined."""
    if kind == "regression":
        errors, pooled = _errors(sample, doubt)
        defined = int((~np.isnan(errors.point)).sum())
        return {MAE: _estimate(pooled, defined)} if defined else {}
    measured: Mapping[str, Measured | earlier.Percentiles]
    if doubt.version == earlier.VERSION:
        counts = doubt.counts(len(sample.y_true))
        measured = earlier.ranking(sample.y_true, sample.y_prob, counts, doubt.confidence)
    else:
        measured = estimates.ranking(sample.y_true, sample.y_prob, doubt.units, doubt.confidence)
    if np.isnan(measured["auroc"].point).all():
        return {}
    return {f"macro_{name}": _macro(values, doubt) for name, values in measured.items()}


def patient_groups(test: Predictions) -> NDArray[Any]:
    """The patient of every record, for resampling by patient; a record without one is its own."""
    if test.patient_id is None or all(patient is None for patient in test.patient_id):
        raise InputError("These predictions name no patients; resample by record.")
    # A record without a patient is its own group; the prefix keeps the two kinds of names apart.
    pairs = zip(test.patient_id, test.record_id, strict=True)
    return np.array([f"record {record}" if patient is None else f"patient {patient}" for patient, record in pairs])


def _macro(measured: Measured | earlier.Percentiles, doubt: Uncertainty) -> Estimate:
    defined = int((~np.isnan(measured.point)).sum())
    return _estimate(measured.macro(doubt.units, doubt.confidence), defined)


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    ends = (estimate.point, estimate.low, estimate.high)
    point, low, high = (None if value is None else value * scale for value in ends)
    return Estimate(point=point, low=low, high=high)


def _estimate(value: Interval, classes: int | None = None) -> Estimate:
    return Estimate(point=value.point, low=value.low, high=value.high, classes=classes)
