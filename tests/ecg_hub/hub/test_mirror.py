"""`ecg-hub mirror` against our own hub: plain folders, killed and continued, updated, damaged, refused."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from huggingface_hub import CommitOperationAdd, CommitOperationDelete

import ecg_hub
from ecg_hub.errors import CheckpointError, ExitCode, InputError
from ecg_hub.hub import mirror as module
from ecg_hub.hub import mirror as staging
from ecg_hub.hub.client import HubRepository, Stored
from ecg_hub.hub.manifest import FILE, read_manifest, write_manifest
from ecg_hub.hub.mirror import MirrorRequest, mirror
from ecg_hub.names import model_folder
from ecg_hub.utils import http as download
from ecg_hub.utils.http import RetryPolicy
from eval_harness.cli.hub.main import main
from tests.support.checkpoints import SOURCE, save_tiny
from tests.support.hub import TestHub

MODEL, DATA = "ward/ecg", "ward/data"
CONTENT = {f"data/part-{number}.parquet": bytes([number]) * 700_000 for number in range(4)} | {
    "README.md": b"---\nlicense: cc-by-4.0\n---\n# Data\n",
    "splits/train.csv": b"record,fold\n1,1\n",
}
KILLED = """
import os, signal, sys
from pathlib import Path
from ecg_hub.utils import http as download
from ecg_hub.hub.mirror import MirrorRequest, mirror
from ecg_hub.hub import mirror as staging
staging.THREADS = 1
there, real = 0, download._Share.update
def update(self, size):
    global there
    there += size
    real(self, size)
    if there > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
download._Share.update = update
mirror(MirrorRequest("ward/data", "dataset"), Path(sys.argv[1]))
"""


def upload(hub: TestHub, content: dict[str, bytes], repo: str = DATA, gone: tuple[str, ...] = ()) -> str:
    hub.api().create_repo(repo, repo_type="dataset", exist_ok=True)
    steps: list[Any] = [CommitOperationAdd(path, data) for path, data in content.items()]
    steps += [CommitOperationDelete(path) for path in gone]
    return str(hub.api().create_commit(repo, steps, commit_message="data", repo_type="dataset").oid)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are asked for over the network."""
    names, real = list[str](), staging.download

    def download(remote: Any, *words: Any, **more: Any) -> Path:
        names.append(remote.name)
        return real(remote, *words, **more)

    monkeypatch.setattr(staging, "download", download)
    return names


@pytest.mark.heavy
def test_a_model_loads_from_the_folder_without_any_server(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "random:ecg-cpc-tiny", "--repo", MODEL, "--tag", "v1.0"]) == 0
    commit = hub.api().model_info(MODEL).sha
    assert main(["mirror", MODEL, "--to", str(tmp_path / "disk")]) == 0
    folder = tmp_path / "disk" / "models" / "ward" / "ecg"
    said = capsys.readouterr().out
    assert f"model {MODEL} at {commit}: 4 files" in said
    assert f"written: {folder}" in said
    model = ecg_hub.AutoModel.from_pretrained(folder)
    online = ecg_hub.AutoModel.from_pretrained(MODEL)
    assert all(one.equal(two) for one, two in zip(model.parameters(), online.parameters(), strict=True))
    assert ecg_hub.AutoFeatureExtractor.from_pretrained(folder).spec().sampling_rate == 240
    (one,) = read_manifest(tmp_path / "disk").repositories
    assert (one.kind, one.id, one.commit, one.revision, one.tags) == ("model", MODEL, commit, "main", ("v1.0",))
    assert one.origin is None  # the address of a hub inside does not travel
    assert hub.url not in (tmp_path / "disk" / FILE).read_text()


def test_a_dataset_at_a_tag_with_the_user_s_token(hub: TestHub, tmp_path: Path) -> None:
    first = upload(hub, CONTENT)
    hub.api().create_tag(DATA, tag="v1", revision=first, repo_type="dataset")
    upload(hub, {"README.md": b"changed"})
    hub.api().update_repo_settings(DATA, visibility="private", repo_type="dataset")
    summary = mirror(MirrorRequest(DATA, "dataset", "v1"), tmp_path)
    folder = tmp_path / "datasets" / "ward" / "data"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(CONTENT)
    assert all((folder / path).read_bytes() == content for path, content in CONTENT.items())
    one = summary.repository
    assert (one.commit, one.revision, one.tags, one.private) == (first, "v1", ("v1",), True)
    assert one.licence == "cc-by-4.0"
    assert {file.path: file.size for file in one.files} == {path: len(data) for path, data in CONTENT.items()}


@pytest.mark.heavy
@pytest.mark.parametrize("after", [900_000, 1])
def test_a_killed_mirror_continues(
    after: int, hub: TestHub, tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(hub, CONTENT)
    words = [sys.executable, "-c", KILLED, str(tmp_path), str(after)]
    done = subprocess.run(words, env=hub.environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    partial = tmp_path / "datasets" / "ward" / ".data.partial"
    whole = {path.relative_to(partial).as_posix() for path in partial.rglob("*.parquet")}
    assert not (tmp_path / "datasets" / "ward" / "data").exists()
    assert not (tmp_path / FILE).exists()
    begun = {path.name.removesuffix(".part"): path.stat().st_size for path in partial.rglob("*.part")}
    continued, real = dict[str, int](), download._fetch_rest

    def fetch_rest(client: Any, remote: Any, part: Any, bar: Any) -> None:
        if part.size:
            continued[part.target.name] = part.size
        real(client, remote, part, bar)

    monkeypatch.setattr(download, "_fetch_rest", fetch_rest)
    assert main(["mirror", DATA, "--type", "dataset", "--to", str(tmp_path)]) == 0
    assert continued == {name: size for name, size in begun.items() if size}
    assert bool(continued) == (after > 1)
    assert whole.isdisjoint(fetched)
    assert bool(whole) == (after > 1)
    folder = tmp_path / "datasets" / "ward" / "data"
    assert all((folder / path).read_bytes() == content for path, content in CONTENT.items())
    assert not partial.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data", "splits"]


def test_what_is_here_is_compared_and_not_fetched(hub: TestHub, tmp_path: Path, fetched: list[str]) -> None:
    upload(hub, CONTENT)
    mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    fetched.clear()
    assert mirror(MirrorRequest(DATA, "dataset"), tmp_path).fetched == 0
    assert fetched == []
    damaged = tmp_path / "datasets" / "ward" / "data" / "data" / "part-1.parquet"
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    assert mirror(MirrorRequest(DATA, "dataset"), tmp_path).fetched == 1
    assert fetched == ["data/part-1.parquet"]
    assert damaged.read_bytes() == CONTENT["data/part-1.parquet"]


def test_an_update_fetches_what_is_new_and_drops_what_is_gone(hub: TestHub, tmp_path: Path, fetched: list[str]) -> None:
    upload(hub, CONTENT)
    mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    new = upload(hub, {"README.md": b"new", "more.csv": b"a"}, gone=("splits/train.csv",))
    fetched.clear()
    summary = mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    assert sorted(fetched) == ["README.md", "more.csv"]
    folder = tmp_path / "datasets" / "ward" / "data"
    assert not (folder / "splits").exists()
    assert summary.repository.commit == new
    assert len(read_manifest(tmp_path).repositories) == 1


def test_killed_between_the_folder_and_the_manifest(
    hub: TestHub, tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    upload(hub, CONTENT)
    monkeypatch.setattr(module, "write_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    monkeypatch.setattr(module, "write_manifest", write_manifest)
    fetched.clear()
    mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    assert fetched == []
    assert len(read_manifest(tmp_path).repositories) == 1


def test_only_some_files(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upload(hub, {**CONTENT, "old/weights.pt": b"x" * 10, "w.ckpt": b"y"})
    words = ["mirror", DATA, "--type", "dataset", "--to", str(tmp_path)]
    assert main(words) == 0
    assert "warning: what loads these files may run code in them: old/weights.pt, w.ckpt" in capsys.readouterr().out
    assert main([*words, "--exclude", "*.pt", "--exclude", "*.ckpt", "--include", "old/*", "--include", "*.md"]) == 0
    said = capsys.readouterr().out
    assert "warning" not in said
    assert "1 file," in said
    (one,) = read_manifest(tmp_path).repositories
    assert [file.path for file in one.files] == ["README.md"]
    assert "old/weights.pt" in one.left_out
    assert main([*words, "--exclude", "*.pt,*.ckpt"]) == 0
    assert "left out as asked: old/weights.pt, w.ckpt" in capsys.readouterr().out
    assert main([*words, "--include", "*.npz"]) == 1
    assert "leave nothing of ward/data; it holds README.md" in capsys.readouterr().err


def test_another_spelling_of_a_repository_leaves_the_manifest_readable(hub: TestHub, tmp_path: Path) -> None:
    upload(hub, CONTENT)
    mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    hub.api().move_repo(DATA, "ward/Data", repo_type="dataset")
    with pytest.raises(InputError, match=r"holds 'ward/data', and disks.*'ward/Data': give another --to"):
        mirror(MirrorRequest("ward/Data", "dataset"), tmp_path)
    assert [one.id for one in read_manifest(tmp_path).repositories] == [DATA]


def test_several_and_one_that_is_not_there(hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upload(hub, {"a": b"1"}, "ward/one")
    upload(hub, {"b": b"2"}, "ward/two")
    words = ["mirror", "ward/one", "ward/none", "ward/two", "--type", "dataset", "--to", str(tmp_path)]
    assert main(words) == ExitCode.PARTLY
    said = capsys.readouterr().out
    assert "ward/none failed: dataset ward/none at" in said
    assert [one.id for one in read_manifest(tmp_path).repositories] == ["ward/one", "ward/two"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ward/none"], "is not there, or your token may not see it"),
        (["ward/data"], "Datasets and spaces need --type"),
        (["ward/data", "--type", "dataset", "--revision", "v9"], "is not there at 'v9'"),
        (["data", "--type", "dataset"], "write ORG/NAME"),
        (["random:s4"], "is no repository and no short name"),
        (["ecg-cpd"], "Did you mean 'ecg-cpc'"),
        (["ecg-fm"], "ecg-hub pull ecg-fm"),
    ],
)
def test_what_cannot_be_mirrored(
    words: list[str], message: str, hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(hub, {"a": b"1"})
    assert main(["mirror", *words, "--to", str(tmp_path)]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / FILE).exists()


@pytest.mark.heavy
def test_a_converted_model_goes_by_its_licence(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for alias in ("merl", "ecg-cpc"):
        save_tiny(alias, model_folder(alias), SOURCE)
    disk = tmp_path / "disk"
    assert main(["mirror", "ecg-cpc", "--to", str(disk)]) == 0
    assert main(["mirror", "merl", "--to", str(disk)]) == 1
    assert "may not be passed on" in capsys.readouterr().err
    # Where one goes to fetch things, the public hub is the one in use.
    monkeypatch.delenv("HF_ENDPOINT")
    assert main(["mirror", "merl", "--to", str(disk), "--internal"]) == 0
    assert "INTERNAL: not to be passed on" in capsys.readouterr().out
    facts = {one.id: (one.internal, one.private, one.commit) for one in read_manifest(disk).repositories}
    assert facts == {"local/ecg-cpc": (False, False, None), "local/merl": (True, True, None)}
    assert "## Internal copy" in (disk / "models" / "local" / "merl" / "README.md").read_text()
    assert ecg_hub.AutoModel.from_pretrained(disk / "models" / "local" / "merl").config.source == SOURCE
    assert main(["mirror", "merl", "--to", str(disk), "--revision", "v1"]) == 1


def test_a_head_that_was_trained_on_credentialed_data_is_mirrored_as_internal(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.api().create_repo("ward/head")
    hub.api().upload_file(
        path_or_fileobj=b'{"credentialed": ["mimic-iv-ecg"]}', path_in_repo="head.json", repo_id="ward/head"
    )
    assert main(["mirror", "ward/head", "--to", str(tmp_path / "disk")]) == 0
    (one,) = read_manifest(tmp_path / "disk").repositories
    assert one.internal
    assert main(["import", str(tmp_path / "disk"), "--namespace", "open"]) == 1
    assert "mimic-iv-ecg, which is for credentialed users" in capsys.readouterr().err


def test_an_internal_model_on_the_hub_stays_internal(hub: TestHub, tmp_path: Path) -> None:
    folder = save_tiny("st-mem", tmp_path / "m", SOURCE)
    assert main(["push", str(folder), "--repo", "local/st-mem", "--internal"]) == 0
    one = mirror(MirrorRequest("local/st-mem"), tmp_path / "disk").repository
    assert (one.internal, one.private) == (True, True)


def test_a_short_name_on_the_hub(hub: TestHub, tmp_path: Path) -> None:
    assert main(["push", "random:ecg-cpc-tiny", "--repo", "local/ecg-cpc"]) == 0
    assert mirror(MirrorRequest("ecg-cpc"), tmp_path).repository.id == "local/ecg-cpc"


def test_one_at_a_time(hub: TestHub, tmp_path: Path) -> None:
    upload(hub, CONTENT)
    with FileLock(tmp_path / ".ecg-hub-mirror.lock"), pytest.raises(InputError, match="Another process is mirroring"):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path)


@pytest.mark.parametrize("path", ["../outside", "/etc/x", "a/../../b", "a\nb"])
def test_a_hub_that_names_files_outside(
    path: str, hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(hub, CONTENT)
    monkeypatch.setattr(HubRepository, "files", lambda *_: {path: Stored(1, "0" * 64)})
    with pytest.raises(InputError, match=r"ward/data is not mirrored: .* cannot be a path"):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path / "disk")
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == [".ecg-hub-mirror.lock"]


@pytest.mark.parametrize("path", ["data/part-0.parquet", "README.md"], ids=["sha256", "git"])
def test_content_that_is_not_what_the_hub_said(
    path: str, hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(hub, CONTENT)
    real = HubRepository.files

    def files(self: HubRepository, *words: Any) -> dict[str, Stored]:
        found = real(self, *words)
        digest = found[path].digest
        return {**found, path: Stored(found[path].size, "0" * len(digest))}

    monkeypatch.setattr(HubRepository, "files", files)
    with pytest.raises(CheckpointError, match=r"was deleted"):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path, patience=RetryPolicy(0, 0))
    assert not (tmp_path / FILE).exists()
    assert not (tmp_path / "datasets" / "ward" / ".data.partial" / path).exists()


def test_a_full_disk(hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(hub, CONTENT)
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"[\d,]+ bytes are missing, and .* has 1,000,000 free"):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path)


def test_a_disk_that_does_not_take_it(
    hub: TestHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(hub, CONTENT)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ecg_hub.utils.http._Part.finish", full)
    assert main(["mirror", DATA, "--type", "dataset", "--to", str(tmp_path)]) == 1
    assert "The disk is full" in (error := capsys.readouterr().err)
    assert "set --to to a folder on another disk" in error


def test_disks_without_links_get_copies(hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    upload(hub, CONTENT)
    mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    monkeypatch.setattr(staging.os, "link", refuse)
    assert mirror(MirrorRequest(DATA, "dataset"), tmp_path).fetched == 0
    folder = tmp_path / "datasets" / "ward" / "data"
    assert all((folder / path).read_bytes() == content for path, content in CONTENT.items())


def test_a_hub_that_stops_answering(
    hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    import httpx2

    upload(hub, CONTENT)
    real: Callable[..., Any] = httpx2.Client.stream

    def stream(self: httpx2.Client, method: str, url: str, **more: Any) -> Any:
        if "part-2" in str(url):
            raise httpx2.ConnectError("cable pulled")
        return real(self, method, url, **more)

    monkeypatch.setattr(staging, "THREADS", 1)
    monkeypatch.setattr(httpx2.Client, "stream", stream)
    with pytest.raises(CheckpointError, match=r"No connection to 127\.0\.0\.1 \(cable pulled"):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path, patience=RetryPolicy(0, 0))
    monkeypatch.setattr(httpx2.Client, "stream", real)
    fetched.clear()
    mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    assert fetched[0] == "data/part-2.parquet"
    assert "data/part-1.parquet" not in fetched


def test_one_that_fails_stops_the_others(hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(hub, CONTENT)
    real = download._fetch_rest

    def fetch_rest(client: Any, remote: Any, part: Any, bar: Any) -> None:
        if "part-2" in remote.name:
            raise CheckpointError("withdrawn")
        while not bar._bar.closed:
            time.sleep(0.01)
        real(client, remote, part, bar)

    monkeypatch.setattr(download, "_fetch_rest", fetch_rest)
    with pytest.raises(CheckpointError, match="withdrawn"):
        mirror(MirrorRequest(DATA, "dataset"), tmp_path)
    partial = tmp_path / "datasets" / "ward" / ".data.partial"
    assert list(partial.rglob("*.parquet")) == []
