"""Disturbed windows: the same for the same place in a run, whoever reads it, and clean beside the disturbed ones."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.pretrain import augmentation
from eval_harness.pretrain.augmentation import augmented
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.order import Batch
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from tests.support.pretraining import waves
from tests.support.shards import extractor, records, write_parquet

RATE = 240
CLEAN = waves(40, 600)
PLACE = {"seed": 3, "step": 5, "lane": 2}
OPTIONS = ReaderOptions(seed=1, batch_size=16, lanes=8, shuffle_records=10, prefetch=0, augment=0.7)


def test_the_place_in_a_run_decides_and_the_window_stays_as_it_is() -> None:
    before = CLEAN.copy()
    one = augmented(CLEAN, RATE, 1.0, **PLACE)
    assert np.array_equal(one, augmented(CLEAN, RATE, 1.0, **PLACE))
    assert np.array_equal(CLEAN, before)
    assert np.array_equal(one[:7], augmented(CLEAN[:7], RATE, 1.0, **PLACE)), "a row knows nothing of other rows"
    for other in ({"seed": 4}, {"step": 6}, {"lane": 3}):
        assert not np.array_equal(one, augmented(CLEAN, RATE, 1.0, **{**PLACE, **other}))


def test_the_share_says_how_many_are_disturbed() -> None:
    assert np.array_equal(augmented(CLEAN, RATE, 0.0, **PLACE), CLEAN)
    many = np.repeat(CLEAN, 10, axis=0)
    changed = {share: (augmented(many, RATE, share, **PLACE) != many).any(axis=(1, 2)) for share in (0.25, 0.5, 1.0)}
    # Some of the disturbed windows are lucky: none of the five chances comes.
    lucky = (1 - augmentation.CHANCE) ** 4 * (1 - augmentation.LOST)
    for share, rows in changed.items():
        assert rows.mean() == pytest.approx(share * (1 - lucky), abs=0.06)
    assert not (changed[0.25] & ~changed[0.5]).any(), "more of the same windows"


def test_disturbances_are_those_of_the_robustness_analysis() -> None:
    many = np.zeros((400, 12, 600), np.float32) + np.float32(1e-3)
    out = augmented(many, RATE, 1.0, **PLACE)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    lost = (out == 0).all(axis=2)
    assert lost.any(axis=1).mean() == pytest.approx(augmentation.LOST, abs=0.06)
    assert set(lost.sum(axis=1).tolist()) >= {0, 1, 6, 11}
    whole = out[~lost.any(axis=1)]
    # Noise enters at electrodes: Einthoven's law holds, but for the constant of 1 uV in each lead.
    assert np.abs(whole[:, 1] - whole[:, 0] - whole[:, 2]).max() < 2e-3
    strength = np.sqrt(((whole - 1e-3) ** 2).mean(axis=(1, 2)))
    assert strength.max() < 0.6
    assert np.median(strength) > 0.02


def test_missing_leads_stay_missing() -> None:
    lacking = CLEAN.copy()
    lacking[:, 4] = 0
    assert not augmented(lacking, RATE, 1.0, **PLACE)[:, 4].any()


def test_a_low_rate_goes_without_the_noise_that_it_does_not_hold() -> None:
    assert np.isfinite(augmented(CLEAN[:, :, :100], 40, 1.0, **PLACE)).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    write_parquet(root / "part-0.parquet", records(60))
    return root


def batches(folder: Path, options: ReaderOptions = OPTIONS, start: int = 0, number: int = 4) -> list[Batch]:
    source = StreamingReader([open_folder(folder)], options, extractor())
    stream = source.batches(start)
    try:
        return list(itertools.islice(stream, number))
    finally:
        getattr(stream, "close", lambda: None)()


def test_the_reader_keeps_the_clean_windows(folder: Path) -> None:
    plain = batches(folder, replace(OPTIONS, augment=0.0))
    for batch, clean in zip(batches(folder), plain, strict=True):
        assert clean.clean_values is None
        assert batch.clean_values is not None
        assert np.array_equal(batch.clean_values, clean.input_values)
        assert np.array_equal(batch.undisturbed, clean.undisturbed)
        disturbed = (batch.input_values != clean.input_values).any(axis=(1, 2))
        assert 0 < disturbed.sum() < 16


def test_z_scores_get_no_noise_in_millivolts(tmp_path: Path) -> None:
    flat = np.zeros((400, 12, 600), np.float32) + np.float32(1e-3)
    in_mv = [row % 2 == 0 for row in range(400)]
    out = augmented(flat, RATE, 1.0, **PLACE, in_mv=in_mv)
    assert np.array_equal(out[::2], augmented(flat, RATE, 1.0, **PLACE)[::2]), "others are disturbed as ever"
    assert np.abs(out[1::2]).max() <= 1e-3 * (1 + augmentation.GAIN) + 1e-9, "gain and lost leads alone"
    nothing = np.full(12, np.nan, np.float32)
    z_scores = [{**row, "signal": np.float32(row["signal"]) / 1e6, "gain_uv": nothing} for row in records(60)]
    write_parquet(tmp_path / "part-0.parquet", z_scores)
    for batch in batches(tmp_path):
        assert np.abs(batch.input_values).max() < 0.1


def test_any_step_is_found_and_processes_share_the_batch(folder: Path) -> None:
    whole = batches(folder)
    (third,) = batches(folder, start=2, number=1)
    assert np.array_equal(third.input_values, whole[2].input_values)
    for rank in (0, 1):
        part = batches(folder, replace(OPTIONS, rank=rank, world=2))[1]
        rows = [2 * lane + row for lane in part.lanes for row in range(2)]
        assert np.array_equal(part.input_values, whole[1].input_values[rows])
        assert np.array_equal(part.undisturbed, whole[1].undisturbed[rows])


@pytest.mark.heavy
def test_workers_give_the_same(folder: Path) -> None:
    for one, other in zip(batches(folder), batches(folder, replace(OPTIONS, workers=2, prefetch=2)), strict=True):
        assert np.array_equal(one.input_values, other.input_values)
        assert np.array_equal(one.undisturbed, other.undisturbed)


def test_a_share_is_refused_that_is_none() -> None:
    from eval_harness.pretrain.config import PretrainConfig

    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match=f"augment is {wrong}"):
            PretrainConfig(augment=wrong)
