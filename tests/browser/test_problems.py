"""What is wrong is shown unasked: break something, read what and where, decide about it, mend it, see it leave."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.cluster import Cluster
from lab.faults import apply_fault, mend
from lab.stack import Stack
from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]


def current(page: Page) -> None:
    """Wait until the checks have judged what there is, and find nothing."""
    expect(page.get_by_test_id("strip-problems")).to_contain_text("No open problem")
    expect(page.get_by_test_id("strip-checks")).to_contain_text("pass")


def test_a_fault_is_found_named_and_gone_when_mended(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    kind, words = "duplicate-address", ("web-1", "api-1", "10.244.1.2")
    current(page)
    page.get_by_test_id("problems-view").click()
    expect(page.get_by_test_id("no-problem")).to_be_visible()
    applied = apply_fault(cluster, "duplicate-address")
    try:
        row = page.locator(f'[data-testid=problem][data-kind="{kind}"][data-state=open]').first
        expect(row).to_be_visible()
        for word in words:
            expect(row).to_contain_text(word)
        row.click()
        detail = page.get_by_test_id("problem-detail")
        for word in words:
            expect(detail.get_by_test_id("problem-headline")).to_contain_text(word)
        expect(page.get_by_test_id("strip-problems")).to_contain_text("problem")
        expect(page.get_by_test_id("strip-problems")).to_have_attribute("data-tone", "bad")
        expect(page.get_by_test_id("problem-count")).to_be_visible()
    finally:
        mend(cluster, applied.id)
    expect(page.locator(f'[data-testid=problem][data-kind="{kind}"][data-state=open]')).to_have_count(0)
    current(page)


def test_a_fault_is_made_and_mended_on_the_page_of_a_demo(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    current(page)
    page.get_by_test_id("faults-view").click()
    faults = page.get_by_test_id("faults")
    expect(faults.get_by_test_id("faults-active")).to_have_text("No fault in effect")
    faults.get_by_test_id("fault-filter").fill("port-down")
    row = faults.get_by_test_id("fault")
    expect(row).to_contain_text("The host end of web-1's veth pair is down")
    expect(row).to_contain_text("In real life: ")
    page.get_by_role("button", name="Break: bridge-port-down").click()
    try:
        expect(row).to_contain_text("Watch: The link between web-1 and its bridge on node1")
        found = row.get_by_test_id("fault-found")
        expect(found).to_contain_text("Found as: ")
        for word in ("node1", "web-1", "is down", "after "):
            expect(found).to_contain_text(word)
        cluster.refresh()
        (made,) = [fault.id for fault in cluster.state.faults]
        assert made == "bridge-port-down:web-1"
        page.get_by_role("button", name="Mend: bridge-port-down").click()
        expect(faults.get_by_test_id("faults-active")).to_have_text("No fault in effect")
    finally:
        mend(cluster)
    current(page)


def test_a_problem_marks_its_place_and_the_check_that_found_it_fails(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    current(page)
    fault = apply_fault(cluster, "forwarding-off", node="node3").id
    node = page.locator("#pods [data-node=node3]")
    try:
        expect(node).to_have_attribute("data-health", "error")
        expect(node.locator(".problem-mark")).to_contain_text("problem")
        page.get_by_test_id("strip-checks").click()
        rows = page.get_by_test_id("no-problem").locator("tbody tr")
        expect(rows.filter(has_text="gateway forwards for them")).to_have_attribute("data-result", "fail")
        expect(rows.filter(has_text="an address that nobody else has")).to_have_attribute(
            "data-result", "pass"
        )
        page.get_by_test_id("problems-now").click()
        page.locator('[data-testid=problem][data-node="node3"]').first.click()
        page.get_by_test_id("problem-on-map").click()
        expect(page.get_by_test_id("inspector")).to_contain_text("forward")
        expect(page.get_by_test_id("problems")).to_have_count(0)
    finally:
        mend(cluster, fault)
    expect(node).to_have_attribute("data-health", "ok")


def test_an_operator_decides_and_what_is_put_aside_drowns_nothing(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    current(page)
    fault = apply_fault(cluster, "bridge-port-down").id
    try:
        page.get_by_test_id("problems-view").click()
        row = page.locator('[data-testid=problem][data-kind="pod-link-down"]').first
        row.click()
        page.get_by_test_id("comment-text").fill("the switch is being replaced")
        page.get_by_test_id("acknowledge").click()
        expect(row).to_have_attribute("data-state", "acknowledged")
        expect(page.locator(".history")).to_contain_text("the switch is being replaced")
        expect(page.get_by_test_id("strip-problems")).to_contain_text("No open problem")
        expect(page.get_by_test_id("strip-problems")).to_contain_text("1 acknowledged or muted")
        page.get_by_test_id("mute").click()
        expect(row).to_have_attribute("data-state", "muted")
        page.get_by_test_id("unmute").click()
        page.get_by_test_id("reopen").click()
        expect(row).to_have_attribute("data-state", "open")
    finally:
        mend(cluster, fault)
    expect(row).to_have_attribute("data-state", "gone")


def test_with_no_problem_it_says_what_was_checked(page: Page) -> None:
    current(page)
    page.goto(page.url.split("#")[0] + "#/problems")
    said = page.get_by_test_id("no-problem")
    expect(said).to_contain_text("15 pods")
    expect(said).to_contain_text("on 3 nodes")
    expect(said.locator("tbody tr")).not_to_have_count(0)
    expect(said).to_contain_text("Every pod has an address that nobody else has.")


def test_its_trace_is_one_click_away_open_at_the_step_that_fails(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    current(page)
    fault = apply_fault(cluster, "blackhole-route", node="node1", other="node2").id
    try:
        page.get_by_test_id("problems-view").click()
        row = page.locator('[data-testid=problem][data-node="node1"][data-state=open]').first
        row.click()
        expect(page.get_by_test_id("failing-step")).to_contain_text("node1")
        page.get_by_test_id("problem-trace").click()
        step = page.locator("[data-testid=step][data-failed]")
        expect(step).to_be_visible()
        expect(page.get_by_test_id("disposition")).not_to_contain_text("DELIVERED", ignore_case=True)
        assert "step=" in page.url
    finally:
        mend(cluster, fault)


def test_a_lost_collector_is_said_at_once(browser: Browser, netviz: Netviz) -> None:
    _, stack = netviz
    with watched_page(browser, stack.access) as page:
        log_in(page, stack.access)
        current(page)
        stack.collectors["node2"].kill()
        try:
            expect(page.get_by_test_id("strip-collectors")).to_contain_text("1 of 3 collectors not connected")
            expect(page.get_by_test_id("strip-checks")).to_contain_text("unknown")
            page.get_by_test_id("problems-view").click()
            row = page.locator('[data-testid=problem][data-kind="collector-lost"]')
            expect(row).to_contain_text("node2's collector is not connected")
        finally:
            stack.start_collector("node2")
        expect(page.get_by_test_id("strip-collectors")).to_contain_text("3 collectors connected")
        expect(row).to_have_attribute("data-state", "gone")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_the_view_fits_the_window(browser: Browser, netviz: Netviz, width: int, height: int) -> None:
    _, stack = netviz
    with watched_page(browser, stack.access, width=width, height=height) as page:
        log_in(page, stack.access)
        page.goto(page.url.split("#")[0] + "#/problems")
        expect(page.get_by_test_id("no-problem")).to_be_visible()
        strip = page.locator(".strip").evaluate("e => e.scrollWidth - e.clientWidth")
        pane = page.locator(".problem-pane").evaluate("e => e.scrollWidth - e.clientWidth")
        assert (strip, pane) == (0, 0)
