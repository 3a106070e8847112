"""Pictures of the map in Chromium, to look at: of labs on this kernel, and of a large made-up cluster.

`python -m tests.browser.pictures [FOLDER] [--only SET,...] [--sizes WxH,...] [--themes light,dark]`. Each scene is one
function of a page; a set is what its scenes need: a lab of a kind, with a fault perhaps, or simulated collectors. Without
a folder it takes those that the documents show (docs/images), and no others.
Each picture that is written is named; if any scene fails, so does the command.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from lab.faults import apply_fault
from lab.stack import Stack, wait_until
from tests.bench.crowded import crowded
from tests.bench.racks import node_name
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in
from tests.browser.objects import WEB_FROM_API
from tests.browser.tracing import trace
from tests.stack import whole_netviz

SIZES, THEMES = ("1280x720", "1440x900", "1920x1080"), ("light", "dark")
# A flight of the camera, the details that it asks for, and their layout.
SETTLE_MS = 1_500
# Two readings of the counters of nodes in sight.
READ_MS = 35_000
Scene = Callable[[Page], None]


def go(route: str, wait_ms: int = SETTLE_MS) -> Scene:
    """What an address shows."""

    def scene(page: Page) -> None:
        page.evaluate("(hash) => { location.hash = hash; }", route)
        page.wait_for_timeout(wait_ms)

    return scene


def whole(page: Page) -> None:
    """The whole map."""
    go("#/")(page)
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(SETTLE_MS)


def near(node: str, level: str, route: str = "#/") -> Scene:
    """A node from where it is drawn at a level."""

    def scene(page: Page) -> None:
        go(route)(page)
        page.evaluate("([node, level]) => window.netviz.look(node, level)", [node, level])
        page.wait_for_timeout(SETTLE_MS)

    return scene


def overlay(name: str, wait_ms: int = SETTLE_MS) -> Scene:
    """The whole map with other colours."""

    def scene(page: Page) -> None:
        whole(page)
        go(f"#/?colour={name}", wait_ms)(page)

    return scene


def grouped(by: str) -> Scene:
    """The whole map, put together by something else than subnets."""

    def scene(page: Page) -> None:
        go(f"#/?group={by}")(page)
        page.get_by_role("button", name="Show all").click()
        page.wait_for_timeout(SETTLE_MS)
        # What an address says of the look stays.
        assert f"group={by}" in page.url

    return scene


def traced(source: str, target: str, *, dport: int = 8080, on_map: bool = False) -> Scene:
    """A trace on its stage, or on the map."""

    def scene(page: Page) -> None:
        go("#/", 200)(page)
        trace(page, source, target, dport=dport)
        page.wait_for_timeout(SETTLE_MS)
        if on_map:
            page.keyboard.press("m")
            page.evaluate("document.activeElement.blur()")
            page.wait_for_timeout(SETTLE_MS)

    return scene


def pressed(*keys: str) -> Scene:
    """The map, and what keys open over it."""

    def scene(page: Page) -> None:
        go("#/")(page)
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_timeout(SETTLE_MS)

    return scene


def searched(text: str) -> Scene:
    """What is found."""

    def scene(page: Page) -> None:
        pressed("/")(page)
        page.keyboard.type(text)
        page.locator("#search-results [role=option]").first.wait_for()

    return scene


def pod(name: str) -> Scene:
    """A pod in the inspector."""

    def scene(page: Page) -> None:
        go("#/")(page)
        page.locator(f'[data-pod="{name}"] a').click()
        page.wait_for_timeout(SETTLE_MS)

    return scene


def at(path: str) -> Scene:
    """A page outside the map."""

    def scene(page: Page) -> None:
        page.goto(urljoin(page.url, path))

    return scene


def login(page: Page) -> None:
    """The first page, for nobody."""
    page.context.clear_cookies()
    at("/")(page)


WEB = ("default/web-1", "default/web-2")
OVERLAYS: dict[str, Scene] = {
    "traffic": overlay("traffic", READ_MS),
    "drops": overlay("drops"),
    "mtu": overlay("mtu"),
    "tunnels": overlay("tunnels"),
    "addresses": overlay("addresses"),
    "staleness": overlay("staleness"),
}
LAB: dict[str, Scene] = {
    "map": whole,
    "node": go("#/node/node1"),
    "near": near("node1", "links"),
    "trace": traced(*WEB),
    "trace-map": traced(*WEB, on_map=True),
}
BROKEN: dict[str, Scene] = {
    "map": whole,
    "problems": go("#/problems"),
    "trace": traced(*WEB),
    "trace-map": traced(*WEB, on_map=True),
}
FULL: dict[str, Scene] = {
    "map": whole,
    "pods": near("node2", "pods"),
    "links": near("node2", "links"),
    "trace-map": traced(*WEB, on_map=True),
}
PANELS: dict[str, Scene] = {
    "pod": pod("default/web-1"),
    "routes": go("#/node/node1?tab=routes&find=10.244.2.7"),
    "rules": go("#/node/node1?tab=nft"),
    "search": searched("web"),
    "palette": pressed("Control+k"),
    "help": pressed("?"),
    "compose": go("#/trace?from=default/web-1"),
    "checks": go("#/problems?list=checks"),
}
KUBERNETES: dict[str, Scene] = {
    "map": whole,
    "services": go("#/services"),
    "service": go("#/services/default/api"),
    "service-trace": traced("default/web-1", "svc/default/api", dport=80),
    "workload": go("#/workloads/Deployment/default/web"),
    "namespace": go("#/namespaces/default"),
    "policies": go("#/policies"),
    "policy": go("#/policies/default/web-from-api"),
    "refused": traced("default/web-2", "default/web-1"),
    "refused-map": traced("default/web-2", "default/web-1", on_map=True),
}
ADMIN: dict[str, Scene] = {
    "home": at("/admin/"),
    "collectors": at("/admin/inventory/collector/"),
    "enrol": at("/admin/inventory/collector/add/"),
    "traces": at("/admin/tracing/tracerun/"),
    "journal": at("/admin/ingest/journalentry/"),
    "login": login,
}
LARGE: dict[str, Scene] = {
    "map": whole,
    "zones": grouped("zone"),
    "names": near(node_name(617), "name"),
    "cards": near(node_name(617), "card"),
    "pods": near(node_name(617), "pods"),
    "links": near(node_name(617), "links"),
    "zone-cards": near(node_name(617), "card", "#/?group=zone"),
    "addresses": overlay("addresses"),
    "staleness": overlay("staleness"),
    "traffic": overlay("traffic"),
    "node": go(f"#/node/{node_name(617)}"),
    "problems": go("#/problems"),
}


class Lab(NamedTuple):
    """A set's kind of network, its scenes, and what is wrong with it: faults, and the node of each."""

    kind: str
    scenes: dict[str, Scene]
    faults: tuple[tuple[str, str], ...] = ()
    services: int = 0
    pods: int = 5
    objects: tuple[dict[str, Any], ...] = ()


OUTSIDE = {"outside": traced("default/web-1", "198.51.100.9")}
LABS: dict[str, Lab] = {
    "textbook": Lab("textbook", LAB | PANELS | OVERLAYS),
    "broken": Lab("textbook", BROKEN, (("route-missing", "node1"),)),
    "vxlan": Lab("vxlan", LAB | OVERLAYS),
    "two-nics": Lab("two-nics", LAB),
    "routed": Lab("routed", BROKEN, (("proxy-arp-off", "node1"),)),
    "ptp": Lab("ptp", LAB),
    "cni": Lab("cni", LAB),
    "macvlan": Lab("macvlan", LAB),
    "macvlan-broken": Lab("macvlan", BROKEN | OUTSIDE, (("gateway-missing", "node1"),)),
    "dropped": Lab("textbook", BROKEN, (("drop-rule", "node2"),)),
    "several": Lab(
        "textbook",
        BROKEN,
        (("drop-rule", "node1"), ("duplicate-address", "node2"), ("cable-unplugged", "node3")),
    ),
    "kubernetes": Lab("textbook", KUBERNETES, services=10, objects=(WEB_FROM_API,)),
    "full": Lab("vxlan", FULL, pods=30),
    "admin": Lab("textbook", ADMIN),
}
MANY, PODS = 5_000, 30
# What the documents show, by set and scene; of the large cluster so many nodes.
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PUBLISHED_SIZE, PUBLISHED_NODES = "1280x720", 1_000
PUBLISHED = {
    ("textbook", "trace-map"): "trace.png",
    ("several", "problems"): "problems.png",
    ("several", "map"): "faults.png",
    ("dropped", "trace"): "broken.png",
    ("vxlan", "trace"): "focus.png",
    ("kubernetes", "service"): "service.png",
    ("kubernetes", "refused"): "refused.png",
    ("large", "map"): "large.png",
}
SETS = (*LABS, "large")


def picture_of(folder: Path | None, name: str, scene: str, size: str, theme: str) -> Path | None:
    """Tell where a picture goes; None: nowhere, since the documents don't show it."""
    if folder is not None:
        return folder / f"{name}-{scene}-{size}-{theme}.png"
    shown = PUBLISHED.get((name, scene))
    return IMAGES / shown if shown else None


def shoot(
    browser: Browser, stack: Stack, scenes: dict[str, Scene], options: argparse.Namespace, name: str
) -> bool:
    """Take a set's pictures, in each size and theme. Tell whether all of them came to be."""
    whole = True
    for size in options.sizes:
        width, height = map(int, size.split("x"))
        for theme in options.themes:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            context.set_default_timeout(60_000)
            page = context.new_page()
            log_in(page, stack.access)
            wait_until(lambda page=page: page.evaluate("window.netviz?.pictureAt"), 300, "the first picture")
            for scene, show in scenes.items():
                if options.scenes and scene not in options.scenes:
                    continue
                if (file := picture_of(options.folder, name, scene, size, theme)) is None:
                    continue
                try:
                    show(page)
                except (PlaywrightError, AssertionError) as error:
                    print(f"{name}-{scene} {size} {theme}: {error}", file=sys.stderr)
                    whole = False
                    continue
                page.screenshot(path=file)
                print(file, flush=True)
                # Close what the scene opened over the page.
                for _ in range(2):
                    page.keyboard.press("Escape")
            context.close()
    return whole


def take(browser: Browser, name: str, options: argparse.Namespace) -> bool:
    """Set a set's stage, and take its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "large":
            unwell, away = str(options.nodes // 120), str(options.nodes // 400)
            with crowded(
                Path(folder), options.nodes, PODS, "--api", "--unwell", unwell, "--away", away
            ) as crowd:
                return shoot(browser, crowd.stack, LARGE, options, name)
        lab = LABS[name]
        with whole_netviz(Path(folder), pods=lab.pods, kind=lab.kind, services=lab.services) as (
            cluster,
            stack,
        ):
            cluster.apply(lab.objects)
            for fault, node in lab.faults:
                apply_fault(cluster, fault, node=node, **({"other": "node2"} if "route" in fault else {}))
            wait_until(lambda: stack.topology()["checking"], 300, "the first checks")
            wait_until(
                lambda: len(stack.topology()["problems"]) >= len(lab.faults), 60, "the faults are found"
            )
            return shoot(browser, stack, lab.scenes, options, name)


def main() -> None:
    """Take the pictures that are asked for."""
    listed = lambda text: tuple(filter(None, text.split(",")))  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", type=listed, default=SETS)
    parser.add_argument("--scenes", type=listed, default=())
    parser.add_argument("--sizes", type=listed, default=SIZES)
    parser.add_argument("--themes", type=listed, default=THEMES)
    parser.add_argument("--nodes", type=int, default=MANY)
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in SETS]:
        parser.error(f"no such set: {', '.join(unknown)}; there are {', '.join(SETS)}")
    if options.folder is None:
        options.sizes, options.themes, options.nodes = (PUBLISHED_SIZE,), ("light",), PUBLISHED_NODES
        options.only = [name for name in options.only if any(name == shown for shown, _ in PUBLISHED)]
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        done = [take(browser, name, options) for name in options.only]
        browser.close()
    if not all(done):
        sys.exit(1)


if __name__ == "__main__":
    main()
