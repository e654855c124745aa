"""One task file: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_hub.errors import InputError
from eval_harness.tasks.task import CATEGORIES, Category, read_task
from tests.support.tasks import GOOD


def write(folder: Path, text: str) -> Path:
    path = folder / "my_infarction.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file(tmp_path: Path) -> None:
    task = read_task(write(tmp_path, GOOD))
    assert task.labels == ("AMI", "IMI")
    assert not task.published
    assert task.superseded_by is None
    with pytest.raises(Exception, match="frozen"):
        task.name = "x"  # type: ignore[misc]


def test_categories_and_their_titles_are_the_same_list() -> None:
    assert set(Category.__args__) == set(CATEGORIES)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("metric: macro_auroc\n", "", "field 'metric' is missing"),
        (
            "kind: multi_label_classification",
            "kind: multi_label_clasification",
            "field 'kind': 'multi_label_clasification' is not allowed. Did you mean 'multi_label_classification'? "
            "Allowed: 'multi_label_classification' or 'regression'",
        ),
        ("category: adult_interpretation", "category: adult", "field 'category': 'adult' is not allowed"),
        ("labels: [", "labls: [", "unknown field 'labls'. Did you mean 'labels'?"),
        ("version: 1", "version: 0", "field 'version': 0 is not allowed: input should be greater than or equal to 1"),
        ("version: 1", "version: '1'", "field 'version': '1' is not allowed: input should be a valid integer"),
        ("labels: [AMI, IMI]", "labels: []", "field 'labels'"),
        ("labels: [AMI, IMI]", "labels: [AMI, 101]", "entry 2: YAML reads 101 here, text is expected; put it in"),
        ("labels: [AMI, IMI]", "labels: [AMI, NO]", "field 'labels', entry 2: YAML reads False here"),
        ("labels: [AMI, IMI]", "labels: [AMI, IMI, AMI]", "labels: 'AMI' given more than once"),
        ("labels: [AMI, IMI]", "labels: AMI", "field 'labels': 'AMI' is not allowed"),
        ("name: my_infarction", "name: My-Infarction", "use lower-case letters, digits and underscores"),
        ("title: Infarction", "title: ''", "field 'title': '' is not allowed"),
        ("metric: macro_auroc", "metric: mae", "metric: 'mae' with higher_is_better true does not fit kind"),
        ("higher_is_better: true", "higher_is_better: false", "takes metric 'macro_auroc' and higher_is_better true"),
        ("title: Infarction", "superseded_by: my_infarction\ntitle: X", "'my_infarction' cannot supersede itself"),
        ("version: 1", "version: 1\nversion: 2", "field 'version' is given twice"),
        ("labels: [", "labels: [[", "not valid YAML"),
        (GOOD, "", "the file is empty"),
        (GOOD, "- a\n- b\n", "the file is a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_file(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_task(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_every_problem_of_a_file_is_listed(tmp_path: Path) -> None:
    text = GOOD.replace("metric: macro_auroc\n", "").replace("version: 1", "version: x").replace("title:", "titel:")
    with pytest.raises(InputError) as caught:
        read_task(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for field in ("metric", "version", "titel", "title"):
        assert any(repr(field) in line for line in lines)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.yaml: cannot be read"):
        read_task(tmp_path / "absent.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(GOOD.replace("ours", "Größe").encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        read_task(path)


def test_files_cannot_run_code(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("ours", "!!python/object/apply:os.getcwd []"))
    with pytest.raises(InputError, match="not valid YAML"):
        read_task(path)
