"""One lane of a pre-training run: blocks of records read, judged, cut to windows and handed out in their order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import DataError, InputError
from ecg_hub.input.resampling import as_rate, filter_bank
from ecg_hub.input.windows import window_length
from eval_harness.pretrain.order import Block, Stream
from eval_harness.pretrain.record_batch import Fault, RecordBatch, SkippedRecords, emptiness, unreadable
from eval_harness.pretrain.sources import DamagedUnit, RecordSource, other_split

REMOTE_READERS = 8
"""Units of a block that are fetched at once from a hub."""


@dataclass(frozen=True)
class Pick:
    """A record at its place in a batch.

    Attributes:
        record_id: its name.
        window: (samples, 12) at the record's own rate, int16 or float32 as stored.
        gain_uv: (12,) microvolt per unit.
        baseline: (12,) the unit that stands for 0 microvolt.
        rate: Hz.
    """

    record_id: str
    window: NDArray[Any]
    gain_uv: NDArray[np.float32]
    baseline: NDArray[np.int32]
    rate: float

    @property
    def has_unit(self) -> bool:
        """Whether gain and baseline make microvolt of the samples; z-scores have no gain."""
        return bool(np.isfinite(self.gain_uv).all())


@dataclass(frozen=True)
class Cutting:
    """How windows are cut: `seconds` long, at a rate from which `model_rate` (Hz) can be reached."""

    seconds: float
    model_rate: int

    def length(self, rate: float) -> int:
        """Samples of a window at a rate."""
        # Asked only so that a rate without a filter is found here, record by record, not in the middle of a batch.
        filter_bank(as_rate(self.model_rate) / as_rate(rate))
        return window_length(self.seconds, rate)


class LaneStream:
    """Reads a lane. It holds one block of windows, nothing else."""

    def __init__(
        self,
        lane: Stream,
        sources: Sequence[RecordSource],
        firsts: NDArray[np.int64],
        begins: NDArray[np.int64],
        cutting: Cutting,
        unusable: SkippedRecords,
    ) -> None:
        self.lane, self.sources = lane, sources
        self._firsts, self._begins, self._cutting, self._unusable = firsts, begins, cutting, unusable
        self._held: tuple[tuple[int, int], list[Pick]] | None = None

    def take(self, position: int, count: int) -> list[Pick]:
        """Return the records at `position` and after, counted from the start of the run."""
        taken: list[Pick] = []
        while len(taken) < count:
            passed, block, within = self.lane.block_at(position + len(taken))
            key = passed, block.number
            if self._held is None or self._held[0] != key:
                self._held = None  # its memory is needed for the next one
                self._held = key, self._filled(passed, block)
            taken += self._held[1][within : within + count - len(taken)]
        return taken

    def _filled(self, passed: int, block: Block) -> list[Pick]:
        """Return the records of a block in its order, the unusable ones replaced by others."""
        picks = self._picks(block)
        good = [pick for pick in picks if pick is not None]
        # The rest of the pass, in order: every process and every repetition finds the same substitute.
        following = (block.number + step for step in range(1, self.lane.blocks(passed)))
        while not good:
            number = next(following, None)
            if number is None:
                reasons = "; ".join(self._unusable.lines())
                raise DataError(f"Lane {self.lane.number} of the data holds no usable record. {reasons}.")
            other = self.lane.block(passed, number % self.lane.blocks(passed))
            good = [pick for pick in self._picks(other) if pick is not None]
        # Drawn for every row, used for the unusable ones: what one record is does not shift what another one gets.
        substitutes = (block.draws[:, 1] * len(good)).astype(np.int64)
        whole = [good[substitutes[row]] if pick is None else pick for row, pick in enumerate(picks)]
        return [whole[row] for row in block.order]

    def _picks(self, block: Block) -> list[Pick | None]:
        """Read a block: its records in the order of the pieces, None for those that cannot be used."""
        pieces = block.pieces
        owners = np.searchsorted(self._firsts, pieces.unit, "right") - 1
        spans = list(zip(owners, pieces.unit - self._firsts[owners], pieces.start, pieces.stop, strict=True))
        picks: list[Pick | None] = []
        names: list[str] = []
        corpora: list[str] = []
        faults: dict[int, Fault] = {}
        for (owner, _, _, _), rows in zip(spans, self._read(spans), strict=True):
            offset = len(picks)
            cut, wrong = self._cut(rows, self.sources[owner], block.draws[offset : offset + len(rows), 0])
            picks += cut
            names += rows.record_ids
            corpora += [self.sources[owner].corpus] * len(rows)
            faults |= {offset + row: fault for row, fault in wrong.items()}
        counted = zip(pieces.unit, pieces.start, pieces.stop, strict=True)
        positions = [np.arange(start, stop) + self._begins[unit] for unit, start, stop in counted]
        self._unusable.add(np.concatenate(positions), faults, names, corpora)
        return picks

    def _read(self, spans: Sequence[tuple[Any, Any, Any, Any]]) -> Any:
        """Read spans of units in order, several at once where they come over the network."""
        if not any(self.sources[owner].remote for owner, *_ in spans):
            # One after another as they are asked for: besides the windows no more than one span is held.
            return map(self._read_one, spans)
        with ThreadPoolExecutor(REMOTE_READERS) as pool:
            return list(pool.map(self._read_one, spans))

    def _read_one(self, span: tuple[Any, Any, Any, Any]) -> RecordBatch:
        owner, unit, start, stop = (int(value) for value in span)
        source = self.sources[owner]
        try:
            return source.read(unit, start, stop)
        # Its records count as damaged; whether that is too much is decided over all of them.
        except DamagedUnit as error:
            return unreadable([f"row {row}" for row in range(start, stop)], str(error))

    def _cut(
        self, rows: RecordBatch, source: RecordSource, draws: NDArray[np.float64]
    ) -> tuple[list[Pick | None], dict[int, Fault]]:
        """Cut one window from each record that can be used."""
        faults = {**rows.faults, **other_split(rows, source.split)}
        lengths = {float(rate): self._length(float(rate)) for rate in np.unique(rows.rates)}
        picks: list[Pick | None] = []
        for row, signal in enumerate(rows.signals):
            picks.append(None)
            rate = float(rows.rates[row])
            # NaN is the one number that differs from itself.
            length = lengths[rate] if rate == rate else "the sampling rate is missing"
            if row in faults or signal is None:
                continue
            if isinstance(length, str):
                faults[row] = Fault("damaged", length)
            elif len(signal) < length:
                faults[row] = Fault("excluded", f"shorter than {self._cutting.seconds:g} s")
            else:
                start = int(draws[row] * (len(signal) - length))
                window = signal[start : start + length]
                # Of the window, not of the record: a long record may be flat in one hour and good in the next.
                reason = emptiness(window)
                if reason:
                    faults[row] = Fault("damaged", reason)
                    continue
                # A view would hold the whole row group in memory for the sake of one window.
                kept = window if source.mapped else window.copy()
                picks[row] = Pick(rows.record_ids[row], kept, rows.gain_uv[row], rows.baseline[row], rate)
        return picks, faults

    def _length(self, rate: float) -> int | str:
        """Return the samples of a window at a rate, or why there is none."""
        try:
            return self._cutting.length(rate)
        except InputError as error:
            return f"a rate of {rate:.10g} Hz cannot be resampled to {self._cutting.model_rate} Hz: {error}"
