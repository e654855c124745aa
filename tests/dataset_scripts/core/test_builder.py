"""The record store: its columns, its report, its key, and what interruptions leave."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Array2D, List, Value

from dataset_scripts import catalog
from dataset_scripts.core import builder as builder_module
from dataset_scripts.core import shards
from dataset_scripts.core.builder import ECGBuilder, plan
from dataset_scripts.core.report import check_unreadable, read_report
from dataset_scripts.core.spec import ECGDataset, LabelTable, RawRecord, RecordExcluded, Rejected, Scan, Signal
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.published.ptb_xl import PTBXL
from dataset_scripts.reader import SignalReader
from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING

SLOW = """
import sys, time
from dataset_scripts.published.ptb_xl import PTBXL
from dataset_scripts.load import prepare
read, count = PTBXL.read, 0
def slow(self, folder, record):
    global count
    count += 1
    time.sleep(float(sys.argv[3]))
    return read(self, folder, record)
PTBXL.read = slow
found = prepare("ptb-xl", sys.argv[1], cache_dir=sys.argv[2])
print(count, found.fingerprint)
"""


def start(folder: Path, cache: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a process that prepares a folder, `seconds` per record."""
    environment = {**os.environ, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    arguments = [sys.executable, "-c", SLOW, str(folder), str(cache), str(seconds)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of records read in this process."""
    read, ids = PTBXL.read, []

    def counting(self: PTBXL, folder: Path, record: RawRecord) -> Signal:
        ids.append(record.record_id)
        return read(self, folder, record)

    monkeypatch.setattr(PTBXL, "read", counting)
    return ids


def test_columns_and_types_are_as_designed(prepared: Prepared) -> None:
    features = prepared.splits["train"].features
    assert features["record_id"] == Value("string")
    assert features["patient_id"] == Value("string")
    assert features["signal"] == Array2D(shape=(None, 12), dtype="int16")
    assert features["gain_uv"] == List(Value("float32"), length=12)
    assert features["baseline"] == List(Value("int32"), length=12)
    assert features["sampling_rate"] == Value("int32")
    assert features["age"] == Value("float32")
    assert features["sex"] == Value("string")


@pytest.mark.heavy
def test_a_finished_store_is_reused_and_a_moved_folder_finds_it(
    mock_ptb_xl: Path, tmp_path: Path, counted: list[str]
) -> None:
    first = prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path / "cache")
    assert len(counted) == 150
    again = prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path / "cache")
    moved = prepare("ptb-xl", shutil.copytree(mock_ptb_xl, tmp_path / "moved"), cache_dir=tmp_path / "cache")
    assert len(counted) == 150
    assert first.store == again.store == moved.store
    assert first.fingerprint == again.fingerprint == moved.fingerprint


@pytest.mark.heavy
def test_a_changed_folder_gets_its_own_store(mock_ptb_xl: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mock_ptb_xl, tmp_path / "raw"))
    before = prepare("ptb-xl", folder, cache_dir=tmp_path / "cache")
    path = folder / f"{before.report['file'][0]}.dat"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    after = prepare("ptb-xl", folder, cache_dir=tmp_path / "cache")
    assert after.store != before.store
    assert after.fingerprint != before.fingerprint
    assert (after.report["digest"] != before.report["digest"]).tolist() == [True] + [False] * 149
    assert "do not add up to the header's checksum" in after.report["reason"][0]


@pytest.mark.heavy
def test_the_same_data_with_other_file_times_has_the_same_content_fingerprint(
    mock_ptb_xl: Path, prepared: Prepared, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(mock_ptb_xl, tmp_path / "raw"))
    for path in (folder / "records500").rglob("*.dat"):
        os.utime(path)
    copied = prepare("ptb-xl", folder, cache_dir=tmp_path / "cache")
    assert copied.store.parent.name != prepared.store.parent.name
    assert copied.fingerprint == prepared.fingerprint


@pytest.mark.heavy
def test_several_processes_write_the_same_store(mock_ptb_xl: Path, prepared: Prepared, tmp_path: Path) -> None:
    found = prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path, num_proc=2)
    assert found.fingerprint == prepared.fingerprint
    assert found.report.equals(prepared.report)
    for name, split in found.splits.items():
        assert split["record_id"] == prepared.splits[name]["record_id"]


@pytest.mark.heavy
def test_a_killed_preparation_leaves_no_store_and_continues(
    mock_ptb_xl: Path, prepared: Prepared, tmp_path: Path, counted: list[str]
) -> None:
    process = start(mock_ptb_xl, tmp_path, seconds=0.02)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.shards/*.json")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.rglob("dataset_info.json"))
    assert list(tmp_path.rglob("*.partial"))
    incomplete = next(tmp_path.rglob("*.incomplete"))
    (incomplete / "ptb-xl-records-00007-of-00009.arrow").write_bytes(b"from an earlier version")
    found = prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path)
    assert found.fingerprint == prepared.fingerprint
    assert len(counted) == 150 - 64
    assert not list(tmp_path.rglob("*.shards"))
    assert not list(tmp_path.rglob("*.partial"))
    assert {path.suffix for path in found.store.iterdir()} == {".arrow", ".csv", ".json", ".txt", ""}
    assert len(list(found.store.glob("*.arrow"))) == 3


@pytest.mark.heavy
def test_two_processes_at_once_prepare_once(mock_ptb_xl: Path, prepared: Prepared, tmp_path: Path) -> None:
    processes = [start(mock_ptb_xl, tmp_path, seconds=0.004) for _ in range(2)]
    texts = []
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        texts.append(out.split())
    assert sorted(int(count) for count, _ in texts) == [0, 150]
    assert {print_ for _, print_ in texts} == {prepared.fingerprint}


@pytest.mark.heavy
def test_workers_end_with_a_killed_preparation(mock_ptb_xl: Path, tmp_path: Path) -> None:
    code = SLOW.replace("cache_dir=sys.argv[2])", "cache_dir=sys.argv[2], num_proc=2)")
    process = subprocess.Popen([sys.executable, "-c", code, str(mock_ptb_xl), str(tmp_path), "0.1"])
    deadline = time.monotonic() + 60
    while not (children := _children(process.pid)) or not list(tmp_path.rglob("*.partial")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path).report["status"].eq("ok").all()


def _children(pid: int) -> list[int]:
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def test_a_damaged_marker_or_shard_is_written_again(mock_ptb_xl: Path, tmp_path: Path) -> None:
    files = shards.ShardFiles(tmp_path, "00000-of-00001")
    builder = ECGBuilder(catalog.get("ptb-xl"), mock_ptb_xl, tmp_path / "cache", 100)
    state = shards.write_shard(builder._shard((0, 8)), files)
    assert files.finished() == state
    assert state["rows"] == 8
    os.truncate(files.signals, state["signals"] - 1)
    assert files.finished() is None
    shards.write_shard(builder._shard((0, 8)), files)
    assert files.finished() == state
    files.marker.write_text("{")
    assert files.finished() is None
    files.marker.unlink()
    assert files.finished() is None


@pytest.mark.parametrize(
    ("records", "count", "size"), [(0, 1, 0), (1, 1, 1), (64, 1, 64), (65, 2, 64), (1000, 16, 64), (800_035, 782, 1024)]
)
def test_shards_cover_all_records(records: int, count: int, size: int) -> None:
    spans = plan(records)
    assert len(spans) == count
    assert spans[0] == (0, size)
    assert spans[-1][1] == records
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(spans))


@pytest.mark.heavy
def test_a_full_disk_is_told_and_keeps_what_is_finished(
    mock_ptb_xl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    write = builder_module.write_shard

    def full(shard: shards.Shard, files: shards.ShardFiles) -> dict[str, int]:
        if files.name.startswith("00002"):
            raise OSError(28, "No space left on device")
        return write(shard, files)

    monkeypatch.setattr(builder_module, "write_shard", full)
    with pytest.raises(DataError, match=r"No space left on device\. Make room or choose another cache_dir"):
        prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path)
    monkeypatch.setattr(builder_module, "write_shard", write)
    assert len(counted) == 128
    prepare("ptb-xl", mock_ptb_xl, cache_dir=tmp_path)
    assert len(counted) == 150


def test_awkward_records_are_lost_with_file_and_reason(awkward_ptb_xl: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare("ptb-xl", awkward_ptb_xl, cache_dir=tmp_path)
    text = str(caught.value)
    assert "PTB-XL: 3 of 40 records (7.5%) cannot be read, more than max_unreadable=0.01 allows." in text
    assert (
        "37 (records500/00000/00037_hr): 00037_hr.dat holds 40000 bytes of signal, its header announces 120000." in text
    )
    assert "38 (records500/00000/00038_hr): 00038_hr.dat is missing." in text
    assert "39 (ptbxl_database.csv): scp_codes" in text
    assert "Get these files again from https://physionet.org" in text
    assert text.endswith("or pass max_unreadable=0.076 to go on without them.")


def test_awkward_records_are_left_out_where_the_loss_is_put_up_with(
    awkward_ptb_xl: Path, tmp_path: Path, counted: list[str]
) -> None:
    with pytest.raises(DataError):
        prepare("ptb-xl", awkward_ptb_xl, cache_dir=tmp_path)
    found = prepare("ptb-xl", awkward_ptb_xl, cache_dir=tmp_path, max_unreadable=0.076)
    assert len(counted) == 39, "raising max_unreadable must not read the records again"
    report = found.report.set_index("record_id")
    assert report["status"].value_counts().to_dict() == {"ok": 37, "lost": 3}
    assert report.loc["38", ["file", "reason", "samples"]].tolist() == [
        "records500/00000/00038_hr",
        "00038_hr.dat is missing",
        0,
    ]
    assert report.loc["36", "samples"] == 5000
    assert sum(map(len, found.splits.values())) == 37
    ids = [i for split in found.splits.values() for i in split["record_id"]]
    assert set(ids) == set(report.index[report["status"] == "ok"])


def test_missing_samples_and_records_without_labels_stay_in(awkward_ptb_xl: Path, tmp_path: Path) -> None:
    found = prepare("ptb-xl", awkward_ptb_xl, cache_dir=tmp_path, max_unreadable=0.1)
    places = {i: (s, k) for name, s in found.splits.items() for k, i in enumerate(s["record_id"]) for _ in [name]}
    split, position = places["36"]
    raw = SignalReader(split).raw(position)
    window = SignalReader(split).window_mv(position)
    assert (raw[200:260, 7] == MISSING).all()
    assert (raw[:, 11] == MISSING).all()
    assert np.isnan(window).sum() == 60 + 5000
    split, position = places["40"]
    assert all(split[position][column] == [] for column in found.labels)


# A made-up dataset: records of any length and rate, so that the store is not tied to WFDB or to PTB-XL.


class Toy(ECGDataset):
    """Records named r0, r1, ...; `make` decides what reading each one does."""

    make: Callable[[int], Signal]

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        names = (data_dir / "table.csv").read_text().split()
        table = pd.DataFrame({"record_id": names, "file": "many.h5", "key": range(len(names)), "code": names})
        return Scan(table, excluded=[Rejected("x", "x.dat", "nine leads")])

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        assert record.file == "many.h5"
        assert record.metadata == {"code": record.record_id}
        return type(self).make(record.key)

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        raise NotImplementedError


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ECGBuilder, pd.DataFrame]]:
    def build(make: Callable[[int], Signal], records: int = 5, **changes: Any) -> tuple[ECGBuilder, pd.DataFrame]:
        fields = {name: getattr(catalog.get("ptb-xl"), name) for name in ECGDataset.__dataclass_fields__}
        own = {"name": "toy", "table_files": ("table.csv",), "metadata_columns": {"code": "string", "beat": "int32"}}
        monkeypatch.setattr(Toy, "make", staticmethod(make), raising=False)
        folder = tmp_path / "raw"
        folder.mkdir(exist_ok=True)
        (folder / "table.csv").write_text(" ".join(f"r{i}" for i in range(records)))
        builder = ECGBuilder(Toy(**{**fields, **own, **changes}), folder, tmp_path / "cache", 500)
        builder.download_and_prepare()
        return builder, read_report(builder.store)

    return build


def signal_of(length: int, dtype: str = "int16", **changes: Any) -> Signal:
    values = (np.arange(length * 12) % 1000).reshape(length, 12).astype(dtype)
    return replace(Signal(values, np.arange(12, dtype=np.float32), np.full(12, -7, np.int32), 500), **changes)


def test_lengths_gains_and_metadata_of_the_file_reach_the_store(toy: Callable) -> None:
    lengths = [7, 120_000, 1, 32_000, 5]
    builder, report = toy(lambda k: signal_of(lengths[k], metadata={"beat": k, "age": 3.5, "sex": "female"}))
    store = builder.as_dataset("records")
    reader = SignalReader(store)
    assert reader.lengths.tolist() == lengths
    assert report["samples"].tolist()[:5] == lengths
    assert (reader.raw(1) == signal_of(120_000).samples).all()
    assert store["beat"] == [0, 1, 2, 3, 4]
    assert store["age"] == [3.5] * 5
    assert store["sex"] == ["female"] * 5
    assert store[3]["gain_uv"] == list(range(12))
    assert store[3]["baseline"] == [-7] * 12
    assert store["patient_id"] == [None] * 5
    assert report.iloc[-1][["record_id", "status", "reason"]].tolist() == ["x", "excluded", "nine leads"]


def test_batches_are_bounded_in_bytes(toy: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BATCH_BYTES", 50_000)
    builder, _ = toy(lambda k: signal_of(1000), records=7)
    chunks = builder.as_dataset("records").data.table.column("signal").chunks
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 1]


def test_z_scored_data_stay_float32(toy: Callable) -> None:
    values = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)
    nan = np.full(12, np.nan, np.float32)
    builder, _ = toy(lambda k: signal_of(30, samples=values, gain_uv=nan), unit="zscore")
    reader = SignalReader(builder.as_dataset("records"))
    assert reader.unit == "zscore"
    assert (reader.window_mv(2) == values).all()


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (DataError("the lid is off"), "lost", "the lid is off"),
        (KeyError("ecg"), "lost", "many.h5 cannot be read: KeyError: '...'"),
        (RecordExcluded("nine leads"), "excluded", "nine leads"),
        (signal_of(0), "lost", "the record has no samples"),
        (signal_of(5, samples=np.zeros((5, 8), np.int16)), "lost", r"the signal has shape (5, 8), not (samples, 12)"),
        (signal_of(5, "int32"), "lost", "the signal is int32, not int16"),
        (signal_of(5, sampling_rate=400), "lost", "the record is sampled at 400 Hz, not 500 Hz"),
        (signal_of(5, metadata={"signal": 1}), "lost", "TypeError: Signal.metadata may not set signal"),
        (signal_of(5, samples=np.zeros((5, 12), np.int16)), "ok", "every sample is 0"),
        (signal_of(5, samples=np.full((5, 12), MISSING, np.int16)), "ok", "every sample is missing"),
        (signal_of(5, remark="odd"), "ok", "odd"),
    ],
)
def test_what_reading_can_return(toy: Callable, fault: Signal | Exception, status: str, reason: str) -> None:
    def make(key: int) -> Signal:
        if key == 1 and isinstance(fault, Exception):
            raise fault
        return fault if key == 1 and isinstance(fault, Signal) else signal_of(9)

    builder, report = toy(make)
    assert report.loc[1, ["record_id", "file", "status", "reason"]].tolist() == ["r1", "many.h5", status, reason]
    assert len(builder.as_dataset("records")) == (5 if status == "ok" else 4)


def test_undeclared_metadata_is_a_fault_of_the_dataset_file(toy: Callable) -> None:
    with pytest.raises(TypeError, match="metadata_columns does not declare tempo"):
        toy(lambda k: signal_of(5, metadata={"tempo": 1}))


def test_a_folder_without_a_readable_record_makes_no_store(toy: Callable, tmp_path: Path) -> None:
    def broken(key: int) -> Signal:
        raise DataError("gone")

    with pytest.raises(DataError, match=r"none of 5 records can be read.*And|r4 \(many\.h5\): gone"):
        toy(broken)
    with pytest.raises(DataError, match=r"there is no record to read \(1 are left out by rule\)"):
        toy(broken, records=0)
    assert not list((tmp_path / "cache").rglob("dataset_info.json"))


def test_running_out_of_memory_is_not_a_lost_record(toy: Callable) -> None:
    def huge(key: int) -> Signal:
        raise MemoryError

    with pytest.raises(MemoryError):
        toy(huge)


def test_a_raised_store_version_writes_a_new_store(toy: Callable) -> None:
    first, _ = toy(lambda k: signal_of(5))
    second, _ = toy(lambda k: signal_of(6), store_version=2)
    assert first.store != second.store
    assert SignalReader(second.as_dataset("records")).lengths.tolist() == [6] * 5


def test_streaming_and_parquet_give_the_same_rows(toy: Callable, tmp_path: Path) -> None:
    builder, _ = toy(lambda k: signal_of(5 + k))
    streamed = list(builder.as_streaming_dataset("records"))
    assert [row["record_id"] for row in streamed] == [f"r{i}" for i in range(5)]
    assert np.array_equal(streamed[2]["signal"], signal_of(7).samples)
    builder.download_and_prepare(str(tmp_path / "parquet"), file_format="parquet")
    table = pd.read_parquet(next((tmp_path / "parquet").glob("*.parquet")))
    assert table["record_id"].tolist() == [f"r{i}" for i in range(5)]
    assert np.array_equal(np.stack(table["signal"][2]), signal_of(7).samples)


@pytest.mark.parametrize(
    ("lost", "max_unreadable", "stops"), [(1, 0.01, False), (2, 0.01, True), (0, 0.0, False), (1, 0.0, True)]
)
def test_loss_is_a_fraction_of_what_should_be_readable(lost: int, max_unreadable: float, stops: bool) -> None:
    status = ["lost"] * lost + ["ok"] * (100 - lost) + ["excluded"] * 900
    report = pd.DataFrame({"status": status, "record_id": "1", "file": "f", "reason": "gone"})
    if stops:
        with pytest.raises(DataError, match=rf"{lost} of 100 records"):
            check_unreadable(catalog.get("ptb-xl"), report, max_unreadable)
    else:
        check_unreadable(catalog.get("ptb-xl"), report, max_unreadable)


def test_only_the_first_reasons_are_told() -> None:
    report = pd.DataFrame({"status": "lost", "record_id": [str(i) for i in range(9)], "file": "f", "reason": "gone"})
    with pytest.raises(DataError, match=r"4 \(f\): gone\. And 4 more\. Get these files again from \S+$"):
        check_unreadable(catalog.get("ptb-xl"), report, 0.5)


def test_a_store_describes_itself(prepared: Prepared) -> None:
    info = json.loads((prepared.store / "dataset_info.json").read_text())
    assert info["license"] == "CC-BY-4.0"
    assert info["homepage"].startswith("https://physionet.org")
    assert info["splits"]["records"]["num_examples"] == 150
    assert (prepared.store / "report.csv").is_file()
    assert prepared.store.parts[-3:-2] == ("ptb-xl",)
    assert prepared.store.parent.name.startswith("500hz-")
