"""`ecg-eval run --dry-run`: what a call would do, and roughly what it costs in time and disk."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from ecg_hub.errors import EcgHubError
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import POST_TRAIN
from eval_harness.data.records import SPLITS, locate
from eval_harness.models.adapting import FROZEN_MODES
from eval_harness.runner.plan import Job, plan

# Forward plus backward costs about three forwards; a frozen encoder needs the forward alone.
TRAIN_COST = {True: 1.0, False: 3.0}
PROBE_WINDOWS = 16
PROBE_REPEATS = 2


def describe_run(options: RunOptions) -> str:
    """The planned runs, one line each, with records, steps, estimated time and disk."""
    jobs = plan(options)
    speeds: dict[str, tuple[float, int, int]] = {}
    counts: dict[str, dict[str, int] | str] = {}
    lines = [f"{len(jobs)} runs, protocol {options.protocol.name} {options.protocol.deviations() or ''}".rstrip()]
    total_s = total_bytes = 0.0
    for job in jobs:
        if job.skip:
            lines.append(f"  {job.title}: skipped, {job.skip}")
            continue
        if job.run.dataset not in counts:
            counts[job.run.dataset] = count_records(options, job.run.dataset)
        if job.model not in speeds:
            speeds[job.model] = probe(job, options)
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
    """Records per split from the dataset's tables, without reading signals; or what is missing, in words."""
    from dataset_scripts import catalog

    source, data_dir = locate(options, name)
    try:
        dataset = catalog.get(source, data_dir)
        folder = dataset.check_folder(data_dir, dataset.sampling_rate)
        metadata = dataset.scan(folder, dataset.sampling_rate).table
        split = dataset.label_table(metadata, folder, dataset.thresholds).split
    except EcgHubError as error:
        return f"no data: {error}"
    counts = {part: int((split == part).sum()) for part in SPLITS}
    return {part: min(n, options.limit or n) for part, n in counts.items()}


def probe(job: Job, options: RunOptions) -> tuple[float, int, int]:
    """Seconds per window forward, parameters, and windows per ten-second record, measured on a few windows."""
    from eval_harness.models.loading import load_model, origin_notice
    from eval_harness.runner.job import say

    loaded = load_model(job.model, job.mode, options.preset, job.seed)
    if (notice := origin_notice(loaded, job.model, job.mode, job.seed)) is not None:
        say(notice)
    spec = loaded.extractor.spec()
    values = torch.from_numpy(
        np.random.default_rng(0).normal(0, 0.2, (PROBE_WINDOWS, len(spec.lead_names), spec.samples)).astype(np.float32)
    )
    loaded.encoder.eval()
    with torch.inference_mode():
        loaded.encoder(values)
        seconds = min(_timed(lambda: loaded.encoder(values)) for _ in range(PROBE_REPEATS))
    return seconds / PROBE_WINDOWS, loaded.parameters, max(int(10 // spec.input_seconds), 1)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def estimate(
    job: Job, options: RunOptions, records: dict[str, int], per_window: float, parameters: int, windows: int
) -> tuple[float, float]:
    """Seconds and bytes of one run."""
    frozen, epochs = job.mode in FROZEN_MODES, options.protocol.epochs
    if job.mode == POST_TRAIN:  # stage 1 encodes once, as long as the windows fit into the cache
        epochs = options.post_training.stage2_epochs + int(options.post_training.preview)
    once = frozen and options.protocol.train_windows == "consecutive"  # as long as the windows fit into the cache
    train = records["train"] * (windows if once else epochs) * per_window * TRAIN_COST[frozen]
    validation = records["validation"] * windows * per_window * (1 if frozen else epochs)
    test = records["test"] * windows * per_window
    outputs = job.run.count or 100
    predictions = (records["validation"] + records["test"]) * outputs * 8
    saved = parameters * 4 if options.save_model else 0
    checkpoint = 0 if frozen else parameters * 16
    return train + validation + test, float(predictions + saved + checkpoint)


def clock(seconds: float) -> str:
    """A duration a person can read: "3 h 05 min", "12 min", "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 90 else f"{minutes} min"
