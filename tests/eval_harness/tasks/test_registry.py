from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ecg_hub.errors import InputError, UnknownNameError
from eval_harness.tasks import registry
from eval_harness.tasks.registry import TASKS_FOLDER, expand, get_task, runs, suites, tasks, validate
from eval_harness.tasks.task import read_suites
from tests.support.tasks import GOOD

PTBXL = ["ptbxl_all", "ptbxl_diag", "ptbxl_form", "ptbxl_rhythm", "ptbxl_sub", "ptbxl_super"]
Own = Callable[..., Path]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Write a user's task file; keywords replace fields."""

    def make(**changes: str) -> Path:
        fields = dict(line.split(": ", 1) for line in GOOD.strip().splitlines()) | changes
        path = tmp_path / f"{fields['name']}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        return path

    return make


def names(found: list[registry.Task]) -> list[str]:
    return [task.name for task in found]


class TestExpanding:
    def test_order_as_asked_and_each_once(self) -> None:
        assert names(expand("ptbxl_super,ptbxl_all,ptbxl_super")) == ["ptbxl_super", "ptbxl_all"]
        assert names(expand("ptbxl_super,all"))[0] == "ptbxl_super"
        assert sorted(names(expand("ptbxl_super,all"))) == sorted(names(expand("all")))

    def test_several_strings_and_blanks(self) -> None:
        assert names(expand(["ptbxl_sub , ptbxl_all", "", "ptbxl_super,"])) == ["ptbxl_sub", "ptbxl_all", "ptbxl_super"]

    def test_patterns(self) -> None:
        assert names(expand("ptbxl_*")) == PTBXL
        assert names(expand("ptbxl_s*,ptbxl_?iag")) == ["ptbxl_sub", "ptbxl_super", "ptbxl_diag"]
        with pytest.raises(UnknownNameError, match=r"Unknown task pattern 'ptbxk_\*'"):
            expand("ptbxk_*")

    def test_patterns_reach_own_tasks(self, own: Own) -> None:
        assert names(expand("my_*", include=[own()])) == ["my_infarction"]

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("ptbxl_supper", "Did you mean 'ptbxl_super'"),
            ("publishd", "Did you mean 'published'"),
            ("PTBXL_SUPERS", "Did you mean 'ptbxl_super'"),
            ("ptb-xl", "Write 'dataset:ptb-xl' for all its tasks"),
            ("adult_interpretation", "Write 'category:adult_interpretation'"),
            ("xyz", "See `ecg-eval ls tasks` and `ecg-eval ls suites`"),
        ],
    )
    def test_unknown_names_get_help(self, name: str, hint: str) -> None:
        with pytest.raises(UnknownNameError) as caught:
            expand(f"ptbxl_super,{name}")
        assert repr(name) in str(caught.value)
        assert hint in str(caught.value)

    @pytest.mark.parametrize("nothing", ["", " , ", []])
    def test_nothing_named(self, nothing: str | list[str]) -> None:
        with pytest.raises(InputError, match="No task was named"):
            expand(nothing)

    def test_one_task(self) -> None:
        assert get_task("ptbxl_sub").title == "PTB-XL (sub)"
        with pytest.raises(UnknownNameError, match="Did you mean 'ptbxl_sub'"):
            get_task("ptbxl-subs")


class TestSuites:
    def test_all_leaves_out_what_is_scored_twice(self) -> None:
        assert set(suites()["published"].members()) - set(suites()["all"].members()) <= {"ptbxl_diag", "chapman_rhythm"}
        assert "ptbxl_diag" not in suites()["all"].members()
        assert "ptbxl_diag" in suites()["published"].members()

    def test_demo_and_open(self) -> None:
        assert suites()["demo"].members() == ["ptbxl_super"]
        assert set(suites()["open"].members()) <= set(suites()["all"].members())
        assert "ptbxl_super" in suites()["open"].members()

    def test_the_second_study_has_its_number_of_tasks_and_says_what_is_open(self) -> None:
        suite = suites()["pretraining-strategies"]
        members = [tasks()[name] for name in suite.members()]
        assert (len(members), len({task.dataset for task in members})) == (26, 10)
        assert f"1,622 targets, these tasks have {sum(task.count for task in members):,}" in suite.note
        assert {name for name, other in suites().items() if other.note} == {suite.name}

    def test_one_per_category_and_dataset(self) -> None:
        assert suites()["dataset:ptb-xl"].members() == PTBXL
        for name, suite in suites().items():
            field, _, value = name.partition(":")
            if value:
                assert suite.members()
                assert all(getattr(tasks()[member], field) == value for member in suite.members())

    def test_own_tasks_are_in_no_suite(self, own: Own) -> None:
        assert names(expand("published", include=[own()])) == suites()["published"].members()

    def test_superseded_tasks_leave_the_rules_but_stay_runnable(self, tmp_path: Path) -> None:
        old = get_task("ptbxl_sub").model_copy(update={"superseded_by": "ptbxl_super"})
        (tmp_path / "suites.yaml").write_text(
            "suites: {rule: {title: x, where: {published: true}}, list: {title: x, tasks: [ptbxl_sub]}}\nfamilies: {}"
        )
        found = read_suites(tmp_path / "suites.yaml", {**tasks(), "ptbxl_sub": old})
        assert "ptbxl_sub" not in found["rule"].members()
        assert "ptbxl_super" in found["rule"].members()
        assert found["list"].members() == ["ptbxl_sub"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("suites: {a: {title: x, from: a}}\nfamilies: {}", "starts from itself"),
            ("suites: {a: {title: x, from: b}}\nfamilies: {}", "'b' is not defined"),
            ("suites: {a: {title: x, task: [y]}}\nfamilies: {}", r"unknown \['task'\]"),
            ("suites: {a: {title: x, tasks: [y]}}\nfamilies: {}", "lists 'y', which is no task"),
        ],
    )
    def test_rules_that_make_no_sense(self, text: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "suites.yaml").write_text(text)
        with pytest.raises(InputError, match=words):
            read_suites(tmp_path / "suites.yaml", tasks())


class TestRuns:
    def test_a_run_trains_all_its_labels_whichever_task_is_asked_for(self) -> None:
        (run,) = runs(expand("ptbxl_diag"))
        assert run.name == "ptbxl_all"
        assert run.labels == get_task("ptbxl_all").labels
        assert names(list(run.tasks)) == ["ptbxl_diag"]
        assert (run.dataset, run.label_column) == ("ptb-xl", "label_all")
        assert (run.kind, run.regression_targets) == ("multi_label_classification", ())

    def test_tasks_of_a_run_come_together_in_order_of_need(self) -> None:
        found = runs(expand("ptbxl_super,ptbxl_rhythm,ptbxl_all"))
        assert [run.name for run in found] == ["ptbxl_super", "ptbxl_all"]
        assert names(list(found[1].tasks)) == ["ptbxl_rhythm", "ptbxl_all"]

    def test_an_own_task_on_a_published_run(self, own: Own) -> None:
        path = own()
        (run,) = runs(expand("my_infarction", include=[path]), include=[path])
        assert run.labels == get_task("ptbxl_all").labels

    def test_an_own_run(self, own: Own) -> None:
        path = own(run="my_infarction")
        (run,) = runs(expand("my_infarction", include=[path]), include=[path])
        assert (run.name, run.labels) == ("my_infarction", ("AMI", "IMI"))

    def test_a_joint_run_trains_classes_then_targets_of_all_its_tasks(self, own: Own) -> None:
        common = {"run": "joint"}
        folder = own(
            name="a_size", kind="regression", metric="mae", higher_is_better="false", labels="[x, y]", **common
        )
        own(name="b_class", labels="[AMI]", **common)
        own(name="c_class", labels="[IMI, AMI]", **common)
        (run,) = runs(expand("c_class", include=[folder.parent]), include=[folder.parent])
        assert run.kind == "mixed"
        assert run.labels == ("AMI", "IMI", "x", "y")
        assert run.regression_targets == ("x", "y")

    def test_files_must_be_included_again(self, own: Own) -> None:
        with pytest.raises(InputError, match="'my_infarction' are not in the registry"):
            runs(expand("my_infarction", include=[own()]))


class TestOwnTasks:
    def test_files_and_folders(self, own: Own) -> None:
        path = own()
        own(name="my_other", labels="[NORM]")
        assert "my_other" not in tasks([path])
        assert {"my_infarction", "my_other", "ptbxl_super"} <= set(tasks([path.parent]))
        assert names(validate([path.parent, path])) == ["my_infarction", "my_other"]
        assert list(tasks([path]))[-1] == "my_infarction"

    def test_the_built_in_ones_are_not_changed(self, own: Own) -> None:
        before = tasks()
        tasks([own()])
        assert tasks() == before

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"name": "ptbxl_super"}, "task 'ptbxl_super' is built in, .* choose another name"),
            ({"published": "true"}, "reserved for rows of the paper"),
            ({"dataset": "ptb-xll"}, r"'ptb-xll' is no dataset. Did you mean 'ptb-xl'.* Known: .*ptb-xl"),
            ({"label_column": "label_al"}, r"no 'label_al'. Did you mean 'label_all'"),
            ({"run": "ptbxl_al"}, r"run 'ptbxl_al' is no task .* Did you mean 'ptbxl_all'.* Write run: my_infarction"),
            ({"run": "ptbxl_diag"}, "'ptbxl_diag' is itself read from run 'ptbxl_all'"),
            ({"label_column": "label_diag"}, "label_column 'label_diag' differs from 'label_all' of 'ptbxl_all'"),
            ({"labels": "[AMI, XYZ]"}, "run 'ptbxl_all' does not train 'XYZ' as multi_label_classification"),
            (
                {"kind": "regression", "metric": "mae", "higher_is_better": "false"},
                "does not train 'AMI', 'IMI' as regression",
            ),
            ({"superseded_by": "my_infraction"}, "superseded_by names the unknown task 'my_infraction'"),
        ],
    )
    def test_what_does_not_fit_the_others_is_refused(self, changes: dict[str, str], words: str, own: Own) -> None:
        path = own(**changes)
        with pytest.raises(InputError, match=words):
            tasks([path])
        with pytest.raises(InputError, match=words):
            validate([path])

    def test_the_task_of_a_runs_name_decides_what_it_trains(self, own: Own) -> None:
        own(name="my_run", run="my_run", labels="[AMI]")
        folder = own(name="a_sub", run="my_run", labels="[AMI, IMI]").parent
        with pytest.raises(InputError, match="run 'my_run' does not train 'IMI'"):
            tasks([folder])

    def test_a_name_given_twice(self, own: Own, tmp_path: Path) -> None:
        path = own()
        (tmp_path / "copy.yaml").write_text(path.read_text())
        with pytest.raises(InputError, match=r"'my_infarction' is already defined in .*copy.yaml; names are unique"):
            tasks([tmp_path])

    def test_all_broken_files_are_named(self, own: Own) -> None:
        first, second = own(version="x"), own(name="my_other", metric="auc")
        with pytest.raises(InputError) as caught:
            validate([first, second])
        assert str(first) in str(caught.value)
        assert str(second) in str(caught.value)

    def test_paths_that_hold_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"absent: no such task file or folder"):
            tasks([tmp_path / "absent"])
        with pytest.raises(InputError, match="holds no task file"):
            tasks([tmp_path])

    def test_built_in_files_are_valid_in_place_but_not_as_copies(self, tmp_path: Path) -> None:
        source = registry.TASKS_FOLDER / "ptbxl_super.yaml"
        assert names(validate([source])) == ["ptbxl_super"]
        assert len(validate([registry.TASKS_FOLDER])) == len(tasks())
        (tmp_path / "ptbxl_super.yaml").write_text(source.read_text())
        with pytest.raises(InputError, match="is built in"):
            validate([tmp_path])


@pytest.mark.heavy
def test_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from eval_harness.tasks.registry import TASKS_FOLDER, expand, runs, suites\n"
        "runs(expand('all')); [suite.members() for suite in suites().values()]\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'scipy', 'accelerate'} & set(sys.modules)\n"
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class TestSpellings:
    def written(self, folder: Path, **changes: str) -> Path:
        text = (TASKS_FOLDER / "ptbxl_super.yaml").read_text().replace("published: true\n", "")
        for field, value in {"name": "mine", "run": "mine", **changes}.items():
            text = re.sub(rf"(?m)^{field}: .*$", f"{field}: {value}", text)
        path = folder / "own.yaml"
        path.write_text(text)
        return path

    def test_what_a_task_file_names_may_be_spelled_otherwise(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, dataset="PTBXL", metric="Macro-AUROC", run="PTBXL-Super")
        task = tasks([path])["mine"]
        assert (task.dataset, task.metric, task.run) == ("ptb-xl", "macro_auroc", "ptbxl_super")
        assert runs([task], [path])[0].dataset == "ptb-xl"

    def test_another_spelling_of_a_built_in_name_is_no_new_name(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="task 'ptbxl_super' is built in"):
            tasks([self.written(tmp_path, name="ptbxlsuper", run="ptbxlsuper")])

    def test_two_own_tasks_are_not_spellings_of_each_other(self, tmp_path: Path) -> None:
        (tmp_path / "second").mkdir()
        paths = [self.written(tmp_path), self.written(tmp_path / "second", name="mi_ne", run="mi_ne")]
        with pytest.raises(InputError, match="task 'mine' is already defined"):
            tasks(paths)
