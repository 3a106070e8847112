"""The page in Chromium (headless, software rendering) with clusters of 30 pods a node through the real message path.

A crowd of simulated collectors (tests/bench/crowd.py) tells their states to a real server over real sockets, and 500
changes a second, of which 50 are pods that come or go; nine plain clients follow the feed beside the page. The changes begin
when the checks have judged everything once. The first useful picture is the first frame that shows all nodes, from the start of
the navigation of a page that is logged in. Frames are the intervals between the browser's animation frames while the map is
dragged and zoomed. A search is a request of the page, from its first byte to the parsed answer. The heap is JavaScript's
after a collection. A change on screen is a link's MAC that says when its collector set it, until the frame in which the
page draws it; beside it stands when the same change was at a plain client. CPU is user and system time, as a share of one core.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import websockets
from playwright.sync_api import Page, sync_playwright

from lab.stack import Part, Stack
from tests.bench.crowded import Crowded, wait
from tests.bench.machine import Figure, cpu_s, percentiles_ms, processes_below, rss_bytes
from tests.bench.racks import FIRST_VETH, STAMP_SPAN, node_addr, node_name, pod_name, root_key
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in

SIZES, PODS, CHANGES_PER_S, CLIENTS = (20, 1_000, 5_000), 30, 500, 9
LOOK_S, STEADY_S, LOADS = 4.0, 15.0, 3
WEIGH_S = 1_800.0
SEARCHES = 60
STAMPED = f"{root_key(0)}:{FIRST_VETH}"

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

STAMPS = """async ([key, span, seconds]) => {
  const delays = [];
  const mac = () => window.netviz.graph.links.get(key)?.mac;
  let before = mac();
  const until = performance.now() + seconds * 1000;
  await new Promise((done) => {
    const frame = (now) => {
      const said = mac();
      if (said !== before && said !== undefined) {
        const at = Number.parseInt(said.slice(3).replaceAll(":", ""), 16);
        delays.push((Date.now() % span - at) / 1000);
        before = said;
      }
      if (now < until) requestAnimationFrame(frame); else done();
    };
    requestAnimationFrame(frame);
  });
  return delays;
}"""

SEARCH = """async (texts) => {
  const times = [];
  for (const text of texts) {
    const began = performance.now();
    const answer = await fetch(`/api/search?q=${encodeURIComponent(text)}`);
    await answer.json();
    times.push((performance.now() - began) / 1000);
  }
  return times;
}"""


class Followers(threading.Thread):
    """Plain clients of the feed. One watches the first node, and notes how old its stamps are; the others watch none."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._url = stack.access.url.replace("http", "ws") + "/ws/topology?nodes="
        self._headers = {"Authorization": f"Bearer {stack.access.token}"}
        self.delays_s: list[float] = []
        # What all of them were sent.
        self.frames = self.frame_bytes = 0
        self.ended = 0

    def run(self) -> None:
        """Follow until the process ends."""
        asyncio.run(self._all())

    async def _all(self) -> None:
        watched = [node_name(0), *("" for _ in range(CLIENTS - 1))]
        await asyncio.gather(*(self._follow(node) for node in watched), return_exceptions=True)

    async def _follow(self, node: str) -> None:
        try:
            async with websockets.connect(
                self._url + node, additional_headers=self._headers, max_size=None, compression=None
            ) as feed:
                async for text in feed:
                    self.frames += 1
                    self.frame_bytes += len(text)
                    if node:
                        self._note(str(text))
        finally:
            self.ended += 1

    def _note(self, text: str) -> None:
        _, _, link = text.partition(f'"key":"{STAMPED}"')
        _, _, mac = link.partition('"mac":"')
        if mac and text.startswith('{"type":"delta"'):
            stamp = int(mac[3:17].replace(":", ""), 16)
            self.delays_s.append((int(time.time() * 1000) % STAMP_SPAN - stamp) / 1000)


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


class Bench:
    """One size of cluster, and what is measured with it. A measure that fails leaves the others their turn."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._nodes, self._folder = nodes, folder
        self._all = Crowded(folder, nodes, PODS, "--changes", str(CHANGES_PER_S))
        self._stack = self._all.stack
        self._server = self._all.server.process.pid

    def figures(self) -> Iterator[Figure]:
        """Measure everything."""
        try:
            yield self._figure("all collectors joined", self._joined())
            yield from self._try("the checks have judged all", "", self._judged)
            self._all.begin_changes()
            followers = Followers(self._stack)
            followers.start()
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
                yield from self._of_page(
                    chromium.new_page(viewport={"width": 1440, "height": 900}), followers
                )
                chromium.close()
            rss_mib = rss_bytes(self._server) / 2**20
            yield self._figure("server's resident memory", f"{rss_mib:.0f} MiB")
        finally:
            self._all.stop()
        yield from self._try(
            "server's memory above the state's", "500 MiB", partial(self._above_state, rss_mib)
        )

    def _of_page(self, page: Page, followers: Followers) -> Iterator[Figure]:
        page.set_default_timeout(120_000)
        yield from self._try("first useful picture", "2 s", partial(self._picture, page))
        yield from self._try("frames, median and p95: the whole", "30 (median)", partial(frames, page))
        yield from self._try("search, p50/p95/p99", "50 ms", partial(self._search, page))
        for level in ("card", "pods", "links"):
            yield from self._try(
                f"frames, median and p95: {level} level", "30 (median)", partial(self._level, page, level)
            )
        before = self._used()
        began, sent = time.monotonic(), (followers.frames, followers.frame_bytes)
        followers.delays_s.clear()
        yield from self._try("change on screen, p50/p95/p99", "p95 100 ms", partial(self._stamps, page))
        took_s = time.monotonic() - began
        yield self._figure("change at a plain client", percentiles_ms(followers.delays_s))
        count, size = followers.frames - sent[0], followers.frame_bytes - sent[1]
        each = f"{count / CLIENTS / took_s:.1f} frames, {size / CLIENTS / took_s / 1000:.1f} kB a second"
        yield self._figure("sent to each plain client", each, "" if not followers.ended else "some were cut")
        for name, used_s in self._used().items():
            share = (used_s - before.get(name, used_s)) / took_s
            yield self._figure(
                f"{name} CPU meanwhile",
                f"{share * 100:.0f} % of a core",
                "one core" if name == "server's" else "",
            )
        yield from self._try("the page's heap", "300 MiB", partial(heap, page))

    def _figure(self, name: str, value: str, aim: str = "", *, failed: bool = False) -> Figure:
        return Figure(f"{name}, {self._nodes} nodes", value, aim, failed)

    def _try(self, name: str, aim: str, measure: Callable[[], str]) -> Iterator[Figure]:
        try:
            yield self._figure(name, measure(), aim)
        except Exception as err:  # noqa: BLE001 - whatever it is, the other measures go on
            traceback.print_exc()
            yield self._figure(name, f"not measured: {type(err).__name__}", aim, failed=True)

    def _used(self) -> dict[str, float]:
        """CPU seconds of the processes that have a part in it."""
        judges = [pid for pid, words in processes_below(self._server).items() if "judge" in words]
        renderers = [pid for pid, words in processes_below(0).items() if "--type=renderer" in words]
        return {
            "server's": cpu_s(self._server),
            "checking process's": sum(map(cpu_s, judges)),
            "simulated collectors'": cpu_s(self._all.crowd.process.pid),
            "page's (renderer)": sum(map(cpu_s, renderers)),
        }

    def _joined(self) -> str:
        used = cpu_s(self._server)
        took_s = self._all.wait_joined()
        return f"{took_s:.0f} s, {cpu_s(self._server) - used:.0f} s of the server's CPU"

    def _judged(self) -> str:
        return f"after {self._all.wait_judged():.0f} s more"

    def _picture(self, page: Page) -> str:
        log_in(page, self._stack.access)
        took_s = []
        for _ in range(LOADS):
            page.goto("about:blank")
            page.goto(self._stack.access.url)
            wait(lambda: page.evaluate("window.netviz?.pictureAt") is not None, 120, "the first picture")
            took_s.append(page.evaluate("window.netviz.pictureAt") / 1000)
        return f"{statistics.median(took_s):.2f} s (of {', '.join(f'{one:.2f}' for one in took_s)})"

    def _level(self, page: Page, level: str) -> str:
        name = node_name(0)
        page.evaluate("(name) => { location.hash = `#/node/${name}`; }", name)
        page.wait_for_selector("[data-testid=inspector]")
        page.evaluate("([name, level]) => window.netviz.look(name, level)", [name, level])
        page.wait_for_function("(key) => window.netviz.graph.links.has(key)", arg=STAMPED)
        page.wait_for_timeout(1500)
        return frames(page)

    def _search(self, page: Page) -> str:
        texts = []
        for i in range(SEARCHES // 4):
            node = i * 331 % self._nodes
            pod, addr = pod_name(node, i % PODS), ".".join(map(str, node_addr(node)))
            texts += [pod.name, node_name(node), addr, f"{pod.namespace}/{pod.name[:6]}"]
        times: Sequence[float] = page.evaluate(SEARCH, texts)
        return percentiles_ms(times)

    def _stamps(self, page: Page) -> str:
        self._all.crowd.check()
        delays: Sequence[float] = page.evaluate(STAMPS, [STAMPED, STAMP_SPAN, STEADY_S])
        return f"{percentiles_ms(delays)} of {len(delays)}"

    def _above_state(self, rss_mib: float) -> str:
        argv = [sys.executable, "-m", "tests.bench.weigh", str(self._nodes), str(PODS)]
        weighing = Part("the state's weight", argv, self._folder / "weigh.log", self._stack.env)
        try:
            wait(lambda: not weighing.running, WEIGH_S, "the state's weight")
        finally:
            weighing.stop()
        held_mib = float(weighing.log.read_text().splitlines()[-1])
        return f"{rss_mib - held_mib:.0f} MiB (the state: {held_mib:.0f})"


def run(sizes: Sequence[int] = SIZES) -> Iterator[Figure]:
    """Measure."""
    for nodes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield from Bench(Path(folder), nodes).figures()
            except Exception as err:  # noqa: BLE001 - the other sizes go on
                traceback.print_exc()
                yield Figure(f"the rest, {nodes} nodes", f"not measured: {type(err).__name__}", failed=True)
