"""Files up and down with the real client: large and small, whole and in part."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfFileSystem,
    get_session,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.support.hub import TestHub


def _content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _get(hub: TestHub, path: str, **headers: str) -> Any:
    return get_session().get(f"{hub.url}/{path}", headers={"Authorization": f"Bearer {hub.read_token}", **headers})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder: text, data, an empty file, sub-folders, letters beyond ASCII."""
    root = tmp_path / "upload"
    files = {
        "README.md": b"---\nlicense: mit\ntags: [ecg]\n---\n# A model\n",
        "config.json": b'{"model_type": "x", "architectures": ["X"]}',
        "model.safetensors": _content(3_000_001),
        "empty.txt": b"",
        "sub/deep/notes Größe 100%.txt": "Größe\n".encode() * 50,
        "big.csv": b"1,2,3\n" * 400_000,
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _read(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_folder_comes_back_as_it_went(hub: TestHub, folder: Path, tmp_path: Path) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    commit = api.upload_folder(folder_path=folder, repo_id="ward/ecg")
    assert api.list_repo_files("ward/ecg") == sorted(_read(folder))
    assert _read(Path(snapshot_download("ward/ecg", local_dir=tmp_path / "down"))) == _read(folder)
    cached = Path(snapshot_download("ward/ecg", revision=commit.oid, token=hub.read_token))
    assert _read(cached) == _read(folder)
    assert not api.verify_repo_checksums("ward/ecg", local_dir=tmp_path / "down").mismatches
    assert api.upload_folder(folder_path=folder, repo_id="ward/ecg").oid == commit.oid  # nothing changed
    assert len(api.list_repo_commits("ward/ecg")) == 2


def test_large_files_go_by_lfs_and_are_kept_once(hub: TestHub, folder: Path) -> None:
    api = hub.api()
    api.create_repo("ward/one")
    api.create_repo("ward/two")
    api.upload_folder(folder_path=folder, repo_id="ward/one")
    infos = {
        info.path: info for info in api.get_paths_info("ward/one", ["model.safetensors", "big.csv", "config.json"])
    }
    content = (folder / "model.safetensors").read_bytes()
    assert infos["model.safetensors"].lfs.sha256 == hashlib.sha256(content).hexdigest()
    assert infos["big.csv"].lfs is not None
    assert infos["config.json"].lfs is None
    before = sorted((hub.root / "blobs").rglob("*"))
    api.upload_folder(folder_path=folder, repo_id="ward/two")
    copy = CommitOperationCopy("model.safetensors", "copy.safetensors")
    api.create_commit("ward/two", [copy], commit_message="copy")
    copied = CommitOperationCopy("config.json", "from-one.json", src_repo_id="ward/one", src_repo_type="model")
    api.create_commit("ward/two", [copied], commit_message="copy from elsewhere")
    assert sorted((hub.root / "blobs").rglob("*")) == before
    assert Path(hf_hub_download("ward/two", "copy.safetensors")).read_bytes() == content


def test_a_download_that_was_cut_goes_on_where_it_stopped(hub: TestHub, tmp_path: Path) -> None:
    content = _content(2_500_000)
    api = hub.api()
    api.create_repo("ward/ecg")
    api.upload_file(path_or_fileobj=content, path_in_repo="big.bin", repo_id="ward/ecg")
    from huggingface_hub.file_download import http_get

    with (tmp_path / "part").open("wb") as file:
        file.write(content[:1_000_000])
        url = hf_hub_url("ward/ecg", "big.bin", endpoint=hub.url)
        headers = {"Authorization": f"Bearer {hub.read_token}"}
        http_get(url, file, resume_size=1_000_000, expected_size=len(content), headers=headers)
    assert (tmp_path / "part").read_bytes() == content


@pytest.mark.parametrize(
    ("span", "status", "expected"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=10-999999", 206, slice(10, None)),
        ("bytes=5000-", 416, None),
        ("pages=1-2", 400, None),
    ],
)
def test_ranges(hub: TestHub, span: str, status: int, expected: slice | None) -> None:
    content = _content(2000)
    api = hub.api()
    api.create_repo("ward/ecg")
    api.upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id="ward/ecg")
    answer = _get(hub, "ward/ecg/resolve/main/a.bin", Range=span)
    assert answer.status_code == status
    if expected is not None:
        assert answer.content == content[expected]
        assert answer.headers["Content-Range"].endswith("/2000")
        assert answer.headers["X-Repo-Commit"] == api.model_info("ward/ecg").sha


def test_headers_that_the_client_lives_on(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    api.upload_file(path_or_fileobj=b"hello\n", path_in_repo="a.html", repo_id="ward/ecg")
    api.upload_file(path_or_fileobj=_content(100), path_in_repo="b.bin", repo_id="ward/ecg")
    small = _get(hub, "ward/ecg/resolve/main/a.html")
    assert small.headers["ETag"] == '"ce013625030ba8dba906f756967f9e9ca394464a"'  # git hash-object of the content
    assert small.headers["Content-Type"].startswith("text/plain")  # never run by a browser
    assert "sandbox" in small.headers["Content-Security-Policy"]
    assert small.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Linked-Etag" not in small.headers
    large = _get(hub, "ward/ecg/resolve/main/b.bin")
    assert large.headers["X-Linked-Etag"] == large.headers["ETag"] == f'"{hashlib.sha256(_content(100)).hexdigest()}"'
    assert large.headers["X-Linked-Size"] == "100"
    assert not [name for name in large.headers if "xet" in name.lower()]
    same = _get(hub, "ward/ecg/resolve/main/b.bin", **{"If-None-Match": large.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_absent_things_raise_what_the_client_promises(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("ward/ecg", "no.txt")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("ward/ecg", "no.txt", revision="v9")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("ward/none", "no.txt")
    with pytest.raises(RemoteEntryNotFoundError, match="doesn't exist"):
        api.delete_file("no.txt", "ward/ecg")
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("ward/ecg", "no/folder"))
    assert not api.file_exists("ward/ecg", "no.txt")


def test_trees_list_folders_pages_and_last_commits(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecg_hub.server import routes_files

    monkeypatch.setattr(routes_files, "PAGE", 3)
    api = hub.api()
    api.create_repo("ward/ecg", repo_type="dataset")
    adds = [CommitOperationAdd(f"data/part {number}.csv", str(number).encode()) for number in range(8)]
    first = api.create_commit("ward/ecg", adds, commit_message="all", repo_type="dataset").oid
    last = api.upload_file(
        path_or_fileobj=b"x", path_in_repo="data/part 3.csv", repo_id="ward/ecg", repo_type="dataset"
    )
    entries = list(api.list_repo_tree("ward/ecg", repo_type="dataset", recursive=True, expand=True))
    assert [entry.path for entry in entries] == ["data", *(f"data/part {number}.csv" for number in range(8))]
    commits = {entry.path: entry.last_commit.oid for entry in entries if entry.last_commit}
    assert commits["data"] == commits["data/part 3.csv"] == last.oid
    assert commits["data/part 4.csv"] == first
    assert isinstance(entries[0], RepoFolder)
    (inner,) = api.get_paths_info("ward/ecg", ["data/part 5.csv", "none"], repo_type="dataset", revision=first)
    assert isinstance(inner, RepoFile)
    assert [entry.path for entry in api.list_repo_tree("ward/ecg", "data", repo_type="dataset")][:1] == [
        "data/part 0.csv"
    ]


def test_files_and_folders_are_deleted(hub: TestHub, folder: Path) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    api.upload_folder(folder_path=folder, repo_id="ward/ecg")
    api.delete_file("config.json", "ward/ecg")
    api.delete_folder("sub", "ward/ecg")
    assert api.list_repo_files("ward/ecg") == ["README.md", "big.csv", "empty.txt", "model.safetensors"]
    api.delete_files("ward/ecg", ["*.csv", "*.txt"])
    assert api.list_repo_files("ward/ecg") == ["README.md", "model.safetensors"]
    # A file becomes a folder in one commit.
    steps = [CommitOperationDelete("README.md"), CommitOperationAdd("README.md/inner.txt", b"1")]
    api.create_commit("ward/ecg", steps, commit_message="turn")
    assert api.list_repo_files("ward/ecg") == ["README.md/inner.txt", "model.safetensors"]
    with pytest.raises(HfHubHTTPError, match="cannot become a folder"):
        api.upload_file(path_or_fileobj=b"1", path_in_repo="model.safetensors/x", repo_id="ward/ecg")


def test_the_file_system_reads_and_writes(hub: TestHub) -> None:
    hub.api().create_repo("ward/ecg", repo_type="dataset")
    fs = HfFileSystem(endpoint=hub.url, token=hub.write_token, skip_instance_cache=True)
    with fs.open("datasets/ward/ecg/a/b.txt", "w") as file:
        file.write("0123456789")
    assert fs.ls("datasets/ward/ecg", detail=False) == ["datasets/ward/ecg/a"]
    assert fs.cat_file("datasets/ward/ecg/a/b.txt", start=2, end=5) == b"234"
    assert [os.path.basename(path) for path in fs.glob("datasets/ward/ecg/**/*.txt")] == ["b.txt"]
    fs.rm("datasets/ward/ecg/a/b.txt")
    assert not fs.exists("datasets/ward/ecg/a/b.txt")
