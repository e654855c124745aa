"""`ecg-eval export`: formats, what goes with which, and what is said on stderr."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from eval_harness.cli.eval.main import main
from eval_harness.results.summary import SYNTHETIC
from eval_harness.tasks.registry import tasks
from tests.support.report_runs import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run on real data and one on simulated."""
    root = tmp_path_factory.mktemp("exported")
    write_folder(root, tasks()["ptbxl_super"])
    synthetic = {"name": "paper", "deviations": {"synthetic": True}}
    write_folder(root, tasks()["ptbxl_super"], model="model-b", protocol=synthetic)
    return root


def test_a_table_is_printed_and_stderr_says_what_is_simulated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder)]) == 0

    printed = capsys.readouterr()
    assert printed.out.startswith("model,")
    assert printed.err == f"{SYNTHETIC}\n"


def test_a_file_is_of_the_format_that_its_ending_says(folder: Path, tmp_path: Path) -> None:
    assert main(["export", str(folder), "-o", str(tmp_path / "scores.parquet"), "--per-label"]) == 0

    frame = pd.read_parquet(tmp_path / "scores.parquet")
    assert set(frame["model"]) == {"model-a", "model-b"}
    assert set(frame["label"]) == set(tasks()["ptbxl_super"].labels)


def test_only_the_tasks_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder), "--tasks", "ptb"]) == 1
    assert "No run has a result of ptb; there are ptbxl_super." in capsys.readouterr().err


def test_every_eval_ever_is_a_folder_of_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(folder), "--format", "every-eval-ever", "-o", str(tmp_path / "out")]
    assert main(words) == 1
    assert "--allow-synthetic" in capsys.readouterr().err
    assert main([*words, "--allow-synthetic", "--organization", "A Lab"]) == 0
    files = capsys.readouterr().out.splitlines()
    assert len(files) == 2
    assert all(Path(file).is_file() for file in files)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "parquet"], "--format parquet cannot be printed: pass -o PATH."),
        (["--format", "every-eval-ever"], "--format every-eval-ever cannot be printed: pass -o PATH."),
        (["--organization", "X"], "--organization goes with --format every-eval-ever, not with csv."),
        (["--format", "every-eval-ever", "-o", "x", "--per-label"], "--per-label is for tables"),
    ],
)
def test_what_does_not_go_together_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["export", str(folder), *words]) == 1
    assert message in capsys.readouterr().err
