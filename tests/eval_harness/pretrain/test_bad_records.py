"""Records that cannot be used: replaced by others of their block, counted by reason, too many of them named."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import DataError
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.order import Batch
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from eval_harness.pretrain.record_batch import emptiness
from eval_harness.pretrain.run import _unusable
from tests.support.shards import RATE, extractor, record, records, write_arrow, write_parquet

OPTIONS = ReaderOptions(seed=1, batch_size=8, lanes=8, shuffle_records=16, prefetch=0)
NOISE = record("x")["signal"]


def reader(folder: Path, **changes: Any) -> StreamingReader:
    return StreamingReader([open_folder(folder)], replace(OPTIONS, **changes), extractor())


def passes(source: StreamingReader, number: int = 1, start: int = 0) -> list[Batch]:
    """Read every record `number` times."""
    steps = -(-source.records // source.options.batch_size) * number
    return list(itertools.islice(source.batches(start), steps))


def with_signal(signal: Any, **changes: Any) -> dict[str, Any]:
    return record("bad", signal=signal, **changes)


def partly_missing_and_flat() -> Any:
    signal = np.zeros_like(NOISE)
    signal[:50] = -32768
    return signal


def test_what_several_processes_could_not_use_is_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [record(f"r{k}", samples=2 * RATE if k % 3 else RATE) for k in range(48)]
    write_parquet(tmp_path / "train-0.parquet", rows)
    whole = reader(tmp_path)
    passes(whole)
    processes = [reader(tmp_path, rank=rank, world=2) for rank in range(2)]
    for process in processes:
        passes(process)
    assert processes[0].unusable.lines() == ["left out by rule: shorter than 2 s: 8"]
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: [*mine, processes[1].unusable.counted()])
    assert _unusable(processes[0]) == whole.unusable.lines() == ["left out by rule: shorter than 2 s: 16"]


SCALE = "gain or baseline is missing or no usable number"
DAMAGED = [
    ("the signal is missing", with_signal(None)),
    ("every sample is missing", with_signal(np.full_like(NOISE, -32768))),
    ("flat in all leads", with_signal(np.full_like(NOISE, 7))),
    ("flat in all leads", with_signal(partly_missing_and_flat())),
    ("rows of 8 leads, not 12", with_signal(NOISE[:, :8])),
    ("rows of 11, 12 leads, not 12", with_signal([row if k else row[:11] for k, row in enumerate(NOISE)])),
    (SCALE, record("bad", gain_uv=None)),
    (SCALE, record("bad", gain_uv=np.full(12, np.nan, np.float32))),
    (SCALE, record("bad", gain_uv=np.zeros(12, np.float32))),
    (SCALE, record("bad", baseline=None)),
    ("the sampling rate is missing", record("bad", sampling_rate=None)),
    ("a rate of 0 Hz cannot be resampled to 50 Hz", record("bad", sampling_rate=0)),
    ("a rate of -100 Hz cannot be resampled to 50 Hz", record("bad", sampling_rate=-100)),
    ("a rate of 1000003 Hz cannot be resampled to 50 Hz", record("bad", sampling_rate=1_000_003)),
]
EXCLUDED = [
    ("shorter than 2 s", record("bad", samples=2 * RATE - 1)),
    ("shorter than 2 s", record("bad", samples=0)),
    ("split test", record("bad", split="test")),
    ("split none", record("bad", split="")),
]
FAULTS = [*(("damaged", *fault) for fault in DAMAGED), *(("left out by rule", *fault) for fault in EXCLUDED)]


@pytest.mark.parametrize(("kind", "reason", "row"), FAULTS, ids=range(len(FAULTS)))
def test_each_fault_is_replaced_and_counted(kind: str, reason: str, row: dict[str, Any], tmp_path: Path) -> None:
    rows = records(63)
    rows.insert(20, row)
    write_parquet(tmp_path / "part.parquet", rows)
    source = reader(tmp_path, max_unreadable=0.02)
    batches = passes(source, 2)
    names = [name for batch in batches for name in batch.record_ids]
    assert len(names) == 128, "no slot is lost"
    assert "bad" not in names
    assert np.isfinite([batch.input_values for batch in batches]).all()
    (line,) = source.unusable.lines()
    assert line.startswith(f"{kind}: {reason}")
    assert line.endswith(": 1"), "counted once, however often it is met"
    assert (source.unusable.damaged, source.unusable.excluded) == ((1, 0) if kind == "damaged" else (0, 1))


def test_infinite_samples_are_damage(tmp_path: Path) -> None:
    rows = records(63, signal=NOISE.astype(np.float32) / 100)
    bad = NOISE.astype(np.float32)
    bad[17, 3] = np.inf
    write_parquet(tmp_path / "part.parquet", [*rows, with_signal(bad)])
    source = reader(tmp_path, max_unreadable=0.02)
    passes(source)
    assert source.unusable.lines() == ["damaged: a sample is infinite: 1"]


def test_a_flat_lead_is_no_fault() -> None:
    window = np.zeros_like(NOISE)
    window[:, 4] = NOISE[:, 4]
    assert emptiness(window) == ""
    window[:] = -32768
    window[3:5, 0] = (1, 2)  # between the samples that are looked at first
    assert emptiness(window) == ""


@pytest.mark.heavy
def test_replacements_do_not_depend_on_where_a_run_begins(tmp_path: Path) -> None:
    rows = [record(f"r{k}", seed=k, split="test" if k % 3 == 0 else "train") for k in range(96)]
    write_parquet(tmp_path / "part.parquet", rows)
    # Three times through the 96 places of the file, of which 64 hold records to train on.
    whole = list(itertools.islice(reader(tmp_path).batches(0), 36))
    for start in (1, 5, 17, 30):
        later = list(itertools.islice(reader(tmp_path).batches(start), 36 - start))
        assert [b.record_ids for b in later] == [b.record_ids for b in whole[start:]]
        assert all(np.array_equal(a.input_values, b.input_values) for a, b in zip(later, whole[start:], strict=True))
    names = {name for batch in whole for name in batch.record_ids}
    assert names == {f"r{k}" for k in range(96) if k % 3}
    times = Counter(name for batch in whole for name in batch.record_ids)
    assert sum(times.values()) == 3 * 96
    assert min(times.values()) == 3, "each takes its own places"
    assert sum(count > 3 for count in times.values()) > 20, "and many take those of others"


def test_a_block_without_usable_records_takes_those_of_another(tmp_path: Path) -> None:
    short = [record(f"short {k}", samples=50) for k in range(64)]
    write_parquet(tmp_path / "part.parquet", [*short, *records(8)], group=9)
    source = reader(tmp_path, lanes=1, shuffle_records=9)
    names = [name for batch in passes(source) for name in batch.record_ids]
    assert len(names) == 72
    assert set(names) == {f"r{k}" for k in range(8)}
    assert source.unusable.excluded == 64


def test_nothing_usable_is_said_with_the_reasons(tmp_path: Path) -> None:
    write_parquet(tmp_path / "part.parquet", [record(f"s{k}", samples=50) for k in range(16)])
    with pytest.raises(DataError, match=r"holds no usable record\. left out by rule: shorter than 2 s: 2\.$"):
        passes(reader(tmp_path))


@pytest.mark.heavy
def test_more_damage_than_max_unreadable_stops_with_the_list(tmp_path: Path) -> None:
    rows = records(200)
    for row in rows[:3]:
        row["signal"] = None
    write_parquet(tmp_path / "part.parquet", rows)
    with pytest.raises(DataError) as caught:
        passes(reader(tmp_path))
    text = str(caught.value)
    assert text.startswith("3 of 200 records are damaged, more than max_unreadable=0.01 allows.")
    assert all(f"r{k} of undeclared:{tmp_path.name}: the signal is missing." in text for k in range(3))
    assert "ecg-hub data prepare NAME --shards DIR" in text
    source = reader(tmp_path, max_unreadable=0.015)
    passes(source)
    assert source.unusable.damaged == 3


def test_exclusions_by_rule_stop_nothing(tmp_path: Path) -> None:
    rows = [record(f"r{k}", samples=50 if k % 2 else 200, seed=k) for k in range(64)]
    write_parquet(tmp_path / "part.parquet", rows)
    source = reader(tmp_path, max_unreadable=0.0)
    passes(source, 2)
    assert source.unusable.lines() == ["left out by rule: shorter than 2 s: 32"]


def damage(path: Path, group: int) -> None:
    """Turn over a byte in the samples of a row group."""
    import pyarrow.parquet as pq

    column = pq.read_metadata(path).row_group(group).column(2)
    assert column.path_in_schema.startswith("signal")
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.heavy
def test_a_damaged_row_group_costs_its_records(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "part.parquet", records(256))
    damage(path, 5)
    source = reader(tmp_path, max_unreadable=0.05)
    names = {name for batch in passes(source) for name in batch.record_ids}
    assert names == {f"r{k}" for k in range(256) if not 40 <= k < 48}
    assert source.unusable.damaged == 8
    (line,) = source.unusable.lines()
    assert f"{path}, row group 5 cannot be decoded" in line
    with pytest.raises(DataError, match="8 of 256 records are damaged"):
        passes(reader(tmp_path))


def test_a_null_in_an_arrow_file_is_damage_too(tmp_path: Path) -> None:
    rows = records(64)
    rows[9]["signal"] = None
    write_arrow(tmp_path / "part.arrow", rows)
    source = reader(tmp_path, max_unreadable=0.02)
    passes(source)
    assert source.unusable.lines() == ["damaged: the signal is missing: 1"]
