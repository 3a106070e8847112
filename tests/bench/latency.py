"""From a change in the kernel to the browser, with three nodes under churn.

Every probe adds an address (of ranges that churn has none of) to a node's loopback with one netlink call, and waits for the topology
feed's frame that carries it, once in a plain client and once in the page in Chromium; the clock
starts before the call. All the while 50 other changes a second go on over the three nodes. The feed
coalesces over 50 ms, so that is within the figure.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import websockets
from playwright.sync_api import sync_playwright

from lab.churn import run_churn
from lab.cluster import Cluster
from lab.stack import Stack
from tests.bench.machine import Figure, percentiles_ms
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in
from tests.stack import whole_netviz

PROBES, CHURN_RATE, LOOPBACK = 300, 50, 1


async def probe_feed(cluster: Cluster, stack: Stack, probes: int, pause_s: float = 0.0) -> list[float]:
    """Add addresses one after another; the seconds from each call until the topology feed shows it."""
    url = stack.access.url.replace("http", "ws") + "/ws/topology"
    headers = {"Authorization": f"Bearer {stack.access.token}"}
    values: list[float] = []
    nodes = list(cluster.nodes)
    async with websockets.connect(url, additional_headers=headers, max_size=None) as feed:
        await feed.recv()
        for number in range(probes):
            addr = f"198.18.{number // 250}.{number % 250 + 1}/32"
            started = time.perf_counter()
            cluster.rtnl(nodes[number % len(nodes)]).add_addr(LOOPBACK, addr)
            while addr not in str(await asyncio.wait_for(feed.recv(), 10)):
                pass
            values.append(time.perf_counter() - started)
            await asyncio.sleep(pause_s)
    return values


def probe_page(cluster: Cluster, stack: Stack, probes: int) -> list[float]:
    """The same with the page in a real Chromium: the seconds until its socket has the frame."""
    values: list[float] = []
    nodes = list(cluster.nodes)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        page = chromium.new_page()
        with page.expect_websocket(lambda ws: "/ws/topology" in ws.url) as opened:
            log_in(page, stack.access)
        feed = opened.value
        for number in range(probes):
            addr = f"198.19.{number // 250}.{number % 250 + 1}/32"
            with feed.expect_event("framereceived", lambda frame, addr=addr: addr in str(frame)):
                started = time.perf_counter()
                cluster.rtnl(nodes[number % len(nodes)]).add_addr(LOOPBACK, addr)
            values.append(time.perf_counter() - started)
        chromium.close()
    return values


def run() -> Iterable[Figure]:
    """Measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        whole_netviz(Path(folder), nodes=3, pods=5) as (cluster, stack),
    ):
        churn = threading.Thread(target=lambda: run_churn(cluster, rate_per_s=CHURN_RATE, seconds=60, seed=4))
        churn.start()
        client = asyncio.run(probe_feed(cluster, stack, PROBES))
        page = probe_page(cluster, stack, PROBES)
        churn.join()
    yield Figure(f"kernel to a client of the feed, p50/p95/p99 of {len(client)}", percentiles_ms(client))
    yield Figure(
        f"kernel to the page in Chromium, p50/p95/p99 of {len(page)}", percentiles_ms(page), "p95 100 ms"
    )
