"""Observe on the page: marks beside the steps, what differs, what is missing, and what sending a probe touches."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from lab.cluster import Cluster
from lab.stack import Stack
from tests.browser.tracing import trace

pytestmark = [pytest.mark.browser, pytest.mark.live]


def test_predict_observe_both(page: Page) -> None:
    """A click sends one probe; the marks stand beside each step; the address leads a colleague to the same."""
    trace(page, "default/web-1", "default/web-2")
    expect(page.get_by_test_id("observe-touch")).to_contain_text("Opens one real TCP connection")
    expect(page.locator("[data-mark]")).to_have_count(0)
    page.get_by_test_id("mode-both").click()
    finding = page.get_by_test_id("finding")
    expect(finding).to_have_attribute("data-finding", "agrees")
    expect(finding).to_contain_text("The sender was told: answer.")
    sent = page.locator("[data-kind=link_tx] [data-mark]")
    expect(sent).to_have_count(3)
    for mark in sent.all():
        expect(mark).to_have_attribute("data-mark", "agree")
        assert float(mark.locator(".ms").inner_text()) >= 0
    routes = page.locator("[data-kind=route] [data-mark]")
    for mark in routes.all():
        expect(mark).to_have_attribute("data-mark", "agree")
    page.locator("[data-kind=link_tx] .step-row").first.click()
    expect(page.get_by_test_id("seen-headers")).to_contain_text("TTL 64, 60 bytes")
    page.get_by_test_id("mode-observe").click()
    expect(page.locator("[data-kind=link_tx]")).to_have_count(3)
    expect(page.locator("[data-kind]:has(.step-row):not(:has([data-mark=agree]))")).to_have_count(0)
    page.reload()
    expect(page.get_by_test_id("finding")).to_have_attribute("data-finding", "agrees")
    page.get_by_test_id("mode-predict").click()
    expect(page.locator("[data-mark]")).to_have_count(0)


def test_a_datagram_is_sent_only_when_that_is_said(page: Page) -> None:
    trace(page, "default/web-1", "default/web-3", proto="udp")
    page.get_by_test_id("mode-both").click()
    confirm = page.get_by_test_id("observe-confirm")
    expect(confirm).to_be_visible()
    expect(page.get_by_test_id("observe-standing")).to_contain_text("may take it for its own")
    confirm.click()
    expect(page.get_by_test_id("finding")).to_have_attribute("data-finding", "agrees")


def test_a_drop_in_words(page: Page, netviz: tuple[Cluster, Stack]) -> None:
    """The place where it ends says why, with the kernel's name; what waits for a timer is said while it waits."""
    cluster, _ = netviz
    nobody = cluster.pod("web-1").ipv4.rsplit(".", 1)[0] + ".250"
    trace(page, "default/web-1", nobody, proto="icmp", dport=None)
    page.get_by_test_id("mode-both").click()
    expect(page.locator("[data-status=waiting]")).to_contain_text("ARP gives up after 3 s")
    expect(page.get_by_test_id("finding")).to_contain_text("EHOSTUNREACH")
    expect(page.get_by_test_id("observe-standing")).to_contain_text(re.compile("What no observation shows"))
