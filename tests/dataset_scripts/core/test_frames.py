"""The table that label functions see without a store is the one that they see with it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dataset_scripts import load
from dataset_scripts.catalog import get
from dataset_scripts.core.labels import LONG_SAMPLES, label_frame
from dataset_scripts.load import prepare
from dataset_scripts.mock import available, write
from dataset_scripts.tools.raw_files import read_records
from ecg_hub.errors import InputError


@pytest.mark.parametrize("name", available())
def test_the_same_values_and_types(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = get(name)
    folder = write(name, tmp_path / name, records=20, seed=3)
    frames: list[pd.DataFrame] = []
    original = load._metadata

    def keep(*words: object) -> pd.DataFrame:
        frames.append(original(*words))  # type: ignore[arg-type]
        return frames[-1]

    monkeypatch.setattr(load, "_metadata", keep)
    prepare(name, folder, cache_dir=tmp_path / "cache")
    scan = dataset.scan(folder, dataset.sampling_rate)
    outcomes = read_records(dataset, folder, scan, dataset.sampling_rate)
    rows = scan.table[[outcome.seen is not None for outcome in outcomes]]
    seen = [outcome.seen for outcome in outcomes if outcome.seen is not None]
    found = label_frame(dataset, rows, dataset.sampling_rate, seen)
    (stored,) = frames
    pd.testing.assert_frame_equal(found[list(stored.columns)], stored)


def test_unread_records_are_long_enough(mock_ptb_xl: Path) -> None:
    dataset = get("ptb-xl")
    scan = dataset.scan(mock_ptb_xl, 500)
    assert (label_frame(dataset, scan.table, 500)["samples"] == LONG_SAMPLES).all()


@pytest.mark.heavy
def test_records_in_several_processes(awkward_ptb_xl: Path) -> None:
    dataset = get("ptb-xl")
    scan = dataset.scan(awkward_ptb_xl, 500)
    alone = read_records(dataset, awkward_ptb_xl, scan, 500)
    assert [outcome.status for outcome in alone].count("lost") == 2
    assert alone == read_records(dataset, awkward_ptb_xl, scan, 500, num_proc=2)
    with pytest.raises(InputError, match="num_proc=0"):
        read_records(dataset, awkward_ptb_xl, scan, 500, num_proc=0)
