"""The training loop: one run of one mode, checkpointed after every epoch, resumable to the same numbers.

Everything random in an epoch (order, windows, dropout) is drawn from generators seeded by (seed, epoch), or (seed,
stage, epoch) where training has stages, so a run that was killed and continues from its last checkpoint ends with the
numbers of the undisturbed run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ecg_hub.errors import InputError, ResultError
from ecg_hub.modeling.heads import classification_loss
from ecg_hub.utils import terminal
from ecg_hub.utils.files import atomic_path
from ecg_hub.utils.memory import freed_memory_kept
from eval_harness.config.protocol import Protocol
from eval_harness.data.windows import EpochPlan, RunData, Split, Windows
from eval_harness.metrics.ranking import macro_average_precision
from eval_harness.metrics.selection import selection_score
from eval_harness.models.adapting import AdaptedModel
from eval_harness.training.features import Predictor
from eval_harness.training.recipe import Recipe, protocol_recipe


@dataclass
class Progress:
    """Where a training run stands after some epochs.

    Attributes:
        epoch: epochs done.
        best_epoch: number (from 1) of the epoch with the best validation score; 0 before the first.
        best_score: that score, higher is better; None where validation has no class with both outcomes.
        history: per epoch the mean training loss, the validation score and the seconds it took.
        best_state: the trained tensors of the best epoch.
        averaged: the averaged tensors so far, where the recipe averages them.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    history: list[dict[str, float | None]] = field(default_factory=list)
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    averaged: dict[str, torch.Tensor] = field(default_factory=dict)

    def note(
        self,
        loss: float,
        score: float,
        seconds: float,
        state: dict[str, torch.Tensor],
        more: Mapping[str, float | None] = MappingProxyType({}),
    ) -> None:
        """Record an epoch; the first of equal scores stays the best. Without any score the latest epoch is kept."""
        self.epoch += 1
        # None, because the history is written as JSON, which has no NaN.
        defined = None if math.isnan(score) else score
        step = {"epoch": self.epoch, "loss": loss, "validation": defined, "seconds": round(seconds, 3)}
        self.history.append({**step, **more})
        better = defined is not None and (self.best_score is None or defined > self.best_score)
        if better or (defined is None and self.best_score is None):
            self.best_epoch, self.best_score, self.best_state = self.epoch, defined, state


class Checkpoint:
    """The file a run continues from: written aside, then moved into place, so that it is always whole."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint

    def save(self, progress: Progress, model: AdaptedModel, optimizer: Any) -> None:
        """Write the state after an epoch."""
        content = {
            "fingerprint": self.fingerprint,
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "best_score": progress.best_score,
            "history": progress.history,
            "best_state": progress.best_state,
            "averaged": progress.averaged,
            "state": model.trained_state(),
            "optimizer": optimizer.state_dict(),
        }
        try:
            with atomic_path(self.path) as aside:
                torch.save(content, aside)
        # torch's own writer reports a full disk as RuntimeError, not as OSError.
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
            # weights_only: a checkpoint may come from another machine, and nothing in it may run.
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ResultError(
                f"The checkpoint {str(self.path)!r} cannot be read ({error}). Delete it to train this run anew."
            ) from error
        # Of other settings, records or outputs: to go on from it would mix two runs.
        if content["fingerprint"] != self.fingerprint:
            return Progress()
        model.load_trained_state(content["state"])
        optimizer.load_state_dict(content["optimizer"])
        # Checkpoints written before weights were averaged lack that key and must still continue.
        keys = ("epoch", "best_epoch", "best_score", "history", "best_state", "averaged")
        return Progress(**{key: content[key] for key in keys if key in content})

    def drop(self) -> None:
        """Remove the file once the run's predictions are written."""
        self.path.unlink(missing_ok=True)


class EpochDisplay:
    """Where a run stands: on a terminal a bar with loss and validation, in a file a line for each epoch.

    Args:
        label: model, mode and run.
        epochs: how many there are.
        total: steps of all epochs.
        done: steps done before.
        report: called with a line of text that should stay visible.
        quiet: show nothing.
    """

    def __init__(
        self, label: str, epochs: int, total: int, done: int, report: Callable[[str], None], quiet: bool
    ) -> None:
        self.label, self.epochs, self.report, self.quiet = label, epochs, report, quiet
        self.bar: Any = None
        self.best, self.began = "", time.perf_counter()
        if terminal.bars_shown() and not quiet:
            # The label above the bar and not in it: beside it there is no room for the numbers.
            report(label)
            first = f"  epoch {min(done * epochs // max(total, 1) + 1, epochs)}/{epochs}"
            form = "{desc} {bar} {elapsed}<{remaining}{postfix}"
            self.bar = terminal.progress(total=total, initial=done, desc=first, bar_format=form, leave=False)

    def __enter__(self) -> EpochDisplay:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
            if kind is None and self.best:
                self.report(f"  {self.best}, {terminal.elapsed(time.perf_counter() - self.began)}")

    def step(self) -> None:
        """Count an optimiser step."""
        if self.bar is not None:
            self.bar.update()

    def epoch(self, progress: Progress) -> None:
        """Show what an epoch came to."""
        last = progress.history[-1]
        numbers = f"loss {last['loss']:.4f}, validation {_shown(last['validation'])}"
        self.best = f"best epoch {progress.best_epoch} of {self.epochs}: validation {_shown(progress.best_score)}"
        if self.bar is not None:
            self.bar.set_description_str(f"  epoch {min(progress.epoch + 1, self.epochs)}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(f"{numbers} (best {_shown(progress.best_score)})")
        elif not self.quiet:
            took, epoch = terminal.elapsed(float(last["seconds"] or 0)), f"epoch {progress.epoch}/{self.epochs}"
            self.report(terminal.stamped(f"{self.label}: {epoch}, {numbers}, best epoch {progress.best_epoch}, {took}"))


def _shown(score: float | None) -> str:
    """A validation score; "undefined" where no class has both outcomes."""
    return "undefined" if score is None else f"{score:.4f}"


@dataclass
class Trainer:
    """Trains one model in one mode.

    Attributes:
        accelerator: an `accelerate.Accelerator`; holds device, precision and processes.
        micro_batch: windows that go through the model at once; the gradients of a batch are accumulated. None takes
            the whole batch, and less once that did not fit into memory.
        report: called with a line of text that should stay visible.
        recipe: what is done; None is the one stage of the mode by the protocol.
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
    recipe: Recipe | None = None

    @property
    def plan(self) -> Recipe:
        """What is done."""
        return self.recipe or protocol_recipe(self.protocol, self.mode)

    @property
    def data(self) -> RunData:
        """The records of the run."""
        return self.windows.data

    @property
    def batch_size(self) -> int:
        """The batch size asked for, or the size of a train set smaller than that."""
        return min(self.plan.batch_size, len(self.data.train))

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        # Without the last partial batch, as published.
        return len(self.data.train) // self.batch_size

    def run(self) -> Progress:
        """Train to the last epoch and leave the best epoch's weights (or what the recipe keeps) in the model."""
        # Known only here: a train set smaller than the batch makes the batch smaller.
        if self.batch_size % self.windows.world:
            raise InputError(
                f"A batch of {self.batch_size} cannot be divided among {self.windows.world} processes: "
                "choose --batch-size as a multiple."
            )
        with freed_memory_kept(self.accelerator.device.type):
            return self._run()

    def _run(self) -> Progress:
        recipe = self.plan
        # One pass over each tensor instead of ten. A checkpoint says which of the two wrote it, and goes on with that.
        fused = self.accelerator.device.type == "cpu"
        optimizer = torch.optim.AdamW(recipe.groups(self.model), weight_decay=recipe.weight_decay, fused=fused)
        # Taken before the checkpoint is loaded, which brings the rates of the epoch that it was written in.
        full_rates = [group["lr"] for group in optimizer.param_groups]
        wrapped, optimizer = self.accelerator.prepare(self.model, optimizer)
        progress = self.checkpoint.load(self.model, optimizer)
        if progress.epoch:
            self.report(f"{self.label}: continues after epoch {progress.epoch} of {recipe.epochs}")
        total, done = recipe.epochs * self.steps, progress.epoch * self.steps
        with EpochDisplay(self.label, recipe.epochs, total, done, self.report, self.quiet) as display:
            while progress.epoch < recipe.epochs:
                # No scheduler of torch: the factor follows from the history, so there is no state of it to be restored.
                factor = recipe.rate_factor(progress.history)
                for group, rate in zip(optimizer.param_groups, full_rates, strict=True):
                    group["lr"] = rate * factor
                self._epoch(wrapped, optimizer, progress, display)
        if recipe.keep == "best":
            self.model.load_trained_state(progress.best_state)
        elif progress.averaged:
            self.model.load_trained_state(progress.averaged)
            self._share_buffers()
        return progress

    def drop_checkpoints(self) -> None:
        """Remove the checkpoint once the run's predictions are written."""
        self.checkpoint.drop()

    def _epoch(self, wrapped: Any, optimizer: Any, progress: Progress, display: EpochDisplay) -> None:
        started, recipe = time.perf_counter(), self.plan
        if recipe.consecutive:  # encoding draws from the generator too: dropout must not depend on what is kept already
            self.predictor.table(self.model, self.data.train)
        seed_everything(self.seed, *((recipe.stage,) if recipe.stage else ()), progress.epoch, self.windows.rank)
        self.model.train()
        plan = self.windows.epoch_plan(self.seed, progress.epoch, self.batch_size, recipe.consecutive, recipe.stage)
        losses = []
        for values, targets, encoded in self._batches(plan):
            losses.append(self._step(wrapped, optimizer, values, targets, encoded))
            if recipe.average is not None:
                average(progress.averaged, self.model.trained_state(), recipe.average)
            display.step()
        # Once per epoch: to look at the loss of every step would make the processor wait for the GPU each time.
        loss = float(self.accelerator.reduce(torch.stack(losses).mean(), "mean"))
        if not math.isfinite(loss):
            raise InputError(
                f"{self.label}: the training loss became {loss!r} in epoch {progress.epoch + 1}. {recipe.remedy}"
            )
        # NaN features count as logits of 0, so that the loss stays a number while their gradients do not.
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.head.parameters()):
            raise InputError(
                f"{self.label}: weights of the head became NaN or infinite in epoch {progress.epoch + 1}. Features of "
                f"some training windows may be no finite numbers: `ecg-hub validate-model` looks. {recipe.remedy}"
            )
        # The averaged weights are scored and kept, training goes on with the others: put in for validation, then out
        # again.
        self._share_buffers()
        own = self.model.trained_state()
        if progress.averaged:
            self.model.load_trained_state(progress.averaged)
            self._share_buffers()
        score, more = self._validate(self.data.validation)
        if recipe.stage:
            more = {**more, "stage": recipe.stage, "learning_rate": optimizer.param_groups[0]["lr"]}
        # A copy, because the averages are updated in place.
        kept = self.model.trained_state() if progress.averaged else own
        progress.note(loss, score, time.perf_counter() - started, kept, more)
        if progress.averaged:
            self.model.load_trained_state(own)
        display.epoch(progress)
        # Only now, with the training weights back in the model: a run that continues must not begin from averaged ones.
        if self.accelerator.is_main_process:
            self.checkpoint.save(progress, self.model, optimizer)
        self.accelerator.wait_for_everyone()

    def _share_buffers(self) -> None:
        """Give all processes the running statistics of the first, as they have them at the beginning of each step.

        Each sees a part of the last batch. Else each would score its windows with a model of its own, and one be kept.
        """
        if self.windows.world > 1 and not self.model.frozen:
            for buffer in self.model.buffers():
                broadcast(buffer)

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
        known = self._known_everywhere(targets)
        while True:
            try:
                loss = self._backward(wrapped, values, targets, encoded, known)
                break
            except Exception as error:
                # Some pieces may have fitted: their gradients would count twice when the batch is done again.
                optimizer.zero_grad(set_to_none=True)
                self._shrink(error, len(values))
        if self.plan.grad_clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.plan.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    def _known_everywhere(self, targets: torch.Tensor) -> torch.Tensor | None:
        """How many targets of each output the batch has in all processes; None where that is the share of each."""
        if self.windows.world == 1 or not self._lacks_targets:
            return None
        counted: torch.Tensor = self.accelerator.reduce((~targets.isnan()).sum(0), "sum")
        return counted

    @cached_property
    def _lacks_targets(self) -> bool:
        """Whether some training record has no target of some output."""
        return bool(np.isnan(self.data.train.targets).any())

    def _backward(
        self,
        wrapped: Any,
        values: torch.Tensor,
        targets: torch.Tensor,
        encoded: bool,
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Gradients of the mean loss of a batch, in pieces of at most `micro_batch` windows."""
        size = self.micro_batch or len(values)
        total = torch.zeros((), device=values.device)
        targets, kind, classes = self._smoothed(targets), self.data.problem_type, self.data.classes
        # Processes average their gradients: what each has of a mean over the batches of all is to be added up.
        parts = 1 if known is None else self.windows.world
        # Of the whole batch: pieces may differ in how many records have a target of a class.
        known = (~targets.isnan()).sum(0) if known is None and size < len(values) else known
        for first in range(0, len(values), size):
            piece, wanted = values[first : first + size], targets[first : first + size]
            last = first + size >= len(values)
            # Processes exchange gradients once per step, with the last piece, not once per piece.
            with nullcontext() if last else self.accelerator.no_sync(wrapped):
                with self.accelerator.autocast():
                    logits = wrapped(piece, encoded=encoded)
                # Outside autocast and in float32: 16 bit hold two to three digits, too few for sums over a batch.
                loss = parts * classification_loss(logits.float(), wanted, kind, classes, self._pos_weight, known)
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

    def _smoothed(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets of classes drawn towards one half as the recipe says."""
        share, classes = self.plan.label_smoothing, self.data.classes
        if not share:
            return targets
        return torch.cat([targets[:, :classes] * (1 - share) + share / 2, targets[:, classes:]], dim=1)

    @cached_property
    def _pos_weight(self) -> torch.Tensor | None:
        """Weight of the positives of each class (classes,); 1 where the training records lack one outcome."""
        if not self.plan.balanced or not self.data.classes:
            return None
        # Counted among the training records alone; NaN (no target) is neither positive nor negative.
        targets = self.data.train.targets[:, : self.data.classes]
        positives, negatives = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
        has_both = (positives > 0) & (negatives > 0)
        weight = np.where(has_both, negatives / np.maximum(positives, 1), 1.0).astype(np.float32)
        return torch.from_numpy(weight).to(self.accelerator.device)

    def _validate(self, split: Split) -> tuple[float, dict[str, float | None]]:
        """The score that picks the best epoch; with several stages the macro AUPRC of the classes too."""
        outputs, classes = self.predictor.predict(self.model, split), self.data.classes
        score = selection_score(split.targets, outputs, classes)
        if not self.plan.stage or not classes:
            return score, {}
        precision = macro_average_precision(split.targets[:, :classes], outputs[:, :classes])
        return score, {"validation_auprc": None if math.isnan(precision) else precision}


def average(averaged: dict[str, torch.Tensor], state: dict[str, torch.Tensor], decay: float) -> None:
    """Move averaged tensors towards the present ones, in place; counters and the first ones are taken over."""
    for name, tensor in state.items():
        # Batch norm counts its batches in an integer, of which there is no average.
        if name in averaged and tensor.is_floating_point():
            averaged[name].mul_(decay).add_(tensor, alpha=1 - decay)
        else:
            averaged[name] = tensor


def seed_everything(*numbers: int) -> None:
    """Seed torch's global generator from several numbers (run seed, epoch, process)."""
    # SeedSequence mixes: seed 1 epoch 0 and seed 0 epoch 1 have nothing in common. 63 bits fit a signed integer.
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1)))
