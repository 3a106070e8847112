"""The checks of state (core/check/facts), cold and from one state to the next, on one core.

Two clusters: that of `scale`, and one of 1,000 nodes of which each has large tables of its own: 5,000 routes and
neighbours and tunnel entries for all others, and 1,000 tracked UDP flows to services' endpoints.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.check.checker import Checker
from netviz.core.model.conntrack import IPS_DST_NAT, CtEntry
from netviz.core.model.l2 import NUD_PERMANENT, NUD_REACHABLE, Fdb, Neigh
from netviz.core.model.l3 import Addr
from netviz.core.model.link import VxlanInfo
from netviz.core.state.delta import section_of
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from tests.bench.machine import Figure, percentiles_ms, rss_bytes
from tests.bench.scale import FORWARDS, NODES, PODS, build, mac_of, node_addr, pod_addr

OWN_NODES, FLOWS, CHANGES, SLOW_CHANGES = 1_000, 1_000, 60, 5
TUNNEL, SERVICE = 4, bytes((10, 96, 0, 10))
Change = Callable[[NetnsState, int], NetnsState]


def with_own_tables(nodes: int) -> ClusterState:
    """The cluster of `scale`, smaller, with a VXLAN device on every node that knows all others."""
    cluster = build(nodes)
    made = {}
    for n, (name, node) in enumerate(cluster.nodes.items()):
        root = node.root
        assert root is not None
        info = VxlanInfo(vni=1, local=node_addr(n), port=8472, learning=False, link=2)
        tunnel = msgspec.structs.replace(
            root.links[2], ifindex=TUNNEL, ifname="flannel.1", kind="vxlan", mtu=1450, mac=mac_of(9, n, 0),
            info=info, ipv4=FORWARDS,
        )  # fmt: skip
        others = [m for m in range(nodes) if m != n]
        ns = msgspec.structs.replace(
            root,
            links={**root.links, TUNNEL: tunnel},
            addrs={**root.addrs, **section_of([Addr(TUNNEL, pod_addr(n, 0), 32)])},
            routes=section_of([msgspec.structs.replace(route) for route in root.routes.values()]),
            neighs=section_of(Neigh(TUNNEL, pod_addr(m, 0), mac_of(9, m, 0), NUD_PERMANENT) for m in others),
            fdb=section_of(
                Fdb(TUNNEL, mac_of(9, m, 0), state=NUD_PERMANENT, dst=node_addr(m)) for m in others
            ),
            conntrack=section_of(_flow(n, i, nodes) for i in range(FLOWS)),
        )
        made[name] = msgspec.structs.replace(node, netns={**node.netns, root.key: ns})
    return ClusterState(made)


def _flow(node: int, number: int, nodes: int) -> CtEntry:
    source, endpoint = pod_addr(node, 2 + number % PODS), pod_addr(number % nodes, 2)
    return CtEntry(17, source, SERVICE, number, 53, endpoint, source, 53, number, status=IPS_DST_NAT)


def judged(checker: Checker, cluster: ClusterState) -> None:
    """Judge until nothing is left to do: nothing is wrong."""
    checker.judge(cluster)
    while checker.work():
        pass
    assert not checker.report().problems


def changed(cluster: ClusterState, name: str, change: Callable[[NodeState], NodeState]) -> ClusterState:
    """The cluster with another state of one node."""
    return ClusterState({**cluster.nodes, name: change(cluster.nodes[name])}, cluster.bodies)


def in_root(change: Change, number: int) -> Callable[[NodeState], NodeState]:
    """Change a node's own namespace."""

    def apply(node: NodeState) -> NodeState:
        assert node.root is not None
        spaces = {**node.netns, node.root.key: change(node.root, number)}
        return msgspec.structs.replace(node, netns=spaces)

    return apply


def link_changed(ns: NetnsState, number: int) -> NetnsState:
    link = msgspec.structs.replace(ns.links[10], alias=f"change {number}")
    return msgspec.structs.replace(ns, links={**ns.links, 10: link})


def route_changed(ns: NetnsState, number: int) -> NetnsState:
    key, route = next(iter(ns.routes.items()))
    return msgspec.structs.replace(
        ns, routes={**ns.routes, key: msgspec.structs.replace(route, protocol=number % 200)}
    )


def neigh_changed(ns: NetnsState, number: int) -> NetnsState:
    entry = Neigh(2, node_addr(number), mac_of(2, number, 0), NUD_REACHABLE)
    return msgspec.structs.replace(ns, neighs={**ns.neighs, entry.key: entry})


def flow_changed(ns: NetnsState, number: int) -> NetnsState:
    entry = _flow(0, FLOWS + number, OWN_NODES)
    return msgspec.structs.replace(ns, conntrack={**ns.conntrack, entry.key: entry})


def tunnel_changed(ns: NetnsState, number: int) -> NetnsState:
    link = msgspec.structs.replace(ns.links[TUNNEL], alias=f"change {number}")
    return msgspec.structs.replace(ns, links={**ns.links, TUNNEL: link})


def times(
    checker: Checker, cluster: ClusterState, changes: Mapping[str, tuple[Change, int]]
) -> Iterable[Figure]:
    """Change one node after the other, and judge each state."""
    for what, (change, count) in changes.items():
        took = []
        for number in range(count):
            name = f"node-{number * 7 % len(cluster.nodes)}"
            cluster = changed(cluster, name, in_root(change, number))
            started = time.perf_counter()
            judged(checker, cluster)
            took.append(time.perf_counter() - started)
        aim = "100" if count == CHANGES else "5,000"
        yield Figure(f"{what}, p50/p95/p99 of {count}", percentiles_ms(took), f"p95 {aim} ms")


def cold(
    name: str, checker: Checker, make: Callable[[], ClusterState]
) -> tuple[ClusterState, Iterable[Figure]]:
    """Judge a cluster that nothing is known of."""
    cluster = make()
    gc.collect()
    before, started = rss_bytes(os.getpid()), time.process_time()
    judged(checker, cluster)
    took = time.process_time() - started
    more = (rss_bytes(os.getpid()) - before) / 2**20
    return cluster, (
        Figure(f"cold, {name}", f"{took:.1f} s of CPU", "a small share of 60 s"),
        Figure(f"memory above the state's, {name}", f"{more:.0f} MiB", "of 1,024 MiB"),
    )


def run() -> Iterable[Figure]:
    """Measure."""
    everyday: dict[str, tuple[Change, int]] = {
        "a changed link": (link_changed, CHANGES),
        "a changed route": (route_changed, CHANGES),
    }
    own: dict[str, tuple[Change, int]] = {
        "a changed neighbour": (neigh_changed, CHANGES),
        "a new flow": (flow_changed, CHANGES),
        "a changed tunnel end, asked for by all": (tunnel_changed, SLOW_CHANGES),
    }
    for name, make, changes in (
        (f"{NODES:,} nodes with {PODS} pods", build, everyday),
        (f"{OWN_NODES:,} nodes with tables of their own", lambda: with_own_tables(OWN_NODES), everyday | own),
    ):
        checker: Any = Checker()
        cluster, figures = cold(name, checker, make)
        yield from figures
        yield from times(checker, cluster, changes)
