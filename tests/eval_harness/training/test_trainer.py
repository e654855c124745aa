"""The training loop, number by number: what is optimised, in which order, what is kept, and how it continues."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from ecg_hub.errors import InputError
from ecg_hub.utils import terminal
from eval_harness.data.windows import Split
from eval_harness.metrics.ranking import macro_auroc
from eval_harness.models.adapting import AdaptedModel, parameter_groups
from eval_harness.training.trainer import Trainer, average, seed_everything
from tests.support.tiny_training import PROTOCOL, Accelerator, equal, recipe, run_data, toy, trainer

State = dict[str, torch.Tensor]


def followed(made: Trainer, model: AdaptedModel) -> tuple[list[float], list[State], list[float]]:
    """The protocol written out: losses, states and validation scores of two epochs of batches of four."""
    groups = parameter_groups(model, made.mode, made.protocol)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-3)
    train, validation = made.data.train, made.data.validation
    losses, states, scores = [], [], []
    for epoch in range(2):
        plan = made.windows.epoch_plan(5, epoch, 4, made.protocol.train_windows == "consecutive")
        model.train()
        steps = []
        for rows in plan.batches:
            values = np.stack([train.reader.window_mv(int(r), plan.starts[r], plan.starts[r] + 5).T for r in rows])
            logits = model(torch.from_numpy(values))
            loss = functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(train.targets[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append(loss.item())
        losses.append(float(np.mean(steps)))
        states.append(model.trained_state())
        scores.append(validated(model, validation))
    return losses, states, scores


def validated(model: AdaptedModel, split: Split) -> float:
    """Macro AUROC of probabilities averaged over the three windows of each record."""
    model.eval()
    with torch.no_grad():
        windows = [[split.reader.window_mv(r, s, s + 5).T for s in (0, 5, 10)] for r in range(len(split))]
        found = np.stack([model(torch.from_numpy(np.stack(record))).sigmoid().mean(0).numpy() for record in windows])
    return float(macro_auroc(split.targets, found))


class TestRun:
    @pytest.mark.parametrize("mode", ["linear", "frozen", "finetune", "scratch"])
    @pytest.mark.parametrize("windows", ["random", "consecutive"])
    def test_it_is_the_protocol_written_out(self, tmp_path: Path, mode: str, windows: str) -> None:
        """But for dropout, whose draws are those of the loaders too."""
        made = trainer(tmp_path, mode, protocol=dataclasses.replace(PROTOCOL, train_windows=windows))
        model = toy(mode)
        for one in (made.model, model):
            one.encoder.drop.p = 0.0
        progress = made.run()
        losses, states, scores = followed(made, model)
        assert [step["loss"] for step in progress.history] == pytest.approx(losses, rel=1e-5)
        assert [step["validation"] for step in progress.history] == pytest.approx(scores, rel=1e-6)
        assert [step["epoch"] for step in progress.history] == [1, 2]
        assert all(0 <= (step["seconds"] or 0) < 60 for step in progress.history)
        best = int(np.argmax(scores))
        assert (progress.epoch, progress.best_epoch, progress.best_score) == (2, best + 1, pytest.approx(scores[best]))
        for name, tensor in made.model.trained_state().items():
            torch.testing.assert_close(tensor, states[best][name], rtol=1e-5, atol=1e-6)

    def test_the_optimiser_is_adamw_with_the_decay_of_the_protocol(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[torch.optim.AdamW] = []

        class Kept(torch.optim.AdamW):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                made.append(self)

        monkeypatch.setattr(torch.optim, "AdamW", Kept)
        trainer(tmp_path, protocol=dataclasses.replace(PROTOCOL, weight_decay=0.125, learning_rate=0.5)).run()
        (optimizer,) = made
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05, 0.005])
        for group in optimizer.param_groups:
            assert (group["weight_decay"], group["betas"], group["eps"]) == (0.125, (0.9, 0.999), 1e-8)
            assert not group["amsgrad"]

    def test_the_seed_decides_order_and_dropout(self, tmp_path: Path) -> None:
        one, same, other = (trainer(tmp_path / str(k), seed=seed).run() for k, seed in enumerate((5, 5, 6)))
        assert [step["loss"] for step in one.history] == [step["loss"] for step in same.history]
        assert one.history[0]["loss"] != other.history[0]["loss"]

    @pytest.mark.parametrize(("stage", "numbers"), [(0, [(5, 0, 3), (5, 1, 3)]), (2, [(5, 2, 0, 3), (5, 2, 1, 3)])])
    def test_every_epoch_stage_and_process_has_its_own_draws(
        self, tmp_path: Path, stage: int, numbers: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[int, ...]] = []
        monkeypatch.setattr("eval_harness.training.trainer.seed_everything", lambda *parts: seen.append(parts))
        made = trainer(tmp_path, recipe=recipe(stage=stage))
        made.windows = dataclasses.replace(made.windows, rank=3, world=4)
        made._batches = lambda plan: iter([(torch.zeros(1, 12, 5), torch.zeros(1, 2), False)])
        made._validate = lambda split: (0.5, {})
        planned: list[tuple[Any, ...]] = []
        monkeypatch.setattr(type(made.windows), "epoch_plan", lambda windows, *parts: planned.append(parts))
        made.run()
        assert seen == numbers
        assert planned == [(5, epoch, 4, False, stage) for epoch in range(2)]

    def test_the_bar_counts_the_steps_of_all_epochs_and_goes_on_where_a_run_does(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[tuple[int, int, str]] = []
        shown: list[str] = []
        counted: list[int] = []
        said: list[str] = []

        class Bar:
            def __init__(self, **settings: Any) -> None:
                opened.append((settings["total"], settings["initial"], settings["desc"]))
                self.set_postfix_str = shown.append
                self.set_description_str = lambda text, refresh: None
                self.update = lambda: counted.append(1)
                self.close = lambda: counted.append(0)

        monkeypatch.setattr(terminal, "bars_shown", lambda: True)
        monkeypatch.setattr(terminal, "progress", Bar)
        once = dataclasses.replace(PROTOCOL, epochs=1)
        first = trainer(tmp_path, quiet=False, protocol=once, report=said.append).run()
        more = dataclasses.replace(PROTOCOL, epochs=3)
        second = trainer(tmp_path, quiet=False, protocol=more, report=said.append).run()
        assert opened == [(2, 0, "  epoch 1/1"), (6, 2, "  epoch 2/3")]
        assert counted == [1, 1, 0, 1, 1, 1, 1, 0]
        history = [*first.history, *second.history[1:]]
        for text, step in zip(shown, history, strict=True):
            assert text.startswith(f"loss {step['loss']:.4f}, validation {step['validation']:.4f} (best 0.")
        last = f"  best epoch {second.best_epoch} of 3: validation {second.best_score:.4f}, "
        assert said[0] == "toy run"
        assert said[-1].startswith(last)

    @pytest.mark.parametrize("quiet", [False, True])
    def test_in_a_file_an_epoch_is_a_line_with_the_time(self, tmp_path: Path, quiet: bool) -> None:
        said: list[str] = []
        progress = trainer(tmp_path, quiet=quiet, report=said.append).run()
        lines = [
            f"toy run: epoch {k}/{len(progress.history)}, loss {step['loss']:.4f}, validation {step['validation']:.4f}"
            for k, step in enumerate(progress.history, start=1)
        ]
        assert [re.sub(r"^[\d-]+ [\d:]+ |, best epoch .*", "", text) for text in said] == ([] if quiet else lines)

    def test_a_rest_smaller_than_a_batch_is_dropped(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, data=run_data(train=10))
        assert (made.batch_size, made.steps) == (4, 2)
        seen: list[int] = []
        step = made._step
        made._step = lambda *parts: seen.append(len(parts[2])) or step(*parts)
        made.run()
        assert seen == [4, 4] * 2

    def test_a_train_set_smaller_than_a_batch_is_one_batch(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, data=run_data(train=3))
        assert (made.batch_size, made.steps) == (3, 1)
        assert made.run().epoch == 2

    def test_a_batch_that_processes_cannot_share_is_refused(self, tmp_path: Path) -> None:
        made = trainer(tmp_path)
        made.windows = dataclasses.replace(made.windows, world=3)
        with pytest.raises(InputError, match=r"A batch of 4 cannot be divided among 3 processes: .*--batch-size"):
            made.run()

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_loss_that_is_not_finite_stops_with_the_remedy(self, tmp_path: Path, value: float) -> None:
        made = trainer(tmp_path, recipe=recipe(remedy="Take less."))
        made._step = lambda *parts: torch.tensor(value)
        with pytest.raises(InputError, match=rf"toy run: the training loss became {value!r} in epoch 1\. Take less\."):
            made.run()
        assert not made.checkpoint.path.exists()

    def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(self, tmp_path: Path) -> None:
        losses = iter((1.0, 2.0, 5.0, 7.0))
        made = trainer(tmp_path)
        made._step = lambda *parts: torch.tensor(next(losses))
        assert [step["loss"] for step in made.run().history] == [1.5, 6.0]

    def test_the_best_epoch_is_left_in_the_model(self, tmp_path: Path) -> None:
        """Three epochs whose scores say that the second is the best one."""
        made = trainer(tmp_path, protocol=dataclasses.replace(PROTOCOL, epochs=3))
        scores, states = iter((0.5, 0.9, 0.9)), []

        def validate(split: Split) -> tuple[float, dict[str, float | None]]:
            assert split is made.data.validation
            states.append(made.model.trained_state())
            return next(scores), {}

        made._validate = validate
        progress = made.run()
        assert (progress.best_epoch, progress.best_score) == (2, 0.9)
        assert equal(made.model.trained_state(), states[1])
        assert not equal(states[1], states[2])

    def test_the_last_epoch_is_left_where_the_recipe_keeps_it(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, recipe=recipe(keep="last"))
        states, validate = [], made._validate
        made._validate = lambda split: states.append(made.model.trained_state()) or validate(split)
        made.run()
        assert equal(made.model.trained_state(), states[-1])

    def test_every_process_waits_and_the_first_one_writes(self, tmp_path: Path) -> None:
        accelerator = Accelerator()
        accelerator.is_main_process = False
        made = trainer(tmp_path, accelerator=accelerator)
        made.run()
        assert accelerator.waited == 2
        assert not made.checkpoint.path.exists()


class TestRates:
    def test_the_factor_of_an_epoch_multiplies_the_full_rates(self, tmp_path: Path) -> None:
        seen: list[int] = []

        def factor(history: Any) -> float:
            seen.append(len(history))
            return (0.5, 0.25)[len(history)]

        made = trainer(tmp_path, recipe=recipe(rate_factor=factor, stage=1))
        progress = made.run()
        assert seen == [0, 1]
        assert [step["learning_rate"] for step in progress.history] == [0.5e-3, 0.25e-3]
        assert [step["stage"] for step in progress.history] == [1, 1]

    def test_all_groups_follow(self, tmp_path: Path) -> None:
        rates: list[list[float]] = []
        made = trainer(tmp_path, recipe=recipe(rate_factor=lambda history: 0.5))
        step = made._step

        def watched(wrapped: Any, optimizer: Any, *parts: Any) -> torch.Tensor:
            rates.append([group["lr"] for group in optimizer.param_groups])
            return step(wrapped, optimizer, *parts)

        made._step = watched
        made.run()
        assert all(found == pytest.approx([0.5e-3, 0.5e-4, 0.5e-5]) for found in rates)
        assert len(rates) == 4


class TestContinuing:
    @pytest.mark.parametrize("average_of", [None, 0.5])
    def test_a_run_that_was_cut_ends_with_the_same_numbers(self, tmp_path: Path, average_of: float | None) -> None:
        def made(name: str, epochs: int, said: list[str]) -> Trainer:
            chosen = recipe(epochs=epochs, average=average_of, rate_factor=lambda history: 1 / (1 + len(history)))
            return trainer(tmp_path / name, recipe=chosen, report=said.append)

        said: list[str] = []
        whole, first = made("whole", 4, said), made("cut", 2, said)
        expected = whole.run()
        first.run()
        assert said == []
        second = made("cut", 4, said)
        found = second.run()
        assert said == ["toy run: continues after epoch 2 of 4"]
        keys = ("epoch", "loss", "validation")
        assert [[step[k] for k in keys] for step in found.history] == [
            [step[k] for k in keys] for step in expected.history
        ]
        assert (found.best_epoch, found.best_score) == (expected.best_epoch, expected.best_score)
        assert equal(second.model.trained_state(), whole.model.trained_state())
        assert equal(found.averaged, expected.averaged)

    @pytest.mark.parametrize("average", [None, 0.5])
    def test_processes_score_and_keep_the_running_statistics_of_the_first(
        self, tmp_path: Path, average: float | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each has seen a part of the last batch: their batch norms would be those of different models."""
        of_the_first = torch.full((4,), 7.0)
        monkeypatch.setattr(
            "eval_harness.training.trainer.broadcast",
            lambda buffer: buffer.copy_(of_the_first) if buffer.shape == (4,) else buffer,
        )
        made = trainer(tmp_path, recipe=recipe(average=average))
        made.windows = dataclasses.replace(made.windows, rank=1, world=2)
        scored: list[torch.Tensor] = []
        validate = made._validate

        def looked_at(split: Split) -> Any:
            scored.append(made.model.encoder.norm.running_mean.clone())
            return validate(split)

        made._validate = looked_at
        made.run()
        assert [mean.tolist() for mean in scored] == [[7.0] * 4] * 2
        assert made.model.encoder.norm.running_mean.tolist() == [7.0] * 4

    def test_a_finished_run_trains_no_more(self, tmp_path: Path) -> None:
        first = trainer(tmp_path)
        first.run()
        again = trainer(tmp_path)
        again._epoch = None
        assert again.run().epoch == 2
        assert equal(again.model.trained_state(), first.model.trained_state())


class TestKeptFeatures:
    def test_a_fixed_encoder_encodes_the_training_windows_once(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, "linear", protocol=dataclasses.replace(PROTOCOL, train_windows="consecutive"))
        made.run()
        assert made.predictor.cache.encoded == 30 + 18, "three windows of ten training and six validation records"
        encoded = [encoded for *_, encoded in made._batches(made.windows.epoch_plan(5, 0, 4, True))]
        assert encoded == [True, True]

    @pytest.mark.parametrize(("mode", "windows"), [("linear", "random"), ("finetune", "consecutive")])
    def test_other_runs_read_windows(self, tmp_path: Path, mode: str, windows: str) -> None:
        made = trainer(tmp_path, mode, protocol=dataclasses.replace(PROTOCOL, train_windows=windows))
        plan = made.windows.epoch_plan(5, 0, 4, windows == "consecutive")
        batches = list(made._batches(plan))
        assert [encoded for *_, encoded in batches] == [False, False]
        for (values, targets, _), rows in zip(batches, plan.batches, strict=True):
            assert tuple(values.shape) == (4, 12, 5)
            assert torch.equal(targets, torch.from_numpy(made.data.train.targets[rows]))
        assert made.predictor.cache.encoded == 0, "no window is encoded beforehand"

    @pytest.mark.parametrize("windows", ["random", "consecutive"])
    def test_what_a_step_gets_is_on_the_device_of_the_run(self, tmp_path: Path, windows: str) -> None:
        """The device "meta" holds no numbers, and no other tensor goes there by itself."""
        made = trainer(tmp_path, "linear", protocol=dataclasses.replace(PROTOCOL, train_windows=windows))
        made.accelerator.device = torch.device("meta")
        for values, targets, _ in made._batches(made.windows.epoch_plan(5, 0, 4, windows == "consecutive")):
            assert (values.device.type, targets.device.type) == ("meta", "meta")

    def test_the_loss_of_a_step_is_on_the_device_of_its_values(self, tmp_path: Path) -> None:
        made = trainer(tmp_path)
        made.model.to("meta")
        loss = made._backward(made.model, torch.zeros(4, 12, 5, device="meta"), torch.ones(4, 2, device="meta"), False)
        assert loss.device.type == "meta"

    def test_kept_features_are_those_of_the_drawn_windows(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, "linear", protocol=dataclasses.replace(PROTOCOL, train_windows="consecutive"))
        plan = made.windows.epoch_plan(5, 0, 4, True)
        made.model.eval()
        for (features, targets, _), rows in zip(made._batches(plan), plan.batches, strict=True):
            reader = made.data.train.reader
            values = np.stack([reader.window_mv(int(r), plan.starts[r], plan.starts[r] + 5).T for r in rows])
            torch.testing.assert_close(features, made.model.encode(torch.from_numpy(values)))
            assert torch.equal(targets, torch.from_numpy(made.data.train.targets[rows]))


def test_averages_move_by_the_decay_and_take_over_counters_and_new_tensors() -> None:
    averaged = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    same = averaged["w"]
    average(averaged, {"w": torch.tensor([2.0, 4.0]), "n": torch.tensor(7), "new": torch.tensor(5.0)}, 0.75)
    assert averaged["w"].tolist() == [1.25, 2.5]
    assert averaged["w"] is same
    assert int(averaged["n"]) == 7
    assert float(averaged["new"]) == 5.0


def test_every_number_counts_in_the_seed() -> None:
    def drawn(*numbers: int) -> float:
        seed_everything(*numbers)
        return float(torch.rand(()))

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(*numbers) for numbers in ((1, 2, 3), (1, 3, 2), (2, 2, 3), (1, 2), (1, 2, 4), (3, 2, 1))}) == 6
    seed_everything(5, 0, 0)
    first = float(torch.rand(()))
    torch.manual_seed(int(np.random.SeedSequence((5, 0, 0)).generate_state(1, np.uint64)[0]) >> 1)
    assert float(torch.rand(())) == first
