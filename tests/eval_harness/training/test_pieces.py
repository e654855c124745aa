"""A batch that goes through the model in pieces or over several processes gives the gradients of the whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval_harness.training.trainer import Trainer
from tests.support.tiny_training import run_data, trainer


class TestPieces:
    def gradients(self, made: Trainer) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss and gradients of one batch, without dropout."""
        made.model.eval()
        plan = made.windows.epoch_plan(5, 0, 4)
        batch = next(iter(made.windows.train_batches(plan)))
        known = made._known_everywhere(batch.targets)
        loss = made._backward(made.model, batch.input_values, batch.targets, False, known)
        return float(loss), {name: p.grad for name, p in made.model.named_parameters() if p.grad is not None}

    @pytest.mark.parametrize(("micro", "pieces"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1), (None, 1)])
    def test_pieces_of_a_batch_give_its_gradients(self, tmp_path: Path, micro: int | None, pieces: int) -> None:
        whole, cut = trainer(tmp_path), trainer(tmp_path, micro_batch=micro)
        (loss, gradients), (same, parts) = self.gradients(whole), self.gradients(cut)
        assert same == pytest.approx(loss, rel=1e-6)
        assert parts.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-7)
        assert cut.accelerator.unsynchronised == pieces - 1, "only the last piece is shared with other processes"

    @pytest.mark.parametrize("values", [0, 2])
    def test_pieces_without_some_targets_weigh_as_in_the_whole_batch(self, tmp_path: Path, values: int) -> None:
        data = run_data(targets=values)
        data.train.targets[::2, 0] = np.nan
        data.train.targets[:7, -1] = np.nan
        (loss, gradients), (same, parts) = (
            self.gradients(trainer(tmp_path, data=data, micro_batch=micro)) for micro in (None, 1)
        )
        assert same == pytest.approx(loss, rel=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("values", [0, 2])
    @pytest.mark.parametrize("micro", [None, 1])
    def test_shares_of_processes_without_some_targets_weigh_as_in_the_whole_batch(
        self, tmp_path: Path, values: int, micro: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = run_data(targets=values)
        whole = trainer(tmp_path, data=data)
        rows = whole.windows.epoch_plan(5, 0, 4).batches[0]
        # Process 0 has no target of the first output, process 1 one of the last.
        data.train.targets[rows[:2], 0] = np.nan
        data.train.targets[rows[:3], -1] = np.nan
        known = torch.from_numpy((~np.isnan(data.train.targets[rows])).sum(0))
        loss, gradients = self.gradients(whole)
        found = []
        for rank in range(2):
            made = trainer(tmp_path, data=data, micro_batch=micro)
            made.windows = dataclasses.replace(made.windows, rank=rank, world=2)
            monkeypatch.setattr(made.accelerator, "reduce", lambda counted, reduction: known)
            found.append(self.gradients(made))
        assert np.mean([part for part, _ in found]) == pytest.approx(loss, rel=1e-6)
        for name, gradient in gradients.items():
            shared = (found[0][1][name] + found[1][1][name]) / 2
            torch.testing.assert_close(shared, gradient, rtol=1e-5, atol=1e-7)

    def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cleared: list[bool] = []
        monkeypatch.setattr(
            "eval_harness.training.trainer.clear_device_cache",
            lambda garbage_collection: cleared.append(garbage_collection),
        )
        said: list[str] = []
        made, plain = trainer(tmp_path / "a", report=said.append), trainer(tmp_path / "b", micro_batch=1)
        forward, sizes = made.model.encoder.forward, []

        def limited(values: torch.Tensor) -> Any:
            sizes.append(len(values))
            if torch.is_grad_enabled() and len(values) > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.")
            return forward(values)

        made.model.encoder.forward = limited
        made.model.encoder.norm.eval()
        values, targets = torch.randn(4, 12, 5), torch.zeros(4, 2)
        optimizer = torch.optim.AdamW(made.model.parameters())
        made._step(made.model, optimizer, values, targets, False)
        assert sizes == [4, 2, 1, 1, 1, 1]
        assert made.micro_batch == 1
        assert said == [
            "toy run: out of memory with 4 windows at once; goes on with 2",
            "toy run: out of memory with 2 windows at once; goes on with 1",
        ]
        assert plain.micro_batch == 1
        assert cleared == [True, True]
        assert all(parameter.grad is None for parameter in made.model.parameters())

    def test_what_failed_leaves_no_gradient_behind(self, tmp_path: Path) -> None:
        """The second piece does not fit: the gradients of the first one must not count twice."""
        made, plain = trainer(tmp_path, micro_batch=2), trainer(tmp_path, micro_batch=1)
        for one in (made, plain):
            one.model.encoder.drop.p = 0.0
            one.model.encoder.norm.eval()
        values = torch.randn(4, 12, 5, generator=torch.Generator().manual_seed(0))
        targets, calls, forward = torch.ones(4, 2), [0], made.model.encoder.forward

        def once(x: torch.Tensor) -> Any:
            calls[0] += 1
            if calls[0] == 2:
                raise RuntimeError("CUDA out of memory.")
            return forward(x)

        made.model.encoder.forward = once
        shrink, left = made._shrink, []

        def watched(error: Exception, size: int) -> None:
            left.extend(parameter.grad for parameter in made.model.parameters())
            shrink(error, size)

        made._shrink = watched
        for one in (made, plain):
            optimizer = torch.optim.SGD(one.model.parameters(), lr=1.0)
            one._step(one.model, optimizer, values, targets, False)
        for ours, theirs in zip(made.model.parameters(), plain.model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)
        assert left
        assert all(gradient is None for gradient in left), "their memory is free for the next try"

    @pytest.mark.parametrize(
        ("windows", "error"), [(1, RuntimeError("CUDA out of memory.")), (4, ValueError("another fault"))]
    )
    def test_other_faults_and_a_single_window_are_raised(self, tmp_path: Path, windows: int, error: Exception) -> None:
        made = trainer(tmp_path)
        optimizer = torch.optim.AdamW(made.model.parameters())

        def fails(*parts: Any) -> Any:
            raise error

        made._backward = fails
        with pytest.raises(type(error), match=str(error)):
            made._step(made.model, optimizer, torch.zeros(windows, 12, 5), torch.zeros(windows, 2), False)
        assert made.micro_batch is None
