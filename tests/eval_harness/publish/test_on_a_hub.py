"""Publishing end to end with the real client against our own hub."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from huggingface_hub import get_token

from ecg_hub.errors import InputError
from ecg_hub.hub.client import HubRepository
from eval_harness.cli.eval.main import main
from eval_harness.publish.push import prepare, push
from eval_harness.publish.repository import HubModels
from eval_harness.results.folders import read_found
from eval_harness.tasks.registry import tasks
from tests.support.board import write_scored
from tests.support.hub import TestHub

REPO = "alice/ecg-leaderboard"


def run_push(folder: Path, *more: str) -> int:
    return main(["push", "--results", str(folder), "--repo", REPO, *more])


@pytest.mark.heavy
def test_from_results_to_a_page(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get_token() == hub.write_token
    write_scored(tmp_path / "runs" / "linear")
    write_scored(tmp_path / "runs" / "frozen", mode="frozen")
    assert run_push(tmp_path / "runs", "--with-predictions") == 0
    api = hub.api()
    before = api.repo_info(REPO, repo_type="dataset").sha
    assert run_push(tmp_path / "runs", "--with-predictions") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert api.repo_info(REPO, repo_type="dataset").sha == before

    page, space = tmp_path / "page", "alice/board"
    assert main(["leaderboard", "--repo", REPO, "--output", str(page), "--space", space, "--check"]) == 0
    said = json.loads((page / "leaderboard.json").read_text(encoding="utf-8"))
    own = [row for row in said["rows"] if not row["published"]]
    assert [score["state"] for row in own for score in row["scores"].values()] == ["recomputed", "recomputed"]
    assert f"{hub.url}/datasets/{REPO}/blob/{before}/results/" in (page / "index.html").read_text(encoding="utf-8")
    assert {"index.html", "leaderboard.json", "README.md"} <= set(api.list_repo_files(space, repo_type="space"))
    capsys.readouterr()
    assert main(["leaderboard", "--repo", REPO, "--output", str(page), "--space", space]) == 0
    assert "nothing changed" in capsys.readouterr().out


@pytest.mark.heavy
def test_forged_entries_are_found(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_push(write_scored(tmp_path / "run"), "--with-predictions") == 0
    api = hub.api()
    path = next(name for name in api.list_repo_files(REPO, repo_type="dataset") if name.endswith("ptbxl_super.json"))
    forged = Path(api.hf_hub_download(REPO, path, repo_type="dataset", local_dir=tmp_path / "copy"))
    content = json.loads(forged.read_text(encoding="utf-8"))
    content["metrics"]["macro_auroc"]["point"] = 0.99
    api.upload_file(path_or_fileobj=json.dumps(content).encode(), path_in_repo=path, repo_id=REPO, repo_type="dataset")
    capsys.readouterr()
    assert main(["leaderboard", "--repo", REPO, "--check"]) == 1
    assert "it was changed after it was published" in capsys.readouterr().out


@pytest.mark.heavy
def test_eight_at_once_all_arrive(hub: TestHub, tmp_path: Path) -> None:
    aliases = ("ecg-cpc", "ecg-fm", "ecg-jepa", "hubert-ecg", "merl", "st-mem", "s4", "net1d")
    names = [f"random:{alias}-tiny" for alias in aliases]
    runs = [write_scored(tmp_path / str(number), name) for number, name in enumerate(names)]
    ready = [prepare([read_found(folder)], tasks()) for folder in runs]
    gate, lost = threading.Barrier(len(runs)), list[Exception]()

    def work(number: int) -> None:
        gate.wait()
        try:
            push(ready[number], HubRepository(REPO, "dataset", hub.api()), tasks().values())
        except Exception as error:
            lost.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    files = hub.api().list_repo_files(REPO, repo_type="dataset")
    assert sum(name.endswith("/ptbxl_super.json") for name in files) == len(runs)
    assert sum(name.endswith("/model_meta.json") for name in files) == len(runs)


def test_a_pull_request(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_scored(tmp_path / "run")
    hub.api().create_repo(REPO, repo_type="dataset")
    assert run_push(folder, "--create-pr") == 0
    assert "written" in capsys.readouterr().out
    assert not any(name.startswith("results/") for name in hub.api().list_repo_files(REPO, repo_type="dataset"))
    assert any(
        name.startswith("results/")
        for name in hub.api().list_repo_files(REPO, repo_type="dataset", revision="refs/pr/1")
    )


def test_a_read_token_writes_nothing(hub: TestHub, tmp_path: Path) -> None:
    ready = prepare([read_found(write_scored(tmp_path / "run"))], tasks())
    with pytest.raises(InputError, match="hf auth login"):
        push(ready, HubRepository(REPO, "dataset", hub.api(hub.read_token)), tasks().values())


def test_scores_in_the_repository_of_the_model(hub: TestHub, tmp_path: Path) -> None:
    api = hub.api()
    api.create_repo("alice/mine")
    card = b"---\nlicense: mit\n---\n# Mine\n"
    commit = api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="alice/mine").oid
    folder = write_scored(tmp_path / "run", "alice/mine", revision=commit)
    assert run_push(folder, "--model-repo", "alice/mine", "--model-index") == 0
    assert ".eval_results/ecg-leaderboard_linear_resamples-50.yaml" in api.list_repo_files("alice/mine")
    info = api.model_info("alice/mine")
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert len(info.card_data.eval_results or ()) == 1
    facts = HubModels(api).look_up("alice/mine", commit)
    assert facts is not None
    assert facts.licence == "mit"
    assert HubModels(api).look_up("alice/mine", "f" * 40) is None
    assert HubModels(api).look_up("alice/mine", "main") is None


def test_a_hub_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    ready = prepare([read_found(write_scored(tmp_path / "run"))], tasks())
    with pytest.raises(InputError, match="does not answer"):
        push(ready, HubRepository(REPO, "dataset", HfApi(endpoint="http://127.0.0.1:9")), tasks().values())
