"""Several processes give the numbers of one, and runs at the same time share what they encode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval_harness.results.predictions import Predictions, read_predictions
from tests.support.forked import Forked, finish, together
from tests.support.gathering import LENGTHS, Reader

pytestmark = pytest.mark.heavy

EPOCHS = ["--epochs", "3", "--batch-size", "12", "--resamples", "20", "--device", "cpu"]
PROTOCOLS = {
    "paper": [],
    "fast": ["--protocol", "fast"],
    "fast, nothing kept on disk": ["--protocol", "fast", "--cache-size", "0"],
}


def words(data_root: Path, output: Path, *more: str, mode: str = "frozen") -> list[str]:
    found = ["--model", "random:ecg-cpc-tiny", "--tasks", "ptbxl_super", "--mode", mode, "--data-root", str(data_root)]
    return [*found, *EPOCHS, "--output", str(output), *more]


def predicted(output: Path, mode: str = "frozen") -> Predictions:
    return read_predictions(output / "random__ecg-cpc-tiny" / mode / "predictions" / "ptbxl_super.parquet")


def assert_close(found: Predictions, expected: Predictions) -> None:
    assert found.record_id == expected.record_id
    assert np.array_equal(found.y_true, expected.y_true)
    assert np.isfinite(found.y_prob).all()
    assert np.abs(found.y_prob - expected.y_prob).max() <= 1e-5


@pytest.mark.parametrize("mode", ["linear", "frozen"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_two_processes_give_the_numbers_of_one(name: str, mode: str, data_root: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        asked = words(data_root, folder, *PROTOCOLS[name], mode=mode)
        finish(*together(processes, "eval_harness", asked, ECG_HUB_HOME=str(folder / "home")))
    assert_close(predicted(tmp_path / "2", mode), predicted(tmp_path / "1", mode))
    tables = [sorted((tmp_path / n / "home" / "features").glob("*.npy")) for n in ("1", "2")]
    on_disk = {"paper": 2, "fast": 3}.get(name, 0)
    assert [len(found) for found in tables] == [on_disk, on_disk]
    for one, two in zip(*tables, strict=True):
        assert one.name == two.name
        assert np.load(two) == pytest.approx(np.load(one), abs=1e-5)


def test_three_processes_with_uneven_last_batches_give_the_numbers_of_one(data_root: Path, tmp_path: Path) -> None:
    """92 test windows are blocks of 31, 30 and 31: last batches of 7, 6 and 7 windows."""
    for processes in (1, 3):
        asked = words(data_root, tmp_path / str(processes), "--protocol", "fast", "--limit", "23")
        finish(*together(processes, "eval_harness", asked, ECG_HUB_HOME=str(tmp_path / "home" / str(processes))))
    assert_close(predicted(tmp_path / "3"), predicted(tmp_path / "1"))


@pytest.mark.parametrize("expects", ["pooled", "tokens"])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_window_is_gathered_once_and_in_its_place(expects: str, processes: int, tmp_path: Path) -> None:
    """19 windows in batches of 4: the blocks and their last batches are uneven, and the values exact."""
    finish(*together(processes, "tests.support.gathering", [str(tmp_path), expects]))
    ends, means = [], []
    for record, length in enumerate(LENGTHS):
        cut = [Reader().window_mv(record, k, k + 10)[[0, -1], 0] for k in range(0, int(length) - 9, 10)]
        ends += cut
        means.append(np.mean(np.array(cut) / 256.0, axis=0))
    table = np.array(ends, dtype=np.float32)
    for rank in range(processes):
        found = np.load(tmp_path / f"{rank}.npz")
        rows = found["table"] if expects == "pooled" else found["table"][:, 2]
        assert np.array_equal(rows, table)
        assert np.array_equal(found["predictions"], np.array(means, dtype=np.float32))


def test_two_runs_at_once_share_one_cache_and_encode_each_table_once(data_root: Path, tmp_path: Path) -> None:
    def counted(name: str, home: str) -> Forked:
        asked = [str(tmp_path / f"{name}.count"), *words(data_root, tmp_path / name, "--protocol", "fast")]
        return Forked("tests.support.counted_run", asked, ECG_HUB_HOME=str(tmp_path / home))

    def results(name: str) -> dict[str, Any]:
        text = (tmp_path / name / "random__ecg-cpc-tiny" / "frozen" / "ptbxl_super.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found

    finish(counted("alone", "home-alone"))
    finish(*[counted(name, "home-shared") for name in ("one", "two")])
    counts = {name: int((tmp_path / f"{name}.count").read_text()) for name in ("alone", "one", "two")}
    records = results("alone")["data"]["records"]
    assert counts["alone"] == 4 * sum(records.values())
    assert counts["one"] + counts["two"] == counts["alone"], "a table was encoded twice"
    for name in ("one", "two"):
        assert results(name)["metrics"] == results("alone")["metrics"]
        assert results(name)["predictions"]["sha256"] == results("alone")["predictions"]["sha256"]
    assert not list((tmp_path / "home-shared" / "features").glob("*.partial"))
