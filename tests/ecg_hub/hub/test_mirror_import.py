"""`ecg-hub import`: a mirror, checked, on a hub self-hosted; twice, interrupted, damaged, updated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import HfApi

import ecg_hub
from ecg_hub.hub import mirror_import
from ecg_hub.hub.client import HubRepository
from ecg_hub.hub.manifest import FILE, read_manifest
from ecg_hub.hub.mirror import MirrorRequest, mirror
from ecg_hub.hub.package import packed
from ecg_hub.hub.push import Plan, send
from ecg_hub.names import model_folder
from eval_harness.cli.hub.main import main
from tests.support.checkpoints import SOURCE, save_tiny
from tests.support.hub import TestHub

MODEL, DATA = "ward/ecg", "ward/tables"
Change = Callable[[Path], Any]


def add_data(api: HfApi, content: str = "id,label\n1,a\n2,b\n") -> str:
    api.create_repo(DATA, repo_type="dataset", exist_ok=True)
    done = api.upload_file(
        path_or_fileobj=content.encode(), path_in_repo="data/train.csv", repo_id=DATA, repo_type="dataset"
    )
    return str(done.oid)


@pytest.fixture
def disk(hub: TestHub, tmp_path: Path) -> Path:
    """A mirror of a model with a tag and of a dataset; their repositories are gone from the hub."""
    with packed("random:ecg-cpc-tiny") as package:
        send(package, Plan(MODEL, tag="v1.0"))
    add_data(hub.api())
    folder = tmp_path / "disk"
    mirror(MirrorRequest(MODEL), folder)
    mirror(MirrorRequest(DATA, "dataset"), folder)
    forget(hub.api())
    return folder


def forget(api: HfApi) -> None:
    api.delete_repo(MODEL)
    api.delete_repo(DATA, repo_type="dataset")


def heads(api: HfApi) -> list[str | None]:
    return [api.model_info(MODEL).sha, api.dataset_info(DATA).sha]


def test_a_model_and_a_dataset_arrive(
    disk: Path, hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(disk), "--dry-run"]) == 0
    assert f"nothing was sent to {hub.url}" in capsys.readouterr().out
    assert not hub.api().repo_exists(MODEL)
    assert main(["import", str(disk)]) == 0
    said = capsys.readouterr().out
    data, model = read_manifest(disk).repositories
    assert f'load it with: ecg_hub.AutoModel.from_pretrained("{MODEL}", revision="{model.label}")' in said
    assert f'load it with: datasets.load_dataset("{DATA}", revision="{data.label}")' in said
    local = ecg_hub.AutoModel.from_pretrained(disk / "models" / MODEL)
    for revision in ("main", "v1.0", model.label):
        loaded = ecg_hub.AutoModel.from_pretrained(MODEL, revision=revision)
        assert all(one.equal(two) for one, two in zip(local.parameters(), loaded.parameters(), strict=True))
    rows = datasets.load_dataset(DATA, revision=data.label)["train"]
    assert rows["label"][:] == ["a", "b"]
    tags = {tag.name for tag in hub.api().list_repo_refs(MODEL).tags}
    assert tags == {"v1.0", f"upstream-{str(model.commit)[:12]}"}


def test_a_second_import_changes_nothing(disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(disk)]) == 0
    before = heads(hub.api())
    capsys.readouterr()
    assert main(["import", str(disk)]) == 0
    assert capsys.readouterr().out.count("nothing to do") == 2
    assert heads(hub.api()) == before


@pytest.mark.heavy
def test_what_others_added_stays(disk: Path, hub: TestHub) -> None:
    assert main(["import", str(disk)]) == 0
    api = hub.api()
    api.upload_file(path_or_fileobj=b"[]", path_in_repo=".eval_results/x.yaml", repo_id=MODEL)
    api.upload_file(path_or_fileobj=b"# scored", path_in_repo="README.md", repo_id=MODEL)
    before = heads(api)
    assert main(["import", str(disk)]) == 0
    assert heads(api) == before


@pytest.mark.heavy
def test_an_update_removes_what_its_origin_removed(disk: Path, hub: TestHub, tmp_path: Path) -> None:
    assert main(["import", str(disk)]) == 0
    api = hub.api()
    api.upload_file(path_or_fileobj=b"[]", path_in_repo=".eval_results/x.yaml", repo_id=DATA, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"ours", path_in_repo="notes.txt", repo_id=DATA, repo_type="dataset")
    api.move_repo(DATA, "here/tables", repo_type="dataset")
    api.create_repo(DATA, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"x,y\n1,2\n", path_in_repo="data/test.csv", repo_id=DATA, repo_type="dataset")
    newer = tmp_path / "newer"
    mirror(MirrorRequest(DATA, "dataset"), newer)
    assert main(["import", str(newer), "--namespace", "here"]) == 0
    files = set(api.list_repo_files("here/tables", repo_type="dataset"))
    assert files == {"data/test.csv", ".eval_results/x.yaml", "notes.txt"}
    (one,) = read_manifest(newer).repositories
    assert len(api.list_repo_refs("here/tables", repo_type="dataset").tags) == 2
    assert one.label in {tag.name for tag in api.list_repo_refs("here/tables", repo_type="dataset").tags}


@pytest.mark.heavy
def test_into_a_namespace_and_only_one(disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(disk), "--namespace", "ours", "--only", MODEL]) == 0
    assert hub.api().repo_exists("ours/ecg")
    assert not hub.api().repo_exists("ours/tables", repo_type="dataset")
    assert main(["import", str(disk), "--only", "ward/egc"]) == 2
    assert "Did you mean 'ward/ecg'" in capsys.readouterr().err
    assert main(["import", str(disk), "--namespace", "../x"]) == 1
    assert "cannot name a namespace" in capsys.readouterr().err


def test_two_that_would_become_one(disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    with packed("random:ecg-cpc-tiny") as package:
        send(package, Plan("other/ecg"))
    mirror(MirrorRequest("other/ecg"), disk)
    assert main(["import", str(disk), "--namespace", "ours"]) == 1
    assert "would both become model ours/ecg" in capsys.readouterr().err
    assert not hub.api().repo_exists("ours/ecg")


@pytest.mark.heavy
def test_it_continues_after_a_cut(
    disk: Path, hub: TestHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirror_import, "FILES_PER_COMMIT", 1)
    real, calls = HubRepository.commit, list[list[str]]()

    def commit(self: HubRepository, files: dict[str, Any], *words: Any, **more: Any) -> Any:
        calls.append(list(files))
        if len(calls) == 3:
            raise ConnectionError("cable pulled")
        return real(self, files, *words, **more)

    monkeypatch.setattr(HubRepository, "commit", commit)
    assert main(["import", str(disk), "--only", MODEL]) == 1
    assert hub.api().list_repo_refs(MODEL).tags == []
    assert main(["import", str(disk), "--only", MODEL]) == 0
    assert len(calls) == 5  # two portions, the cut, two portions
    assert calls[0] not in calls[3:]
    assert "v1.0" in {tag.name for tag in hub.api().list_repo_refs(MODEL).tags}
    assert "Traceback" not in capsys.readouterr().err


def _flip(disk: Path) -> None:
    path = disk / "models" / MODEL / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _cut(disk: Path) -> None:
    path = disk / "models" / MODEL / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def _link(disk: Path) -> None:
    path = disk / "models" / MODEL / "config.json"
    path.rename(disk / "kept.json")
    path.symlink_to(disk / "kept.json")


def _link_folder(disk: Path) -> None:
    path = disk / "datasets" / DATA / "data"
    path.rename(disk / "kept")
    path.symlink_to(disk / "kept")


def _link_above(disk: Path) -> None:
    (disk / "models").rename(disk / "kept")
    (disk / "models").symlink_to(disk / "kept")


def _surplus(disk: Path) -> None:
    (disk / "models" / MODEL / "setup.py").write_text("import os")


def _stray(disk: Path) -> None:
    (disk / "models" / "ward" / "other").mkdir()


def _unfinished(disk: Path) -> None:
    (disk / "models" / "ward" / ".new.partial").mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_flip, f"models/{MODEL}/model.safetensors: damaged, another SHA-256"),
        (_cut, f"models/{MODEL}/model.safetensors: damaged, 35,942 bytes instead of 35,952"),
        (lambda disk: (disk / "models" / MODEL / "config.json").unlink(), f"models/{MODEL}/config.json: missing"),
        (_surplus, f"models/{MODEL}/setup.py: not in the manifest"),
        (_link, f"models/{MODEL}/config.json: a link"),
        (_link_folder, f"datasets/{DATA}/data: a link"),
        (_link_above, "models: a link"),
        (_stray, "models/ward/other: not in the manifest"),
        (_unfinished, "models/ward/.new.partial: a mirror that was not finished"),
    ],
)
def test_a_damaged_mirror_is_not_imported(
    change: Change, words: str, disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str]
) -> None:
    change(disk)
    assert main(["import", str(disk)]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "nothing was imported" in error
    assert not hub.api().repo_exists(MODEL)
    assert not hub.api().repo_exists(DATA, repo_type="dataset")


def test_what_operating_systems_leave_does_not_matter(disk: Path, hub: TestHub) -> None:
    for place in (disk, disk / "models", disk / "models" / MODEL):
        for name in (".DS_Store", "._config.json", "Thumbs.db"):
            (place / name).write_bytes(b"x")
    assert main(["import", str(disk)]) == 0
    assert ".DS_Store" not in hub.api().list_repo_files(MODEL)


def test_a_manifest_that_leads_outside(disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((disk / FILE).read_text())
    content["repositories"][0]["files"][0]["path"] = "../../../../etc/passwd"
    (disk / FILE).write_text(json.dumps(content))
    assert main(["import", str(disk)]) == 1
    assert "cannot be a path in a repository" in capsys.readouterr().err


def test_no_mirror_and_no_hub_of_ones_own(
    disk: Path, hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["import", str(tmp_path / "none")]) == 1
    assert "is no mirror" in capsys.readouterr().err
    monkeypatch.delenv("HF_ENDPOINT")
    assert main(["import", str(disk)]) == 1
    assert "for a hub of your own" in capsys.readouterr().err


def test_a_token_that_reads(
    disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    assert main(["import", str(disk)]) == 1
    assert "token that may write there" in capsys.readouterr().err


def test_what_may_not_be_passed_on(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny("merl", model_folder("merl"), SOURCE)
    disk = tmp_path / "disk"
    mirror(MirrorRequest("merl", internal=True), disk)
    assert main(["import", str(disk)]) == 1
    assert "local/merl: These weights descend from authors.pt" in capsys.readouterr().err
    assert main(["import", str(disk), "--internal"]) == 0
    assert hub.api().model_info("local/merl").private
    (disk / "other").mkdir()
    hub.api().create_repo("open/merl")
    assert main(["import", str(disk), "--internal", "--namespace", "open"]) == 1
    assert "open/merl at" in (error := capsys.readouterr().err)
    assert "is public" in error


@pytest.mark.parametrize("settings", [{"visibility": "private"}, {"gated": "auto"}], ids=["private", "gated"])
def test_what_only_some_may_read_arrives_private(settings: dict[str, Any], hub: TestHub, tmp_path: Path) -> None:
    api = hub.api()
    add_data(api)
    api.update_repo_settings(DATA, repo_type="dataset", **settings)
    mirror(MirrorRequest(DATA, "dataset"), tmp_path / "disk")
    assert main(["import", str(tmp_path / "disk"), "--namespace", "ours"]) == 0
    assert api.dataset_info("ours/tables").private


def test_a_tag_that_is_taken_stays(disk: Path, hub: TestHub, capsys: pytest.CaptureFixture[str]) -> None:
    api = hub.api()
    api.create_repo(MODEL)
    api.create_tag(MODEL, tag="v1.0")
    before = api.list_repo_refs(MODEL).tags[0].target_commit
    assert main(["import", str(disk), "--only", MODEL]) == 0
    assert "tags that stand for other commits here, left alone: v1.0" in capsys.readouterr().out
    after = {tag.name: tag.target_commit for tag in api.list_repo_refs(MODEL).tags}
    assert after["v1.0"] == before
    assert len(after) == 2


def test_what_was_left_out_before_is_found_by_the_command_that_is_printed(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = hub.api()
    add_data(api)
    api.upload_file(path_or_fileobj=b"#", path_in_repo="README.md", repo_id=DATA, repo_type="dataset")
    for left_out in (("data/*",), ()):
        mirror(MirrorRequest(DATA, "dataset", exclude=left_out), tmp_path / "disk")
        assert main(["import", str(tmp_path / "disk"), "--namespace", "ours"]) == 0
        command = capsys.readouterr().out.splitlines()[-1]
        revision = command.partition('revision="')[2].partition('"')[0]
        files = api.list_repo_files("ours/tables", revision=revision, repo_type="dataset")
        assert ("data/train.csv" in files) == (not left_out)


def test_a_file_that_changes_while_it_is_sent(
    disk: Path, hub: TestHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = HubRepository.commit

    def commit(self: HubRepository, *words: Any, **more: Any) -> Any:
        _flip(disk)
        return real(self, *words, **more)

    monkeypatch.setattr(HubRepository, "commit", commit)
    assert main(["import", str(disk), "--only", MODEL]) == 1
    assert "does not hold what the manifest says: model.safetensors" in capsys.readouterr().err
    assert hub.api().list_repo_refs(MODEL).tags == []
