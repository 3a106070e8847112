"""The page of kinds of networks that look unlike the textbook's: nodes, pods and links, and a trace between two pods."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page
from tests.browser.tracing import trace
from tests.slow import first_quick
from tests.stack import whole_netviz

pytestmark = [pytest.mark.browser, pytest.mark.live]
# What a node of the kind has besides eth0 and the host ends of its pods' links. The other tests have textbook.
OWN_LINKS: dict[str, tuple[str, ...]] = {"routed": (), "macvlan": (), "two-nics": ("cni0", "eth1")}


@pytest.mark.parametrize("kind", first_quick(OWN_LINKS, 1))
def test_the_page_of_a_kind(browser: Browser, tmp_path: Path, kind: str) -> None:
    with (
        whole_netviz(tmp_path, nodes=2, pods=1, kind=kind) as (cluster, stack),
        watched_page(browser, stack.access) as page,
    ):
        log_in(page, stack.access)
        expect(page.get_by_test_id("node-count")).to_have_text("2")
        expect(page.get_by_test_id("pod-count")).to_have_text("2")
        inspector = page.get_by_test_id("inspector")
        for pod in cluster.pods.values():
            names = sorted(["eth0", *OWN_LINKS[kind], *([] if kind == "macvlan" else [pod.host_ifname])])
            page.goto(f"{stack.access.url}/#/node/{pod.node}")
            expect(inspector.locator(".links li .ifname")).to_have_count(len(names))
            assert sorted(inspector.locator(".links li .ifname").all_inner_texts()) == names
            page.locator(f'#pods [data-pod="default/{pod.name}"] a').click()
            expect(inspector).to_contain_text(pod.ipv4)
            joined = "macvlan" if kind == "macvlan" else f"{pod.host_ifname} in {pod.node}"
            expect(inspector.locator(".links li").first).to_contain_text(joined)
        trace(page, "default/web-1", "default/web-2")
        expect(page.get_by_test_id("disposition")).to_have_attribute("data-disposition", "DELIVERED")
        expect(page.get_by_test_id("direction-reply")).to_have_attribute("data-disposition", "DELIVERED")
