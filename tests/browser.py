"""A headless Chromium for tests of pages: what it asks the network for, and its errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Seen:
    """What a page did besides being shown.

    Attributes:
        requests: addresses that it asked for, but for those inside of it (`data:`).
        errors: exceptions of its scripts, and errors and warnings on its console.
    """

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        """Notes what happens on a page of playwright from now on."""
        page.on("request", lambda one: self.note(one.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self.listen)

    def note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.requests.append(url)

    def listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, see playwright; tests that need it are skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        # Root, as in a container, gets no sandbox; the camera plays a test picture.
        options = ["--no-sandbox", "--use-fake-device-for-media-stream"]
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium) -> Iterator[Any]:
    """`visit(url, color_scheme="dark", ...)`: (page, what it does); options are of new_context."""
    contexts = []

    def visit(url: str, **options: Any) -> tuple[Any, Seen]:
        context = chromium.new_context(**options)
        contexts.append(context)
        page, seen = context.new_page(), Seen()
        seen.watch(page)
        page.goto(url)
        return page, seen

    yield visit
    for context in contexts:
        context.close()
