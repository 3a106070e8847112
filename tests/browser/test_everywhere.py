"""Everything is reachable: search, palette and keys."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from lab.cluster import Cluster
from lab.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]


def test_from_the_login_to_a_trace_in_six_keys(page: Page) -> None:
    pressed = 0

    def press(*keys: str) -> None:
        nonlocal pressed
        for key in keys:
            page.keyboard.press(key)
            pressed += 1

    press("t")
    page.keyboard.type("default/web-1")
    press("Tab", "Tab")
    page.keyboard.type("default/web-2")
    press("Enter")
    expect(page.get_by_test_id("disposition")).to_contain_text("DELIVERED", ignore_case=True)
    assert pressed <= 6


def test_an_address_leads_to_the_route_that_a_packet_to_it_takes(page: Page, netviz: Netviz) -> None:
    page.keyboard.press("/")
    page.keyboard.type("10.244.2.77")
    group = page.get_by_role("group", name="Ranges that contain 10.244.2.77")
    expect(group.get_by_role("option").first).to_contain_text("10.244.2.0/24")
    option = group.get_by_role("option").filter(
        has=page.locator("[data-kind=route], .kind", has_text="route")
    )
    option.first.click()
    inspector = page.get_by_test_id("inspector")
    expect(inspector.get_by_test_id("table-find")).to_have_value("10.244.2.77")
    expect(inspector.get_by_test_id("table-says")).to_contain_text("10.244.2.77 ")
    expect(inspector.locator("tr[data-met]").first).to_contain_text("10.244.2.0/24")
    # What is found is in the address of the page, and a row leads on.
    assert "find=10.244.2.77" in page.url
    inspector.locator("tr[data-met] a").last.click()
    expect(page.get_by_test_id("inspector").locator(".eyebrow")).to_contain_text("link", ignore_case=True)


def test_commands_and_things_are_found_in_one_palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    palette = page.get_by_test_id("palette")
    expect(palette.get_by_role("option", name="Trace a packet")).to_be_visible()
    page.keyboard.type("problems")
    expect(palette.get_by_role("option").first).to_contain_text("Go to the problems")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("problems")).to_be_visible()
    expect(palette).to_be_hidden()
    page.keyboard.press("Control+k")
    page.keyboard.type("web-2")
    # At once: the first of what is found is chosen when it comes.
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("inspector").locator("h2")).to_have_text("web-2")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Go to the problems")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page.get_by_test_id("kube")).to_be_visible()


def test_a_pod_that_went_keeps_its_name(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    cluster.add_pod("node1", "leaver")
    page.locator('[data-pod="default/leaver"] a').click()
    expect(page.get_by_test_id("inspector").locator("h2")).to_have_text("leaver")
    cluster.remove_pod("leaver")
    inspector = page.get_by_test_id("inspector")
    expect(inspector.get_by_test_id("not-there")).to_contain_text("It went at ")
    expect(inspector.locator("h2")).to_have_text("default/leaver")
