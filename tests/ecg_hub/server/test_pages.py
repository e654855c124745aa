"""The pages people look at: what they show, and that nothing of others runs in them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, get_session

from ecg_hub.server import pages
from ecg_hub.server.pages import MAX_RENDERED, render_markdown, size_text
from ecg_hub.utils.yaml import CardError, metadata
from tests.support.hangs import ends
from tests.support.hub import READ, TestHub

VOID = {"meta", "link", "input", "img", "br", "hr"}
EVIL = "<script>alert(1)</script>"
README = f"""---
tags: ["{EVIL}"]
---
# Title {EVIL}

[inside](docs/a.md) [root](/models) [out](https://example.org) [bad](javascript:alert(1)) ![plot](plot.png)
![track](https://example.org/pixel.png) <img src=x onerror=alert(1)>

| task | AUROC |
|---|---:|
| super | 0.93 |
"""


class _Checker(HTMLParser):
    """Fails on tags that do not match and on anything that could run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "style")
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


def _page(hub: TestHub, path: str, status: int = 200) -> Any:
    headers = {"Authorization": f"Bearer {READ}", "Accept": "text/html"}
    answer = get_session().get(f"{hub.url}/{path}", headers=headers)
    assert answer.status_code == status, answer.text[-2000:]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    checker = _Checker()
    checker.feed(answer.text)
    assert not checker.open
    assert not [link for link in checker.links if re.match(r"\s*(javascript|data|vbscript):", link, re.I)]
    return answer.text


@pytest.fixture
def filled(hub: TestHub) -> TestHub:
    api = hub.api()
    api.create_repo("ward/ecg")
    adds = [
        CommitOperationAdd("README.md", README.encode()),
        CommitOperationAdd(f"docs/a & {'<b>'}.md", b"inner"),
        CommitOperationAdd("w.bin", b"\0" * 2_000_000),
    ]
    api.create_commit("ward/ecg", adds, commit_message=f"add {EVIL}")
    api.create_repo("ward/data", repo_type="dataset")
    api.create_pull_request("ward/ecg", f"Change {EVIL}", description=f"because {EVIL}")
    return hub


def test_every_page_is_well_formed_and_escapes_what_comes_from_others(filled: TestHub) -> None:
    assert "ward/ecg" in _page(filled, "")
    assert "ward/ecg" in _page(filled, "models?search=ecg")
    assert "none" in _page(filled, "models?search=%22%3E%3Cscript%3E")
    assert "ward/data" in _page(filled, "datasets")
    assert "none" in _page(filled, "spaces")
    repo = _page(filled, "ward/ecg")
    assert "2.0 MB" in repo
    assert "<td style" not in repo
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in repo
    assert '<a href="/ward/ecg/blob/main/docs/a.md" rel="nofollow noopener noreferrer">inside</a>' in repo
    assert 'src="/ward/ecg/resolve/main/plot.png"' in repo
    assert "<td>super</td>" in repo
    assert '<td class="number">0.93</td>' in repo
    folder = _page(filled, "ward/ecg/tree/main/docs")
    (link,) = re.findall(r'href="(/ward/ecg/blob/main/docs/[^"]+)"', folder)
    assert "inner" in _page(filled, link.lstrip("/"))
    sha = filled.api().model_info("ward/ecg").sha
    assert sha[:12] in _page(filled, "ward/ecg/commits/main")
    assert "w.bin" in _page(filled, f"ward/ecg/commit/{sha}")
    assert "#1 Change" in _page(filled, "ward/ecg/discussions")
    assert "because" in _page(filled, "ward/ecg/discussions/1")
    _page(filled, "datasets/ward/data")
    _page(filled, "datasets/ward/data/leaderboard")
    assert "no repository" in _page(filled, "ward/none", status=404)
    assert "holds no" in _page(filled, "ward/ecg/blob/main/%3Cscript%3E", status=404)


def test_files_that_are_no_text_are_downloaded(filled: TestHub) -> None:
    headers = {"Authorization": f"Bearer {READ}"}
    answer = get_session().get(f"{filled.url}/ward/ecg/blob/main/w.bin", headers=headers)
    assert (len(answer.content), answer.headers["Content-Type"]) == (2_000_000, "application/octet-stream")
    named = get_session().get(f"{filled.url}/ward/ecg/resolve/main/w.bin?download=true", headers=headers)
    assert named.headers["Content-Disposition"].startswith("attachment")


def test_a_static_space_is_shown_apart_from_the_hub(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ward/board", repo_type="space", space_sdk="static")
    page = b"<!doctype html><title>Board</title><script>1</script>"
    adds = [CommitOperationAdd("index.html", page), CommitOperationAdd("board.json", b"{}")]
    api.create_commit("ward/board", adds, commit_message="board", repo_type="space")
    headers = {"Authorization": f"Bearer {READ}"}
    answer = get_session().get(f"{hub.url}/spaces/ward/board/view/main", headers=headers)
    assert (answer.content, answer.headers["Content-Type"].split(";")[0]) == (page, "text/html")
    assert "sandbox allow-scripts" in answer.headers["Content-Security-Policy"]
    assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]
    assert "Open the page" in _page(hub, "spaces/ward/board")
    assert get_session().get(f"{hub.url}/ward/board/view/main", headers=headers).status_code == 404


def test_markdown_cannot_carry_scripts() -> None:
    text = "[a](javascript:x) [b](data:text/html,x) ![c](vbscript:x) <b onclick=x>d</b> [e](./f.md#g) [h](#i)"
    html = render_markdown(text, "/r/blob/main/", "/r/resolve/main/")
    assert "<b" not in html
    assert re.findall(r'href="([^"]*)"', html) == ["/r/blob/main/f.md#g", "#i"]


# Each is the slowest of its kind for the parser.
SLOW = ("[", "![a](", "- a\n", "|a|b|c|\n|-|-|-|\n|1|2|3|\n", "*a **b _c ", "> - 1. a\n", "<![CDATA[", "a\n=\n", "`a")


def test_a_card_of_half_a_megabyte_is_offered_and_not_rendered(hub: TestHub) -> None:
    api = hub.api()
    for name, unit in enumerate(SLOW[:3]):
        text = f"---\nlicense: mit\n---\n{unit * (480_000 // len(unit))}"
        api.create_repo(f"ward/m{name}")
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=f"ward/m{name}")
        with ends(5):
            page = _page(hub, f"ward/m{name}")
        assert f'<a href="/ward/m{name}/blob/main/README.md">README.md as it is</a>' in page
        assert len(page) < 10_000


@pytest.mark.parametrize("unit", SLOW)
def test_what_is_rendered_takes_a_bounded_time(unit: str) -> None:
    with ends():
        render_markdown((unit * MAX_RENDERED)[:MAX_RENDERED], "/f/", "/i/")


# PyYAML reads numbers to the base 60, in the square of their length.
@pytest.mark.parametrize("number", ["1" + ":1" * 120_000, "1" + ":1" * 120_000 + ".5", "0x" + "f" * 1000, "9" * 1001])
def test_metadata_with_a_number_that_nobody_writes_are_refused_at_once(number: str) -> None:
    with ends(), pytest.raises(CardError, match="a number has more than 1,000 characters"):
        metadata(f"---\nlicense: mit\nyears: {number}\n---\n")


def test_a_card_is_rendered_once_for_all_addresses_and_links_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    parser = pages._markdown()
    monkeypatch.setattr(pages, "_markdown", lambda: rendered.append("") or parser)
    text = "[a](b.md) ![c](d.png) \0f \0i"
    one = render_markdown(text, "/r/blob/main/", "/r/resolve/main/")
    seen = len(rendered)
    other = render_markdown(text, "/r/blob/v1/", '/r/"x&/')
    assert len(rendered) == seen
    assert 'href="/r/blob/main/b.md"' in one
    assert 'href="/r/blob/v1/b.md"' in other
    assert 'src="/r/&quot;x&amp;/d.png"' in other
    assert one.count("/r/blob/main/") == 1


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_400_000, "2.4 MB"), (3e15, "3000.0 TB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
