"""Lanes and batches that do not go together are refused."""

from __future__ import annotations

import pytest

from ecg_hub.errors import InputError
from eval_harness.pretrain.order import check_batch, lanes_of_process


def test_lanes_are_divided_among_the_processes() -> None:
    shares = [lanes_of_process(8, rank, 4) for rank in range(4)]
    assert shares == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert lanes_of_process(8, 0, 1) == tuple(range(8))


@pytest.mark.parametrize(("lanes", "world"), [(8, 3), (2, 4), (0, 1)])
def test_lanes_that_cannot_be_divided(lanes: int, world: int) -> None:
    with pytest.raises(InputError, match=f"{lanes} lanes.*{world} processes"):
        lanes_of_process(lanes, 0, world)


def test_batches_that_cannot_be_filled() -> None:
    check_batch(64, 8, 64)
    with pytest.raises(InputError, match="63 records, fewer than one batch of 64"):
        check_batch(64, 8, 63)
    for size in (0, 60):
        with pytest.raises(InputError, match=f"batch of {size} cannot be drawn from 8 lanes"):
            check_batch(size, 8, 1000)
