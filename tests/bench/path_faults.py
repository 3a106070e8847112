"""Faults of all kinds to plant in large clusters, and what is to be said of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netviz.core.model.l2 import Neigh
from netviz.core.model.link import IFF_BROADCAST
from netviz.core.state.node import ClusterState, NetnsState
from netviz.core.state.section import Section
from tests.bench import scale
from tests.bench.path_states import Chains
from tests.core.sim.nft import (
    DROP,
    FORWARD,
    daddr,
    verdict,
)

Plant = Callable[[ClusterState, str, random.Random, Chains], "ClusterState | None"]


def _put(cluster: ClusterState, *spaces: NetnsState) -> ClusterState:
    """Return the state with other namespaces."""
    nodes = dict(cluster.nodes)
    for ns in spaces:
        node = nodes[ns.key.node]
        nodes[ns.key.node] = msgspec.structs.replace(node, netns=node.netns.changed((), {ns.key: ns}))
    return ClusterState(Section.of(cluster.nodes).changed((), nodes), cluster.bodies)


def _root(cluster: ClusterState, name: str) -> NetnsState:
    root = cluster.nodes[name].root
    assert root is not None
    return root


def _without(section: Mapping[Any, Any], record: Any) -> Mapping[Any, Any]:
    return Section.of(section).changed((record.key,), {})


def lose_route(cluster: ClusterState, name: str, pick: random.Random, _rules: Chains) -> ClusterState | None:
    """A node loses its route to another node's pods."""
    root = _root(cluster, name)
    routes = [r for r in root.routes.values() if r.dst_len == 26 and r.nexthops and r.nexthops[0].gateway]
    return _put(cluster, msgspec.structs.replace(root, routes=_without(root.routes, pick.choice(routes))))


def _link_down(ns: NetnsState, ifindex: int) -> NetnsState:
    link = msgspec.structs.replace(ns.links[ifindex], flags=IFF_BROADCAST)
    return msgspec.structs.replace(ns, links=Section.of(ns.links).changed((), {ifindex: link}))


def pod_down(cluster: ClusterState, name: str, pick: random.Random, _rules: Chains) -> ClusterState | None:
    """A pod's link is down."""
    pods = [ns for ns in cluster.nodes[name].netns.values() if ns.netns.pod is not None]
    return _put(cluster, _link_down(pick.choice(pods), 2))


def end_down(cluster: ClusterState, name: str, pick: random.Random, _rules: Chains) -> ClusterState | None:
    """The node's end of a pod's link is down."""
    return _put(cluster, _link_down(_root(cluster, name), 10 + pick.randrange(scale.PODS)))


def port_blocked(
    cluster: ClusterState, name: str, pick: random.Random, _rules: Chains
) -> ClusterState | None:
    """A bridge port doesn't forward."""
    root = _root(cluster, name)
    link = root.links[10 + pick.randrange(scale.PODS)]
    if link.port is None:
        return None
    blocked = msgspec.structs.replace(link, port=msgspec.structs.replace(link.port, state=4))
    return _put(
        cluster,
        msgspec.structs.replace(root, links=Section.of(root.links).changed((), {link.ifindex: blocked})),
    )


def not_forwarding(
    cluster: ClusterState, name: str, pick: random.Random, _rules: Chains
) -> ClusterState | None:
    """A node doesn't forward what comes in by the device that leads to the others."""
    root = _root(cluster, name)
    link = root.links[3] if root.links[3].kind == "vxlan" else root.links[2]
    changed = msgspec.structs.replace(link, ipv4=scale.ENDS)
    return _put(
        cluster,
        msgspec.structs.replace(root, links=Section.of(root.links).changed((), {link.ifindex: changed})),
    )


def rule_added(cluster: ClusterState, name: str, pick: random.Random, rules: Chains) -> ClusterState | None:
    """A rule drops what is for one pod."""
    root = _root(cluster, name)
    number = int(name.split("-")[1])
    addr = ".".join(map(str, scale.pod_addr(number, 2 + pick.randrange(scale.PODS))))
    chain = rules.chain("stray", (*daddr(addr), verdict(DROP)), hook=FORWARD, priority=10)
    put = msgspec.structs.replace(
        root, nft_chains=Section.of(root.nft_chains).changed((), {chain.key: chain})
    )
    made = _put(cluster, put)
    return ClusterState(made.nodes, {**cluster.bodies, **rules.bodies})


def wrong_mac(cluster: ClusterState, name: str, pick: random.Random, _rules: Chains) -> ClusterState | None:
    """A node has a stale MAC for one of its pods."""
    root = _root(cluster, name)
    pod = pick.randrange(scale.PODS)
    addr = scale.pod_addr(int(name.split("-")[1]), 2 + pod)
    entry = Neigh(3 if root.links[3].kind == "bridge" else 10 + pod, addr, b"\x02\xff\0\0\0\x01", 2)
    return _put(
        cluster, msgspec.structs.replace(root, neighs=Section.of(root.neighs).changed((), {entry.key: entry}))
    )


def fdb_lost(cluster: ClusterState, name: str, pick: random.Random, _rules: Chains) -> ClusterState | None:
    """A VXLAN device has lost its entry for another node."""
    root = _root(cluster, name)
    entries = list(root.fdb.values())
    return (
        _put(cluster, msgspec.structs.replace(root, fdb=_without(root.fdb, pick.choice(entries))))
        if entries
        else None
    )


PLANTS: dict[str, tuple[Plant, frozenset[str]]] = {
    "route": (lose_route, frozenset(("no-route",))),
    "pod's link": (pod_down, frozenset(("link-down",))),
    "node's end": (end_down, frozenset(("link-down",))),
    "port": (port_blocked, frozenset(("bridge-port",))),
    "forwarding": (not_forwarding, frozenset(("forwarding-off",))),
    "rule": (rule_added, frozenset(("rule-drops",))),
    "MAC": (wrong_mac, frozenset(("wrong-neighbour",))),
    "FDB": (fdb_lost, frozenset(("tunnel",))),
}


def plant(
    cluster: ClusterState, pick: random.Random, count: int
) -> tuple[ClusterState, dict[str, frozenset[str]]]:
    """Plant faults of all kinds, each on a node of its own. Returns what is to be found at which node."""
    rules, planted = Chains(), dict[str, frozenset[str]]()
    kinds = list(PLANTS.values())
    while len(planted) < count:
        name = f"node-{pick.randrange(len(cluster.nodes))}"
        fault, found = kinds[len(planted) % len(kinds)]
        made = fault(cluster, name, pick, rules) if name not in planted else None
        if made is not None:
            cluster, planted[name] = made, found
        elif name not in planted:
            kinds.remove((fault, found))
    return cluster, planted
