"""An open trace: when its answer is of, when it gets out of date, and what it says while a collector is gone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from lab.cluster import Cluster
from lab.faults import apply_fault, mend
from lab.stack import Stack
from tests.browser.tracing import trace

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]
TIME = r"\d\d:\d\d:\d\d"


def test_a_trace_gets_out_of_date_and_is_traced_again_with_a_key(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    trace(page, "default/web-1", "default/web-2")
    currency = page.get_by_test_id("trace-currency")
    expect(currency).to_have_text(re.compile(rf"^Answer of {TIME}, up to date\.$"))
    page.get_by_test_id("level-evidence").click()
    page.get_by_test_id("step").first.get_by_role("button").first.click()
    selected = page.locator(".step.selected")
    expect(selected).to_have_count(1)
    kept = selected.inner_text()
    fault = apply_fault(cluster, "route-missing", node="node1", other="node2").id
    try:
        expect(currency).to_contain_text(
            re.compile(rf"Out of date since {TIME}: the state that this trace read has changed\.")
        )
        expect(currency).to_contain_text(re.compile(rf"The answer is of {TIME}\."))
        expect(page.get_by_test_id("disposition")).to_have_attribute("data-disposition", "DELIVERED")
        before = page.url
        page.keyboard.press("r")
        expect(page).not_to_have_url(before)
        expect(page.get_by_test_id("disposition")).to_have_attribute("data-disposition", "LEFT_NETWORK")
        expect(currency).to_contain_text("up to date")
        expect(page.get_by_test_id("level-evidence")).to_have_attribute("aria-pressed", "true")
        assert selected.inner_text() == kept
    finally:
        mend(cluster, fault)
    expect(currency).to_contain_text("Out of date since")
    page.get_by_test_id("trace-refresh").click()
    expect(page.get_by_test_id("disposition")).to_have_attribute("data-disposition", "DELIVERED")


def test_a_trace_is_not_certain_while_a_collector_is_gone(page: Page, netviz: Netviz) -> None:
    _, stack = netviz
    trace(page, "default/web-1", "default/web-2")
    expect(page.get_by_test_id("disposition")).to_contain_text("certain")
    currency = page.get_by_test_id("trace-currency")
    expect(currency).to_contain_text("up to date")
    stack.collectors["node2"].kill()
    try:
        said = re.compile(rf"node2's collector is not connected: the state of node2 is of {TIME} UTC\.")
        expect(currency).to_contain_text(said)
        page.get_by_test_id("trace-repeat").click()
        expect(page.get_by_test_id("assumed")).to_contain_text(said)
        expect(page.get_by_test_id("disposition")).to_contain_text("not certain")
        expect(page.locator(".badge.good")).to_have_count(0)
    finally:
        stack.start_collector("node2")
        stack.wait_connected()
    expect(currency).to_contain_text("Out of date: all that this trace read is fresh again")
