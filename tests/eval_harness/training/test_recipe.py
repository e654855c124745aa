"""What a recipe asks of the training loop: clipping, smoothing, losses and their weights, averages, stages."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from eval_harness.data.windows import RunData
from eval_harness.metrics.ranking import macro_average_precision
from tests.support.tiny_training import equal, recipe, run_data, trainer

State = dict[str, torch.Tensor]


class TestRecipes:
    def test_gradients_are_clipped_only_where_asked(self, tmp_path: Path) -> None:
        plain = trainer(tmp_path / "plain")
        plain.run()
        assert plain.accelerator.clipped == []
        made = trainer(tmp_path / "clipped", recipe=recipe(grad_clip=0.25))
        made.run()
        assert made.accelerator.clipped == [0.25] * 4

    def test_clipped_gradients_are_those_that_are_used(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, recipe=recipe(grad_clip=1e-3))
        before = [parameter.detach().clone() for parameter in made.model.parameters()]
        optimizer = torch.optim.SGD(made.model.parameters(), lr=1.0)
        made._step(made.model, optimizer, torch.randn(4, 12, 5), torch.ones(4, 2), False)
        moved = [(now - was).norm().detach() for now, was in zip(made.model.parameters(), before, strict=True)]
        assert float(torch.stack(moved).norm()) == pytest.approx(1e-3, rel=1e-3)

    def test_smoothed_targets_of_classes_are_drawn_towards_one_half(self, tmp_path: Path) -> None:
        targets = torch.tensor([[1.0, 0.0, 3.5], [math.nan, 1.0, math.nan]])
        made = trainer(tmp_path, data=run_data(classes=2, targets=1), recipe=recipe(label_smoothing=0.2))
        expected = torch.tensor([[0.9, 0.1, 3.5], [math.nan, 0.9, math.nan]])
        torch.testing.assert_close(made._smoothed(targets), expected, equal_nan=True)
        plain = trainer(tmp_path, data=run_data(classes=2, targets=1))
        assert plain._smoothed(targets) is targets

    def test_the_loss_is_that_of_the_smoothed_targets(self, tmp_path: Path) -> None:
        values, targets = torch.randn(4, 12, 5), torch.ones(4, 2)
        made = trainer(tmp_path, recipe=recipe(label_smoothing=0.2))
        made.model.eval()
        logits = made.model(values)
        expected = functional.binary_cross_entropy_with_logits(logits, targets * 0.9)
        assert float(made._backward(made.model, values, targets, False)) == pytest.approx(expected.item(), rel=1e-6)

    @pytest.mark.parametrize(("classes", "targets", "kind"), [(0, 2, "regression"), (2, 1, "mixed")])
    def test_regression_and_mixed_tasks_have_their_loss(
        self, tmp_path: Path, classes: int, targets: int, kind: str
    ) -> None:
        data = run_data(classes=classes, targets=targets)
        made = trainer(tmp_path, data=data)
        assert data.problem_type == kind
        made.model.eval()
        values, wanted = torch.randn(4, 12, 5), torch.rand(4, classes + targets).round()
        logits = made.model(values)
        expected = (logits[:, classes:] - wanted[:, classes:]).abs().mean()
        if classes:
            expected = expected + functional.binary_cross_entropy_with_logits(logits[:, :2], wanted[:, :2])
        assert float(made._backward(made.model, values, wanted, False)) == pytest.approx(expected.item(), rel=1e-6)

    def test_positives_are_weighed_by_the_training_records_where_asked(self, tmp_path: Path) -> None:
        data = run_data(train=10, classes=2, targets=1)  # five of ten have "a", four have "b"
        data.train.targets[:, 1] = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
        made = trainer(tmp_path, data=data, recipe=recipe(balanced=True))
        weight = made._pos_weight
        assert weight is not None
        assert weight.tolist() == [1.0, 1.5]
        assert weight.dtype == torch.float32
        assert trainer(tmp_path, data=data)._pos_weight is None
        assert trainer(tmp_path, data=run_data(classes=0, targets=2), recipe=recipe(balanced=True))._pos_weight is None

    @pytest.mark.parametrize("outcome", [0, 1, math.nan])
    def test_a_class_with_one_outcome_has_the_weight_1(self, tmp_path: Path, outcome: float) -> None:
        data = run_data(train=10)
        data.train.targets[:, 1] = outcome
        data.train.targets[:, 0] = [1, 0, 0, 0, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan]
        made = trainer(tmp_path, data=data, recipe=recipe(balanced=True))
        assert made._pos_weight is not None
        assert made._pos_weight.tolist() == [3.0, 1.0], "records without the target do not count"

    def test_the_weights_are_in_the_loss(self, tmp_path: Path) -> None:
        data = run_data(train=10)
        made = trainer(tmp_path, data=data, recipe=recipe(balanced=True))
        made.model.eval()
        values, targets = torch.randn(4, 12, 5), torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
        weight = torch.tensor([1.0, 1.5])
        expected = functional.binary_cross_entropy_with_logits(made.model(values), targets, pos_weight=weight)
        assert float(made._backward(made.model, values, targets, False)) == pytest.approx(expected.item(), rel=1e-6)

    @pytest.mark.parametrize("keep", ["best", "last"])
    def test_averaged_weights_are_scored_and_kept(self, tmp_path: Path, keep: Any) -> None:
        made = trainer(tmp_path, recipe=recipe(average=0.75, keep=keep))
        own: list[State] = []
        scored: list[State] = []
        step, validate = made._step, made._validate

        def watched(*parts: Any) -> torch.Tensor:
            loss = step(*parts)
            own.append(made.model.trained_state())
            return loss

        made._step = watched
        made._validate = lambda split: scored.append(made.model.trained_state()) or validate(split)
        progress = made.run()
        expected = dict(own[0])
        after = []
        for state in own[1:]:
            expected = {
                name: 0.75 * expected[name] + 0.25 * tensor if tensor.is_floating_point() else tensor
                for name, tensor in state.items()
            }
            after.append(expected)
        for found, wanted in ((scored[0], after[0]), (scored[1], after[2]), (progress.averaged, after[2])):
            for name, tensor in wanted.items():
                torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
        kept = scored[progress.best_epoch - 1] if keep == "best" else scored[1]
        assert equal(made.model.trained_state(), kept)
        assert equal(progress.best_state, scored[progress.best_epoch - 1]), "a copy that later epochs do not move"

    def test_of_several_stages_the_precision_and_the_rate_are_noted(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, recipe=recipe(stage=2))
        progress = made.run()
        split = made.data.validation
        if progress.best_epoch == 2:
            outputs = made.predictor.predict(made.model, split)
            expected = macro_average_precision(split.targets, outputs)
            assert progress.history[1]["validation_auprc"] == pytest.approx(expected)
        assert [step["stage"] for step in progress.history] == [2, 2]
        assert [step["learning_rate"] for step in progress.history] == [1e-3, 1e-3]
        assert all("validation_auprc" not in step for step in trainer(tmp_path / "b").run().history)

    @pytest.mark.parametrize(("classes", "expected"), [(0, {}), (2, {"validation_auprc": None})])
    def test_precision_that_is_not_known_is_none(self, tmp_path: Path, classes: int, expected: dict[str, Any]) -> None:
        data: RunData = run_data(classes=classes, targets=1)
        data.validation.targets[:, :classes] = 0
        made = trainer(tmp_path, data=data, recipe=recipe(stage=1))
        assert made._validate(data.validation)[1] == expected

    def test_the_precision_is_that_of_the_classes(self, tmp_path: Path) -> None:
        data = run_data(classes=2, targets=1)
        made = trainer(tmp_path, data=data, recipe=recipe(stage=1))
        outputs = made.predictor.predict(made.model, data.validation)
        expected = macro_average_precision(data.validation.targets[:, :2], outputs[:, :2])
        assert made._validate(data.validation)[1] == {"validation_auprc": pytest.approx(expected)}

    def test_stages_draw_numbers_of_their_own(self, tmp_path: Path) -> None:
        runs = [trainer(tmp_path / str(stage), recipe=recipe(stage=stage)).run() for stage in (0, 1, 2)]
        assert len({run.history[0]["loss"] for run in runs}) == 3
