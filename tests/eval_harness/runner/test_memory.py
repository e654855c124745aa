"""Out of memory: batches are taken in smaller pieces, the result is the same, and it says so. And `--shard`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ecg_hub.errors import InputError
from eval_harness.cli.eval.run import options_from
from eval_harness.config.options import RunOptions
from eval_harness.models.adapting import AdaptedModel
from eval_harness.results.folders import find_runs
from eval_harness.results.verify import verify
from eval_harness.runner.plan import plan
from eval_harness.runner.run import evaluate
from eval_harness.tasks.registry import tasks

Options = Callable[..., RunOptions]


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device that holds five windows; notes the sizes that went through."""
    sizes: list[int] = []
    whole = AdaptedModel.encode

    def encode(self: AdaptedModel, input_values: torch.Tensor) -> torch.Tensor:
        if len(input_values) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        sizes.append(len(input_values))
        return whole(self, input_values)

    monkeypatch.setattr(AdaptedModel, "encode", encode)
    return sizes


@pytest.mark.heavy
@pytest.mark.parametrize("mode", ["linear", "finetune"])
def test_a_batch_that_does_not_fit_is_accumulated(
    options: Options, small_memory: list[int], mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(modes=(mode,), models=("random:ecg-jepa-tiny",), limit=24)
    (result,) = evaluate(asked, quiet=True)
    assert result.status == "done", result.reason
    assert max(small_memory) <= 5
    assert result.protocol.deviations["micro_batch"] == 4
    monkeypatch.undo()
    (plain,) = evaluate(replace(asked, output=tmp_path / "plain", cache_size=0.0), quiet=True)
    assert "micro_batch" not in plain.protocol.deviations
    # no batch norm in this model: the same gradients up to rounding
    assert result.metrics["macro_auroc"].point == pytest.approx(plain.metrics["macro_auroc"].point, abs=1e-3)


@pytest.mark.heavy
def test_the_size_of_the_pieces_can_be_asked_for(options: Options) -> None:
    (result,) = evaluate(options(micro_batch=8), quiet=True)
    assert result.protocol.deviations["micro_batch"] == 8
    with pytest.raises(InputError, match="micro_batch is 0"):
        options(micro_batch=0)


@pytest.mark.heavy
def test_other_errors_and_a_single_window_that_does_not_fit_are_failed_rows(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(AdaptedModel, "encode", encode)
    (result,) = evaluate(options(), quiet=True)
    assert result.status == "failed"
    assert "out of memory" in str(result.reason)


@pytest.mark.heavy
def test_shards_share_the_jobs_and_their_folders_merge_by_copying(options: Options, tmp_path: Path) -> None:
    names = ("ptbxl_super", "ptbxl_sub", "ptbxl_all")
    asked = options(tasks=names, epochs=1, resamples=10)
    parts = [replace(asked, shard=(k, 2), output=tmp_path / str(k)) for k in (1, 2)]
    titles = [job.title for part in parts for job in plan(part)]
    assert sorted(titles) == sorted(job.title for job in plan(asked))
    results = [evaluate(part, quiet=True) for part in parts]
    assert [len(found) for found in results] == [2, 1]
    for part in parts:
        shutil.copytree(part.output, tmp_path / "merged", dirs_exist_ok=True)
    (run,) = find_runs([tmp_path / "merged"])
    assert set(run.results) == set(names)
    assert {check.task: check.state for check in verify(run, tasks())} == dict.fromkeys(names, "equal")
    again = evaluate(replace(asked, output=tmp_path / "merged"), quiet=True)
    assert {result.task: result.created for result in again} == {r.task: r.created for found in results for r in found}


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "a/b"])
def test_shards_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"write I/N with I from 1 to N"):
        options_from({"model": "random:s4-tiny", "tasks": "ptbxl_super", "data_root": "mock", "shard": text})
