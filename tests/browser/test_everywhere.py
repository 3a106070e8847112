"""Everything is reachable: search, palette and keys; and axe-core finds nothing on any page that bars somebody."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.cluster import Cluster
from lab.faults import apply_fault, mend
from lab.stack import Stack, wait_until
from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page
from tests.browser.tracing import trace

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]
AXE = Path(__file__).resolve().parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """async () => {
  const found = await axe.run(document, {preload: false, resultTypes: ["violations"]});
  return found.violations
    .filter((one) => one.impact !== "minor")
    .flatMap((one) => one.nodes.map((node) =>
      `${one.impact} ${one.id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}"""


def test_from_the_login_page_to_a_trace_in_six_keys_beside_the_names(
    browser: Browser, netviz: Netviz
) -> None:
    _, stack = netviz
    with watched_page(browser, stack.access) as page:
        page.goto(stack.access.url)
        pressed = 0

        def press(*keys: str) -> None:
            nonlocal pressed
            for key in keys:
                page.keyboard.press(key)
                pressed += 1

        page.keyboard.type(stack.access.user)
        press("Tab")
        page.keyboard.type(stack.access.password)
        press("Enter")
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
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


def test_what_the_maps_colours_say_is_said_in_the_legend_and_in_the_tree(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    legend, colours = page.get_by_test_id("legend"), page.get_by_test_id("overlay")
    node, pod = (
        page.locator("#pods [data-node=node1] .says"),
        page.locator('[data-pod="default/web-1"] .says'),
    )
    fault = apply_fault(cluster, "wrong-mtu", pod="web-1").id
    try:
        for name, entry, of_node, of_pod in (
            ("MTU", "differs", "MTUs? differ", "MTU 1500, other end 1400"),
            ("Addresses", "no range known", "^5 pods in 253", "^$"),
            ("Tunnels", "has a tunnel", "^no tunnel", "^$"),
            ("Age", "under 1 s old", "^current|late", "^$"),
            # Rates are known after two readings, for which this test doesn't wait.
            ("Traffic", "no traffic", "^not known|^in .*, out |^no traffic", "^$|^in|^no"),
            ("Drops", "drops or errors now", "not known|^none", "^$|^no|before|dropped"),
        ):
            colours.select_option(label=name)
            expect(legend).to_contain_text(entry)
            expect(node).to_have_text(re.compile(of_node))
            expect(pod).to_have_text(re.compile(of_pod))
        assert "colour=drops" in page.url
        colours.select_option(label="Problems")
        expect(node).to_contain_text("problem")
    finally:
        mend(cluster, fault)
    page.locator("#pods [data-node=node1] a").click()
    routes = page.locator("svg.overlay text")
    expect(routes.filter(has_text="10.244.2.0/24")).to_have_count(1)


def test_a_pods_connections_are_listed_and_traced_by_one_click(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    address = (cluster.address_of("web-2"), 8080)
    program = (
        f"import socket, sys; held = socket.create_connection({address}); print(flush=True); sys.stdin.read()"
    )
    argv = cluster.command("web-1", [sys.executable, "-c", program])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        page.locator('[data-pod="default/web-1"] a').click()
        page.get_by_test_id("connections-open").click()
        connection = page.get_by_test_id("connection").filter(has_text="web-2")

        def is_listed() -> bool:
            page.get_by_role("button", name="Refresh").click()
            return connection.count() > 0

        wait_until(is_listed, 60, "the connection in the list", every_s=0.2)
        expect(connection).to_contain_text("tcp")
        connection.get_by_role("button").click()
        expect(page.get_by_test_id("disposition")).to_contain_text("DELIVERED", ignore_case=True)


def test_a_pod_that_went_keeps_its_name(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    cluster.add_pod("node1", "leaver")
    page.locator('[data-pod="default/leaver"] a').click()
    expect(page.get_by_test_id("inspector").locator("h2")).to_have_text("leaver")
    cluster.remove_pod("leaver")
    inspector = page.get_by_test_id("inspector")
    expect(inspector.get_by_test_id("not-there")).to_contain_text("It went at ")
    expect(inspector.locator("h2")).to_have_text("default/leaver")


def test_axe_finds_nothing_that_bars_somebody(browser: Browser, netviz: Netviz) -> None:
    _, stack = netviz
    assert AXE.exists(), "axe-core isn't installed: make setup"
    source = AXE.read_text()
    wrong: dict[str, list[str]] = {}

    def look(page: Page, name: str) -> None:
        page.evaluate(source)
        if found := page.evaluate(RUN):
            wrong[name] = found

    for scheme in ("light", "dark"):
        with watched_page(browser, stack.access, width=1280, height=720) as page:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            page.goto(stack.access.url)
            look(page, f"{scheme} login")
            log_in(page, stack.access)
            for name, show in PAGES.items():
                show(page, stack.access.url)
                look(page, f"{scheme} {name}")
    assert not wrong, "\n".join(f"{name}: {one}" for name, found in wrong.items() for one in found)


def _at(address: str, wait: str) -> Callable[[Page, str], None]:
    def show(page: Page, url: str) -> None:
        page.keyboard.press("Escape")
        page.goto(f"{url}/{address}")
        expect(page.locator(wait).first).to_be_visible()

    return show


def _trace(page: Page, url: str) -> None:
    page.goto(f"{url}/#/")
    trace(page, "default/web-1", "default/web-2")


def _typed(page: Page, url: str) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("web-1")
    expect(page.locator("#search-results [role=option]").first).to_be_visible()


def _help(page: Page, url: str) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def _palette(page: Page, url: str) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_test_id("palette").get_by_role("option").first).to_be_visible()


def _enrolled(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/inventory/collector/add/")
    page.locator("[name=node]").fill("axe-1")
    page.locator("[name=approve]").uncheck()
    page.get_by_role("button", name="Enrol").click()
    expect(page.locator("code.token")).to_be_visible()


def _waits(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/inventory/collector/?status__exact=enrolled")
    page.locator("#result_list tbody a").first.click()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()


PAGES: dict[str, Callable[[Page, str], None]] = {
    "map": _at("#/", "[data-pod]"),
    "node": _at("#/node/node1", "[data-testid=inspector] tr"),
    "nft": _at("#/node/node1?tab=nft", "[data-testid=inspector] details"),
    "address": _at("#/node/node1?tab=routes&find=10.244.2.7", "tr[data-met]"),
    "search": _typed,
    "help": _help,
    "palette": _palette,
    "compose": _at("#/trace", "[data-testid=compose]"),
    "faults": _at("#/faults", "[data-testid=fault]"),
    "trace": _trace,
    "problems": _at("#/problems", "[data-testid=problems]"),
    "checks": _at("#/problems?list=checks", "[data-testid=problems]"),
    "services": _at("#/services", "[data-testid=kube]"),
    "admin": _at("admin/", "#content"),
    "collectors": _at("admin/inventory/collector/", "#result_list"),
    "nodes": _at("admin/inventory/node/", "#result_list"),
    "enrol": _at("admin/inventory/collector/add/", "[name=node]"),
    "enrolled": _enrolled,
    "waiting": _waits,
    "tokens": _at("admin/inventory/apitoken/", "#content"),
    "new token": _at("admin/inventory/apitoken/add/", "[name=name]"),
    "traces": _at("admin/tracing/tracerun/", "#result_list"),
    "journal": _at("admin/ingest/journalentry/", "#result_list"),
    "audit": _at("admin/inventory/auditentry/", "#result_list"),
}
