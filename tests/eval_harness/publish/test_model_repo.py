"""Scores in the repository of the model: the hub's own formats, other people's entries kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, eval_result_entries_to_yaml, parse_eval_result_entries

from ecg_hub.errors import InputError
from ecg_hub.hub.client import HubRepository
from eval_harness.config.protocol import MODES
from eval_harness.publish.model_repo import entries_yaml, update_model_repo, with_model_index
from eval_harness.publish.push import PublishError
from eval_harness.publish.repository import root_files, task_id
from eval_harness.tasks.registry import tasks
from tests.support.board import made_up
from tests.support.hub_api import HubApi

BOARD = "org/ecg-leaderboard"


def link(path: str) -> str:
    return f"https://hub/datasets/{BOARD}/blob/main/{path}"


def test_entries_are_the_hubs_own() -> None:
    results = [made_up("ecg-cpc", "ptbxl_super"), made_up("ecg-cpc", "mimic_age")]
    found = parse_eval_result_entries(yaml.safe_load(entries_yaml(results, tasks(), BOARD, link)))
    assert [entry.task_id for entry in found] == ["mimic_age_linear", "ptbxl_super_linear"]
    assert {entry.dataset_id for entry in found} == {BOARD}
    assert found[1].value == results[0].metrics["macro_auroc"].point
    assert "lower is better" in str(found[0].notes)
    assert str(found[1].source_url).endswith("/linear/ptbxl_super.json")


def test_no_key_is_written_that_the_hub_does_not_know() -> None:
    written = yaml.safe_load(entries_yaml([made_up("ecg-cpc", "ptbxl_super")], tasks(), BOARD, link))
    assert eval_result_entries_to_yaml(parse_eval_result_entries(written)) == written


TASK_KEYS = {"id", "config", "split"}
KEYS = {"name", "description", "evaluation_framework", "tasks"}


def test_the_list_of_tasks_follows_the_hubs_specification() -> None:
    files = root_files(tasks().values())
    content = yaml.safe_load(files["eval.yaml"])
    assert set(content) == KEYS
    assert all(set(task) == TASK_KEYS for task in content["tasks"])
    assert all(isinstance(value, str) for task in content["tasks"] for value in task.values())
    entries = parse_eval_result_entries(
        yaml.safe_load(entries_yaml([made_up("ecg-cpc", name) for name in tasks()], tasks(), BOARD, link))
    )
    assert {entry.task_id for entry in entries} <= {task["id"] for task in content["tasks"]}
    card = ModelCard(files["README.md"].decode()).data.to_dict()
    lower = {task_id(name, mode) for name, task in tasks().items() if not task.higher_is_better for mode in MODES}
    assert set(card["lower_is_better"]) == lower
    assert "mimic_age_linear" in lower


def test_the_public_hub_gets_no_list_of_a_framework_that_it_does_not_know() -> None:
    assert set(root_files(tasks().values(), public_hub=True)) == {"README.md"}


def test_other_entries_stay_and_the_same_are_replaced() -> None:
    old = entries_yaml([made_up("ecg-cpc", "ptb"), made_up("ecg-cpc", "georgia", point=0.5)], tasks(), BOARD, link)
    new = entries_yaml([made_up("ecg-cpc", "georgia", point=0.7)], tasks(), BOARD, link, old)
    values = {entry.task_id: entry.value for entry in parse_eval_result_entries(yaml.safe_load(new))}
    assert set(values) == {"ptb_linear", "georgia_linear"}
    assert values["georgia_linear"] == 0.7


def test_leaderboards_of_one_name_keep_their_scores() -> None:
    old = entries_yaml([made_up("ecg-cpc", "ptb", point=0.5)], tasks(), "a/board", link)
    new = entries_yaml([made_up("ecg-cpc", "ptb", point=0.7)], tasks(), "b/board", link, old)
    found = parse_eval_result_entries(yaml.safe_load(new))
    assert [(entry.dataset_id, entry.value) for entry in found] == [("a/board", 0.5), ("b/board", 0.7)]


def test_model_index_keeps_the_card() -> None:
    card = b"---\nlicense: mit\nmodel_name: Mine\ntags:\n- ecg\n---\n# My model\n\nText.\n"
    once = with_model_index(card, [made_up("ecg-cpc", "ptb")], tasks(), link)
    twice = with_model_index(once, [made_up("ecg-cpc", "ptb"), made_up("ecg-cpc", "sph")], tasks(), link)
    found = ModelCard(twice.decode())
    assert found.data.license == "mit"
    assert yaml.safe_load(twice.decode().split("---")[1])["model_name"] == "Mine"
    assert "# My model" in found.text
    assert sorted(str(entry.dataset_config) for entry in found.data.eval_results or ()) == ["ptb_linear", "sph_linear"]
    assert found.data.to_dict()["metrics"] == ["roc_auc"]
    assert with_model_index(twice, [made_up("ecg-cpc", "ptb")], tasks(), link) == twice


def test_model_index_keeps_scores_of_other_settings_apart_and_says_what_deviates() -> None:
    """A score of two epochs had replaced that of the protocol, under its name and without a word."""
    fast = {"name": "fast", "deviations": {"epochs": 2}}
    part = {"name": "paper", "deviations": {"records": "9/16 test"}}
    card = with_model_index(None, [made_up("ecg-cpc", "ptb", point=0.9)], tasks(), link)
    card = with_model_index(card, [made_up("ecg-cpc", "ptb", point=0.6, protocol=fast)], tasks(), link)
    card = with_model_index(card, [made_up("ecg-cpc", "ptb", point=0.7, seed=1, protocol=part)], tasks(), link)
    found = {entry.metric_value: entry for entry in ModelCard(card.decode()).data.eval_results or ()}
    assert {point: entry.dataset_name for point, entry in found.items()} == {
        0.9: "PTB, linear", 0.6: "PTB, linear, protocol fast, epochs 2", 0.7: "PTB, linear, seed 1",
    }  # fmt: skip
    assert str(found[0.9].metric_name).endswith("]")
    assert str(found[0.6].metric_name).endswith("deviations: epochs=2")
    assert str(found[0.7].metric_name).endswith("deviations: records=9/16 test")
    assert "fast+epochs-2" in str(found[0.6].source_url)


def test_written_once(tmp_path: Path) -> None:
    api = HubApi()
    api.create_repo("org/model", repo_type="model", exist_ok=True)
    publisher = HubRepository("org/model", "model", api)
    results = [made_up("ecg-cpc", "ptb"), made_up("ecg-cpc", "ptb", "frozen")]
    first = update_model_repo(results, tasks(), publisher, BOARD, link, model_index=True)
    again = update_model_repo(results, tasks(), publisher, BOARD, link, model_index=True)
    assert first.written == [
        ".eval_results/ecg-leaderboard_frozen.yaml", ".eval_results/ecg-leaderboard_linear.yaml", "README.md",
    ]  # fmt: skip
    assert again.written == []
    assert len(api.repos["org/model", "model"].titles) == 1


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(InputError, match="ecg-hub push"):
        update_model_repo([made_up("ecg-cpc", "ptb")], tasks(), HubRepository("a/b", "model", HubApi()), BOARD, link)


def test_results_of_two_models() -> None:
    results = [made_up("ecg-cpc", "ptb"), made_up("ecg-fm", "ptb")]
    with pytest.raises(PublishError, match="ecg-cpc, ecg-fm"):
        update_model_repo(results, tasks(), HubRepository("a/b", "model", HubApi()), BOARD, link)


@pytest.mark.parametrize("card", [b"---\n: : :\n---\n", b"---\nmodel-index: 3\n---\n"])
def test_a_broken_card_is_said(card: bytes) -> None:
    with pytest.raises(InputError, match="fix it"):
        with_model_index(card, [made_up("ecg-cpc", "ptb")], tasks(), link)


@pytest.mark.parametrize("old", [b"- [", b"- 3", b"value: 1", b"- {date: 2026-13-45}", b"[" * 5000, b"- {value: \xff}"])
def test_a_broken_file_of_results_is_said(old: bytes) -> None:
    with pytest.raises(InputError, match="fix it"):
        entries_yaml([made_up("ecg-cpc", "ptb")], tasks(), BOARD, link, old)
