"""A streaming pass over the record store gives the same records as random access."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, IterableDataset, concatenate_datasets
from datasets import load_dataset as load_files

from dataset_scripts.load import Prepared
from dataset_scripts.reader import SignalReader

RECORDS = 100


@pytest.fixture(scope="module")
def store(prepared: Prepared) -> Dataset:
    parts = [Dataset.from_file(str(path)) for path in files(prepared)]
    return concatenate_datasets(parts).select(range(RECORDS))


def files(prepared: Prepared) -> list[Path]:
    # datasets puts caches of its own, e.g. of a shuffle, beside the shards
    return sorted(prepared.store.glob(f"{prepared.dataset.name}-records*.arrow"))


def from_files(prepared: Prepared, store: Dataset) -> IterableDataset:
    paths = [str(path) for path in files(prepared)]
    return load_files("arrow", data_files=paths, split="train", streaming=True).take(RECORDS)


def from_dataset(prepared: Prepared, store: Dataset) -> IterableDataset:
    return store.to_iterable_dataset(num_shards=4)


STREAMS: dict[str, Callable[[Prepared, Dataset], IterableDataset]] = {
    "the store's files": from_files,
    "to_iterable_dataset": from_dataset,
}


@pytest.mark.heavy
@pytest.mark.parametrize("stream", STREAMS)
def test_streamed_records_are_the_stored_ones(stream: str, prepared: Prepared, store: Dataset) -> None:
    reader = SignalReader(store)
    rows = list(STREAMS[stream](prepared, store))
    assert len(rows) == RECORDS
    metadata = store.remove_columns("signal")
    for index, row in enumerate(rows):
        signal = row.pop("signal")
        np.testing.assert_array_equal(np.array(signal, dtype=np.int16), reader.raw(index))
        assert row == metadata[index]


def test_streamed_features_are_those_of_the_store(prepared: Prepared, store: Dataset) -> None:
    assert from_files(prepared, store).features == store.features
    assert store.features["signal"].dtype == "int16"


def test_views_are_views_and_plain_rows_are_equal(store: Dataset) -> None:
    reader = SignalReader(store)
    view = reader.raw(3)
    assert view.dtype == np.int16
    assert not view.flags.owndata
    assert not view.flags.writeable
    np.testing.assert_array_equal(store[3]["signal"], view)
    np.testing.assert_array_equal(store.with_format("numpy")[3]["signal"], view)
