"""The training loop of contrastive pre-training on Accelerate: one process or many, resumable to the bit.

A step trains on one global batch. What is random in it comes from (seed, step, lane), the learning rate from the step;
so a run that was killed continues from its last checkpoint with the numbers of the undisturbed one, and with fixed
batch norms several processes give the numbers of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_hub.errors import InputError
from ecg_hub.modeling.contrastive import sample_negatives
from ecg_hub.utils.memory import freed_memory_kept
from ecg_hub.utils.terminal import progress
from eval_harness.pretrain.config import PretrainConfig
from eval_harness.pretrain.log import TrainingLog
from eval_harness.pretrain.order import Batch, BatchSource
from eval_harness.pretrain.weights import Checkpoints, restore
from eval_harness.training.trainer import seed_everything

NAMED = 20
"""Record ids that an error names at most."""
BAR: dict[str, Any] = {
    "desc": "pre-training",
    "unit": " steps",
    "bar_format": "{desc} {bar} {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}",
}
"""Short enough for loss and accuracy in 80 columns."""

_NEGATIVES, _DROPOUT = 0x6E6567, 0x64726F70


@dataclass
class LaneRandom:
    """Draws for the lanes of the piece of a batch that is computed now.

    Attributes:
        seed: of the run.
        step: the optimiser step, from 0.
        lanes: of the piece, in the order of its rows.
        per_lane: rows of each lane.
    """

    seed: int
    step: int = 0
    lanes: tuple[int, ...] = ()
    per_lane: int = 0

    def move(self, step: int, lanes: tuple[int, ...], per_lane: int) -> None:
        """Turn to another piece."""
        self.step, self.lanes, self.per_lane = step, lanes, per_lane

    def negatives(self, tokens: int, steps: Sequence[int], number: int, device: torch.device) -> Tensor:
        """Negatives of all rows, as `sample_negatives` draws them, on the device."""
        parts = [
            sample_negatives(
                self.per_lane, tokens, steps, number, device=device, generator=self._generator(lane, device, _NEGATIVES)
            )
            for lane in self.lanes
        ]
        return torch.cat(parts)

    def kept(self, features: int, layer: int, rate: float) -> Tensor:
        """Which features of which rows a dropout keeps, (rows, features) bool, drawn on the CPU."""
        cpu = torch.device("cpu")
        parts = [
            torch.rand(self.per_lane, features, generator=self._generator(lane, cpu, _DROPOUT, layer)) >= rate
            for lane in self.lanes
        ]
        return torch.cat(parts)

    def _generator(self, lane: int, device: torch.device, *purpose: int) -> torch.Generator:
        seed_words = np.random.SeedSequence([self.seed, self.step, lane, *purpose]).generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(seed_words[0] >> np.uint64(1)))


class LaneDropout1d(nn.Dropout1d):
    """torch's Dropout1d with masks from a `LaneRandom`; a second forward pass of the same piece draws the same."""

    def __init__(self, p: float, layer: int, source: LaneRandom) -> None:
        super().__init__(p)
        self.layer, self.source = layer, source

    def forward(self, input: Tensor) -> Tensor:
        """Drop whole features of (batch, features, tokens) in train mode."""
        if not self.training or self.p == 0:
            return input
        kept = self.source.kept(input.shape[1], self.layer, self.p).to(input.device, non_blocking=True)
        return input * (kept.to(input.dtype) / (1 - self.p))[:, :, None]


def install_dropout(model: nn.Module, source: LaneRandom) -> None:
    """Put `LaneDropout1d` in place of every Dropout1d of a model; they hold no weights, so its state stays as it is."""
    dropouts = [
        (parent, name, module)
        for parent in model.modules()
        for name, module in parent.named_children()
        if type(module) is nn.Dropout1d
    ]
    for layer, (parent, name, module) in enumerate(dropouts):
        setattr(parent, name, LaneDropout1d(module.p, layer, source).train(module.training))


@dataclass
class Pretrainer:
    """Trains one model.

    Attributes:
        model: ECGCPCForPreTraining.
        source: gives this process its part of each batch.
        accelerator: device, precision and processes.
        total: optimiser steps of the run.
        fill_model: writes the hub model after a number of steps into a folder.
        at_step: called in every process with the steps done, and with the checkpoint that was written or continued
            from (in the main process; None elsewhere and between checkpoints).
        report: called with a line of text that should stay visible.
    """

    model: Any
    config: PretrainConfig
    source: BatchSource
    accelerator: Any
    checkpoints: Checkpoints
    log: TrainingLog
    total: int
    fill_model: Callable[[Path, int], None]
    at_step: Callable[[int, Path | None], None] = lambda step, checkpoint: None
    report: Callable[[str], None] = print
    quiet: bool = False
    random: LaneRandom = field(init=False)

    def run(self) -> None:
        """Train to the last step."""
        self.random = LaneRandom(self.config.seed)
        # Before the model is wrapped for several processes, which holds the modules that it has then.
        install_dropout(self.model, self.random)
        if self.config.batch_norm == "sync":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)  # type: ignore[no-untyped-call]
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            betas=(self.config.beta1, self.config.beta2),
            eps=self.config.epsilon,
            weight_decay=self.config.weight_decay,
            fused=self.accelerator.device.type == "cpu",
        )
        wrapped, optimizer = self.accelerator.prepare(self.model, optimizer)
        try:
            done = self._resume(optimizer)
            self._train_mode()
            with freed_memory_kept(self.accelerator.device.type):
                self._steps(wrapped, optimizer, done)
        finally:
            self.log.close()

    def _steps(self, wrapped: Any, optimizer: Any, done: int) -> None:
        """The steps that are left."""
        if done >= self.total:
            return
        batches = self.source.batches(done)
        try:
            with progress(total=self.total, initial=done, quiet=self.quiet, **BAR) as bar:
                while done < self.total:
                    started = time.perf_counter()
                    row = self._step(wrapped, optimizer, self._next(batches, done))
                    done += 1
                    row["records_per_s"] = round(self.config.batch_size / (time.perf_counter() - started), 2)
                    self._note(row, done, bar)
                    whole = done % self.config.checkpoint_every == 0 or done == self.total
                    self.at_step(done, self._save(done, optimizer) if whole else None)
        finally:
            getattr(batches, "close", lambda: None)()  # ends the threads or processes that read ahead

    def _resume(self, optimizer: Any) -> int:
        """Continue from the newest whole checkpoint; the log is cut to it."""
        from accelerate.utils import broadcast_object_list

        main = self.accelerator.is_main_process
        newest = self.checkpoints.latest() if main else None
        # The first process checks digests and puts damaged folders aside; two at once would trip over each other.
        (path,) = broadcast_object_list([None if newest is None else str(newest)])
        done = 0
        if path is not None:

            def load(content: dict[str, Any]) -> None:
                optimizer.load_state_dict(content["optimizer"])
                if self.accelerator.scaler is not None and "scaler" in content:
                    self.accelerator.scaler.load_state_dict(content["scaler"])

            done = restore(Path(path), self.model, load)
            self.report(f"continues after step {done} of {self.total}")
        if main:
            # Steps after the checkpoint are done again and would stand in the log twice.
            self.log.cut(done)
        # A kill may have come between a checkpoint and what follows it: publishing and the probe are made up for.
        self.at_step(done, None if newest is None else newest)
        return done

    def _train_mode(self) -> None:
        self.model.train()
        if self.config.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()

    def _next(self, batches: Iterator[Batch], step: int) -> Batch:
        """This process's part of the batch of a step, checked."""
        batch = next(batches)
        model, share = self.model.config, self.config.batch_size // self.accelerator.num_processes
        expected = (share, len(model.lead_names), round(self.config.seconds * model.sampling_rate))
        shapes = [values.shape for values in (batch.input_values, batch.clean_values) if values is not None]
        if batch.step != step or set(shapes) != {expected} or len(batch.record_ids) != share:
            raise InputError(
                f"The data gave a batch of step {batch.step} and shape {batch.input_values.shape!r}; step {step} and "
                f"shape {expected!r} (records, leads, samples) were expected."
            )
        return batch

    def _step(self, wrapped: Any, optimizer: Any, batch: Batch) -> dict[str, Any]:
        """One optimiser step; returns its line of the log."""
        config, accelerator = self.config, self.accelerator
        rate = config.rate(batch.step, self.total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        seed_everything(config.seed, batch.step, accelerator.process_index)  # of stochastic depth, where it is on
        pieces = list(self._pieces(batch))
        losses, hits, beats = [], [], []
        for k, (values, clean, lanes) in enumerate(pieces):
            # Before the forward pass, in which dropout asks for its masks.
            self.random.move(batch.step, lanes, batch.per_lane)
            last = k == len(pieces) - 1
            with nullcontext() if last else accelerator.no_sync(wrapped):
                output = wrapped(values, sampled_negative_indices=self._negatives(values), clean_values=clean)
                # Accelerate divides by its own number of accumulated steps alone, which is left at 1.
                accelerator.backward(output.loss / len(pieces))
            # Per sequence, so that a loss that is not finite can be traced to its records.
            losses.append(output.sequence_loss.detach().float())
            hits.append(output.accuracy.float())
            if output.beat_loss is not None:
                beats.append(output.beat_loss.detach().float())
        # Here the loss is looked at, in all processes, before any of them changes its weights.
        parts, accuracy = self._everywhere(
            torch.cat(losses), torch.cat(beats) if beats else None, torch.cat(hits), batch
        )
        # fp16 scales the loss against underflow: the norm is meant of the gradients themselves.
        accelerator.unscale_gradients()
        norm = self._gradient_norm()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps = self.model.config.prediction_steps
        return {
            **parts,
            "accuracy": {str(ahead): value for ahead, value in zip(steps, accuracy, strict=True)},
            "learning_rate": rate,
            # With fp16 a step of infinite gradients is skipped by the scaler; JSON has no infinity.
            "grad_norm": norm if math.isfinite(norm) else None,
        }

    def _pieces(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor | None, tuple[int, ...]]]:
        """The batch on the device, in pieces of whole lanes; the clean windows, too, where it was disturbed."""
        device = self.accelerator.device
        values, clean = torch.from_numpy(batch.input_values), batch.clean_values
        size = len(batch.lanes) // self.config.accumulate
        for first in range(0, len(batch.lanes), size):
            rows = slice(first * batch.per_lane, (first + size) * batch.per_lane)
            targets = None if clean is None else torch.from_numpy(clean[rows]).to(device, non_blocking=True)
            yield values[rows].to(device, non_blocking=True), targets, batch.lanes[first : first + size]

    def _negatives(self, values: Tensor) -> Tensor:
        config = self.model.config
        tokens = -(-values.shape[2] // config.conv_stride)
        return self.random.negatives(tokens, config.prediction_steps, config.num_negatives, values.device)

    def _everywhere(
        self, losses: Tensor, beats: Tensor | None, hits: Tensor, batch: Batch
    ) -> tuple[dict[str, float], list[float]]:
        """Losses and accuracies over all processes; a loss that is not finite ends the run before the weights change.

        `loss` is what is trained on; where it has two parts, they follow it.
        """
        contrast = losses.mean()[None]
        of_beats = contrast.new_zeros(1) if beats is None else beats.mean()[None]
        means = torch.cat([contrast, of_beats, hits.mean(0)])
        first, second, *accuracy = self.accelerator.reduce(means, "mean").tolist()
        parts = {"loss": first}
        if beats is not None:
            loss = first + self.model.config.beat_weight * second
            parts = {"loss": loss, "contrastive_loss": first, "beat_loss": second}
            losses = losses.mean(1) + self.model.config.beat_weight * beats
        if not math.isfinite(parts["loss"]):
            raise InputError(self._not_finite(parts["loss"], losses, batch))
        return parts, accuracy

    def _not_finite(self, loss: float, losses: Tensor, batch: Batch) -> str:
        """Which records made the loss not finite: those with such samples, else such a loss, else the whole batch."""
        from accelerate.utils import gather_object

        samples = [not np.isfinite(values).all() for values in batch.input_values]
        bad = [not bool(torch.isfinite(values).all()) for values in losses]
        mine = list(zip(batch.record_ids, samples, bad, strict=True))
        # Every process knows only its own part of the batch, and all of them end with the same message.
        everywhere = gather_object(mine)
        named, why = (
            [record for record, with_nan, _ in everywhere if with_nan],
            "records with samples that are not finite",
        )
        if not named:
            named, why = [record for record, _, its_loss in everywhere if its_loss], "records"
        shown = ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
        return (
            f"The loss became {loss!r} at step {batch.step + 1} ({why}: {shown}). The weights were not changed. Look "
            "at these records, or lower --learning-rate or set --grad-clip, and continue in another --output from the "
            "last checkpoint by --init."
        )

    def _gradient_norm(self) -> float:
        """The norm of all gradients together, before they are clipped."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        # The norm is logged whether or not it clips; clip_grad_norm_ would compute it a second time.
        norm = nn.utils.get_total_norm(gradients)
        if self.config.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.grad_clip, norm)
        return float(norm)

    def _note(self, row: dict[str, Any], done: int, bar: Any) -> None:
        """Show a step, and log it when its turn has come."""
        accuracy = row["accuracy"]
        shown = "/".join(f"{value:.3f}" for value in accuracy.values())
        bar.set_postfix_str(f"loss {row['loss']:.3f}, accuracy {shown}", refresh=False)
        bar.update()
        if done % self.config.log_every and done not in (1, self.total):
            return
        if self.accelerator.is_main_process:
            self.log.add({"step": done, **row})
        flat = {f"accuracy/{ahead}": value for ahead, value in accuracy.items()}
        self.accelerator.log({**{k: v for k, v in row.items() if k != "accuracy" and v is not None}, **flat}, step=done)

    def _save(self, done: int, optimizer: Any) -> Path | None:
        """Write a checkpoint in the main process, after the log that belongs to it."""
        path = None
        if self.accelerator.is_main_process:
            # First the log: a run that continues cuts it to the checkpoint and cannot make up lines that were lost.
            self.log.sync()
            content = {"optimizer": optimizer.state_dict()}
            if self.accelerator.scaler is not None:
                content["scaler"] = self.accelerator.scaler.state_dict()
            path = self.checkpoints.save(done, lambda folder: self.fill_model(folder, done), content)
        self.accelerator.wait_for_everyone()
        return path
