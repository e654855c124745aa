"""From an open job to its predictions: what predicts, in which form it is written, and the mode that trains nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eval_harness.data.windows import RunData, Windows
from eval_harness.models.published_head import NoPublishedHeadError, only
from eval_harness.results.predictions import Predictions
from eval_harness.results.schema import HeadInfo, MappedOutput
from eval_harness.runner.plan import Job
from eval_harness.training.features import Predictor, gatherer

if TYPE_CHECKING:
    from eval_harness.config.options import RunOptions
    from eval_harness.runner.job import OpenJob


def predictor_of(opened: OpenJob, data: RunData) -> tuple[Windows, Predictor]:
    """The windows of a job's data, and what predicts with them."""
    options, accelerator, loaded = opened.options, opened.context.accelerator, opened.loaded
    windows = Windows(data, loaded.extractor, options.num_workers, accelerator.process_index, accelerator.num_processes)
    predictor = Predictor(
        windows,
        options.protocol.batch_size,
        accelerator.device,
        opened.cache,
        autocast=accelerator.autocast,
        gather=gatherer(accelerator),
        quiet=opened.quiet,
    )
    return windows, predictor


def to_predictions(job: Job, data: RunData, outputs: dict[str, Any]) -> Predictions:
    """The predictions of validation and test in the form that is written."""
    parts = (data.validation, data.test)
    # A split writes "" for an unknown patient; in a file of predictions unknown is null.
    patients = [patient or None for part in parts for patient in part.patient_ids]
    return Predictions(
        run=job.run.name,
        kind=job.run.kind,
        labels=tuple(data.labels),
        split=[part.name for part in parts for _ in part.record_ids],
        record_id=[record for part in parts for record in part.record_ids],
        y_true=np.concatenate([part.targets for part in parts]),
        y_prob=np.concatenate([outputs[part.name] for part in parts]),
        patient_id=patients if any(patients) else None,
        age=_unless_empty([age for part in parts for age in part.ages]),
        sex=_unless_empty([sex for part in parts for sex in part.sexes]),
        regression_targets=tuple(data.labels[data.classes :]),
        scales=data.scales,
        groups=data.groups,
    )


def _unless_empty(values: list[Any]) -> list[Any] | None:
    """The values, or None where all are None."""
    return values if any(value is not None for value in values) else None


def precision_deviations(options: RunOptions, frozen: bool) -> dict[str, Any]:
    """What of the precision of a run is not the usual."""
    deviations: dict[str, Any] = {} if options.dtype == "float32" else {"dtype": options.dtype}
    if options.feature_dtype != "float32" and frozen:
        deviations["feature_dtype"] = options.feature_dtype
    return deviations


def predicted_by_baseline(opened: OpenJob) -> tuple[Predictions, dict[str, Any]]:
    """Predictions of the baseline `trivial`, and notes of its fit."""
    # What it fits with is imported for it alone.
    from eval_harness.models import trivial

    with opened.timed("train"):
        fitted = trivial.fit(opened.data, quiet=opened.quiet)
    outputs = {"validation": fitted.validation, "test": fitted.test}
    notes = {"best_score": fitted.score, "penalty": fitted.penalty, "deviations": {}, "history": []}
    return to_predictions(opened.job, opened.data, outputs), notes


def predicted_by_published_head(opened: OpenJob) -> tuple[Predictions, dict[str, Any]]:
    """Predictions of the authors' head for the labels that its outputs stand for, and notes of the map."""
    head, options, data = opened.loaded.published_head, opened.options, opened.data
    if head is None:
        raise NoPublishedHeadError(f"{opened.loaded.id} has no head of its authors")
    mapped = head.map_to(data, opened.job.run.label_column)
    # The predictor counts the outputs of the head; the targets are those of the labels all the same.
    _, predictor = predictor_of(opened, replace(data, labels=head.outputs, classes=len(head.outputs)))
    predictor.maximum = head.maximum
    model = head.adapted()
    model.to(opened.context.accelerator.device)
    with opened.timed("predict"):
        outputs = {
            part.name: head.scores(predictor.predict(model, part), mapped) for part in (data.validation, data.test)
        }
    predictions = to_predictions(opened.job, only(data, list(mapped.outputs)), outputs)
    info = HeadInfo(
        checkpoint=head.entry.alias,
        sha256=head.sha256,
        outputs=len(head.outputs),
        mapped=[
            MappedOutput(label=label, outputs=list(names), code=mapped.codes[label])
            for label, names in mapped.outputs.items()
        ],
        unmapped=mapped.unmapped,
        maximum=[head.outputs[index] for index in head.maximum],
    )
    notes = {
        "deviations": precision_deviations(options, frozen=True) | predictor.not_finite_deviation(),
        "trained_parameters": 0,
        "published_head": info.model_dump(mode="json"),
        "features_encoded_again": opened.cache.skipped,
        "history": [],
    }
    return predictions, notes
