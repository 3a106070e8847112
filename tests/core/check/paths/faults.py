"""Faults to plant in the small clusters: each at a random place, with what a check has to say of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from netviz.core.model.l2 import NUD_REACHABLE
from netviz.core.model.l3 import Nexthop
from tests.core.check.paths.clusters import KINDS, Made, end_names, iifname
from tests.core.sim.build import Net, Ns
from tests.core.sim.nft import (
    DROP,
    FORWARD,
    POSTROUTING,
    PREROUTING,
    chain,
    daddr,
    dport,
    e,
    l4proto,
    saddr,
    verdict,
)


class Planted(NamedTuple):
    """The kind of problem that a fault is to be told as, and the node that it is at."""

    kind: str
    node: str


Fault = Callable[[Net, Made, random.Random], Planted | None]


def _node(made: Made, pick: random.Random) -> Ns:
    return made[pick.choice(sorted(name for name in made if name.startswith("node-")))]


def _pod(made: Made, pick: random.Random) -> tuple[str, Ns, Ns]:
    """Pick a pod; returns its name, itself and its node."""
    name = pick.choice(sorted(name for name in made if name.startswith("pod-")))
    return name, made[name], made[f"node-{name.split('-')[1]}"]


def _end(name: str, node: Ns) -> str:
    """Name the node's end of a pod's veth."""
    return next(link.ifname for link in node.links.values() if link.ifname in end_names(name))


def _addr(pod: Ns) -> str:
    return ".".join(map(str, next(a.addr for a in pod.lists["addrs"] if a.ifindex == 2)))


def route_missing(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A node has lost its route to another node's pods."""
    node = _node(made, pick)
    routes = [
        r
        for r in node.lists["routes"]
        if r.table_id == 254 and r.nexthops and r.nexthops[0].gateway and r.dst_len
    ]
    gone = pick.choice(routes)
    node.lists["routes"].remove(gone)
    return Planted("no-route", node.key.node)


def pod_link_down(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A pod's link is down."""
    _, pod, node = _pod(made, pick)
    pod.down("eth0")
    return Planted("link-down", node.key.node)


def host_end_down(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """The node's end of a pod's veth is down."""
    name, _, node = _pod(made, pick)
    node.down(_end(name, node))
    return Planted("link-down", node.key.node)


def bridge_down(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A bridge is down."""
    node = _node(made, pick)
    if not any(link.ifname == "cni0" for link in node.links.values()):
        return None
    node.down("cni0")
    return Planted("link-down", node.key.node)


def port_blocked(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A bridge port doesn't forward."""
    name, _, node = _pod(made, pick)
    if node.named(_end(name, node)).master == 0:
        return None
    node.port(_end(name, node), state=pick.choice((0, 4)))
    return Planted("bridge-port", node.key.node)


def forwarding_off(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A node doesn't forward what comes in by its NIC."""
    node = _node(made, pick)
    node.conf4("ens3", forwarding=0)
    if any(link.ifname == "flannel.1" for link in node.links.values()):
        node.conf4("flannel.1", forwarding=0)
    return Planted("forwarding-off", node.key.node)


def source_filter(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A node's route to another's pods leads elsewhere than they come from, and a strict rp_filter refuses them."""
    node = _node(made, pick)
    if any(link.ifname == "flannel.1" for link in node.links.values()):
        return None
    routes = [
        r
        for r in node.lists["routes"]
        if r.table_id == 254 and r.nexthops and r.nexthops[0].gateway and r.dst_len
    ]
    moved = pick.choice(routes)
    node.lists["routes"].remove(moved)
    node.nic("ens4", "192.168.9.1/24")
    node.add(
        "routes",
        msgspec.structs.replace(moved, nexthops=(Nexthop(node.named("ens4").ifindex, b"\xc0\xa8\x09\x02"),)),
    )
    node.conf4("ens3", rp_filter=1)
    return Planted("rp-filter", node.key.node)


def rule_drops(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A rule drops what is for one pod."""
    _, pod, node = _pod(made, pick)
    if any(c.table == "fault" for c in node.lists.get("nft_chains", ())):
        return None
    chain(node, "fault", (*daddr(_addr(pod)), verdict(DROP)), hook=FORWARD, tbl="fault", priority=10)
    return Planted("rule-drops", node.key.node)


def rule_drops_source(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A rule drops what one remote pod sends."""
    _, pod, node = _pod(made, pick)
    other = _node(made, pick)
    if other is node or any(c.table == "fault" for c in other.lists.get("nft_chains", ())):
        return None
    chain(other, "fault", (*saddr(_addr(pod)), verdict(DROP)), hook=FORWARD, tbl="fault", priority=10)
    return Planted("rule-drops", other.key.node)


def rule_for_device(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A rule drops what comes from one pod's device, by a port."""
    name, _, node = _pod(made, pick)
    if (
        any(c.table == "fault" for c in node.lists.get("nft_chains", ()))
        or node.named(_end(name, node)).master
    ):
        return None
    rule = (*iifname(_end(name, node)), *l4proto(6), *dport(80), verdict(DROP))
    chain(node, "fault", rule, hook=PREROUTING, tbl="fault", priority=-200)
    return Planted("rule-drops", node.key.node)


def policy_drop(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A chain's policy is drop."""
    node = _node(made, pick)
    if any(c.table == "fault" for c in node.lists.get("nft_chains", ())):
        return None
    chain(node, "fault", hook=FORWARD, tbl="fault", policy=DROP, priority=10)
    return Planted("rule-drops", node.key.node)


def wrong_gateway_mac(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A pod has a stale MAC for its gateway."""
    _, pod, node = _pod(made, pick)
    if any(n.dst for n in pod.lists.get("neighs", ())):
        return None
    gateway = next(r.nexthops[0].gateway for r in pod.lists["routes"] if r.table_id == 254 and not r.dst_len)
    pod.neigh("eth0", ".".join(map(str, gateway)), b"\x02\xff\0\0\0\x01", NUD_REACHABLE)
    return Planted("wrong-neighbour", node.key.node)


def wrong_node_mac(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A node has a stale MAC for another node."""
    node, other = _node(made, pick), _node(made, pick)
    if node is other or any(n.ifindex == 2 for n in node.lists.get("neighs", ())):
        return None
    node.neigh("ens3", _addr(other), b"\x02\xff\0\0\0\x02", NUD_REACHABLE)
    return Planted("wrong-neighbour", node.key.node)


def masquerades_all(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A node rewrites the source of all that leaves its NIC."""
    node = _node(made, pick)
    if any(link.ifname == "flannel.1" for link in node.links.values()):
        return None
    rule = (e("meta", dreg=1, key=7), e("cmp", sreg=1, op=0, data=b"ens3\0"), e("masq", flags=0))
    chain(node, "fault", rule, hook=POSTROUTING, tbl="faultnat", priority=90, type="nat")
    return Planted("nat-between-pods", node.key.node)


def fdb_gone(net: Net, made: Made, pick: random.Random) -> Planted | None:
    """A VXLAN device has lost the entry for another node."""
    node = _node(made, pick)
    if not node.lists.get("fdb"):
        return None
    entries = [entry for entry in node.lists["fdb"] if entry.dst]
    if not entries:
        return None
    node.lists["fdb"].remove(pick.choice(entries))
    return Planted("tunnel", node.key.node)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        route_missing,
        pod_link_down,
        host_end_down,
        bridge_down,
        port_blocked,
        forwarding_off,
        source_filter,
        rule_drops,
        rule_drops_source,
        rule_for_device,
        policy_drop,
        wrong_gateway_mac,
        wrong_node_mac,
        masquerades_all,
        fdb_gone,
    )
}


def faults_of(kind: str) -> list[str]:
    """Name the faults that can be planted in a kind of network."""
    return [name for name, plant in FAULTS.items() if plant(*KINDS[kind](3, 3), random.Random(5)) is not None]
