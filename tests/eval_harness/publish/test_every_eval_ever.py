"""Every Eval Ever's files: what a run becomes, where it lies, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import ResultError
from eval_harness.publish.every_eval_ever import EvaluationLog, write_logs
from eval_harness.results.folders import find_runs
from eval_harness.results.runfile import RunSettings, fingerprint
from eval_harness.tasks.registry import tasks
from tests.support.report_runs import regression, write_folder

CATALOGUE = {"id": "ecg-cpc", "preset": "benchmark", "origin": "catalogue", "weights_sha256": "a" * 64}
RANDOM = {"id": "random:ecg-cpc", "preset": "benchmark", "origin": "random"}
HUB = {"id": "lab/ecg", "revision": "c" * 40, "preset": "benchmark"}
FOLDER = {"id": "/home/me/run 1", "preset": "benchmark", "origin": "own"}


def written(root: Path, output: Path, **options: Any) -> list[dict[str, Any]]:
    files = write_logs(find_runs([root]), tasks(), output, **options)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def as_model(folder: Path, model: dict[str, Any]) -> None:
    """Change the model of a folder's result."""
    path = folder / "ptbxl_super.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"model": model}), encoding="utf-8")


def test_a_run_becomes_one_file_with_every_metric(tmp_path: Path) -> None:
    as_model(write_folder(tmp_path / "results", tasks()["ptbxl_super"]), CATALOGUE)
    (log,) = written(tmp_path / "results", tmp_path / "out", organization="A Lab")

    (run,) = find_runs([tmp_path / "results"])
    (result,) = run.results.values()
    scores = {item["metric_config"]["metric_id"]: item for item in log["evaluation_results"]}
    assert set(scores) == {f"ecg_hub.{name}" for name, value in result.metrics.items() if value.point is not None}
    auroc, details = scores["ecg_hub.macro_auroc"], scores["ecg_hub.macro_auroc"]["score_details"]
    assert details["score"] == result.metrics["macro_auroc"].point
    assert details["uncertainty"]["confidence_interval"]["lower"] == result.metrics["macro_auroc"].low
    assert details["uncertainty"]["confidence_interval"]["method"].startswith("formula")
    assert "num_bootstrap_samples" not in details["uncertainty"]
    paper = scores["ecg_hub.macro_auroc_paper"]["score_details"]["uncertainty"]
    assert paper["confidence_interval"]["method"].startswith("bootstrap")
    assert paper["num_bootstrap_samples"] == 60
    assert details["details"]["deviations"].startswith("epochs=3")
    assert auroc["source_data"]["url"] == ["https://physionet.org/content/ptb-xl/1.0.3/"]
    assert scores["ecg_hub.macro_brier"]["metric_config"]["lower_is_better"]
    assert log["source_metadata"]["source_organization_name"] == "A Lab"


def test_intervals_say_the_coverage_and_the_unit_of_the_run(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "results", tasks()["ptbxl_super"]) / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["settings"]["protocol_values"] |= {"confidence": 0.9, "resample_unit": "patient"}
    content["fingerprint"] = fingerprint(RunSettings.model_validate(content["settings"]))
    path.write_text(json.dumps(content), encoding="utf-8")
    (log,) = written(tmp_path / "results", tmp_path / "out")
    for item in log["evaluation_results"]:
        if "uncertainty" in item["score_details"]:
            interval = item["score_details"]["uncertainty"]["confidence_interval"]
            assert interval["confidence_level"] == 0.9
            assert "patient" in interval["method"]


def test_files_lie_where_the_store_wants_them_and_are_the_same_again(tmp_path: Path) -> None:
    write_folder(tmp_path / "results", tasks()["ptbxl_super"], model="random:ecg-cpc")
    runs = find_runs([tmp_path / "results"])

    (first,), (second,) = (write_logs(runs, tasks(), tmp_path / name) for name in ("a", "b"))

    assert first.relative_to(tmp_path / "a") == second.relative_to(tmp_path / "b")
    assert first.relative_to(tmp_path / "a").parts[:4] == ("data", "ecg-hub", "ecg-hub", "random-ecg-cpc")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("model", "identity", "developer", "relationship", "availability"),
    [
        (CATALOGUE, "ecg-cpc", "AI4HealthUOL", "third_party", "open_weights"),
        (RANDOM, "random-ecg-cpc", "ecg-hub", "other", None),
        (HUB, "lab/ecg", "lab", "other", None),
        (FOLDER, "run-1", "ecg-hub", "other", None),
    ],
)
def test_a_model_is_named_without_paths_and_not_called_open_without_knowing(
    tmp_path: Path, model: dict[str, Any], identity: str, developer: str, relationship: str, availability: str | None
) -> None:
    as_model(write_folder(tmp_path / "results", tasks()["ptbxl_super"]), model)
    (log,) = written(tmp_path / "results", tmp_path / "out")

    about = log["model_info"]
    assert (about["id"], about["developer"]) == (identity, developer)
    assert log["source_metadata"]["evaluator_relationship"] == relationship
    assert about["additional_details"]["model_availability"] == (availability or "unknown")
    assert "/home/me" not in json.dumps(log)


def test_errors_of_z_scores_have_no_upper_bound(tmp_path: Path) -> None:
    task = tasks()["mimic_age"].model_copy(update={"name": "my_values", "run": "my_values", "targets": None,
                                                   "labels": ("age", "height"), "dataset": "mine"})  # fmt: skip
    write_folder(tmp_path / "results", task, regression())
    (log,) = written(tmp_path / "results", tmp_path / "out")

    mae = next(item for item in log["evaluation_results"] if item["metric_config"]["metric_id"] == "ecg_hub.mae")
    assert mae["metric_config"]["max_score"] == "Infinity"
    assert mae["metric_config"]["metric_unit"] == "standard deviations"
    assert mae["source_data"]["source_type"] == "other"


def test_simulated_results_are_refused_or_marked(tmp_path: Path) -> None:
    write_folder(tmp_path, tasks()["ptbxl_super"], protocol={"name": "paper", "deviations": {"synthetic": True}})

    with pytest.raises(ResultError, match=r"ptbxl_super was made with simulated ECGs.*--allow-synthetic"):
        written(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (log,) = written(tmp_path, tmp_path / "out", synthetic=True)
    assert {item["score_details"]["details"]["simulated"] for item in log["evaluation_results"]} == {"true"}
    assert {item["source_data"]["source_type"] for item in log["evaluation_results"]} == {"other"}


def test_a_run_without_a_finished_task_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tasks()["ptbxl_super"])
    (folder / "ptbxl_super.json").unlink()
    with pytest.raises(ResultError, match="no score to export"):
        written(tmp_path, tmp_path / "out")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_folder(tmp_path / "results", tasks()["ptbxl_super"])
    (log,) = written(tmp_path / "results", tmp_path / "out")
    assert EvaluationLog.model_validate(log).model_dump(exclude_none=True) == log
