"""A headless Chromium for tests of pages, driven by playwright.

The system's browser is used and none is downloaded: $CHROMIUM, or the first of the usual names.
Where there is no browser, no playwright or no axe, a test that asks for one skips and says so.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Window:
    """One page of the browser.

    Attributes:
        page: playwright's, for anything beyond what is here.
        faults: console errors and uncaught exceptions since the last `open`.
        requests: addresses asked for since the last `open`.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path, width: int = 1200, dark: bool = False) -> None:
        """Opens a file and waits until it is loaded, at a width in CSS pixels and in a scheme."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.faults.clear()
        self.requests.clear()
        self.page.goto(path.resolve().as_uri())

    def run(self, script: str) -> Any:
        """Evaluates an expression in the page, awaiting a promise, and returns its value."""
        return self.page.evaluate(script)

    def violations(self) -> list[str]:
        """Runs the accessibility check axe on the page as it is; one line a broken rule."""
        reason = "axe is not installed (pip install axe-playwright-python)"
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason)
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
            for rule in found
        ]


@contextlib.contextmanager
def open_window() -> Iterator[Window]:
    """Starts a browser with an empty profile and yields its page; ends the browser afterwards."""
    reason = "playwright is not installed (pip install playwright)"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium, or set CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield Window(browser.new_page())
        browser.close()
