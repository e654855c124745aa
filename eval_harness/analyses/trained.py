"""Reopening a finished run with its trained head: run file, predictions, classifier, extractor, data.

Opening datasets, splits and devices outside of a training run.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_scripts.core.extent import RECORDS
from ecg_hub.errors import DataError, InputError, ResultError
from ecg_hub.home import home
from ecg_hub.input.windows import window_length
from ecg_hub.origin import weights_digest
from eval_harness.config.options import TRIVIAL, RunOptions
from eval_harness.data.records import SPLITS, Datasets, open_run
from eval_harness.data.windows import RunData, Split, Windows, make_split
from eval_harness.models.adapting import AdaptedModel
from eval_harness.models.custom_heads import HEAD_FILE, open_custom_head
from eval_harness.results.folders import ResultFolder, find_runs
from eval_harness.results.predictions import Predictions
from eval_harness.results.runfile import environment
from eval_harness.results.schema import ModelInfo, utc_now
from eval_harness.runner.reproduce import options_of
from eval_harness.runner.run import make_accelerator
from eval_harness.tasks.registry import Run, runs, tasks
from eval_harness.tasks.task import Task
from eval_harness.training.features import FeatureCache, Predictor


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
    """One split of a dataset without targets, records of a window or more, evenly spaced; and the prepared dataset."""
    from dataset_scripts.reader import SignalReader

    if split not in SPLITS:
        raise InputError(f"Unknown split {split!r}; allowed: {', '.join(SPLITS)}.")
    prepared = datasets.open(dataset)
    part = prepared.splits[split]
    table = {column: part[column][:] for column in ("record_id", "patient_id", "age", "sex")}
    # No columns instead of none at all: splits are built and cut as those of a run.
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


def head_of_result(data: RunData, device: Any) -> dict[str, Any]:
    """What every analysis of records says first: whether and of which release they are, and how it was made."""
    return {
        "synthetic": bool(data.deviations.get("synthetic")),
        "part_of_release": data.deviations.get(RECORDS),
        "command": ["ecg-eval", *sys.argv[1:]],
        "environment": environment(str(device)),
        "created": utc_now(),
    }


def ids_digest(ids: Sequence[str]) -> str:
    """SHA-256 of record names in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


MODEL_FOLDER = "model"
LARGEST_DIFFERENCE = 1e-2
"""Largest difference between stored predictions and those of the stored head that precision and hardware explain."""


@dataclass(frozen=True)
class Trained:
    """One training run of a result folder.

    Attributes:
        result_folder: where it lies.
        run: the training run.
        tasks: the tasks that were scored from it.
        classifier: encoder and head, in eval mode, on the device.
        weights_sha256: of encoder and head together.
        extractor: with the preset of the run.
        predictions: of validation and test, as they were scored.
        options: those of the run.
        accelerator: device and precision.
    """

    result_folder: ResultFolder
    run: Run
    tasks: tuple[Task, ...]
    classifier: Any
    weights_sha256: str
    extractor: Any
    predictions: Predictions
    options: RunOptions
    accelerator: Any

    @property
    def seconds(self) -> float:
        """Window length in seconds."""
        return float(self.extractor.spec().input_seconds)

    def predict(self, data: RunData, split: Split, quiet: bool = False) -> NDArray[np.float32]:
        """Outputs (records, labels) of the trained head, means over the windows of each record, as stored ones are."""
        # The head's own outputs, whatever targets the data have: of classes the probabilities are averaged.
        labels = list(self.predictions.labels)
        data = replace(data, labels=labels, classes=len(labels) - len(self.predictions.regression_targets))
        # Mode "finetune" because kept features must not be taken for those of other signals.
        model = AdaptedModel(self.classifier, "finetune")
        predictor = Predictor(
            Windows(data, self.extractor, self.options.num_workers),
            self.options.protocol.batch_size,
            self.accelerator.device,
            FeatureCache(None),
            autocast=self.accelerator.autocast,
            gather=lambda items: items,
            quiet=quiet,
        )
        return predictor.predict(model, split)


def find_one(path: Path) -> ResultFolder:
    """Return the run of a result folder."""
    # A path above several runs is refused and not guessed: analyses write into the folder of the run.
    run_folders = find_runs([path])
    if len(run_folders) > 1:
        listed = ", ".join(str(run.folder) for run in run_folders)
        raise InputError(f"There are {len(run_folders)} runs below {str(path)!r}; name one of them: {listed}.")
    return run_folders[0]


def stored_runs(run_folder: ResultFolder) -> list[str]:
    """Return the names of the finished training runs of a result folder whose head was kept."""
    finished = list(dict.fromkeys(result.run for result in run_folder.results.values() if result.status == "done"))
    if not finished:
        raise ResultError(f"{str(run_folder.folder)!r} has no finished result.")
    kept = [name for name in finished if _is_kept(run_folder.folder / MODEL_FOLDER / name)]
    if not kept and run_folder.run.settings.model.id == TRIVIAL:
        raise ResultError(
            f"{str(run_folder.folder)!r} is a run of the baseline {TRIVIAL!r}, which has no encoder and no head to "
            "keep. Name the folder of a run of a model."
        )
    if not kept:
        raise ResultError(
            f"{str(run_folder.folder)!r} keeps no trained head of {', '.join(finished)}. Run again with --save-model, "
            f"into the same folder: {' '.join(run_folder.run.command)} --save-model"
        )
    return kept


def _is_kept(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / HEAD_FILE).is_file()


def open_trained(
    run_folder: ResultFolder,
    name: str,
    data_root: str = "",
    include: tuple[Path, ...] = (),
    model: str | None = None,
    **others: Any,
) -> Trained:
    """Load the head of one of the `stored_runs`; `model` says where an encoder is that is not the hub's."""
    from ecg_hub import ECGFeatureExtractor

    options = options_of(run_folder.run, data_root, run_folder.folder, include=include, **others)
    results = [result for result in run_folder.results.values() if result.run == name and result.status == "done"]
    registry = tasks(include)
    missing = [result.task for result in results if result.task not in registry]
    if missing:
        raise ResultError(f"Task {missing[0]!r} is not known here; pass its file by --include.")
    scored = tuple(registry[result.task] for result in results)
    separate = bool(run_folder.run.settings.data.get("separate"))
    (run,) = [entry for entry in runs(scored, include, separate) if entry.name == name]
    folder = run_folder.folder / MODEL_FOLDER / name
    classifier, labels = _open_head(folder, run_folder.run.settings.model, model)
    predictions = run_folder.predictions(results[0])
    # A head is read by position: in another order every score would be of a wrong label, and look plausible.
    if labels != list(predictions.labels):
        raise ResultError(f"{str(folder)!r} is the head of other labels than the predictions of {name!r}.")
    accelerator = make_accelerator(options)
    return Trained(
        result_folder=run_folder,
        run=run,
        tasks=tuple(task.read_from(name) for task in scored),
        classifier=classifier.to(accelerator.device).eval(),
        weights_sha256=weights_digest(classifier),
        extractor=ECGFeatureExtractor.from_pretrained(folder).with_preset(options.preset),
        predictions=predictions,
        options=options,
        accelerator=accelerator,
    )


def _open_head(folder: Path, run_model: ModelInfo, model: str | None) -> tuple[Any, list[str]]:
    """Encoder with head, and the names of the outputs."""
    import torch

    from ecg_hub import AutoModelForECGClassification

    if (folder / HEAD_FILE).is_file():
        return open_custom_head(folder, run_model, model)
    if model is not None:
        raise InputError(
            f"--model names an encoder that is not the hub's; {str(folder)!r} holds the encoder {run_model.id!r} with "
            "its head. Leave it out."
        )
    # transformers keeps the precision of the file; a run is scored in float32 and casts where it was asked to.
    classifier = AutoModelForECGClassification.from_pretrained(folder, dtype=torch.float32)
    return classifier, [classifier.config.id2label[k] for k in range(classifier.config.num_labels)]


def open_its_data(trained: Trained) -> RunData:
    """Open the data that the run was trained and scored on."""
    data = open_run(trained.run, Datasets(trained.options), trained.seconds)
    stored = trained.result_folder.run.datasets.get(data.dataset)
    # Other records or labels under the same name would pass for robustness, or the lack of it.
    if stored != data.fingerprint:
        raise DataError(
            f"{data.dataset} here is not what the run was scored on: fingerprint {data.fingerprint}, the run has "
            f"{stored}. Pass the --data-root of the run."
        )
    return data


def check_head(trained: Trained, split: Split, outputs: NDArray[np.float32]) -> float:
    """Return the largest difference between outputs of test records and the stored predictions."""
    test = trained.predictions.part("test")
    row_of = {record: row for row, record in enumerate(test.record_id)}
    absent = [record for record in split.record_ids if record not in row_of]
    if absent:
        raise ResultError(f"The run has no prediction of record {absent[0]!r} and {len(absent) - 1} more.")
    stored = test.y_prob[[row_of[record] for record in split.record_ids]]
    largest = float(np.abs(stored - outputs).max(initial=0.0))
    # Not `>`, which would let NaN pass.
    if not largest <= LARGEST_DIFFERENCE:
        raise ResultError(
            f"The stored head of {trained.run.name!r} differs from the stored predictions by {largest:.3g}: they are "
            "not of one training. Run again with --save-model."
        )
    return largest
