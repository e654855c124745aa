"""Shards of a prepared dataset: every record once, resumable after anything, loadable by `datasets`."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets as hf
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from dataset_scripts import SignalReader
from dataset_scripts.core.spec import SPLITS
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock import write
from dataset_scripts.tools import export as shard_folder
from dataset_scripts.tools.export import COLUMNS, MANIFEST_FILE, read_manifest, write_shards
from dataset_scripts.tools.publish import records_per_group, shard_spans
from ecg_hub.errors import DataError, InputError
from tests.support.hub_cards import check_dataset_card, code

MB = 10**6


@pytest.fixture(scope="module")
def folder(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 150 records of 120 kB, some 2 MB each."""
    target = tmp_path_factory.mktemp("shards") / "ptb-xl"
    write_shards(prepared, target, shard_bytes=2 * MB)
    return target


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Name -> inode and time of every shard."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted((folder / "data").iterdir())}


@pytest.mark.heavy
def test_the_list_says_what_is_there(prepared: Prepared, folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.complete
    assert manifest.synthetic
    assert (manifest.dataset, manifest.fingerprint) == ("ptb-xl", prepared.fingerprint)
    assert manifest.records == {name: len(prepared.splits[name]) for name in SPLITS}
    assert {Path(entry.file).name for entry in manifest.files} == set(files(folder))
    for entry in manifest.files:
        metadata = pq.read_metadata(folder / entry.file)
        assert (folder / entry.file).stat().st_size == entry.size
        assert [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)] == list(entry.groups)
        assert entry.records * 120_000 <= 2 * MB


@pytest.mark.heavy
def test_datasets_loads_the_folder_with_its_splits(prepared: Prepared, folder: Path, tmp_path: Path) -> None:
    loaded = hf.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert set(loaded) == set(SPLITS)
    for name in SPLITS:
        part, stored = loaded[name], prepared.splits[name]
        assert part.column_names == list(COLUMNS)
        assert part.features == hf.Features({column: stored.features[column] for column in COLUMNS})
        for column in COLUMNS:
            if column != "signal":
                assert part[column][:] == stored[column][:]
        mine, others = SignalReader(part), SignalReader(stored)
        assert all(np.array_equal(mine.raw(index), others.raw(index)) for index in range(len(mine)))


def test_parquet_is_loaded_by_file_too(prepared: Prepared, folder: Path, tmp_path: Path) -> None:
    stream = hf.load_dataset("parquet", data_files=f"{folder}/data/test-*.parquet", streaming=True, split="train")
    row = next(iter(stream))
    np.testing.assert_array_equal(np.array(row["signal"], np.int16), SignalReader(prepared.splits["test"]).raw(0))


def test_the_code_of_the_card_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = f"{str(folder)!r}, cache_dir={str(tmp_path)!r}"
    example = code((folder / "README.md").read_text(encoding="utf-8")).replace('"FOLDER"', here)
    exec(compile(example, "README.md", "exec"), {"__name__": "card"})
    assert "5000 samples at 500 Hz" in capsys.readouterr().out


def test_the_card_says_what_it_is(prepared: Prepared, folder: Path) -> None:
    card = DatasetCard.load(folder / "README.md")
    assert "Synthetic" in card.text
    assert prepared.fingerprint in card.text
    assert "may be passed on" in card.text
    assert card.data.license == "cc-by-4.0"
    facts = check_dataset_card(str(card))
    assert facts["size_categories"] == ["n<1K"]


def test_row_groups_are_small_and_pages_have_checksums(folder: Path) -> None:
    metadata = pq.read_metadata(sorted((folder / "data").glob("train-*"))[0])
    column = metadata.row_group(0).column(2)
    assert column.compression == "ZSTD"
    assert "DELTA_BINARY_PACKED" in column.encodings
    assert metadata.row_group(0).num_rows <= 64


@pytest.mark.heavy
def test_z_scored_records_keep_float32(tmp_path: Path) -> None:
    raw = write("echonext", tmp_path / "raw", records=60, seed=1)
    echonext = prepare("echonext", raw, cache_dir=tmp_path / "cache")
    manifest = write_shards(echonext, tmp_path / "shards")
    assert (manifest.unit, manifest.redistribution) == ("zscore", False)
    assert "may not be passed on" in (tmp_path / "shards" / "README.md").read_text()
    loaded = hf.load_dataset(str(tmp_path / "shards"), cache_dir=str(tmp_path / "hf"), split="train")
    assert loaded.features["signal"].dtype == "float32"
    np.testing.assert_array_equal(SignalReader(loaded).raw(3), SignalReader(echonext.splits["train"]).raw(3))


@pytest.mark.heavy
def test_records_in_no_split_are_kept_apart(tmp_path: Path) -> None:
    raw = write("georgia", tmp_path / "raw", records=60, seed=1)
    georgia = prepare("georgia", raw, cache_dir=tmp_path / "cache", min_samples=6000)
    manifest = write_shards(georgia, tmp_path / "shards")
    assert manifest.records == {"unsplit": len(georgia.left_out)}
    loaded = hf.load_dataset(str(tmp_path / "shards"), cache_dir=str(tmp_path / "hf"))
    assert set(loaded["unsplit"]["split"]) == {""}


class TestAgain:
    def test_finished_shards_are_kept(self, prepared: Prepared, folder: Path) -> None:
        before = files(folder)
        write_shards(prepared, folder, shard_bytes=2 * MB)
        assert files(folder) == before

    def test_what_a_kill_left_half_written_goes(self, prepared: Prepared, tmp_path: Path) -> None:
        # Killed before the list was whole, then while the card was written.
        for number, names in enumerate(
            ([], [f"{MANIFEST_FILE}.99.partial"], [MANIFEST_FILE, "README.md.99.partial", "data/x.parquet.99.partial"])
        ):
            target = tmp_path / str(number)
            (target / "data").mkdir(parents=True)
            if MANIFEST_FILE in names:
                shard_folder._begin(prepared, target, MB)
            for name in names:
                if name != MANIFEST_FILE:
                    (target / name).write_bytes(b"{")
            shard_folder._begin(prepared, target, MB)
            assert sorted(path.name for path in target.iterdir()) == ["data", MANIFEST_FILE]
            assert not list((target / "data").iterdir())
        for name in ("notes.txt", "data/notes.txt", "somebody.partial"):
            target = tmp_path / name.replace("/", "-")
            (target / name).parent.mkdir(parents=True)
            (target / name).touch()
            with pytest.raises(InputError, match="holds no shards"):
                shard_folder._begin(prepared, target, MB)
            assert (target / name).exists()

    @pytest.mark.heavy
    def test_only_what_is_missing_or_cut_off_is_written(self, prepared: Prepared, tmp_path: Path) -> None:
        first = write_shards(prepared, tmp_path / "s", shard_bytes=2 * MB)
        before = files(tmp_path / "s")
        gone, cut, *_ = (tmp_path / "s" / entry.file for entry in first.files)
        gone.unlink()
        cut.write_bytes(cut.read_bytes()[:-100])
        (tmp_path / "s" / "data" / "train-00003.parquet.99.partial").write_bytes(b"left by a killed run")
        assert write_shards(prepared, tmp_path / "s", shard_bytes=2 * MB) == first
        after = files(tmp_path / "s")
        assert after.keys() == before.keys()
        assert {name for name in before if before[name] != after[name]} == {gone.name, cut.name}

    @pytest.mark.heavy
    def test_a_shard_of_other_data_is_not_taken_for_ours(self, prepared: Prepared, tmp_path: Path) -> None:
        first = write_shards(prepared, tmp_path / "s", shard_bytes=2 * MB)
        one, two = (tmp_path / "s" / entry.file for entry in first.files[:2])
        os.replace(two, one)
        assert write_shards(prepared, tmp_path / "s", shard_bytes=2 * MB) == first
        assert [len(pq.read_table(path)) for path in (one, two)] == [sum(entry.groups) for entry in first.files[:2]]

    def test_other_data_or_sizes_are_refused(self, prepared: Prepared, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"holds shards of other data \(shard_bytes 2000000 instead of 3000000\)"):
            write_shards(prepared, folder, shard_bytes=3 * MB)
        (tmp_path / "file.txt").write_text("mine")
        with pytest.raises(InputError, match="exists and holds no shards"):
            write_shards(prepared, tmp_path)
        with pytest.raises(InputError, match="is not a folder"):
            write_shards(prepared, tmp_path / "file.txt")
        assert (tmp_path / "file.txt").read_text() == "mine"


@pytest.mark.heavy
def test_a_full_disk_is_named_and_the_work_continues(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = shard_folder.write_parquet, []

    def full(*args: object, **options: object) -> list[int]:
        calls.append(args)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_folder, "write_parquet", full)
    with pytest.raises(DataError, match=r"the disk is full\. Make room or choose another folder; the same command"):
        write_shards(prepared, tmp_path / "s", shard_bytes=2 * MB, num_proc=1)
    monkeypatch.undo()
    before = files(tmp_path / "s")
    assert len(before) == 3
    assert not json.loads((tmp_path / "s" / MANIFEST_FILE).read_text())["complete"]
    write_shards(prepared, tmp_path / "s", shard_bytes=2 * MB)
    assert before.items() <= files(tmp_path / "s").items()


SLOW = """
import sys, time
from dataset_scripts.tools import export as shard_folder
from dataset_scripts.load import prepare
write = shard_folder.write_parquet
def slow(part, target, **options):
    time.sleep(0.3)
    return write(part, target, **options)
shard_folder.write_parquet = slow
prepared = prepare("ptb-xl", sys.argv[1], cache_dir=sys.argv[2])
shard_folder.write_shards(prepared, sys.argv[3], shard_bytes=2 * 10**6, num_proc=2)
"""


@pytest.mark.heavy
def test_killed_at_any_moment_it_continues(
    prepared: Prepared, mock_ptb_xl: Path, cache: Path, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "s"
    command = [sys.executable, "-c", SLOW, str(mock_ptb_xl), str(cache), str(target)]
    kept: dict[str, tuple[int, int]] = {}
    for wanted in (1, 4):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while len(list(target.glob("data/*.parquet"))) < wanted and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        now = {name: state for name, state in files(target).items() if name.endswith(".parquet")}
        assert len(now) >= wanted
        assert kept.items() <= now.items()
        kept = now
    write_shards(prepared, target, shard_bytes=2 * MB)
    assert kept.items() <= files(target).items()
    for path in sorted((folder / "data").iterdir()):
        assert pq.read_table(path).equals(pq.read_table(target / "data" / path.name))
    assert files(target).keys() == files(folder).keys()


@pytest.mark.parametrize(
    ("records", "record_bytes", "shard_bytes", "expected"),
    [
        (0, 120_000, MB, [(0, 0)]),
        (5, 120_000, MB, [(0, 5)]),
        (20, 120_000, MB, [(0, 6), (6, 13), (13, 20)]),
        (3, 10 * MB, MB, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_files_are_bounded(
    records: int, record_bytes: float, shard_bytes: int, expected: list[tuple[int, int]]
) -> None:
    assert shard_spans(records, record_bytes, shard_bytes) == expected


def test_row_groups_of_long_records_hold_fewer() -> None:
    assert records_per_group(120_000) == 64
    assert records_per_group(11 * MB) == 3
    assert records_per_group(10**9) == 1
