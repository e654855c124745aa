from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.catalog import get
from dataset_scripts.core.fingerprint import canonical_json, raw_fingerprint, record_digest
from dataset_scripts.core.spec import RawRecord, Signal


@pytest.fixture
def folder(mock_ptb_xl: Path, tmp_path: Path) -> Path:
    """A copy with times kept, as `mv` or `rsync -a` leave it."""
    return Path(shutil.copytree(mock_ptb_xl, tmp_path / "moved"))


def of(folder: Path, rate: int = 500) -> str:
    return raw_fingerprint(get("ptb-xl"), folder, rate)


def test_a_moved_folder_keeps_its_fingerprint(mock_ptb_xl: Path, folder: Path) -> None:
    assert of(folder) == of(mock_ptb_xl)
    assert of(folder, 100) != of(folder, 500)


def test_files_that_are_not_used_do_not_matter(folder: Path) -> None:
    before = of(folder)
    (folder / "notes.txt").write_text("mine")
    next((folder / "records100").rglob("*.dat")).unlink()
    os.utime(folder / "ptbxl_database.csv")
    assert of(folder) == before


@pytest.mark.parametrize("change", ["table", "touched", "shorter", "gone", "new", "checksums"])
def test_every_change_of_what_is_used_changes_it(folder: Path, change: str) -> None:
    before = of(folder)
    file = sorted((folder / "records500").rglob("*.dat"))[3]
    if change == "table":
        path = folder / "ptbxl_database.csv"
        path.write_text(path.read_text(encoding="utf-8").replace("CS-12", "CS-13"), encoding="utf-8")
    elif change == "touched":
        os.utime(file)
    elif change == "shorter":
        os.truncate(file, 100)
    elif change == "gone":
        file.unlink()
    elif change == "new":
        file.with_name("99999_hr.dat").write_bytes(b"")
    else:
        (folder / "SHA256SUMS.txt").write_text("0 file\n")
    assert of(folder) != before


def test_a_dangling_link_is_no_crash(folder: Path) -> None:
    file = next((folder / "records500").rglob("*.dat"))
    file.unlink()
    file.symlink_to("nowhere")
    assert len(of(folder)) == 16


def record(**changes: object) -> str:
    raw = RawRecord("1", "f", patient_id="p", age=3.0, sex="male", metadata={"a": 1, "b": None})
    samples = np.arange(24, dtype=np.int16).reshape(2, 12)
    signal = Signal(samples, np.ones(12, np.float32), np.zeros(12, np.int32), 500)
    for name, value in changes.items():
        target = signal if hasattr(signal, name) and name != "metadata" else raw
        object.__setattr__(target, name, value)
    return record_digest(raw, signal)


def test_a_record_digest_covers_everything_that_is_stored() -> None:
    base = record()
    samples = np.arange(24, dtype=np.int16).reshape(2, 12)
    samples[1, 11] += 1
    changes: list[dict[str, object]] = [
        {"samples": samples},
        {"samples": samples.astype(np.float32)},
        {"gain_uv": np.full(12, 2, np.float32)},
        {"baseline": np.ones(12, np.int32)},
        {"sampling_rate": 100},
        {"record_id": "2"},
        {"patient_id": None},
        {"age": 3.5},
        {"sex": None},
        {"metadata": {"a": 2, "b": None}},
    ]
    assert len({base, *(record(**change) for change in changes)}) == len(changes) + 1
    assert record(metadata={"b": None, "a": 1}) == base
    assert record(file="elsewhere") == base


def test_canonical_json_does_not_depend_on_order() -> None:
    assert canonical_json({"b": 1, "a": [1, "ä"]}) == canonical_json({"a": [1, "ä"], "b": 1})
