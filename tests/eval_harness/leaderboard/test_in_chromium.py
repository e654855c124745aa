"""The page in a real browser: tabs, sorting, filters, details, phone, keyboard, without a script, and no errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval_harness.leaderboard.site import build
from tests.eval_harness.leaderboard.test_page import write_evil
from tests.support import chromium
from tests.support.board import write_full

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(chromium.find() is None, reason="chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("leaderboard")
    write_full(root / "board")
    return build(root / "board", root / "page").folder / "index.html"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def desktop(started: chromium.Browser, page: Path) -> chromium.Browser:
    return opened(started, page, 1400, 900)


def opened(browser: chromium.Browser, page: Path, width: int, height: int, **more: Any) -> chromium.Browser:
    browser.messages.clear()
    browser.scripts(more.get("scripts", True))
    browser.size(width, height, more.get("phone", False))
    browser.dark(more.get("dark", False))
    browser.open(page, more.get("anchor", ""))
    return browser


VISIBLE = "Array.from(document.querySelectorAll('section.tab:not([hidden]) tbody tr:not([hidden])'))"


def names(browser: chromium.Browser) -> list[str]:
    return list(browser.run(f"{VISIBLE}.map(row => row.dataset.name)"))


def column(browser: chromium.Browser, number: int) -> list[float]:
    cells = f"{VISIBLE}.map(row => row.querySelector('.c{number}').dataset.v)"
    return [float(value) for value in browser.run(cells) if value is not None]


def choose(browser: chromium.Browser, name: str, value: str | bool) -> None:
    change = f"checked={str(value).lower()}" if isinstance(value, bool) else f"value={value!r}"
    browser.run(
        f"(e => {{ e.{change}; e.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
        f"(document.getElementById('filters').elements.{name})"
    )


def test_one_mode_at_a_time(desktop: chromium.Browser) -> None:
    shown = "Array.from(document.querySelectorAll('section.tab:not([hidden])')).map(e => e.id)"
    assert desktop.run(shown) == ["mode-linear"]
    desktop.run("document.querySelectorAll('#tabs a')[1].click()")
    assert desktop.run(shown) == ["mode-frozen"]
    assert desktop.run("location.hash") == "#mode-frozen"
    desktop.run("document.querySelectorAll('#tabs a')[1].focus()")
    desktop.key("ArrowRight")
    assert desktop.run(shown) == ["mode-finetune"]
    assert desktop.run("document.activeElement.textContent") == "finetune"
    assert desktop.messages == []


def test_an_address_keeps_the_mode(started: chromium.Browser, page: Path) -> None:
    browser = opened(started, page, 1400, 900, anchor="#mode-finetune")
    assert browser.run("document.querySelector('section.tab:not([hidden])').id") == "mode-finetune"


def test_every_column_sorts_both_ways(desktop: chromium.Browser) -> None:
    heads = desktop.run("document.querySelectorAll('section.tab:not([hidden]) th[data-sort]').length")
    assert heads == 28 + 4
    for number, lower in ((0, False), (22, True)):
        button = f"document.querySelector('section.tab:not([hidden]) th.c{number} button')"
        desktop.run(f"{button}.click()")
        first = column(desktop, number)
        assert first == sorted(first, reverse=not lower)
        desktop.run(f"{button}.click()")
        assert column(desktop, number) == first[::-1] or column(desktop, number) == sorted(first, reverse=lower)
        state = desktop.run(f"{button}.parentElement.getAttribute('aria-sort')")
        assert state == ("descending" if lower else "ascending")
    desktop.run("document.querySelector('section.tab:not([hidden]) th.name button').focus()")
    desktop.key("Enter")
    assert names(desktop) == sorted(names(desktop), key=str.lower)
    assert desktop.messages == []


def test_what_has_no_value_stays_last(desktop: chromium.Browser) -> None:
    button = "document.querySelector('section.tab:not([hidden]) th[data-sort=auroc] button')"
    for _ in range(2):
        desktop.run(f"{button}.click()")
        values = desktop.run(f"{VISIBLE}.map(row => row.querySelector('td.auroc').textContent)")
        gaps = [value == "–" for value in values]
        assert gaps == sorted(gaps)
        assert any(gaps)


def test_filters(desktop: chromium.Browser) -> None:
    everything = names(desktop)
    choose(desktop, "published", False)
    own = names(desktop)
    assert len(own) == len(everything) - 10
    choose(desktop, "baselines", False)
    assert not any(name.startswith(("random:", "trivial")) for name in names(desktop))
    choose(desktop, "baselines", True)
    choose(desktop, "find", "pulse")
    assert sorted(names(desktop)) == ["heart-lab/pulse-base", "heart-lab/pulse-large"]
    choose(desktop, "find", "")
    choose(desktop, "clean", True)
    assert "ecg-cpc" in names(desktop)
    assert not {"ecg-fm", "hubert-ecg", "heart-lab/pulse-base"} & set(names(desktop))
    choose(desktop, "clean", False)
    choose(desktop, "licence", "MIT")
    assert names(desktop) == ["ecg-fm"]
    choose(desktop, "licence", "")
    choose(desktop, "complete", True)
    assert "hubert-ecg" not in names(desktop)
    choose(desktop, "complete", False)
    choose(desktop, "size", "-10")
    small = desktop.run(f"{VISIBLE}.map(row => Number(row.dataset.size))")
    assert small
    assert max(small) <= 10e6
    desktop.run("document.getElementById('filters').reset(); new Promise(done => setTimeout(done, 30))")
    assert names(desktop) == everything
    assert desktop.messages == []


def test_deviating_rows_can_be_left_out(started: chromium.Browser, page: Path) -> None:
    browser = opened(started, page, 1400, 900, anchor="#mode-frozen")
    before = names(browser)
    choose(browser, "plain", True)
    assert set(before) - set(names(browser)) == {"ecg-jepa (epochs=20)"}


def test_sets_of_tasks(desktop: chromium.Browser) -> None:
    heads = (
        "Array.from(document.querySelectorAll('section.tab:not([hidden]) th.task')).filter(e => e.offsetParent).length"
    )
    rank = f"{VISIBLE}.map(row => row.querySelector('td.rank').textContent)"
    assert desktop.run(heads) == 26
    before = desktop.run(rank)
    choose(desktop, "set", "category:acute_care")
    assert desktop.run(heads) == 3
    assert desktop.run(rank) != before
    chart = "document.querySelectorAll('section.tab:not([hidden]) .figures:not([hidden]) svg').length"
    assert desktop.run(chart) == 1
    choose(desktop, "set", "published")
    assert desktop.run(heads) == 28
    categories = "Array.from(document.querySelectorAll('section.tab:not([hidden]) th.cat')).map(e => e.colSpan)"
    assert desktop.run(categories) == [15, 1, 1, 1, 1, 3, 6]


def test_details_by_mouse_and_keyboard(desktop: chromium.Browser) -> None:
    tip = "document.getElementById('tip')"
    desktop.run(f"{VISIBLE}[0].querySelector('.c2 a').focus()")
    text = desktop.run(f"{tip}.textContent")
    assert "95 % interval" in text
    assert "Ties: not known" in text
    desktop.key("ArrowRight")
    assert desktop.run("document.activeElement.closest('td').className").startswith("c3")
    desktop.key("ArrowDown")
    assert desktop.run(f"document.activeElement.closest('tr') === {VISIBLE}[1]")
    desktop.key("Escape")
    assert desktop.run(f"{tip}.hidden")
    box = desktop.run(f"(r => [r.x + 9, r.y + 9])({VISIBLE}[0].querySelector('.c0 a').getBoundingClientRect())")
    desktop.mouse(*box)
    assert not desktop.run(f"{tip}.hidden")
    assert desktop.run(f"(r => r.left >= 0 && r.right <= innerWidth && r.top >= 0)({tip}.getBoundingClientRect())")


def test_one_stop_for_the_tab_key(desktop: chromium.Browser) -> None:
    assert desktop.run("document.querySelectorAll('section.tab:not([hidden]) td a[tabindex=\"0\"]').length") == 1


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone(started: chromium.Browser, page: Path, dark: bool) -> None:
    browser = opened(started, page, 390, 844, phone=True, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run("document.querySelector('.scroll').scrollWidth > 390")
    browser.run(f"{VISIBLE}[0].querySelector('.c0 a').scrollIntoView({{block: 'center', inline: 'center'}})")
    browser.run("new Promise(done => setTimeout(done, 100))")
    box = f"(r => [r.x + r.width / 2, r.y + r.height / 2])({VISIBLE}[0].querySelector('.c0 a').getBoundingClientRect())"
    before = browser.run("location.href")
    browser.tap(*browser.run(box))
    assert browser.run("location.href") == before
    assert "95 % interval" in browser.run("document.getElementById('tip').textContent")
    assert browser.run("document.querySelector('#tip a').href").endswith(".json")
    assert browser.messages == []


def test_without_a_script(started: chromium.Browser, page: Path) -> None:
    browser = opened(started, page, 390, 844, scripts=False)
    try:
        answer = browser.send("DOM.getDocument", depth=0)
        html = browser.send("DOM.getOuterHTML", nodeId=answer["root"]["nodeId"])["outerHTML"]
        shot = browser.send("Page.getLayoutMetrics")
        assert '<html lang="en" class="no-js">' in html
        assert shot["cssContentSize"]["width"] <= 390
        assert shot["cssContentSize"]["height"] > 4 * 844  # all modes stand below each other
    finally:
        browser.scripts(True)


def test_nothing_of_a_stranger_runs(started: chromium.Browser, tmp_path: Path) -> None:
    write_evil(tmp_path / "board")
    made = build(tmp_path / "board", tmp_path / "page")
    browser = opened(started, made.folder / "index.html", 1400, 900)
    browser.run("document.querySelector('section.tab:not([hidden]) td a').focus()")
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.messages == []


def test_pictures(started: chromium.Browser, page: Path, tmp_path: Path) -> None:
    """Screenshots to look at: ECG_SCREENSHOTS=FOLDER keeps them."""
    import os

    folder = Path(os.environ.get("ECG_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    for name, width, phone, dark in (
        ("desktop", 1400, False, False), ("desktop_dark", 1400, False, True), ("phone", 390, True, False),
    ):  # fmt: skip
        browser = opened(started, page, width, 900, phone=phone, dark=dark)
        browser.shot(folder / f"leaderboard_{name}.png")
        assert (folder / f"leaderboard_{name}.png").stat().st_size > 10_000
