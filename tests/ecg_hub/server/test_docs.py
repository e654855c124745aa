"""The documentation site of a hub: which files of which folder are shown, to whom, and that nothing else is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ecg_hub.errors import InputError
from ecg_hub.server.calls import Options
from ecg_hub.server.serve import in_background
from eval_harness.cli.hub import serve as verb
from tests.support.hub import MB, READ, write_tokens


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "docs").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Docs</title>")
    (folder / "docs" / "a b.js").write_text("1")
    (tmp_path / "secret.html").write_text("secret")
    (folder / "out.html").symlink_to(tmp_path / "secret.html")
    return folder


@pytest.fixture
def url(site: Path, tmp_path: Path) -> Iterator[str]:
    tokens = write_tokens(tmp_path / "tokens")
    with in_background(tmp_path / "hub", Options(min_free=MB, docs=site), tokens) as running:
        yield running.url


def test_pages_are_shown_without_a_token_under_a_policy_that_names_no_other_host(url: str) -> None:
    page = httpx2.get(f"{url}/docs", follow_redirects=True)
    assert (page.text, str(page.url)) == ("<!doctype html><title>Docs</title>", f"{url}/docs/")
    script = httpx2.get(f"{url}/docs/docs/a%20b.js")
    assert (script.text, script.headers["Content-Type"].split(";")[0]) == ("1", "text/javascript")
    policy = script.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    # The repositories stay behind the token.
    assert httpx2.get(f"{url}/").status_code == 401
    assert 'href="/docs/"' in httpx2.get(f"{url}/", headers={"Authorization": f"Bearer {READ}"}).text


@pytest.mark.parametrize(
    "path",
    ["none.html", "docs", "..%2Fsecret.html", "docs/..%2f..%2fsecret.html", "%2Fetc%2Fpasswd", "out.html", "a%00b"],
)
def test_nothing_outside_the_folder_is_shown(url: str, path: str) -> None:
    answer = httpx2.get(f"{url}/docs/{path}")
    assert answer.status_code in (400, 404)
    assert "secret" not in answer.text.replace("secret.html", "")


def test_a_hub_without_a_site_takes_the_word_for_a_repository(tmp_path: Path) -> None:
    with in_background(tmp_path / "hub", Options(min_free=MB)) as running:
        assert "no repository" in httpx2.get(f"{running.url}/docs").text
        made = httpx2.post(f"{running.url}/api/repos/create", json={"name": "models", "organization": "docs"})
        assert "addresses of this hub use the word" in made.text


def test_a_folder_without_a_site_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    from eval_harness.cli.hub.main import build_parser

    arguments: argparse.Namespace = build_parser().parse_args(
        ["serve", "--root", str(tmp_path / "hub"), "--docs", str(tmp_path)]
    )
    with pytest.raises(InputError, match="make docs"):
        verb.run_serve(arguments)
