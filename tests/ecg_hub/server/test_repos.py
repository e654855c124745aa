"""Repositories, branches, tags and history with the real client."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, create_repo
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.support.hub import TestHub


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_is_made_once_and_deleted(hub: TestHub, kind: str) -> None:
    api = hub.api()
    sdk = {"space_sdk": "static"} if kind == "space" else {}
    url = api.create_repo("ward/ecg", repo_type=kind, **sdk)
    assert (url.repo_id, url.repo_type) == ("ward/ecg", kind)
    assert api.create_repo("ward/ecg", repo_type=kind, exist_ok=True, **sdk) == url
    with pytest.raises(HfHubHTTPError, match="exists already"):
        api.create_repo("Ward/ECG", repo_type=kind, **sdk)
    assert api.repo_exists("ward/ecg", repo_type=kind)
    info = api.repo_info("ward/ecg", repo_type=kind)
    assert (info.id, info.siblings, info.private) == ("ward/ecg", [], False)
    api.delete_repo("ward/ecg", repo_type=kind)
    assert not api.repo_exists("ward/ecg", repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("ward/ecg", repo_type=kind)
    api.delete_repo("ward/ecg", repo_type=kind, missing_ok=True)


def test_ids_without_namespace_belong_to_the_default_namespace(hub: TestHub) -> None:
    assert create_repo("ecg-cpc").repo_id == "local/ecg-cpc"  # endpoint and token of the environment
    api = hub.api()
    commit = api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="ecg-cpc")
    assert commit.repo_url.repo_id == "local/ecg-cpc"
    assert api.model_info("ecg-cpc").id == "local/ecg-cpc"
    assert api.file_exists("ecg-cpc", "config.json")
    assert api.file_exists("local/ecg-cpc", "config.json")


@pytest.mark.parametrize("name", ["a..b/c", "ward/tree", "datasets/x", "ward/x.git", "ward/-x", "a/b/c"])
def test_names_that_addresses_use_or_that_lead_elsewhere_are_refused(hub: TestHub, name: str) -> None:
    from huggingface_hub import get_session

    parts = name.split("/", 1)
    body = {"organization": parts[0], "name": parts[1], "type": "model"}
    headers = {"Authorization": f"Bearer {hub.write_token}"}
    answer = get_session().post(f"{hub.url}/api/repos/create", json=body, headers=headers)
    assert answer.status_code == 400
    assert "cannot name" in answer.json()["error"] or "namespace/name" in answer.json()["error"]
    assert not list((hub.root / "repos" / "models").iterdir())


def test_lists_are_searched_filtered_sorted_and_paged(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecg_hub.server import routes_repos

    monkeypatch.setattr(routes_repos, "MAX_PAGE", 2)
    api = hub.api()
    for name, tag in (
        ("a/cpc", "ssl"),
        ("a/jepa", "ssl"),
        ("b/net1d", "supervised"),
        ("b/cpc-big", "ssl"),
        ("b/s4", "x"),
    ):
        api.create_repo(name)
        card = f"---\ntags: [{tag}]\nlicense: mit\n---\n".encode()
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)
    assert [model.id for model in api.list_models()] == ["a/cpc", "a/jepa", "b/cpc-big", "b/net1d", "b/s4"]
    assert [model.id for model in api.list_models(search="CPC")] == ["a/cpc", "b/cpc-big"]
    assert [model.id for model in api.list_models(author="b", filter=["ssl", "license:mit"])] == ["b/cpc-big"]
    assert [model.id for model in api.list_models(sort="last_modified", limit=3)] == ["b/s4", "b/cpc-big", "b/net1d"]
    assert list(api.list_datasets()) == []
    full = next(iter(api.list_models(full=True)))
    assert [file.rfilename for file in full.siblings or ()] == ["README.md"]
    (expanded,) = api.list_models(search="jepa", expand=["cardData"])
    assert expanded.card_data is not None
    assert expanded.card_data.tags == ["ssl"]


def test_a_list_is_never_of_more_than_was_asked_for(hub: TestHub) -> None:
    api = hub.api()
    for name in ("a/free", "a/gated"):
        api.create_repo(name)
    api.update_repo_settings("a/gated", gated="auto")
    assert [model.id for model in api.list_models(gated=True)] == ["a/gated"]
    assert [model.id for model in api.list_models(gated=False)] == ["a/free"]
    with pytest.raises(BadRequestError, match="does not filter by 'num_parameters'; it knows search"):
        list(api.list_models(num_parameters="min:6B"))
    with pytest.raises(BadRequestError, match="does not filter by 'models'"):
        list(api.list_spaces(models="a/free"))


def test_a_tag_and_a_branch_never_share_a_name(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    first = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="ward/ecg").oid
    api.create_tag("ward/ecg", tag="v1.0")
    api.create_branch("ward/ecg", branch="next")
    with pytest.raises(BadRequestError, match=r"'v1\.0' is a tag of 'ward/ecg'"):
        api.create_branch("ward/ecg", branch="v1.0", exist_ok=True)
    with pytest.raises(BadRequestError, match="'next' is a branch of 'ward/ecg'"):
        api.create_tag("ward/ecg", tag="next", exist_ok=True)
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id="ward/ecg")
    assert api.model_info("ward/ecg", revision="v1.0").sha == first


def test_settings_visibility_and_gating(hub: TestHub) -> None:
    api, reader = hub.api(), hub.api(hub.read_token)
    api.create_repo("ward/ecg", private=True)
    assert reader.model_info("ward/ecg").private is True
    api.update_repo_settings("ward/ecg", private=False, gated="manual")
    info = reader.model_info("ward/ecg")
    assert (info.private, info.gated) == (False, "manual")
    api.auth_check("ward/ecg", write=True)
    reader.auth_check("ward/ecg")
    with pytest.raises(HfHubHTTPError, match="may only read"):
        reader.auth_check("ward/ecg", write=True)


def test_a_repository_moves(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/old")
    api.create_repo("ward/taken")
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="ward/old")
    with pytest.raises(HfHubHTTPError, match="exists already"):
        api.move_repo("ward/old", "ward/taken")
    api.move_repo("ward/old", "clinic/new")
    assert api.list_repo_files("clinic/new") == ["a"]
    assert not api.repo_exists("ward/old")


def test_branches_tags_and_history(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/ecg")
    first = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="ward/ecg", commit_message="one").oid
    api.create_tag("ward/ecg", tag="v1.0")
    api.create_branch("ward/ecg", branch="try/1", revision=first)
    api.create_branch("ward/ecg", branch="try/1", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag("ward/ecg", tag="v1.0")
    second = api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id="ward/ecg", revision="try/1").oid
    assert api.model_info("ward/ecg").sha == first
    for revision, expected in (("v1.0", first), ("try/1", second), ("refs/heads/try/1", second), (second[:7], second)):
        assert api.model_info("ward/ecg", revision=revision).sha == expected
    refs = api.list_repo_refs("ward/ecg", include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "try/1": second}
    assert [(ref.ref, ref.target_commit) for ref in refs.tags] == [("refs/tags/v1.0", first)]
    history = api.list_repo_commits("ward/ecg", revision="try/1")
    assert [commit.commit_id for commit in history][:2] == [second, first]
    assert history[0].authors == ["alice"]
    with pytest.raises(RevisionNotFoundError):
        api.model_info("ward/ecg", revision="v2.0")
    with pytest.raises(BadRequestError, match="not a branch"):
        api.upload_file(path_or_fileobj=b"3", path_in_repo="a", repo_id="ward/ecg", revision="v1.0")
    api.super_squash_history("ward/ecg", branch="try/1")
    assert len(api.list_repo_commits("ward/ecg", revision="try/1")) == 1
    assert api.list_repo_files("ward/ecg", revision="try/1") == ["a"]
    api.delete_tag("ward/ecg", tag="v1.0")
    api.delete_branch("ward/ecg", branch="try/1")
    assert [ref.name for ref in api.list_repo_refs("ward/ecg").branches] == ["main"]
    with pytest.raises(HfHubHTTPError, match="cannot be deleted"):
        api.delete_branch("ward/ecg", branch="main")


def test_long_histories_come_in_pages(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecg_hub.server import routes_repos

    monkeypatch.setattr(routes_repos, "COMMITS_PAGE", 4)
    api = hub.api()
    api.create_repo("ward/ecg")
    for number in range(9):
        add = CommitOperationAdd("a", str(number).encode())
        api.create_commit("ward/ecg", [add], commit_message=f"c{number}")
    titles = [commit.title for commit in api.list_repo_commits("ward/ecg")]
    assert titles == [f"c{number}" for number in range(8, -1, -1)] + ["initial commit"]
