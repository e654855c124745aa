"""transformers, datasets, cards, results and the command line against the hub, as their users use them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, eval_result_entries_to_yaml, metadata_update

import ecg_hub
from ecg_hub.utils import remote
from tests.support.hub import TestHub
from tests.support.models import tiny


def _same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_model_of_ours_is_pushed_and_loaded_by_its_short_name(hub: TestHub) -> None:
    from transformers import AutoConfig, AutoModel

    model = tiny("net1d")
    assert str(model.push_to_hub("net1d").repo_url) == f"{hub.url}/local/net1d"
    hub.api().create_tag("net1d", tag="v1.0")
    assert _same(ecg_hub.AutoModel.from_pretrained("net1d"), model)
    assert _same(AutoModel.from_pretrained("net1d"), model)
    assert _same(AutoModel.from_pretrained("local/net1d", revision="v1.0", token=hub.read_token), model)
    assert AutoConfig.from_pretrained("local/net1d").model_type == model.config.model_type
    resolved = ecg_hub.names.resolve("net1d")
    assert (resolved.kind, resolved.commit("v1.0")) == ("hub", hub.api().model_info("net1d").sha)
    info = hub.api().model_info("net1d")
    assert info.config is not None
    assert info.config["model_type"] == model.config.model_type
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    model.push_to_hub("net1d", create_pr=True)
    assert _same(AutoModel.from_pretrained("net1d", revision="refs/pr/1"), model)
    assert not _same(AutoModel.from_pretrained("net1d"), model)


def test_a_repository_is_a_folder_behind_a_url(hub: TestHub) -> None:
    hub.api().create_repo("ward/results", repo_type="dataset")
    url = "hf://datasets/ward/results/run"
    folder = remote.place(url)
    (folder / "sub").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "sub" / "b.bin").write_bytes(b"x" * 10**5)
    assert remote.publish(folder) == ["a.json", "sub/b.bin"]
    shutil.rmtree(remote.home() / "remote")
    assert (remote.bring(folder) / "sub" / "b.bin").stat().st_size == 10**5
    assert remote.publish(folder) == []
    (folder / "a.json").unlink()
    assert remote.publish(folder, exactly=True) == []
    assert list(remote.listing(url)) == ["sub/b.bin"]


def test_a_dataset_is_pushed_loaded_streamed_and_grows(hub: TestHub) -> None:
    import datasets

    signal = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    train = datasets.Dataset.from_dict({"signal": list(signal), "label": ["AF", "SR", "AF", "SR", "AF"]})
    test = train.select([0, 1])
    parts = datasets.DatasetDict({"train": train, "test": test})
    parts.push_to_hub("ward/ptb", config_name="super", num_shards={"train": 2, "test": 1})
    train.push_to_hub("ward/ptb", config_name="rhythm", split="train")
    assert sorted(datasets.get_dataset_config_names("ward/ptb")) == ["rhythm", "super"]
    loaded = datasets.load_dataset("ward/ptb", "super")
    assert {name: len(part) for name, part in loaded.items()} == {"train": 5, "test": 2}
    np.testing.assert_array_equal(np.array(loaded["train"]["signal"]), signal)
    streamed = datasets.load_dataset("ward/ptb", "super", split="test", streaming=True, token=hub.read_token)
    assert [row["label"] for row in streamed] == ["AF", "SR"]
    train.select([0]).push_to_hub("ward/ptb", config_name="super", split="validation")
    names = datasets.get_dataset_split_names("ward/ptb", "super")
    assert sorted(names) == ["test", "train", "validation"]
    card = hub.api().dataset_info("ward/ptb").card_data
    assert card is not None
    assert [config["config_name"] for config in card["configs"]] == ["rhythm", "super"]


def test_plain_files_are_a_dataset_too(hub: TestHub, tmp_path: Path) -> None:
    import datasets

    api = hub.api()
    api.create_repo("ward/tables", repo_type="dataset")
    for name, rows in (("train", "1,a\n2,b\n3,c\n"), ("test", "4,d\n")):
        api.upload_file(
            path_or_fileobj=b"id,label\n" + rows.encode(),
            path_in_repo=f"data/{name}.csv",
            repo_id="ward/tables",
            repo_type="dataset",
        )
    loaded = datasets.load_dataset("ward/tables")
    assert (loaded["train"]["id"][:], loaded["test"]["label"][:]) == ([1, 2, 3], ["d"])
    assert datasets.load_dataset("csv", data_files="hf://datasets/ward/tables/data/test.csv")["train"].num_rows == 1


def test_cards_and_their_metadata(hub: TestHub) -> None:
    hub.api().create_repo("ward/ecg")
    card = ModelCard("---\nlicense: mit\ntags: [ecg]\ndatasets: [ptb-xl]\nlanguage: [de]\n---\n# A model\n")
    card.push_to_hub("ward/ecg")
    metadata_update("ward/ecg", {"library_name": "ecg-hub", "pipeline_tag": "other"})
    loaded = ModelCard.load("ward/ecg")
    assert (loaded.data.library_name, loaded.data.license) == ("ecg-hub", "mit")
    info = hub.api().model_info("ward/ecg")
    assert (info.library_name, info.pipeline_tag) == ("ecg-hub", "other")
    assert set(info.tags or ()) == {"ecg", "ecg-hub", "other", "license:mit", "dataset:ptb-xl", "de"}
    assert [model.id for model in hub.api().list_models(filter="dataset:ptb-xl")] == ["ward/ecg"]


def _report(hub: TestHub, model: str, values: dict[str, float], card: str = "") -> None:
    api = hub.api()
    api.create_repo(model)
    entries = [
        EvalResultEntry("ward/bench", task, value, source_url=f"{hub.url}/x", source_name="ecg-eval", notes="linear")
        for task, value in values.items()
    ]
    text = yaml.safe_dump(eval_result_entries_to_yaml(entries))
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo=".eval_results/bench.yaml", repo_id=model)
    if card:
        api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=model)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("README.md", b"---\nlower_is_better: [age]\n---\n# Bench\n"),
        ("README.md", b"---\nlower_is_better: age\n---\n# Bench\n"),
        ("eval.yaml", b"name: bench\ntasks:\n- id: super\n- {id: age, lower_is_better: true}\n"),  # of older versions
    ],
)
def test_results_in_model_repositories_make_a_leaderboard(path: str, content: bytes, hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/bench", repo_type="dataset")
    api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id="ward/bench", repo_type="dataset")
    _report(hub, "ward/a", {"super": 0.91, "age": 9.0})
    _report(hub, "ward/b", {"super": 0.93, "age": 8.0})
    _report(hub, "ward/c", {"super": 0.91}, card="---\nbase_model: ward/a\n---\n")
    rows = api.get_dataset_leaderboard("ward/bench")
    found = [(row.taskId, row.rank, row.model_id, row.value) for row in rows]  # type: ignore[attr-defined]
    assert found == [
        ("age", 1, "ward/b", 8.0),
        ("age", 2, "ward/a", 9.0),
        ("super", 1, "ward/b", 0.93),
        ("super", 2, "ward/a", 0.91),
    ]
    assert (rows[0].filename, rows[0].verified, rows[0].notes) == (".eval_results/bench.yaml", False, "linear")
    assert rows[0].author.name == "ward"
    every = api.get_dataset_leaderboard("ward/bench", base_model_only=False)
    assert [(row.rank, row.model_id) for row in every][2:] == [(1, "ward/b"), (2, "ward/a"), (2, "ward/c")]
    results = api.model_info("ward/a", expand=["evalResults"]).eval_results
    assert [(entry.task_id, entry.value) for entry in results or ()] == [("super", 0.91), ("age", 9.0)]
    for bad in (b"- {dataset: 1}\n", b"[", b"- {dataset: {id: ward/bench, task_id: super}, value: high}\n"):
        api.upload_file(path_or_fileobj=bad, path_in_repo=".eval_results/bad.yaml", repo_id="ward/b")
        assert [row.model_id for row in api.get_dataset_leaderboard("ward/bench")] == [row.model_id for row in rows]


@pytest.mark.heavy  # processes that import torch
def test_a_user_sets_three_variables_and_nothing_else(hub: TestHub, tmp_path: Path) -> None:
    printed = hub.run(
        "import torch, transformers, ecg_hub, datasets\n"
        "model = ecg_hub.AutoModel.from_pretrained('random:net1d-tiny')\n"
        "model.push_to_hub('net1d')\n"
        "again = transformers.AutoModel.from_pretrained('net1d')\n"
        "print(all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values())))\n"
        "datasets.Dataset.from_dict({'x': [1, 2]}).push_to_hub('ward/d')\n"
        "print(datasets.load_dataset('ward/d', split='train')['x'][:])\n"
    )
    assert printed.splitlines()[-2:] == ["True", "[1, 2]"]


@pytest.mark.heavy  # processes that import torch
def test_the_hf_command_line(hub: TestHub, tmp_path: Path) -> None:
    program = Path(sysconfig.get_path("scripts")) / "hf"
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "a.bin").write_bytes(b"\0" * 100_000)
    (tmp_path / "up" / "b.txt").write_text("b")

    def hf(*words: str) -> str:
        command = [sys.executable, str(program), *words]
        done = subprocess.run(command, env=hub.environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert "alice" in hf("auth", "whoami")
    hf("repos", "create", "ward/cli", "--type", "dataset")
    hf("upload", "ward/cli", str(tmp_path / "up"), ".", "--repo-type", "dataset")
    hf("download", "ward/cli", "--repo-type", "dataset", "--local-dir", str(tmp_path / "down"))
    assert (tmp_path / "down" / "a.bin").read_bytes() == b"\0" * 100_000
    assert "ward/cli" in hf("datasets", "list", "--format", "json")


def test_what_was_fetched_is_there_without_the_hub(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from transformers import AutoModel

    model = tiny("net1d")
    model.push_to_hub("net1d")
    AutoModel.from_pretrained("net1d")
    config = hf_hub_download("net1d", "config.json")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hf_hub_download("net1d", "config.json", endpoint="http://127.0.0.1:9") == config
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert snapshot_download("net1d") == str(Path(config).parent)
    assert _same(AutoModel.from_pretrained("net1d"), model)
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("net1d", "training.log")
