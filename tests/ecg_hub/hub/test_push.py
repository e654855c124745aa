"""`ecg-hub push` against our own hub, with the real clients: from the authors' names to a model that others load."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
import yaml
from huggingface_hub import CommitOperationAdd

import ecg_hub
from ecg_hub import names
from ecg_hub.errors import InputError
from ecg_hub.hub.client import HubRepository, said
from ecg_hub.hub.package import packed
from ecg_hub.hub.push import Plan, send
from ecg_hub.names import model_folder
from ecg_hub.server.naming import RequestError
from ecg_hub.server.storage import Disk
from eval_harness.cli.hub.main import main
from tests.support.checkpoints import SOURCE, convert_filled, save_tiny
from tests.support.hub import TestHub
from tests.support.hub_cards import check_model_card, code

TINY, REPO = "random:ecg-cpc-tiny", "local/ecg-cpc"
LOADED = """
import hashlib, json, sys
import torch, transformers
import ecg_hub
model = transformers.AutoModel.from_pretrained(sys.argv[1], revision=sys.argv[2]).eval()
extractor = transformers.AutoFeatureExtractor.from_pretrained(sys.argv[1])
x = torch.sin(torch.arange(12 * extractor.spec().samples).reshape(1, 12, -1) / 50)
with torch.no_grad():
    features = model(x).pooler_output
digest = lambda tensors: hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()
print(json.dumps([digest(model.state_dict().values()), digest([features]), model.config.source]))
"""


def commits(hub: TestHub, repo: str = REPO) -> int:
    return len(hub.api().list_repo_commits(repo))


@pytest.mark.heavy  # models of the published size, processes
def test_from_the_authors_names_to_plain_transformers(
    hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = convert_filled("ecg-cpc", tmp_path / "authors")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["-c", str(folder), "main"])
    exec(LOADED, {})
    here = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["push", "ecg-cpc", "--repo", REPO, "--tag", "v1.0", "--dry-run"]) == 0
    assert f"nothing was sent to {REPO} at {hub.url}" in capsys.readouterr().out
    assert not hub.api().repo_exists(REPO)
    assert main(["push", "ecg-cpc", "--repo", REPO, "--tag", "v1.0"]) == 0
    said = capsys.readouterr().out
    size = (folder / "model.safetensors").stat().st_size
    assert f"  model.safetensors  {size:,} bytes" in said
    assert "licence of those weights: CC BY 4.0." in said
    assert 'load it with: ecg_hub.AutoModel.from_pretrained("local/ecg-cpc", revision="v1.0")' in said
    there = json.loads(hub.run(LOADED, "ecg-cpc", "v1.0", token=hub.read_token).splitlines()[-1])
    assert there == here
    assert there[2] == json.loads((folder / "config.json").read_text())["source"]
    info = hub.api().model_info(REPO)
    assert info.card_data is not None
    assert info.card_data.license == "cc-by-4.0"
    assert {file.rfilename for file in info.siblings or ()} == {
        *("README.md", "config.json", "preprocessor_config.json", "model.safetensors")
    }


@pytest.mark.heavy
def test_a_pushed_model_is_scored_under_its_commit(hub: TestHub, tmp_path: Path) -> None:
    from eval_harness.cli.eval.main import main as evaluate

    convert_filled("ecg-cpc", tmp_path / "authors")
    with packed("ecg-cpc") as package:
        commit = send(package, Plan(REPO)).commit
    shutil.rmtree(model_folder("ecg-cpc"))
    words = ["run", "--model", "ecg-cpc", "--tasks", "demo", "--data-root", "mock", "--mode", "linear"]
    output = tmp_path / "results"
    assert evaluate([*words, "--limit", "24", "--epochs", "1", "--resamples", "20", "--output", str(output)]) == 0
    results = [json.loads(path.read_text()) for path in output.rglob("*.json")]
    models = [result["model"] for result in results if "metrics" in result]
    assert models
    assert {(model["id"], model["revision"], model["origin"]) for model in models} == {("ecg-cpc", commit, "catalogue")}


@pytest.mark.heavy  # models of the published size, processes
def test_random_weights_under_a_short_name_never_pass_for_the_model(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eval_harness.cli.eval.main import main as evaluate

    ecg_hub.AutoModel.from_pretrained(TINY).push_to_hub("ecg-cpc")
    commit = hub.api().model_info(REPO).sha
    results, board = tmp_path / "results", tmp_path / "board"
    words = ["--model", "ecg-cpc", "--tasks", "demo", "--data-root", "mock", "--mode", "linear", "--limit", "24"]
    assert evaluate(["run", *words, "--epochs", "1", "--resamples", "20", "--output", str(results)]) == 0
    said = capsys.readouterr().err
    words = "its config.json says that the weights were drawn at random as 'random:ecg-cpc-tiny' with seed 0"
    assert said.count(f"ecg-cpc finds unverified weights, shown as 'unverified:ecg-cpc': {words}") == 1
    assert evaluate(["push", "--results", str(results), "--folder", str(board), "--allow-synthetic"]) == 0
    (meta,) = [json.loads(path.read_text()) for path in board.rglob("model_meta.json")]
    assert (meta["id"], meta["revision"], meta["kind"]) == ("unverified:ecg-cpc", commit, "random")
    assert meta["title"] == "unverified:ecg-cpc, random weights"
    entries = [json.loads(path.read_text()) for path in board.glob("results/unverified__ecg-cpc/*/linear/*.json")]
    assert entries
    assert {entry["model"]["origin"] for entry in entries} == {"random"}
    assert evaluate(["reproduce", str(results / "ecg-cpc" / "linear"), "--output", str(tmp_path / "again")]) == 0


def test_a_model_is_pushed_with_its_extractor(hub: TestHub, tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "mine")
    native = ecg_hub.AutoFeatureExtractor.from_pretrained(folder).with_preset("native")
    native.save_pretrained(folder)
    ecg_hub.AutoModel.from_pretrained(str(folder)).push_to_hub("ward/mine")
    ecg_hub.AutoModelForECGClassification.from_pretrained(TINY).push_to_hub("ward/head")
    for repo, preset in (("ward/mine", "native"), ("ward/head", "benchmark")):
        assert ecg_hub.AutoFeatureExtractor.from_pretrained(repo).preset == preset
        assert len(hub.api().list_repo_commits(repo)) == 2  # made, and one commit with everything
    assert not (tmp_path / "mine" / "README.md").exists()


def test_no_extractor_is_pushed_that_would_feed_something_else(
    hub: TestHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ecg_hub.AutoModel.from_pretrained(TINY, sampling_rate=100).push_to_hub("ward/slow")
    assert "No feature extractor goes along: none is known that feeds" in caplog.text
    assert not hub.api().file_exists("ward/slow", "preprocessor_config.json")


def test_what_is_there_is_not_sent_again(hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["push", TINY, "--repo", REPO]
    assert main(words) == 0
    head = hub.api().model_info(REPO).sha
    assert main([*words, "--message", "again"]) == 0
    assert f"nothing to do: {hub.url}/{REPO}/tree/{head} holds it" in capsys.readouterr().out
    assert hub.api().model_info(REPO).sha == head
    assert main([*words, "--tag", "v1.0"]) == 0
    assert main([*words, "--tag", "v1.0"]) == 0
    assert commits(hub) == 2


def test_a_tag_is_not_moved(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", TINY, "--repo", REPO, "--tag", "v1.0"]) == 0
    head = hub.api().model_info(REPO).sha
    other = save_tiny("ecg-cpc", tmp_path / "other", labels=2)
    assert main(["push", str(other), "--repo", REPO, "--tag", "v1.0"]) == 1
    assert f"Tag 'v1.0' of {REPO} at {hub.url} stands for {head} already" in capsys.readouterr().err
    assert hub.api().model_info(REPO).sha == head


def test_a_branch_of_ones_own(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", TINY, "--repo", REPO]) == 0
    other = save_tiny("ecg-cpc", tmp_path / "other", labels=2)
    assert main(["push", str(other), "--repo", REPO, "--revision", "ward", "--message", "Two labels"]) == 0
    load = f'ecg_hub.AutoModelForECGClassification.from_pretrained("{REPO}", revision="ward")'
    assert f"load it with: {load}" in capsys.readouterr().out
    assert hub.api().list_repo_commits(REPO, revision="ward")[0].title == "Two labels"
    assert "random-weights" in (hub.api().model_info(REPO).tags or ())
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(REPO, revision="ward")
    assert model.config.num_labels == 2


@pytest.mark.heavy
def test_a_pull_request_is_proposed_once(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", TINY, "--repo", REPO]) == 0
    other = str(save_tiny("ecg-cpc", tmp_path / "other", labels=2))
    for words in ("sent README.md", "nothing to do"):
        assert main(["push", other, "--repo", REPO, "--create-pr"]) == 0
        said = capsys.readouterr().out
        assert words in said
        assert f"{hub.url}/{REPO}/discussions/1" in said
    assert commits(hub) == 2
    loaded = ecg_hub.AutoModelForECGClassification.from_pretrained(REPO, revision="refs/pr/1")
    assert loaded.config.num_labels == 2
    for more in (["--tag", "v1"], ["--revision", "ward"]):
        assert main(["push", other, "--repo", REPO, "--create-pr", *more]) == 1


def test_folders_of_this_machine_stay_out_of_the_history(hub: TestHub, tmp_path: Path) -> None:
    folder = save_tiny("s4", tmp_path / "study of alice")
    assert main(["push", str(folder), "--repo", "local/s4"]) == 0
    commit = hub.api().list_repo_commits("local/s4")[0]
    assert "alice" not in commit.title + commit.message


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_unknown", "refuses: Invalid credentials.*hf auth login"),
        ("hf_a-token-that-reads", "'bob' may only read.*token that may write there"),
        ("", "A token is needed.*HF_TOKEN"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_tokens(
    token: str,
    words: str,
    there: bool,
    hub: TestHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if there:
        hub.api().create_repo(REPO)
    monkeypatch.setenv("HF_TOKEN", token)
    assert main(["push", TINY, "--repo", REPO]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(error.replace("\n", " "))


def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch, hub: TestHub) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with packed(TINY) as package, pytest.raises(InputError, match=r"local/ecg-cpc at .*:9 does not answer"):
        send(package, Plan(REPO), HfApi(endpoint="http://127.0.0.1:9"))


@pytest.mark.heavy
def test_a_full_disk(hub: TestHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", TINY, "--repo", REPO]) == 0
    monkeypatch.setattr(Disk, "check_room", _no_room)
    assert main(["push", "random:net1d-tiny", "--repo", "local/net1d"]) == 1
    error = capsys.readouterr().err
    assert "The disk is full" in error
    assert "Traceback" not in error


def _no_room(*_: Any) -> None:
    raise RequestError(507, "The disk is full: 1 GB is kept free.")


@pytest.mark.parametrize("repo", ["ecg-cpc", "a/b/c", "/b", "a b/c"])
def test_names_of_repositories(repo: str, hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--dry-run"]):
        assert main(["push", TINY, "--repo", repo, *more]) == 1
        assert repo in capsys.readouterr().err


def test_a_tag_that_no_hub_takes_is_refused_before_the_commit(hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", TINY, "--repo", "ward/ecg", "--tag", "v 1"]) == 1
    assert "--tag: 'v 1' cannot name a branch or tag" in capsys.readouterr().err
    assert not hub.api().repo_exists("ward/ecg")


@pytest.mark.heavy
def test_what_may_not_be_passed_on(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, repo = str(save_tiny("st-mem", tmp_path / "m", SOURCE, labels=3)), "local/st-mem"
    assert main(["push", folder, "--repo", repo]) == 1
    error = capsys.readouterr().err
    assert "VUNO" in error
    assert "ecg-hub convert st-mem --checkpoint FILE" in error
    assert not hub.api().repo_exists(repo)
    for _ in range(2):
        assert main(["push", folder, "--repo", repo, "--internal"]) == 0
    info = hub.api().model_info(repo)
    assert info.private
    assert commits(hub, repo) == 2
    text = Path(hub.api().hf_hub_download(repo, "README.md")).read_text()
    assert "## Internal copy" in text
    assert "CC BY-NC 4.0" in text
    assert main(["push", str(save_tiny("st-mem", tmp_path / "own")), "--repo", "local/own"]) == 0


def test_an_internal_copy_goes_to_no_public_repository(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(save_tiny("st-mem", tmp_path / "m", SOURCE))
    hub.api().create_repo("local/open")
    for option in ("--internal", "--private"):
        name = folder if option == "--internal" else TINY
        assert main(["push", name, "--repo", "local/open", option]) == 1
        assert "is there and public" in capsys.readouterr().err
    assert commits(hub, "local/open") == 1
    assert main(["push", TINY, "--repo", "local/mine", "--private"]) == 0
    assert hub.api().model_info("local/mine").private


def test_weights_of_another_division_do_not_stay(hub: TestHub, tmp_path: Path) -> None:
    model = ecg_hub.AutoModel.from_pretrained(TINY)
    folder = save_tiny("ecg-cpc", tmp_path / "m")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = {path.name for path in folder.glob("*.safetensors")}
    assert len(shards) > 1
    assert main(["push", str(folder), "--repo", REPO]) == 0
    assert shards < set(hub.api().list_repo_files(REPO))
    assert main(["push", TINY, "--repo", REPO]) == 0
    files = set(hub.api().list_repo_files(REPO))
    assert {name for name in files if "safetensors" in name} == {"model.safetensors"}


@pytest.mark.heavy
def test_scores_in_the_card_stay_with_the_same_weights(hub: TestHub, tmp_path: Path) -> None:
    folder = save_tiny("ecg-cpc", tmp_path / "m", SOURCE)
    assert main(["push", str(folder), "--repo", REPO]) == 0
    api = hub.api()
    card = Path(api.hf_hub_download(REPO, "README.md")).read_text()
    assert f'ecg_hub.AutoModel.from_pretrained("{REPO}")' in code(card)
    check_model_card(card)
    _, front, body = card.split("---\n", 2)
    scored = {**yaml.safe_load(front), "model-index": [{"name": "m", "results": []}]}
    text = f"---\n{yaml.safe_dump(scored, sort_keys=False, allow_unicode=True, width=120)}---\n{body}"
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=REPO)
    head = api.model_info(REPO).sha
    assert main(["push", str(folder), "--repo", REPO]) == 0
    assert api.model_info(REPO).sha == head
    with torch.no_grad():
        model = ecg_hub.AutoModel.from_pretrained(folder)
        next(model.parameters()).add_(1)
        model.save_pretrained(folder)
    assert main(["push", str(folder), "--repo", REPO]) == 0
    assert "model-index" not in Path(api.hf_hub_download(REPO, "README.md")).read_text()


def test_somebody_else_commits_in_between(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    api, real = hub.api(), HubRepository.commit
    api.create_repo(REPO)

    def commit(self: HubRepository, *words: Any, **more: Any) -> Any:
        monkeypatch.setattr(HubRepository, "commit", real)
        api.create_commit(REPO, [CommitOperationAdd("notes.txt", b"mine")], commit_message="notes")
        return real(self, *words, **more)

    monkeypatch.setattr(HubRepository, "commit", commit)
    with packed(TINY) as package:
        send(package, Plan(REPO))
    assert {"notes.txt", "model.safetensors"} <= set(api.list_repo_files(REPO))
    assert commits(hub) == 3


def test_a_connection_that_breaks_during_an_upload_is_told() -> None:
    wrapped = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    wrapped.__cause__ = httpx2.ReadError("broken")
    with pytest.raises(InputError, match=r"x does not answer \(ReadError: broken\).*continues once it does"), said("x"):
        raise wrapped
    with pytest.raises(KeyError), said("x"):
        raise KeyError("a fault of ours is not the hub's")


def test_the_public_hub_is_known_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, public in (
        ("https://huggingface.co/", True),
        ("http://HUGGINGFACE.co:443", True),
        ("https://hf.co", True),
        ("https://hub-ci.huggingface.co", True),
        ("https://huggingface.co.hospital.example", False),
        ("http://127.0.0.1:8000", False),
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert names.is_public_hub() is public, address
