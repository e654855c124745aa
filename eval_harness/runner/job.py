"""One job from data to result files: train, predict, write predictions, then score every task that reads the run."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ecg_hub import __version__ as PACKAGE_VERSION  # noqa: N812 - a constant
from ecg_hub.errors import EcgHubError, InputError
from ecg_hub.hub.cards import write_card
from ecg_hub.modeling.kernels import numerics
from ecg_hub.utils.files import write_text
from ecg_hub.utils.terminal import say
from eval_harness.config.protocol import FROZEN_MODES, POST_TRAIN, PUBLISHED_HEAD
from eval_harness.data.records import Datasets, open_run
from eval_harness.data.subsets import subset_of
from eval_harness.data.windows import RunData, Windows
from eval_harness.metrics.thresholds import choose_thresholds, plain_thresholds
from eval_harness.models.adapting import AdaptedModel, adapt
from eval_harness.models.custom_heads import save_custom_head
from eval_harness.models.custom_models import CustomEncoder, features_may_be_kept
from eval_harness.models.loading import LoadedModel, load_model, origin_notice, source_file, with_random_weights
from eval_harness.results.contamination import state as contamination_state
from eval_harness.results.extent import compare, release_info
from eval_harness.results.folders import claim, locked_folder
from eval_harness.results.predictions import Predictions, predictions_sha256, read_predictions, write_predictions
from eval_harness.results.runfile import RunFile, RunSettings, environment, fingerprint
from eval_harness.results.schema import (
    DataInfo,
    ModelInfo,
    PredictionsFile,
    ProtocolInfo,
    RecordCounts,
    Result,
    read_json,
    read_result,
    utc_now,
    write_result,
)
from eval_harness.results.scoring import RESAMPLE_SEED, STATISTICS_VERSION, ScoringError, score_task
from eval_harness.runner.plan import Job
from eval_harness.runner.predicting import (
    precision_deviations,
    predicted_by_baseline,
    predicted_by_published_head,
    predictor_of,
    to_predictions,
)
from eval_harness.tasks.registry import datasets, get_task
from eval_harness.training.feature_store import open_store
from eval_harness.training.features import FeatureCache, Predictor
from eval_harness.training.post_training import PostTrainer
from eval_harness.training.trainer import Checkpoint, Trainer, seed_everything

if TYPE_CHECKING:
    from eval_harness.config.options import RunOptions


@dataclass
class RunContext:
    """What the jobs of one call share: options, processes and device, prepared data, the model in use.

    Attributes:
        held: encoders that are in memory already, by name.
        command: what was called, for run.json.
    """

    options: RunOptions
    accelerator: Any
    datasets: Datasets
    quiet: bool = False
    held: Mapping[str, LoadedModel] = field(default_factory=dict)
    command: Sequence[str] = field(default_factory=lambda: ["ecg-eval", *sys.argv[1:]])
    _told: str = ""
    _loaded: tuple[tuple[str, int, str, bool], LoadedModel, FeatureCache] | None = field(default=None, repr=False)
    _absent: dict[tuple[str, str], EcgHubError | OSError] = field(default_factory=dict, repr=False)

    def model(self, job: Job) -> tuple[LoadedModel, FeatureCache]:
        """The encoder of a job and the cache of its features; one is held at a time."""
        redraw = job.mode == POST_TRAIN and not self.options.post_training.pretrained
        key = (job.model, job.seed, kind_of_weights(job.mode), redraw)
        # Jobs come model by model, so one encoder suffices; the old one goes first, or two would be in memory at once.
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            loaded = self._load(job)
            loaded = with_random_weights(loaded, job.seed) if redraw else loaded
            notice = origin_notice(loaded, job.model, job.mode, job.seed)
            if notice is not None:
                say(notice)
            self._loaded = (key, loaded, self._cache(loaded))
        return self._loaded[1], self._loaded[2]

    def _load(self, job: Job) -> LoadedModel:
        """Load an encoder; weights that are not available are asked for once, since each attempt may fetch."""
        key = (job.model, kind_of_weights(job.mode))
        if key in self._absent:
            raise self._absent[key]
        try:
            return self.held.get(job.model) or load_model(job.model, job.mode, self.options.preset, job.seed)
        except (EcgHubError, OSError) as error:
            self._absent[key] = error
            raise

    def _cache(self, loaded: LoadedModel) -> FeatureCache:
        """The features of an encoder; on disk they are shared with other runs."""
        options = self.options
        # Whatever may change a feature in its last digits, so that a table never serves a run of other numbers.
        settings: tuple[str, ...] = (
            loaded.weights_sha256,
            extractor_digest(loaded),
            options.dtype,
            str(self.accelerator.device.type),
        )
        if self.accelerator.device.type == "cpu":
            settings += (numerics(),)
        # What an object without parameters computes may change without a trace: its features serve this call alone.
        settings += (PACKAGE_VERSION,) if features_may_be_kept(loaded.encoder) else (uuid.uuid4().hex,)
        store = open_store(options.cache_dir / "features", options.cache_size)
        return FeatureCache(store, settings, options.feature_dtype)

    def complain(self, what: str, reason: str) -> None:
        """Say what failed and why; the same reason is told once."""
        say(f"{what} {'As before.' if reason == self._told else reason}", important=True)
        self._told = reason

    @property
    def environment(self) -> dict[str, str]:
        """Versions, machine, device and number of processes, as results name them."""
        return environment(str(self.accelerator.device), self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.accelerator.is_main_process)


def kind_of_weights(mode: str) -> str:
    """What of a model a mode loads: itself, an untrained one, or the authors' head with it."""
    return mode if mode in ("scratch", PUBLISHED_HEAD) else ""


def finished(task: Any, job: Job) -> Result | None:
    """The finished result of one task of a job, or None."""
    path = job.folder / f"{task.name}.json"
    result = read_result(path) if path.is_file() else None
    return result if result is not None and result.status == "done" else None


@dataclass(frozen=True)
class OpenJob:
    """A job under way: what it was opened with, and how long its steps took.

    Attributes:
        cache: of the encoder's features.
        timings_s: step -> seconds.
    """

    job: Job
    context: RunContext
    loaded: LoadedModel
    cache: FeatureCache
    data: RunData
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def options(self) -> RunOptions:
        """What the call asks for."""
        return self.context.options

    @property
    def quiet(self) -> bool:
        """Whether this process shows no progress."""
        return self.context.quiet or not self.context.is_main

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes."""
        started = time.perf_counter()
        yield
        self.timings_s[step] = time.perf_counter() - started


def open_job(job: Job, context: RunContext, started: float) -> OpenJob:
    """A job with its model and its data; what was done for it since `started` is its preparation."""
    loaded, cache = context.model(job)
    # Only now, with the model's window length: which records are long enough depends on it.
    data = open_run(job.run, context.datasets, loaded.extractor.spec().input_seconds)
    if context.options.train_subset is not None:
        data = subset_of(data, context.options.train_subset)
    return OpenJob(job, context, loaded, cache, data, {"prepare": time.perf_counter() - started})


class UnscoredTasksError(ScoringError):
    """Tasks of a run that its predictions give no score of; `reasons` says of each why. The others are scored."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


def run_job(job: Job, context: RunContext) -> list[Result]:
    """Do a job, or what is left of it."""
    started = time.perf_counter()
    loaded, _ = context.model(job)
    _check_save_model(job, context, loaded)
    data = context.datasets.open(job.run.dataset)
    # The lock belongs to a process, not to a run: the others of the same run would be refused.
    with locked_folder(job.folder) if context.is_main else nullcontext():
        asked = run_file(job, context, loaded, data.fingerprint)
        if context.is_main:
            claim(job.folder, asked, context.options.overwrite)
        # Nobody may look for finished tasks before the first process has cleared or refused the folder.
        context.accelerator.wait_for_everyone()
        done = {task.name: result for task in job.tasks if (result := finished(task, job)) is not None}
        # Before the records are opened: to read the targets of a large dataset takes longer than all of this.
        if len(done) == len(job.tasks):
            return [done[task.name] for task in job.tasks]
        opened = open_job(job, context, started)
        predictions, notes = predicted(opened, asked)
        if not context.is_main:
            return []
        return _scored_tasks(opened, predictions, notes, done)


def _check_save_model(job: Job, context: RunContext, loaded: LoadedModel) -> None:
    if context.options.save_model and loaded.is_trivial:  # named beside encoders, it is what they are compared with
        say(f"{job.title}: scored and not kept, for the baseline {loaded.id!r} has no encoder")
    if context.options.save_model and job.mode == PUBLISHED_HEAD:
        raise InputError(f"--save-model keeps what was trained, and mode {PUBLISHED_HEAD} trains nothing.")


def _scored_tasks(
    opened: OpenJob, predictions: Predictions, notes: dict[str, Any], done: Mapping[str, Result]
) -> list[Result]:
    """Score the tasks that are not done; one without a score does not cost those after it."""
    results, reasons = [], {}
    for task in opened.job.tasks:
        try:
            results.append(done.get(task.name) or scored(task, opened, predictions, notes))
        except ScoringError as error:
            reasons[task.name] = str(error)
    if reasons:
        raise UnscoredTasksError(reasons)
    return results


def run_file(job: Job, context: RunContext, loaded: LoadedModel, data_fingerprint: str) -> RunFile:
    """What decides the scores of this job's folder."""
    options = context.options
    settings = RunSettings(
        model=model_info(loaded),
        extractor_sha256=extractor_digest(loaded),
        mode=job.mode,
        protocol=options.protocol.name,
        protocol_values=options.protocol.for_mode(job.mode).as_dict(),
        seed=job.seed,
        dtype=options.dtype,
        feature_dtype=options.feature_dtype,
        data={"mock": options.data_root == "mock", "limit": options.limit, "separate": options.separate},
        post_training=options.post_training.as_dict() if job.mode == POST_TRAIN else None,
        train_subset=None if options.train_subset is None else options.train_subset.as_dict(),
        # None rather than False where it does not apply: run files of earlier versions keep their fingerprint.
        released=True if loaded.released and job.mode not in FROZEN_MODES else None,
        head_sha256=None if loaded.published_head is None else loaded.published_head.sha256,
        head_rules_sha256=None if loaded.published_head is None else loaded.published_head.rules_sha256,
    )
    return RunFile(
        settings=settings,
        fingerprint=fingerprint(settings),
        datasets={job.run.dataset: data_fingerprint},
        tasks={task.name: task.version for task in job.tasks},
        definitions=job.definitions,
        command=list(context.command),
        environment=context.environment,
        created=utc_now(),
    )


def extractor_digest(loaded: LoadedModel) -> str:
    """SHA-256 of the feature extractor's configuration."""
    return hashlib.sha256(loaded.extractor.to_json_string().encode()).hexdigest()


def model_info(loaded: LoadedModel) -> ModelInfo:
    """The model block of a result."""
    return ModelInfo(
        id=loaded.id,
        revision=loaded.revision,
        weights_sha256=loaded.weights_sha256,
        preset=loaded.preset,
        parameters=loaded.parameters,
        pretraining_corpora=loaded.config_corpora,
        pretraining_train_only=loaded.config_train_only,
        origin=None if loaded.origin is None else loaded.origin.kind,
        evidence=None if loaded.origin is None else loaded.origin.evidence,
        source=source_file(loaded),
    )


def predicted(opened: OpenJob, asked: RunFile) -> tuple[Predictions, dict[str, Any]]:
    """Predictions of the run and notes of its training: read when they are there, else made and written."""
    job, options = opened.job, opened.options
    file, notes_file = job.predictions_path, job.folder / "history" / f"{job.run.name}.json"
    whole = file.is_file() and notes_file.is_file()
    # The model is written before the predictions, but an earlier call may not have asked for it: then the run is
    # trained again.
    if whole and (job.model_path.is_dir() or not options.save_model or opened.loaded.is_trivial):
        say(f"{job.title}: predictions are there, only metrics are computed")
        return read_predictions(file), read_json(notes_file)
    if opened.loaded.is_trivial or job.mode == PUBLISHED_HEAD:
        made = (predicted_by_baseline if opened.loaded.is_trivial else predicted_by_published_head)(opened)
        if opened.context.is_main:
            keep(job, *made)
        return made
    model, windows, predictor = assemble(opened)
    trainer = trainer_of(opened, model, windows, predictor, asked)
    with opened.timed("train"):
        progress = trainer.run()
    with opened.timed("predict"):
        outputs = {part.name: predictor.predict(model, part) for part in (opened.data.validation, opened.data.test)}
    predictions = to_predictions(job, opened.data, outputs)
    notes = training_notes(trainer, progress, options, predictor)
    # The accelerator holds on to every model that it has prepared; the next job prepares another.
    opened.context.accelerator.free_memory()
    if opened.context.is_main:
        # This order decides what a kill leaves: the checkpoint goes last, so until all is written the run can still end
        # from it.
        if options.save_model:
            save_model(opened, model, outputs["validation"])
        keep(job, predictions, notes)
        trainer.drop_checkpoints()
    return predictions, notes


def trainer_of(
    opened: OpenJob, model: AdaptedModel, windows: Windows, predictor: Predictor, asked: RunFile
) -> Trainer | PostTrainer:
    """What trains the model of a job, and continues from a checkpoint of the same run."""
    job, options, labels = opened.job, opened.options, opened.data.labels
    # Beyond the settings the checkpoint depends on the records and on the outputs of the head.
    marker = hashlib.sha256(f"{asked.fingerprint}|{opened.data.fingerprint}|{job.run.name}|{labels}".encode())
    checkpoint = Checkpoint(job.folder / "checkpoints" / f"{job.run.name}.pt", marker.hexdigest())
    one_stage = Trainer(
        model, job.mode, windows, predictor, options.protocol, job.seed, opened.context.accelerator, checkpoint,
        label=f"{opened.loaded.id} {job.mode} {job.run.name}", quiet=opened.quiet,
        micro_batch=options.micro_batch, report=say,
    )  # fmt: skip
    return PostTrainer(one_stage, options.post_training) if job.mode == POST_TRAIN else one_stage


def keep(job: Job, predictions: Predictions, notes: dict[str, Any]) -> None:
    """Write notes and predictions of a run: from then on only metrics are left to do."""
    write_text(job.folder / "history" / f"{job.run.name}.json", json.dumps(notes, indent=1) + "\n")
    write_predictions(job.predictions_path, predictions)


def assemble(opened: OpenJob) -> tuple[AdaptedModel, Windows, Predictor]:
    """The model with its new head, the windows it is fed, and what predicts with it."""
    data, mode = opened.data, opened.job.mode
    # "head" in ASCII: a stream of its own, so that the head's start does not depend on what was drawn while loading.
    seed_everything(opened.job.seed, 0x68656164)
    model = adapt(opened.loaded.encoder, mode, data.labels, data.problem_type, opened.options.protocol, data.classes)
    model.to(opened.context.accelerator.device)
    return model, *predictor_of(opened, data)


def training_notes(
    trainer: Trainer | PostTrainer, progress: Any, options: RunOptions, predictor: Predictor
) -> dict[str, Any]:
    """What the result says of the training: curve, best epoch, settings, and deviations that the data forced."""
    post = trainer.settings if isinstance(trainer, PostTrainer) else None
    deviations: dict[str, Any] = {} if post is None else post.changes()
    if trainer.batch_size < trainer.plan.batch_size:
        deviations["batch_size"] = trainer.batch_size
    if trainer.micro_batch is not None and trainer.micro_batch < trainer.batch_size:
        deviations["micro_batch"] = trainer.micro_batch
    if progress.best_score is None:
        deviations["selection"] = "last epoch: no validation class has both outcomes"
    deviations |= precision_deviations(options, trainer.model.frozen) | predictor.not_finite_deviation()
    return {
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "deviations": deviations,
        **({} if post is None else {"post_training": post.as_dict()}),
        "trained_parameters": trainer.model.trained_parameters,
        "features_encoded_again": predictor.cache.skipped,
        "history": progress.history,
    }


def scored(task: Any, opened: OpenJob, predictions: Predictions, notes: dict[str, Any]) -> Result:
    """Score one task, write its result file, return the result."""
    job, loaded, data = opened.job, opened.loaded, opened.data
    started = time.perf_counter()
    protocol = opened.options.protocol.for_mode(job.mode)
    unit: Any = protocol.resample_unit
    score = score_task(task, predictions, protocol.resamples, RESAMPLE_SEED, unit, protocol.confidence)
    timings = {**opened.timings_s, "score": time.perf_counter() - started}
    deviations = {**protocol.deviations(), **data.deviations, **notes["deviations"]}
    # A task that shares its run with others was trained by itself: another model than the published one.
    if task.run != get_task(task.name, opened.options.include).run:
        deviations["separate"] = True
    if score.labels.scored != score.labels.published:
        deviations["labels"] = f"{score.labels.scored}/{score.labels.published}"
    counts = RecordCounts(train=len(data.train), validation=len(data.validation), test=len(data.test))
    deviations |= compare(data.dataset, data.copy, counts.model_dump(), deviations).differences
    # Mode scratch begins at random weights whatever the name says, so nothing can have been seen.
    corpora = [] if loaded.is_random or job.mode == "scratch" else loaded.corpora
    result = Result(
        task=task.name,
        task_version=task.version,
        run=job.run.name,
        status="done",
        model=model_info(loaded),
        mode=job.mode,
        protocol=ProtocolInfo(
            name=protocol.name,
            deviations=deviations,
            trained_parameters=notes.get("trained_parameters"),
            published_head=notes.get("published_head"),
        ),
        seed=job.seed,
        statistics_version=STATISTICS_VERSION,
        data=DataInfo(
            name=data.dataset,
            fingerprint=data.fingerprint,
            records=counts,
            labels=score.labels,
            contamination=contamination_state(corpora, data.dataset, loaded.config_train_only, data.fingerprint),
            release=release_info(data.copy, job.run.label_column),
        ),
        metrics=score.metrics,
        per_label=score.per_label,
        subgroups=score.subgroups,
        predictions=PredictionsFile(
            file=f"predictions/{job.run.name}.parquet", sha256=predictions_sha256(job.predictions_path)
        ),
        timings_s={name: round(seconds, 3) for name, seconds in timings.items()},
        environment=opened.context.environment,
        created=utc_now(),
    )
    write_result(job.folder / f"{task.name}.json", result)
    return result


def save_model(opened: OpenJob, model: AdaptedModel, validation: Any) -> None:
    """Keep encoder, head, extractor and thresholds as a folder that AutoModelForECGClassification loads.

    Of an encoder that is not ours its head is kept, and its weights where they were trained (`custom_heads`).
    """
    job, loaded, data = opened.job, opened.loaded, opened.data
    target = job.model_path
    # Filled aside and renamed: a folder of that name is taken as proof that the model was kept.
    aside = target.with_name(f".{target.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    classifier: Any = model.classifier
    classes_only = data.classes == len(data.labels)
    chosen = choose_thresholds(data.validation.targets, validation) if classes_only else None
    note_access(classifier.config, opened)
    loaded.extractor.save_pretrained(aside)  # first, for the card states what it feeds
    if isinstance(loaded.encoder, CustomEncoder):
        heads = opened.options.protocol.attention_heads
        save_custom_head(aside, model, model_info(loaded), job.mode, list(data.labels), chosen, heads)
    else:
        classifier.config.thresholds = plain_thresholds(chosen)
        classifier.config.target_scales = data.target_scales
        classifier.head_is_new = False
        if not model.frozen:  # a fixed encoder has seen nothing of this dataset: only its head has
            note_training(classifier.config, job, loaded, data)
        with torch.no_grad():
            classifier.save_pretrained(aside)
        write_card(aside, classifier)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)


def note_access(config: Any, opened: OpenJob) -> None:
    """Let a configuration name data for credentialed users: a head alone was made of their labels as well."""
    data, declared = opened.data, datasets(opened.options.include)[opened.job.run.dataset]
    if declared.access == "credentialed" and not data.deviations.get("synthetic"):
        config.credentialed = sorted({*(config.credentialed or ()), data.dataset})


def note_training(config: Any, job: Job, loaded: LoadedModel, data: RunData) -> None:
    """Let a configuration say what the encoder was trained on; weights that were drawn at random no longer are."""
    began = "own" if loaded.origin is None else loaded.origin.kind
    step = {"dataset": data.dataset, "run": job.run.name, "mode": job.mode, "seed": job.seed, "began": began}
    step |= {"simulated": True} if data.deviations.get("synthetic") else {}
    config.training = [*(config.training or []), step]
    config.random_weights = None
