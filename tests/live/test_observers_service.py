"""What a collector does on a server's order: a capture beside a drop watch, namespaces that come meanwhile, counters of legacy rules."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from agents.collectors.base import NetnsHandle
from agents.collectors.netns import Namespaces
from agents.enter import NetnsThread
from agents.kernel import Kernel
from agents.observers.packets import begin_stamping
from agents.observers.service import Observers
from agents.observers.session import ProbeRequest
from netviz.core.observe.match import COUNTERS
from netviz.core.observe.orders import (
    Capture,
    Drops,
    Finish,
    Order,
    Packets,
    Point,
    Refused,
    Report,
    WatchDrops,
    encode,
    read_report,
)
from netviz.core.sim.steps import HookVerdict
from tests.live.node_rig import Node, ip_batch, small_node
from tests.live.observed_cases import P2, Case, inside, network, run_case
from tests.live.test_drop_watch import SEND

pytestmark = pytest.mark.live

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with small_node() as up:
        yield up


class Rig:
    """Observers on a node, and what they say, by observation."""

    def __init__(self, node: Node) -> None:
        self._thread = NetnsThread(Kernel())
        self._namespaces = Namespaces(node.options(), self._thread)
        self.said: dict[str, list[Report]] = {}
        self.look()
        self._observers = Observers(node.base, self._namespaces.handles, self._say)

    def _say(self, ident: str, body: bytes) -> None:
        self.said.setdefault(ident, []).append(read_report(body))

    def look(self) -> list[NetnsHandle]:
        """Find the namespaces, as a collector does when one comes."""
        self._namespaces.take(self._namespaces.look())
        return self._namespaces.handles()

    def order(self, ident: str, what: Order) -> None:
        self._observers.take(ident, encode(what))

    async def until(self, is_it: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not is_it():
            assert time.monotonic() < limit, self.said
            await asyncio.sleep(0.02)

    def close(self) -> None:
        self._observers.close()
        self._namespaces.close()
        self._thread.close()


def test_a_capture_beside_a_drop_watch_and_a_namespace_that_comes(node: Node) -> None:
    """Each has a slot of its own, a second of its sort is refused; drops in the new namespace have their place; nothing stays open."""
    asyncio.run(_watch(node))


async def _watch(node: Node) -> None:
    begin_stamping()  # which stays open
    before = len(os.listdir("/proc/self/fd"))
    rig = Rig(node)
    try:
        root = next(str(ns.key) for ns in rig.look() if ns.root)
        rig.order("drops", WatchDrops(60.0))
        capture = Capture((Point(0, root, "br0"),), 60.0, 1000, 1 << 20)
        rig.order("capture", capture)
        await rig.until(lambda: {"drops", "capture"} <= rig.said.keys())
        rig.order("another", capture)
        assert rig.said["another"] == [Refused("another capture is under way on this node")]

        ip_batch(node.add_netns("late"), "link set lo up\n")
        place = next(str(ns.key) for ns in rig.look() if ns.name == "late")

        def is_placed() -> bool:
            inside(node, "late", sys.executable, "-c", SEND, "127.0.0.1", "7779", "1")
            groups = [group for one in rig.said["drops"] if isinstance(one, Drops) for group in one.groups]
            return any((one.last.reason, one.last.place) == ("NO_SOCKET", place) for one in groups)

        await rig.until(is_placed)
        for ident in ("drops", "capture"):
            rig.order(ident, Finish())
            await rig.until(lambda ident=ident: getattr(rig.said[ident][-1], "over", False))  # type: ignore[misc]
        assert isinstance(rig.said["capture"][-1], Packets)
    finally:
        rig.close()
    await rig.until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_a_legacy_rule_is_shown_by_what_it_counts() -> None:
    """A datagram alone at the rule: just one packet of its length."""
    with network() as node:
        inside(node, "p2", "iptables-legacy", "-A", "INPUT", "-p", "udp", "--dport", "5353", "-j", "ACCEPT")
        found = run_case(node, Case(ProbeRequest("p1", P2, "udp", 5353, length=200)))
    shown = [
        (one.status, one.by)
        for one in found.observation.nearest.forward.matches
        if isinstance(one.step.what, HookVerdict) and one.step.what.hit is not None
    ]
    assert shown == [("agree", COUNTERS)]
    assert found.observation.taken == (0,)
