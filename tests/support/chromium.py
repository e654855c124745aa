"""Debian's Chromium, driven by Playwright; accessibility by axe-core."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
GRAVE = ("serious", "critical")


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. `messages` are console errors and uncaught exceptions."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.messages: list[str] = []
        self._devtools = page.context.new_cdp_session(page)
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.messages.append(message.text)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return dict(self._devtools.send(method, params))

    def size(self, width: int, height: int, phone: bool = False) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def dark(self, on: bool = True) -> None:
        self.page.emulate_media(color_scheme="dark" if on else "light")

    def scripts(self, on: bool) -> None:
        self.send("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, place: Path | str, anchor: str = "") -> None:
        # An address that differs in its anchor alone would not load again.
        self.page.goto("about:blank")
        self.page.goto((place.resolve().as_uri() if isinstance(place, Path) else place) + anchor)

    def run(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def key(self, name: str) -> None:
        self.page.keyboard.press(name)

    def mouse(self, x: float, y: float) -> None:
        self.page.mouse.move(x, y)

    def tap(self, x: float, y: float) -> None:
        self.page.touchscreen.tap(x, y)
        self.page.wait_for_timeout(60)

    def shot(self, path: Path, whole: bool = False) -> None:
        self.page.screenshot(path=path, full_page=whole)

    def faults(self) -> list[str]:
        """Return what axe-core calls serious or critical: rule, why, and the elements."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        grave = [one for one in found if one["impact"] in GRAVE]
        return [f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:5]]}" for one in grave]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own; ended at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=find(), headless=True, args=ARGUMENTS, has_touch=True, no_viewport=True
        )
        try:
            yield Browser(context.pages[0])
        finally:
            context.close()
