"""What holds for every registered task; a new task file is tested by being there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from dataset_scripts.catalog import datasets
from eval_harness.metrics.ranking import macro_auroc
from eval_harness.metrics.regression import pooled_mae
from eval_harness.tasks.registry import TASKS_FOLDER, Task, expand, runs, suites, tasks
from eval_harness.tasks.task import SUITES_FILE
from tests.support.results import predictions

TASKS = list(tasks().values())
# Labels and the first 16 digits of the SHA-256 of their names (or of their group), joined by newlines. A change of a
# published list makes a new version of the task, under a new name; it is never an edit.
LABEL_LISTS = {
    "chapman": (42, "13bf919b5ea5b679"),
    "chapman_rhythm": (9, "9652d36090020848"),
    "code15": (6, "a5307d706ddc24bb"),
    "cpsc2018": (9, "7eb573be6ae9f4f0"),
    "cpsc_extra": (33, "e6f466408d374997"),
    "echonext": (11, "458c53f7920020fd"),
    "georgia": (50, "b1fd3ab6e58e06c4"),
    "mimic_age": (1, "013f54400c82da08"),
    "mimic_biometrics": (3, "293145bf83ee0e67"),
    "mimic_cardiac": (158, "4aa556b78901ff52"),
    "mimic_deterioration": (6, "c91973377d796f9e"),
    "mimic_ecg_features": (7, "6578637d7b98668e"),
    "mimic_icu": (2, "41130f368254ee72"),
    "mimic_lab_values": (18, "4571d0a2fe37a827"),
    "mimic_mortality": (7, "86b5bc4bfc7f7c96"),
    "mimic_noncardiac": (918, "1a8f81a7323082a1"),
    "mimic_sex": (1, "98d44e13f455d916"),
    "mimic_vital_signs": (6, "7f522c0f3d6a4c6b"),
    "ningbo": (68, "c344eeb350b5b342"),
    "ptb": (18, "2991515a77e58d7b"),
    "ptbxl_all": (71, "b103890c62b3c8db"),
    "ptbxl_diag": (44, "26a1c2d795dd3f70"),
    "ptbxl_form": (19, "2d733d1d15ba08c8"),
    "ptbxl_rhythm": (12, "c0f3e57a2b211613"),
    "ptbxl_sub": (23, "d6e1a2f7d975e35c"),
    "ptbxl_super": (5, "bf062f512ed8b229"),
    "sph": (35, "df0c8becffc92ef7"),
    "zzu_pecg": (58, "d4b139e55898ccaa"),
}

each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def test_there_is_one_file_per_task_named_like_it() -> None:
    files = {path.stem for path in TASKS_FOLDER.glob("*.yaml") if path.name != SUITES_FILE}
    assert files == set(tasks())


@each_task
def test_metadata_is_complete(task: Task) -> None:
    assert task.description.endswith(".")
    assert len(task.description) > 30
    assert task.citation
    assert ("arXiv:2509.25095" in task.citation) == task.published


@each_task
def test_labels_are_sorted_and_unique(task: Task) -> None:
    assert list(task.labels) == sorted(set(task.labels))
    assert all(label == label.strip() for label in task.labels)


@each_task
def test_the_dataset_exists_with_the_label_column_and_a_licence(task: Task) -> None:
    dataset = datasets()[task.dataset]
    if dataset.target_groups:
        assert task.label_column == "targets"
        (of_task,) = [group for name, group in dataset.target_groups.items() if task.name.endswith(f"_{name}")]
        assert (of_task.kind, of_task.published) == (task.kind, task.count)
        assert task.targets is None or task.name.endswith(f"_{task.targets.group}")
    else:
        assert task.label_column in dataset.label_columns
    assert dataset.access in ("open", "restricted", "credentialed")
    assert dataset.licence
    assert dataset.page.startswith("https://")
    assert dataset.citation


@each_task
def test_its_run_trains_what_it_scores(task: Task) -> None:
    (run,) = runs([task])
    assert set(task.labels) <= set(run.labels)
    assert task.targets is None or (task.kind, task.targets) in run.selectors
    assert len(set(run.labels)) == len(run.labels)
    assert (run.dataset, run.label_column) == (task.dataset, task.label_column)
    assert (run.kind == "multi_label_classification") <= (task.kind == "multi_label_classification")
    others = [other for other in TASKS if other.run == task.run]
    assert runs(others)[0].labels == run.labels


@each_task
def test_it_can_be_scored_from_predictions_of_its_run(task: Task) -> None:
    from eval_harness.results.scoring import score_task

    (run,) = runs([task])
    classes = task.kind == "multi_label_classification"
    named = {s.group: [f"{s.group} {n}" for n in range(s.published)] for _, s in run.selectors}
    labels = (*run.labels, *(name for names in named.values() for name in names))
    given = predictions(labels=labels, run=run.name)
    given = dataclasses.replace(given, groups=named, regression_targets=() if classes else task.labels)
    score = score_task(task, given, resamples=5)
    columns = [labels.index(label) for label in (task.labels or named[task.targets.group if task.targets else ""])]
    metric = macro_auroc if classes else pooled_mae
    expected = metric(given.y_true[10:, columns], given.y_prob[10:, columns])
    assert score.metrics[task.metric].point == pytest.approx(expected)
    assert (score.labels.missing, score.labels.unnamed) == ([], 0)


@each_task
def test_it_is_in_the_suites_of_its_category_and_dataset(task: Task) -> None:
    assert (task.name in suites()[f"dataset:{task.dataset}"].members()) == (task.superseded_by is None)
    if task.name in suites()["all"].members():
        assert task.name in suites()[f"category:{task.category}"].members()
    assert (task.name in suites()["published"].members()) == task.published


@each_task
def test_listing_and_describing_name_it(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    from eval_harness.cli.eval.main import main

    assert main(["describe", task.name]) == 0
    text = capsys.readouterr().out
    for part in (task.title, task.dataset, datasets()[task.dataset].page, *task.labels):
        assert part in text
    assert main(["ls", "tasks"]) == 0
    assert any(line.split()[0] == task.name for line in capsys.readouterr().out.splitlines())


def test_the_label_lists_are_the_published_ones(golden: Path) -> None:
    expected = json.loads((golden / "labels" / "expected.json").read_text(encoding="utf-8"))
    for name, content in expected["ptbxl"]["tasks"].items():
        assert list(tasks()[f"ptbxl_{name}"].labels) == content["labels"]
    keys = ("ningbo", "cpsc2018", "cpsc_extra", "georgia", "chapman_all", "chapman_rhythm", "sph_primary")
    for key in keys:
        name = key.removesuffix("_all").removesuffix("_primary")
        assert list(tasks()[name].labels) == sorted(map(str, expected[key]["labels"])), name


@pytest.mark.parametrize("task", [task for task in TASKS if task.published], ids=lambda task: task.name)
def test_the_label_list_is_not_edited_in_place(task: Task) -> None:
    chosen = task.targets
    names = task.labels if chosen is None else (f"group {chosen.group}", f"pattern {chosen.pattern}")
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    assert LABEL_LISTS.get(task.name) == (task.count, digest), "a row of the paper is added to LABEL_LISTS"


def test_no_published_label_list_is_lost() -> None:
    assert {task.name for task in TASKS if task.published} == set(LABEL_LISTS)


def test_every_published_row_is_read_from_one_of_fourteen_runs() -> None:
    assert len(runs(expand("published"))) == 14
    assert len(expand("published")) == 28
    assert len(expand("all")) == 26
    assert sum(task.count for task in expand("published")) == 1640
