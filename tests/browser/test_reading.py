"""Reading a trace and getting about: levels of detail, branches, deep links, the keyboard, errors in words."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.cluster import Cluster
from lab.faults import apply_fault, mend
from lab.stack import Stack
from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page
from tests.browser.tracing import WAIT_MS, fill, trace

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]
REFUSED = r"status of 4\d\d|status of 503"  # what Chromium says of a refused request


@pytest.fixture
def lenient(browser: Browser, netviz: Netviz) -> Iterator[Page]:
    """A logged-in page whose requests may be refused."""
    _, stack = netviz
    with watched_page(browser, stack.access, allowed=REFUSED) as page:
        log_in(page, stack.access)
        yield page


@contextmanager
def two_ways(cluster: Cluster) -> Iterator[None]:
    """Give node1 a second nexthop to node2's pods: the kernel chooses by a hash."""
    dst = cluster.nodes["node2"].state.pod_cidr4
    one, other = (["nexthop", "via", cluster.address_of(node)] for node in ("node2", "node3"))
    cluster.exec("node1", ["ip", "route", "replace", dst, *one, *other]).check_returncode()
    try:
        yield
    finally:
        cluster.exec("node1", ["ip", "route", "replace", dst, *one[1:]]).check_returncode()


def again_until(page: Page, disposition: str) -> None:
    """Trace again until the collector has told what makes the packet end so."""
    answer = page.get_by_test_id("disposition")
    deadline_s = time.monotonic() + WAIT_MS / 1000
    while answer.get_attribute("data-disposition") != disposition and time.monotonic() < deadline_s:
        before = page.url
        page.get_by_test_id("trace-repeat").click()
        expect(page).not_to_have_url(before)
        expect(answer).to_be_visible()
    expect(answer).to_have_attribute("data-disposition", disposition)


def focused(page: Page, attribute: str) -> str | None:
    """An attribute of the element that has the keyboard's focus."""
    return page.evaluate(f"document.activeElement?.getAttribute('{attribute}') ?? null")


def test_a_trace_is_read_at_three_levels(page: Page) -> None:
    trace(page, "default/web-1", "default/web-2")
    steps = page.get_by_test_id("step")
    every = steps.count()
    assert page.locator(".step-body").count() == 0
    page.get_by_test_id("level-summary").click()
    expect(steps.first).to_be_visible()
    assert 0 < steps.count() < every
    expect(page.get_by_test_id("hop").first).to_contain_text("more steps")
    page.get_by_test_id("level-evidence").click()
    expect(page.locator(".step-body")).to_have_count(every)
    expect(page.locator(".step-body .code code").filter(has_text="ip route get").first).to_be_visible()
    assert "detail=evidence" in page.url


def test_what_a_step_changes_is_seen_without_opening_it(page: Page) -> None:
    trace(page, "default/web-1", "default/web-2")
    changes = page.get_by_test_id("changes")
    expect(changes.filter(has_text=re.compile("ttl 64 . 63")).first).to_be_visible()
    page.locator("[data-testid=step][data-kind=route] .step-row").first.click()
    body = page.locator(".step.selected .step-body")
    expect(body).to_contain_text("Check it by hand")
    expect(body.get_by_role("button", name=re.compile("^Copy: .*ip route get"))).to_be_visible()


def test_a_link_to_a_trace_shows_the_same_step_again(page: Page, browser: Browser, netviz: Netviz) -> None:
    trace(page, "default/web-1", "default/web-2")
    page.get_by_test_id("direction-reply").click()
    page.get_by_test_id("step").nth(2).locator(".step-row").click()
    chosen = page.locator(".step.selected").get_attribute("data-seq")
    address = page.url
    _, stack = netviz
    with watched_page(browser, stack.access) as other:
        other.goto(address)  # not logged in: the way there leads through the login
        other.fill("input[name=username]", stack.access.user)
        other.fill("input[name=password]", stack.access.password)
        other.click("button[type=submit]")
        expect(other.locator(".step.selected")).to_have_attribute("data-seq", chosen or "")
        expect(other.get_by_test_id("direction-reply")).to_have_attribute("aria-selected", "true")


def test_the_ways_that_the_kernel_may_choose_are_named_and_chosen(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    with two_ways(cluster):
        trace(page, "default/web-1", "default/web-2")
        ways = page.get_by_test_id("branch")
        deadline_s = time.monotonic() + WAIT_MS / 1000
        while (
            ways.count() != 2 and time.monotonic() < deadline_s
        ):  # until the collector has told of the route
            trace(page, "default/web-1", "default/web-2")
        expect(ways).to_have_count(2)
        expect(ways.nth(1)).to_contain_text(cluster.address_of("node3"))
        expect(ways.nth(1)).to_contain_text("50 %")
        page.keyboard.press("m")  # what the stage covers isn't drawn
        expect(page.locator(".overlay [data-path=other]")).to_have_count(1)
        ways.first.focus()
        page.keyboard.press("ArrowDown")
        expect(ways.nth(1)).to_have_attribute("aria-selected", "true")
        assert focused(page, "data-focus") == "branch-1"
        expect(page.locator("[data-testid=hop][data-node=node3]")).to_have_count(1)


def test_what_is_not_known_is_named_and_shown(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    rule = "add table ip nv-t; add chain ip nv-t f { type filter hook forward priority 10; }; "
    rule += "add rule ip nv-t f limit rate 1/second drop"
    cluster.exec("node2", ["nft", rule]).check_returncode()
    try:
        trace(page, "default/web-1", "default/web-2")
        again_until(page, "UNKNOWN")
        expect(page.get_by_test_id("disposition")).to_contain_text("May be delivered")
        expect(page.get_by_test_id("certainty")).to_contain_text("limit in chain ip nv-t f")
        page.get_by_test_id("show-unknown").first.click()
        expect(page.locator(".step.selected")).to_contain_text("not known")
        page.keyboard.press("m")
        expect(page.locator(".overlay .mark.step")).to_have_count(1)
    finally:
        cluster.exec("node2", ["nft", "delete table ip nv-t"]).check_returncode()


def test_a_trace_without_the_mouse(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("web-1")
    expect(page.locator("#search-results [role=option]").first).to_contain_text("10.244.1.")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("inspector")).to_contain_text("web-1")
    page.get_by_test_id("trace-from").focus()
    page.keyboard.press("Enter")
    page.locator("#trace-to").focus()
    page.keyboard.type("default/web-2")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("disposition")).to_be_visible()
    page.get_by_test_id("direction-forward").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("direction-reply")).to_have_attribute("aria-selected", "true")
    assert focused(page, "data-focus") == "reply"
    page.locator(".step-row").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("step").nth(1).locator(".step-body")).to_be_visible()
    assert focused(page, "aria-expanded") == "true"
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()


def test_a_repaired_network_is_traced_again_with_one_button(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    fault = apply_fault(cluster, "route-missing", node="node1", other="node2").id
    try:
        trace(page, "default/web-1", "default/web-2")
        again_until(page, "LEFT_NETWORK")
        expect(page.get_by_test_id("disposition")).to_contain_text("Diverges")
        page.keyboard.press("m")
        expect(page.locator(".overlay .mark.bad circle")).to_have_count(1)
        boxes = [part.bounding_box() or {} for part in page.locator("#panel .answer > *").all()]
        assert len(boxes) > 3
        assert all(one["y"] + one["height"] <= below["y"] for one, below in pairwise(boxes)), boxes
    finally:
        mend(cluster, fault)
    again_until(page, "DELIVERED")
    page.keyboard.press("m")
    expect(page.locator(".overlay .mark.to").first).to_be_attached()
    expect(page.locator(".overlay .mark.bad")).to_have_count(0)


def test_a_wrong_form_says_what_to_change(lenient: Page) -> None:
    error = lenient.get_by_test_id("trace-error")
    source = lenient.locator("#trace-from")
    fill(lenient, "", "default/web-2")
    expect(error).to_contain_text("Say where the packet starts")
    assert focused(lenient, "id") == "trace-from"
    fill(lenient, "default/web-1", "default/web-2", dport=70000)
    expect(error).to_contain_text("The port is a whole number from 1 to 65535")
    expect(lenient.locator("#trace-dport")).to_have_attribute("aria-invalid", "true")
    fill(lenient, "wob-1", "default/web-2")
    expect(error).to_contain_text("'wob-1'")
    expect(source).to_have_attribute("aria-invalid", "true")
    fill(lenient, "web-11", "default/web-2")
    error.get_by_role("button", name="default/web-1", exact=True).click()
    expect(source).to_have_value("default/web-1")
    expect(error).to_be_hidden()


def test_a_lost_login_and_a_busy_server_are_said_in_words(lenient: Page, netviz: Netviz) -> None:
    _, stack = netviz
    error = lenient.get_by_test_id("trace-error")
    busy = {"status": 503, "content_type": "text/html", "body": "busy"}
    lenient.route("**/api/traces", lambda route: route.fulfill(**busy))
    fill(lenient, "default/web-1", "default/web-2")
    expect(error).to_contain_text("Try again in a few seconds")
    lenient.unroute("**/api/traces")
    lenient.context.clear_cookies()
    lenient.get_by_test_id("trace-submit").click()
    expect(error).to_contain_text("no longer logged in")
    error.get_by_role("link", name="Log in again").click()
    lenient.fill("input[name=username]", stack.access.user)
    lenient.fill("input[name=password]", stack.access.password)
    lenient.click("button[type=submit]")
    expect(lenient.get_by_test_id("compose")).to_be_visible()


def test_an_empty_map_says_how_a_node_gets_onto_it(browser: Browser, netviz: Netviz) -> None:
    """The server's first snapshot is replaced by one without nodes."""
    _, stack = netviz
    nothing = json.dumps(
        {
            "type": "snapshot",
            "revision": 1,
            "nodes": [],
            "netns": [],
            "links": [],
            "problems": [],
            "checking": [],
        }
    )
    with watched_page(browser, stack.access) as page:
        page.route_web_socket(re.compile("/ws/topology"), lambda socket: socket.send(nothing))
        log_in(page, stack.access)
        empty = page.get_by_test_id("empty")
        expect(empty).to_be_visible()
        expect(empty).to_contain_text(f"agents run --server {stack.access.url}")
        expect(empty.get_by_role("link", name="Enrol a collector")).to_be_visible()
