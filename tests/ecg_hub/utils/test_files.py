from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_hub.errors import DataError, ResultError
from ecg_hub.utils.files import (
    atomic_folder,
    atomic_path,
    file_matches,
    file_sha256,
    partial_folder,
    remove_abandoned,
    replacing,
    resumed,
    take_lock,
    write_text,
)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_writes_and_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    write_text(path, "one")
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert leftovers(path.parent) == []


def test_a_failure_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_the_target_is_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "half"


def test_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")
    program = (
        "import os, sys; from pathlib import Path; from ecg_hub.utils.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('new'); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full: free space, or choose another --output, then give the same command again"),
        (errno.EACCES, "change its permissions or choose another --output"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Check the folder"),
    ],
)
def test_system_errors_say_path_and_remedy(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ResultError, match=words) as caught:
        write_text(tmp_path / "x.json", "text")
    assert repr(str(tmp_path / "x.json")) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert leftovers(tmp_path) == []


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResultError, match="A file stands where a folder is needed"):
        write_text(tmp_path / "taken" / "x.json", "text")


def test_a_folder_where_the_file_is_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(ResultError, match="A folder stands where the file is to be written"):
        write_text(tmp_path / "x.json", "text")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_truly_full_disk() -> None:
    with pytest.raises(ResultError, match="cannot be written"):
        write_text(Path("/dev/full/x.json"), "text")


def fill(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text(text)


def test_a_folder_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x"
    fill(path, "one")
    fill(path, "two")
    assert (path / "part" / "file").read_text() == "two"

    def interrupted() -> None:
        with atomic_folder(path) as folder:
            (folder / "part").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (path / "part" / "file").read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["x"]


def test_a_full_disk_under_a_folder_names_it(tmp_path: Path) -> None:
    fill(tmp_path / "x", "old")

    def full() -> None:
        with atomic_folder(tmp_path / "x"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ResultError, match="The disk is full"):
        full()
    assert (tmp_path / "x" / "part" / "file").read_text() == "old"


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "x", "old")
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(source).suffix == ".tmp" and Path(target) == tmp_path / "x":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ResultError, match="cannot be written"):
        fill(tmp_path / "x", "new")
    assert (tmp_path / "x" / "part" / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_abandoned_folders_are_removed_too(tmp_path: Path) -> None:
    (tmp_path / ".x.1-ab.tmp" / "part").mkdir(parents=True)
    (tmp_path / ".y.1-ab.tmp").write_text("half")
    (tmp_path / "z").mkdir()
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["z"]


@pytest.mark.parametrize("flush", [True, False])
def test_replacing_takes_a_path_of_the_callers_and_lets_system_errors_through(tmp_path: Path, flush: bool) -> None:
    path, temporary = tmp_path / "x", tmp_path / "x.partial"
    with replacing(path, temporary, flush=flush) as given:
        assert given == temporary
        given.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError), replacing(path, temporary, flush=flush):
        pass  # nothing was written

    def full() -> None:
        with replacing(path, temporary, flush=flush) as given:
            given.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        full()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes() == b"new"


@pytest.mark.heavy
def test_a_lock_is_refused_at_once_while_another_process_holds_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ecg_hub.utils.files import take_lock\n"
        "with take_lock(Path(sys.argv[1]), SystemExit(3)):\n"
        "    pass\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with take_lock(tmp_path / "lock", DataError("busy")):
        assert subprocess.run(command, check=False).returncode == 3
    assert subprocess.run(command, check=False).returncode == 0


def test_digests_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(path) == sha256
    assert file_matches(path, f"sha256:{sha256.upper()}")
    assert file_matches(path, "md5:900150983cd24fb0d6963f7d28e17f72")
    assert not file_matches(path, "md5:900150983cd24fb0d6963f7d28e17f73")


class TestResumed:
    """A folder continues only with equal settings."""

    @staticmethod
    def ask(stored: dict[str, int] | None, **options: bool) -> dict[str, int] | None:
        def differences(old: dict[str, int]) -> list[str]:
            return [f"seed: {old['seed']}, 1 asked for"] if old["seed"] != 1 else []

        return resumed(stored, differences, lambda lines: ResultError("; ".join(lines)), **options)

    def test_a_new_folder_is_begun(self) -> None:
        assert self.ask(None) is None
        assert self.ask(None, overwrite=True) is None

    def test_equal_settings_go_on(self) -> None:
        assert self.ask({"seed": 1}) == {"seed": 1}
        assert self.ask({"seed": 1}, overwrite=True) == {"seed": 1}

    def test_other_settings_are_refused_or_begun_anew(self) -> None:
        with pytest.raises(ResultError, match="seed: 0, 1 asked for"):
            self.ask({"seed": 0})
        assert self.ask({"seed": 0}, overwrite=True) is None


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_what_a_killed_process_filled_goes_and_what_another_fills_stays(tmp_path: Path) -> None:
    killed, other = tmp_path / ".m.partial-killed", tmp_path / ".m2.partial-x"
    for folder in (killed, other):
        folder.mkdir()
        (folder / "model.safetensors").touch()
    with partial_folder(tmp_path / "m") as first:
        assert first.parent == tmp_path
        assert not killed.exists()
        with partial_folder(tmp_path / "m") as second:
            assert first.is_dir()
            assert second.is_dir()
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == [other]
