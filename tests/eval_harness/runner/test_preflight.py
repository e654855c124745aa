"""What a call needs, looked up before anything runs, and what is missing said once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset_scripts.catalog import datasets
from dataset_scripts.tools.download import STATE_FOLDER, UNFINISHED
from ecg_hub.errors import CheckpointError, DataError, ExitCode, UnknownNameError
from ecg_hub.home import home
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.runner.plan import plan
from eval_harness.runner.preflight import preflight, require_all
from eval_harness.runner.run import describe_run, evaluate, exit_code
from eval_harness.tasks.registry import expand

Options = Callable[..., RunOptions]
TINY = "random:ecg-cpc-tiny"
HALF = {"tasks": ("ptbxl_super", "georgia", "mimic_sex")}


def test_of_a_call_that_has_all_nothing_is_said(options: Options) -> None:
    checked = preflight(options())
    assert checked.is_complete
    assert checked.describe() == ""
    assert [job.title for job in checked.runnable] == [job.title for job in plan(options())]
    checked.require()


def test_simulated_records_are_there_without_being_written(options: Options, tmp_path: Path) -> None:
    checked = preflight(options(tasks=("all",), data_root="mock", cache_dir=tmp_path / "cache"))
    assert checked.is_complete
    assert not (tmp_path / "cache").exists()


def test_without_any_data_all_datasets_are_named_once_with_what_gets_each(options: Options) -> None:
    checked = preflight(options(tasks=("all",), modes=("linear", "frozen"), data_root=""))
    with pytest.raises(DataError) as caught:
        checked.require()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Nothing can run: each of the {2 * len(expand('all'))} results lacks its model or its data."
    assert lines[1] == f"data root {home() / 'data'} (the default: no --data-root was given)"
    used = {task.dataset for task in expand("all")}
    for dataset in (dataset for name, dataset in datasets().items() if name in used):
        told = [line.strip() for line in lines if f" {dataset.name} " in line]
        wanted = f"ecg-hub data prepare {dataset.name} --download"
        page = f"{dataset.name} ({dataset.access}): {dataset.page}"
        assert told == [wanted if dataset.access == "open" and dataset.sources else page]
    assert "--data-root mock" in lines[-1]
    assert len(lines) < 20


def test_a_folder_of_the_user_is_named_in_the_command(options: Options, tmp_path: Path) -> None:
    text = preflight(options(data_root=str(tmp_path / "my data"))).describe()
    assert f"ecg-hub data prepare ptb-xl --data-dir '{tmp_path}/my data/ptb-xl' --download" in text


@pytest.mark.heavy
def test_half_of_the_datasets_are_scored_and_the_others_are_rows_with_the_reason(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(**HALF)
    results = evaluate(given, quiet=True)
    assert [(row.task, row.status, row.lacks) for row in results] == [
        ("ptbxl_super", "done", False),
        ("georgia", "skipped", True),
        ("mimic_sex", "skipped", True),
    ]
    assert str(results[1].reason).startswith("no data: The folder")
    assert f"`ecg-hub data prepare georgia --data-dir {given.data_root}/georgia --download`" in str(results[1].reason)
    told = capsys.readouterr().err
    assert told.count("1 of 3 results can be had; the others are skipped") == 1
    assert told.count("prepare georgia") == 1
    assert "there: ptb-xl" in told
    assert exit_code(results) == ExitCode.PARTLY
    assert exit_code(results[:1]) == 0


@pytest.mark.heavy
def test_a_finished_result_is_kept_when_its_data_are_gone(options: Options) -> None:
    given = options(epochs=1)
    first = evaluate(given, quiet=True)
    gone = preflight(given).with_problems(datasets={"ptb-xl": "The disk is not mounted."})
    assert evaluate(given, quiet=True, checked=gone) == first
    (row,) = evaluate(options(epochs=1, modes=("frozen",)), quiet=True, checked=gone)
    assert (row.status, row.reason) == ("skipped", "no data: The disk is not mounted.")


def test_weights_that_only_a_page_has(options: Options) -> None:
    with pytest.raises(CheckpointError) as caught:
        evaluate(options(models=("st-mem",), modes=("linear", "frozen")), quiet=True)
    text = str(caught.value)
    assert text.count("ecg-hub convert st-mem --checkpoint FILE") == 1
    assert "https://drive.google.com/file/d/14nScwPk35sFi8wc-cuLJLqudVwynKS0n" in text


@pytest.mark.heavy
def test_a_model_without_weights_leaves_the_others_running(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate(options(models=("st-mem", TINY), epochs=1), quiet=True)
    assert [(row.model.id, row.status) for row in results] == [("st-mem", "skipped"), (TINY, "done")]
    assert str(results[0].reason).startswith("no model: The weights of 'st-mem'")
    assert capsys.readouterr().err.count("ecg-hub convert st-mem") == 1
    # Mode scratch begins with random weights, whatever the name.
    assert preflight(options(models=("st-mem",), modes=("scratch",))).is_complete


def test_weights_that_may_not_be_fetched_now_are_told_once(options: Options) -> None:
    with pytest.raises(CheckpointError, match=r"They are not fetched\s+while HF_HUB_OFFLINE is set"):
        evaluate(options(models=("ecg-cpc",), tasks=("ptbxl_super", "ptbxl_sub")), quiet=True)


def test_all_unknown_names_are_told_at_once_with_ten_suggestions(options: Options) -> None:
    given = options(models=("ecg-cpx", TINY, "random:ecg-cpq"), tasks=("ptbxl_super", "ptbxl_supr"))
    with pytest.raises(UnknownNameError) as caught:
        evaluate(given, quiet=True)
    first, *unknown = " ".join(str(caught.value).split()).split(" Unknown ")
    assert first == "Nothing was run: there is no such name."
    assert [line.split("'")[1] for line in unknown] == ["ecg-cpx", "random:ecg-cpq", "ptbxl_supr"]
    for line in unknown:
        known = line.partition("Known: ")[2].partition(".")[0].partition(" and ")[0]
        assert 1 <= len(known.split(", ")) <= 10
    assert not given.output.exists()


def test_a_download_that_has_not_ended_is_no_dataset(options: Options, data_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(data_root, root)
    (root / "ptb-xl" / STATE_FOLDER).mkdir()
    (root / "ptb-xl" / STATE_FOLDER / UNFINISHED).touch()
    with pytest.raises(DataError) as caught:
        preflight(options(data_root=str(root))).require()
    text = " ".join(str(caught.value).split())
    assert "has not ended" in text
    assert text.count("--download") == 2, "the command is given once, beside the option"


@pytest.mark.heavy
def test_a_dry_run_says_what_is_fetched_and_fetches_nothing(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ecg_hub.weights.fetch.network_forbidden", lambda local_files_only=None: "")
    monkeypatch.setattr("ecg_hub.weights.pull.pull", lambda *_, **__: pytest.fail("weights were fetched"))
    monkeypatch.setattr("eval_harness.runner.run.PROBE_WINDOWS", 1)
    text = describe_run(options(models=("ecg-cpc", "clef-small"), tasks=("ptbxl_super", "georgia")))
    assert "first fetched: clef_small.ckpt from https://zenodo.org" in text, "also of a further checkpoint"
    assert "first fetched: ECG-CPC_Checkpoint.zip from https://figshare.com" in text
    assert "(2.9 million parameters, 12 MB as float32)" in text
    assert "prepare georgia" in text
    assert "ecg-cpc linear georgia seed 0: no data" in text
    assert re.search(r"ecg-cpc linear ptbxl_super seed 0: \d+ / \d+ / \d+ records", text)
    assert "random weights" not in capsys.readouterr().err, "they stand in for the time alone"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--tasks", "georgia"), 1, "error: Nothing can run"),
        (("--tasks", "georgia", "--dry-run"), 1, "error: Nothing can run"),
        (("--tasks", "georgia,ptbxl_super", "--dry-run"), 1, ""),
        (("--tasks", "ptbxl_super", "--dry-run"), 0, ""),
        (("--tasks", "georgiaa"), 2, "error: Nothing was run"),
    ],
)
def test_exit_codes(
    words: tuple[str, ...], code: int, told: str, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", TINY, "--mode", "linear", "--data-root", str(data_root), *words]) == code
    assert capsys.readouterr().err.startswith(told)


def test_what_needs_every_model_and_dataset_says_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        require_all(("st-mem", TINY), ("ptb-xl", "georgia"), str(tmp_path))
    assert "ecg-hub convert st-mem" in str(caught.value)
    assert "prepare ptb-xl" in str(caught.value)
    assert "prepare georgia" in str(caught.value)
    with pytest.raises(UnknownNameError, match="Did you mean 'ptb-xl'"):
        require_all((TINY,), ("ptb-xk",), "mock")
    require_all((TINY,), ("ptb-xl",), "mock")


def test_what_is_missing_is_told_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from eval_harness.cli.eval.main import main; "
        f"code = main(['--model', 'ecg-cpc', '--tasks', 'all', '--data-root', {str(tmp_path)!r}]); "
        "print(code, [name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1 []\n", done.stderr
