"""Traces in a cluster of 5,000 nodes with 30 pods each, on one core.

The state is constructed: every node has a bridge with its pods' veth ports, and a route to every other
node's pods through the node's address on one underlay. Records that are alike are shared, as they are
in the server. Pairs of pods of different nodes are traced over TCP, from their names to the end.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.model.devconf import Ipv4Conf, Ipv6Conf
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import RTN_LOCAL, Addr, Nexthop, Route, Rule
from netviz.core.model.link import (
    ARPHRD_LOOPBACK,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_UP,
    BridgeInfo,
    BridgePort,
    Link,
)
from netviz.core.model.netns import Netns, Pod, Sysctl
from netviz.core.model.socket import TCP_LISTEN, Socket
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition
from netviz.core.state.delta import section_of
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState, SectionStatus
from netviz.core.state.section import Section
from tests.bench.machine import Figure, percentiles_ms, rss_bytes

NODES, PODS, WARM_NODES, TRACES, CHANGES = 5_000, 30, 40, 1_000, 200
UP = IFF_UP | IFF_LOWER_UP | IFF_BROADCAST
ENDS, FORWARDS = Ipv4Conf(), Ipv4Conf(forwarding=1)
ENDS6, FORWARDS6 = Ipv6Conf(), Ipv6Conf(forwarding=1)
STATUS = {name: SectionStatus(1.0) for name in SECTIONS}
LO = Link(1, "lo", "", ARPHRD_LOOPBACK, IFF_UP | IFF_LOWER_UP | IFF_LOOPBACK, 6, 65536, bytes(6), ipv4=ENDS)
LO_ADDR = Addr(1, b"\x7f\0\0\1", 8, scope=254)
LO_ROUTES = (
    Route(255, b"\x7f\0\0\0", 8, RTN_LOCAL, scope=254, prefsrc=LO_ADDR.addr, nexthops=(Nexthop(1),)),
    Route(255, b"\x7f\0\0\1", 32, RTN_LOCAL, scope=254, prefsrc=LO_ADDR.addr, nexthops=(Nexthop(1),)),
)
RULES = {
    rule.key: rule
    for rule in (Rule(2, priority, table_id=t) for priority, t in ((0, 255), (32766, 254), (32767, 253)))
}
SYSCTLS = {s.key: s for s in (Sysctl("net.ipv4.ip_forward", 1), Sysctl("net.ipv6.conf.all.forwarding", 1))}
LISTENER = Socket(6, bytes(4), 80, state=TCP_LISTEN, cookie=1)
SOCKETS = {1: LISTENER}


def keyed(*records: Any) -> Section[Any, Any]:
    return section_of(records)


def pod_addr(node: int, pod: int) -> bytes:
    """Address `pod` of the node's /26 below 10.0.0.0/8."""
    return (10 << 24 | node << 6 | pod).to_bytes(4, "big")


def node_addr(node: int) -> bytes:
    return (172 << 24 | 16 << 16 | node + 1).to_bytes(4, "big")


def mac_of(kind: int, node: int, number: int) -> bytes:
    return bytes((2, kind)) + node.to_bytes(2, "big") + number.to_bytes(2, "big")


def _pod(node: int, pod: int, root: NetnsKey) -> NetnsState:
    name = f"pod-{node}-{pod}"
    key = NetnsKey(root.node, 4, 1000 + pod)
    addr, gateway = pod_addr(node, pod + 2), pod_addr(node, 1)
    eth0 = Link(
        2, "eth0", "veth", 1, UP, 6, 1500, mac_of(1, node, pod), 0, 10 + pod, 0, ipv4=ENDS, ipv6=ENDS6
    )
    record = Netns(key, name, nsids=((0, root),), pod=Pod(name, "default", source="cri"))
    hop = (Nexthop(2),)
    routes = keyed(
        *LO_ROUTES,
        Route(255, addr, 32, RTN_LOCAL, scope=254, prefsrc=addr, nexthops=hop),
        Route(254, pod_addr(node, 0), 26, scope=253, prefsrc=addr, nexthops=hop),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, gateway),)),
    )
    return NetnsState(
        record,
        {1: LO, 2: eth0},
        keyed(LO_ADDR, Addr(2, addr, 26)),
        routes=routes,
        rules=RULES,
        sockets=SOCKETS,
    )


def _node(node: int, others: Mapping[Any, Route]) -> NodeState:
    name = f"node-{node}"
    key = NetnsKey(name, 4, 1)
    pods = [_pod(node, pod, key) for pod in range(PODS)]
    nic = Link(2, "eth0", "", 1, UP, 6, 1500, mac_of(2, node, 0), ipv4=FORWARDS, ipv6=FORWARDS6)
    bridge = Link(3, "cni0", "bridge", 1, UP, 6, 1500, mac_of(3, node, 0), info=BridgeInfo(), ipv4=FORWARDS)
    links = {1: LO, 2: nic, 3: bridge}
    for pod in range(PODS):
        mac = mac_of(4, node, pod)
        links[10 + pod] = Link(
            10 + pod, f"veth{pod}", "veth", 1, UP, 6, 1500, mac, 3, 2, pod, port=BridgePort(), ipv4=FORWARDS
        )
    own, gateway = node_addr(node), pod_addr(node, 1)
    cidr = Route(254, pod_addr(node, 0), 26, scope=253, prefsrc=gateway, nexthops=(Nexthop(3),))
    routes = {**others, cidr.key: cidr}
    routes |= keyed(
        *LO_ROUTES,
        Route(255, own, 32, RTN_LOCAL, scope=254, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(255, gateway, 32, RTN_LOCAL, scope=254, prefsrc=gateway, nexthops=(Nexthop(3),)),
        Route(254, b"\xac\x10\0\0", 16, scope=253, prefsrc=own, nexthops=(Nexthop(2),)),
    )
    nsids = tuple((pod, ns.key) for pod, ns in enumerate(pods))
    root = NetnsState(
        Netns(key, "", True, nsids=nsids),
        links,
        keyed(LO_ADDR, Addr(2, own, 16), Addr(3, gateway, 26)),
        routes=routes,
        rules=RULES,
        sysctls=SYSCTLS,
    )
    return NodeState(name, "6.18", "boot", {ns.key: ns for ns in (root, *pods)}, STATUS)


def build(nodes: int = NODES) -> ClusterState:
    """Construct the cluster."""
    routes = (
        Route(254, pod_addr(node, 0), 26, nexthops=(Nexthop(2, node_addr(node)),)) for node in range(nodes)
    )
    others = {route.key: route for route in routes}
    return ClusterState({f"node-{node}": _node(node, others) for node in range(nodes)})


def changed(cluster: ClusterState, name: str, number: int) -> ClusterState:
    """The cluster after one link of a node changed."""
    node = cluster.nodes[name]
    root = node.root
    assert root is not None
    link = msgspec.structs.replace(root.links[10], alias=f"change {number}")
    ns = msgspec.structs.replace(root, links={**root.links, 10: link})
    after = msgspec.structs.replace(node, netns={**node.netns, root.key: ns})
    return msgspec.structs.replace(cluster, nodes={**cluster.nodes, name: after})


def trace(cluster: ClusterState, pick: random.Random, nodes: int) -> float:
    """Trace between two pods of different nodes; returns the seconds that it took."""
    one, other = pick.sample(range(nodes), 2)
    source, target = f"pod-{one}-{pick.randrange(PODS)}", f"pod-{other}-{pick.randrange(PODS)}"
    started = time.perf_counter()
    found = simulate_in_context(cluster, resolve_flow(cluster, source, target))
    took = time.perf_counter() - started
    assert found.disposition is Disposition.DELIVERED, found.reason
    return took


def run() -> Iterable[Figure]:
    """Measure."""
    gc.disable()
    try:
        started = time.perf_counter()
        cluster = build()
        yield Figure(f"build {NODES} nodes, {NODES * PODS} pods", f"{time.perf_counter() - started:.1f} s")
        pick = random.Random(3)
        first = trace(cluster, pick, WARM_NODES)
        yield Figure("the first trace, which indexes the cluster", f"{first:.1f} s")
        for _ in range(TRACES):
            trace(cluster, pick, WARM_NODES)
        warm = [trace(cluster, pick, WARM_NODES) for _ in range(TRACES)]
        yield Figure("one trace p50/p95/p99, nodes seen before", percentiles_ms(warm), "2.4 ms (p50)")
        anew = [trace(cluster, pick, NODES) for _ in range(CHANGES)]
        yield Figure("one trace p50/p95/p99, any nodes", percentiles_ms(anew))
        after = []
        for number in range(CHANGES):
            cluster = changed(cluster, f"node-{pick.randrange(NODES)}", number)
            after.append(trace(cluster, pick, WARM_NODES))
        yield Figure(
            "one trace p50/p95/p99, each after a change of a node", percentiles_ms(after), "5 ms (p50)"
        )
        yield Figure("resident memory with the state", f"{rss_bytes(os.getpid()) / 2**20:.0f} MiB")
    finally:
        gc.enable()
