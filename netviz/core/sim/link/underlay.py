"""The wire between nodes: which links of different nodes stand on one segment.

Nobody collects the switches between nodes. Links of different nodes whose other end isn't known (a
physical device, a veth into a namespace that was not collected) and whose addresses share a subnet
are taken to be on one segment; the one that owns the next hop's address, or has the frame's MAC,
receives the frame.
"""

from __future__ import annotations

from collections.abc import Mapping

from netviz.core.model.addr import in_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import Addr
from netviz.core.sim.link.cluster_index import ARP_PROXY, PROMISCUOUS, candidates
from netviz.core.sim.link.underlay_members import Member, Tags, is_wire, members_of
from netviz.core.state.node import NodeState

__all__ = [
    "Member",
    "Tags",
    "having_mac",
    "holders_of_mac",
    "is_wire",
    "may_own",
    "on_segment",
    "owners",
    "promiscuous",
    "proxies",
]


def _share_subnet(one: tuple[Addr, ...], other: tuple[Addr, ...]) -> bool:
    return any(
        in_prefix(b.addr, a.addr, a.prefixlen) or in_prefix(a.addr, b.addr, b.prefixlen)
        for a in one
        for b in other
    )


def owners(nodes: Mapping[str, NodeState], wire: LinkKey, addr: bytes, tags: Tags = ()) -> list[Member]:
    """List the members of `wire`'s segment that own `addr`."""
    found = [m for node in candidates(nodes, addr) for m in members_of(node.netns).by_addr.get(addr, ())]
    return _on_segment(nodes, wire, found, tags)


def may_own(nodes: Mapping[str, NodeState], wire: LinkKey, addr: bytes, tags: Tags = ()) -> list[Member]:
    """List the members of `wire`'s segment on nodes that own `addr` on any link: by default they answer ARP for it."""
    found = [m for node in candidates(nodes, addr) for m in members_of(node.netns).all]
    return _on_segment(nodes, wire, found, tags)


def proxies(nodes: Mapping[str, NodeState], wire: LinkKey, tags: Tags = ()) -> list[Member]:
    """List the members of `wire`'s segment that may answer ARP for others."""
    found = [m for node in candidates(nodes, ARP_PROXY) for m in members_of(node.netns).proxies]
    return _on_segment(nodes, wire, found, tags)


def promiscuous(nodes: Mapping[str, NodeState], wire: LinkKey, tags: Tags = ()) -> list[Member]:
    """List the members of `wire`'s segment that take frames for any MAC, which switches flood to them."""
    found = [m for node in candidates(nodes, PROMISCUOUS) for m in members_of(node.netns).promiscuous]
    return _on_segment(nodes, wire, found, tags)


def on_segment(
    nodes: Mapping[str, NodeState], wire: LinkKey, inet: LinkKey, tags: Tags = ()
) -> Member | None:
    """Find a link with addresses among the members of `wire`'s segment."""
    node = nodes.get(inet.netns.node)
    if node is None:
        return None
    found = [member for member in members_of(node.netns).all if member.inet == inet]
    return next(iter(_on_segment(nodes, wire, found, tags)), None)


def holders_of_mac(
    nodes: Mapping[str, NodeState], wire: LinkKey, mac: bytes, tags: Tags = ()
) -> list[Member]:
    """List the members of `wire`'s segment whose link-layer address is `mac`."""
    return _on_segment(nodes, wire, having_mac(nodes, mac), tags)


def having_mac(nodes: Mapping[str, NodeState], mac: bytes) -> list[Member]:
    """List the members of all segments whose link-layer address is `mac`."""
    return [m for node in candidates(nodes, mac) for m in members_of(node.netns).by_mac.get(mac, ())]


def _on_segment(
    nodes: Mapping[str, NodeState], wire: LinkKey, found: list[Member], tags: Tags
) -> list[Member]:
    node = nodes.get(wire.netns.node)
    if not found or node is None:
        return []
    own = _addrs_at(node, wire, tags)
    return [
        member
        for member in found
        if member.tags == tags
        and member.wire != wire
        and _share_subnet(own, member.addrs or _addrs_at(nodes[member.wire.netns.node], member.wire, tags))
    ]


def _addrs_at(node: NodeState, wire: LinkKey, tags: Tags) -> tuple[Addr, ...]:
    """List the addresses of all that stands on a segment by way of one link."""
    members = members_of(node.netns).by_wire.get(wire, ())
    return tuple(addr for member in members if member.tags == tags for addr in member.addrs)
