"""The page in Chromium (headless, software rendering) with clusters of 30 pods a node through the real message path.

Simulated collectors (tests/bench/racks.py) tell their states to a real server over real sockets, 500 changes a second; nine
plain clients follow the feed beside the page. The first useful picture is the first frame that shows all
nodes, from the start of the navigation of a page that is logged in. Frames are the intervals between the
browser's animation frames while the map is dragged and zoomed. The heap is JavaScript's after a collection. A
change on screen is a link's MTU that says when its collector changed it, until the frame in which the page draws it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import websockets
from playwright.sync_api import Page, sync_playwright

from lab.stack import Part, Stack, wait_until
from tests.bench.fleet import connected
from tests.bench.machine import Figure, cpu_s, percentiles_ms, rss_bytes
from tests.bench.racks import FIRST_VETH, STAMP_BASE, STAMP_SPAN, node_name
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in

SIZES, PODS, CHANGES_PER_S, CLIENTS = (20, 1_000, 5_000), 30, 500, 9
LOOK_S, STEADY_S = 4.0, 15.0

FRAMES = """async (seconds) => {
  const canvas = document.getElementById("map");
  const {left, top, width, height} = canvas.getBoundingClientRect();
  const at = {clientX: left + width / 2, clientY: top + height / 2, bubbles: true, cancelable: true, view: window};
  const times = [];
  let [turn, before] = [0, performance.now()];
  const until = before + seconds * 1000;
  canvas.dispatchEvent(new MouseEvent("mousedown", at));
  await new Promise((done) => {
    const frame = (now) => {
      times.push((now - before) / 1000);
      before = now;
      turn += 1;
      const moved = {...at, clientX: at.clientX + Math.sin(turn / 9) * 160, clientY: at.clientY + Math.cos(turn / 7) * 120};
      window.dispatchEvent(new MouseEvent("mousemove", moved));
      if (turn % 4 === 0) canvas.dispatchEvent(new WheelEvent("wheel", {...at, deltaY: turn % 40 < 20 ? 12 : -12}));
      if (now < until) requestAnimationFrame(frame); else done();
    };
    requestAnimationFrame(frame);
  });
  window.dispatchEvent(new MouseEvent("mouseup", at));
  return times.slice(2);
}"""

STAMPS = """async ([key, base, span, seconds]) => {
  const delays = [];
  let before = window.netviz.graph.links.get(key)?.mtu;
  const until = performance.now() + seconds * 1000;
  await new Promise((done) => {
    const frame = (now) => {
      const mtu = window.netviz.graph.links.get(key)?.mtu;
      if (mtu !== undefined && before !== undefined && mtu !== before && mtu !== 1500)
        delays.push(((Date.now() - (mtu - base)) % span + span) % span / 1000);
      before = mtu;
      if (now < until) requestAnimationFrame(frame); else done();
    };
    requestAnimationFrame(frame);
  });
  return delays;
}"""


class Followers(threading.Thread):
    """Plain clients of the feed, that watch no node's details."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._url = stack.access.url.replace("http", "ws") + "/ws/topology?nodes="
        self._headers = {"Authorization": f"Bearer {stack.access.token}"}

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._follow() for _ in range(CLIENTS)), return_exceptions=True)

    async def _follow(self) -> None:
        async with websockets.connect(self._url, additional_headers=self._headers, max_size=None) as feed:
            async for _ in feed:
                pass


def frames(page: Page) -> str:
    """Median and p95 of the time between frames while the map is moved, as frames a second."""
    times = sorted(page.evaluate(FRAMES, LOOK_S))
    middle, late = times[len(times) // 2], times[int(len(times) * 0.95)]
    return f"{1 / middle:.0f}, {1 / late:.0f} a second"


def heap(page: Page) -> str:
    """JavaScript's heap after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return f"{metrics['JSHeapUsedSize'] / 2**20:.0f} MiB"


def look(page: Page, stack: Stack, nodes: int) -> Iterable[Figure]:
    """Measure a page of a cluster of so many nodes."""
    log_in(page, stack.access)
    page.goto(stack.access.url)
    first_ms = wait_until(lambda: page.evaluate("window.netviz?.pictureAt"), 120, "the first picture")
    yield Figure(f"first useful picture, {nodes} nodes", f"{first_ms / 1000:.2f} s", "2 s")
    yield Figure(f"frames, median and p95: the whole of {nodes} nodes", frames(page), "30 (median)")
    page.evaluate("(name) => { location.hash = `#/node/${name}`; }", node_name(0))
    page.wait_for_selector("[data-testid=inspector]", timeout=60_000)
    for level in ("card", "pods", "links"):
        page.evaluate("([name, level]) => window.netviz.look(name, level)", [node_name(0), level])
        page.wait_for_timeout(1500)
        yield Figure(f"frames, median and p95: {level} level of {nodes} nodes", frames(page), "30 (median)")
    key = f"{node_name(0)}:4:1:0:{FIRST_VETH}"
    has = "(key) => window.netviz.graph.links.has(key)"
    wait_until(lambda: page.evaluate(has, key), 60, "the details of the first node")
    delays: Sequence[float] = page.evaluate(STAMPS, [key, STAMP_BASE, STAMP_SPAN, STEADY_S])
    yield Figure(
        f"change on screen p50/p95/p99 of {len(delays)}, {nodes} nodes", percentiles_ms(delays), "p95 100 ms"
    )
    yield Figure(f"the page's heap, {nodes} nodes", heap(page), "300 MiB")


def measure(nodes: int) -> Iterable[Figure]:
    """Start a cluster of so many nodes, and look at it."""
    names = [node_name(node) for node in range(nodes)]
    with (
        tempfile.TemporaryDirectory() as name,
        Stack({node: [] for node in names}, Path(name) / "var") as stack,
    ):
        stack.provision()
        server = stack.start_server()
        argv = [sys.executable, "-m", "tests.bench.racks", stack.access.url, str(stack.data_dir)]
        argv += [str(nodes), str(PODS), str(CHANGES_PER_S)]
        collectors = Part("simulated collectors", argv, Path(name) / "racks.log", stack.env)
        try:
            wait_until(lambda: collectors.check() or connected(stack) == nodes, 900, "all collectors connect")
            Followers(stack).start()
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
                page = chromium.new_page(viewport={"width": 1440, "height": 900})
                used, since = cpu_s(server.process.pid), time.monotonic()
                yield from look(page, stack, nodes)
                share = (cpu_s(server.process.pid) - used) / (time.monotonic() - since)
                chromium.close()
            yield Figure(
                f"server's CPU meanwhile, {nodes} nodes", f"{share * 100:.0f} % of a core", "one core"
            )
            yield Figure(
                f"server's resident memory, {nodes} nodes", f"{rss_bytes(server.process.pid) / 2**20:.0f} MiB"
            )
        finally:
            collectors.stop()


def run() -> Iterable[Figure]:
    """Measure."""
    for nodes in SIZES:
        yield from measure(nodes)
