"""What several browser tests do: fill in the trace form, and wait for the answer."""

from __future__ import annotations

from playwright.sync_api import Page, expect

WAIT_MS = 60_000


def fill(page: Page, source: str, target: str, proto: str = "tcp", dport: int | None = 8080) -> None:
    """Fill in the trace form and send it."""
    page.get_by_test_id("new-trace").click()
    form = page.get_by_test_id("trace-form")
    form.locator("[name=from]").fill(source)
    form.locator("[name=to]").fill(target)
    form.locator("[name=proto]").select_option(proto)
    if dport is not None:
        form.locator("[name=dport]").fill(str(dport))
    page.get_by_test_id("trace-submit").click()


def trace(page: Page, source: str, target: str, proto: str = "tcp", dport: int | None = 8080) -> None:
    """Trace through the form, and wait for the answer."""
    fill(page, source, target, proto, dport)
    expect(page.get_by_test_id("disposition")).to_be_visible()
