"""What a file of others may name, how large it may be, and what reading it raises."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ecg_hub.errors import DataError, InputError
from ecg_hub.utils import untrusted
from ecg_hub.utils.untrusted import check_values, file_below, max_record_mb, plain_file, reading, record_bounds


def test_the_bound_is_that_of_the_block_else_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max_record_mb() == untrusted.MAX_RECORD_MB == 512
    monkeypatch.setenv("ECG_HUB_MAX_RECORD_MB", "100")
    assert max_record_mb() == 100
    with record_bounds(7):
        assert max_record_mb() == 7
        # What sets a folder alone leaves the bound as it is.
        with record_bounds(top=Path()):
            assert max_record_mb() == 7
    with record_bounds(1):
        check_values(2**18, "r")
        with pytest.raises(DataError, match=r"r announces 262,145 samples, 1\.0 MB as float32; records of up to 1 MB"):
            check_values(2**18 + 1, "r")
    for value in ("big", "-1", "nan"):
        monkeypatch.setenv("ECG_HUB_MAX_RECORD_MB", value)
        with pytest.raises(InputError, match="is not a size in MB"):
            max_record_mb()
    with pytest.raises(InputError, match="max_record_mb=0 is not a size in MB"), record_bounds(0):
        pass


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.edf")
    (tmp_path / "folder.edf").mkdir()
    for path, kind in ((tmp_path / "pipe.edf", "a pipe"), (tmp_path / "folder.edf", "a folder")):
        with pytest.raises(DataError, match=f"is {kind} and not a plain file"):
            plain_file(path)
    with pytest.raises(DataError, match="zero is a device"):
        plain_file(Path("/dev/zero"))
    (tmp_path / "a.edf").write_bytes(bytes(100))
    assert plain_file(tmp_path / "a.edf") == 100
    with pytest.raises(DataError, match="has 100 bytes; up to 99 are read"):
        plain_file(tmp_path / "a.edf", 99)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    raw, outside = tmp_path / "raw", tmp_path / "outside"
    raw.mkdir()
    outside.mkdir()
    (outside / "secret.bin").write_bytes(b"secret")
    (outside / "b.dat").write_bytes(b"samples")
    (raw / "own.dat").write_bytes(b"samples")
    for name, target in {"a.dat": outside / "secret.bin", "b.dat": outside / "b.dat", "c.dat": raw / "own.dat"}.items():
        (raw / name).symlink_to(target)
    expected = {"followed": {"a", "b", "c"}, "alike": {"b", "c"}, "inside": {"c"}}
    for links, allowed in expected.items():
        for name in "abc":
            with record_bounds(top=raw, links=links):  # type: ignore[arg-type]
                if name in allowed:
                    assert plain_file(raw / f"{name}.dat") > 0
                else:
                    with pytest.raises(DataError, match="a link that leads out of the data folder"):
                        plain_file(raw / f"{name}.dat")


def test_a_header_names_files_below_its_folder_or_that_of_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "headers"
    folder.mkdir(parents=True)
    assert file_below(folder, "sub/r.dat", "r.hea") == folder / "sub" / "r.dat"
    refused = ("../r.dat", "../../secret.bin", "/dev/zero", "C:\\r.dat", "a/../../r.dat", "r\0.dat", "")
    for name in refused:
        with pytest.raises(DataError, match=r"r\.hea names the file .* outside the folder of the record"):
            file_below(folder, name, "r.hea")
    with record_bounds(top=tmp_path / "archive"):
        assert file_below(folder, "../signals/r.dat", "r.hea") == tmp_path / "archive" / "signals" / "r.dat"
        for name in refused[1:4]:
            with pytest.raises(DataError, match="outside the folder"):
                file_below(folder, name, "r.hea")


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), RuntimeError("x"), OverflowError("x"), RecursionError(), AssertionError(), SystemError()],
)
def test_whatever_a_file_provokes_is_a_data_error(error: Exception) -> None:
    said = rf"a\.edf cannot be read as edf: {type(error).__name__}"
    with pytest.raises(DataError, match=said) as caught, reading("a.edf", "edf"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError(), InputError("as it is")])
def test_what_says_nothing_of_the_file_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("a.edf"):
        raise error
    assert caught.value is error


def test_an_allocation_beyond_all_bounds_is_a_fault_of_the_file() -> None:
    with record_bounds(1), pytest.raises(DataError, match="cannot be read: MemoryError"), reading("a.edf"):
        np.empty(2**58, dtype=np.int8)


def test_what_arrow_was_asked_for_by_a_page_is_damage_and_a_full_machine_is_not() -> None:
    asked = pa.ArrowMemoryError("malloc of size 1459668288 failed")
    with record_bounds(16), pytest.raises(DataError, match="cannot be read: ArrowMemoryError"), reading("a.parquet"):
        raise asked
    with record_bounds(16), pytest.raises(pa.ArrowMemoryError), reading("a.parquet"):
        raise pa.ArrowMemoryError("malloc of size 4096 failed")


def test_a_reason_repeats_nothing_of_what_stands_in_the_file() -> None:
    with pytest.raises(DataError) as caught, reading("a.edf"):
        raise ValueError("field 'Jane Doe' of 1970-01-01")
    assert str(caught.value) == "a.edf cannot be read: ValueError: field '...' of '...'"


def test_faults_of_the_program_show_under_ecg_hub_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, shown in (("", False), ("1", True)):
        monkeypatch.setenv("ECG_HUB_TRACEBACK", value)
        with pytest.raises(DataError), reading("a.edf"):
            {}["typo"]
        assert ("KeyError: 'typo'" in capsys.readouterr().err) == shown
