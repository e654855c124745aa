"""Lanes, passes and blocks: every record once in a pass, every place found by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.pretrain.order import Pieces, Stream, divide

COUNTS = np.array([64, 64, 5, 0, 64, 130, 1, 64], dtype=np.int64)


def rows(pieces: Pieces) -> list[tuple[int, int]]:
    spans = zip(pieces.unit, pieces.start, pieces.stop, strict=True)
    return [(int(unit), row) for unit, start, stop in spans for row in range(start, stop)]


def one_pass(lane: Stream, passed: int) -> list[tuple[int, int]]:
    """What stands at each position of a pass."""
    found = []
    for position in range(passed * lane.records, (passed + 1) * lane.records):
        at, block, within = lane.block_at(position)
        assert at == passed
        found.append(rows(block.pieces)[block.order[within]])
    return found


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 64])
def test_lanes_share_the_records_evenly(lanes: int) -> None:
    parts = divide(COUNTS, lanes)
    held = [row for part in parts for row in rows(part)]
    assert sorted(held) == [(unit, row) for unit, count in enumerate(COUNTS) for row in range(count)]
    sizes = [len(rows(part)) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_fewer_records_than_lanes_are_refused() -> None:
    with pytest.raises(InputError, match="3 records cannot be divided among 8 lanes"):
        divide(np.array([2, 1]), 8)
    with pytest.raises(InputError, match="0 records"):
        divide(np.array([], dtype=np.int64), 1)


@pytest.mark.parametrize("size", [1, 10, 100, 10_000])
@pytest.mark.parametrize("phase", [0.0, 0.5])
def test_a_pass_holds_every_record_once(size: int, phase: float) -> None:
    part = divide(COUNTS, 2)[1]
    lane = Stream(1, part, seed=3, shuffle_records=size, phase=phase)
    for passed in (0, 1, 7):
        assert sorted(one_pass(lane, passed)) == sorted(rows(part))


def test_order_depends_on_seed_lane_and_pass_alone() -> None:
    part = divide(COUNTS, 1)[0]
    first = one_pass(Stream(0, part, 5, 100), 0)
    again = Stream(0, part, 5, 100)
    one_pass(again, 2)  # whatever was asked for before
    assert one_pass(again, 0) == first
    others = [
        one_pass(Stream(0, part, 5, 100), 1),
        one_pass(Stream(0, part, 6, 100), 0),
        one_pass(Stream(1, part, 5, 100), 0),
    ]
    assert all(other != first for other in others)


def test_blocks_mix_units_and_are_bounded() -> None:
    counts = np.full(200, 16, dtype=np.int64)
    lane = Stream(0, divide(counts, 1)[0], seed=0, shuffle_records=256)
    sizes = [len(lane.block(0, number).order) for number in range(lane.blocks(0))]
    assert sum(sizes) == counts.sum()
    assert max(sizes) < 256 + 16
    first = lane.block(0, 0)
    assert len(set(first.pieces.unit)) == len(first.pieces) > 8
    assert np.ptp(first.pieces.unit) > 100, "units come from all over the lane's part"
    assert not np.array_equal(first.order, np.arange(len(first.order)))


def test_units_are_grouped_anew_in_every_pass() -> None:
    lane = Stream(0, divide(np.full(200, 16, dtype=np.int64), 1)[0], seed=0, shuffle_records=256)
    first, second = (set(lane.block(passed, 0).pieces.unit) for passed in (0, 1))
    assert len(first & second) < 8, "of 16 units"


def test_a_phase_shortens_the_first_block() -> None:
    counts = np.full(64, 16, dtype=np.int64)
    whole, shifted = (Stream(0, divide(counts, 1)[0], 0, 256, phase) for phase in (0.0, 0.75))
    assert len(whole.block(0, 0).order) == 256
    assert len(shifted.block(0, 0).order) == 64


def test_draws_are_new_in_every_pass() -> None:
    lane = Stream(0, divide(np.array([32]), 1)[0], 0, 100)
    first, second = lane.block(0, 0).draws, lane.block(1, 0).draws
    assert first.shape == (32, 2)
    assert ((first >= 0) & (first < 1)).all()
    assert not np.isclose(first, second).any()


def test_places_far_ahead_are_found_at_once() -> None:
    counts = np.full(156_250, 64, dtype=np.int64)  # ten million records
    lane = Stream(7, divide(counts, 8)[7], 0, 512)
    passed, block, within = lane.block_at(10**9)
    assert passed == 10**9 // lane.records
    assert block.first + within == 10**9 % lane.records
