"""Joins inside one node that the walk asks for again and again: veth peers, devices stacked on others, ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l2 import NUD_PERMANENT, Fdb
from netviz.core.model.link import Link, WireguardInfo
from netviz.core.sim.index import Index
from netviz.core.sim.one_read import one_read
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.resolve import UNRESOLVED, UPPER_KINDS, Peer, resolve_lower, resolve_peer

TUNNEL_KINDS = frozenset(
    ("vxlan", "geneve", "wireguard", "ipip", "sit", "gre", "gretap", "ip6tnl", "ip6gre", "ip6gretap")
)

_peers: Index[Mapping[NetnsKey, NetnsState], dict[LinkKey, Peer]] = Index(lambda _netns: {})


@one_read(sections=("links",))
def peer_of(node: NodeState, key: LinkKey) -> Peer:
    """Find a pair's other end, remembering it for this state of the node.

    Raises: KeyError when the node has no such link.
    """
    known = _peers(node.netns)
    found = known.get(key)
    if found is None:
        found = resolve_peer(node, key)
        if found.key is not None and outside(found.key.netns):
            found = Peer(UNRESOLVED, None, "its namespace could not be entered")
        known[key] = found
    return found


class PlainEnd(NamedTuple):
    """A link at which frames come up to its host, and go nowhere else; with its MAC."""

    link: LinkKey
    mac: bytes


_plain_ends: Index[Mapping[NetnsKey, NetnsState], dict[LinkKey, PlainEnd | None]] = Index(lambda _netns: {})


@one_read(sections=("links",))
def plain_end_of(node: NodeState, key: LinkKey) -> PlainEnd | None:
    """Find the end at which all untagged frames come up that a veth sends; None where more may become of them, or less.

    So most pods' links are: both ends are up, no program stands at either, and the far end has no master and nothing over it.
    """
    known = _plain_ends(node.netns)
    if key not in known:
        known[key] = _plain_end(node, key)
    return known[key]


def _plain_end(node: NodeState, key: LinkKey) -> PlainEnd | None:
    link = node.link(key)
    peer = peer_of(node, key).key if link is not None and link.kind == "veth" else None
    other = node.link(peer) if peer is not None else None
    if link is None or peer is None or other is None or other.master or uppers_of(node.netns).get(peer):
        return None
    if any(not one.up or one.programs or one.tc or one.xdp for one in (link, other)):
        return None
    return PlainEnd(peer, other.mac)


def outside(key: NetnsKey) -> bool:
    """Tell whether a namespace is known only by a veth that points into it: what it does is not known."""
    return key.dev == 0


@one_read(sections=("links",))
def peer_not_collected(node: NodeState, key: LinkKey) -> bool:
    """Tell whether a veth's peer is in a namespace that the collector never saw (another network's end)."""
    ns = node.netns[key.netns]
    link = ns.links[key.ifindex]
    if link.link_nsid is None:
        return False
    target = next((k for nsid, k in ns.netns.nsids if nsid == link.link_nsid), None)
    return target is None or outside(target) or target not in node.netns


def build_uppers(netns: Mapping[NetnsKey, NetnsState]) -> dict[LinkKey, list[LinkKey]]:
    """Map lower devices to the macvlan, ipvlan and vlan links over them, in key order."""
    node = NodeState("", netns=netns)
    uppers: dict[LinkKey, list[LinkKey]] = {}
    for key, ns in netns.items():
        for ifindex, link in ns.links.items():
            if link.kind in UPPER_KINDS and not outside(key):
                lower = resolve_lower(node, LinkKey(key, ifindex))
                if lower is not None:
                    uppers.setdefault(lower, []).append(LinkKey(key, ifindex))
    for found in uppers.values():
        found.sort()
    return uppers


uppers_of: Index[Mapping[NetnsKey, NetnsState], dict[LinkKey, list[LinkKey]]] = Index(
    build_uppers, sections=("links",)
)


def build_tunnels(netns: Mapping[NetnsKey, NetnsState]) -> dict[NetnsKey, list[LinkKey]]:
    """Map namespaces to the tunnel devices whose outer packets travel there, in key order.

    That is the namespace where the device was made, whatever namespace it is in now: IFLA_LINK_NETNSID
    tells. WireGuard doesn't say; its socket, which is among the namespace's, does.
    """
    found: dict[NetnsKey, list[LinkKey]] = {}
    for key, ns in sorted(netns.items()):
        for ifindex, link in sorted(ns.links.items()):
            if link.kind in TUNNEL_KINDS and not outside(key):
                outer = (
                    wireguard_netns(netns, key, link) if link.kind == "wireguard" else outer_netns(ns, link)
                )
                if outer is not None:
                    found.setdefault(outer, []).append(LinkKey(key, ifindex))
    return found


def outer_netns(ns: NetnsState, link: Link) -> NetnsKey | None:
    """Find the namespace of a tunnel device's outer packets; None when its nsid isn't mapped."""
    if link.link_nsid is None:
        return ns.key
    return next((key for nsid, key in ns.netns.nsids if nsid == link.link_nsid), None)


def wireguard_netns(netns: Mapping[NetnsKey, NetnsState], key: NetnsKey, link: Link) -> NetnsKey | None:
    """Find the one namespace that has a WireGuard device's socket, its own before others."""
    port = link.info.listen_port if isinstance(link.info, WireguardInfo) else 0
    having = [
        other
        for other, ns in netns.items()
        if any(s.proto == 17 and s.sport == port for s in ns.sockets.values())
    ]
    if key in having:
        return key
    return having[0] if len(having) == 1 else None


tunnels_of: Index[Mapping[NetnsKey, NetnsState], dict[NetnsKey, list[LinkKey]]] = Index(
    build_tunnels, sections=("links", "sockets")
)


def build_ports(links: Mapping[Any, Link]) -> dict[int, list[Link]]:
    """Map a master's ifindex to its slaves, by ifindex."""
    ports: dict[int, list[Link]] = {}
    for link in sorted(links.values(), key=lambda link: link.ifindex):
        if link.master:
            ports.setdefault(link.master, []).append(link)
    return ports


ports_of: Index[Mapping[Any, Link], dict[int, list[Link]]] = Index(build_ports)


def build_port_macs(links: Mapping[Any, Link]) -> dict[int, frozenset[bytes]]:
    """Map a master's ifindex to the MACs of its slaves."""
    return {at: frozenset(port.mac for port in ports) for at, ports in ports_of(links).items()}


port_macs: Index[Mapping[Any, Link], dict[int, frozenset[bytes]]] = Index(build_port_macs)


def build_fdb(fdb: Mapping[Any, Fdb]) -> dict[tuple[int, bytes, int], Fdb]:
    """Map (bridge ifindex, MAC, VLAN) to the bridge's entry; a local one goes before others."""
    index: dict[tuple[int, bytes, int], Fdb] = {}
    for entry in fdb.values():
        if entry.master:
            key = (entry.master, entry.mac, entry.vlan)
            if key not in index or entry.state & NUD_PERMANENT:
                index[key] = entry
    return index


bridge_fdb: Index[Mapping[Any, Fdb], dict[tuple[int, bytes, int], Fdb]] = Index(build_fdb)


def build_vxlan_fdb(fdb: Mapping[Any, Fdb]) -> dict[tuple[int, bytes], list[Fdb]]:
    """Map (vxlan ifindex, MAC) to its remotes, in key order."""
    index: dict[tuple[int, bytes], list[Fdb]] = {}
    for entry in fdb.values():
        if entry.dst or entry.nhid:
            index.setdefault((entry.ifindex, entry.mac), []).append(entry)
    for found in index.values():
        found.sort(key=lambda entry: entry.key)
    return index


vxlan_fdb: Index[Mapping[Any, Fdb], dict[tuple[int, bytes], list[Fdb]]] = Index(build_vxlan_fdb)


class Names(msgspec.Struct, frozen=True):
    """A node's namespaces by what people call them. Those that could not be entered are left out."""

    pods: dict[str, list[NetnsKey]]
    full_pods: dict[str, list[NetnsKey]]
    names: dict[str, list[NetnsKey]]
    addrs: dict[bytes, list[NetnsKey]]


def build_names(netns: Mapping[NetnsKey, NetnsState]) -> Names:
    """Index a node's namespaces by pod name, `namespace/name`, own name, and address."""
    index = Names({}, {}, {}, {})
    for key, ns in netns.items():
        if outside(key):
            continue
        pod = ns.netns.pod
        if pod is not None:
            index.pods.setdefault(pod.name, []).append(key)
            index.full_pods.setdefault(f"{pod.namespace}/{pod.name}", []).append(key)
        if ns.netns.name:
            index.names.setdefault(ns.netns.name, []).append(key)
        for addr in {addr.addr: None for addr in ns.addrs.values()}:
            index.addrs.setdefault(addr, []).append(key)
    return index


def names_in(netns: Mapping[NetnsKey, NetnsState]) -> set[str | bytes]:
    """Collect all by which `build_names` finds a namespace of a node."""
    found: set[str | bytes] = set()
    for key, ns in netns.items():
        if outside(key):
            continue
        pod = ns.netns.pod
        if pod is not None:
            found.update((pod.name, f"{pod.namespace}/{pod.name}"))
        if ns.netns.name:
            found.add(ns.netns.name)
        found.update([addr.addr for addr in ns.addrs.values()])
    return found


names_of: Index[Mapping[NetnsKey, NetnsState], Names] = Index(build_names, sections=("addrs",))


@one_read(sections=("links",))
def resolve_lower_of(node: NodeState, key: LinkKey) -> LinkKey | None:
    """Find the lower device of a stacked link; None when it isn't known."""
    try:
        return resolve_lower(node, key)
    except KeyError:
        return None
