"""Batches: the same whoever reads them and wherever they begin, with the values of the feature extractor."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import DataError, InputError
from ecg_hub.leads import LEADS
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.order import Batch
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader, pretraining_extractor
from eval_harness.pretrain.record_batch import RecordBatch
from eval_harness.pretrain.sources import FileSource
from tests.support.shards import RATE, extractor, record, records, write_parquet

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = ReaderOptions(seed=1, batch_size=16, lanes=8, shuffle_records=10, prefetch=0)
ROWS = records(100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 records in three files."""
    root = tmp_path_factory.mktemp("shards")
    write_in_parts(root, ROWS)
    return root


def write_in_parts(folder: Path, rows: list[dict[str, Any]]) -> None:
    for number, part in enumerate((rows[:40], rows[40:45], rows[45:])):
        write_parquet(folder / f"part-{number}.parquet", part)


def reader(folder: Path, options: ReaderOptions = OPTIONS, **changes: Any) -> StreamingReader:
    return StreamingReader([open_folder(folder)], replace(options, **changes), extractor())


def first(source: StreamingReader, number: int, start: int = 0) -> list[Batch]:
    return list(itertools.islice(source.batches(start), number))


def same(one: list[Batch], other: list[Batch]) -> bool:
    assert [batch.step for batch in one] == [batch.step for batch in other]
    assert [batch.lanes for batch in one] == [batch.lanes for batch in other]
    names = all(a.record_ids == b.record_ids for a, b in zip(one, other, strict=True))
    return names and all(np.array_equal(a.input_values, b.input_values) for a, b in zip(one, other, strict=True))


def test_a_batch_has_the_promised_form(folder: Path) -> None:
    source = reader(folder)
    assert source.records == 100
    assert source.corpora == (f"undeclared:{folder.name}",)
    (batch,) = first(source, 1, start=4)
    assert batch.step == 4
    assert batch.input_values.shape == (16, 12, 100)
    assert batch.input_values.dtype == np.float32
    assert batch.lanes == tuple(range(8))
    assert batch.per_lane == 2


@pytest.mark.heavy
def test_the_same_seed_gives_the_same_batches(folder: Path) -> None:
    expected = first(reader(folder), 20)
    assert same(first(reader(folder), 20), expected)
    assert not same(first(reader(folder, seed=2), 20), expected)


@pytest.mark.heavy
@pytest.mark.parametrize("start", [1, 6, 7, 13, 19])
def test_batches_from_a_step_on_are_those_of_the_whole_run(folder: Path, start: int) -> None:
    assert same(first(reader(folder), 20 - start, start), first(reader(folder), 20)[start:])


@pytest.mark.heavy
@pytest.mark.parametrize("world", [2, 4, 8])
def test_processes_share_one_and_the_same_batch(folder: Path, world: int) -> None:
    whole = first(reader(folder), 9)
    shares = [first(reader(folder, rank=rank, world=world), 9) for rank in range(world)]
    for step, parts in enumerate(zip(*shares, strict=True)):
        lanes = {
            lane: (part.input_values[k : k + 2], part.record_ids[k : k + 2])
            for part in parts
            for k, lane in zip(range(0, 16, 2), part.lanes, strict=False)
        }
        assert sorted(lanes) == list(range(8))
        np.testing.assert_array_equal(np.concatenate([lanes[k][0] for k in range(8)]), whole[step].input_values)
        assert [name for k in range(8) for name in lanes[k][1]] == whole[step].record_ids


@pytest.mark.heavy
def test_every_record_comes_once_in_a_pass(folder: Path) -> None:
    source = reader(folder, batch_size=8)  # one record of each lane a step; lanes have 12 or 13
    seen = Counter(name for batch in first(source, 12) for name in batch.record_ids)
    assert set(seen.values()) == {1}
    assert len(seen) == 96
    counts = Counter(name for batch in first(source, 12 * 13 * 2) for name in batch.record_ids)
    assert len(counts) == 100
    assert set(counts.values()) == {24, 26}, "lanes of 13 records and lanes of 12 go round by themselves"


def test_values_are_those_of_the_extractor(folder: Path) -> None:
    stored = {row["record_id"]: row for row in records(100)}
    for batch in first(reader(folder), 3):
        for values, name in zip(batch.input_values, batch.record_ids, strict=True):
            signal = stored[name]["signal"].T / 1000.0
            expected = extractor()(signal, sampling_rate=RATE, lead_names=LEADS)["input_values"][0]
            np.testing.assert_allclose(values, expected, atol=1e-6)


def test_the_default_is_what_the_authors_of_ecg_cpc_fed(tmp_path: Path) -> None:
    rows = records(8, rate=500, samples=5000)
    rows[0]["signal"][:, 1] = 9000  # beyond 3 mV
    rows[1]["signal"][100:200, 2] = -32768
    write_parquet(tmp_path / "train-0.parquet", rows)
    (batch,) = first(StreamingReader([open_folder(tmp_path)], ReaderOptions(batch_size=8, prefetch=0)), 1)
    assert batch.input_values.shape == (8, 12, 2400)
    native = pretraining_extractor()
    assert (native.spec().sampling_rate, native.spec().input_seconds) == (240, 10.0)
    for values, name in zip(batch.input_values, batch.record_ids, strict=True):
        signal = next(row["signal"] for row in rows if row["record_id"] == name).T / 1000.0
        signal[signal == -32.768] = np.nan
        expected = native(signal, sampling_rate=500, lead_names=LEADS, nan="zero")["input_values"][0]
        np.testing.assert_allclose(values, expected, atol=1e-6)
    assert np.abs(batch.input_values).max() == 3.0


def test_gain_and_baseline_of_each_lead_are_applied(tmp_path: Path) -> None:
    gains, baselines = np.linspace(0.5, 4.0, 12, dtype=np.float32), np.arange(12, dtype=np.int32) * 10
    rows = records(8, gain_uv=gains, baseline=baselines, rate=50, samples=100)
    write_parquet(tmp_path / "train-0.parquet", rows)
    (batch,) = first(reader(tmp_path, batch_size=8), 1)
    stored = {row["record_id"]: row["signal"] for row in rows}
    for values, name in zip(batch.input_values, batch.record_ids, strict=True):
        np.testing.assert_allclose(values.T, (stored[name] - baselines) * gains / 1000.0, atol=1e-6)


def test_rates_may_differ_from_record_to_record(tmp_path: Path) -> None:
    rates = [50, 100, 125, 257, 500, 1000, 62, 40]
    rows = [record(f"at {rate}", samples=2 * rate, rate=rate) for rate in rates]
    write_parquet(tmp_path / "train-0.parquet", rows)
    (batch,) = first(reader(tmp_path, batch_size=8), 1)
    for values, name in zip(batch.input_values, batch.record_ids, strict=True):
        row = next(row for row in rows if row["record_id"] == name)
        signal = row["signal"].T / 1000.0
        expected = extractor()(signal, sampling_rate=row["sampling_rate"], lead_names=LEADS)["input_values"][0]
        np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.heavy
def test_windows_of_long_records_start_at_random(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(1000, dtype=np.int16)[:, None], 12, axis=1)
    rows = [record(f"r{k}", signal=ramp, rate=50) for k in range(8)]
    write_parquet(tmp_path / "train-0.parquet", rows)
    batches = first(reader(tmp_path, batch_size=8), 50)
    starts = np.concatenate([batch.input_values[:, 0, 0] for batch in batches]) * 1000
    assert 0 <= starts.min() < 100
    assert 800 < starts.max() < 900, "the last start is never drawn, as in the protocol"
    assert len(np.unique(starts.round())) > 250


def test_z_scored_data_pass_unchanged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 100, 12)).astype(np.float32)
    noise[0, 3] = np.nan
    rows = [record(f"r{k}", signal=noise[k], rate=50, gain_uv=np.full(12, np.nan, np.float32)) for k in range(8)]
    write_parquet(tmp_path / "train-0.parquet", rows)
    (batch,) = first(reader(tmp_path, batch_size=8), 1)
    for values, name in zip(batch.input_values, batch.record_ids, strict=True):
        np.testing.assert_array_equal(values.T, np.clip(np.nan_to_num(noise[int(name[1:])]), -3, 3))


def test_the_same_samples_as_integers_and_as_floats_are_the_same_millivolts(tmp_path: Path) -> None:
    rows = records(8, gain_uv=np.full(12, 2.5, np.float32), baseline=np.full(12, 30, np.int32))
    batches = []
    for kind in (np.int16, np.float32):
        folder = tmp_path / np.dtype(kind).name / "same"
        write_parquet(folder / "train-0.parquet", [row | {"signal": row["signal"].astype(kind)} for row in rows])
        batches += first(reader(folder, batch_size=8), 1)
    np.testing.assert_array_equal(batches[0].input_values, batches[1].input_values)
    assert np.abs(batches[0].input_values).max() < 3


@pytest.mark.heavy
def test_sources_are_mixed_in_proportion(folder: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "few" / "train-0.parquet", records(25, prefix="few "))
    sources = [open_folder(folder), open_folder(tmp_path / "few")]
    mixed = StreamingReader(sources, replace(OPTIONS, batch_size=8), extractor())
    assert mixed.records == 125
    assert mixed.corpora == (f"undeclared:{folder.name}", "undeclared:few")
    assert mixed.train_only == {source.corpus: source.fingerprint for source in sources}
    whole = [open_folder(folder), open_folder(tmp_path / "few", all_records=True)]
    assert list(StreamingReader(whole, OPTIONS, extractor()).train_only) == [f"undeclared:{folder.name}"]
    names = Counter(name[0] for batch in first(mixed, 15 * 20) for name in batch.record_ids)
    assert names["f"] / names.total() == pytest.approx(0.2, abs=0.01)
    assert mixed.fingerprint not in (reader(folder).fingerprint, reader(tmp_path / "few").fingerprint)


class CountedSource:
    """Wraps a source and counts what is read."""

    def __init__(self, inner: FileSource) -> None:
        self.inner, self.records = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, unit: int, start: int, stop: int) -> RecordBatch:
        self.records += stop - start
        return self.inner.read(unit, start, stop)


def test_nothing_before_the_first_step_is_read(folder: Path) -> None:
    counted = CountedSource(open_folder(folder))
    source = StreamingReader([counted], OPTIONS, extractor())
    first(source, 1, start=10**6)
    assert counted.records < 8 * 20, "one block, or two, of each lane"


class TestPrefetching:
    def test_a_thread_gives_the_same(self, folder: Path) -> None:
        assert same(first(reader(folder, prefetch=3), 12), first(reader(folder), 12))

    def test_the_thread_ends_with_the_iterator(self, folder: Path) -> None:
        before = threading.active_count()
        batches = reader(folder, prefetch=2).batches(0)
        next(batches)
        assert threading.active_count() == before + 1
        batches.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before

    def test_what_goes_wrong_is_raised_at_its_turn(self, folder: Path, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train-0.parquet", records(40))
        source = reader(tmp_path, prefetch=2, batch_size=8)
        batches = source.batches(0)
        next(batches)
        (tmp_path / "train-0.parquet").unlink()
        with pytest.raises(DataError, match=r"train-0\.parquet' cannot be read"):
            list(itertools.islice(batches, 100))

    @pytest.mark.heavy
    def test_processes_give_the_same_and_report_as_one(self, tmp_path: Path) -> None:
        write_in_parts(tmp_path, [{**row, "signal": None} if number == 3 else row for number, row in enumerate(ROWS)])
        source, here = reader(tmp_path, workers=2, max_unreadable=0.1), reader(tmp_path, max_unreadable=0.1)
        batches = source.batches(3)
        assert same(list(itertools.islice(batches, 9)), first(here, 9, 3))
        batches.close()  # type: ignore[attr-defined]
        assert source.unusable.lines() == here.unusable.lines() == ["damaged: the signal is missing: 1"]

    @pytest.mark.heavy  # processes that import torch
    def test_processes_fail_as_one(self, tmp_path: Path) -> None:
        rows = records(64)
        rows[3]["signal"] = None
        write_parquet(tmp_path / "train-0.parquet", rows)
        with pytest.raises(DataError, match=r"^1 of 64 records are damaged, more than max_unreadable=0\.01 allows"):
            first(reader(tmp_path, workers=2), 8)


READING = """
import multiprocessing, sys, time
from pathlib import Path
from tests.eval_harness.pretrain.test_reader import reader

if __name__ == "__main__":
    batches = reader(Path(sys.argv[1]), workers=2, batch_size=64, prefetch=2).batches(0)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


@pytest.mark.heavy  # three processes that import torch, of which one is killed
def test_processes_end_with_a_killed_one(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "reading.py"
    script.write_text(READING, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        assert len(workers) == 2
        process.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "the workers go on without anybody to read for"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lanes": 6, "batch_size": 12, "world": 4}, "6 lanes cannot be divided among 4 processes"),
        ({"batch_size": 12}, "cannot be drawn from 8 lanes"),
        ({"batch_size": 128}, "100 records, fewer than one batch of 128"),
        ({"workers": 3}, "8 lanes cannot be divided among 3 workers"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(folder: Path, changes: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        reader(folder, **changes)


def test_the_fingerprint_tells_content_and_layout(folder: Path, tmp_path: Path) -> None:
    known = reader(folder).fingerprint
    assert reader(folder).fingerprint == known
    assert StreamingReader([open_folder(folder, all_records=True)], OPTIONS, extractor()).fingerprint != known
    write_parquet(tmp_path / folder.name / "train-0.parquet", records(100), group=10)
    assert reader(tmp_path / folder.name).fingerprint != known
