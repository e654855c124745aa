"""The pages that people read, under axe-core: nothing serious or critical."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eval_harness.leaderboard.site import build
from eval_harness.report.content import find_content
from eval_harness.report.page import ReportOptions, write_report
from eval_harness.tasks.registry import get_task
from tests.support import chromium
from tests.support.analyses import write_all
from tests.support.board import write_full
from tests.support.report_runs import write_folder

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(chromium.find() is None, reason="chromium is not installed (apt-get install chromium)"),
]

# Both colour schemes and both widths; the middle one is a mixture of the others.
VIEWS = [(1400, False, True), (1400, False, False), (390, True, False)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("leaderboard")
    write_full(root / "board")
    return build(root / "board", root / "page").folder / "index.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    write_folder(root / "results", get_task("ptbxl_super"))
    content = find_content([root / "results"], [write_all(root / "analyses")])
    write_report(content, root / "report.html", ReportOptions())
    return root / "report.html"


def faults(browser: chromium.Browser, page: Path, width: int, phone: bool, dark: bool) -> list[str]:
    browser.size(width, 900, phone)
    browser.dark(dark)
    browser.open(page)
    return browser.faults()


@pytest.mark.heavy  # a browser and a large page
@pytest.mark.parametrize(("width", "phone", "dark"), VIEWS)
def test_the_leaderboard(browser: chromium.Browser, leaderboard: Path, width: int, phone: bool, dark: bool) -> None:
    assert faults(browser, leaderboard, width, phone, dark) == []
    browser.run("document.querySelector('section.tab:not([hidden]) td a').focus()")
    assert browser.faults() == []


@pytest.mark.parametrize(("width", "phone", "dark"), VIEWS)
def test_the_report(browser: chromium.Browser, report: Path, width: int, phone: bool, dark: bool) -> None:
    assert faults(browser, report, width, phone, dark) == []


def test_a_page_with_a_fault_is_caught(browser: chromium.Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>t</title><img src='x.png'><p style='color:#ccc;background:#fff'>pale</p>")
    found = " ".join(faults(browser, page, 1400, False, False))
    assert "image-alt" in found
    assert "color-contrast" in found
