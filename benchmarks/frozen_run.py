"""A whole frozen run of 100 epochs, protocols `fast` and `paper`, against the plain way to train it.

    python benchmarks/frozen_run.py [--records 320] [--model ecg-cpc] [--dtype float32] [--plain-epochs 3]
                                    [--paper-epochs 8]

Writes a mock PTB-XL with the real one's proportions of training, validation and test, and prepares its record store.

    ours    `eval_harness.runner.run.evaluate` from loading the model to the written result, nothing encoded before
    plain   each epoch: the encoder, operation by operation (`benchmarks/eager.py`), for every training and validation
            window, then the head as published (`benchmarks/head.py`); at the end the test windows. It reads through our
            loader, so that loading is no part of the difference (`benchmarks/loader.py` has that)

`fast` runs all its epochs. The plain way runs `--plain-epochs`, protocol `paper` that many and `--paper-epochs`; both
are continued linearly to `--epochs`. The plain way draws the windows of protocol `paper` from the same generators and
starts from the same head: its predictions after `--plain-epochs` epochs have to agree with ours within 1e-4. Times are
CPU seconds on one thread; epochs of the plain way are run between the others. With `--dtype` our runs encode in that
precision; the plain way, and the run whose predictions are compared, stay in float32. Ends with an error where `fast`
is less than 40 times, or `paper` less than 4 times as fast as the plain way.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import eager
import numpy as np
import torch
from head import PublishedHead
from mock_run import asked, opened
from turns import check, cpu_seconds, load

from ecg_hub.modeling.heads import classification_loss
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.data.windows import Split, mean_by_record
from eval_harness.metrics.selection import selection_score
from eval_harness.models.adapting import adapt
from eval_harness.results.predictions import read_predictions
from eval_harness.runner.plan import plan
from eval_harness.runner.run import evaluate
from eval_harness.training.trainer import seed_everything

GOALS = {"fast": 40.0, "paper": 4.0}
TOLERANCE = 1e-4


class PlainRun:
    """The frozen run in the obvious order: nothing is kept between epochs."""

    def __init__(self, options: RunOptions) -> None:
        self.loaded, self.windows = opened(options)
        self.numbers, self.seed, self.epoch = options.protocol, options.seeds[0], 0
        data = self.windows.data
        seed_everything(self.seed, 0x68656164)  # as the runner does: the same new head
        start = adapt(self.loaded.encoder, "frozen", data.labels, data.problem_type, self.numbers, data.classes).head
        self.head = PublishedHead(start.query.shape[-1], len(data.labels), self.numbers.attention_heads)
        self.head.load_state_dict(start.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.head.parameters(), lr=self.numbers.learning_rate, weight_decay=self.numbers.weight_decay
        )
        self.best: tuple[float, dict[str, torch.Tensor]] = (-1.0, {})
        self.loaded.encoder.eval()

    def encode(self, values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return eager.features(self.loaded.encoder, values)[0]

    def train_epoch(self) -> None:
        """Train on one random window of each record, validate, keep the best head."""
        data = self.windows.data
        for batch in self.windows.train_batches(
            self.windows.epoch_plan(self.seed, self.epoch, self.numbers.batch_size)
        ):
            logits = torch.nan_to_num(self.head(self.encode(batch.input_values)))
            self.optimizer.zero_grad(set_to_none=True)
            classification_loss(logits, batch.targets, data.problem_type, data.classes).backward()
            self.optimizer.step()
        score = selection_score(data.validation.targets, self.predict(data.validation), data.classes)
        if score > self.best[0]:
            self.best = score, {name: tensor.clone() for name, tensor in self.head.state_dict().items()}
        self.epoch += 1

    def predict(self, split: Split) -> np.ndarray:
        """Probabilities (records, labels), the mean over each record's windows."""
        loader, positions = self.windows.eval_batches(split, self.numbers.batch_size)
        with torch.no_grad():
            parts = [torch.nan_to_num(self.head(self.encode(batch.input_values))).sigmoid() for batch in loader]
        return mean_by_record(torch.cat(parts).numpy(), positions, len(split))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of validation and test with the best head."""
        self.head.load_state_dict(self.best[1])
        return self.predict(self.windows.data.validation), self.predict(self.windows.data.test)


def run(options: RunOptions) -> float:
    """CPU seconds of a run of the harness, nothing of which was done before."""
    shutil.rmtree(options.cache_dir / "features", ignore_errors=True)
    shutil.rmtree(options.output, ignore_errors=True)
    found: list[Any] = []
    seconds = cpu_seconds(lambda: found.extend(evaluate(options, quiet=True)))
    if [result.status for result in found] != ["done"]:
        raise SystemExit(f"the run failed: {found[0].reason}")
    return seconds


def predicted(options: RunOptions) -> np.ndarray:
    """The predictions that a run of the harness wrote, validation before test."""
    job = plan(options)[0]
    return np.asarray(read_predictions(job.folder / "predictions" / f"{job.run.name}.parquet").y_prob)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=320)
    parser.add_argument("--model", default="ecg-cpc")
    parser.add_argument("--dtype", default="float32", help="of our runs; default: float32")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--plain-epochs", type=int, default=3)
    parser.add_argument("--paper-epochs", type=int, default=8)
    parser.add_argument("--any-speed", action="store_true", help="only compare results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        report = measure(options, Path(name))
    print(json.dumps(report, indent=1))
    for protocol_name, least in GOALS.items():
        check(report[f"ratio_{protocol_name}"], 0 if options.any_speed else least)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run both ways and compare their predictions; the report."""
    few, more, epochs, started = options.plain_epochs, options.paper_epochs, options.epochs, load()
    model = f"random:{options.model}"
    base = asked(folder, options.records, models=(model,), protocol=protocol(epochs=few, batch_size=options.batch))
    plain, loading = timed_plain(base)
    timed = replace(base, dtype=options.dtype)
    quick = replace(timed, protocol=protocol("fast", epochs=epochs, batch_size=options.batch))
    turns = [lambda: run(quick), lambda: run(replace(timed, protocol=replace(base.protocol, epochs=more)))]
    each: list[float] = []
    ours: list[float] = []
    while len(each) < few:
        each.append(cpu_seconds(plain.train_epoch))
        if turns:
            ours.append(turns.pop(0)())
    ours += [turn() for turn in turns]
    ends: list[np.ndarray] = []
    testing = cpu_seconds(lambda: ends.extend(plain.finish()))
    short = run(base)  # its predictions are read now
    difference = float(np.abs(np.concatenate(ends) - predicted(base)).max())
    if difference > TOLERANCE:
        raise SystemExit(f"the predictions differ by {difference:.1e} after {few} epochs")
    if timed != base:
        short = run(timed)
    fast, longer = ours
    paper = longer + (epochs - more) * (longer - short) / (more - few)
    theirs = loading + epochs * statistics.median(each) + testing
    data = plain.windows.data
    return {
        "model": model,
        "dtype": options.dtype,
        "epochs": epochs,
        "records": {part.name: len(part) for part in (data.train, data.validation, data.test)},
        "plain_epoch_s": [round(value, 1) for value in each],
        "plain_s": round(theirs, 1),
        "fast_s": round(fast, 1),
        "paper_epochs_s": {few: round(short, 1), more: round(longer, 1)},
        "paper_s": round(paper, 1),
        "ratio_fast": round(theirs / fast, 1),
        "ratio_paper": round(theirs / paper, 2),
        "largest_difference": difference,
        "load": f"{started}, then {load()}",
    }


def timed_plain(options: RunOptions) -> tuple[PlainRun, float]:
    """The plain run and the CPU seconds to load it, the data being prepared before."""
    opened(options)
    made: list[PlainRun] = []
    seconds = cpu_seconds(lambda: made.append(PlainRun(options)))
    return made[0], seconds


if __name__ == "__main__":
    main()
