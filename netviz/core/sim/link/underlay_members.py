"""A node's links that lead to the wire between nodes, and the addresses and MACs that are heard there."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import RT_SCOPE_HOST, Addr
from netviz.core.model.link import ARPHRD_ETHER, IFF_LOOPBACK, Link, VlanInfo
from netviz.core.sim.index import Index
from netviz.core.sim.link.bond import receives
from netviz.core.sim.link.macvlan import takes_any_mac
from netviz.core.sim.node_index import outside, peer_not_collected, peer_of, uppers_of
from netviz.core.sim.route.rp_filter import custom_local_routes
from netviz.core.sim.route.saddr import is_link_local6, link_addrs
from netviz.core.sim.sysctl import conf_all
from netviz.core.state.node import NetnsState, NodeState

Tags = tuple[tuple[int, int], ...]


class Member(msgspec.Struct, frozen=True):
    """A link on some segment: the link at the wire, and the one with the addresses (itself or its bridge).

    `proxy`: it may answer ARP for others; `promiscuous`: it takes frames for any MAC (a macvlan in mode passthru).
    `tags` are what frames on the wire carry for it.
    """

    wire: LinkKey
    inet: LinkKey
    mac: bytes
    addrs: tuple[Addr, ...]
    proxy: bool = False
    promiscuous: bool = False
    tags: Tags = ()


def is_wire(node: NodeState, key: LinkKey, link: Link) -> bool:
    """Tell whether a link leads out of what is known: its other end isn't, and cannot be, in the state."""
    if link.flags & IFF_LOOPBACK or link.arptype != ARPHRD_ETHER:
        return False
    if link.kind == "":
        return True
    if link.kind != "veth":
        return False
    return peer_not_collected(node, key) and peer_of(node, key).key is None


def _subnets(ns: NetnsState, ifindex: int) -> tuple[Addr, ...]:
    return tuple(
        a for a in link_addrs(ns, ifindex) if a.scope != RT_SCOPE_HOST and not is_link_local6(a.addr)
    )


def _list_members(netns: Mapping[NetnsKey, NetnsState]) -> list[Member]:
    """List a node's links on wires. Only the node's own namespace and those with wires of their own have any."""
    node = NodeState("", netns=netns)
    members = []
    for key, ns in sorted(netns.items()):
        if outside(key):
            continue
        for ifindex, link in ns.links.items():
            wire = LinkKey(key, ifindex)
            if not is_wire(node, wire, link):
                continue
            inet = ns.links.get(link.master, link) if link.master else link
            addrs = _subnets(ns, inet.ifindex)
            members.append(Member(wire, LinkKey(key, inet.ifindex), inet.mac, addrs, _proxies(ns, inet)))
            for under in dict.fromkeys((wire, LinkKey(key, inet.ifindex))):
                members += _stacked_members(netns, wire, under, ())
    return members


def _proxies(ns: NetnsState, link: Link) -> bool:
    own = link.ipv4 is not None and (link.ipv4.proxy_arp or link.ipv4.proxy_arp_pvlan)
    return bool(own or conf_all(ns, "proxy_arp") or custom_local_routes(ns.routes))


def _stacked_members(
    netns: Mapping[NetnsKey, NetnsState], wire: LinkKey, under: LinkKey, tags: Tags
) -> list[Member]:
    """List what stands on the segment by way of a wire's link or its master: macvlans, ipvlans, VLAN devices."""
    found = []
    for upper in uppers_of(netns).get(under, ()):
        ns = netns.get(upper.netns)
        link = ns.links.get(upper.ifindex) if ns is not None else None
        if ns is None or link is None:
            continue
        if link.kind in ("macvlan", "ipvlan"):
            addrs = _subnets(ns, upper.ifindex)
            found.append(Member(wire, upper, link.mac, addrs, _proxies(ns, link), takes_any_mac(link), tags))
        elif isinstance(link.info, VlanInfo):
            own = (*tags, (link.info.protocol, link.info.vid))
            addrs = _subnets(ns, upper.ifindex)
            found.append(Member(wire, upper, link.mac, addrs, _proxies(ns, link), tags=own))
            found += _stacked_members(netns, wire, upper, own)
    return found


class Members(msgspec.Struct, frozen=True):
    """A node's members of segments: all, by address, by MAC, by the link at the wire, ARP proxies, promiscuous ones."""

    all: list[Member]
    by_addr: dict[bytes, list[Member]]
    by_mac: dict[bytes, list[Member]]
    by_wire: dict[LinkKey, list[Member]]
    proxies: list[Member]
    promiscuous: list[Member]


def build_members(netns: Mapping[NetnsKey, NetnsState]) -> Members:
    """Index a node's members."""
    members = _list_members(netns)
    index = Members(members, {}, {}, {}, [], [])
    for member in index.all:
        index.by_wire.setdefault(member.wire, []).append(member)
        ns = netns[member.wire.netns]
        if not receives(ns, ns.links[member.wire.ifindex]):
            continue
        if member.proxy:
            index.proxies.append(member)
        if member.promiscuous:
            index.promiscuous.append(member)
        index.by_mac.setdefault(member.mac, []).append(member)
        for addr in dict.fromkeys(addr.addr for addr in member.addrs):
            index.by_addr.setdefault(addr, []).append(member)
    return index


members_of: Index[Mapping[NetnsKey, NetnsState], Members] = Index(
    build_members, sections=("links", "addrs", "routes", "sysctls")
)
