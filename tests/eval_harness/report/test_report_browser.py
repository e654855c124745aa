"""The page in a real browser: it is laid out, fits a phone, and no name in it runs as code."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eval_harness.report.content import find_content
from eval_harness.report.page import ReportOptions, write_report
from eval_harness.results.folders import find_runs
from eval_harness.tasks.registry import get_task
from tests.support.analyses import write_all
from tests.support.report_runs import shifted, write_folder
from tests.support.results import predictions

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not BROWSER, reason="no chromium on PATH: the page is not tried in a browser"),
]

PROBE = """<script>
const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll") && !e.closest(".skip")
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.tagName);
document.title = JSON.stringify({page: document.documentElement.scrollWidth,
  window: document.documentElement.clientWidth, wide, charts: [...document.querySelectorAll("svg[role=img]")]
  .filter(e => e.getBoundingClientRect().height > 50).length});
</script>"""


def browse(page: Path, *options: str) -> str:
    """Return what the browser made of a page."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", profile, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def measure(page: Path, width: int) -> dict[str, Any]:
    """Return what a script finds on a page in a window of so many pixels."""
    content = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text(encoding="utf-8"))
    page.write_text(content.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    found = browse(page, "--dump-dom", f"--window-size={width},900")
    title = re.search(r"<title>(\{.*?\})</title>", found)
    assert title is not None
    measured: dict[str, Any] = json.loads(html.unescape(title[1]))
    return measured


@pytest.fixture
def page(tmp_path: Path) -> Path:
    task = get_task("ptbxl_super")
    write_folder(tmp_path / "results", task)
    name = "<script>document.title='run'</script>"
    write_folder(tmp_path / "results", task, shifted(predictions(), 0.6), model="model-b", mode=name)
    write_report(find_runs([tmp_path / "results"]), tmp_path / "report.html", ReportOptions())
    return tmp_path / "report.html"


def test_no_name_runs_as_code_even_where_scripts_may(page: Path) -> None:
    assert "<title>ECG model evaluation</title>" in browse(page, "--dump-dom")
    content = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text(encoding="utf-8"))
    page.write_text(content, encoding="utf-8")
    assert "<title>ECG model evaluation</title>" in browse(page, "--dump-dom")


@pytest.mark.parametrize("width", [500, 1200])
def test_analyses_fit_their_window(tmp_path: Path, width: int) -> None:
    target = tmp_path / "report.html"
    write_report(find_content([], [write_all(tmp_path / "analyses")]), target, ReportOptions())
    measured = measure(target, width)
    assert measured["page"] == measured["window"] > width - 30
    assert measured["wide"] == []
    assert measured["charts"] > 15


@pytest.mark.parametrize("width", [500, 1200])
def test_the_page_fits_its_window(page: Path, width: int) -> None:
    measured = measure(page, width)
    assert measured["page"] == measured["window"] > width - 30
    assert measured["wide"] == []
    assert measured["charts"] > 5


def test_the_policy_of_the_page_stops_scripts(page: Path) -> None:
    content = page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>")
    page.write_text(content, encoding="utf-8")
    assert "<title>ECG model evaluation</title>" in browse(page, "--dump-dom")


def test_the_page_prints(page: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.pdf"
    browse(page, f"--print-to-pdf={target}")
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page") >= 3
