"""Mode `post_train`: what each stage is, and what passes from the first to the second."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.modeling.layers import DropPath
from eval_harness.config.protocol import PostTraining, parse_post_training
from eval_harness.models.adapting import AdaptedModel
from eval_harness.models.custom_models import CustomClassifier
from eval_harness.training.post_training import (
    PostTrainer,
    block_depths,
    joined,
    residual_blocks,
    stage1_recipe,
    stage2_groups,
    stage2_recipe,
    stochastic_depth,
)
from eval_harness.training.recipe import Recipe, cosine, plateau
from eval_harness.training.trainer import Progress
from tests.support.tiny_training import LABELS, WIDTH, Accelerator, ToyEncoder, trainer

SETTINGS = PostTraining(batch_size=4, stage1_epochs=2, stage2_epochs=3)
History = list[dict[str, float | None]]


class Block(nn.Module):
    """A residual block with two branches, one of them behind a module without parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.path = DropPath()
        self.wrapped = nn.Sequential(nn.Identity(), DropPath())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.path(self.first(x))
        return x + self.wrapped(self.second(x))


class DeepToy(ToyEncoder):
    """The toy encoder with two residual blocks and a norm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Sequential(Block(), nn.LayerNorm(WIDTH), Block(), nn.Linear(WIDTH, WIDTH))
        self.config.drop_path_rate, self.config.drop_path_schedule = 0.0, "linear"
        for depth, place in enumerate((0, 2)):
            for path in (module for module in self.top[place].modules() if isinstance(module, DropPath)):
                path.depth = float(depth)


class Freed(Accelerator):
    def __init__(self) -> None:
        super().__init__()
        self.freed = 0

    def free_memory(self) -> None:
        self.freed += 1


def deep() -> AdaptedModel:
    torch.manual_seed(0)
    return AdaptedModel(CustomClassifier(DeepToy(), "mean", len(LABELS), 1), "post_train")


def post_trainer(folder: Path, settings: PostTraining = SETTINGS, **changes: Any) -> PostTrainer:
    return PostTrainer(trainer(folder, "post_train", model=deep(), accelerator=Freed(), **changes), settings)


def history(*scores: float) -> History:
    return [{"validation": score} for score in scores]


class TestRecipes:
    def test_stage_1_is_as_configured(self) -> None:
        settings = PostTraining(
            batch_size=7, stage1_epochs=9, stage1_learning_rate=0.5, stage1_weight_decay=0.25, pos_weight="balanced"
        )
        recipe, model = stage1_recipe(settings), deep()
        (group,) = recipe.groups(model)
        assert group == {"params": list(model.head.parameters()), "lr": 0.5, "name": "head"}
        assert recipe == Recipe(
            epochs=9,
            batch_size=7,
            weight_decay=0.25,
            groups=recipe.groups,
            consecutive=True,
            stage=1,
            rate_factor=recipe.rate_factor,
            balanced=True,
            keep="best",
            remedy="Lower --post-train stage1_learning_rate or use --dtype float32.",
        )
        plain = stage1_recipe(PostTraining())
        assert (plain.balanced, plain.keep) == (False, "best")
        assert stage1_recipe(PostTraining(stage1_start="last")).keep == "last"

    def test_the_schedules_of_stage_1(self) -> None:
        least = {"stage1_learning_rate": 0.5, "stage1_min_learning_rate": 0.1, "stage1_epochs": 10}
        flat = history(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
        constant = stage1_recipe(PostTraining(**least)).rate_factor
        assert [constant(flat[:k]) for k in (0, 5)] == [1.0, 1.0]
        falling = stage1_recipe(PostTraining(stage1_schedule="cosine", **least)).rate_factor
        assert [falling(flat[:k]) for k in range(9)] == pytest.approx([cosine(k, 10, 0.2) for k in range(9)])
        steps = PostTraining(stage1_schedule="plateau", stage1_plateau_factor=0.4, stage1_plateau_patience=2, **least)
        lowered = stage1_recipe(steps).rate_factor
        assert [lowered(flat[:k]) for k in range(9)] == pytest.approx([1, 1, 1, 1, 0.4, 0.4, 0.4, 0.2, 0.2])

    def test_stage_2_is_as_configured(self) -> None:
        settings = PostTraining(
            batch_size=7,
            stage2_epochs=9,
            stage2_learning_rate=0.5,
            stage2_min_learning_rate=0.1,
            stage2_weight_decay=0.25,
            stage2_warmup_epochs=3,
            stage2_label_smoothing=0.125,
            stage2_grad_clip=2.0,
            stage2_ema=0.75,
            pos_weight="balanced",
        )
        recipe = stage2_recipe(settings, consecutive=True)
        assert recipe == Recipe(
            epochs=9,
            batch_size=7,
            weight_decay=0.25,
            groups=recipe.groups,
            consecutive=True,
            stage=2,
            rate_factor=recipe.rate_factor,
            label_smoothing=0.125,
            balanced=True,
            grad_clip=2.0,
            average=0.75,
            keep="best",
            remedy="Lower --post-train stage2_learning_rate or use --dtype float32.",
        )
        rates = [recipe.rate_factor([{}] * k) for k in range(9)]
        assert rates == pytest.approx([cosine(k, 9, 0.2, 3) for k in range(9)])
        plain = stage2_recipe(PostTraining())
        assert (plain.balanced, plain.consecutive, plain.average, plain.grad_clip) == (False, False, None, None)

    def test_the_groups_of_stage_2(self) -> None:
        model = deep()
        head, encoder = stage2_groups(model, PostTraining(stage2_learning_rate=0.5, stage2_head_rate_scale=2.0))
        assert head == {"params": list(model.head.parameters()), "lr": 1.0, "name": "head"}
        assert (encoder["name"], encoder["lr"]) == ("encoder", 0.5)
        assert [id(p) for p in encoder["params"]] == [id(p) for p in model.encoder.parameters() if p.requires_grad]
        groups = stage2_groups(model, PostTraining(stage2_learning_rate=0.5, stage2_group_factor=0.1))
        assert [(g["name"], g["lr"]) for g in groups] == [
            ("head", 0.5), ("early", pytest.approx(0.005)), ("late", pytest.approx(0.05)),
        ]  # fmt: skip
        groups = stage2_groups(model, PostTraining(stage2_learning_rate=0.5, stage2_layer_decay=0.5))
        assert [(g["name"], g["lr"]) for g in groups] == [
            ("head", 0.5), ("layer 0", 0.0625), ("layer 1", 0.125), ("layer 2", 0.25), ("layer 3", 0.5),
        ]  # fmt: skip


class TestBlocks:
    def test_a_block_is_the_innermost_module_with_parameters_and_counts_once(self) -> None:
        assert residual_blocks(DeepToy()) == ["top.0", "top.2"]
        assert residual_blocks(ToyEncoder()) == []

    def test_what_lies_between_two_blocks_belongs_to_the_first_of_them(self) -> None:
        depths = block_depths(DeepToy())
        by_depth: dict[int, set[str]] = {}
        for name, depth in depths.items():
            by_depth.setdefault(depth, set()).add(".".join(name.split(".")[:2]))
        assert by_depth == {
            0: {"table", "stem.weight", "norm.weight", "norm.bias"},
            1: {"top.0", "top.1"},
            2: {"top.2"},
            3: {"top.3"},
        }
        assert depths.keys() == {name for name, _ in DeepToy().named_parameters()}

    def test_what_comes_before_the_blocks_follows_the_layer_groups(self) -> None:
        encoder = DeepToy()
        encoder.config.layer_groups = {"late": ["top.", "table"], "early": ["stem.", "norm."]}
        depths = block_depths(encoder)
        assert (depths["table"], depths["stem.weight"]) == (3, 0)

    @pytest.mark.parametrize("fails", [False, True])
    def test_stochastic_depth_ends_as_it_began(self, fails: bool) -> None:
        model = deep()
        paths = [module for module in model.encoder.modules() if isinstance(module, DropPath)]
        paths[0].rate, paths[0].mode = 0.125, "batch"
        config: Any = model.encoder.config
        settings = PostTraining(depth_rate=0.25, depth_schedule="constant", depth_mode="batch")
        try:
            with stochastic_depth(model, settings):
                assert [(path.rate, path.mode) for path in paths] == [(0.25, "batch")] * 4
                assert (config.drop_path_rate, config.drop_path_schedule) == (0.25, "constant")
                if fails:
                    raise KeyError
        except KeyError:
            pass
        assert [(path.rate, path.mode) for path in paths] == [(0.125, "batch"), *[(0.0, "row")] * 3]
        assert (config.drop_path_rate, config.drop_path_schedule) == (0.0, "linear")

    def test_no_settings_and_no_blocks_leave_everything_alone(self) -> None:
        model = deep()
        with stochastic_depth(model, None):
            assert {path.rate for path in model.encoder.modules() if isinstance(path, DropPath)} == {0.0}
        plain = AdaptedModel(CustomClassifier(ToyEncoder(), "mean", 1, 1), "post_train")
        with stochastic_depth(plain, SETTINGS):
            pass


class TestStages:
    def test_they_share_the_run_and_have_checkpoints_and_names_of_their_own(self, tmp_path: Path) -> None:
        made = post_trainer(tmp_path)
        first, second = made.stages
        assert (first.plan.stage, second.plan.stage) == (1, 2)
        assert [stage.label for stage in made.stages] == ["toy run stage 1", "toy run stage 2"]
        assert [stage.checkpoint.path.name for stage in made.stages] == [
            "checkpoint.stage1.pt", "checkpoint.stage2.pt",
        ]  # fmt: skip
        assert {stage.checkpoint.path.parent for stage in made.stages} == {tmp_path}
        marks = {made.trainer.checkpoint.fingerprint, *(stage.checkpoint.fingerprint for stage in made.stages)}
        assert len(marks) == 3
        other = post_trainer(tmp_path)
        assert [stage.checkpoint.fingerprint for stage in other.stages] == [
            stage.checkpoint.fingerprint for stage in made.stages
        ]
        assert first.model is second.model is made.model
        assert (made.plan.stage, made.batch_size, made.micro_batch) == (2, 4, None)
        second.micro_batch = 2
        assert made.micro_batch == 2

    @pytest.mark.parametrize("windows", ["random", "consecutive"])
    def test_windows_of_stage_2_are_those_of_the_protocol(self, tmp_path: Path, windows: str) -> None:
        protocol = dataclasses.replace(trainer(tmp_path).protocol, train_windows=windows)
        made = post_trainer(tmp_path, protocol=protocol)
        assert [stage.plan.consecutive for stage in made.stages] == [True, windows == "consecutive"]

    def test_without_preview_there_is_one_stage(self, tmp_path: Path) -> None:
        made = post_trainer(tmp_path, dataclasses.replace(SETTINGS, preview=False))
        assert [stage.plan.stage for stage in made.stages] == [2]

    def test_a_model_without_blocks_is_refused_before_anything_is_trained(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no residual blocks"):
            PostTrainer(trainer(tmp_path, "post_train"), SETTINGS)

    def test_the_head_learns_first_then_everything_with_stochastic_depth(self, tmp_path: Path) -> None:
        settings = dataclasses.replace(SETTINGS, stage1_dropout=0.125, stage2_dropout=0.25, depth_rate=0.5)
        made = post_trainer(tmp_path, settings)
        model, seen = made.model, []
        before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
        paths = [module for module in model.encoder.modules() if isinstance(module, DropPath)]
        for stage in made.stages:
            run = stage.run

            def watched(run: Any = run) -> Progress:
                rates = [path.rate for path in paths]
                head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
                found = run()
                moved = any(not torch.equal(before[k], v) for k, v in model.encoder.state_dict().items())
                learnt = any(not torch.equal(head[k], v) for k, v in model.head.state_dict().items())
                seen.append((model.frozen, model.dropout, rates, moved, learnt))
                return found

            stage.run = watched
        progress = made.run()
        assert seen == [(True, 0.125, [0.0] * 4, False, True), (False, 0.25, [0.0, 0.0, 0.5, 0.5], True, True)]
        assert model.dropout == 0.0
        assert made.trainer.accelerator.freed == 2
        assert [step["stage"] for step in progress.history] == [1, 1, 2, 2, 2]
        assert [step["epoch"] for step in progress.history] == [1, 2, 3, 4, 5]
        assert progress.epoch == 5
        assert 3 <= progress.best_epoch <= 5
        assert progress.best_score == progress.history[progress.best_epoch - 1]["validation"]
        assert all(stage.checkpoint.path.is_file() for stage in made.stages)
        made.drop_checkpoints()
        assert not list(tmp_path.iterdir())

    def test_histories_are_joined_and_epochs_numbered_on(self) -> None:
        first = Progress(2, 1, 0.9, [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}], {"w": torch.zeros(1)})
        state = {"w": torch.ones(1)}
        second = Progress(2, 2, 0.7, [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}], state)
        found = joined([first, second])
        assert (found.epoch, found.best_epoch, found.best_score) == (4, 4, 0.7)
        assert found.best_state is state
        assert found.history == [{"epoch": k, "loss": loss} for k, loss in enumerate((3.0, 2.0, 1.0, 0.5), start=1)]
        assert joined([second]) == second


class TestSettings:
    def test_hyphens_and_points_are_as_good_as_underscores(self) -> None:
        assert parse_post_training(["stage1-epochs=4", "stage2.epochs = 5"]) == PostTraining(
            stage1_epochs=4, stage2_epochs=5
        )

    def test_a_file_adds_to_the_words_before_it(self, tmp_path: Path) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text("stage2_epochs: 5\n")
        assert parse_post_training(["stage1_epochs=4", str(file)]) == PostTraining(stage1_epochs=4, stage2_epochs=5)

    def test_whole_numbers_may_be_written_as_floats(self) -> None:
        assert parse_post_training(["stage1_epochs=4.0", "batch_size=1e2"]) == PostTraining(
            stage1_epochs=4, batch_size=100
        )

    @pytest.mark.parametrize(
        ("name", "allowed", "refused"),
        [
            ("batch_size", (1,), (0,)),
            ("stage1_epochs", (1,), (0,)),
            ("stage2_epochs", (1,), (0,)),
            ("stage1_plateau_patience", (1,), (0,)),
            ("stage1_learning_rate", (1e-9, 0.5), (0.0, -1.0)),
            ("stage2_learning_rate", (1e-5, 0.5), (0.0, 0.9e-5)),
            ("stage2_head_rate_scale", (1e-9,), (0.0,)),
            ("stage1_weight_decay", (0.0,), (-1e-9,)),
            ("stage2_weight_decay", (0.0,), (-1e-9,)),
            ("stage2_warmup_epochs", (0, 29), (-1, 30)),
            ("stage1_min_learning_rate", (0.0, 5e-3), (-1e-9, 5.1e-3)),
            ("stage2_min_learning_rate", (0.0, 5e-4), (-1e-9, 5.1e-4)),
            ("stage1_dropout", (0.0, 0.99), (-1e-9, 1.0)),
            ("stage2_dropout", (0.0, 0.99), (-1e-9, 1.0)),
            ("depth_rate", (0.0, 0.99), (-1e-9, 1.0)),
            ("stage2_label_smoothing", (0.0, 0.99), (-1e-9, 1.0)),
            ("stage2_layer_decay", (1e-9, 1.0), (0.0, 1.1)),
            ("stage2_group_factor", (1e-9, 1.0), (0.0, 1.1)),
            ("stage1_plateau_factor", (1e-9, 1.0), (0.0, 1.1)),
            ("stage2_grad_clip", (None, 1e-9, 2.0), (0.0,)),
            ("stage2_ema", (None, 0.01, 0.99), (0.0, 1.0)),
        ],
    )
    def test_the_ends_of_what_is_allowed(self, name: str, allowed: tuple[Any, ...], refused: tuple[Any, ...]) -> None:
        for value in allowed:
            assert getattr(PostTraining(**{name: value}), name) == value
        for value in refused:
            with pytest.raises(InputError, match=r"\w+ is .*: it (must|goes)"):
                PostTraining(**{name: value})


def test_a_plateau_begins_with_the_first_epoch() -> None:
    """A history without a score never had a better one: it waits from its first epoch on."""
    assert plateau([{"validation": None}] * 2, 0.5, 2, 0.0) == 1.0
    assert plateau([{"validation": None}] * 3, 0.5, 2, 0.0) == 0.5
    assert plateau(history(0.5, 0.4, 0.4), 0.5, 2, 0.0) == 1.0
    assert plateau(history(0.5, 0.4, 0.4, 0.4), 0.5, 2, 0.0) == 0.5
