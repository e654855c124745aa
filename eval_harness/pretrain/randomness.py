"""Random numbers that depend on (seed, step, lane) and on nothing that ran before or on who draws them.

No state has to be kept for a run to continue bit for bit, and two processes draw for their lanes what one draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ecg_hub.modeling.contrastive import sample_negatives

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
    places = [
        (parent, name, module)
        for parent in model.modules()
        for name, module in parent.named_children()
        if type(module) is nn.Dropout1d
    ]
    for layer, (parent, name, module) in enumerate(places):
        setattr(parent, name, LaneDropout1d(module.p, layer, source).train(module.training))
