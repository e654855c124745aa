"""Tasks whose labels only the data name: a group of the column `targets`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub.errors import InputError
from eval_harness.results.schema import LabelCoverage
from eval_harness.results.scoring import label_coverage
from eval_harness.tasks.registry import runs, tasks, validate
from eval_harness.tasks.task import TargetSelector, read_task

OWN = """\
name: my_fibrillation
version: 1
title: Atrial fibrillation
description: The codes of atrial fibrillation among the cardiac ones.
category: cardiac_outcomes
dataset: mimic-iv-ecg
run: mimic
label_column: targets
kind: multi_label_classification
metric: macro_auroc
higher_is_better: true
resample_unit: record
citation: ours
targets:
  group: cardiac
  pattern: "I48*"
  published: 6
"""
GROUPS = {"cardiac": ["I10", "I48", "I4891"], "sex": ["sex"]}


def write(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_selector_takes_a_group_or_what_fits_a_pattern() -> None:
    assert TargetSelector(group="cardiac", published=158).among(GROUPS) == ["I10", "I48", "I4891"]
    assert TargetSelector(group="cardiac", published=2, pattern="I48*").among(GROUPS) == ["I48", "I4891"]
    assert TargetSelector(group="other", published=2).among(GROUPS) == []


def test_an_own_task_may_select_from_what_a_run_trains(tmp_path: Path) -> None:
    (task,) = validate([write(tmp_path, OWN)])
    assert task.count == 6
    assert task.listed == "6: the targets of the group cardiac that fit I48*, named by the data"
    (run,) = runs([task], [tmp_path])
    assert run.count == 1127
    found = label_coverage(task, ["I48", "I10", "sex"], {"cardiac": ["I48", "I10"]})
    assert (found.published, found.scored, found.missing, found.unnamed) == (6, 1, [], 5)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("targets:\n", "labels: [I48]\ntargets:\n", "lists its labels, or selects them .*both are given"),
        ('targets:\n  group: cardiac\n  pattern: "I48*"\n  published: 6\n', "", "neither is"),
        ("label_column: targets", "label_column: label_diagnostic", "'label_diagnostic' has no groups"),
        ("  group: cardiac", "  grup: cardiac", "unknown field 'grup'. Did you mean 'group'"),
        ("  published: 6", "", "field 'targets.published' is missing"),
        ("  published: 6", "  published: 0", "field 'targets.published': 0 is not allowed"),
    ],
)
def test_what_a_file_may_not_say(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in OWN
    with pytest.raises(InputError, match=words):
        read_task(write(tmp_path, OWN.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("group: cardiac", "group: cardiak", "has no group 'cardiak'. Did you mean 'cardiac'"),
        ("dataset: mimic-iv-ecg", "dataset: ptb-xl", "'ptb-xl' has no 'targets'"),
        ("group: cardiac", "group: lab_values", "does not train 'group lab_values' as multi_label_classification"),
    ],
)
def test_what_does_not_fit_the_dataset_or_the_run(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        validate([write(tmp_path, OWN.replace(old, new))])


def test_a_copy_with_lower_thresholds_may_score_more_labels_than_published() -> None:
    assert LabelCoverage(published=2, scored=3).unnamed == 0
    with pytest.raises(ValueError, match="3 scored and 1 missing do not make 2 labels"):
        LabelCoverage(published=2, scored=3, unnamed=1)
    with pytest.raises(ValueError, match="1 scored and 0 missing do not make 2 labels"):
        LabelCoverage(published=2, scored=1)


def test_tasks_that_list_their_labels_are_described_by_them() -> None:
    assert tasks()["mimic_icu"].listed == "2: deterioration_icu_24h, deterioration_icu_stay"
    assert tasks()["mimic_cardiac"].listed == "158: the targets of the group cardiac, named by the data"
