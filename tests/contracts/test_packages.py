"""A package of somebody else's adds models, datasets and tasks by being installed, and breaks no listing."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecg_hub
from dataset_scripts import catalog as dataset_catalog
from dataset_scripts.mock import available, write
from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import InputError
from ecg_hub.packages import DATASETS, MODELS, OWN, SWITCH, TASKS
from ecg_hub.weights.conversion import convert
from eval_harness.cli.eval.main import main
from eval_harness.cli.hub.main import main as hub
from eval_harness.models.checks.contract import validate_model
from eval_harness.results.schema import read_result
from eval_harness.tasks import registry
from tests.support.packages import EXAMPLE, announce, environment, install, installed

PACKAGE = "their-ecg 1.2"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(EXAMPLE, tmp_path_factory.mktemp("site"))


@pytest.fixture
def _example(target: Path) -> Iterator[None]:
    with installed(target):
        yield


@pytest.mark.usefixtures("_example")
def test_the_listings_have_what_a_package_adds(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalog.get("Their_Model").package == PACKAGE
    assert catalog.get("ecg-cpc").package == OWN
    assert "their-model" not in catalog.built_in()
    assert "their-data" in available()
    for what, name in (("models", "their-model"), ("datasets", "their-data"), ("tasks", "their_task")):
        assert main(["ls", what]) == 0
        lines = capsys.readouterr().out.splitlines()
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert f"  {PACKAGE}" in line
        assert "  package" in lines[0]
        assert main(["ls", what, "--json"]) == 0
        listed = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
        assert listed[name]["package"] == PACKAGE
        assert sum(item.get("package") == OWN for item in listed.values()) >= len(listed) - 2
        assert "folder" not in listed[name]
        assert main(["describe", name]) == 0
        assert PACKAGE in capsys.readouterr().out
    assert hub(["ls"]) == 0
    assert hub(["data", "ls"]) == 0
    assert capsys.readouterr().out.count(PACKAGE) == 2


@pytest.mark.usefixtures("_example")
def test_suites_and_published_names_stay(tmp_path: Path) -> None:
    assert all("their_task" not in suite.members() for suite in registry.suites().values())
    own = tmp_path / "own.yaml"
    text = (EXAMPLE / "their_ecg" / "tasks" / "their_task.yaml").read_text()
    own.write_text(text)
    with pytest.raises(InputError, match=f"'their_task' is registered by {PACKAGE}"):
        registry.tasks([own])
    # A user's task may be about the dataset of a package.
    own.write_text(text.replace("their_task", "mine").replace("their-data", "TheirData"))
    assert registry.tasks([own])["mine"].dataset == "their-data"


@pytest.mark.usefixtures("_example")
def test_the_model_keeps_the_contract() -> None:
    assert {check for check in validate_model("random:their-model") if check.status != "ok"} == set()


@pytest.mark.usefixtures("_example")
def test_the_model_without_converter_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no converter: their-ecg"):
        convert("their-model", tmp_path / "file")


@pytest.mark.usefixtures("_example")
def test_it_is_scored_on_its_own_mock(tmp_path: Path) -> None:
    root = tmp_path / "root"
    # In another spelling, as people name folders.
    write("their-data", root / "Their_Data", records=80)
    words = ["--model", "random:Their_Model", "--tasks", "their-task", "--mode", "linear", "--epochs", "4"]
    words += ["--batch-size", "16", "--learning-rate", "0.1", "--resamples", "50", "--device", "cpu"]
    words += ["--data-root", str(root), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "results")]
    assert main(words) == 0
    result = read_result(tmp_path / "results" / "random__their-model" / "linear" / "their_task.json")
    assert result.status == "done", result.reason
    assert result.metrics["macro_auroc"].point == 1.0


@pytest.mark.heavy
def test_the_command_line_scores_it_on_simulated_records(target: Path, tmp_path: Path) -> None:
    words = ["--model", "random:their-model", "--tasks", "their_task", "--data-root", "mock", "--mode", "linear"]
    words += ["--epochs", "1", "--limit", "64", "--output", str(tmp_path / "results")]
    command = [sys.executable, "-m", "eval_harness", *words]
    done = subprocess.run(command, env=environment(target, tmp_path / "home"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy
def test_listing_imports_no_torch(target: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from eval_harness.cli.eval.main import main\n"
        "assert main(['ls', 'models']) == main(['ls', 'tasks']) == main(['ls', 'datasets']) == 0\n"
        "assert not {'torch', 'transformers', 'datasets', 'their_ecg.models'} & set(sys.modules)\n"
    )
    env = environment(target, tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "their-model" in done.stdout
    assert done.stderr == ""


BROKEN = {
    "an import that fails": (DATASETS, "gone.dataset", "ModuleNotFoundError"),
    "no folder": (TASKS, "token", "no folder of task files"),
    "a folder without task files": (TASKS, "broken_ecg.empty", "holds no task file"),
    "a folder without model.yaml": (MODELS, "broken_ecg.empty", "holds no model.yaml"),
    "no model": (MODELS, "json:dumps", "neither a folder with a model.yaml nor a ModelEntry"),
    "no dataset": (DATASETS, "json", "must define DATASET"),
    "an object that is no dataset": (DATASETS, "json:dumps", "is no ECGDataset"),
    "a damaged model.yaml": (MODELS, "broken_ecg.damaged", "Fields of a model"),
    "our model": (MODELS, "broken_ecg.taken", "model_type 'merl' is that of 'merl' of ecg-hub"),
    "the name of our model": (MODELS, "broken_ecg.spelled", "'M.E.R.L' has the name of 'merl' of ecg-hub"),
    "our dataset": (DATASETS, "dataset_scripts.published.sph", "the dataset 'sph' has the name of 'sph' of ecg-hub"),
    "our task": (TASKS, "broken_ecg.tasks", "task 'sph' is built in"),
    "a task on no dataset": (TASKS, "broken_ecg.homeless", "'nowhere' is no dataset"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with every fault in a folder of its own."""
    folder = tmp_path_factory.mktemp("broken")
    package = folder / "broken_ecg"
    for name in ("empty", "damaged", "taken", "spelled", "tasks", "homeless"):
        (package / name).mkdir(parents=True)
    (package / "damaged" / "model.yaml").write_text("alias: x\n")
    ours = (catalog.MODELS_FOLDER / "merl" / "model.yaml").read_text()
    (package / "taken" / "model.yaml").write_text(ours.replace("alias: merl", "alias: other"))
    spelled = ours.replace("alias: merl", "alias: M.E.R.L").replace("model_type: merl", "model_type: other")
    (package / "spelled" / "model.yaml").write_text(spelled)
    shutil.copy(registry.TASKS_FOLDER / "sph.yaml", package / "tasks")
    task = (EXAMPLE / "their_ecg" / "tasks" / "their_task.yaml").read_text()
    (package / "homeless" / "t.yaml").write_text(task.replace("their-data", "nowhere"))
    return folder


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_package_costs_one_warning(
    fault: str, broken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group, value, reason = BROKEN[fault]
    before = set(catalog.built_in()), set(dataset_catalog.datasets()), set(registry.tasks())
    announce(tmp_path, "broken-ecg", "3", {group: {"entry": value}})
    with installed(broken), installed(tmp_path), caplog.at_level(logging.WARNING):
        for _ in range(2):
            after = set(catalog.checkpoints()), set(dataset_catalog.datasets()), set(registry.tasks())
    assert after == before
    (warning,) = caplog.messages
    assert warning.startswith(f"broken-ecg 3 is left out: its entry point entry = {value} of {group} failed with ")
    assert reason in warning


def test_two_packages_with_one_name(target: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    announce(tmp_path, "zweite", "0.1", {DATASETS: {"entry": "their_ecg.dataset:DATASET"}})
    with installed(target), installed(tmp_path), caplog.at_level(logging.WARNING):
        assert dataset_catalog.package_of("their-data") == PACKAGE
    (warning,) = caplog.messages
    assert "zweite 0.1 is left out" in warning
    assert f"the dataset 'their-data' has the name of 'their-data' of {PACKAGE}" in warning


def test_a_model_may_be_an_entry_in_code(tmp_path: Path) -> None:
    (tmp_path / "coded_ecg.py").write_text(
        "from dataclasses import replace\nfrom ecg_hub.catalog import MODELS_FOLDER, read_entry\n"
        "ENTRIES = [replace(read_entry(MODELS_FOLDER / 'merl' / 'model.yaml'), alias='coded', model_type='coded')]\n"
    )
    announce(tmp_path, "coded-ecg", "1", {MODELS: {"entry": "coded_ecg:ENTRIES"}})
    with installed(tmp_path):
        entry = catalog.get("coded")
        assert isinstance(entry, ModelEntry)
        assert entry.package == "coded-ecg 1"


@pytest.mark.parametrize("fault", ["gone", "other"])
def test_a_model_whose_code_is_broken_leaves_the_others(
    fault: str, target: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = tmp_path / "half_ecg"
    package.mkdir()
    text = (EXAMPLE / "their_ecg" / "models" / "model.yaml").read_text()
    text = text.replace("alias: their-model", "alias: half").replace("model_type: their_model", "model_type: half")
    module = "half_ecg.gone" if fault == "gone" else "their_ecg.models.configuration_their_model"
    text = text.replace("config: their_ecg.models.configuration_their_model", f"config: {module}")
    (package / "model.yaml").write_text(text)
    announce(tmp_path, "half-ecg", "1", {MODELS: {"entry": "half_ecg"}})
    with installed(target), installed(tmp_path), caplog.at_level(logging.WARNING):
        for _ in range(2):
            ecg_hub.AutoModel.from_pretrained("random:merl-tiny")
        assert "half" in catalog.models()
    (warning,) = caplog.messages
    assert warning.startswith("half-ecg 1: model 'half' cannot be used: ")


def test_packages_can_be_switched_off(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with installed(target):
        monkeypatch.setenv(SWITCH, "off")
        assert "their-model" not in catalog.models()
