"""Folders of shards: every form gives the same samples; what is cut off, foreign or unclear is named."""

from __future__ import annotations

import itertools
import pickle
import shutil
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock import write
from dataset_scripts.tools.export import MANIFEST_FILE, write_shards
from ecg_hub.errors import DataError, InputError
from eval_harness.pretrain import sources as shard_files
from eval_harness.pretrain.data import open_folder
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from eval_harness.pretrain.sources import FileSource, RecordSource, ShardFile, StoreSource
from tests.support.shards import extractor, record, records, table, write_arrow, write_parquet

OPTIONS = ReaderOptions(batch_size=16, prefetch=0, shuffle_records=16)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = tmp_path_factory.mktemp("raw")
    raw = write("ptb-xl", root / "ptb-xl", records=150, seed=3, sampling_rates=(100, 500))
    return prepare("ptb-xl", raw, cache_dir=root / "cache", sampling_rate=100)


@pytest.fixture(scope="module")
def shards(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "ptb-xl"
    write_shards(prepared, folder, shard_bytes=10**6)
    return folder


def everything(source: RecordSource) -> dict[str, Any]:
    """All that a source holds, by record."""
    found: dict[str, Any] = {}
    for unit, count in enumerate(source.counts):
        rows = source.read(unit, 0, int(count))
        for row, name in enumerate(rows.record_ids):
            assert name not in found
            signal = rows.signals[row]
            assert signal is not None
            found[name] = (signal.copy(), rows.gain_uv[row], rows.baseline[row], rows.rates[row])
    return found


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, parts in one.items():
        for mine, others in zip(parts, other[name], strict=True):
            np.testing.assert_array_equal(mine, others)
        assert parts[0].dtype == other[name][0].dtype


@pytest.mark.parametrize("all_records", [False, True])
def test_parquet_arrow_and_store_hold_the_same(
    prepared: Prepared, shards: Path, tmp_path: Path, all_records: bool
) -> None:
    store = everything(StoreSource(prepared, all_records))
    assert len(store) == (len(prepared.report) if all_records else len(prepared.splits["train"]))
    assert_equal(everything(open_folder(shards, all_records=all_records)), store)
    parts = {name: part.remove_columns("label_all") for name, part in prepared.splits.items()}
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    saved = open_folder(tmp_path / "saved" if all_records else tmp_path / "saved" / "train", all_records=all_records)
    assert saved.mapped
    assert_equal(everything(saved), store)


def test_a_record_store_is_read_as_a_whole_only(prepared: Prepared) -> None:
    whole = open_folder(prepared.store, all_records=True)
    assert_equal(everything(whole), everything(StoreSource(prepared, all_records=True)))
    assert whole.simulated, "the records come from the simulator"
    with pytest.raises(InputError, match="do not say which split"):
        open_folder(prepared.store)


@pytest.mark.heavy
def test_real_records_are_the_same_from_every_form(shared: Path, tmp_path: Path) -> None:
    real = prepare("ptb-xl", shared / "data/ptbxl/mini", cache_dir=tmp_path / "cache")
    write_shards(real, tmp_path / "shards", shard_bytes=4 * 10**6)
    store, files = StoreSource(real), open_folder(tmp_path / "shards")
    assert_equal(everything(files), everything(store))
    for source in (store, files):
        reader = StreamingReader([source], ReaderOptions(batch_size=8, prefetch=0))
        batches = list(itertools.islice(reader.batches(0), 12))
        assert all(batch.input_values.shape == (8, 12, 2400) for batch in batches)
        assert 0.01 < np.std([batch.input_values for batch in batches]) < 1.0, "millivolt"
        assert reader.unusable.lines() == []


@pytest.mark.heavy
def test_both_forms_of_arrow_and_parquet_give_the_same_batches(tmp_path: Path) -> None:
    rows = records(64)
    write_parquet(tmp_path / "a" / "train.parquet", rows)
    write_arrow(tmp_path / "b" / "train.arrow", rows)
    write_arrow(tmp_path / "c" / "train.arrow", rows, file=True)
    write_arrow(tmp_path / "c" / "cache-1234.arrow", records(3))
    found = []
    for name in "abc":
        reader = StreamingReader([open_folder(tmp_path / name)], OPTIONS, extractor())
        found.append(list(itertools.islice(reader.batches(0), 10)))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one.record_ids == two.record_ids
            np.testing.assert_array_equal(one.input_values, two.input_values)


def test_mapped_samples_are_views(tmp_path: Path) -> None:
    write_arrow(tmp_path / "train.arrow", records(8))
    rows = open_folder(tmp_path).read(0, 2, 5)
    assert rows.record_ids == ["r2", "r3", "r4"]
    assert all(
        signal is not None and not signal.flags.owndata and not signal.flags.writeable for signal in rows.signals
    )
    np.testing.assert_array_equal(rows.signals[1], records(8)[3]["signal"])


def test_files_of_another_split_are_not_even_opened(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", records(16))
    (tmp_path / "data" / "test-00000-of-00001.parquet").write_bytes(b"no Parquet")
    source = open_folder(tmp_path)
    assert source.counts.sum() == 16
    assert source.split == "train"
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet' is cut off or is no such file"):
        open_folder(tmp_path, all_records=True)


def test_a_test_record_in_a_file_of_training_records_is_left_out(tmp_path: Path) -> None:
    rows = [*records(31), record("leaked", split="test")]
    write_parquet(tmp_path / "train-0.parquet", rows)
    for all_records in (False, True):
        source = open_folder(tmp_path, all_records=all_records)
        reader = StreamingReader([source], ReaderOptions(batch_size=8, prefetch=0), extractor())
        names = {name for batch in itertools.islice(reader.batches(0), 8) for name in batch.record_ids}
        assert ("leaked" in names) == all_records


@pytest.mark.parametrize("write", [write_parquet, write_arrow])
def test_records_of_other_splits_in_the_same_file_are_no_records_of_the_run(write: Any, tmp_path: Path) -> None:
    rows = [record(f"r{k}", split="train" if k % 4 else "test") for k in range(32)]
    write(tmp_path / f"part-0.{write.__name__.removeprefix('write_')}", rows)
    for all_records, number in ((False, 24), (True, 32)):
        source = open_folder(tmp_path, all_records=all_records)
        reader = StreamingReader([source], ReaderOptions(batch_size=8, prefetch=0), extractor())
        names = {name for batch in itertools.islice(reader.batches(0), 40) for name in batch.record_ids}
        assert (reader.records, len(names)) == (number, number)
    write(tmp_path / f"part-0.{write.__name__.removeprefix('write_')}", records(8, split="test"))
    with pytest.raises(DataError, match="hold no record"):
        open_folder(tmp_path)


def test_files_that_name_no_split_want_to_be_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "part-0.parquet", records(16), without=("split",))
    with pytest.raises(InputError, match="Pass --all-records to use every record"):
        open_folder(tmp_path)
    assert open_folder(tmp_path, all_records=True).counts.sum() == 16


class TestCutOff:
    def test_a_shard_of_ours(self, shards: Path, tmp_path: Path) -> None:
        folder = _copy(shards, tmp_path / "cut")
        victim = sorted(folder.glob("data/train-*.parquet"))[0]
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
        with pytest.raises(DataError) as caught:
            open_folder(folder)
        assert str(victim) in str(caught.value)
        assert "is cut off or was changed" in str(caught.value)
        assert "ecg-hub data prepare NAME --shards DIR" in str(caught.value)

    def test_a_shard_that_is_gone(self, shards: Path, tmp_path: Path) -> None:
        folder = _copy(shards, tmp_path / "gone")
        victim = sorted(folder.glob("data/train-*.parquet"))[0]
        victim.unlink()
        with pytest.raises(DataError, match=r"train-00000.*is missing"):
            open_folder(folder)

    def test_a_folder_that_is_not_finished(self, shards: Path, tmp_path: Path) -> None:
        folder = _copy(shards, tmp_path / "begun")
        listed = folder / MANIFEST_FILE
        listed.write_text(listed.read_text().replace('"complete": true', '"complete": false'))
        with pytest.raises(DataError, match="are not complete: give `ecg-hub data prepare ptb-xl --shards DIR` again"):
            open_folder(folder)

    def test_a_list_of_shards_that_is_damaged(self, shards: Path, tmp_path: Path) -> None:
        folder = _copy(shards, tmp_path / "list")
        listed = folder / MANIFEST_FILE
        for text in (
            "{",
            listed.read_text().replace('"1.0"', '"9.0"'),
            listed.read_text().replace("data/", "../data/"),
        ):
            listed.write_text(text)
            with pytest.raises(DataError, match=r"shards\.json' is no list of shards of version 1\.0"):
                open_folder(folder)

    @pytest.mark.parametrize("name", ["train.parquet", "train.arrow"])
    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
    def test_a_foreign_file(self, tmp_path: Path, name: str, kept: float) -> None:
        write = write_parquet if name.endswith("parquet") else write_arrow
        path = write(tmp_path / name, records(32))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(DataError, match=rf"{name}' is cut off or is no such file"):
            open_folder(tmp_path)

    def test_a_file_that_is_replaced_while_it_is_read(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", records(32))
        source = open_folder(tmp_path)
        write_parquet(tmp_path / "train.parquet", records(20), group=5)
        with pytest.raises(DataError, match="was changed: row group 0 holds 5 records"):
            source.read(0, 0, 8)


class TestForeign:
    def test_a_column_is_missing(self, tmp_path: Path) -> None:
        path = write_parquet(tmp_path / "train.parquet", records(16), without=("gain_uv", "sampling_rate"))
        with pytest.raises(DataError) as caught:
            open_folder(tmp_path)
        assert repr(str(path)) in str(caught.value)
        assert "has no column 'gain_uv', has no column 'sampling_rate'" in str(caught.value)
        assert "ecg-hub data prepare NAME --shards DIR" in str(caught.value)

    def test_another_type(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        whole = table(records(16))
        wide = whole.set_column(2, "signal", pa.array(whole["signal"].to_pylist(), pa.list_(pa.list_(pa.int64()))))
        pq.write_table(wide, tmp_path / "train.parquet")
        with pytest.raises(DataError, match=r"has 'signal' as list<.*int64"):
            open_folder(tmp_path)

    def test_shards_of_two_kinds_or_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds neither Parquet nor Arrow files"):
            open_folder(tmp_path)
        write_parquet(tmp_path / "train.parquet", records(16))
        write_arrow(tmp_path / "train.arrow", records(16))
        with pytest.raises(InputError, match="holds both Parquet and Arrow files"):
            open_folder(tmp_path)

    def test_no_record(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", records(16)[:0])
        with pytest.raises(DataError, match="hold no record"):
            open_folder(tmp_path)

    def test_a_row_group_too_large_to_read_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_parquet(tmp_path / "train.parquet", records(16), group=16)
        monkeypatch.setattr(shard_files, "LARGEST_GROUP", 10_000)
        with pytest.raises(DataError, match=r"has a row group of .* GiB, which has to be read at once"):
            open_folder(tmp_path)


class NoNetwork:
    """A file system whose host does not answer."""

    def open(self, *_: Any, **__: Any) -> Any:
        raise httpx2.ConnectError("[Errno 111] Connection refused")


def test_a_hub_that_does_not_answer_is_no_damage() -> None:
    source = FileSource("far", "0", [ShardFile("datasets/a/b@c/train-0.parquet", (8,))], filesystem=NoNetwork())
    with pytest.raises(DataError, match=r"'datasets/a/b@c/train-0\.parquet' cannot be read: .*refused.*continues"):
        source.read(0, 0, 8)


def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "_OPEN_FILES", 2)
    for number in range(5):
        write_arrow(tmp_path / f"train-{number}.arrow", records(8, prefix=f"{number} "))
    source = open_folder(tmp_path)
    everything(source)
    assert len(source._opened) == 2
    again: FileSource = pickle.loads(pickle.dumps(source))
    assert len(again._opened) == 0
    assert_equal(everything(again), everything(source))


def test_the_columns_of_a_dataset_with_features_are_read(tmp_path: Path) -> None:
    Dataset(table(records(16))).to_parquet(tmp_path / "train.parquet")
    assert len(everything(open_folder(tmp_path))) == 16


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))
