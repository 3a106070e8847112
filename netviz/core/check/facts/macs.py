"""Whether the links of two nodes on one wire have MAC addresses of their own.

A switch sends a frame to where it saw the MAC last, and never back by the port that it came from. Virtual routers' MACs
(RFC 5798, 00:00:5e:00:01 and :02) are shared by design.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Problem, Where
from netviz.core.check.text import affects, command, joined
from netviz.core.check.wiring import Wiring, global_addr, name_of
from netviz.core.model.addr import format_mac, mask_ip
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

NEEDS = ("links", "addrs")
SHARED_BY_DESIGN = (b"\x00\x00\x5e\x00\x01", b"\x00\x00\x5e\x00\x02")
MAC_BYTES = 6
# Namespace, ifname, subnets, and the pods behind it.
OnWire = tuple[tuple[Netns, str, frozenset[tuple[bytes, int]], tuple[str, ...]], ...]


def _on_wires(wiring: Wiring) -> Iterator[tuple[NetnsState, Link]]:
    """Yield the links that hear a wire: those with the addresses of the node's own, and pods' macvlans."""
    root = wiring.root
    if root is None:
        return
    for ifindex in sorted({root.links[wire].master or wire for wire in wiring.wires}):
        if ifindex in root.links:
            yield root, root.links[ifindex]
    for ns in wiring.inside:
        for link in ns.links.values():
            if link.kind == "macvlan":
                yield ns, link


def _build(wiring: Wiring) -> dict[bytes, OnWire]:
    """Map MACs to the links that have them on a wire, in order."""
    found: dict[bytes, OnWire] = {}
    pods = tuple(pod_name(pod.netns) for pod in wiring.pods)
    for ns, link in _on_wires(wiring):
        if len(link.mac) != MAC_BYTES or link.mac[:5] in SHARED_BY_DESIGN or not any(link.mac):
            continue
        subnets = frozenset(
            (mask_ip(addr.addr, addr.prefixlen), addr.prefixlen)
            for addr in ns.addrs.values()
            if addr.ifindex == link.ifindex and global_addr(addr)
        )
        behind = pods if ns.netns.root else (pod_name(ns.netns),)
        found[link.mac] = (*found.get(link.mac, ()), (ns.netns, link.ifname, subnets, behind))
    return found


def _find(look: Look) -> Iterator[Problem]:
    look.judged = sum(1 for _ in _on_wires(look.wiring))
    return iter(())


def _judge(mac: Hashable, held: list[tuple[str, OnWire]]) -> Iterator[Problem]:
    if len(held) < 2:
        return
    by_subnet: dict[tuple[bytes, int], dict[str, tuple[Netns, str, tuple[str, ...]]]] = {}
    for node, links in held:
        for netns, dev, subnets, pods in links:
            for subnet in subnets:
                by_subnet.setdefault(subnet, {}).setdefault(node, (netns, dev, pods))
    sharing = max(by_subnet.values(), key=len, default={})
    if len(sharing) < 2:
        return
    assert isinstance(mac, bytes)
    nodes = sorted(sharing)
    ends = [sharing[node] for node in nodes]
    devs = {dev for _, dev, _ in ends}
    counts = [len(pods) for _, _, pods in ends]
    on = f" on {devs.pop()}" if len(devs) == 1 else ""
    netns, dev, _ = ends[-1]
    yield Problem(
        kind="shared-mac",
        cause=format_mac(mac),
        severity="error",
        harm="breaks traffic",
        headline=f"{joined(name_of(one) or one.key.node for one, _, _ in ends)} have the same MAC address"
        f" {format_mac(mac)}{on}",
        consequence="They can't reach each other, and what others send arrives at the one or the other.",
        where=Where(nodes[-1], name_of(netns), dev, str(netns.key)),
        also_at=tuple(Where(one.key.node, name_of(one), name, str(one.key)) for one, name, _ in ends[:-1]),
        affects=affects(
            (pod for _, _, pods in ends for pod in pods),
            pairs=sum(counts) ** 2 - sum(one**2 for one in counts),
        ),
        check=tuple(command(one, f"ip link show {quoted(name)}") for one, name, _ in ends),
        rests_on=rests_on(nodes, NEEDS),
    )


FACT = Fact(
    name="MAC addresses",
    demands="No two nodes have the same MAC address on one wire.",
    unit="links",
    kinds=("shared-mac",),
    needs=NEEDS,
    find=_find,
    table=Table("MACs", ("netns", *NEEDS), _build),
    across=_judge,
)
