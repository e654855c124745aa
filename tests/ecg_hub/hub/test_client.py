"""One repository as publishing sees it, and the loop in which everything is committed."""

from __future__ import annotations

import pytest

from ecg_hub.errors import DataError, InputError
from ecg_hub.hub.client import HubRepository, StaleParentError, Stored, git_sha1, is_there, sha256, until_committed
from tests.support.hub_api import HubApi

REPO = "org/name"


class Busy:
    """An attempt that somebody else is faster than, so many times."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts, self.numbers = conflicts, list[int]()

    def __call__(self, number: int) -> str:
        self.numbers.append(number)
        if len(self.numbers) <= self.conflicts:
            raise StaleParentError("changed in the meantime")
        return "done"


def test_an_attempt_is_made_again_until_nobody_is_faster() -> None:
    attempt, pauses = Busy(2), list[int]()
    assert until_committed("a/b", attempt, pause=pauses.append) == "done"
    assert (attempt.numbers, pauses) == ([1, 2, 3], [1, 2])


def test_it_ends_after_so_many_tries_with_the_error_asked_for() -> None:
    with pytest.raises(InputError, match=r"a/b kept changing: 5 tries\. Give the same command again later\."):
        until_committed("a/b", Busy(5))
    with pytest.raises(DataError, match="3 tries"):
        until_committed("a/b", Busy(3), tries=3, error=DataError)


def test_other_errors_end_it_at_once() -> None:
    def refused(_: int) -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        until_committed("a/b", refused)


def test_a_repository_that_is_not_there_is_empty_and_made_by_the_first_commit() -> None:
    repository = HubRepository(REPO, "dataset", HubApi())
    assert repository.head() is None
    assert repository.files(None) == {}
    assert repository.read(None, "a.txt") is None
    commit = repository.commit({"a.txt": b"text"}, "first", None)
    assert repository.head() == commit.oid
    assert repository.files(commit.oid) == {"a.txt": Stored(4, git_sha1(b"text"))}
    assert repository.read(commit.oid, "a.txt") == b"text"
    assert repository.read(commit.oid, "b.txt") is None


def test_a_commit_on_an_old_head_is_stale() -> None:
    repository = HubRepository(REPO, "dataset", HubApi())
    repository.commit({"a.txt": b"1"}, "first", None)
    head = repository.head()
    repository.commit({"a.txt": b"2"}, "second", head)
    with pytest.raises(StaleParentError, match="changed in the meantime"):
        repository.commit({"a.txt": b"3"}, "third", head)


def test_an_open_request_is_found_by_its_title() -> None:
    repository = HubRepository(REPO, "dataset", HubApi())
    repository.create()
    assert repository.open_request("a change") is None
    proposed = repository.commit({"a.txt": b"1"}, "a change", repository.head(), request=True)
    assert repository.open_request("a change") == proposed.link


@pytest.mark.parametrize(("kind", "prefix"), [("model", ""), ("dataset", "datasets/"), ("space", "spaces/")])
def test_links_lead_to_the_page_of_a_file(kind: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    repository = HubRepository(REPO, kind, HubApi())  # type: ignore[arg-type]
    assert repository.link("a/b.txt") == f"https://hub.example/{prefix}org/name/blob/main/a/b.txt"


@pytest.mark.parametrize("digest", [sha256(b"text"), git_sha1(b"text")])
def test_a_file_is_there_by_either_digest(digest: str) -> None:
    files = {"a.txt": Stored(4, digest)}
    assert is_there(files, "a.txt", b"text")
    assert not is_there(files, "a.txt", b"texts")
    assert not is_there(files, "b.txt", b"text")
