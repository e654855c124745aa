"""Predictions and encoded features of the fixed windows of validation and test.

With a frozen encoder those windows give the same features in every epoch, so they are encoded once and only the head
runs again. Pooled features are always kept; tokens as long as they fit in the memory allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from eval_harness.adapt import AdaptedModel
from eval_harness.data import Batch, Split, Windows, mean_by_record

Float = NDArray[np.float32]
GIB = 1024**3


@dataclass
class FeatureCache:
    """Features of validation and test windows, kept in memory while a model is scored.

    Attributes:
        limit_gib: how much the tokens may take; what does not fit is encoded again each time.
        skipped: what did not fit, in words, for the result.
    """

    limit_gib: float
    skipped: list[str] = field(default_factory=list)
    _kept: dict[tuple[str, ...], list[torch.Tensor]] = field(default_factory=dict)

    def bytes(self) -> int:
        """Memory taken now."""
        return sum(t.numel() * t.element_size() for batches in self._kept.values() for t in batches)

    def get(self, key: tuple[str, ...]) -> list[torch.Tensor] | None:
        """The encoded batches of a key, if kept."""
        return self._kept.get(key)

    def room_for(self, what: str, size: int, pooled: bool) -> bool:
        """Whether so many bytes may be kept; notes what does not fit."""
        if pooled or self.bytes() + size <= self.limit_gib * GIB:
            return True
        text = (
            f"{what}: {size / GIB:.1f} GiB of tokens over --cache-size {self.limit_gib:g} are encoded again each epoch"
        )
        if text not in self.skipped:
            self.skipped.append(text)
        return False

    def keep(self, key: tuple[str, ...], batches: list[torch.Tensor]) -> None:
        """Keep the encoded batches of a key."""
        self._kept[key] = batches


@dataclass
class Predictor:
    """Scores whole splits with one model: encodes (or takes kept features), classifies, averages per record."""

    windows: Windows
    batch_size: int
    device: torch.device
    cache: FeatureCache
    key: tuple[str, ...]
    autocast: Callable[[], Any]
    gather: Callable[[Any], Any]
    quiet: bool = False

    def predict(self, model: AdaptedModel, split: Split) -> Float:
        """Outputs (records, outputs) of a split: probabilities for classes, raw values for regression targets.

        Windows' probabilities (not logits) are averaged per record (protocol section 4).
        """
        model.eval()
        loader, positions = self.windows.eval_batches(split, self.batch_size)
        classes = self.windows.data.classes
        outputs = []
        with torch.inference_mode():
            for features in self._features(model, split, loader):
                with self.autocast():
                    logits = model.classify(features.to(self.device)).float()
                outputs.append(torch.cat([logits[:, :classes].sigmoid(), logits[:, classes:]], dim=1).cpu())
        width = len(self.windows.data.labels)
        mine = torch.cat(outputs).numpy() if outputs else np.zeros((0, width), dtype=np.float32)
        everywhere = self.gather([(mine, positions)])
        values = np.concatenate([part for part, _ in everywhere])
        return mean_by_record(values, np.concatenate([part for _, part in everywhere]), len(split))

    def _features(self, model: AdaptedModel, split: Split, loader: Any) -> Any:
        if not model.frozen:
            yield from (self._encode(model, batch) for batch in self._moved(split, loader))
            return
        key = (*self.key, split.name, model.expects)
        kept = self.cache.get(key)
        if kept is not None:
            yield from kept
            return
        batches: list[torch.Tensor] | None = None
        for number, batch in enumerate(self._moved(split, loader)):
            features = self._encode(model, batch)
            if number == 0:
                size = features[0].numel() * features.element_size() * sum(len(b) for b in loader.batch_sampler)
                what = f"{split.name} windows of {self.windows.data.dataset}"
                batches = [] if self.cache.room_for(what, size, model.expects == "pooled") else None
            if batches is not None:
                batches.append(features.cpu())
            yield features
        if batches is not None:
            self.cache.keep(key, batches)

    def _encode(self, model: AdaptedModel, batch: Batch) -> torch.Tensor:
        """Encode a batch; only this is done in the lower precision, never the preparation of the windows."""
        with self.autocast():
            return model.encode(batch.input_values)

    def _moved(self, split: Split, loader: Any) -> Any:
        bar = tqdm(loader, desc=f"  {split.name}", unit="batch", leave=False, disable=self.quiet)
        return (batch.to(self.device) for batch in bar)
