"""A call that has all its results finds them again; whatever changed sends it the long way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecg_hub.utils.files import write_text
from eval_harness.config.options import RunOptions
from eval_harness.results.runfile import RUN_FILE
from eval_harness.results.schema import Result, write_result
from eval_harness.runner.preflight import Preflight, preflight
from eval_harness.runner.receipt import finished_results, keep_receipt
from tests.support.results import failed, result

Call = tuple[RunOptions, Preflight, list[Result]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """A call with its receipt, over a data folder of two files instead of a mock tree."""
    raw = tmp_path / "data" / "ptb-xl"
    for name in ("ptbxl_database.csv", "scp_statements.csv", "records500/00000/00001_hr.dat"):
        write_text(raw / name, "some")
    options = RunOptions(
        models=(str(folder(tmp_path)),),
        tasks=("ptbxl_super",),
        modes=("linear",),
        data_root=str(tmp_path / "data"),
        cache_dir=tmp_path / "cache",
        output=tmp_path / "results",
    )
    checked = preflight(options)
    (job,) = checked.jobs
    assert job.missing is None
    write_text(job.folder / RUN_FILE, "{}")
    write_result(job.folder / "ptbxl_super.json", result())
    keep_receipt(options, checked, [result()])
    return options, checked, [result()]


def folder(tmp_path: Path) -> Path:
    """A model's folder, as far as a look at its files goes."""
    write_text(tmp_path / "model" / "config.json", '{"model_type": "ecg_cpc"}')
    write_text(tmp_path / "model" / "model.safetensors", "weights")
    return tmp_path / "model"


def test_the_results_are_found_again(call: Call) -> None:
    options, checked, results = call
    assert finished_results(options, checked) == results
    assert finished_results(replace(options, limit=5), checked) is None
    assert finished_results(replace(options, overwrite=True), checked) is None


def append(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model/model.safetensors", append),
        ("model/model.safetensors", touch),
        ("data/ptb-xl/ptbxl_database.csv", append),
        ("data/ptb-xl/records500/00000/00001_hr.dat", touch),
        ("results/model/linear/run.json", append),
        ("results/model/linear/ptbxl_super.json", append),
        ("results/model/linear/ptbxl_super.json", Path.unlink),
    ],
)
def test_any_change_sends_it_the_long_way(
    call: Call, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    options, checked, results = call
    change(tmp_path / name)
    assert finished_results(options, checked) is None
    # A new receipt is of what is there now.
    if (tmp_path / name).exists():
        keep_receipt(options, checked, results)
        assert finished_results(options, checked) is not None


def test_another_version_of_torch_sends_it_the_long_way(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    options, checked, _ = call
    monkeypatch.setattr("eval_harness.runner.receipt.environment", lambda: {"torch": "another"})
    assert finished_results(options, checked) is None


def test_what_files_do_not_tell_has_no_receipt(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, checked, results = call
    own = tmp_path / "own.yaml"
    write_text(own, "")
    (needed,) = checked.models
    assert needed.resolved is not None
    on_hub = replace(needed, resolved=replace(needed.resolved, kind="hub"))
    for other, lookup in (
        (replace(options, include=(own,)), checked),
        (options, replace(checked, models=(on_hub,))),
        (options, replace(checked, models=(replace(needed, name="module:Encoder", resolved=None),))),
    ):
        keep_receipt(other, lookup, results)
        assert finished_results(other, lookup) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert finished_results(options, checked) is None


def test_a_call_without_all_its_results_has_none(call: Call, tmp_path: Path) -> None:
    options, checked, results = call
    again = replace(options, cache_dir=tmp_path / "other")
    keep_receipt(again, checked, [*results, failed()])
    keep_receipt(again, checked, [])
    assert finished_results(again, checked) is None
    assert not (tmp_path / "other").exists()
