"""The runner: does the planned jobs one after the other and turns what goes wrong into rows.

`describe_run` says instead what a call would do, and roughly what it costs in time and disk (`--dry-run`).
"""

from __future__ import annotations

import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ecg_hub.errors import EcgHubError, ExitCode, InputError, ResultError
from ecg_hub.modeling.kernels import fast_bfloat16
from ecg_hub.utils.files import write_text
from ecg_hub.utils.remote import bring, publish
from ecg_hub.utils.terminal import say
from ecg_hub.utils.text import number_of
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import FROZEN_MODES, POST_TRAIN, PUBLISHED_HEAD
from eval_harness.data.records import SPLITS, Datasets, locate
from eval_harness.models.loading import LoadedModel, load_model, load_unfetched, origin_notice
from eval_harness.models.published_head import NoPublishedHeadError
from eval_harness.results.folders import FolderRefusedError
from eval_harness.results.schema import ModelInfo, ProtocolInfo, Result, utc_now, write_result
from eval_harness.results.summary import write_spread
from eval_harness.runner.job import RunContext, UnscoredTasksError, finished, run_job
from eval_harness.runner.plan import Job, plan
from eval_harness.runner.preflight import Preflight, preflight
from eval_harness.runner.provide import preview, ready, weights_to_fetch

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def evaluate(
    options: RunOptions,
    quiet: bool = False,
    checked: Preflight | None = None,
    *,
    raise_errors: bool = False,
    **call: Any,
) -> list[Result]:
    """Score models on tasks; continues what an earlier call with the same settings left.

    Args:
        options: what is asked for.
        quiet: show no progress.
        checked: what `ready` found for an analysis that makes many calls; None asks it for this one.
        raise_errors: raise the first failure.
        **call: further fields of `RunContext`.

    Raises:
        UnknownNameError, CheckpointError, DataError: nothing can run; says in one block what is missing.
    """
    # First of all: what is missing is told before anything heavy is loaded.
    found = ready(options) if checked is None else checked
    jobs = found.mark(plan(options))
    options = with_dtype(options)
    for folder in dict.fromkeys(job.folder for job in jobs):
        bring(folder, needed=False)
    context = RunContext(options, make_accelerator(options), Datasets(options), quiet, **call)
    results: list[Result] = []
    for job in jobs:
        results += run_job(job, context) if raise_errors and not job.skip else attempt(job, context)
        if context.is_main:
            # After each: whoever goes on elsewhere begins at the next one.
            publish(job.folder, leave=is_checkpoint)
    if context.is_main and len(options.seeds) > 1:
        write_spread({(job.model, job.mode): job.folder.parent for job in jobs}, results)
        for folder in dict.fromkeys(job.folder.parent for job in jobs):
            publish(folder, leave=is_checkpoint)
    # A launcher ends all processes as soon as one exits with 1: only the one that writes says how it went.
    return results if context.is_main else []


def with_dtype(options: RunOptions) -> RunOptions:
    """The options with the precision that `auto` takes here, which is said; results and folders name that one."""
    if options.dtype != "auto":
        return options
    device = make_accelerator(replace(options, dtype="float32")).device.type
    has = torch.cuda.is_bf16_supported() if device == "cuda" else device == "cpu" and fast_bfloat16()
    taken, why = ("bfloat16", "computes") if has else ("float32", "does not compute")
    say(f"--dtype auto: {taken}, because this {device} {why} bfloat16 in hardware.")
    return replace(options, dtype=taken)


def is_checkpoint(name: str) -> bool:
    """Whether a file of a result folder is of use only to the machine that wrote it."""
    return "checkpoints" in name.split("/")


def make_accelerator(options: RunOptions) -> Any:
    """The processes, device and precision of a call."""
    return accelerator_for(options.device, PRECISION[options.dtype])


def accelerator_for(device: str | None, precision: str, **more: Any) -> Any:
    """An `accelerate.Accelerator` over all processes."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is not None and not available.get(device, False):
        there = ", ".join(name for name, present in available.items() if present)
        raise InputError(f"Device {device!r} is not available here; available: {there}.")
    # Accelerate joins several CPU processes into one run only when it is told that the CPU is meant.
    cpu = device == "cpu" or (device is None and not available["cuda"] and not available["mps"])
    # Accelerate keeps device and precision for the life of the process and would give a second call those of the first.
    state = AcceleratorState._shared_state
    if state and (state.get("_mixed_precision") != precision or cpu != bool(state.get("_cpu"))):
        AcceleratorState._reset_state()
        PartialState._reset_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Accelerator(cpu=cpu, mixed_precision=precision, **more)


def attempt(job: Job, context: RunContext) -> list[Result]:
    """Do a job; what goes wrong becomes rows with a reason, and the next job is done."""
    if job.skip:
        return [row(task, job, context, "skipped", job.skip) for task in job.tasks]
    if job.missing:
        return [kept(task, job) or row(task, job, context, "skipped", job.missing) for task in job.tasks]
    reasons: Mapping[str, str] = {}
    try:
        return run_job(job, context)
    except NoPublishedHeadError as error:
        return [kept(task, job) or row(task, job, context, "skipped", str(error)) for task in job.tasks]
    # The folder belongs to other settings: nothing may be written into it, not even that it failed.
    except FolderRefusedError:
        raise
    except (EcgHubError, OSError) as error:
        reason, reasons = str(error), error.reasons if isinstance(error, UnscoredTasksError) else {}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        keep_traceback(job)
    context.complain(f"{job.title}: failed.", reason)
    # A task that was finished before keeps its result; only the others get a row that says why there is none.
    return [kept(task, job) or failed(task, job, context, reasons.get(task.name, reason)) for task in job.tasks]


def kept(task: Any, job: Job) -> Result | None:
    """The finished result of a task whose run failed at another task, or None."""
    try:
        return finished(task, job)
    except ResultError:
        return None


def failed(task: Any, job: Job, context: RunContext, reason: str) -> Result:
    """A failed row, written to its file where the folder can be written."""
    result = row(task, job, context, "failed", reason)
    try:
        write_result(job.folder / f"{task.name}.json", result)
    except ResultError as error:
        say(str(error), important=True)
    return result


def row(task: Any, job: Job, context: RunContext, status: Any, reason: str) -> Result:
    """A result without a score."""
    protocol = context.options.protocol.for_mode(job.mode)
    return Result(
        task=task.name,
        task_version=task.version,
        run=job.run.name,
        status=status,
        reason=reason,
        model=ModelInfo(id=job.model, preset=context.options.preset),
        mode=job.mode,
        protocol=ProtocolInfo(name=protocol.name, deviations=protocol.deviations()),
        seed=job.seed,
        environment=context.environment,
        created=utc_now(),
    )


def keep_traceback(job: Job) -> None:
    """Keep the traceback of an unexpected error beside the results; it goes into a bug report."""
    text = traceback.format_exc()
    try:
        write_text(job.folder / "errors" / f"{job.run.name}.txt", text)
    except ResultError:
        print(text, file=sys.stderr)


def exit_code(results: Sequence[Result]) -> int:
    """How the rows of a run end a command; one skipped because its mode does not apply is no failure."""
    failed = sum(result.status == "failed" or bool(result.lacks) for result in results)
    return ExitCode.of(sum(result.status == "done" for result in results), failed)


# Forward plus backward costs about three forwards; a frozen encoder needs the forward alone.
TRAIN_COST = {True: 1.0, False: 3.0}
PROBE_WINDOWS, PROBE_FEWER = 16, 4
PROBE_REPEATS = 2
PROBE_SLOW_SECONDS = 0.05
"""A window that takes longer is measured in few: for 10 encoders the large ones cost more than all else."""


def describe_run(options: RunOptions, checked: Preflight | None = None) -> str:
    """What is missing, what would be fetched, and the planned runs with records, estimated time and disk.

    Nothing is fetched.
    """
    checked = preflight(options) if checked is None else checked
    if checked.unknown:
        checked.require()
    jobs = checked.jobs
    speeds: dict[str, tuple[float, int, int]] = {}
    counts: dict[str, dict[str, int] | str] = {}
    absent = {model.name: text for model in checked.fetches if (text := weights_to_fetch(model))}
    lines = [*checked.describe().splitlines(), *(f"first fetched: {text}" for text in absent.values())]
    if options.download:
        lines += preview(checked)
    deviations = options.protocol.deviations() or ""
    lines.append(f"{number_of(len(jobs), 'run')}, protocol {options.protocol.name} {deviations}".rstrip())
    total_s = total_bytes = 0.0
    for job in jobs:
        if job.skip:
            lines.append(f"  {job.title}: skipped, {job.skip}")
            continue
        if job.missing:  # said above, with what gets it
            lines.append(f"  {job.title}: {job.missing.partition(': ')[0]}")
            continue
        if job.run.dataset not in counts:
            counts[job.run.dataset] = count_records(options, job.run.dataset)
        if job.model not in speeds:
            speeds[job.model] = probe(job, options, job.model in absent)
        records = counts[job.run.dataset]
        if isinstance(records, str):
            lines.append(f"  {job.title}: {records}")
            continue
        seconds, size = estimate(job, options, records, *speeds[job.model])
        total_s, total_bytes = total_s + seconds, total_bytes + size
        tasks = ", ".join(task.name for task in job.tasks)
        sizes = " / ".join(f"{records[name]:,}" for name in ("train", "validation", "test"))
        lines.append(f"  {job.title}: {sizes} records, {clock(seconds)}, {size / 1e6:.0f} MB -> {tasks}")
    lines.append(f"about {clock(total_s)} on this machine and {total_bytes / 1e6:.0f} MB below {options.output}/")
    return "\n".join(lines)


def count_records(options: RunOptions, name: str) -> dict[str, int] | str:
    """Records per split from the dataset's tables, without reading signals; or what is missing, in words.

    Where labels stand in the records themselves, folds are not known before these are read: of ten folds the last two
    are validation and test.
    """
    from dataset_scripts import catalog

    source, data_dir = locate(options, name)
    try:
        dataset = catalog.get(source, data_dir)
        folder = dataset.check_folder(data_dir, dataset.sampling_rate)
        table = dataset.scan(folder, dataset.sampling_rate).table
        if set(dataset.metadata_columns) <= set(table.columns):
            # A record's length stands in its signal: until that is read, none is too short.
            metadata = table.assign(samples=np.iinfo(np.int32).max)
            split = dataset.label_table(metadata, folder, dataset.thresholds).split
        else:
            split = np.array([SPLITS[max(fold - 7, 0)] for fold in range(10)])[np.arange(len(table)) % 10]
    except EcgHubError as error:
        return f"no data: {error}"
    counts = {part: int((split == part).sum()) for part in SPLITS}
    return {part: min(n, options.limit or n) for part, n in counts.items()}


def probe(job: Job, options: RunOptions, absent: bool = False) -> tuple[float, int, int]:
    """Seconds per window forward, parameters, and windows per ten-second record, measured on a few windows.

    Weights that are `absent` are not fetched for that: random ones of the same architecture take as long.
    """
    loaded = load_unfetched(job.model, options.preset) if absent else load_probed(job, options)
    if loaded.is_trivial:  # its features take seconds for a dataset
        return 0.0, 0, 1
    encoder, spec = loaded.encoder, loaded.extractor.spec()
    values = torch.from_numpy(
        np.random.default_rng(0).normal(0, 0.2, (PROBE_WINDOWS, len(spec.lead_names), spec.samples)).astype(np.float32)
    )
    encoder.eval()
    with torch.inference_mode():
        # Twice one window: the first pass sets memory aside and chooses algorithms.
        slow = min(_timed(lambda: encoder(values[:1])) for _ in range(PROBE_REPEATS)) > PROBE_SLOW_SECONDS
        values = values[:PROBE_FEWER] if slow else values
        # The fastest of some: other work on the machine only ever adds.
        seconds = min(_timed(lambda: encoder(values)) for _ in range(PROBE_REPEATS))
    return seconds / len(values), loaded.parameters, max(int(10 // spec.input_seconds), 1)


def load_probed(job: Job, options: RunOptions) -> LoadedModel:
    """The model of a job, with what is to be said of its weights."""
    loaded = load_model(job.model, job.mode, options.preset, job.seed)
    if (notice := origin_notice(loaded, job.model, job.mode, job.seed)) is not None:
        say(notice)
    return loaded


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def estimate(
    job: Job, options: RunOptions, records: dict[str, int], per_window: float, parameters: int, windows: int
) -> tuple[float, float]:
    """Seconds and bytes of one run."""
    untrained, epochs = job.mode == PUBLISHED_HEAD, options.protocol.epochs
    frozen = untrained or job.mode in FROZEN_MODES
    if job.mode == POST_TRAIN:  # stage 1 encodes once, as long as the windows fit into the cache
        epochs = options.post_training.stage2_epochs + int(options.post_training.preview)
    once = frozen and options.protocol.train_windows == "consecutive"  # as long as the windows fit into the cache
    train = 0 if untrained else records["train"] * (windows if once else epochs) * per_window * TRAIN_COST[frozen]
    validation = records["validation"] * windows * per_window * (1 if frozen else epochs)
    test = records["test"] * windows * per_window
    # A run that takes a whole label column learns its number only from the data.
    outputs = job.run.count or 100
    # Target and output, four bytes each.
    predictions = (records["validation"] + records["test"]) * outputs * 8
    saved = parameters * 4 if options.save_model else 0
    # Weights, the best epoch's weights and the two moments of AdamW, four bytes each.
    checkpoint = 0 if frozen else parameters * 16
    return train + validation + test, float(predictions + saved + checkpoint)


def clock(seconds: float) -> str:
    """A duration a person can read: "3 h 05 min", "12 min", "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 90 else f"{minutes} min"
