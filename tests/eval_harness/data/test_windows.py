from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import DataError
from eval_harness.data.windows import (
    RunData,
    Split,
    Windows,
    evenly_spaced,
    largest_by_record,
    make_split,
    mean_by_record,
    refuse_empty,
)


class FakeReader:
    """Records whose samples are their own sample numbers plus 100,000 times the record number."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = np.array(lengths, dtype=np.int64)

    def window_mv(self, i: int, start: int, stop: int) -> Any:
        return np.repeat(np.arange(start, stop, dtype=np.float32)[:, None] + 100_000 * i, 12, axis=1)


class FakeSpec:
    input_seconds = 2.5
    source_steps: tuple[Any, ...] = ()


class FakeExtractor:
    def spec(self) -> FakeSpec:
        return FakeSpec()

    def prepare_windows(self, windows: Any, sampling_rate: int) -> Any:
        assert windows.shape[1] == 12
        return np.ascontiguousarray(windows)


def split(lengths: list[int], limit: int | None = None, name: str = "train") -> Split:
    n = len(lengths)
    table = {
        "record_id": [f"r{i}" for i in range(n)],
        "patient_id": [None] * n,
        "sex": ["female"] * n,
        "age": [50.0] * n,
    }
    targets = np.arange(n, dtype=np.float32)[:, None]
    return make_split(name, FakeReader(lengths), table, targets, length=250, limit=limit)


def windows(lengths: list[int], rank: int = 0, world: int = 1) -> Windows:
    parts = [split(lengths, name=name) for name in ("train", "validation", "test")]
    data = RunData(*parts, ["A"], 1, 100, "f", "fake", {})
    return Windows(data, FakeExtractor(), rank=rank, world=world)


def test_short_records_are_left_out_and_counted() -> None:
    made = split([1000, 249, 250, 100])
    assert made.record_ids == ["r0", "r2"]
    assert made.short == 2
    assert made.targets.tolist() == [[0.0], [2.0]]
    assert made.patient_ids == ["", ""]


def test_the_limit_is_spread_evenly_and_never_more_than_there_is() -> None:
    assert evenly_spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(5, 1).tolist() == [0]
    assert len(split([1000] * 50, limit=7)) == 7


def test_training_draws_one_window_per_record_drops_the_rest_and_depends_on_seed_and_epoch_only() -> None:
    w = windows([1000] * 10)
    first = list(w.train_batches(w.epoch_plan(seed=3, epoch=1, batch_size=4)))
    again = list(w.train_batches(w.epoch_plan(seed=3, epoch=1, batch_size=4)))
    other = list(w.train_batches(w.epoch_plan(seed=3, epoch=2, batch_size=4)))
    assert [len(b.positions) for b in first] == [4, 4]
    for a, b in zip(first, again, strict=True):
        assert a.positions.tolist() == b.positions.tolist()
        assert a.input_values.equal(b.input_values)
    assert [b.positions.tolist() for b in first] != [b.positions.tolist() for b in other]
    seen = [p for b in first for p in b.positions.tolist()]
    assert len(set(seen)) == 8
    for batch in first:
        starts = batch.input_values[:, 0, 0] - 100_000 * batch.positions
        assert batch.input_values.shape == (4, 12, 250)
        assert (starts >= 0).all()
        assert (starts < 750).all()  # the last legal start, 750, is never drawn
        assert batch.targets[:, 0].tolist() == batch.positions.tolist()


def test_processes_share_a_batch_without_overlap() -> None:
    def drawn(rank: int = 0, world: int = 1) -> list[list[int]]:
        w = windows([1000] * 10, rank, world)
        return [b.positions.tolist() for b in w.train_batches(w.epoch_plan(0, 0, 4))]

    whole, halves = drawn(), [drawn(rank, 2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_covers_all_consecutive_windows_once(world: int) -> None:
    lengths = [1000, 600, 250]
    seen: list[tuple[int, int]] = []
    for rank in range(world):
        w = windows(lengths, rank, world)
        loader, positions = w.eval_batches(w.data.test, batch_size=3)
        got = [
            (int(p), int(v[0, 0] - 100_000 * p))
            for b in loader
            for p, v in zip(b.positions, b.input_values, strict=True)
        ]
        assert [p for p, _ in got] == positions.tolist()
        seen += got
    assert seen == [(0, 0), (0, 250), (0, 500), (0, 750), (1, 0), (1, 250), (2, 0)]


def test_mean_by_record_averages_probabilities() -> None:
    values = np.array([[0.0], [1.0], [0.5]], dtype=np.float32)
    assert mean_by_record(values, np.array([0, 0, 1]), 2).tolist() == [[0.5], [0.5]]


def test_an_empty_split_is_named() -> None:
    with pytest.raises(DataError, match=r"validation split of fake has no usable record \(2 are shorter"):
        refuse_empty([split([1000]), split([10, 20], name="validation")], "fake")


def test_steps_for_the_whole_record_come_before_cutting() -> None:
    class Centred(FakeExtractor):
        calls = 0

        def spec(self) -> FakeSpec:
            spec = FakeSpec()
            spec.source_steps = ({"name": "centre"},)
            return spec

        def prepare_record(self, record: Any, sampling_rate: int) -> Any:
            assert record.shape[0] == 12
            Centred.calls += 1
            return record - record.mean(axis=1, keepdims=True)

    parts = [split([1000, 600], name=name) for name in ("train", "validation", "test")]
    w = Windows(RunData(*parts, ["A"], 1, 100, "f", "fake", {}), Centred())
    loader, _ = w.eval_batches(w.data.test, batch_size=8)
    (batch,) = list(loader)
    firsts = batch.input_values[:, 0, 0].tolist()
    assert firsts == [-499.5, -249.5, 0.5, 250.5, -299.5, -49.5]
    assert Centred.calls == 2


def test_largest_by_record() -> None:
    values = np.array([[0.1, 0.9], [0.7, 0.2], [0.3, 0.3]], dtype=np.float32)
    found = largest_by_record(values, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(found[[0, 2]], values[[1, 2]] * [[1, 0], [1, 1]] + [[0, np.float32(0.9)], [0, 0]])
    assert np.isnan(found[1]).all()
