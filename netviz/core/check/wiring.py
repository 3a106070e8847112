"""How one node's links hang together, worked out once for all checks that look at one state of the node."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from netviz.core.model.addr import mask_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, Addr, Route
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netns import Netns
from netviz.core.sim.index import Index
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.node_index import outside
from netviz.core.sim.trace import display_name, pod_name
from netviz.core.state.node import SECTIONS, NetnsState, NodeState
from netviz.core.state.resolve import PAIR_KINDS, resolve_peer

POD_LINK = "eth0"  # the name that container runtimes give to the link that they report


class Pair(NamedTuple):
    """A veth pair between a node's own namespace and another one: the host end, and the end inside `ns`."""

    host: Link
    ns: NetnsState
    inner: Link


class Wiring:
    """One node's namespaces and veth pairs. What isn't asked for isn't worked out."""

    def __init__(self, node: NodeState) -> None:
        self.node = node
        self.name = node.node

    @cached_property
    def root(self) -> NetnsState | None:
        """The node's own namespace."""
        return self.node.root

    @cached_property
    def gappy(self) -> list[NetnsState]:
        """The namespaces of which something couldn't be read or understood, by key."""
        return [ns for _, ns in sorted(self.node.netns.items()) if ns.netns.gaps or ns.refused]

    @cached_property
    def missing(self) -> dict[str, str]:
        """The sections that aren't known of the node as a whole, and why; gaps of single namespaces apart."""
        found = {}
        explained = {gap.section for ns in self.gappy for gap in ns.gaps}
        for section in SECTIONS:
            status = self.node.status.get(section)
            if status is None:
                found[section] = "not read yet"
            elif status.past:
                found[section] = "not kept in the journal"
            elif not status.whole and section not in explained:
                found[section] = status.reason or "not read whole"
        return found

    @cached_property
    def inside(self) -> list[NetnsState]:
        """The namespaces that could be entered, but for the node's own; by key."""
        spaces = self.node.netns
        return [spaces[key] for key in sorted(spaces) if not outside(key) and not spaces[key].netns.root]

    @cached_property
    def pods(self) -> list[NetnsState]:
        """The pods' namespaces, by key."""
        return [ns for ns in self.inside if ns.netns.pod is not None]

    @cached_property
    def peers(self) -> dict[int, LinkKey]:
        """The proved far ends of the pairs with one end in the node's own namespace, by their ifindex there."""
        found: dict[int, LinkKey] = {}
        if self.root is not None:
            for ifindex, link in self.root.links.items():
                if link.kind in PAIR_KINDS:
                    peer = resolve_peer(self.node, LinkKey(self.root.key, ifindex)).key
                    if peer is not None:
                        found[ifindex] = peer
        return found

    @cached_property
    def pairs(self) -> dict[int, Pair]:
        """The pairs between the node's own namespace and others, by the host end's ifindex; `beyond` left out."""
        found: dict[int, Pair] = {}
        root = self.root
        for ifindex, peer in self.peers.items():
            if root is not None and peer.netns != root.key and peer.netns not in self.beyond:
                ns = self.node.netns[peer.netns]
                found[ifindex] = Pair(root.links[ifindex], ns, ns.links[peer.ifindex])
        return found

    @cached_property
    def pairs_of(self) -> dict[NetnsKey, list[Pair]]:
        """The same, by the other namespace."""
        found: dict[NetnsKey, list[Pair]] = {}
        for pair in self.pairs.values():
            found.setdefault(pair.ns.key, []).append(pair)
        return found

    @cached_property
    def bridged(self) -> dict[int, list[Pair]]:
        """Those whose host end has a master, by the master's ifindex, which may be in another namespace."""
        found: dict[int, list[Pair]] = {}
        for pair in self.pairs.values():
            if pair.host.master:
                found.setdefault(pair.host.master, []).append(pair)
        return found

    @cached_property
    def wires(self) -> frozenset[int]:
        """The links of the node's own namespace whose other end no collector can show."""
        root = self.root
        if root is None:
            return frozenset()
        return frozenset(
            ifindex
            for ifindex, link in root.links.items()
            if ifindex not in self.pairs and is_wire(self.node, LinkKey(root.key, ifindex), link)
        )

    @cached_property
    def routed_subnets(self) -> frozenset[tuple[bytes, int]]:
        """The subnets, as (network, length), that the node's pods without a bridge take for their own: only they are in it."""
        return frozenset(
            (mask_ip(addr.addr, addr.prefixlen), addr.prefixlen)
            for pair in self.pairs.values()
            if not pair.host.master and pair.ns.netns.pod is not None
            for addr in pair.ns.addrs.values()
            if addr.ifindex == pair.inner.ifindex
            and global_addr(addr)
            and addr.prefixlen < len(addr.addr) * 8
        )

    @cached_property
    def beyond(self) -> frozenset[NetnsKey]:
        """Namespaces that aren't the node's: known only by the far end of a veth that the node itself hangs on."""
        return frozenset(
            peer.netns
            for ifindex, peer in self.peers.items()
            if outside(peer.netns) and self.leads_on(ifindex)
        )

    def leads_on(self, ifindex: int, width: int = 0) -> bool:
        """Tell whether routes with a gateway leave by a link of the node's own namespace, so that no pod is behind it.

        `width` asks for IPv4 (4) or IPv6 (16) alone.
        """
        if self.root is None:
            return False
        if not width:
            return self.leads_on(ifindex, 4) or self.leads_on(ifindex, 16)
        routes, known = self.root.routes, _leads_on(self.root.routes)
        if (ifindex, width) not in known:
            known[ifindex, width] = any(
                hop.gateway and hop.oif == ifindex and len(route.dst) == width
                for route in routes.values()
                for hop in route.nexthops
            )
        return known[ifindex, width]


# (ifindex, width) -> whether routes with a gateway leave there: found out when somebody asks.
_leads_on: Index[Mapping[Any, Route], dict[tuple[int, int], bool]] = Index(lambda _routes: {})


def global_addr(addr: Addr) -> bool:
    """Tell whether an address is meant to be unique beyond its link."""
    if addr.scope != RT_SCOPE_UNIVERSE:
        return False
    if len(addr.addr) == 4:
        return addr.addr[0] != 127 and addr.addr[:2] != b"\xa9\xfe"
    return not (addr.addr[0] == 0xFE and addr.addr[1] & 0xC0 == 0x80) and addr.addr != b"\0" * 15 + b"\x01"


def is_loopback(link: Link) -> bool:
    """Tell whether a link is the loopback device."""
    return bool(link.flags & IFF_LOOPBACK)


def pod_link(pod: NetnsState) -> Link | None:
    """The link that the container runtime reports, or the first one that isn't the loopback."""
    links = [link for _, link in sorted(pod.links.items()) if not is_loopback(link)]
    return next((link for link in links if link.ifname == POD_LINK), links[0] if links else None)


def default_gateways(ns: NetnsState, link: Link) -> list[bytes]:
    """The gateways of a namespace's default routes by a link."""
    return [
        hop.gateway
        for route in ns.routes.values()
        if not route.dst_len and route.table_id == RT_TABLE_MAIN
        for hop in route.nexthops
        if hop.oif == link.ifindex and hop.gateway
    ]


def name_of(netns: Netns) -> str:
    """What people call a namespace, "" for the node's own."""
    return "" if netns.root else pod_name(netns) or display_name(netns)


def who(netns: Netns) -> str:
    """Name a node, or a pod or another namespace and its node, in a sentence."""
    node = netns.key.node
    return node if netns.root else f"{name_of(netns) or f'namespace {netns.key.ino}'} on {node}"
