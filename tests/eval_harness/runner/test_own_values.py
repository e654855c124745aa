"""A head trained on the targets of an own table: what `ecg-hub predict` prints is in the unit of the table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecg_hub.errors import ResultError
from ecg_hub.inference.predict import predict
from ecg_hub.leads import LEADS
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.results.compared import compare_folders
from eval_harness.results.folders import FolderRefusedError, find_runs
from eval_harness.results.predictions import read_predictions
from eval_harness.runner.run import evaluate
from tests.support.records import write_record
from tests.support.tasks import with_changes

ARCHIVE = """
name: ward
signals: ecg
sampling_rate: 100
table: table.csv
licence: none
min_count: 1
columns: {record: record, patient: record, targets: [ef, age], labels: found, split: part}
"""
VALUES = {"kind": "regression", "metric": "mae", "higher_is_better": False, "label_column": "targets"}
TASK = with_changes(name="ward_values", run="ward_values", dataset="ward", labels=["ef", "age"], **VALUES)
CLASSES = with_changes(name="ward_classes", run="ward_classes", dataset="ward", labels=["common", "rare"])


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "ecg").mkdir()
    names = [f"r{number:02d}" for number in range(40)]
    for name in names:
        write_record(tmp_path / "ecg" / name, 0.3 * rng.standard_normal((12, 500)), 100, LEADS)
    table = {"record": names, "ef": rng.normal(55, 8, 40), "age": rng.normal(60, 16, 40)}
    parts = ["train"] * 24 + ["validation"] * 8 + ["test"] * 8
    rare = [number % 3 == 0 and part != "validation" for number, part in enumerate(parts)]
    found = [";".join(["common"] * (number % 2) + ["rare"] * rare[number]) for number in range(40)]
    table |= {"part": parts, "found": found}
    pd.DataFrame(table).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "ward.yaml").write_text(ARCHIVE)
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "classes.yaml").write_text(CLASSES)
    return tmp_path


def run_of(ward: Path, task: str) -> Path:
    """The folder of a run on the ward, its model kept."""
    options = RunOptions(
        models=("random:ecg-cpc-tiny",),
        tasks=(task,),
        modes=("linear",),
        include=(ward / "ward.yaml", ward / "task.yaml", ward / "classes.yaml"),
        protocol=protocol(epochs=1, batch_size=8, resamples=20),
        device="cpu",
        output=ward / "kept",
        cache_dir=ward / "cache",
        save_model=True,
    )
    evaluate(options)
    return ward / "kept" / "random__ecg-cpc-tiny" / "linear"


def test_predicted_values_are_in_the_unit_of_the_table(ward: Path) -> None:
    run = run_of(ward, "ward_values")
    folder = run / "model" / "ward_values"
    stored = read_predictions(run / "predictions" / "ward_values.parquet").part("test")
    found = predict(folder, [ward / "ecg" / name for name in stored.record_id], progress=False)
    measured = pd.read_csv(ward / "table.csv").set_index("record")
    for column, label in enumerate(stored.labels):
        truth = measured.loc[stored.record_id, label].to_numpy()
        values = np.array([row.scores[column]["value"] for row in found.rows])
        assert {row.scores[column]["unit"] for row in found.rows} == {"as in the table"}
        # What the run stores are z-scores; what they stand for is known from the table alone.
        deviation = np.ptp(truth) / np.ptp(stored.y_true[:, column])
        mean = truth[0] - deviation * stored.y_true[0, column]
        np.testing.assert_allclose(values, mean + deviation * stored.y_prob[:, column], rtol=1e-4)
    assert "ef 5" in found.to_table()
    assert set(json.loads((folder / "config.json").read_text())["target_scales"]) == {"ef", "age"}
    assert "pipeline and `ecg-hub predict` give them in these units" in (folder / "README.md").read_text()


def test_a_label_without_a_threshold_is_called_neither_way(ward: Path) -> None:
    """No validation record has it, so the run chose no threshold; 0.5 would be nobody's choice."""
    run = run_of(ward, "ward_classes")
    result = json.loads((run / "ward_classes.json").read_text())
    chosen = {label["label"]: label["threshold"] for label in result["per_label"]}
    assert chosen["rare"] is None
    found = predict(run / "model" / "ward_classes", [ward / "ecg" / "r39"], progress=False)
    (row,) = found.rows
    assert {score["label"]: "positive" in score for score in row.scores} == {"common": True, "rare": False}
    stored = json.loads((run / "model" / "ward_classes" / "config.json").read_text())["thresholds"]
    assert stored == [pytest.approx(chosen["common"]), None]


def test_a_task_that_says_something_else_under_its_version_is_not_what_was_scored(ward: Path) -> None:
    """The scores of the earlier file had been shown as those of the new one, and compared by the labels of the new."""
    (ward / "classes.yaml").write_text(CLASSES.replace("- common\n- rare", "- nothing\n- such"))
    folder = run_of(ward, "ward_classes")
    assert json.loads((folder / "ward_classes.json").read_text())["status"] == "failed"
    (ward / "classes.yaml").write_text(CLASSES)
    run_of(ward, "ward_classes")
    done = (folder / "ward_classes.json").read_text()
    assert json.loads(done)["status"] == "done", "what failed may be mended under its version"
    changed = CLASSES.replace("- common\n- rare", "- rare\n- common")
    assert changed != CLASSES
    (ward / "classes.yaml").write_text(changed)
    with pytest.raises(FolderRefusedError, match="task ward_classes: its task file says something else"):
        run_of(ward, "ward_classes")
    assert (folder / "ward_classes.json").read_text() == done
    (ward / "more.yaml").write_text(changed)
    found = find_runs([folder])
    twins = [found[0], replace(found[0], folder=folder.parent / "twin")]
    with pytest.raises(ResultError, match="'ward_classes' was scored as version 1 and by another definition"):
        list(compare_folders(twins, include=[ward / "ward.yaml", ward / "more.yaml"]))
