"""Mode `post_train`: a head on the fixed encoder first, then everything with stochastic depth (arXiv 2509.12991).

Both stages are runs of the one training loop with other recipes. Each has its own checkpoint; all that is random in an
epoch comes from (seed, stage, epoch), so that a killed run ends with the numbers of the undisturbed one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ecg_hub.errors import InputError
from ecg_hub.modeling.layers import DropPath, set_drop_path
from eval_harness.config.protocol import PostTraining
from eval_harness.models.adapting import AdaptedModel, layer_group
from eval_harness.training.recipe import History, Recipe, cosine, plateau
from eval_harness.training.trainer import Checkpoint, Progress, Trainer

REMEDY = "Lower --post-train stage{}_learning_rate or use --dtype float32."


@dataclass
class PostTrainer:
    """Trains one model in the two stages.

    Attributes:
        trainer: holds what both stages share; it is not run itself.
        settings: of both stages.
    """

    trainer: Trainer
    settings: PostTraining

    def __post_init__(self) -> None:
        """Refuse a model without residual blocks before anything is trained."""
        check_depth(self.model, self.settings)
        first, second = stage1_recipe(self.settings), stage2_recipe(self.settings, self.trainer.plan.consecutive)
        self.stages = [self._stage(recipe) for recipe in ((first, second) if self.settings.preview else (second,))]

    @property
    def model(self) -> AdaptedModel:
        """The model that is trained."""
        return self.trainer.model

    @property
    def plan(self) -> Recipe:
        """The recipe of the last stage."""
        return self.stages[-1].plan

    @property
    def batch_size(self) -> int:
        """Windows per step."""
        return self.stages[-1].batch_size

    @property
    def micro_batch(self) -> int | None:
        """Windows that went through the model at once in the last stage."""
        return self.stages[-1].micro_batch

    def run(self) -> Progress:
        """Train both stages and leave the best weights of stage 2 in the model."""
        done: list[Progress] = []
        for stage in self.stages:
            head_only = stage.plan.stage == 1
            # Before the stage's run, which may put kept weights back: those of stage 1 are the head's alone.
            self.model.freeze(head_only)
            self.model.dropout = self.settings.stage1_dropout if head_only else self.settings.stage2_dropout
            with stochastic_depth(self.model, None if head_only else self.settings):
                done.append(stage.run())
            # What several processes share of stage 1 would else listen to the gradients of stage 2.
            stage.accelerator.free_memory()
        self.model.dropout = 0.0
        return joined(done)

    def drop_checkpoints(self) -> None:
        """Remove the files of both stages once the run's predictions are written."""
        for stage in self.stages:
            stage.checkpoint.drop()

    def _stage(self, recipe: Recipe) -> Trainer:
        shared = self.trainer
        path = shared.checkpoint.path
        # A marker of its own: a checkpoint of stage 1 holds a head, one of stage 2 the whole model.
        marker = hashlib.sha256(f"{shared.checkpoint.fingerprint}|stage {recipe.stage}".encode()).hexdigest()
        return dataclasses.replace(
            shared,
            recipe=recipe,
            checkpoint=Checkpoint(path.with_name(f"{path.stem}.stage{recipe.stage}{path.suffix}"), marker),
            label=f"{shared.label} stage {recipe.stage}",
        )


def joined(stages: list[Progress]) -> Progress:
    """The progress of the last stage with the history of all of them; epochs are numbered on."""
    history: list[dict[str, float | None]] = []
    for progress in stages:
        before = len(history)
        history += [{**step, "epoch": before + number} for number, step in enumerate(progress.history, start=1)]
    last = stages[-1]
    # The best epoch is one of the last stage, whose numbers begin behind those of the first.
    before = len(history) - len(last.history)
    return Progress(len(history), before + last.best_epoch, last.best_score, history, last.best_state)


def stage1_recipe(settings: PostTraining) -> Recipe:
    """The head alone, on features of the windows of evaluation, which are encoded once."""
    rate = settings.stage1_learning_rate
    least = settings.stage1_min_learning_rate / rate

    def factor(history: History) -> float:
        if settings.stage1_schedule == "cosine":
            return cosine(len(history), settings.stage1_epochs, least)
        if settings.stage1_schedule == "plateau":
            return plateau(history, settings.stage1_plateau_factor, settings.stage1_plateau_patience, least)
        return 1.0

    return Recipe(
        epochs=settings.stage1_epochs,
        batch_size=settings.batch_size,
        weight_decay=settings.stage1_weight_decay,
        groups=lambda model: [{"params": list(model.head.parameters()), "lr": rate, "name": "head"}],
        consecutive=True,
        stage=1,
        rate_factor=factor,
        balanced=settings.pos_weight == "balanced",
        keep="last" if settings.stage1_start == "last" else "best",
        remedy=REMEDY.format(1),
    )


def stage2_recipe(settings: PostTraining, consecutive: bool = False) -> Recipe:
    """Everything, with a cosine over the epochs."""
    least = settings.stage2_min_learning_rate / settings.stage2_learning_rate
    epochs, warmup = settings.stage2_epochs, settings.stage2_warmup_epochs
    return Recipe(
        epochs=epochs,
        batch_size=settings.batch_size,
        weight_decay=settings.stage2_weight_decay,
        groups=lambda model: stage2_groups(model, settings),
        consecutive=consecutive,
        stage=2,
        rate_factor=lambda history: cosine(len(history), epochs, least, warmup),
        label_smoothing=settings.stage2_label_smoothing,
        balanced=settings.pos_weight == "balanced",
        grad_clip=settings.stage2_grad_clip,
        average=settings.stage2_ema,
        remedy=REMEDY.format(2),
    )


def stage2_groups(model: AdaptedModel, settings: PostTraining) -> list[dict[str, Any]]:
    """Parameter groups of stage 2 with their full rates: the head, and the encoder as a whole or by layers."""
    rate = settings.stage2_learning_rate
    groups = [
        {"params": list(model.head.parameters()), "lr": rate * settings.stage2_head_rate_scale, "name": "head"},
    ]
    # What the published fine-tuning leaves fixed stays fixed and is in no group.
    trained = [(name, p) for name, p in model.encoder.named_parameters() if p.requires_grad]
    if settings.stage2_layer_decay != 1:
        depths, last = block_depths(model.encoder), len(residual_blocks(model.encoder)) + 1
        group_and_scale = {
            name: (f"layer {depths[name]}", settings.stage2_layer_decay ** (last - depths[name])) for name in depths
        }
    elif settings.stage2_group_factor != 1:
        power = {"late": 1, "early": 2}
        group_of = {name: layer_group(model.encoder, name) for name, _ in trained}
        group_and_scale = {
            name: (group, settings.stage2_group_factor ** power[group]) for name, group in group_of.items()
        }
    else:
        group_and_scale = {name: ("encoder", 1.0) for name, _ in trained}
    by_name: dict[str, dict[str, Any]] = {}
    for name, parameter in trained:
        title, scale = group_and_scale[name]
        group = by_name.setdefault(title, {"params": [], "lr": rate * scale, "name": title})
        group["params"].append(parameter)
    return [*groups, *by_name.values()]


def residual_blocks(encoder: nn.Module) -> list[str]:
    """Names of the modules whose branches stochastic depth drops, in the order of the forward pass.

    Of the modules around each `DropPath` the innermost that has parameters; a block may have several branches.
    """
    # A dict keeps the order of the forward pass and takes a block with two branches once.
    blocks: dict[str, None] = {}
    for path, module in encoder.named_modules():
        if isinstance(module, DropPath):
            name = path.rpartition(".")[0]
            while name and next(encoder.get_submodule(name).parameters(), None) is None:
                name = name.rpartition(".")[0]
            blocks[name] = None
    # A block within a block (a stage of blocks with a branch of its own) counts as part of the outer one.
    return [name for name in blocks if not any(name.startswith(f"{other}.") for other in blocks)]


def block_depths(encoder: nn.Module) -> dict[str, int]:
    """Depth of every parameter for layer-wise rates: 0 before the blocks, k in the k-th block, one more after the last.

    What is neither in a block nor between two (an input convolution, a final norm) belongs where the configuration's
    layer groups put it: early ones to 0, late ones after the last block.
    """
    blocks = residual_blocks(encoder)
    if not blocks:
        raise InputError(
            f"{type(encoder).__name__} has no residual blocks, so rates cannot fall block by block: use --post-train "
            "stage2_layer_decay=1."
        )
    names = [name for name, _ in encoder.named_parameters()]
    inside = {name: k for name in names for k, block in enumerate(blocks, start=1) if name.startswith(f"{block}.")}
    last = max(index for index, name in enumerate(names) if name in inside)
    depths, present = {}, 0
    # Between two blocks a parameter (a pooling, a norm) belongs to the block before it.
    for index, name in enumerate(names):
        present = inside.get(name, present)
        if name in inside or (present > 0 and index < last):
            depths[name] = inside.get(name, present)
        else:
            depths[name] = 0 if layer_group(encoder, name) == "early" else len(blocks) + 1
    return depths


def check_depth(model: AdaptedModel, settings: PostTraining) -> None:
    """Raise InputError when stochastic depth is asked of an encoder without residual blocks."""
    if settings.depth_rate and not residual_blocks(model.encoder):
        raise InputError(
            f"{type(model.encoder).__name__} has no residual blocks of this package, so stochastic depth of rate "
            f"{settings.depth_rate!r} would do nothing: use --post-train depth_rate=0."
        )


@contextmanager
def stochastic_depth(model: AdaptedModel, settings: PostTraining | None) -> Iterator[None]:
    """Set the rates of an encoder for as long as it trains; None leaves them alone.

    Afterwards they are as before, so that a saved model says nothing of them.
    """
    paths = [module for module in model.encoder.modules() if isinstance(module, DropPath)]
    if settings is None or not paths:
        yield
        return
    config: Any = model.encoder.config
    before = [(path.rate, path.mode) for path in paths]
    # Rates stand in the modules and in the configuration; both are put back.
    configured = config.drop_path_rate, config.drop_path_schedule
    set_drop_path(model.encoder, settings.depth_rate, settings.depth_schedule, settings.depth_mode)
    try:
        yield
    finally:
        for path, (rate, mode) in zip(paths, before, strict=True):
            path.rate, path.mode = rate, mode
        config.drop_path_rate, config.drop_path_schedule = configured
