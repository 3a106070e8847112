"""From a click to the answer: a trace asked for on the page, until the page shows it, in Chromium on the demo's cluster.

A lab of 3 nodes with 5 pods is collected. A trace between two pods is opened, and asked for again by its button, with the
mouse. The clock runs from the browser's own time of the click to that of the frame with the new verdict: when it was painted,
with all that is laid out for it (Element Timing), not when the page had made it. The next click waits until the
trace's socket has said that it is up to date, as it has long before anybody has read the answer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.bench.machine import Figure, percentiles_ms
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in
from tests.browser.tracing import trace
from tests.stack import whole_netviz

CLICKS, WARM_UP = 100, 5
# Has the browser note when a verdict is painted that came after a click, and how long after it the server's answer was there.
WATCH = """() => {
  window.answers = [];
  let click = null, made = null;
  document.addEventListener("click", (event) => { click = event.timeStamp; made = null; }, true);
  new MutationObserver((changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]).filter((node) => node instanceof Element);
    const verdict = added.map((node) => node.closest("[data-testid=trace]")?.querySelector(".headline")).find((one) => one);
    if (click === null || made !== null || !verdict) return;
    made = performance.now();
    verdict.setAttribute("elementtiming", "verdict");
  }).observe(document.body, { childList: true, subtree: true });
  new PerformanceObserver((list) => {
    for (const { renderTime } of list.getEntries()) {
      const posts = performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/api/traces"));
      window.answers.push({ painted: renderTime - click, served: posts.at(-1).responseEnd - click, made: made - click });
      click = null;
    }
    performance.clearResourceTimings();
  }).observe({ type: "element" });
}"""


def clicked(page: Page) -> dict[str, float]:
    """Click, and return milliseconds from the click: until the answer had been received, made, and painted."""
    known = page.evaluate("window.answers.length")
    box = page.get_by_test_id("trace-repeat").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("(known) => window.answers.length > known", arg=known, polling=20)
    found: dict[str, float] = page.evaluate("window.answers.at(-1)")
    return found


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

        def hear(path: str) -> None:
            heard.add(path.rpartition("/")[2].partition("?")[0])

        page.on("websocket", lambda socket: socket.on("framereceived", lambda _: hear(socket.url)))
        log_in(page, stack.access)
        trace(page, "default/web-1", "default/web-2")
        page.evaluate(WATCH)
        took = []
        for _ in range(WARM_UP + CLICKS):
            took.append(clicked(page))
            trace_id = page.evaluate("location.hash.match(/trace\\/(\\d+)/)[1]")
            while trace_id not in heard:
                page.wait_for_timeout(5)
        chromium.close()
    took = took[WARM_UP:]
    for name, words, aim in (
        ("painted", "click to the answer on the page", "p95 50 ms"),
        ("made", "of that until the page has made it, before it is laid out and painted", ""),
        ("served", "of that until the server's answer is received", ""),
    ):
        figure = percentiles_ms([one[name] / 1000 for one in took])
        yield Figure(f"{words}, p50/p95/p99 of {CLICKS}", figure, aim)
