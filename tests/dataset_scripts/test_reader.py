from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets

from dataset_scripts.catalog import get
from dataset_scripts.core.builder import store_features
from dataset_scripts.core.shards import _to_table
from dataset_scripts.load import Prepared
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import InputError
from ecg_hub.input.samples import MISSING

LENGTHS = (300, 12, 1, 4096, 50)


def dataset(seed: int, lengths: tuple[int, ...] = LENGTHS, gain: float = 0.5, baseline: int = 0) -> Dataset:
    """Records of different lengths, with missing samples, as the store holds them."""
    features = store_features(get("ptb-xl"))
    rng = np.random.default_rng(seed)
    rows = []
    for number, length in enumerate(lengths):
        signal = rng.integers(-32767, 32768, size=(length, 12)).astype(np.int16)
        signal[0, number % 12] = MISSING
        gains = np.linspace(gain, gain + 1, 12, dtype=np.float32)
        row = dict.fromkeys(features) | {"record_id": f"{seed}-{number}", "sampling_rate": 500}
        rows.append(row | {"signal": signal, "gain_uv": gains, "baseline": np.full(12, baseline, np.int32)})
    return Dataset(pa.table(_to_table(rows, features)))


def expected(split: Dataset, position: int) -> np.ndarray:
    """Millivolt by the definition in float64, from plain lists."""
    row = split[position]
    signal = np.array(row["signal"], dtype=np.float64)
    millivolt = (signal - np.array(row["baseline"])) * np.array(row["gain_uv"]) / 1000.0
    millivolt[signal == MISSING] = np.nan
    return millivolt


VIEWS = {
    "as written": lambda ds: ds,
    "selected": lambda ds: ds.select([3, 0, 0, 4]),
    "sliced": lambda ds: ds.select(range(1, 4)),
    "shuffled": lambda ds: ds.shuffle(seed=2),
    "filtered": lambda ds: ds.filter(lambda i: i.endswith(("1", "3")), input_columns="record_id"),
    "several chunks": lambda ds: concatenate_datasets([ds, dataset(9), ds.select(range(2, 5))]),
    "chunks, sliced and selected": lambda ds: concatenate_datasets([ds, dataset(9)]).select(range(3, 9)).select([5, 1]),
    "beside another table": lambda ds: concatenate_datasets([ds, Dataset.from_dict({"x": range(5)})], axis=1).select(
        [4, 2]
    ),
    "with a format": lambda ds: ds.with_format("numpy"),
    "columns reordered": lambda ds: ds.select_columns(["baseline", "signal", "record_id", "gain_uv"]),
}


@pytest.mark.parametrize("view", VIEWS)
def test_windows_equal_the_definition_in_every_view(view: str) -> None:
    split = VIEWS[view](dataset(1, baseline=-13120))
    plain = split.with_format(None)
    reader = SignalReader(split)
    assert len(reader) == len(split)
    assert reader.lengths.tolist() == [len(signal) for signal in plain["signal"]]
    for position in range(len(split)):
        truth = expected(plain, position)
        window = reader.window_mv(position)
        assert window.dtype == np.float32
        np.testing.assert_allclose(window, truth, rtol=3e-7, equal_nan=True)
        middle = len(truth) // 2
        np.testing.assert_array_equal(reader.window_mv(position, middle // 2, middle), window[middle // 2 : middle])


def test_nested_arrow_slices_are_followed() -> None:
    """Arrow may hold the samples as a slice of a longer array; offsets then do not start at 0."""
    source = dataset(1)
    storage = source.data.table.column("signal").chunks[0].storage
    rows, ends = storage.values, storage.offsets.to_numpy()
    sliced = pa.ListArray.from_arrays(pa.array(ends[2:] - ends[2], pa.int32()), rows.slice(int(ends[2])))
    signal = pa.ExtensionArray.from_storage(source.data.table.schema.field("signal").type, sliced)
    columns = {name: source.data.table.column(name).slice(2) for name in ("gain_uv", "baseline")}
    cut = Dataset(pa.table({"signal": signal, **columns}))
    np.testing.assert_array_equal(SignalReader(cut).raw(1), SignalReader(source).raw(3))


def test_views_are_zero_copy_and_read_only() -> None:
    split = dataset(1)
    reader = SignalReader(split)
    column = split.data.table.column("signal").chunks[0].storage.values.values
    low, high = column.buffers()[1].address, column.buffers()[1].address + column.buffers()[1].size
    view = reader.raw(3, 100, 200)
    assert view.dtype == np.int16
    assert low <= view.__array_interface__["data"][0] < high
    assert not view.flags.writeable
    assert reader.raw(3, 5, 5).shape == (0, 12)


def test_whole_gains_are_rounded_once() -> None:
    split = dataset(4, lengths=(4096,), gain=1.0)
    table = split.data.table.set_column(
        split.column_names.index("gain_uv"), "gain_uv", pa.array([[1.0] * 12], pa.list_(pa.float32(), 12))
    )
    reader = SignalReader(Dataset(table))
    raw = reader.raw(0)
    truth = np.where(raw == MISSING, np.nan, raw / 1000.0).astype(np.float32)
    np.testing.assert_array_equal(reader.window_mv(0), truth)


def test_batches_of_windows_are_leads_first() -> None:
    reader = SignalReader(dataset(1))
    windows = reader.windows_mv([3, 0, 3], [0, 100, 2000], samples=150)
    assert windows.shape == (3, 12, 150)
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(windows[2], reader.window_mv(3, 2000, 2150).T)
    assert reader.windows_mv([], [], 10).shape == (0, 12, 10)


@pytest.mark.parametrize(
    ("index", "start", "stop", "message"),
    [
        (5, 0, 1, "Record 5 does not exist; the split has 5 records"),
        (-1, 0, 1, "Record -1 does not exist"),
        (1, 0, 13, "The window 0 to 13 leaves record 1, which has 12 samples"),
        (1, -1, 5, "The window -1 to 5 leaves"),
        (1, 6, 5, "The window 6 to 5 leaves"),
    ],
)
def test_windows_outside_a_record_are_refused(index: int, start: int, stop: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SignalReader(dataset(1)).window_mv(index, start, stop)


def test_a_dataset_without_signals_is_refused() -> None:
    with pytest.raises(InputError, match="lacks the columns baseline, gain_uv, signal"):
        SignalReader(Dataset.from_dict({"x": [1]}))


def test_an_empty_split_has_no_records() -> None:
    reader = SignalReader(dataset(1).select([]))
    assert len(reader) == 0
    assert reader.lengths.shape == (0,)


def test_readers_travel_to_other_processes(prepared: Prepared) -> None:
    reader = SignalReader(prepared.splits["test"])
    packed = pickle.dumps(reader)
    np.testing.assert_array_equal(pickle.loads(packed).window_mv(2, 10, 500), reader.window_mv(2, 10, 500))
    assert len(packed) < 200_000


def test_z_scored_signals_come_as_they_are() -> None:
    features = store_features(get("ptb-xl")).copy()
    features["signal"] = type(features["signal"])(shape=(None, 12), dtype="float32")
    signal = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
    row = dict.fromkeys(features) | {"record_id": "1", "signal": signal, "baseline": np.zeros(12, np.int32)}
    split = Dataset(_to_table([row | {"gain_uv": np.full(12, np.nan, np.float32)}], features))
    reader = SignalReader(split)
    assert reader.unit == "zscore"
    np.testing.assert_array_equal(reader.window_mv(0, 3, 9), signal[3:9])
