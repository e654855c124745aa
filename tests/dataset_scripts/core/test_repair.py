"""The read-time repair against the published rule in pandas, window by window."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset

from dataset_scripts.catalog import get
from dataset_scripts.core.builder import store_features
from dataset_scripts.core.shards import _to_table
from dataset_scripts.reader import SignalReader
from ecg_hub.input.samples import MISSING

SAMPLES = 400


def records() -> list[np.ndarray]:
    """Without gaps; gaps inside, at the start, at the end, over a whole lead; loud."""
    rng = np.random.default_rng(5)
    found = [rng.integers(-700, 701, size=(SAMPLES, 12)).astype(np.int16) for _ in range(6)]
    found[1][50:90, 3] = MISSING
    found[1][95, 3] = MISSING
    found[2][:30, 0] = MISSING
    found[3][-25:, 7] = MISSING
    found[4][:, 11] = MISSING
    found[4][0, 2] = found[4][-1, 2] = MISSING
    found[5][10:20] = 3000
    return found


def split(name: str | None = "mimic-iv-ecg", gain: float = 5.0, baseline: int = 0) -> Dataset:
    features = store_features(get("mimic-iv-ecg"))
    rows = [
        dict.fromkeys(features)
        | {"record_id": str(number), "sampling_rate": 500, "signal": signal}
        | {"gain_uv": np.full(12, gain, np.float32), "baseline": np.full(12, baseline, np.int32)}
        for number, signal in enumerate(records())
    ]
    made = Dataset(pa.table(_to_table(rows, features)))
    made.info.dataset_name = name
    return made


def published(signal: np.ndarray, gain: float, baseline: int) -> np.ndarray:
    millivolt = (signal.astype(np.float64) - baseline) * gain / 1000.0
    millivolt[signal == MISSING] = np.nan
    if np.isnan(millivolt).any():
        millivolt = pd.DataFrame(millivolt).interpolate().to_numpy()
    return np.clip(millivolt, -3, 3)


@pytest.mark.parametrize(("gain", "baseline"), [(5.0, 0), (4.88, -120)])
def test_whole_records_equal_the_published_repair(gain: float, baseline: int) -> None:
    reader = SignalReader(split(gain=gain, baseline=baseline))
    for number, signal in enumerate(records()):
        np.testing.assert_allclose(reader.window_mv(number), published(signal, gain, baseline), atol=2e-6)


@pytest.mark.parametrize(("start", "stop"), [(0, 60), (60, 80), (85, 96), (0, 20), (380, 400), (375, 376), (200, 300)])
def test_a_window_is_cut_from_the_repaired_record(start: int, stop: int) -> None:
    """Its gap may reach beyond it on either side, or fill it."""
    reader = SignalReader(split())
    for number, signal in enumerate(records()):
        window = reader.window_mv(number, start, stop)
        assert window.dtype == np.float32
        np.testing.assert_array_equal(window, reader.window_mv(number)[start:stop])
        np.testing.assert_allclose(window, published(signal, 5.0, 0)[start:stop], atol=2e-6)


def test_what_cannot_be_bridged_stays_missing() -> None:
    reader = SignalReader(split())
    assert np.isnan(reader.window_mv(2)[:30, 0]).all()
    assert np.isnan(reader.window_mv(4)[:, 11]).all()
    assert int(np.isnan(reader.window_mv(4)).sum()) == SAMPLES + 1
    assert not np.isnan(reader.window_mv(3)).any()


def test_the_repair_follows_the_split_through_selection_and_processes() -> None:
    chosen = split().select([3, 1]).shuffle(seed=1)
    reader = pickle.loads(pickle.dumps(SignalReader(chosen)))
    for position, record in enumerate(chosen["record_id"]):
        np.testing.assert_allclose(reader.window_mv(position), published(records()[int(record)], 5.0, 0), atol=2e-6)


def test_batches_of_windows_are_repaired_too() -> None:
    reader = SignalReader(split())
    batch = reader.windows_mv([1, 3], [60, 300], 100)
    np.testing.assert_array_equal(batch[0].T, reader.window_mv(1, 60, 160))
    np.testing.assert_array_equal(batch[1].T, reader.window_mv(3, 300, 400))


@pytest.mark.parametrize("name", ["ptb-xl", None, "unknown"])
def test_other_datasets_are_read_as_they_are(name: str | None) -> None:
    reader = SignalReader(split(name))
    assert np.isnan(reader.window_mv(1)[50:90, 3]).all()
    assert float(np.nanmax(reader.window_mv(5))) == 15.0


def test_the_raw_samples_can_be_had() -> None:
    reader = SignalReader(split(), repaired=False)
    assert np.isnan(reader.window_mv(1)[50:90, 3]).all()
    assert reader.raw(1)[50, 3] == MISSING
    assert np.isnan(pickle.loads(pickle.dumps(reader)).window_mv(1)[50:90, 3]).all()
