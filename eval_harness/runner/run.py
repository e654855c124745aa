"""The runner: does the planned jobs one after the other and turns what goes wrong into rows."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from ecg_hub.errors import EcgHubError, InputError, ResultError
from ecg_hub.utils.files import write_text
from eval_harness.config.options import RunOptions
from eval_harness.data.records import Datasets
from eval_harness.results.folders import FolderRefusedError
from eval_harness.results.schema import ModelInfo, ProtocolInfo, Result, utc_now, write_result
from eval_harness.results.summary import write_spread
from eval_harness.runner.job import RunContext, finished, run_job, say
from eval_harness.runner.plan import Job, plan

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def evaluate(options: RunOptions, quiet: bool = False) -> list[Result]:
    """Score models on tasks; continues what an earlier call with the same settings left."""
    jobs = plan(options)
    context = RunContext(options, make_accelerator(options), Datasets(options), quiet)
    results: list[Result] = []
    for job in jobs:
        results += attempt(job, context)
    if context.is_main and len(options.seeds) > 1:
        write_spread({(job.model, job.mode): job.folder.parent for job in jobs}, results)
    return results


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
        raise InputError(f"Device {device!r} is not to be had here; there is: {there}.")
    # Accelerate joins several CPU processes into one run only when it is told that the CPU is meant.
    cpu = device == "cpu" or (device is None and not available["cuda"] and not available["mps"])
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
    try:
        return run_job(job, context)
    except FolderRefusedError:
        raise
    except (EcgHubError, OSError) as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        keep_traceback(job)
    context.complain(f"{job.title}: failed.", reason)
    return [kept(task, job) or failed(task, job, context, reason) for task in job.tasks]


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
        say(str(error))
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
    """0 when every row is done or skipped because the mode does not apply, else 1."""
    return int(any(result.status == "failed" for result in results))
