"""A disk that fills up: a clear row, a non-zero exit code, and nothing already computed lost."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import ExitCode
from eval_harness.config.options import RunOptions
from eval_harness.runner import job as job_module
from eval_harness.runner.run import evaluate, exit_code

Options = Callable[..., RunOptions]


def full(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_what_was_done_and_the_same_command_continues(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(tasks=("ptbxl_super", "ptbxl_sub"))
    real = job_module.write_predictions

    def first_only(path: Path, predictions: Any) -> str:
        return real(path, predictions) if predictions.run == "ptbxl_super" else full()

    with monkeypatch.context() as patch:
        patch.setattr(job_module, "write_predictions", first_only)
        results = evaluate(given, quiet=True)
    assert [r.status for r in results] == ["done", "failed"]
    assert "No space left" in (results[1].reason or "")
    assert exit_code(results) == ExitCode.PARTLY
    again = evaluate(given, quiet=True)
    assert [r.status for r in again] == ["done", "done"]
    assert again[0] == results[0]


@pytest.mark.heavy
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(modes=("finetune",), epochs=3)
    real, calls = job_module.torch.save, []

    def second_fails(content: Any, file: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")
        real(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(job_module.torch, "save", second_fails)
        (result,) = evaluate(given, quiet=True)
    assert result.status == "failed"
    assert "checkpoint" in (result.reason or "")
    folder = given.output / "random__ecg-cpc-tiny" / "finetune"
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["ptbxl_super.pt"]
    (again,) = evaluate(given, quiet=True)
    assert again.status == "done", again.reason


def test_an_output_that_is_a_file_is_said_plainly(options: Options, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way")
    (result,) = evaluate(options(), quiet=True)
    assert result.status == "failed"
    assert "results" in (result.reason or "")
