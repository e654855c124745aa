"""The training loop: one run of one mode, checkpointed after every epoch, resumable to the same numbers.

Everything random in an epoch (order, windows, dropout) is drawn from generators seeded by (seed, epoch), so a run
that was killed and continues from its last checkpoint ends with the numbers of the undisturbed run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from tqdm.auto import tqdm

from ecg_hub.errors import InputError, ResultError
from ecg_hub.losses import classification_loss
from eval_harness.adapt import AdaptedModel, parameter_groups
from eval_harness.atomic import atomic_path
from eval_harness.data import EpochPlan, RunData, Split, Windows
from eval_harness.features import Predictor
from eval_harness.protocol import Protocol
from eval_harness.selection import selection_score


@dataclass
class Progress:
    """Where a training run stands after some epochs.

    Attributes:
        epoch: epochs done.
        best_epoch: number (from 1) of the epoch with the best validation score; 0 before the first.
        best_score: that score, higher is better; None where validation has no class with both outcomes.
        history: per epoch the mean training loss, the validation score and the seconds it took.
        best_state: the trained tensors of the best epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    history: list[dict[str, float | None]] = field(default_factory=list)
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)

    def note(self, loss: float, score: float, seconds: float, state: dict[str, torch.Tensor]) -> None:
        """Record an epoch; the first of equal scores stays the best. Without any score the latest epoch is kept."""
        self.epoch += 1
        known = None if math.isnan(score) else score
        self.history.append({"epoch": self.epoch, "loss": loss, "validation": known, "seconds": round(seconds, 3)})
        better = known is not None and (self.best_score is None or known > self.best_score)
        if better or (known is None and self.best_score is None):
            self.best_epoch, self.best_score, self.best_state = self.epoch, known, state


class Checkpoint:
    """The file a run continues from: written aside, then moved into place, so that it is always whole."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint

    def save(self, progress: Progress, model: AdaptedModel, optimizer: Any) -> None:
        """Write the state after an epoch.

        Raises:
            ResultError: the folder cannot be written or the disk is full; the last good checkpoint stays.
        """
        content = {
            "fingerprint": self.fingerprint,
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "best_score": progress.best_score,
            "history": progress.history,
            "best_state": progress.best_state,
            "state": model.trained_state(),
            "optimizer": optimizer.state_dict(),
        }
        try:
            with atomic_path(self.path) as aside:
                torch.save(content, aside)
        except RuntimeError as error:
            raise ResultError(
                f"The checkpoint {str(self.path)!r} cannot be written ({error}). The disk may be full: free space, or "
                "choose another --output; what is finished stays, and the same command continues."
            ) from error

    def load(self, model: AdaptedModel, optimizer: Any) -> Progress:
        """Continue from the file if there is one that belongs to this run and can be read; else start anew."""
        if not self.path.is_file():
            return Progress()
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ResultError(
                f"The checkpoint {str(self.path)!r} cannot be read ({error}). Delete it to train this run anew."
            ) from error
        if content["fingerprint"] != self.fingerprint:
            return Progress()
        model.load_trained_state(content["state"])
        optimizer.load_state_dict(content["optimizer"])
        keys = ("epoch", "best_epoch", "best_score", "history", "best_state")
        return Progress(**{key: content[key] for key in keys})

    def drop(self) -> None:
        """Remove the file once the run's predictions are written."""
        self.path.unlink(missing_ok=True)


@dataclass
class Trainer:
    """Trains one model in one mode.

    Attributes:
        accelerator: an `accelerate.Accelerator`; holds device, precision and processes.
        micro_batch: windows that go through the model at once; the gradients of a batch are accumulated. None takes
            the whole batch, and less once that did not fit into memory.
        report: called with a line of text that should stay visible.
    """

    model: AdaptedModel
    mode: str
    windows: Windows
    predictor: Predictor
    protocol: Protocol
    seed: int
    accelerator: Any
    checkpoint: Checkpoint
    label: str = ""
    quiet: bool = False
    micro_batch: int | None = None
    report: Callable[[str], None] = print

    @property
    def data(self) -> RunData:
        """The records of the run."""
        return self.windows.data

    @property
    def batch_size(self) -> int:
        """The protocol's batch size, or the size of a train set smaller than that."""
        return min(self.protocol.batch_size, len(self.data.train))

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        return len(self.data.train) // self.batch_size

    def run(self) -> Progress:
        """Train to the last epoch and leave the best epoch's weights in the model.

        Raises:
            ResultError: a checkpoint cannot be written or read.
            InputError: the batch cannot be divided among the processes; the loss is not finite.
        """
        if self.batch_size % self.windows.world:
            raise InputError(
                f"A batch of {self.batch_size} cannot be divided among {self.windows.world} processes: "
                "choose --batch-size as a multiple."
            )
        groups = parameter_groups(self.model, self.mode, self.protocol)
        optimizer = torch.optim.AdamW(groups, weight_decay=self.protocol.weight_decay)
        wrapped, optimizer = self.accelerator.prepare(self.model, optimizer)
        progress = self.checkpoint.load(self.model, optimizer)
        if progress.epoch:
            self.report(f"{self.label}: continues after epoch {progress.epoch} of {self.protocol.epochs}")
        total, done = self.protocol.epochs * self.steps, progress.epoch * self.steps
        with tqdm(total=total, initial=done, desc=self.label, unit="step", disable=self.quiet) as bar:
            while progress.epoch < self.protocol.epochs:
                self._epoch(wrapped, optimizer, progress, bar)
        self.model.load_trained_state(progress.best_state)
        return progress

    def _epoch(self, wrapped: Any, optimizer: Any, progress: Progress, bar: Any) -> None:
        started = time.perf_counter()
        seed_everything(self.seed, progress.epoch, self.windows.rank)
        self.model.train()
        consecutive = self.protocol.train_windows == "consecutive"
        plan = self.windows.epoch_plan(self.seed, progress.epoch, self.batch_size, consecutive)
        losses = []
        for values, targets, encoded in self._batches(plan):
            losses.append(self._step(wrapped, optimizer, values, targets, encoded))
            bar.update()
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise InputError(
                f"{self.label}: the training loss became {loss!r} in epoch {progress.epoch + 1}. "
                "Lower --learning-rate or use --dtype float32."
            )
        score = self._validate(self.data.validation)
        progress.note(loss, score, time.perf_counter() - started, self.model.trained_state())
        bar.set_postfix(loss=f"{loss:.4f}", validation=f"{score:.4f}", best=progress.best_epoch)
        if self.accelerator.is_main_process:
            self.checkpoint.save(progress, self.model, optimizer)
        self.accelerator.wait_for_everyone()

    def _batches(self, plan: EpochPlan) -> Iterator[tuple[torch.Tensor, torch.Tensor, bool]]:
        """Yield windows, or features where they are kept, with targets and whether the values are encoded."""
        device, train = self.accelerator.device, self.data.train
        table = None if plan.numbers is None else self.predictor.table(self.model, train)
        if table is None or plan.numbers is None:
            for batch in self.windows.train_batches(plan):
                moved = batch.to(device)
                yield moved.input_values, moved.targets, False
            return
        for rows in plan.batches:
            targets = torch.from_numpy(train.targets[rows]).to(device, non_blocking=True)
            yield table.take(plan.numbers[rows]).to(device, non_blocking=True), targets, True

    def _step(
        self, wrapped: Any, optimizer: Any, values: torch.Tensor, targets: torch.Tensor, encoded: bool
    ) -> torch.Tensor:
        """One optimiser step; a batch that does not fit into memory is accumulated over smaller ones."""
        while True:
            try:
                loss = self._backward(wrapped, values, targets, encoded)
                break
            except Exception as error:
                optimizer.zero_grad(set_to_none=True)
                self._shrink(error, len(values))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    def _backward(self, wrapped: Any, values: torch.Tensor, targets: torch.Tensor, encoded: bool) -> torch.Tensor:
        """Gradients of the mean loss of a batch, in pieces of at most `micro_batch` windows."""
        size = self.micro_batch or len(values)
        total = torch.zeros((), device=values.device)
        for first in range(0, len(values), size):
            piece, wanted = values[first : first + size], targets[first : first + size]
            last = first + size >= len(values)
            with nullcontext() if last else self.accelerator.no_sync(wrapped):
                with self.accelerator.autocast():
                    logits = wrapped(piece, encoded=encoded)
                loss = classification_loss(logits.float(), wanted, self.data.problem_type, self.data.classes)
                loss = loss * (len(piece) / len(values))
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _shrink(self, error: Exception, size: int) -> None:
        """Halve the pieces after an out-of-memory error and say so; any other error is raised."""
        now = self.micro_batch or size
        if now < 2 or not should_reduce_batch_size(error):
            raise error
        self.micro_batch = now // 2
        clear_device_cache(garbage_collection=True)
        self.report(f"{self.label}: out of memory with {now} windows at once; goes on with {self.micro_batch}")

    def _validate(self, split: Split) -> float:
        outputs = self.predictor.predict(self.model, split)
        return selection_score(split.targets, outputs, self.data.classes)


def seed_everything(*numbers: int) -> None:
    """Seed torch's global generator from several numbers (run seed, epoch, process)."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1)))
