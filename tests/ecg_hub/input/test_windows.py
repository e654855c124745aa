from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.input.windows import center_start, eval_starts, random_start, window_length, window_starts


def test_lengths_and_starts_equal_the_reference(golden: Path) -> None:
    cases = json.loads((golden / "protocol" / "chunks_golden.json").read_text())
    assert len(cases) == 76
    for case in cases:
        window = window_length(case["seconds"], case["fs"])
        assert window == case["window"], case
        assert eval_starts(case["length"], window) == case["eval_starts"], case
        assert (case["length"] >= window) == bool(case["train_items"]), case


def test_window_length_is_not_a_victim_of_floating_point() -> None:
    assert 2.3 * 100 < 230
    assert window_length(2.3, 100) == 230
    assert window_length(2.5, 257) == 642
    assert window_length(2.5, 62.5) == 156


@pytest.mark.parametrize(("seconds", "rate"), [(0, 500), (2.5, 0), (-1, 500), (float("nan"), 500), (0.001, 500)])
def test_a_window_without_samples_is_refused(seconds: float, rate: float) -> None:
    with pytest.raises(InputError, match="holds no sample"):
        window_length(seconds, rate)


def test_random_start_is_uniform_and_never_the_last_legal_one() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_start(13, 8, rng) for _ in range(5000)]
    counts = np.bincount(drawn)
    assert counts.size == 5
    assert np.abs(counts - 1000).max() < 150


def test_random_start_of_a_record_of_one_window() -> None:
    rng = np.random.default_rng(0)
    assert random_start(8, 8, rng) == 0
    assert {random_start(9, 8, rng) for _ in range(50)} == {0}
    with pytest.raises(InputError, match="7 samples, fewer than the window of 8"):
        random_start(7, 8, rng)


def test_a_part_of_a_sample_is_no_sample_and_one_sample_is_a_window() -> None:
    assert window_length(2.7, 1) == 2
    assert window_length(0.4999999, 4) == 2, "just under a whole number"
    assert window_length(1.0, 1) == 1
    assert eval_starts(3, 1) == [0, 1, 2]
    assert center_start(3, 1) == 1


def test_center_start() -> None:
    assert [center_start(n, 4) for n in (4, 5, 6, 10)] == [0, 0, 1, 3]
    with pytest.raises(InputError, match="fewer than the window"):
        center_start(3, 4)


def test_window_starts_by_placement() -> None:
    rng = np.random.default_rng(0)
    assert window_starts("first", 10, 4, rng) == [0]
    assert window_starts("center", 10, 4, rng) == [3]
    assert window_starts("all", 10, 4, rng) == [0, 4]
    assert window_starts("random", 10, 4, rng) == [random_start(10, 4, np.random.default_rng(0))]


def test_window_starts_refuses_what_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    for placement in ("first", "center", "random", "all"):
        with pytest.raises(InputError, match="nothing is padded"):
            window_starts(placement, 3, 4, rng)
    with pytest.raises(UnknownNameError, match=r"Unknown window 'centre'\. Did you mean 'center'"):
        window_starts("centre", 10, 4, rng)
    with pytest.raises(InputError, match="at least one sample"):
        eval_starts(10, 0)
