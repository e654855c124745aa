"""A training run small enough to follow number by number: a toy encoder, records without files, one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from eval_harness.config.protocol import Protocol
from eval_harness.data.windows import RunData, Windows, make_split
from eval_harness.models.adapting import AdaptedModel
from eval_harness.models.custom_models import CustomClassifier
from eval_harness.training.features import FeatureCache, Predictor
from eval_harness.training.recipe import Recipe, protocol_recipe
from eval_harness.training.trainer import Checkpoint, Trainer

LEADS, SAMPLES, WIDTH, RATE = 12, 5, 4, 5
LABELS = ["a", "b"]

PROTOCOL = Protocol(epochs=2, batch_size=4)


def recipe(mode: str = "finetune", **changes: Any) -> Recipe:
    """The recipe of a mode under PROTOCOL, with some numbers changed."""
    return dataclasses.replace(protocol_recipe(PROTOCOL, mode), **changes)


class ToyEncoder(nn.Module):
    """Three tokens of a linear map over the leads, with all that a mode may leave on or off by mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(LEADS, WIDTH, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.top = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.5)
        self.table = nn.Parameter(torch.zeros(WIDTH), requires_grad=False)
        groups = {"late": ["top."], "early": ["stem.", "norm.", "table"]}
        self.config = SimpleNamespace(hidden_size=WIDTH, layer_groups=groups, model_type="toy")

    def forward(self, input_values: torch.Tensor) -> Any:
        x = self.norm(self.stem(input_values.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        x = self.drop(self.top(x)) + self.table
        return SimpleNamespace(last_hidden_state=x, pooler_output=x.mean(dim=1))


def toy(mode: str, labels: int = len(LABELS), seed: int = 0) -> AdaptedModel:
    """The toy encoder as a mode trains it."""
    torch.manual_seed(seed)
    pooling = "attention" if mode == "frozen" else "mean"
    return AdaptedModel(CustomClassifier(ToyEncoder(), pooling, labels, 1), mode)


class Records:
    """Noise that knows its record: record i has the level i, so that a batch says which records are in it."""

    def __init__(self, lengths: list[int], levels: list[float]) -> None:
        self.lengths = np.array(lengths, dtype=np.int64)
        self.levels = levels

    def window_mv(self, i: int, start: int, stop: int) -> Any:
        time = np.arange(start, stop, dtype=np.float32)[:, None]
        return (self.levels[i] + np.sin(time + np.arange(LEADS) + i)).astype(np.float32)


class Extractor:
    """Gives windows as they are."""

    def spec(self) -> Any:
        return SimpleNamespace(input_seconds=1.0, source_steps=())

    def prepare_windows(self, windows: Any, sampling_rate: int) -> Any:
        return np.ascontiguousarray(windows)


class Accelerator:
    """One process on the CPU in full precision; keeps what the loop asks of it."""

    device = torch.device("cpu")
    is_main_process = True

    def __init__(self) -> None:
        self.clipped: list[float] = []
        self.unsynchronised = 0
        self.waited = 0

    def prepare(self, *things: Any) -> tuple[Any, ...]:
        return things

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def autocast(self) -> Any:
        return nullcontext()

    def no_sync(self, model: Any) -> Any:
        assert isinstance(model, nn.Module), "whose gradients wait"
        self.unsynchronised += 1
        return nullcontext()

    def clip_grad_norm_(self, parameters: Any, largest: float) -> None:
        self.clipped.append(largest)
        torch.nn.utils.clip_grad_norm_(parameters, largest)

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction in ("sum", "mean")
        return tensor

    def wait_for_everyone(self) -> None:
        self.waited += 1


def run_data(train: int = 10, classes: int = 2, targets: int = 0) -> RunData:
    """Records of three windows each; the odd ones have class "a", every third has "b"; targets are their numbers."""

    def split(name: str, count: int) -> Any:
        numbers = np.arange(count)
        columns = [numbers % 2, numbers % 3 == 0][:classes] + [numbers / count] * targets
        table = {key: [str(k) for k in numbers] for key in ("record_id", "patient_id")}
        reader = Records([3 * SAMPLES] * count, [float(k % 2) for k in numbers])
        people = {"age": [50.0] * count, "sex": ["female"] * count}
        return make_split(name, reader, {**table, **people}, np.stack(columns, 1).astype(np.float32), SAMPLES, None)

    labels = [*LABELS[:classes], *(f"t{k}" for k in range(targets))]
    parts = split("train", train), split("validation", 6), split("test", 6)
    return RunData(*parts, labels, classes, RATE, "fingerprint", "toy", {})


def trainer(folder: Path, mode: str = "finetune", *, data: RunData | None = None, **changes: Any) -> Trainer:
    """A trainer of the toy encoder; two epochs of batches of four unless `protocol` says otherwise."""
    data = data or run_data()
    windows = Windows(data, Extractor())
    accelerator = Accelerator()
    gather: Callable[[Any], Any] = lambda found: found  # noqa: E731
    predictor = Predictor(windows, 4, torch.device("cpu"), FeatureCache(None), nullcontext, gather, quiet=True)
    settings: dict[str, Any] = {
        "model": toy(mode, len(data.labels)),
        "mode": mode,
        "windows": windows,
        "predictor": predictor,
        "protocol": Protocol(epochs=2, batch_size=4),
        "seed": 5,
        "accelerator": accelerator,
        "checkpoint": Checkpoint(folder / "checkpoint.pt", "this run"),
        "label": "toy run",
        "quiet": True,
        "report": lambda text: None,
    }
    return Trainer(**{**settings, **changes})


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
