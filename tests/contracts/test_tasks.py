"""What holds for every registered task; a new task file is tested by being there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dataset_scripts.catalog import datasets
from eval_harness.metrics.auroc import macro_auroc
from eval_harness.registry import TASKS_FOLDER, Task, expand, runs, suites, tasks
from eval_harness.suites import SUITES_FILE
from tests.support.results import predictions

TASKS = list(tasks().values())
# Labels and the first 16 digits of the SHA-256 of their names joined by newlines. A change of a published list makes a
# new version of the task, under a new name; it is never an edit.
LABEL_LISTS = {
    "ptbxl_all": (71, "b103890c62b3c8db"),
    "ptbxl_diag": (44, "26a1c2d795dd3f70"),
    "ptbxl_form": (19, "2d733d1d15ba08c8"),
    "ptbxl_rhythm": (12, "c0f3e57a2b211613"),
    "ptbxl_sub": (23, "d6e1a2f7d975e35c"),
    "ptbxl_super": (5, "bf062f512ed8b229"),
}

each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def test_there_is_one_file_per_task_named_like_it() -> None:
    files = {path.stem for path in TASKS_FOLDER.glob("*.yaml") if path.name != SUITES_FILE}
    assert files == set(tasks())


@each_task
def test_metadata_is_complete(task: Task) -> None:
    assert task.description.endswith(".")
    assert len(task.description) > 30
    assert "arXiv:2509.25095" in task.citation
    assert task.published


@each_task
def test_labels_are_sorted_and_unique(task: Task) -> None:
    assert list(task.labels) == sorted(set(task.labels))
    assert all(label == label.strip() for label in task.labels)


@each_task
def test_the_dataset_exists_with_the_label_column_and_a_licence(task: Task) -> None:
    dataset = datasets()[task.dataset]
    assert task.label_column in dataset.label_columns
    assert dataset.access in ("open", "restricted", "credentialed")
    assert dataset.licence
    assert dataset.page.startswith("https://")
    assert dataset.citation


@each_task
def test_its_run_trains_what_it_scores(task: Task) -> None:
    (run,) = runs([task])
    assert set(task.labels) <= set(run.labels)
    assert len(set(run.labels)) == len(run.labels)
    assert (run.dataset, run.label_column) == (task.dataset, task.label_column)
    assert (run.kind == "multi_label_classification") <= (task.kind == "multi_label_classification")
    others = [other for other in TASKS if other.run == task.run]
    assert runs(others)[0].labels == run.labels


@each_task
def test_it_can_be_scored_from_predictions_of_its_run(task: Task) -> None:
    from eval_harness.scoring import score_task

    if task.kind != "multi_label_classification":
        pytest.skip("regression targets are scored in test_scoring")
    (run,) = runs([task])
    given = predictions(labels=run.labels, run=run.name)
    score = score_task(task, given, resamples=5)
    columns = [run.labels.index(label) for label in task.labels]
    expected = macro_auroc(given.y_true[10:, columns], given.y_prob[10:, columns])
    assert score.metrics[task.metric].point == pytest.approx(expected)
    assert score.labels.missing == []


@each_task
def test_it_is_in_the_suites_of_its_category_and_dataset(task: Task) -> None:
    assert task.name in suites()[f"dataset:{task.dataset}"].members()
    if task.name in suites()["all"].members():
        assert task.name in suites()[f"category:{task.category}"].members()
    assert task.name in suites()["published"].members()


@each_task
def test_listing_and_describing_name_it(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    from eval_harness.cli.evaluate import main

    assert main(["describe", task.name]) == 0
    text = capsys.readouterr().out
    for part in (task.title, task.dataset, datasets()[task.dataset].page, *task.labels):
        assert part in text
    assert main(["ls", "tasks"]) == 0
    assert any(line.split()[0] == task.name for line in capsys.readouterr().out.splitlines())


def test_the_label_lists_are_the_published_ones(shared: Path) -> None:
    expected = json.loads((shared / "data" / "labels_expected.json").read_text(encoding="utf-8"))
    for name, content in expected["ptbxl"]["tasks"].items():
        assert list(tasks()[f"ptbxl_{name}"].labels) == content["labels"]


@each_task
def test_the_label_list_is_not_edited_in_place(task: Task) -> None:
    digest = hashlib.sha256("\n".join(task.labels).encode()).hexdigest()[:16]
    assert LABEL_LISTS.get(task.name) == (len(task.labels), digest), "a new task is added to LABEL_LISTS"


def test_every_published_row_is_read_from_one_of_fourteen_runs() -> None:
    assert len(runs(expand("published"))) <= 14
    assert len(expand("published")) <= 28
    assert len(expand("all")) <= 26
