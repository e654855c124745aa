"""One pre-training run from its options to its folder.

OUTPUT/pretrain.json      what decides the weights, with a fingerprint: another run is refused
OUTPUT/log.jsonl          a line per logged step and per probe
OUTPUT/curves.png, .svg   the log, drawn
OUTPUT/checkpoints/       the last ones, each with a hub model in it
OUTPUT/model/             the hub model of the newest checkpoint
OUTPUT/probes/            result files of the probes
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError

from ecg_hub.errors import InputError, ResultError
from ecg_hub.utils import remote
from ecg_hub.utils.files import atomic_folder, remove_abandoned, resumed, write_text
from ecg_hub.utils.terminal import say
from eval_harness.metrics.registry import MACRO_AUROC, MACRO_MAE
from eval_harness.pretrain.config import PretrainConfig, PretrainOptions, Probe
from eval_harness.pretrain.log import (
    LOG_FILE,
    TrainingLog,
    check_trackers,
    read_log,
    same_probe,
    tracked,
    tracking_arguments,
    write_curves,
)
from eval_harness.pretrain.loop import Pretrainer
from eval_harness.pretrain.order import BatchSource, check_batch, lanes_of_process
from eval_harness.pretrain.sources import train_only
from eval_harness.pretrain.weights import (
    MODEL,
    Checkpoints,
    InitialWeights,
    architecture_changes,
    filler,
    from_scratch,
    from_weights,
    no_bar,
    publish,
)
from eval_harness.results.folders import LOCK_FILE, FolderRefusedError, locked_folder
from eval_harness.results.runfile import environment, walk
from eval_harness.results.schema import Strict, UtcTime, in_words, read_json, utc_now

RUN_FILE, CURVES = "pretrain.json", "curves"
CHECKPOINTS, PROBES = "checkpoints", "probes"
METRICS = (MACRO_AUROC, MACRO_MAE)
DTYPES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}
DRAW_SECONDS = 60.0
"""Curves are drawn again at a checkpoint so long after the last time, and at the end."""
SCALED_OVER = 1024
"""Windows, at least, over which features are scaled."""


OpenSource = Callable[[PretrainConfig, Any, int, int], BatchSource]
"""Opens the data: (numbers, configuration of the model, rank, processes) -> source."""


class PretrainFile(Strict):
    """The content of pretrain.json: `settings` decide the weights; the rest says how it came about."""

    schema_version: Literal["1.0"] = "1.0"
    settings: dict[str, JsonValue]
    fingerprint: str
    corpora: list[str]
    train_only: dict[str, str] = Field(default_factory=dict)
    simulated: list[str] = Field(default_factory=list)
    records: int
    command: list[str]
    environment: dict[str, str]
    created: UtcTime


def pretrain(
    options: PretrainOptions, config: PretrainConfig, open_source: OpenSource, quiet: bool = False
) -> list[dict[str, Any]]:
    """Train, or continue what an earlier call with the same settings left."""
    from eval_harness.runner.run import accelerator_for

    check_trackers(options.track)
    start = (
        from_scratch(options.model, options.settings, config.seed)
        if options.init is None
        else from_weights(options.init, options.settings, config.seed)
    )
    accelerator = accelerator_for(
        options.device, config.mixed_precision, **tracking_arguments(options.track, options.output)
    )
    source = _open(config, start, accelerator, open_source)
    total = config.total_steps(source.records)
    asked = _run_file(config, start, source, total, accelerator)
    main = accelerator.is_main_process
    with locked_folder(options.output) if main else nullcontext():
        if main:
            remote.bring(options.output, needed=False)
            claim(options.output, asked, options.overwrite)
        accelerator.wait_for_everyone()
        run = _Run(options, config, start, source, accelerator, total, asked)
        with tracked(accelerator, options.track, asked.settings):
            run.trainer(quiet or not main).run()
            # Before trackers end, which ends the group of the processes as well.
            for line in _unusable(source):
                run.say(line)
        return read_log(options.output / LOG_FILE) if main else []


def _unusable(source: BatchSource) -> list[str]:
    """What no process could use, a line per reason; every process has to ask."""
    from accelerate.utils import gather_object

    from eval_harness.pretrain.record_batch import together

    skipped = getattr(source, "unusable", None)
    # Each process knows the records of its own lanes alone.
    return [] if skipped is None else together(gather_object([skipped.counted()])).lines()


def _open(config: PretrainConfig, start: InitialWeights, accelerator: Any, open_source: OpenSource) -> BatchSource:
    """The data of this process, and whether batch, lanes and pieces go together."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = lanes_of_process(config.lanes, rank, world)
    if len(mine) % config.accumulate:
        raise InputError(
            f"The {len(mine)} lanes of a process cannot be cut into {config.accumulate} pieces: choose --accumulate as "
            "a divisor."
        )
    # torch's SyncBatchNorm refuses the CPU too, but only in its first forward pass.
    if config.batch_norm == "sync" and accelerator.device.type != "cuda":
        raise InputError(f"--batch-norm sync works on GPUs; here it is {accelerator.device.type}: local or frozen.")
    with accelerator.main_process_first():  # which prepares, where that is needed
        source = open_source(config, start.model.config, rank, world)
    check_batch(config.batch_size, config.lanes, source.records)
    return source


def _run_file(
    config: PretrainConfig, start: InitialWeights, source: BatchSource, total: int, accelerator: Any
) -> PretrainFile:
    settings: dict[str, JsonValue] = {
        "numbers": config.decisive(total),
        "start": start.decisive,
        "data": source.fingerprint,
    }
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return PretrainFile(
        # As they will be read again, with lists for tuples: else the first comparison would find a difference.
        settings=json.loads(text),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        corpora=sorted({*start.corpora, *source.corpora}),
        train_only=_train_only(start, source),
        simulated=_simulated(start, source),
        records=source.records,
        command=["ecg-hub", *sys.argv[1:]],
        environment=environment(str(accelerator.device), accelerator.num_processes),
        created=utc_now(),
    )


def _simulated(start: InitialWeights, source: BatchSource) -> list[str]:
    """Datasets of which neither these weights nor this run saw a real record."""
    simulated = {*start.simulated, *source.simulated}
    real = {*start.corpora} - {*start.simulated} | {*source.corpora} - {*source.simulated}
    return sorted(simulated - real)


def _train_only(start: InitialWeights, source: BatchSource) -> dict[str, str]:
    """Corpora of which neither the weights at the start nor this run have read other than training records."""
    before = [(corpus, start.train_only.get(corpus)) for corpus in start.corpora]
    return train_only([*before, *((corpus, source.train_only.get(corpus)) for corpus in source.corpora)])


def claim(folder: Path, asked: PretrainFile, overwrite: bool) -> None:
    """Write pretrain.json, or refuse the folder of another run; `overwrite` discards what it holds."""
    path = folder / RUN_FILE

    def refusal(different: Sequence[str]) -> FolderRefusedError:
        listed = "\n".join(f"  {line}" for line in different)
        return FolderRefusedError(
            f"{str(folder)!r} holds another run:\n{listed}\nChoose another --output, or --overwrite to discard it."
        )

    stored = resumed(None if overwrite else read_run_file(path), lambda run: _differences(run, asked), refusal)
    if stored is None:
        # The run file first: while anything is left without it, the next call clears the folder again.
        for name in (RUN_FILE, LOG_FILE, f"{CURVES}.png", f"{CURVES}.svg"):
            (folder / name).unlink(missing_ok=True)
        for name in (CHECKPOINTS, MODEL, PROBES):
            shutil.rmtree(folder / name, ignore_errors=True)
    for part in (folder, folder / CHECKPOINTS):
        remove_abandoned(part, keep=LOCK_FILE)
    created = asked.created if stored is None else stored.created
    write_text(path, asked.model_copy(update={"created": created}).model_dump_json(indent=1) + "\n")


def _differences(stored: PretrainFile, asked: PretrainFile) -> list[str]:
    """Say in words what differs; the fingerprint decides, for checkpoints carry it."""
    if stored.fingerprint == asked.fingerprint:
        return []
    return list(walk("", stored.settings, asked.settings)) or [f"fingerprint {stored.fingerprint[:12]} in the folder"]


def read_run_file(path: Path) -> PretrainFile | None:
    """Read pretrain.json; None where there is none."""
    if not path.is_file():
        return None
    try:
        return PretrainFile.model_validate(read_json(path))
    except ValidationError as error:
        raise ResultError(f"{str(path)!r} is not a run file of this version: {in_words(error)}.") from error


@dataclass
class _Run:
    """What happens at the steps of a run besides training."""

    options: PretrainOptions
    config: PretrainConfig
    start: InitialWeights
    source: BatchSource
    accelerator: Any
    total: int
    file: PretrainFile
    # `monotonic` may begin near 0 at boot, and the first checkpoint is drawn all the same.
    drawn: float = -DRAW_SECONDS

    def __post_init__(self) -> None:
        self.log = TrainingLog(self.options.output / LOG_FILE)
        self.fill = filler(self.start.model, self.start.entry, self._facts(), self.log.path, self.config.seconds)

    def trainer(self, quiet: bool) -> Pretrainer:
        """The loop."""
        return Pretrainer(
            model=self.start.model,
            config=self.config,
            source=self.source,
            accelerator=self.accelerator,
            checkpoints=Checkpoints(
                self.options.output / CHECKPOINTS, self.file.fingerprint, self.config.keep, self.say
            ),
            log=self.log,
            total=self.total,
            fill_model=self.fill,
            at_step=self.at_step,
            report=self.say,
            quiet=quiet,
        )

    def say(self, text: str) -> None:
        """Print a line that stays above the progress bar; once, not by every process."""
        if self.accelerator.is_main_process:
            say(text)

    def at_step(self, step: int, checkpoint: Path | None) -> None:
        """Publish a checkpoint's model, probe when it is due, draw the curves."""
        if checkpoint is not None:
            publish(checkpoint / MODEL, self.options.output / MODEL)
            if step == self.total and self.options.scale_output:
                self._scale(step)
        probe = self.options.probe
        if probe is not None and (probe.due(step) or step == self.total):
            self._probe(probe, step)
        if self.accelerator.is_main_process and step and (checkpoint is not None or step == self.total):
            self._draw(last=step == self.total)
        if self.accelerator.is_main_process and (checkpoint is not None or step == self.total):
            # Checkpoints as well, and those alone that are kept here: another machine may go on from them.
            remote.publish(self.options.output, exactly=True)

    def _scale(self, step: int) -> None:
        """Publish the finished model with its features scaled, over windows of the first steps."""
        import torch

        import ecg_hub

        batches = self.source.batches(0)
        try:
            count = -(-SCALED_OVER // self.config.batch_size)
            windows = [torch.from_numpy(next(batches).undisturbed) for _ in range(count)]
        finally:
            getattr(batches, "close", lambda: None)()
        target = self.options.output / MODEL
        with no_bar():
            model = ecg_hub.AutoModelForPreTraining.from_pretrained(target)
        model.scale_output(torch.cat(windows))
        facts = self._facts()
        # Only here: what is continued from a checkpoint is not scaled.
        facts["settings"]["scale_output"] = True
        with atomic_folder(target) as aside:
            filler(model, self.start.entry, facts, self.log.path, self.config.seconds)(aside, step)

    def _probe(self, probe: Probe, step: int) -> None:
        main, path = self.accelerator.is_main_process, self.options.output / LOG_FILE
        # A run that continues comes to a step whose probe may be in the log already.
        there = main and any(row["step"] == step and same_probe(row, probe.names) for row in read_log(path))
        from accelerate.utils import broadcast_object_list

        # One process reads the log for all: scoring waits for every process, so all must do it or none.
        if broadcast_object_list([there])[0]:
            return
        folder = self.options.output / PROBES / f"step_{step:08d}"
        row = run_probe(probe, folder, lambda target: self.fill(target, step), self.accelerator, self.config.seed)
        if row is not None:
            self.log.add({"step": step, "probe": row})
            if row["point"] is not None:
                self.accelerator.log({f"probe/{probe.task}": row["point"]}, step=step)
            score = f"{row['point']:.4f}" if row["point"] is not None else row.get("reason", "not defined")
            self.say(f"step {step}: probe {probe.task} {probe.mode}: {score}")

    def _draw(self, last: bool) -> None:
        # Drawing costs time, which would add up where checkpoints are frequent.
        if not last and time.monotonic() - self.drawn < DRAW_SECONDS:
            return
        chance = 1 / (1 + self.start.model.config.num_negatives)
        title = f"{self.start.entry.title} on {', '.join(self.source.corpora)}: {self.source.records:,} records"
        write_curves(self.options.output / LOG_FILE, self.options.output / CURVES, chance, title)
        self.drawn = time.monotonic()

    def _facts(self) -> dict[str, Any]:
        return {
            "corpora": self.file.corpora,
            "train_only": self.file.train_only,
            "simulated": self.file.simulated,
            "records": self.source.records,
            "data_fingerprint": self.source.fingerprint,
            "run_fingerprint": self.file.fingerprint,
            "seed": self.config.seed,
            "init": self.start.init,
            "settings": {
                **self.config.changes(),
                **architecture_changes(self.start.model.config),
                **self.options.settings,
            },
        }


def run_probe(
    probe: Probe, folder: Path, fill: Callable[[Path], None], accelerator: Any, seed: int
) -> dict[str, Any] | None:
    """Score the encoder as it is; a failed probe is a line with its reason and ends nothing."""
    from eval_harness.runner.preflight import Preflight
    from eval_harness.runner.run import evaluate

    encoder = folder / "encoder"
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        encoder.mkdir(parents=True)
        fill(encoder)
    accelerator.wait_for_everyone()
    device = accelerator.device.type
    options = probe.options(encoder, folder, seeds=(seed,), device=device, dtype=DTYPES[accelerator.mixed_precision])
    # Nothing is looked up beforehand: what is missing ends a probe, and not the training.
    results = evaluate(options, quiet=True, checked=Preflight(options))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return None
    # Of a probe the result files are enough: weights are what checkpoints are for.
    shutil.rmtree(encoder, ignore_errors=True)
    (result,) = results
    row: dict[str, Any] = dict(probe.names)
    if result.status != "done":
        return {**row, "point": None, "reason": result.reason}
    metric = next(name for name in METRICS if name in result.metrics)
    records = None if result.data is None else result.data.records.model_dump()
    score = result.metrics[metric]
    return {**row, "metric": metric, "point": score.point, "low": score.low, "high": score.high, "records": records}
