"""The page of a cluster that is too large to hold whole: aggregates of all nodes, and details of those that it shows.

Simulated collectors (tests/bench/crowd.py) tell a real server of it, with changes all the time.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.bench.crowded import crowded
from tests.bench.racks import FIRST_VETH, RACK, node_name, pod_name, root_key
from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page

pytestmark = [pytest.mark.browser]
STAMPED = f"{root_key(0)}:{FIRST_VETH}"
# More nodes than a page holds the details of.
SIZES = [(160, 2), (1_000, 30)]
AWAY, UNWELL = 3, 4


def held(page: Page) -> list[str]:
    """The nodes of which the page has details."""
    found: list[str] = page.evaluate(
        "[...new Set([...window.netviz.graph.netns.values()].map((ns) => ns.node))]"
    )
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "pods"), SIZES)
def test_a_large_cluster(browser: Browser, tmp_path: Path, nodes: int, pods: int) -> None:
    options = ("--changes", "20", "--away", str(AWAY), "--unwell", str(UNWELL), "--api")
    with (
        crowded(tmp_path, nodes, pods, *options) as crowd,
        watched_page(browser, crowd.stack.access) as page,
    ):
        log_in(page, crowd.stack.access)
        expect(page.get_by_test_id("node-count")).to_have_text(f"{nodes:,}")
        # From far: each node by its aggregate, and no more rows in the page than are seen.
        page.wait_for_function("(n) => window.netviz.graph.nodes.size === n", arg=nodes)
        assert held(page) == []
        assert page.locator("#pods [data-node]").count() < 60
        page.wait_for_function(
            "(n) => [...window.netviz.graph.nodes.values()].filter((one) => !one.connected).length === n",
            arg=AWAY,
        )
        page.wait_for_function(
            "(n) => [...window.netviz.graph.nodes.values()].filter((one) => one.connected && one.health === 'error').length >= n",
            arg=UNWELL,
        )
        # Put together by zones, as the API says them.
        page.get_by_test_id("grouping").select_option("zone")
        expect(page).to_have_url(f"{crowd.stack.access.url}/#/?group=zone")
        # What is searched for is brought in, and nothing else.
        far = nodes - RACK - 1
        page.keyboard.press("/")
        page.keyboard.type(pod_name(far, 0).name)
        page.get_by_role("option", name=pod_name(far, 0).name).first.click()
        expect(page.get_by_test_id("inspector").locator("h2")).to_have_text(pod_name(far, 0).name)
        page.wait_for_function("window.netviz.graph.netns.size > 0")
        assert node_name(far) in held(page)
        assert len(held(page)) <= 80
        # From near a change is seen as it comes.
        page.evaluate("(node) => window.netviz.look(node, 'links')", node_name(0))
        page.wait_for_function("(key) => window.netviz.graph.links.has(key)", arg=STAMPED)
        mac = page.evaluate("(key) => window.netviz.graph.links.get(key).mac", STAMPED)
        page.wait_for_function(
            "([key, mac]) => window.netviz.graph.links.get(key).mac !== mac", arg=[STAMPED, mac]
        )
