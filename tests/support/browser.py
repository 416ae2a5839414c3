"""A real browser: Debian's Chromium, driven by Playwright, and what axe finds on its pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dashboard import new_link
from server_process import ServerProcess

PHONE, DESK = 360, 1100
PICTURES = "FEDIT_SCREENSHOTS"
"""The folder into which the pages' pictures for the documentation go, if it is set."""
_FOCUS = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const said = element.getAttribute("aria-label") || element.textContent.trim() || element.name;
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [`${element.tagName} ${said}`.slice(0, 60), seen];
}"""
_REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((element) => element.type !== "hidden" && element.checkVisibility()).length"""


@contextmanager
def chromium() -> Iterator[Any]:
    """One browser. Skips where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed here (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A window of its own, with cookies of its own. ``complaints``: what the browser has written to its console."""

    def __init__(self, browser: Any, server: ServerProcess, width: int = DESK, **options: object) -> None:
        size = {"width": width, "height": 800}
        self.context = browser.new_context(
            ignore_https_errors=True, viewport=size, timezone_id="Asia/Tokyo", reduced_motion="reduce", **options
        )
        self.server = server
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def log_in(self) -> None:
        self.page.goto(new_link(self.server))
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("nav")

    def go(self, path: str) -> None:
        """To a page, by its path below /dashboard."""
        self.page.goto(f"https://127.0.0.1:{self.server.port}/dashboard{path}")

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def findings(self) -> list[str]:
        """What axe has to say against the page as it is now."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]

    def tabbed(self) -> tuple[list[str], list[str]]:
        """What the Tab key comes to, in order, pressed once for each thing that a mouse can use; and what of it does
        not show that it has the focus."""
        names, unseen = [], []
        for _ in range(int(self.page.evaluate(_REACHABLE))):
            self.page.keyboard.press("Tab")
            name, seen = self.page.evaluate(_FOCUS)
            names.append(name)
            if not seen:
                unseen.append(name)
        return names, unseen

    def picture(self, name: str) -> None:
        """Into the documentation's folder, if that is asked for."""
        if (folder := os.environ.get(PICTURES)) is not None:
            self.page.screenshot(path=Path(folder) / f"dashboard-{name}.png")

    def close(self) -> None:
        self.context.close()
