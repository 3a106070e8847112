"""From a click to the answer: a trace asked for on the page, until the page shows it, in Chromium on the demo's cluster.

A lab of 3 nodes with 5 pods is collected. A trace between two pods is opened, and asked for again by its button: the
page's own clock runs from the click to the first frame in which the new trace is on it. The next click waits until the
trace's socket has said that it is up to date, as it has long before anybody has read the answer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.bench.machine import Figure, percentiles_ms
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in
from tests.browser.tracing import trace
from tests.stack import whole_netviz

CLICKS, WARM_UP = 100, 5
# Clicks, and waits frame by frame until the panel has a trace of another address: milliseconds.
CLICK = """() => new Promise((done) => {
  const before = location.href;
  const started = performance.now();
  document.querySelector("[data-testid=trace-repeat]").click();
  const look = () => {
    const shown = document.querySelector("[data-testid=disposition]");
    if (location.href !== before && shown) done(performance.now() - started);
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


def run() -> Iterable[Figure]:
    """Measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        whole_netviz(Path(folder), nodes=3, pods=5) as (_, stack),
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        page = chromium.new_page()
        heard: set[str] = set()
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda _: heard.add(socket.url.rpartition("/")[2])),
        )
        log_in(page, stack.access)
        trace(page, "default/web-1", "default/web-2")
        took_s = []
        for number in range(WARM_UP + CLICKS):
            took_ms = page.evaluate(CLICK)
            if number >= WARM_UP:
                took_s.append(took_ms / 1000)
            trace_id = page.evaluate("location.hash.match(/trace\\/(\\d+)/)[1]")
            while trace_id not in heard:
                page.wait_for_timeout(5)
        chromium.close()
    yield Figure(
        f"click to the answer on the page, p50/p95/p99 of {CLICKS}", percentiles_ms(took_s), "p95 50 ms"
    )
