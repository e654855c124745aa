"""Discussions and pull requests with the real client."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError

from tests.support.hub import TestHub

REPO = "ward/results"


@pytest.fixture(autouse=True)
def _repo(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo(REPO, repo_type="dataset")
    adds = [CommitOperationAdd("a.json", b"{}"), CommitOperationAdd("old/b.json", b"{}")]
    api.create_commit(REPO, adds, commit_message="start", repo_type="dataset")


def test_a_commit_becomes_a_pull_request_and_is_merged(hub: TestHub) -> None:
    api = hub.api()
    head = api.dataset_info(REPO).sha
    steps = [CommitOperationAdd("new.json", b'{"x": 1}\n'), CommitOperationDelete("old/")]
    pull = api.create_commit(REPO, steps, commit_message="Results of CPC", repo_type="dataset", create_pr=True)
    assert (pull.pr_num, pull.pr_revision) == (1, "refs/pr/1")
    assert api.list_repo_files(REPO, repo_type="dataset") == ["a.json", "old/b.json"]
    assert api.list_repo_files(REPO, repo_type="dataset", revision="refs/pr/1") == ["a.json", "new.json"]
    add = CommitOperationAdd("more.json", b"2")
    api.create_commit(REPO, [add], commit_message="More", repo_type="dataset", revision="refs/pr/1")
    api.comment_discussion(REPO, 1, "Looks right.", repo_type="dataset")
    details = api.get_discussion_details(REPO, 1, repo_type="dataset")
    assert (details.title, details.status, details.author, details.conflicting_files) == (
        "Results of CPC",
        "open",
        "alice",
        [],
    )
    assert [event.type for event in details.events] == ["comment", "commit", "commit", "comment"]
    assert '+{"x": 1}' in (details.diff or "")
    api.upload_file(path_or_fileobj=b"3", path_in_repo="meanwhile.json", repo_id=REPO, repo_type="dataset")
    api.merge_pull_request(REPO, 1, repo_type="dataset", comment="Thanks.")
    assert api.list_repo_files(REPO, repo_type="dataset") == ["a.json", "meanwhile.json", "more.json", "new.json"]
    merged = api.get_discussion_details(REPO, 1, repo_type="dataset")
    assert merged.status == "merged"
    assert merged.merge_commit_oid == api.dataset_info(REPO).sha != head
    assert head in [commit.commit_id for commit in api.list_repo_commits(REPO, repo_type="dataset")]
    with pytest.raises(BadRequestError, match="merged"):
        api.merge_pull_request(REPO, 1, repo_type="dataset")
    with pytest.raises(BadRequestError, match="takes no more commits"):
        api.create_commit(
            REPO, [CommitOperationAdd("z", b"")], commit_message="z", repo_type="dataset", revision="refs/pr/1"
        )


def test_conflicts_are_named_and_not_merged(hub: TestHub) -> None:
    api = hub.api()
    change = [CommitOperationAdd("a.json", b"mine")]
    api.create_commit(REPO, change, commit_message="Mine", repo_type="dataset", create_pr=True)
    other = api.upload_file(path_or_fileobj=b"theirs", path_in_repo="a.json", repo_id=REPO, repo_type="dataset")
    assert api.get_discussion_details(REPO, 1, repo_type="dataset").conflicting_files == ["a.json"]
    with pytest.raises(HfHubHTTPError, match=r"a\.json"):
        api.merge_pull_request(REPO, 1, repo_type="dataset")
    assert api.dataset_info(REPO).sha == other.oid
    api.change_discussion_status(REPO, 1, "closed", repo_type="dataset")
    assert api.get_discussion_details(REPO, 1, repo_type="dataset").status == "closed"


def test_pull_requests_in_two_steps_and_by_folder(hub: TestHub, tmp_path: object) -> None:
    api = hub.api()
    draft = api.create_pull_request(REPO, "  An empty start ", repo_type="dataset")
    assert (draft.num, draft.status, draft.title, draft.git_reference) == (1, "draft", "An empty start", "refs/pr/1")
    add = CommitOperationAdd("p.json", b"1")
    api.create_commit(REPO, [add], commit_message="fill", repo_type="dataset", revision=draft.git_reference)
    api.change_discussion_status(REPO, 1, "open", repo_type="dataset")
    api.merge_pull_request(REPO, 1, repo_type="dataset")
    assert "p.json" in api.list_repo_files(REPO, repo_type="dataset")
    folder = hub.home / "folder"
    folder.mkdir(parents=True)
    (folder / "q.json").write_text("1")
    pull = api.upload_folder(folder_path=folder, repo_id=REPO, repo_type="dataset", create_pr=True)
    assert pull.pr_num == 2
    refs = api.list_repo_refs(REPO, repo_type="dataset", include_pull_requests=True)
    assert [ref.ref for ref in refs.pull_requests or ()] == ["refs/pr/1", "refs/pr/2"]
    with pytest.raises(BadRequestError, match="would change nothing"):
        api.create_commit(
            REPO,
            [add.__class__("a.json", b"{}"), add.__class__("x", b"")][:0]
            or [CommitOperationDelete("a.json"), CommitOperationAdd("a.json", b"{}")],
            commit_message="none",
            repo_type="dataset",
            create_pr=True,
        )


def test_discussions_are_listed_renamed_edited_and_hidden(hub: TestHub) -> None:
    api, reader = hub.api(), hub.api(hub.read_token)
    first = api.create_discussion(REPO, "A question", repo_type="dataset", description="Why?")
    api.create_pull_request(REPO, "A change", repo_type="dataset")
    assert [one.num for one in reader.get_repo_discussions(REPO, repo_type="dataset")] == [2, 1]
    found = reader.get_repo_discussions(
        REPO, repo_type="dataset", discussion_type="discussion", discussion_status="open"
    )
    assert [one.title for one in found] == ["A question"]
    api.rename_discussion(REPO, 1, "A better question", repo_type="dataset")
    comment = first.events[0].id
    api.edit_discussion_comment(REPO, 1, comment, "Why so?", repo_type="dataset")
    assert api.get_discussion_details(REPO, 1, repo_type="dataset").events[0].content == "Why so?"
    with pytest.warns(UserWarning, match="[Hh]id"):
        api.hide_discussion_comment(REPO, 1, comment, repo_type="dataset")
    details = api.get_discussion_details(REPO, 1, repo_type="dataset")
    assert details.title == "A better question"
    assert details.events[0].hidden
    assert [event.type for event in details.events] == ["comment", "title-change"]
    with pytest.raises(RemoteEntryNotFoundError):
        api.get_discussion_details(REPO, 7, repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="may only read"):
        reader.comment_discussion(REPO, 1, "me too", repo_type="dataset")
