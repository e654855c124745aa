"""`--separate`: a task that the paper reads from a shared run, trained by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eval_harness.config.options import RunOptions
from eval_harness.results.folders import FolderRefusedError, find_runs
from eval_harness.results.verify import verify
from eval_harness.runner.plan import plan
from eval_harness.runner.run import evaluate
from eval_harness.tasks.registry import get_task, tasks

Options = Callable[..., RunOptions]


@pytest.mark.heavy
def test_a_task_alone_trains_its_labels_only_and_says_so(options: Options, tmp_path: Path) -> None:
    asked = options(tasks=("ptbxl_form", "ptbxl_rhythm"), epochs=1, resamples=20)
    assert [job.run.name for job in plan(asked)] == ["ptbxl_all"]
    alone = replace(asked, separate=True, output=tmp_path / "alone")
    jobs = plan(alone)
    assert [job.run.name for job in jobs] == ["ptbxl_form", "ptbxl_rhythm"]
    assert [len(job.run.labels) for job in jobs] == [19, 12]
    joint, separate = evaluate(asked, quiet=True), evaluate(alone, quiet=True)
    assert [r.run for r in separate] == ["ptbxl_form", "ptbxl_rhythm"]
    assert all(result.protocol.deviations["separate"] is True for result in separate)
    assert all("separate" not in result.protocol.deviations for result in joint)
    (run,) = find_runs([alone.output])
    assert {check.state for check in verify(run, tasks())} == {"equal"}


@pytest.mark.heavy
def test_a_folder_holds_one_kind(options: Options) -> None:
    evaluate(options(tasks=("ptbxl_form",), epochs=1, resamples=5), quiet=True)
    with pytest.raises(FolderRefusedError, match="separate"):
        evaluate(options(tasks=("ptbxl_form",), epochs=1, resamples=5, separate=True), quiet=True)


def test_a_task_with_a_run_of_its_own_is_the_same_either_way(options: Options) -> None:
    assert plan(options(separate=True))[0].run == plan(options())[0].run
    assert get_task("ptbxl_super").alone == get_task("ptbxl_super")
