"""Several clients at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from tests.support.hub import TestHub


@pytest.mark.heavy
def test_eight_writers_commit_forty_files_while_others_read(hub: TestHub) -> None:
    hub.api().create_repo("ward/ecg")

    def write(writer: int) -> list[str]:
        api = hub.api()
        return [
            api.upload_file(
                path_or_fileobj=f"{writer} {n}".encode(), path_in_repo=f"w{writer}/{n}", repo_id="ward/ecg"
            ).oid
            for n in range(5)
        ]

    def read(reader: int) -> int:
        whole = 0
        for number in range(4):
            folder = hub.home / f"reader{reader}-{number}"
            snapshot_download("ward/ecg", local_dir=folder, token=hub.read_token, max_workers=1)
            whole += len([path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts])
        return whole

    with ThreadPoolExecutor(10) as pool:
        readers = [pool.submit(read, number) for number in range(2)]
        commits = [oid for oids in pool.map(write, range(8)) for oid in oids]
        assert all(reader.result() >= 0 for reader in readers)
    api = hub.api()
    assert len(api.list_repo_files("ward/ecg")) == 40
    history = [commit.commit_id for commit in api.list_repo_commits("ward/ecg")]
    assert len(set(commits)) == 40
    assert set(commits) < set(history)
    assert len(history) == 41


def test_a_commit_on_a_stale_parent_is_refused_and_succeeds_on_the_new_one(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    seen = api.model_info("ward/ecg").sha
    add = CommitOperationAdd("a", b"1")
    first = api.create_commit("ward/ecg", [add], commit_message="first", parent_commit=seen)
    late = [CommitOperationAdd("b", b"2")]
    with pytest.raises(HfHubHTTPError, match="moved on") as refused:
        api.create_commit("ward/ecg", late, commit_message="second", parent_commit=seen)
    assert refused.value.response.status_code == 412
    api.create_commit("ward/ecg", [CommitOperationAdd("b", b"2")], commit_message="second", parent_commit=first.oid)
    assert api.list_repo_files("ward/ecg") == ["a", "b"]


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    seen = api.model_info("ward/ecg").sha
    commits = [
        api.create_commit("ward/ecg", [CommitOperationAdd("a", b"1")], commit_message="same", parent_commit=seen).oid
        for _ in range(2)
    ]
    assert commits[0] == commits[1]
    assert len(api.list_repo_commits("ward/ecg")) == 2


def test_two_writers_who_look_first_both_arrive(hub: TestHub) -> None:
    hub.api().create_repo("ward/ecg")

    def write(name: str) -> None:
        api = hub.api()
        for number in range(6):
            while True:
                head = api.model_info("ward/ecg").sha
                add = CommitOperationAdd(f"{name}/{number}", b"x")
                try:
                    api.create_commit("ward/ecg", [add], commit_message=f"{name} {number}", parent_commit=head)
                    break
                except HfHubHTTPError as error:
                    if error.response.status_code != 412:
                        raise

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one", "two"]))
    assert len(hub.api().list_repo_files("ward/ecg")) == 12


def test_the_same_large_file_from_two_sides_is_kept_once(hub: TestHub, tmp_path: Path) -> None:
    content = b"\0" * 2_000_000
    names = ["ward/a", "ward/b", "ward/c"]
    for name in names:
        hub.api().create_repo(name)

    def write(name: str) -> None:
        hub.api().upload_file(path_or_fileobj=content, path_in_repo="x.bin", repo_id=name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, names))
    assert len([path for path in (hub.root / "blobs").rglob("*") if path.is_file()]) == 1
    assert not list((hub.root / "tmp").iterdir())
