from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_scripts.catalog import datasets
from ecg_hub.catalog import checkpoints
from eval_harness.cli.eval.main import main
from eval_harness.config.protocol import MODES
from eval_harness.tasks.registry import suites, tasks
from tests.support.tasks import GOOD

NAMES = {
    "tasks": lambda: list(tasks()),
    "suites": lambda: list(suites()),
    "models": lambda: [*checkpoints(), "trivial"],
    "datasets": lambda: list(datasets()),
    "modes": lambda: list(MODES),
}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


class TestList:
    @pytest.mark.parametrize("what", NAMES)
    def test_one_line_each(self, what: str, capsys: pytest.CaptureFixture[str]) -> None:
        lines = printed(capsys, "ls", what).partition("\n\n")[0].splitlines()
        assert [line.split()[0] for line in lines[1:]] == NAMES[what]()

    @pytest.mark.parametrize("what", NAMES)
    def test_json_has_every_field(self, what: str, capsys: pytest.CaptureFixture[str]) -> None:
        content = json.loads(printed(capsys, "ls", what, "--json"))
        assert [item["name"] for item in content] == NAMES[what]()

    def test_tasks_by_default_with_own_ones_included(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "my_infarction.yaml").write_text(GOOD)
        assert "my_infarction" not in printed(capsys, "ls")
        assert "my_infarction" in printed(capsys, "ls", "--include", str(tmp_path))

    @pytest.mark.parametrize(("written", "meant"), [("task", "tasks"), ("sutes", "suites"), ("runs", "")])
    def test_other_lists_do_not_exist(self, written: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["ls", written])
        errors = capsys.readouterr().err
        assert f"Unknown list {written!r}." in errors
        assert (f"Did you mean {meant!r}" in errors) == bool(meant)
        for what in NAMES:
            assert what in errors.rpartition("Known:")[2]


class TestDescribe:
    def test_a_task_says_where_its_scores_come_from(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = printed(capsys, "describe", "ptbxl_diag")
        for words in (
            "PTB-XL (diag) (ptbxl_diag), version 1",
            "ptbxl_all, shared with ptbxl_all, ptbxl_form, ptbxl_rhythm",
            "open, CC-BY-4.0",
            "https://physionet.org/content/ptb-xl/",
            "macro AUROC, higher is better",
            "44: 1AVB, 2AVB,",
            "95 %, by record",
        ):
            assert words in text

    def test_a_task_of_the_user(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "my_infarction.yaml").write_text(GOOD.replace("version: 1", "version: 1\nsuperseded_by: ptbxl_all"))
        text = printed(capsys, "describe", "my_infarction", "--include", str(tmp_path))
        assert "published      no" in text
        assert "superseded by  ptbxl_all" in text

    @pytest.mark.parametrize("what", ["suites", "datasets", "modes", "models"])
    def test_other_things(self, what: str, capsys: pytest.CaptureFixture[str]) -> None:
        for name in NAMES[what]():
            assert name in printed(capsys, "describe", name)

    def test_a_suite_lists_its_tasks(self, capsys: pytest.CaptureFixture[str]) -> None:
        members = suites()["all"].members()
        assert f"{len(members)}: {members[0]}, " in printed(capsys, "describe", "all")

    def test_random_models_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "ECG-CPC" in printed(capsys, "describe", "random:ecg-cpc-tiny")

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        (item,) = json.loads(printed(capsys, "describe", "ptbxl_super", "--json"))
        assert (item["what"], item["name"], len(item["labels"])) == ("task", "ptbxl_super", 5)

    def test_a_name_of_two_things_shows_both(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(MODES, "demo", "a mode of the same name as a suite")
        text = printed(capsys, "describe", "demo")
        assert "suite  demo" in text
        assert "a mode of the same name" in text
        assert [item["what"] for item in json.loads(printed(capsys, "describe", "demo", "--json"))] == ["suite", "mode"]

    def test_unknown_names_get_suggestions(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["describe", "ptbxl_supper"]) == 2
        assert "Did you mean 'ptbxl_super'" in capsys.readouterr().err


class TestValidate:
    def test_good_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "mine.yaml").write_text(GOOD)
        text = printed(capsys, "validate", str(tmp_path / "mine.yaml"))
        assert text == "ok: my_infarction version 1, 2 labels, run ptbxl_all on ptb-xl\n"

    def test_bad_files_fail_with_every_problem(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "a.yaml").write_text(GOOD.replace("metric: macro_auroc", "metric: auc"))
        (tmp_path / "b.yaml").write_text(GOOD.replace("dataset: ptb-xl\n", ""))
        assert main(["validate", str(tmp_path)]) == 1
        errors = capsys.readouterr().err
        assert "a.yaml: field 'metric': 'auc' is not allowed" in errors
        assert "b.yaml: field 'dataset' is missing" in errors


@pytest.mark.heavy
def test_listing_imports_nothing_heavy_and_pipes_whole_names() -> None:
    program = (
        "import sys\n"
        "from eval_harness.cli.eval.main import main\n"
        "for words in (['ls'], ['ls', 'suites'], ['ls', 'models'], ['ls', 'datasets'], ['describe', 'ptbxl_all']):\n"
        "    assert main(words) == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'scipy', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in (*tasks(), *suites(), *checkpoints(), *datasets()):
        assert f"\n{name} " in done.stdout
