"""Whether the links of two nodes on one wire have MAC addresses of their own.

A switch sends a frame to where it saw the MAC last, and never back by the port that it came from. Virtual routers' MACs
(RFC 5798, 00:00:5e:00:01 and :02) are shared by design.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.text import joined
from netviz.core.check.wiring import Wiring
from netviz.core.model.addr import format_mac, mask_ip
from netviz.core.plain import quoted
from netviz.core.sim.link.underlay_members import members_of

NEEDS = ("links", "addrs")
SHARED_BY_DESIGN = (b"\x00\x00\x5e\x00\x01", b"\x00\x00\x5e\x00\x02")
OnWire = tuple[tuple[str, frozenset[tuple[bytes, int]]], ...]  # ifname, subnets


def _build(wiring: Wiring) -> dict[bytes, OnWire]:
    """Map MACs to the links that have them on a wire, by name."""
    found: dict[bytes, dict[str, frozenset[tuple[bytes, int]]]] = {}
    for member in members_of(wiring.node.netns).all:
        ns = wiring.node.netns[member.inet.netns]
        link = ns.links[member.inet.ifindex]
        if member.mac[:5] in SHARED_BY_DESIGN or len(member.mac) != 6 or not any(member.mac):
            continue
        name = link.ifname if ns.netns.root else f"{link.ifname} of {ns.netns.name}"
        subnets = frozenset((mask_ip(a.addr, a.prefixlen), a.prefixlen) for a in member.addrs)
        mine = found.setdefault(member.mac, {})
        mine[name] = mine.get(name, frozenset()) | subnets
    return {mac: tuple(sorted(mine.items(), key=lambda one: one[0])) for mac, mine in found.items()}


def _find(look: Look) -> Iterator[Problem]:
    look.judged = len(members_of(look.node.netns).all)
    return iter(())


def _judge(mac: Hashable, held: list[tuple[str, OnWire]]) -> Iterator[Problem]:
    if len(held) < 2:
        return
    by_subnet: dict[tuple[bytes, int], dict[str, str]] = {}
    for node, links in held:
        for dev, subnets in links:
            for subnet in subnets:
                by_subnet.setdefault(subnet, {}).setdefault(node, dev)
    sharing = max(by_subnet.values(), key=len, default={})
    if len(sharing) < 2:
        return
    assert isinstance(mac, bytes)
    nodes = sorted(sharing)
    last = nodes[-1]
    devs = {sharing[node] for node in nodes}
    on = f" on {devs.pop()}" if len(devs) == 1 else ""
    yield Problem(
        kind="shared-mac",
        cause=format_mac(mac),
        severity="error",
        harm="breaks traffic",
        headline=f"{joined(nodes)} have the same MAC address {format_mac(mac)}{on}",
        consequence="They can't reach each other, and what others send arrives at the one or the other.",
        where=Where(last, "", sharing[last].partition(" of ")[0]),
        check=tuple(Command(node, "", f"ip link show {quoted(sharing[node])}") for node in nodes),
        rests_on=rests_on(nodes, NEEDS),
    )


FACT = Fact(
    name="MAC addresses",
    demands="No two nodes have the same MAC address on one wire.",
    unit="links",
    kinds=("shared-mac",),
    needs=NEEDS,
    find=_find,
    table=Table("MACs", NEEDS, _build),
    across=_judge,
)
