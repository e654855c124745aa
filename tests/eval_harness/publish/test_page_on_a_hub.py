"""The leaderboard page that the hub itself makes of a repository of results."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, get_session

from eval_harness.cli.eval.main import main
from tests.support import chromium
from tests.support.board import write_scored
from tests.support.hub import TestHub

pytestmark = pytest.mark.heavy
REPO = "alice/ecg-leaderboard"
PAGE = f"datasets/{REPO}/leaderboard/page"


def fetch(hub: TestHub, path: str, token: str | None = "") -> Any:
    headers = {"Accept": "text/html"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token or hub.read_token}"
    return get_session().get(f"{hub.url}/{path}", headers=headers)


def made(hub: TestHub, path: str = "index.html") -> Any:
    """The page, waited for as its own Refresh header asks a browser to."""
    deadline = time.monotonic() + 120
    while (answer := fetch(hub, f"{PAGE}/{path}")).status_code == 202:
        assert answer.headers["Refresh"]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return answer


@pytest.fixture
def results(hub: TestHub, tmp_path: Path) -> Path:
    write_scored(tmp_path / "run")
    assert main(["push", "--results", str(tmp_path / "run"), "--repo", REPO, "--with-predictions"]) == 0
    return tmp_path / "run"


@pytest.mark.heavy  # a process that scores again
@pytest.mark.usefixtures("results")
def test_the_page_is_made_and_made_again_when_results_come(hub: TestHub, tmp_path: Path) -> None:
    assert f'href="/{PAGE}/index.html"' in fetch(hub, "").text
    assert f'href="/{PAGE}/index.html"' in fetch(hub, f"datasets/{REPO}/leaderboard").text
    answer = made(hub)
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    rows = [row for row in made(hub, "leaderboard.json").json()["rows"] if not row["published"]]
    assert [score["state"] for row in rows for score in row["scores"].values()] == ["recomputed"]
    path = next(score["path"] for row in rows for score in row["scores"].values())
    assert made(hub, path.replace("+", "%2B")).json()["status"] == "done"
    write_scored(tmp_path / "more", mode="frozen")
    assert main(["push", "--results", str(tmp_path / "more"), "--repo", REPO, "--with-predictions"]) == 0
    rows = [row for row in made(hub, "leaderboard.json").json()["rows"] if not row["published"]]
    assert {row["mode"] for row in rows} == {"linear", "frozen"}
    kept = [folder.name for folder in (hub.root / "pages" / REPO).iterdir()]
    assert len(kept) == 1
    shutil.rmtree(hub.root / "pages")
    assert made(hub).status_code == 200
    hub.api().delete_repo(REPO, repo_type="dataset")
    assert fetch(hub, f"{PAGE}/index.html").status_code == 404
    assert not (hub.root / "pages" / REPO).exists()


@pytest.mark.usefixtures("results")
def test_who_may_not_see_the_repository_does_not_see_its_page(hub: TestHub) -> None:
    assert made(hub).status_code == 200
    assert fetch(hub, f"{PAGE}/index.html", None).status_code == 401
    for path in ("..%2F..%2F..%2Fcomputed.json", "%2e%2e%2fx", "../computed.json", "nothing.html"):
        assert fetch(hub, f"{PAGE}/{path}").status_code in (400, 404), path


def test_a_dataset_without_results_has_no_page(hub: TestHub) -> None:
    hub.api().create_repo("alice/signals", repo_type="dataset")
    answer = fetch(hub, "datasets/alice/signals/leaderboard/page/index.html")
    assert answer.status_code == 404
    assert "holds no results" in answer.text
    assert "page of the results" not in fetch(hub, "datasets/alice/signals/leaderboard").text


@pytest.mark.usefixtures("results")
def test_a_damaged_entry_is_refused_on_the_page_and_the_rest_is_shown(hub: TestHub) -> None:
    api = hub.api()
    path = next(name for name in api.list_repo_files(REPO, repo_type="dataset") if name.endswith("ptbxl_super.json"))
    bad = CommitOperationAdd(path.replace("ptbxl_super", "ptbxl_all"), b"{")
    api.create_commit(REPO, [bad], commit_message="damaged", repo_type="dataset")
    content = made(hub, "leaderboard.json").json()
    assert path.replace("ptbxl_super", "ptbxl_all") in content["refused"]
    assert any(path == score["path"] for row in content["rows"] for score in row["scores"].values())


def test_a_page_that_cannot_be_made_says_so(
    hub: TestHub, results: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ecg_hub.server.pages import Boards

    def nothing(self: Boards, tree: str, folder: Path) -> None:
        folder.mkdir(parents=True)

    monkeypatch.setattr(Boards, "_export", nothing)
    answer = made(hub)
    assert answer.status_code == 500
    assert "log says why" in answer.text
    assert "holds no folder 'results'" in caplog.text
    assert str(hub.root) not in answer.text


@pytest.mark.heavy  # eleven pages in two colour schemes
@pytest.mark.skipif(chromium.find() is None, reason="chromium is not installed (apt-get install chromium)")
def test_the_pages_have_no_grave_fault(hub: TestHub, results: Path, tmp_path: Path) -> None:
    api = hub.api()
    api.create_repo("alice/mine")
    card = b"---\ntags: [ecg]\n---\n# Mine\n\nText, `code`, [a link](config.json).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="alice/mine")
    api.create_pull_request("alice/mine", title="A change")
    made(hub)
    with chromium.browser(tmp_path / "profile") as browser:
        browser.page.set_extra_http_headers({"Authorization": f"Bearer {hub.read_token}"})
        for dark in (False, True):
            browser.dark(dark)
            for place in (
                "", "models?search=mine", "alice/mine", "alice/mine/blob/main/README.md", "alice/mine/commits/main",
                "alice/mine/discussions", "alice/mine/discussions/1", f"datasets/{REPO}", "no/such",
                f"datasets/{REPO}/leaderboard", f"{PAGE}/index.html",
            ):  # fmt: skip
                browser.open(f"{hub.url}/{place}")
                assert browser.faults() == [], place
