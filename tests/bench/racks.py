"""Made-up clusters in racks, told by simulated collectors over real sockets: what the page is measured with.

Forty nodes share a subnet of the underlay and its router; a node has a bridge with its pods' veth ports, routes to its
rack's other nodes and a default route. `python -m tests.bench.racks URL FOLDER NODES PODS CHANGES` runs the collectors
until it is ended: CHANGES a second over all nodes, and on the first node the MTU of one link says when it was changed.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import RTN_LOCAL, Addr, Nexthop, Route
from netviz.core.model.link import BridgeInfo, BridgePort, Link
from netviz.core.model.netns import Netns, Pod
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.state.node import NetnsState, NodeState
from tests.bench.fleet import Simulated
from tests.bench.scale import (
    ENDS,
    ENDS6,
    FORWARDS,
    FORWARDS6,
    LO,
    LO_ADDR,
    LO_ROUTES,
    RULES,
    SOCKETS,
    STATUS,
    SYSCTLS,
    UP,
    keyed,
    mac_of,
    pod_addr,
)

RACK = 40
APPS = (
    "shop/web",
    "shop/cart",
    "shop/checkout",
    "data/postgres",
    "data/redis",
    "infra/loki",
    "kube-system/coredns",
)
STAMP_EVERY_S, STAMP_BASE, STAMP_SPAN = 0.25, 1000, 60_000
FIRST_VETH = 10


def node_name(node: int) -> str:
    """Name a node: worker-0001 and so on."""
    return f"worker-{node + 1:04}"


def node_addr(node: int, host: int = 0) -> bytes:
    """The node's address in its rack's /24 below 10.31.0.0/16; with `host` another one there (1: the router)."""
    rack, place = divmod(node, RACK)
    return bytes((10, 31, rack, host or 10 + place))


def pod_name(node: int, pod: int) -> Pod:
    """A pod's name as a Deployment would give it."""
    namespace, app = APPS[pod % len(APPS)].split("/")
    letters, value, tail = "bcdfghjklmnpqrstvwxz2456789", node * 131 + pod * 7919 + 17, ""
    for _ in range(5):
        value, rest = divmod(value * 31 + 7, len(letters))
        tail += letters[rest]
    return Pod(f"{app}-{7000 + (pod % 7) * 911:x}d9-{tail}", namespace, source="cri")


def _pod(node: int, pod: int, root: NetnsKey) -> NetnsState:
    key, addr, hop = NetnsKey(root.node, 4, 1000 + pod), pod_addr(node, pod + 2), (Nexthop(2),)
    mac = mac_of(1, node, pod)
    eth0 = Link(2, "eth0", "veth", 1, UP, 6, 1500, mac, 0, FIRST_VETH + pod, 0, ipv4=ENDS, ipv6=ENDS6)
    routes = keyed(
        *LO_ROUTES,
        Route(255, addr, 32, RTN_LOCAL, scope=254, prefsrc=addr, nexthops=hop),
        Route(254, pod_addr(node, 0), 26, scope=253, prefsrc=addr, nexthops=hop),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, pod_addr(node, 1)),)),
    )
    return NetnsState(
        Netns(key, f"cni-{node}-{pod}", nsids=((0, root),), pod=pod_name(node, pod)),
        {1: LO, 2: eth0},
        keyed(LO_ADDR, Addr(2, addr, 26)),
        routes=routes,
        rules=RULES,
        sockets=SOCKETS,
    )


def build_node(node: int, nodes: int, pods: int) -> NodeState:
    """Construct a node of a cluster of so many."""
    key = NetnsKey(node_name(node), 4, 1)
    spaces = [_pod(node, pod, key) for pod in range(pods)]
    links = {
        1: LO,
        2: Link(2, "eth0", "", 1, UP, 6, 1500, mac_of(2, node, 0), ipv4=FORWARDS, ipv6=FORWARDS6),
        3: Link(3, "cni0", "bridge", 1, UP, 6, 1500, mac_of(3, node, 0), info=BridgeInfo(), ipv4=FORWARDS),
    }
    for pod in range(pods):
        index, mac = FIRST_VETH + pod, mac_of(4, node, pod)
        name = f"veth{node:04x}{pod:02x}"
        links[index] = Link(
            index, name, "veth", 1, UP, 6, 1500, mac, 3, 2, pod, port=BridgePort(), ipv4=FORWARDS
        )
    own, gateway, rack = node_addr(node), pod_addr(node, 1), node // RACK
    others = [n for n in range(rack * RACK, min(nodes, (rack + 1) * RACK)) if n != node]
    routes = keyed(
        *LO_ROUTES,
        *(Route(254, pod_addr(n, 0), 26, nexthops=(Nexthop(2, node_addr(n)),)) for n in others),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, node_addr(node, 1)),)),
        Route(254, pod_addr(node, 0), 26, scope=253, prefsrc=gateway, nexthops=(Nexthop(3),)),
        Route(254, own[:3] + b"\0", 24, scope=253, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(255, own, 32, RTN_LOCAL, scope=254, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(255, gateway, 32, RTN_LOCAL, scope=254, prefsrc=gateway, nexthops=(Nexthop(3),)),
    )
    root = NetnsState(
        Netns(key, "", True, nsids=tuple((pod, ns.key) for pod, ns in enumerate(spaces))),
        links,
        keyed(LO_ADDR, Addr(2, own, 24), Addr(3, gateway, 26)),
        routes=routes,
        rules=RULES,
        sysctls=SYSCTLS,
    )
    return NodeState(key.node, "6.18", "boot", {ns.key: ns for ns in (root, *spaces)}, STATUS)


class Racked(Simulated):
    """A collector of such a node: it changes an alias now and then, or says by an MTU when it changed that."""

    def __init__(self, state: NodeState, server: str, token_file: Path, every_s: float, stamps: bool) -> None:
        super().__init__(state, {}, server, token_file)
        self._every_s, self._stamps = every_s, stamps

    async def change(self) -> None:
        """Change one link, again and again."""
        root = self._state.root
        assert root is not None
        link = root.links[FIRST_VETH]
        await asyncio.sleep(hash(self._state.node) % 1000 / 1000 * self._every_s)
        for number in itertools.count():
            await asyncio.sleep(STAMP_EVERY_S if self._stamps else self._every_s)
            now_ms = int(time.time() * 1000)
            put = (
                msgspec.structs.replace(link, mtu=STAMP_BASE + now_ms % STAMP_SPAN)
                if self._stamps
                else msgspec.structs.replace(link, alias=f"change {number}")
            )
            delta = NodeDelta((NetnsDelta(root.key, links=Change((put,))),))
            self._state = apply(self._state, delta)
            self.transport.state_changed(delta, time.time_ns())


async def drive(server: str, folder: Path, nodes: int, pods: int, changes_per_s: float) -> None:
    """Run the collectors until the process is ended."""
    every_s = nodes / changes_per_s
    async with asyncio.TaskGroup() as group:
        for node in range(nodes):
            state = build_node(node, nodes, pods)
            token_file = folder / f"{state.node}.token"
            one = Racked(state, server, token_file, every_s, stamps=node == 0)
            group.create_task(one.transport.run())
            group.create_task(one.change())
            await asyncio.sleep(0)


if __name__ == "__main__":
    url, where, node_count, pod_count, rate = sys.argv[1:]
    asyncio.run(drive(url, Path(where), int(node_count), int(pod_count), float(rate)))
