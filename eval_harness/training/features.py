"""Predictions of whole splits, and the features of fixed windows, which a frozen encoder encodes only once.

Consecutive windows give the same features in every epoch, run and task. They are kept in a table: pooled features
always, tokens as far as the store on disk has room.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from numpy.typing import NDArray

from ecg_hub.errors import InputError, ResultError
from ecg_hub.utils.memory import freed_memory_kept
from ecg_hub.utils.terminal import progress
from eval_harness.data.windows import Batch, Split, Windows, consecutive_windows, largest_by_record, mean_by_record
from eval_harness.models.adapting import AdaptedModel
from eval_harness.training.feature_store import LAYOUT, FeatureStore

Float = NDArray[np.float32]
HALF = float(np.finfo(np.float16).max)
POOLED_ROWS = 4096  # a head over pooled features is so small that larger batches only save calls


@dataclass(frozen=True)
class Table:
    """Features of all consecutive windows of a split, in memory or memory-mapped."""

    rows: NDArray[Any]

    def take(self, numbers: Any) -> torch.Tensor:
        """The features of some windows by their number, float32: a copy for an index array, a view for a slice."""
        # Plain, because every look into a map makes a map again, which takes longer than the rows of a small head.
        return torch.from_numpy(np.asarray(self.rows)[numbers].astype(np.float32, copy=False))


@dataclass
class FeatureCache:
    """The tables of one encoder.

    Attributes:
        store: the tables on disk, or None to keep pooled features in memory only.
        key: what the features depend on besides the windows: weights, extractor, precision.
        dtype: of the tables: float32, or float16 for half the room.
        skipped: what is encoded again each time, in words, for the result.
        encoded: windows that went through the encoder to fill tables.
    """

    store: FeatureStore | None
    key: tuple[str, ...] = ()
    dtype: str = "float32"
    skipped: list[str] = field(default_factory=list)
    encoded: int = 0
    _memory: dict[str, Table | None] = field(default_factory=dict, repr=False)

    def get(self, key: str) -> Table | None:
        """A table that is there."""
        if key in self._memory:
            return self._memory[key]
        rows = None if self.store is None else self.store.open(key)
        return None if rows is None else Table(rows)

    def refused(self, key: str) -> bool:
        """Whether there was no room for a table."""
        return key in self._memory and self._memory[key] is None

    def keep(self, key: str, rows: NDArray[Any]) -> Table:
        """Keep a table in memory."""
        table = Table(rows)
        self._memory[key] = table
        return table

    def refuse(self, key: str, what: str, reason: str) -> None:
        """Remember that a table cannot be kept, and say so in the result."""
        self._memory[key] = None
        self.skipped.append(f"{what} are encoded again each epoch: {reason}")


@dataclass
class Predictor:
    """Scores whole splits with one model: encodes (or takes kept features), classifies, averages per record.

    Attributes:
        maximum: outputs of which a record has the largest of its windows instead of the mean.
        not_finite: split -> records of the last prediction with a window whose features gave no number.
    """

    windows: Windows
    batch_size: int
    device: torch.device
    cache: FeatureCache
    autocast: Callable[[], Any]
    gather: Callable[[Any], Any]
    quiet: bool = False
    maximum: Sequence[int] = ()
    not_finite: dict[str, int] = field(default_factory=dict)

    def predict(self, model: AdaptedModel, split: Split) -> Float:
        """Outputs (records, outputs) of a split: probabilities for classes, raw values for regression targets.

        Windows' probabilities (not logits) are averaged per record (protocol section 4).
        """
        model.eval()
        classes = self.windows.data.classes
        positions, _ = consecutive_windows(split, self.windows.length)
        block = self.windows.share(len(positions))
        outputs, undefined = [], []
        with freed_memory_kept(self.device.type):
            for features in self._features(model, split, block):
                with torch.inference_mode(), self.autocast():
                    logits = model.logits(features.to(self.device)).float()
                undefined.append(logits.isnan().any(dim=1).cpu())
                logits = torch.nan_to_num(logits, nan=0.0)  # as published
                outputs.append(torch.cat([logits[:, :classes].sigmoid(), logits[:, classes:]], dim=1).cpu())
        width = len(self.windows.data.labels)
        mine = torch.cat(outputs).numpy() if outputs else np.zeros((0, width), dtype=np.float32)
        lacking = torch.cat(undefined).numpy() if undefined else np.zeros(0, dtype=np.bool_)
        # Processes share windows, not records: the mean of a record may need windows of two of them.
        everywhere = self.gather([(mine, positions[block.start : block.stop], lacking)])
        values, of_record, without = (np.concatenate(parts) for parts in zip(*everywhere, strict=True))
        self.not_finite[split.name] = len(np.unique(of_record[without]))
        scores = mean_by_record(values, of_record, len(split))
        if self.maximum:
            columns = list(self.maximum)
            scores[:, columns] = largest_by_record(values[:, columns], of_record, len(split))
        return scores

    def not_finite_deviation(self) -> dict[str, str]:
        """What a result says of records whose features were no numbers: their windows count as probability 0.5."""
        counts = [f"{count} {split} records" for split, count in self.not_finite.items() if count]
        return {"features_not_finite": ", ".join(counts)} if counts else {}

    def table(self, model: AdaptedModel, split: Split) -> Table | None:
        """The features of all consecutive windows of a split; None where the encoder trains or there is no room."""
        if not model.frozen:
            return None
        key = self._key(model, split)
        kept = self.cache.get(key)
        if kept is not None or self.cache.refused(key):
            return kept
        # Training asks for tables too, in the middle of an epoch.
        was_training = model.training
        model.eval()
        try:
            return self._fill(model, split, key)
        finally:
            model.train(was_training)

    def _features(self, model: AdaptedModel, split: Split, block: range) -> Iterator[torch.Tensor]:
        """Yield the features of a block of windows, kept or encoded now."""
        table = self.table(model, split)
        if table is None:
            yield from self._encoded(model, split)
            return
        step = POOLED_ROWS if table.rows.ndim == 2 else self.batch_size
        for first in range(block.start, block.stop, step):
            yield table.take(slice(first, min(first + step, block.stop)))

    def _key(self, model: AdaptedModel, split: Split) -> str:
        """What decides the rows of a table; equal keys mean equal features."""
        positions, starts = consecutive_windows(split, self.windows.length)
        data = self.windows.data
        # The chosen windows belong in it: `--limit` and subsets keep dataset and split, and change the rows.
        parts = [*self.cache.key, self.cache.dtype, LAYOUT, data.fingerprint, data.rate, self.windows.length]
        parts += [split.name, model.expects, hashlib.sha256("\n".join(split.record_ids).encode()).hexdigest()]
        parts.append(hashlib.sha256(positions.tobytes() + starts.tobytes()).hexdigest())
        return f"{data.dataset}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"

    def _fill(self, model: AdaptedModel, split: Split, key: str) -> Table | None:
        """Encode a split into a new table, unless another process did so meanwhile."""
        store, main = self.cache.store, self.windows.rank == 0
        with store.held(key) if store is not None and main else nullcontext():
            # One process decides for all: a gather that only some of them reach would wait for ever.
            if self._from_main(store is not None and main and store.open(key) is not None):
                return self.cache.get(key)
            if model.expects == "pooled":
                return self._fill_pooled(model, split, key)
            return self._fill_tokens(model, split, key)

    def _fill_pooled(self, model: AdaptedModel, split: Split, key: str) -> Table:
        """Encode to memory, and put a copy into the store where it takes it."""
        parts = [features.numpy().astype(self.cache.dtype) for features in self._encoded(model, split)]
        # Blocks follow each other in the order of the processes, so joining them gives the order of the windows.
        everywhere = [part for process in self.gather([parts]) for part in process]
        rows = np.concatenate(everywhere) if everywhere else np.zeros((0, 0), dtype=self.cache.dtype)
        store = self.cache.store
        if store is not None and self.windows.rank == 0 and len(rows) and store.make_room(rows.nbytes) is None:
            try:
                store.begin(key, rows.shape, self.cache.dtype)[:] = rows
                store.finish(key)
            except (OSError, ResultError):
                store.remove(key)
        return self.cache.keep(key, rows)

    def _fill_tokens(self, model: AdaptedModel, split: Split, key: str) -> Table | None:
        """Encode to the store, every process its block; None where it has no room."""
        what = f"{split.name} windows of {self.windows.data.dataset}"
        store, main = self.cache.store, self.windows.rank == 0
        if store is None:
            self.cache.refuse(key, what, "there is no cache folder")
            return None
        count = len(consecutive_windows(split, self.windows.length)[0])
        batches = self._encoded(model, split)
        # The first batch says how many tokens of which width there are: without it the table has no size.
        ahead = next(batches, None)
        # A process may have no window at all; it learns the shape from the others, and writes nothing.
        widths = [width for width in self.gather([None if ahead is None else tuple(ahead.shape[1:])]) if width]
        if not widths:
            return None
        reason = self._from_main(self._begin(store, key, (count, *widths[0])) if main else "")
        if not reason:
            written = self._write(store, key, itertools.chain([] if ahead is None else [ahead], batches))
            reason = next((text for text in self.gather([written]) if text), "")
        if not reason:
            reason = self._from_main(self._finish(store, key) if main else "")
        # Where writing stopped half way, the loader and its bar are still open.
        batches.close()
        if not reason:
            return self.cache.get(key)
        if main:
            store.remove(key)
        self.cache.refuse(key, what, reason)
        return None

    def _from_main(self, value: Any) -> Any:
        """What the first process says."""
        return self.gather([value])[0]

    def _begin(self, store: FeatureStore, key: str, shape: tuple[int, ...]) -> str:
        """Make room and an empty table; why that is not possible, or nothing."""
        reason = store.make_room(math.prod(shape) * np.dtype(self.cache.dtype).itemsize)
        if reason is None:
            try:
                store.begin(key, shape, self.cache.dtype)
            except OSError as error:
                reason = f"the cache cannot be written ({error})"
        return reason or ""

    def _write(self, store: FeatureStore, key: str, batches: Iterator[torch.Tensor]) -> str:
        """Fill this process's block of a table; what went wrong, or nothing."""
        if not store.partial(key).is_file():
            return "the cache folder is not shared by all processes"
        try:
            table = np.lib.format.open_memmap(store.partial(key), mode="r")
            first = self.windows.share(len(table)).start
            # Each process opens the file for itself and fills its own rows; there is nothing to lock. Written and not
            # mapped: a map asks for every page by itself.
            with store.partial(key).open("r+b") as file:
                file.seek(table.offset + first * table[:1].nbytes)
                for features in batches:
                    features.numpy().astype(table.dtype, copy=False).tofile(file)
        except OSError as error:
            return f"the cache cannot be written ({error})"
        return ""

    def _finish(self, store: FeatureStore, key: str) -> str:
        try:
            store.finish(key)
        except (OSError, ResultError) as error:
            return f"the cache cannot be written ({error})"
        return ""

    def _encoded(self, model: AdaptedModel, split: Split) -> Generator[torch.Tensor]:
        """Encode this process's block of windows; only this is done in the lower precision, not the preparation."""
        loader, _ = self.windows.eval_batches(split, self.batch_size)
        for batch in progress(loader, desc=f"  {split.name}", unit=" batches", leave=False, quiet=self.quiet):
            moved: Batch = batch.to(self.device)
            features = self._encode(model, moved.input_values)
            if self.cache.dtype == "float16" and (features.isfinite() & (features.abs() > HALF)).any():
                raise InputError(
                    f"Features reach {float(features.abs().max()):.3g}, and float16 holds up to {HALF:,.0f}: keep them "
                    "with --feature-dtype float32."
                )
            self.cache.encoded += len(features)
            yield features

    def _encode(self, model: AdaptedModel, values: torch.Tensor) -> torch.Tensor:
        """Encode windows, in two halves when they do not fit into memory at once."""
        try:
            with torch.inference_mode(), self.autocast():
                return model.encode(values).float().cpu()
        except Exception as error:
            if len(values) < 2 or not should_reduce_batch_size(error):
                raise
        # After the except clause, not in it: until then the traceback holds the tensors that did not fit.
        clear_device_cache(garbage_collection=True)
        self.batch_size = max(1, len(values) // 2)  # of the loaders to come
        # In halves of halves, as often as it takes; a window by itself that does not fit is an error.
        return torch.cat([self._encode(model, half) for half in values.tensor_split(2)])


def gatherer(accelerator: Any) -> Any:
    """A function that joins the lists of all processes, in the order of the processes."""
    # Gathering pickles what it is given, which for one process would only cost memory.
    if accelerator.num_processes == 1:
        return lambda items: items
    from accelerate.utils import gather_object

    return gather_object
