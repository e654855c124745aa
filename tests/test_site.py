"""The documentation site: pages have places, public names are shown, links lead somewhere, nothing is foreign."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.support import chromium

ROOT = Path(__file__).resolve().parent.parent
NAVIGATION = ROOT / "docs" / "site" / "navigation.yaml"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("ecg_hub/models/*/card.md")]
REFERENCE = ROOT / "docs" / "reference"
PACKAGES = ("ecg_hub", "dataset_scripts", "eval_harness")
# Where an asset is named; what an <a> names is for the reader to follow.
ASSETS = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


def entries() -> list[str]:
    """The pages and patterns of the navigation."""
    found = []
    for group in yaml.safe_load(NAVIGATION.read_text()).values():
        for entry in group:
            found += [*entry, *entry.values()] if isinstance(entry, dict) else [entry]
    return found


def test_every_page_has_a_place_in_the_navigation() -> None:
    placed = {path for entry in entries() for path in ROOT.glob(f"{entry}.md")}
    missing = sorted(str(page.relative_to(ROOT)) for page in {*PAGES} - placed - {ROOT / "README.md"})
    assert not missing, f"docs/site/navigation.yaml has no line for {missing}"
    assert [entry for entry in entries() if not list(ROOT.glob(f"{entry}.md"))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package: str) -> None:
    module = importlib.import_module(package)
    text = (REFERENCE / f"{package}.md").read_text()
    shown = {name.rpartition(".")[2] for name in re.findall(r"\.\. auto\w+:: ([\w.]+)", text)}
    if f".. automodule:: {package}\n   :members:" in text:
        shown |= {*module.__all__} if hasattr(module, "__all__") else set()
    missing = {*getattr(module, "__all__", ())} - shown - {"__version__"}
    assert not missing, (
        f"docs/reference/{package}.md does not show {sorted(missing)}: `python docs/pages.py` writes the classes of "
        "models, other names are added by hand"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "--builder", "html", "--conf-dir", "docs/site", "--fail-on-warning", "--keep-going", "-q"]
    # A copy's caches would make the second build of a folder another one than the first.
    doctrees = tmp_path_factory.mktemp("doctrees")
    done = subprocess.run(
        [sys.executable, *words, "-d", doctrees, ".", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


class _Page(HTMLParser):
    """Anchors, links and assets of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if value := given.get(ASSETS.get(tag, "")):
            self.assets.append(value)


def unresolved(site: Path) -> list[str]:
    """Links and assets inside the site that lead nowhere."""
    pages = {file: _Page(file) for file in site.rglob("*.html")}
    wrong = []
    for file, page in pages.items():
        for link in (*page.links, *page.assets):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            whole = target.is_file() and (not anchor or target not in pages or anchor in pages[target].anchors)
            # Furo's way up, made by its script.
            if not whole and link != "#":
                wrong.append(f"{file.relative_to(site)}: {link}")
    return wrong


def foreign(site: Path) -> list[str]:
    """What a browser would fetch from another host."""
    found = [asset for file in site.rglob("*.html") for asset in _Page(file).assets if re.match(r"(https?:)?//", asset)]
    for file in site.rglob("*.css"):
        found += re.findall(r"(?:url\(|@import\s*)[\"']?((?:https?:)?//[^\"')\s]+)", file.read_text(encoding="utf-8"))
    return found


@pytest.mark.heavy  # builds the site: half a minute
def test_links_lead_somewhere_and_nothing_comes_from_another_host(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > len(PAGES)
    assert unresolved(site) == []
    assert foreign(site) == []
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()


def test_a_dead_link_and_a_foreign_font_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="x">A</h1><a href="a.html#y"></a><a href="b.html"></a><a href="#x"></a>')
    (tmp_path / "c.html").write_text('<script src="https://cdn.example.org/a.js"></script>')
    (tmp_path / "d.css").write_text("@font-face { src: url('//fonts.example.org/a.woff2') }")
    assert unresolved(tmp_path) == ["a.html: a.html#y", "a.html: b.html"]
    assert foreign(tmp_path) == ["https://cdn.example.org/a.js", "//fonts.example.org/a.woff2"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.heavy
@pytest.mark.skipif(chromium.find() is None, reason="no chromium")
def test_in_a_browser(site: Path, address: str, tmp_path: Path) -> None:
    with chromium.browser(tmp_path / "profile") as one:
        asked: list[str] = []
        one.page.on("request", lambda request: asked.append(request.url))
        for dark, (width, height, phone) in ((False, (1360, 900, False)), (True, (390, 844, True))):
            one.size(width, height, phone)
            one.dark(dark)
            for page in ("index", "docs/running", "docs/reference/ecg_hub", "docs/gallery"):
                one.open(f"{address}/{page}.html")
                assert one.faults() == [], (page, dark)
                assert one.run("document.documentElement.scrollWidth <= window.innerWidth"), (page, width)
        # From the disk as well, where a script may read no other file.
        for place in (f"{address}/search.html", (site / "search.html").as_uri()):
            one.page.goto(f"{place}?q=resample")
            one.page.wait_for_selector("ul.search li a")
        assert [url for url in asked if not url.startswith((address, "file:", "about:", "data:", "blob:"))] == []
