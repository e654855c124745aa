"""Tables of encoded windows on disk: whole or absent, checked, capped, and safe under two processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eval_harness.training.feature_store import GIB, FeatureStore, checksum, open_store

ROWS = np.arange(24, dtype=np.float32).reshape(6, 4)


def put(store: FeatureStore, key: str, rows: np.ndarray = ROWS) -> None:
    store.begin(key, rows.shape, str(rows.dtype))[:] = rows
    store.finish(key)


def again(store: FeatureStore) -> FeatureStore:
    """The same folder, seen by another run."""
    return FeatureStore(store.folder, store.limit_gib)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path, 1.0)


def test_a_table_comes_back_as_it_was_written(store: FeatureStore) -> None:
    assert store.open("a") is None
    put(store, "a")
    put(store, "half", ROWS.astype(np.float16))
    for seen in (store, again(store)):
        found = seen.open("a")
        assert found is not None
        assert np.array_equal(found, ROWS)
        assert isinstance(found, np.memmap)
    half = store.open("half")
    assert half is not None
    assert half.dtype == np.float16


@pytest.mark.parametrize("damage", ["cut", "changed", "no description", "other description", "no file"])
def test_a_damaged_table_is_removed(store: FeatureStore, damage: str) -> None:
    put(store, "a")
    path, about = store.path("a"), store.folder / "a.json"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(content[:-1] + b"\x01")
    elif damage == "no description":
        about.unlink()
    elif damage == "other description":
        about.write_text("[1, 2")
    else:
        path.unlink()
    assert again(store).open("a") is None
    assert not path.exists()
    put(store, "a")
    assert again(store).open("a") is not None


def test_what_was_used_least_recently_makes_room(store: FeatureStore) -> None:
    for number, key in enumerate(("old", "newer", "newest")):
        put(store, key)
        os.utime(store.path(key), (number, number))
    size = store.path("old").stat().st_size
    small = FeatureStore(store.folder, 3.5 * size / GIB)
    assert small.open("old") is not None, "opening makes it the last used"
    assert small.make_room(size) is None
    assert sorted(path.stem for path in store.folder.glob("*.npy")) == ["newest", "old"]


def test_no_room_is_said_in_words(store: FeatureStore) -> None:
    put(store, "a")
    size = store.path("a").stat().st_size
    tight = FeatureStore(store.folder, 1.5 * size / GIB)
    assert "more than --cache-size" in str(tight.make_room(2 * size))
    tight.open("a")
    assert tight.make_room(size) == f"the tables in use fill --cache-size {tight.limit_gib:g}"
    assert "free on the disk" in str(FeatureStore(store.folder, 1e9).make_room(10**15))


def test_what_a_killed_process_left_is_removed_but_not_what_is_being_written(store: FeatureStore) -> None:
    store.begin("dead", (10, 10), "float32")
    with store.held("alive"):
        store.begin("alive", (10, 10), "float32")
        assert again(store).make_room(1) is None
        assert [path.stem for path in store.folder.glob("*.partial")] == ["alive"]


@pytest.mark.heavy
def test_a_second_process_waits_for_the_first(store: FeatureStore) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom eval_harness.training.feature_store import FeatureStore\n"
        f"store = FeatureStore(Path({str(store.folder)!r}), 1.0)\n"
        "with store.held('a'):\n    print('held', flush=True)\n    time.sleep(2)\n    (store.folder / 'done').touch()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        started = time.monotonic()
        with store.held("a"):
            assert (store.folder / "done").exists()
            assert time.monotonic() - started > 0.5


def test_a_folder_that_cannot_be_written_gives_no_store(tmp_path: Path) -> None:
    assert open_store(tmp_path / "features", 1.0) is not None
    assert open_store(tmp_path / "features", 0.0) is None
    (tmp_path / "file").touch()
    assert open_store(tmp_path / "file" / "features", 1.0) is None


def test_the_checksum_is_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"123456789")
    assert checksum(path) == 0xCBF43926
