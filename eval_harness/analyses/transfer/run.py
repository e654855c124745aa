"""`ecg-eval transfer`: the trained head of a run scored on another dataset, through a map of labels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_scripts.core.labels import label_matrix
from ecg_hub.catalog import of_config
from ecg_hub.errors import DataError, EcgHubError, InputError
from ecg_hub.spelling import registered
from eval_harness.analyses.files import continued, write_analysis
from eval_harness.analyses.trained import (
    Trained,
    find_one,
    head_of_result,
    ids_digest,
    open_split,
    open_trained,
    stored_runs,
)
from eval_harness.analyses.transfer.schema import MappedLabel, TransferResult, TransferTask
from eval_harness.config.options import ReopenOptions
from eval_harness.data.records import Datasets
from eval_harness.data.windows import Split, evenly_spaced
from eval_harness.results.contamination import config_train_only, declared, state
from eval_harness.results.folders import locked_folder
from eval_harness.results.predictions import Predictions, read_predictions, write_predictions
from eval_harness.results.schema import LabelResult, PredictionsFile
from eval_harness.results.scoring import RESAMPLE_SEED, score_task
from eval_harness.tasks.harmonise import LabelMap, joined, map_labels, prevalence_flag, read_map
from eval_harness.tasks.registry import datasets as known_datasets
from eval_harness.tasks.task import Task

FOLDER = "transfer"
Float = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TransferOptions(ReopenOptions):
    """What is moved where; results go to FOLDER/transfer.

    Attributes:
        to: name of the other dataset.
        tasks: tasks of the run; () takes all of classes whose head was kept.
        column: label column of the other dataset.
        split: of the other dataset; none of it was trained on.
        label_map: the user's CSV file instead of the tables.
    """

    to: str
    tasks: tuple[str, ...] = ()
    column: str = "label_all"
    split: str = "test"
    label_map: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        super().__post_init__()
        known = known_datasets(self.include)
        object.__setattr__(self, "to", registered("dataset", self.to, known, "See `ecg-hub data ls`."))


def run_transfer(options: TransferOptions) -> list[TransferResult]:
    """Score the trained heads of a result folder on another dataset; one result per training run."""
    run_folder = find_one(options.folder)
    names = stored_runs(run_folder)
    there = {result.task: result.run for result in run_folder.results.values() if result.run in names}
    named = [registered("task of this run", task, there) for task in options.tasks]
    wanted = dict.fromkeys(there[task] for task in named or there)
    output = options.output or run_folder.folder / FOLDER
    results = []
    with locked_folder(output):
        for name in wanted:
            trained = open_trained(run_folder, name, **options.open_options)
            tasks = [task for task in trained.tasks if not named or task.name in named]
            results.append(_analyse(trained, tasks, options, output / f"transfer_{name}_to_{options.to}.json"))
    return results


@dataclass(frozen=True)
class Target:
    """The other dataset: records that are scored, their labels by name, and what a window needs."""

    data: Any
    split: Split
    labels: list[str]
    true: Float


def _analyse(trained: Trained, tasks: Sequence[Task], options: TransferOptions, path: Path) -> TransferResult:
    """The result of one training run, saved after every task."""
    classes = [task for task in tasks if task.kind != "regression"]
    if not classes:
        raise InputError(f"{trained.run.name!r} has no task of classes; regression targets have no codes to map by.")
    target = open_target(trained, options)
    maps = {task.name: _map(trained, task, target, options) for task in classes}
    result = continued(path, _empty(trained, target, options, maps), options.overwrite)
    missing = [task for task in classes if task.name not in result.tasks]
    if not missing and result.complete:
        return result
    # Predictions first, in a file of their own: they cost the time, and scores can be made from them again.
    store = path.with_suffix(".parquet")
    if result.predictions is None:
        predictions = _predicted(trained, target, options.quiet)
        digest = write_predictions(store, predictions)
        result = result.model_copy(update={"predictions": PredictionsFile(file=store.name, sha256=digest)})
        write_analysis(path, result)
    predictions = read_predictions(store, result.predictions.sha256 if result.predictions else None)
    for task in missing:
        scored = _scored(trained, task, target, predictions, maps[task.name], options.resamples)
        result = result.model_copy(update={"tasks": {**result.tasks, task.name: scored}, "complete": False})
        write_analysis(path, result)
    result = result.model_copy(update={"complete": True})
    write_analysis(path, result)
    return result


def open_target(trained: Trained, options: TransferOptions) -> Target:
    """Open the split of the other dataset with its labels."""
    # A limit of the run is of its own records; a run on simulated records may be scored on real ones, and the reverse.
    root = options.data_root or trained.options.data_root
    opened = dataclasses.replace(trained.options, limit=None, data_root=root)
    data, prepared = open_split(Datasets(opened), options.to, options.split, trained.seconds, None)
    if options.column not in prepared.labels:
        columns = ", ".join(prepared.labels) or "none"
        raise InputError(f"{options.to!r} has no label column {options.column!r}; it has: {columns}.")
    labels = list(prepared.labels[options.column])
    if not labels:
        raise DataError(f"No label of {options.to!r} occurs often enough in this copy; see --min-count of its run.")
    whole = data.test
    matrix = label_matrix(prepared.splits[options.split], options.column)[whole.rows]
    chosen = evenly_spaced(len(whole), options.records)
    return Target(data, whole.select(chosen), labels, matrix[chosen])


def _map(trained: Trained, task: Task, target: Target, options: TransferOptions) -> LabelMap:
    stored = trained.predictions
    mine = task.labels_among(stored.labels, stored.groups)
    if options.label_map is not None:
        return read_map(options.label_map, mine, target.labels)
    if trained.run.label_column in ("label_super", "label_sub") and trained.run.dataset == "ptb-xl":
        raise InputError(
            f"The labels of {task.name!r} are groups of statements, which have no SNOMED CT code. Train ptbxl_all or "
            "ptbxl_diag, or pass --map FILE with codes of your own."
        )
    return map_labels(trained.run.dataset, mine, options.to, target.labels, options.column)


def _predicted(trained: Trained, target: Target, quiet: bool) -> Predictions:
    """Outputs of the head on the target; targets are unknown (NaN) in terms of its own labels."""
    # All outputs of the head, mapped or not: another map needs no second pass over the records.
    outputs = trained.predict(target.data, target.split, quiet)
    split = target.split
    return Predictions(
        run=trained.run.name,
        kind=trained.run.kind,
        labels=trained.predictions.labels,
        split=["test"] * len(split),
        record_id=split.record_ids,
        y_true=np.full_like(outputs, np.nan),
        y_prob=outputs,
        patient_id=_known([patient or None for patient in split.patient_ids]),
        regression_targets=trained.predictions.regression_targets,
        age=_known(split.ages),
        sex=_known(split.sexes),
    )


def _known(values: list[Any]) -> list[Any] | None:
    return values if any(value is not None for value in values) else None


def _scored(
    trained: Trained, task: Task, target: Target, outputs: Predictions, mapping: LabelMap, resamples: int | None
) -> TransferTask:
    about: dict[str, Any] = {
        "mapped": [MappedLabel.model_validate(_as_lists(link)) for link in mapping.links],
        "unmapped_source": mapping.unmapped_source,
        "unmapped_target": mapping.unmapped_target,
    }
    if not mapping.links:
        reason = f"no label of {task.name} has a partner in {target.data.dataset}"
        return TransferTask(status="failed", reason=reason, **about)
    names = tuple(link.name for link in mapping.links)
    stored, protocol = trained.predictions, trained.options.protocol
    sources, targets = ([getattr(link, side) for link in mapping.links] for side in ("source", "target"))
    home = dataclasses.replace(
        stored,
        labels=names,
        kind="multi_label_classification",
        y_true=joined(stored.y_true, stored.labels, sources),
        y_prob=joined(stored.y_prob, stored.labels, sources),
        regression_targets=(),
        scales={},
        groups={},
    )
    validation = home.part("validation")
    away = _after(
        validation,
        dataclasses.replace(
            outputs,
            labels=names,
            kind="multi_label_classification",
            y_true=joined(target.true, target.labels, targets),
            y_prob=joined(outputs.y_prob, outputs.labels, sources),
            regression_targets=(),
        ),
    )
    # The labels are concepts now; scoring finds them by name among both sets of predictions.
    mapped_task = task.model_copy(update={"labels": names, "targets": None})
    unit: Any = protocol.resample_unit
    try:
        there = score_task(mapped_task, away, resamples or protocol.resamples, RESAMPLE_SEED, unit, protocol.confidence)
    except EcgHubError as error:
        return TransferTask(status="failed", reason=str(error), **about)
    here = score_task(mapped_task, home, resamples or protocol.resamples, RESAMPLE_SEED, unit, protocol.confidence)
    pairs = zip(about["mapped"], here.per_label, there.per_label, strict=True)
    about["mapped"] = [_flagged(*pair) for pair in pairs]
    return TransferTask(
        status="done",
        metrics=there.metrics,
        per_label=there.per_label,
        subgroups=there.subgroups,
        at_home=here.metrics,
        per_label_at_home=here.per_label,
        **about,
    )


def _flagged(link: MappedLabel, home: LabelResult, away: LabelResult) -> MappedLabel:
    flag = prevalence_flag((home.positives or 0, home.records), (away.positives or 0, away.records))
    return link.model_copy(update={"flag": flag})


def _after(validation: Predictions, test: Predictions) -> Predictions:
    """Validation records of the run, for thresholds, followed by the records that are scored."""

    def both(name: str) -> list[Any] | None:
        first, second = getattr(validation, name), getattr(test, name)
        if second is None:
            return None
        return [*(first if first is not None else [None] * len(validation.record_id)), *second]

    return dataclasses.replace(
        test,
        split=[*validation.split, *test.split],
        record_id=[*validation.record_id, *test.record_id],
        y_true=np.concatenate([validation.y_true, test.y_true]),
        y_prob=np.concatenate([validation.y_prob, test.y_prob]),
        patient_id=both("patient_id"),
        age=both("age"),
        sex=both("sex"),
    )


def _digest(links: Sequence[tuple[str, ...]]) -> str:
    return hashlib.sha256(json.dumps(links).encode()).hexdigest()[:16]


def _as_lists(link: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(link).items()}


def _empty(trained: Trained, target: Target, options: TransferOptions, maps: Mapping[str, LabelMap]) -> TransferResult:
    settings = trained.result_folder.run.settings
    entry = of_config(trained.classifier.config)
    # Random weights have seen nothing, whatever the published weights of their architecture have seen.
    untrained = "random" in (settings.model.id.partition(":")[0], settings.model.origin) or settings.mode == "scratch"
    unnamed = settings.model.origin in ("own", "unverified")
    # What the catalogue says is of its own weights; of others only what the run itself states.
    stated = settings.model.pretraining_corpora if unnamed else declared(trained.classifier.config, entry)
    corpora = [] if untrained else stated
    links = sorted(
        {(link.code, *link.source, "=", *link.target) for label_map in maps.values() for link in label_map.links}
    )
    decides: dict[str, Any] = {
        "run": trained.result_folder.run.fingerprint,
        "head": trained.weights_sha256,
        "data": [options.to, target.data.fingerprint, options.column, options.split],
        "records": ids_digest(target.split.record_ids),
        "resamples": options.resamples or trained.options.protocol.resamples,
        # Files without this line hold logits, to which thresholds of probabilities were applied.
        "outputs": "probabilities",
        # By the links themselves, so that a result of older tables is not continued with newer ones.
        "map": f"tables, links {_digest(links)}" if options.label_map is None else [list(link) for link in links],
    }
    return TransferResult(
        settings=decides,
        **head_of_result(target.data, trained.accelerator.device),
        run=trained.run.name,
        model=settings.model,
        mode=settings.mode,
        seed=settings.seed,
        source=trained.run.dataset,
        target=options.to,
        fingerprint=target.data.fingerprint,
        column=options.column,
        split=options.split,
        records=len(target.split),
        contamination=state(corpora, options.to, config_train_only(trained.classifier.config), target.data.fingerprint),
    )
