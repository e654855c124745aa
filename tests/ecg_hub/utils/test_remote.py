"""Places behind URLs: the memory of fsspec stands for a store of objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ecg_hub.errors import InputError, RemoteError
from ecg_hub.utils import remote
from ecg_hub.utils.untrusted import plain_file


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(remote, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(remote, "_OUTLINED", set())
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def put(store: Any, **files: bytes) -> None:
    for name, content in files.items():
        store.pipe_file("/bucket/" + name.replace("__", "/").replace("_dot_", "."), content)


def test_a_url_has_a_folder_and_the_folder_its_url() -> None:
    folder = remote.place("s3://bucket/ecg/")
    assert remote.url_of(folder / "ptb-xl" / "a.csv") == "s3://bucket/ecg/ptb-xl/a.csv"
    assert remote.place(Path("s3://bucket/ecg")) == folder  # what argparse makes of it has one slash
    assert remote.place("file:///data/ecg") == Path("/data/ecg")
    assert remote.url_of("/data/ecg") is None
    assert remote.bring(Path("/nowhere")) == Path("/nowhere")
    assert remote.publish(Path("/nowhere")) == []


def test_buckets_of_two_servers_are_two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    amazon = remote.place("s3://bucket/ecg")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    own = remote.place("s3://bucket/ecg")
    assert own != amazon
    assert remote.url_of(own) == remote.url_of(amazon) == "s3://bucket/ecg"


@pytest.mark.parametrize("url", ["s3://NAME:hushhush@bucket/ecg", "s3://hushhush@bucket"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="holds credentials") as refused:
        remote.place(url)
    assert "hushhush" not in str(refused.value)


def test_a_place_outside_of_its_bucket_is_refused() -> None:
    with pytest.raises(InputError, match="is no place"):
        remote.place("s3://bucket/../../etc")


def test_an_unknown_scheme_says_what_is_known(store: Any) -> None:
    with pytest.raises(InputError, match="s3://"):
        remote.bring(remote.place("nosuch://bucket/ecg"))


def test_nothing_there_names_url_and_credentials(store: Any) -> None:
    with pytest.raises(RemoteError, match=r"'memory://bucket/none'.*AWS_ACCESS_KEY_ID"):
        remote.bring(remote.place("memory://bucket/none"))


def test_what_is_brought_follows_the_other_side_and_keeps_own_files(store: Any) -> None:
    put(store, r__a_dot_csv=b"one", r__b_dot_csv=b"two")
    folder = remote.bring(remote.place("memory://bucket/r"))
    (folder / "mine.csv").write_text("not sent yet")
    store.rm("/bucket/r/b.csv")
    put(store, r__a_dot_csv=b"three")
    remote.bring(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "a.csv": b"three",
        "mine.csv": b"not sent yet",
    }


def test_lazily_a_file_is_empty_until_a_reader_asks(store: Any) -> None:
    put(store, d__r1_dot_dat=b"x" * 100, d__sub__r2_dot_dat=b"y" * 50)
    folder = remote.bring(remote.place("memory://bucket/d"), lazily=True)
    first = folder / "r1.dat"
    assert [first.stat().st_size, (folder / "sub" / "r2.dat").stat().st_size] == [0, 0]
    assert remote.sizes(folder) == {"r1.dat": 100, "sub/r2.dat": 50}
    stamp = first.stat().st_mtime_ns
    assert plain_file(first) == 100
    assert first.read_bytes() == b"x" * 100
    assert first.stat().st_mtime_ns == stamp
    remote.release([first])
    assert (first.stat().st_size, first.stat().st_mtime_ns) == (0, stamp)


class Breaking:
    """A file that breaks after so many bytes, as often as told."""

    def __init__(self, content: bytes, breaks: list[int]) -> None:
        self.content, self.at, self.breaks = content, 0, breaks

    def __enter__(self) -> Breaking:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def seek(self, place: int) -> None:
        self.at = place

    def read(self, size: int) -> bytes:
        if self.breaks and self.breaks[0] and self.at >= self.breaks[0]:
            self.breaks.pop(0)
            raise ConnectionResetError("the wire is cut")
        data = self.content[self.at : self.at + min(size, 10)]
        self.at += len(data)
        return data


@pytest.mark.parametrize(("breaks", "arrives"), [([30, 60], True), ([1, 1, 1, 1, 1, 1, 1, 1, 1], False)])
def test_a_lost_connection_goes_on_where_it_ended(
    store: Any, monkeypatch: pytest.MonkeyPatch, breaks: list[int], arrives: bool
) -> None:
    content = os.urandom(100)
    put(store, big_dot_dat=content)
    path = remote.place("memory://bucket/big.dat")
    monkeypatch.setattr(type(store), "open", lambda *_, **__: Breaking(content, breaks))
    if arrives:
        assert remote.bring(path).read_bytes() == content
        assert breaks == []
        return
    with pytest.raises(RemoteError, match=r"cannot be reached: the wire is cut.*the same command goes on"):
        remote.bring(path)
    assert not path.exists()


def test_what_is_sent_is_new_or_changed_and_descriptions_go_last(store: Any) -> None:
    folder = remote.place("memory://bucket/out")
    for name in ("run.json", "a.parquet", "checkpoints/1.pt", ".lock", "z.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    sent = remote.publish(folder, leave=lambda name: name.startswith("checkpoints/"))
    assert sent == ["a.parquet", "run.json", "z.csv"]
    assert store.find("/bucket/out") == ["/bucket/out/a.parquet", "/bucket/out/run.json", "/bucket/out/z.csv"]
    assert remote.publish(folder, leave=lambda name: name.startswith("checkpoints/")) == []
    (folder / "z.csv").write_text("changed")
    assert remote.publish(folder, leave=lambda name: name.startswith("checkpoints/")) == ["z.csv"]


def test_what_is_gone_here_goes_there_where_both_are_to_be_equal(store: Any) -> None:
    put(store, out__step_1__a_dot_pt=b"old", out__b_dot_txt=b"kept")
    folder = remote.bring(remote.place("memory://bucket/out"))
    (folder / "step_1" / "a.pt").unlink()
    (folder / "new.txt").write_text("new")
    assert remote.publish(folder, exactly=True) == ["new.txt"]
    assert store.find("/bucket/out") == ["/bucket/out/b.txt", "/bucket/out/new.txt"]


def test_a_record_is_brought_with_all_its_files(store: Any) -> None:
    put(store, d__r1_dot_hea=b"h", d__r1_dot_dat=b"d", d__r10_dot_dat=b"no")
    path = remote.bring_record(remote.place("memory://bucket/d/r1"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["r1.dat", "r1.hea"]


@pytest.mark.parametrize("left", [0, 1])
def test_what_is_removed_is_looked_for_afterwards(store: Any, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """As Arrow does it in Google's storage: everything is gone, and then something is not found."""
    put(store, a__x=b"1", a__y=b"2")

    def removed(path: str, recursive: bool = False) -> None:
        for name in sorted(store.find(path))[left:]:
            store.rm_file(name)
        raise FileNotFoundError(path)

    monkeypatch.setattr(store, "rm", removed)
    if left:
        with pytest.raises(RemoteError, match="1 file of it left"):
            remote.remove(remote.place("memory://bucket/a"))
    else:
        remote.remove(remote.place("memory://bucket/a"))
        assert remote.listing("memory://bucket/a") == {}
