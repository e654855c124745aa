"""`verify`, `reproduce` and `compare` on real runs of the tiny model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import DataError, InputError
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.results.folders import find_runs, read_found
from eval_harness.results.schema import Result
from eval_harness.results.scoring import RESAMPLE_SEED, score_task
from eval_harness.results.verify import differences, verdict, verify
from eval_harness.runner.reproduce import options_of
from eval_harness.runner.run import evaluate
from eval_harness.tasks.registry import tasks
from tests.support.results import failed


@pytest.fixture(scope="module")
def trained(data_root: Path, data_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two models on two tasks."""
    asked = RunOptions(
        models=("random:ecg-cpc-tiny", "random:merl-tiny"),
        tasks=("ptbxl_super", "ptbxl_sub"),
        modes=("linear",),
        data_root=str(data_root),
        cache_dir=data_cache,
        output=tmp_path_factory.mktemp("results"),
        device="cpu",
        protocol=protocol(epochs=1, batch_size=16, resamples=20),
    )
    evaluate(asked, quiet=True)
    return asked.output


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of one finished run, to be spoilt."""
    return Path(shutil.copytree(trained / "random__ecg-cpc-tiny" / "linear", tmp_path / "a" / "b"))


def states(folder: Path) -> dict[str, str]:
    return {check.task: check.state for check in verify(read_found(folder), tasks())}


def test_an_untouched_run_verifies(run: Path) -> None:
    assert states(run) == {"ptbxl_super": "equal", "ptbxl_sub": "equal"}


def test_one_changed_byte_of_the_predictions_is_caught(run: Path) -> None:
    path = run / "predictions" / "ptbxl_super.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    checks = {check.task: check for check in verify(read_found(run), tasks())}
    assert checks["ptbxl_super"].state == "differs"
    assert "changed after it was scored" in checks["ptbxl_super"].findings[0]
    assert checks["ptbxl_sub"].state == "equal"


@pytest.mark.parametrize("part", ["metrics", "per_label", "subgroups", "records"])
def test_a_changed_number_is_caught(run: Path, part: str) -> None:
    path = run / "ptbxl_super.json"
    content = json.loads(path.read_text())
    if part == "metrics":
        content["metrics"]["macro_auroc"]["high"] += 0.001
    elif part == "per_label":
        content["per_label"][1]["f1"]["point"] = 0.99
    elif part == "subgroups":
        content["subgroups"][0]["metrics"]["macro_auroc"]["low"] = 0.0
    else:
        content["data"]["records"]["test"] += 1
    path.write_text(json.dumps(content))
    (check,) = [check for check in verify(read_found(run), tasks()) if check.task == "ptbxl_super"]
    assert check.state == "differs"
    assert len(check.findings) == 1
    assert verdict([check]) == 1


def earlier(run: Path) -> dict[str, Any]:
    """The result of a run as schema 1.2 had it, with intervals of the method of then."""
    found = read_found(run)
    result, values = found.results["ptbxl_super"], found.run.settings.protocol_values
    assert values["resample_unit"] == "record"
    score = score_task(tasks()["ptbxl_super"], found.predictions(result), 20, RESAMPLE_SEED, statistics=1)
    content: dict[str, Any] = json.loads((run / "ptbxl_super.json").read_text())
    del content["statistics_version"]
    return content | {
        "schema_version": "1.2",
        "metrics": {name: estimate.model_dump() for name, estimate in score.metrics.items()},
        "per_label": [label.model_dump(exclude={"calibration_rms"}) for label in score.per_label],
        "subgroups": [part.model_dump() for part in score.subgroups],
    }


def test_an_earlier_result_is_checked_by_the_method_of_its_time(run: Path) -> None:
    content = earlier(run)
    assert content["metrics"]["macro_calibration_error"]["low"] is not None
    (run / "ptbxl_super.json").write_text(json.dumps(content))
    (check,) = [check for check in verify(read_found(run), tasks()) if check.task == "ptbxl_super"]
    assert check.state == "equal"
    assert "its intervals equal those of statistics version 1, bootstrap percentiles" in check.notes[-1]
    assert verdict([check]) == 0


@pytest.mark.parametrize("part", ["macro_auroc", "macro_auroc_paper", "macro_calibration_error", "label", "subgroup"])
@pytest.mark.parametrize("end", ["point", "low"])
def test_a_changed_number_of_an_earlier_result_is_caught(run: Path, part: str, end: str) -> None:
    content = earlier(run)
    places = {"label": content["per_label"][3]["brier"], "subgroup": content["subgroups"][0]["metrics"]["macro_auroc"]}
    place = places.get(part) or content["metrics"][part]
    place[end] += 0.001
    (run / "ptbxl_super.json").write_text(json.dumps(content))
    (check,) = [check for check in verify(read_found(run), tasks()) if check.task == "ptbxl_super"]
    assert check.state == "differs"
    assert len(check.findings) == 1
    assert check.findings[0].split(":")[0].endswith(end)


def test_intervals_of_the_earlier_method_do_not_pass_for_new_ones(run: Path) -> None:
    (run / "ptbxl_super.json").write_text(json.dumps(earlier(run) | {"schema_version": "1.3", "statistics_version": 2}))
    assert states(run)["ptbxl_super"] == "differs"


def test_a_result_of_later_statistics_asks_for_a_newer_ecg_hub(run: Path) -> None:
    path = run / "ptbxl_super.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "statistics_version": 3}))
    (check,) = [check for check in verify(read_found(run), tasks()) if check.task == "ptbxl_super"]
    assert check.state == "differs"
    assert "3 in the result, this ecg-hub knows up to 2: pip install --upgrade ecg-hub" in check.findings[0]


def test_what_cannot_be_checked_is_said(run: Path) -> None:
    known = dict(tasks())
    known["ptbxl_super"] = known["ptbxl_super"].model_copy(update={"version": 2})
    del known["ptbxl_sub"]
    checks = verify(read_found(run), known)
    assert [check.state for check in checks] == ["not checked", "not checked"]
    assert "of version 1 of the task, here is version 2" in checks[0].findings[0]
    assert "--include" in checks[1].findings[0]
    (run / "ptbxl_sub.json").unlink()
    assert states(run)["ptbxl_sub"] == "absent"


def test_values_that_an_older_version_did_not_store_are_passed_over() -> None:
    assert list(differences("x", {"a": 1.0}, {"a": 1.0, "f1": 0.5})) == []
    assert list(differences("x", {"a": 1.0, "f1": None}, {"a": 1.0, "f1": 0.5})) == []
    assert list(differences("x", {"a": 1.0}, {"a": 1.1})) == ["x.a: 1.0 in the result, 1.1 computed"]
    assert len(list(differences("x", [1, 2], [1]))) == 1


@pytest.mark.heavy
def test_the_command_lines_say_it_by_exit_code(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run.parent)]) == 0
    assert main(["verify", str(run), "--json"]) == 0
    path = run / "ptbxl_super.json"
    path.write_text(path.read_text().replace('"positives":', '"positives" :', 1))
    assert main(["verify", str(run)]) == 0, "only values count"
    content = json.loads(path.read_text())
    content["per_label"][0]["positives"] += 1
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["verify", str(run)]) == 1
    assert "per_label.CD.positives" in capsys.readouterr().out


@pytest.mark.heavy
def test_a_run_is_reproduced_to_the_byte(
    run: Path, data_root: Path, data_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", str(run), "--data-root", str(data_root), "--cache-dir", str(data_cache), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [task["state"] for task in found["tasks"]] == ["identical", "identical"]
    assert found["environment"] == []
    assert main(["reproduce", str(run.parent.parent), *words[2:]]) == 0  # the folder above a single run
    capsys.readouterr()
    shutil.copytree(run, run.parent / "second")
    assert main(["reproduce", str(run.parent), *words[2:]]) == 1
    assert "There are 2 runs below" in capsys.readouterr().err
    path = run / "ptbxl_super.json"
    content = json.loads(path.read_text())
    content["metrics"]["macro_auroc"]["point"] += 0.01
    path.write_text(json.dumps(content))
    assert main(words) == 1


def test_a_run_that_cannot_be_made_again_says_why(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[RunOptions] = []

    def fail(options: RunOptions) -> list[Result]:
        asked.append(options)
        return [failed("3 of 21 records cannot be read")]

    monkeypatch.setattr("eval_harness.runner.run.evaluate", fail)
    assert main(["reproduce", str(run), "--max-unreadable", "0.3"]) == 1
    assert "The run could not be made again: 3 of 21 records cannot be read" in capsys.readouterr().err
    assert asked[0].max_unreadable == 0.3


def test_a_run_on_real_data_asks_for_the_data(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ecg-hub data prepare ptb-xl --download"):
        evaluate(options_of(read_found(run).run, "", tmp_path))


def test_compare_on_the_command_line(
    run: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(trained), "--pairs", "--resamples", "50", "--tasks", "ptbxl_super"]) == 0
    out = capsys.readouterr().out
    assert "random:merl-tiny linear" in out
    assert re.search(r"1 pair; ptbxl_sup\w+: resampled by (patient|record) \(", out)
    assert "equal models are separated on at most 5 % of tasks" in out
    assert "as published" in out
    assert main(["compare", str(trained), "--json", "--resamples", "50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {comparison["task"] for comparison in found} == {"ptbxl_super", "ptbxl_sub"}
    assert found[0]["standings"][0]["rank"] == 1
    assert main(["compare", str(run)]) == 1
    assert "There is one run, and a comparison needs two: score another model." in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "nowhere")]) == 1
    assert "is no folder of results" in capsys.readouterr().err


def test_folders_without_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        find_runs([tmp_path])
