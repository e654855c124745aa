"""From what a user names to records: datasets, own archives, folders, a hub."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock import write
from dataset_scripts.reader import SignalReader
from dataset_scripts.tools.export import write_shards
from ecg_hub.errors import DataError, InputError, UnknownNameError
from eval_harness.pretrain.config import PretrainConfig
from eval_harness.pretrain.data import DataOptions, open_data, open_folder, open_hub, open_source
from eval_harness.pretrain.order import Batch
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from eval_harness.pretrain.sources import RecordSource
from eval_harness.results.contamination import state
from tests.support.hub import TestHub
from tests.support.hub import hub as hub
from tests.support.shards import extractor, records, write_parquet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small mock PTB-XL."""
    folder = tmp_path_factory.mktemp("root")
    write("ptb-xl", folder / "ptb-xl", records=60, seed=3)
    return folder


@pytest.fixture(scope="module")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare("ptb-xl", root / "ptb-xl", cache_dir=tmp_path_factory.mktemp("cache"))


def first(source: RecordSource | list[RecordSource], number: int = 4, **options: Any) -> list[Batch]:
    sources = source if isinstance(source, list) else [source]
    reader = StreamingReader(sources, ReaderOptions(batch_size=8, prefetch=0, **options), extractor())
    return list(itertools.islice(reader.batches(0), number))


@pytest.mark.heavy
def test_a_dataset_gives_its_training_records(root: Path, prepared: Prepared, tmp_path: Path) -> None:
    source = open_source("ptb-xl", data_root=root, cache_dir=tmp_path)
    assert source.corpus == "ptb-xl"
    assert source.fingerprint == prepared.fingerprint
    assert source.counts.sum() == len(prepared.splits["train"]) < 60
    steps = -(-int(source.counts.sum()) // 8) + 8
    names = {name for batch in first(source, steps) for name in batch.record_ids}
    assert names == set(prepared.splits["train"]["record_id"]), "no record of validation or test"
    everything = open_source("ptb-xl", data_root=root, cache_dir=tmp_path, all_records=True)
    assert everything.counts.sum() == 60


@pytest.mark.heavy
def test_records_in_no_split_belong_to_all_records(tmp_path: Path) -> None:
    raw = write("georgia", tmp_path / "georgia", records=40, seed=1)
    whole = prepare("georgia", raw, cache_dir=tmp_path / "cache", min_samples=6000)
    assert len(whole.left_out) == 40
    assert not any(len(part) for part in whole.splits.values())
    assert set(whole.left_out["split"]) == {""}


def test_the_mock_root_and_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`ecg-hub data prepare ptb-xl --download` does that"):
        open_source("ptb-xl")
    both = DataOptions(("ptb-xl", "georgia"), data_root=str(tmp_path))
    with pytest.raises(DataError, match=r"prepare ptb-xl --data-dir(?s:.*)prepare georgia --data-dir"):
        open_data(both, PretrainConfig(), None, 0, 1)
    with pytest.raises(DataError, match="does not exist"):
        open_source("ptb-xl", data_root=tmp_path / "nowhere", cache_dir=tmp_path)


def test_an_unknown_name_lists_what_may_be_given() -> None:
    with pytest.raises(
        UnknownNameError, match=r"Unknown data 'ptb-xk'\. Did you mean 'ptb-xl'.*Or give a folder of shards"
    ):
        open_source("ptb-xk")


def test_a_folder_is_taken_by_its_path(prepared: Prepared, tmp_path: Path) -> None:
    write_shards(prepared, tmp_path / "shards")
    source = open_source(str(tmp_path / "shards"))
    assert (source.corpus, source.fingerprint) == ("ptb-xl", prepared.fingerprint)


def test_a_folder_that_does_not_say_what_it_holds_passes_for_no_data_set(tmp_path: Path) -> None:
    write_parquet(tmp_path / "chapman" / "train-0.parquet", records(64))
    source = open_source(str(tmp_path / "chapman"))
    assert source.corpus == "undeclared:chapman"
    # By the name alone a model would have seen Chapman, and nothing else.
    assert [state([source.corpus], name) for name in ("chapman", "ptb-xl")] == ["unknown", "unknown"]


def test_records_that_are_named_twice_are_refused(root: Path, prepared: Prepared, tmp_path: Path) -> None:
    write_shards(prepared, tmp_path / "shards")
    for again in ("ptb-xl", str(tmp_path / "shards")):
        data = DataOptions(("ptb-xl", again), data_root=str(root), cache_dir=tmp_path)
        with pytest.raises(InputError, match=f"--data ptb-xl and --data {again} are the same records of ptb-xl"):
            open_data(data, PretrainConfig(), None, 0, 1)


def own_archive(folder: Path, name: str, rate: int, leads: list[str], count: int = 40) -> Path:
    """Write CSV records of ten seconds with some leads, and the file that describes them."""
    signals = folder / name / "ecg"
    signals.mkdir(parents=True)
    rng = np.random.default_rng(rate)
    for number in range(count):
        values = rng.normal(0, 0.2, (2 * rate, len(leads))).round(3)
        lines = [",".join(leads), *(",".join(map(str, row)) for row in values)]
        (signals / f"{name}{number}.csv").write_text("\n".join(lines) + "\n")
    about = {
        "name": name,
        "format": "csv",
        "signals": "ecg",
        "sampling_rate": rate,
        "unit": "mV",
        "min_seconds": 1,
    }
    path = folder / name / f"{name}.yaml"
    path.write_text(yaml.safe_dump(about))
    return path


@pytest.mark.heavy
def test_own_archives_of_other_rates_and_leads_are_mixed(tmp_path: Path) -> None:
    two = own_archive(tmp_path, "ward", 250, ["I", "II"])
    eight = own_archive(tmp_path, "clinic", 125, ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"])
    sources = [open_source(str(path), cache_dir=tmp_path / "cache", all_records=True) for path in (two, eight)]
    reader = StreamingReader(sources, ReaderOptions(batch_size=8, prefetch=0), extractor())
    assert reader.corpora == ("ward", "clinic")
    assert reader.train_only == {}, "every record is used"
    batches = list(itertools.islice(reader.batches(0), 10))
    values = np.concatenate([batch.input_values for batch in batches])
    of_ward = np.array([name.startswith("ward") for batch in batches for name in batch.record_ids])
    assert 0 < of_ward.sum() < len(of_ward)
    assert not values[of_ward, 6:].any(), "leads that are not there are zero"
    assert (values.std(axis=2)[:, :2] > 0.01).all()
    assert (values.std(axis=2)[~of_ward, 6:] > 0.01).all()
    assert reader.unusable.lines() == []


@pytest.mark.heavy
def test_own_shards_are_read_again(tmp_path: Path) -> None:
    described = own_archive(tmp_path, "ward", 250, ["I", "II"])
    mine = prepare(described, cache_dir=tmp_path / "cache")
    manifest = write_shards(mine, tmp_path / "shards")
    assert manifest.dataset == "ward"
    assert sum(manifest.records.values()) == 40
    whole = open_folder(tmp_path / "shards", all_records=True)
    assert whole.fingerprint == mine.fingerprint
    readers = [mine.splits[name] for name in ("train", "validation", "test")]
    stored = {name: SignalReader(part).raw(row) for part in readers for row, name in enumerate(part["record_id"])}
    assert len(stored) == 40
    for unit, count in enumerate(whole.counts):
        rows = whole.read(unit, 0, int(count))
        for name, signal in zip(rows.record_ids, rows.signals, strict=True):
            np.testing.assert_array_equal(signal, stored.pop(name))
    assert not stored


class TestOnAHub:
    def upload(self, hub: TestHub, folder: Path, repo: str = "alice/shards") -> None:
        api = hub.api()
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=str(folder))

    @pytest.mark.heavy
    def test_shards_on_a_hub_are_those_of_the_folder(self, hub: TestHub, prepared: Prepared, tmp_path: Path) -> None:
        write_shards(prepared, tmp_path / "shards", shard_bytes=2 * 10**6)
        self.upload(hub, tmp_path / "shards")
        remote = open_source("alice/shards")
        assert remote.remote
        local = open_folder(tmp_path / "shards")
        np.testing.assert_array_equal(remote.counts, local.counts)
        for one, other in zip(first(remote, 12), first(local, 12), strict=True):
            assert one.record_ids == other.record_ids
            np.testing.assert_array_equal(one.input_values, other.input_values)

    @pytest.mark.heavy
    def test_what_is_fetched_is_not_the_whole(self, hub: TestHub, prepared: Prepared, tmp_path: Path) -> None:
        write_shards(prepared, tmp_path / "shards")
        self.upload(hub, tmp_path / "shards")
        first(open_source("hf://datasets/alice/shards"), 1)
        assert not list(hub.home.rglob("*.parquet"))

    def test_foreign_parquet_is_read_at_a_fixed_commit(self, hub: TestHub, tmp_path: Path) -> None:
        write_parquet(tmp_path / "v1" / "data" / "train-0.parquet", records(64))
        self.upload(hub, tmp_path / "v1", "alice/foreign")
        before = open_source("alice/foreign")
        expected = first(before)
        write_parquet(tmp_path / "v2" / "data" / "train-0.parquet", records(48))
        self.upload(hub, tmp_path / "v2", "alice/foreign")
        after = open_source("alice/foreign")
        assert before.fingerprint != after.fingerprint
        assert before.corpus == "alice/foreign"
        assert (before.counts.sum(), after.counts.sum()) == (64, 48)
        for one, other in zip(first(before), expected, strict=True):
            np.testing.assert_array_equal(one.input_values, other.input_values)

    def test_what_a_hub_does_not_have(self, hub: TestHub, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no dataset 'alice/nothing' for you"):
            open_source("alice/nothing")
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "README.md").write_text("nothing here\n")
        self.upload(hub, tmp_path / "empty", "alice/empty")
        with pytest.raises(InputError, match="holds no Parquet file to read"):
            open_hub("alice/empty")

    def test_a_shard_that_was_not_uploaded(self, hub: TestHub, prepared: Prepared, tmp_path: Path) -> None:
        write_shards(prepared, tmp_path / "shards")
        for path in (tmp_path / "shards" / "data").glob("train-*"):
            path.unlink()
        self.upload(hub, tmp_path / "shards", "alice/part")
        with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet is missing"):
            open_source("alice/part")
