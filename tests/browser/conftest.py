"""A real Chromium that may talk to nobody but the server, and whose complaints fail the test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lab.cluster import Cluster
from lab.stack import Access, Stack
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in
from tests.browser.tracing import WAIT_MS

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless. No longer than a module: Playwright keeps an event loop running in this
    thread, and asynchronous tests need one of their own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@contextmanager
def watched_page(
    browser: Browser, access: Access, *, width: int = 1440, height: int = 900, allowed: str = r"$^"
) -> Iterator[Page]:
    """A new page that is not logged in.

    Fails on a console message that doesn't match `allowed`, and on any request elsewhere.
    """
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    own = re.compile(rf"^(https?|ws)://{re.escape(access.url.split('//')[1])}/|^(data|blob):")
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda err: complaints.append(str(err)))
    page.on("request", lambda r: None if own.match(r.url) else complaints.append(f"request to {r.url}"))
    page.on("websocket", lambda w: None if own.match(w.url) else complaints.append(f"socket to {w.url}"))
    try:
        yield page
    finally:
        context.close()
    assert [text for text in complaints if not re.search(allowed, text)] == []


@pytest.fixture
def page(browser: Browser, netviz: tuple[Cluster, Stack]) -> Iterator[Page]:
    """A page of the whole netviz on a lab of 3 nodes with 5 pods, logged in as its administrator."""
    _, stack = netviz
    with watched_page(browser, stack.access) as page:
        log_in(page, stack.access)
        yield page
