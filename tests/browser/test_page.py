"""What a user does: log in, look, trace, break something, trace again. Real kernel, server and browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.cluster import Cluster
from lab.faults import apply_fault, mend
from lab.stack import Stack
from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page
from tests.browser.tracing import trace

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]


def test_fifteen_pods_are_there_and_a_new_one_appears_by_itself(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    expect(page.get_by_test_id("pod-count")).to_have_text("15")
    expect(page.locator("[data-pod]")).to_have_count(15)
    page.evaluate("window.nvSamePage = true")
    cluster.add_pod("node2", "newcomer")
    try:
        expect(page.locator('[data-pod="default/newcomer"]')).to_be_visible()
        expect(page.get_by_test_id("pod-count")).to_have_text("16")
        assert page.evaluate("window.nvSamePage") is True, "the page was loaded anew"
    finally:
        cluster.remove_pod("newcomer")
    expect(page.get_by_test_id("pod-count")).to_have_text("15")


def test_two_clicked_pods_are_traced_there_and_back(page: Page) -> None:
    page.locator('[data-pod="default/web-1"]').click()
    page.get_by_role("button", name="Trace from here").click()
    page.locator('[data-pod="default/web-2"]').click()
    expect(page.get_by_test_id("disposition")).to_contain_text("DELIVERED", ignore_case=True)
    hops = page.get_by_test_id("hop")
    assert hops.count() >= 4, "two pods and two nodes"
    expect(page.get_by_test_id("step").first).to_be_visible()
    page.get_by_test_id("direction-reply").click()
    expect(page.get_by_test_id("hop").first).to_contain_text("web-2")


def test_a_broken_route_is_named_and_mended(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    fault = apply_fault(cluster, "route-missing", node="node1", other="node2").id
    try:
        trace(page, "default/web-1", "default/web-2")
        expect(page.get_by_test_id("disposition")).not_to_contain_text("DELIVERED", ignore_case=True)
        cause = page.get_by_test_id("cause")
        expect(cause).to_contain_text("default/web-2 on node2")
        expect(cause).to_contain_text("node1 has no route that leads there")
    finally:
        mend(cluster, fault)
    trace(page, "default/web-1", "default/web-2")
    expect(page.get_by_test_id("disposition")).to_contain_text("DELIVERED", ignore_case=True)


def test_the_page_says_that_it_is_stale_and_recovers_by_itself(browser: Browser, netviz: Netviz) -> None:
    _, stack = netviz
    refused = r"^WebSocket connection to|net::ERR_"  # what Chromium says while the server is down
    with watched_page(browser, stack.access, allowed=refused) as page:
        log_in(page, stack.access)
        assert stack.server is not None
        stack.server.kill()
        state = page.get_by_test_id("connection")
        expect(state).not_to_have_attribute("data-state", "live")
        stack.start_server()
        expect(state).to_have_attribute("data-state", "live")
        expect(page.get_by_test_id("pod-count")).to_have_text("15")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768)])
def test_it_fits_the_window(browser: Browser, netviz: Netviz, width: int, height: int) -> None:
    _, stack = netviz
    with watched_page(browser, stack.access, width=width, height=height) as page:
        log_in(page, stack.access)
        expect(page.get_by_test_id("pod-count")).to_have_text("15")
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0


def test_a_wrong_password_is_refused_in_words(browser: Browser, netviz: Netviz) -> None:
    _, stack = netviz
    with watched_page(browser, stack.access) as page:
        page.goto(stack.access.url)
        page.fill("input[name=username]", stack.access.user)
        page.fill("input[name=password]", "wrong")
        page.click("button[type=submit]")
        expect(page.get_by_role("alert")).to_be_visible()
