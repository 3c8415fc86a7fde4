"""Debian's Chromium, driven by Playwright: nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Browser:
    """One tab. What the page says on its console, throws or asks the network for is kept."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self.page: Page = chromium.new_page()
        self.complaints: list[str] = []
        """Errors and warnings on the console, exceptions, and what the content policy refused."""
        self.requests: list[str] = []
        """Addresses that were asked for, the page's own left out."""

    def open(self, page: Path | str, width: int, dark: bool = False) -> None:
        """A file or an address, in a new tab `width` CSS pixels wide. Returns when it has loaded."""
        self.page.context.close()
        url = page.resolve().as_uri() if isinstance(page, Path) else page
        self.complaints, self.requests = [], []
        context = self._chromium.new_context(
            viewport={"width": width, "height": 900}, is_mobile=width < 600, color_scheme="dark" if dark else "light"
        )
        self.page = context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.requests = [each for each in self.requests if each != url and not each.startswith("data:")]

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page. Raises playwright's Error where it throws."""
        return self.page.evaluate(expression)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def screenshot(self, file: Path) -> None:
        """The whole page."""
        self.page.screenshot(path=file, full_page=True)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(message.text)


@contextmanager
def browser() -> Iterator[Browser]:
    """Skips the test where there is none."""
    command = next(filter(None, map(shutil.which, _NAMES)), None)
    if command is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=command, args=["--disable-dev-shm-usage"])
        try:
            yield Browser(chromium)
        finally:
            chromium.close()
