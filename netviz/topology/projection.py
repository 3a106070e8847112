"""From one node's state to its part of the graph that a page draws.

`project_node` turns one node's state into its part of the graph; given the part that it made of an
earlier state, it looks only at what isn't the same object any more. A link's object depends on its
own record and addresses, and, for a veth, on whether its peer names it in turn. So beside the links
that changed, exactly those are looked at again that a changed link named before or names now:
whether anyone else is proved to be a peer cannot have changed. `projector.py` puts the nodes together.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from netviz.core.model.addr import format_mac, format_prefix, mask_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import RT_TABLE_MAIN, RTN_UNICAST, Addr, Nexthop, Route
from netviz.core.model.link import IFF_LOOPBACK, OPERSTATES, Link, TunnelInfo, VxlanInfo
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.resolve import UNRESOLVED, resolve_veth
from netviz.topology.contract import Claim, claims_of, global_addr, no_uplink
from netviz.topology.graph import (
    Alert,
    GapObject,
    HolderObject,
    LinkObject,
    NetnsObject,
    PodObject,
    changed_keys,
)

PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
TUNNEL_KINDS = frozenset(("vxlan", "geneve", "ipip", "gre", "gretap", "sit", "ip6tnl", "ip6gre", "wireguard"))
MAX_ROUTES = 64


class RoutesOut(msgspec.Struct, frozen=True, gc=False):
    """The routes of a node's main table that lead elsewhere, and what they were worked out from.

    `uplinks` are the links by which the node reaches gateways: what leads to a pod has no gateway behind it. `shown`
    are the first MAX_ROUTES as (prefix, gateway or nothing, device).
    """

    routes: Mapping[Any, Route] = {}
    devices: Mapping[int, tuple[str, str]] = {}
    uplinks: frozenset[int] = frozenset()
    shown: tuple[tuple[str, bytes, str], ...] = ()
    left_off: int = 0


class NodePart(msgspec.Struct, frozen=True, gc=False):
    """One node's part of the graph, before what crosses nodes.

    `beyond` are namespaces that aren't the node's: they were never entered, and are known only by the
    far end of the veth that the node itself hangs on. They are in no `netns` and `links`; `all_links`
    has them. `owned` are the addresses by which other nodes' gateways may know the node; `stretched`
    tells that its pod CIDRs may be shared with other nodes by design. With a `fault` the state could not
    be worked out, and the part is empty.
    """

    state: NodeState
    netns: Mapping[NetnsKey, NetnsObject] = {}
    links: Mapping[LinkKey, LinkObject] = {}
    all_links: Mapping[LinkKey, LinkObject] = {}
    beyond: frozenset[NetnsKey] = frozenset()
    claims: Mapping[NetnsKey, tuple[tuple[bytes, Claim], ...]] = {}
    alerts: Mapping[NetnsKey, Alert] = {}
    addrs: tuple[str, ...] = ()
    owned: frozenset[bytes] = frozenset()
    pod_cidrs: tuple[str, ...] = ()
    stretched: bool = False
    routes: RoutesOut = RoutesOut()
    fault: str | None = None


def addrs_by_link(ns: NetnsState) -> dict[int, tuple[Addr, ...]]:
    """Group a namespace's addresses: ifindex -> addresses, IPv4 first, then by value."""
    groups: dict[int, list[Addr]] = {}
    for addr in ns.addrs.values():
        groups.setdefault(addr.ifindex, []).append(addr)
    return {index: tuple(sorted(group, key=_addr_order)) for index, group in groups.items()}


def _addr_order(addr: Addr) -> tuple[int, bytes, int, bytes]:
    return (len(addr.addr), addr.addr, addr.prefixlen, addr.peer)


def _cidr(addr: Addr) -> str:
    return format_prefix(addr.addr, addr.prefixlen)


def project_link(state: NodeState, ns: NetnsState, link: Link, addrs: Iterable[Addr]) -> LinkObject:
    """Make the object of one link."""
    key = LinkKey(ns.key, link.ifindex)
    peer = resolve_veth(state, key) if link.kind == "veth" else None
    vni = link.info.vni if isinstance(link.info, VxlanInfo | TunnelInfo) else None
    known = link.port is not None and 0 <= link.port.state < len(PORT_STATES)
    return LinkObject(
        key=str(key),
        netns=str(ns.key),
        ifname=link.ifname,
        ifindex=link.ifindex,
        kind="loopback" if link.flags & IFF_LOOPBACK else link.kind,
        mtu=link.mtu,
        mac=format_mac(link.mac),
        state=OPERSTATES[link.operstate] if 0 <= link.operstate < len(OPERSTATES) else "unknown",
        addrs=tuple(_cidr(addr) for addr in addrs),
        master=str(LinkKey(ns.key, link.master)) if link.master else None,
        peer=None if peer is None or peer.key is None else str(peer.key),
        peer_state=None if peer is None else peer.state,
        up=link.up,
        carrier=link.carrier,
        port_state=PORT_STATES[link.port.state] if link.port is not None and known else None,
        vni=vni or None,
    )


def netns_name(ns: NetnsState) -> str:
    """A namespace's name for people: its own, its pod's, its node's, or what holds it."""
    record = ns.netns
    if record.name:
        return record.name
    if record.root:
        return ns.key.node
    if record.pod is not None:
        return record.pod.name
    holder = next((holder for holder in record.holders if holder.name), None)
    if holder is not None:
        return f"{holder.name}[{holder.pid}]" if holder.pid else holder.name
    return f"nsid {ns.key.ino}" if ns.key.dev == 0 else f"netns {ns.key.ino}"


def project_netns(ns: NetnsState) -> NetnsObject:
    """Make the object of one namespace. Its addresses are those that others could know it by."""
    record = ns.netns
    outward = (
        addr
        for addr in ns.addrs.values()
        if global_addr(addr) and (link := ns.links.get(addr.ifindex)) and not link.flags & IFF_LOOPBACK
    )
    return NetnsObject(
        key=str(ns.key),
        node=ns.key.node,
        name=netns_name(ns),
        root=record.root,
        pod=PodObject(record.pod.name, record.pod.namespace) if record.pod else None,
        holders=tuple(HolderObject(h.kind, h.name, h.pid) for h in record.holders),
        addrs=tuple(dict.fromkeys(_cidr(addr) for addr in sorted(outward, key=_addr_order))),
        gaps=tuple(GapObject(gap.section, gap.reason) for gap in ns.gaps),
    )


def _named(ns: NetnsState, link: Link, nsids: Mapping[int, NetnsKey]) -> LinkKey | None:
    """The link that a veth names as its peer, by its own words."""
    if link.kind != "veth":
        return None
    target = ns.key if link.link_nsid is None else nsids.get(link.link_nsid)
    return None if target is None else LinkKey(target, link.link or link.ifindex)


def _suspects(old: NetnsState | None, new: NetnsState | None) -> Iterator[LinkKey]:
    """Links whose objects may differ because one namespace changed from `old` to `new`."""
    was, now = (ns.links if ns is not None else {} for ns in (old, new))
    old_nsids, new_nsids = (dict(ns.netns.nsids) if ns is not None else {} for ns in (old, new))
    touched = set(changed_keys(was, now))
    if old is not None and new is not None:
        touched.update(key[0] for key in changed_keys(old.addrs, new.addrs))
        if old_nsids != new_nsids:
            touched.update(
                index
                for index, link in now.items()
                if link.link_nsid is not None
                and old_nsids.get(link.link_nsid) != new_nsids.get(link.link_nsid)
            )
    for index in touched:
        for ns, nsids in ((old, old_nsids), (new, new_nsids)):
            if ns is not None and (link := ns.links.get(index)) is not None:
                yield LinkKey(ns.key, index)
                if (named := _named(ns, link, nsids)) is not None:
                    yield named


def _matters(old: NetnsState | None, new: NetnsState | None) -> bool:
    """Tell whether a namespace changed in anything that the graph shows."""
    if old is None or new is None:
        return True
    return any(
        getattr(old, part) is not getattr(new, part)
        for part in ("netns", "links", "addrs", "routes", "refused")
    )


def project_node(state: NodeState, old: NodePart | None = None) -> NodePart:
    """Make a node's part of the graph, from scratch or from the part of an earlier state."""
    if old is None:
        old = NodePart(NodeState(state.node))
    if old.state is state:
        return old
    netns, claims, alerts = dict(old.netns), dict(old.claims), dict(old.alerts)
    links = dict(old.all_links)
    changed = [
        key
        for key in changed_keys(old.state.netns, state.netns)
        if _matters(old.state.netns.get(key), state.netns.get(key))
    ]
    suspects: set[LinkKey] = set()
    for key in changed:
        suspects.update(_suspects(old.state.netns.get(key), state.netns.get(key)))
        if key not in state.netns:
            for part in (netns, claims, alerts):
                part.pop(key, None)
    _project_links(state, suspects, links)
    root = state.root
    routes = RoutesOut() if root is None else _routes_out(root, old.routes)
    pod_side = _PodSide(links, routes.uplinks)
    beyond = frozenset() if root is None else _beyond(root, links, routes.uplinks)
    looked_at = {key for key in changed if key in state.netns}
    looked_at.update(key.netns for key in suspects if key.netns in state.netns)
    looked_at.update(key for key in beyond ^ old.beyond if key in state.netns)
    for key in looked_at:
        if key in beyond:
            netns.pop(key, None)
            claims.pop(key, None)
            continue
        ns = state.netns[key]
        netns[key] = project_netns(ns)
        claims[key] = tuple(dict.fromkeys(claims_of(ns, pod_side)))
    links_whole = state.status.get("links") == old.state.status.get("links")
    for key in looked_at if links_whole else state.netns:
        alert = no_uplink(state, state.netns[key])
        if alert is None:
            alerts.pop(key, None)
        else:
            alerts[key] = alert
    shown = _without(links, beyond) if beyond else links
    part = NodePart(state, netns, shown, links, beyond, claims, alerts, routes=routes)
    if root is None:
        return part
    if root.key in looked_at:
        return msgspec.structs.replace(part, **_node_facts(root, pod_side))
    return msgspec.structs.replace(
        part,
        addrs=old.addrs,
        owned=old.owned,
        pod_cidrs=old.pod_cidrs,
        stretched=old.stretched,
    )


def _beyond(
    root: NetnsState, links: Mapping[LinkKey, LinkObject], uplinks: frozenset[int]
) -> frozenset[NetnsKey]:
    """Namespaces that were never entered, at the far ends of the node's uplinks."""
    ends = (links.get(LinkKey(root.key, index)) for index in uplinks)
    peers = (LinkKey.parse(end.peer).netns for end in ends if end is not None and end.peer is not None)
    return frozenset(peer for peer in peers if peer.dev == 0)


def _without(links: Mapping[LinkKey, LinkObject], beyond: frozenset[NetnsKey]) -> dict[LinkKey, LinkObject]:
    """Links as they look when some namespaces aren't shown: their peers are as good as unresolved."""
    shown = {key: link for key, link in links.items() if key.netns not in beyond}
    for key, link in links.items():
        if key.netns in beyond and link.peer is not None and (end := LinkKey.parse(link.peer)) in shown:
            shown[end] = msgspec.structs.replace(shown[end], peer=None, peer_state=UNRESOLVED)
    return shown


class _PodSide(Mapping[LinkKey, bool]):
    """Tells of a link of the root namespace whether it is a veth whose other end is in a pod, or could be."""

    def __init__(self, links: Mapping[LinkKey, LinkObject], uplinks: frozenset[int]) -> None:
        self._links = links
        self._uplinks = uplinks

    def __getitem__(self, key: LinkKey) -> bool:
        link = self._links[key]
        if key.ifindex in self._uplinks or link.peer is None:
            return False
        return LinkKey.parse(link.peer).netns != key.netns

    def __iter__(self) -> Iterator[LinkKey]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)


def _project_links(state: NodeState, suspects: set[LinkKey], links: dict[LinkKey, LinkObject]) -> None:
    grouped: dict[NetnsKey, dict[int, tuple[Addr, ...]]] = {}
    for key in suspects:
        ns = state.netns.get(key.netns)
        link = None if ns is None else ns.links.get(key.ifindex)
        if ns is None or link is None:
            links.pop(key, None)
            continue
        if key.netns not in grouped:
            grouped[key.netns] = addrs_by_link(ns)
        links[key] = project_link(state, ns, link, grouped[key.netns].get(key.ifindex, ()))


def _node_facts(root: NetnsState, pod_side: Mapping[LinkKey, bool]) -> dict[str, object]:
    """What a node's own namespace says of the node: its addresses and pod CIDRs."""
    ports: dict[int, set[bool]] = {}
    for link in root.links.values():
        if link.master:
            ports.setdefault(link.master, set()).add(pod_side.get(LinkKey(root.key, link.ifindex), False))
    bridges = {i for i, link in root.links.items() if link.kind == "bridge"}
    pod_bridges = {i for i in bridges if True in ports.get(i, ())} or bridges
    addrs: list[Addr] = []
    cidrs: list[Addr] = []
    owned: set[bytes] = set()
    for addr in root.addrs.values():
        link = root.links.get(addr.ifindex)
        if link is None or not global_addr(addr) or link.flags & IFF_LOOPBACK or link.kind == "dummy":
            continue
        if link.kind == "veth" and pod_side.get(LinkKey(root.key, link.ifindex), False):
            continue
        owned.add(addr.addr)
        if addr.ifindex in pod_bridges:
            cidrs.append(addr)
        elif addr.ifindex not in bridges or ports.get(addr.ifindex) == {False}:
            addrs.append(addr)
    nets = {(len(a.addr), mask_ip(a.addr, a.prefixlen), a.prefixlen) for a in cidrs}
    return {
        "addrs": tuple(_cidr(addr) for addr in sorted(addrs, key=_addr_order)),
        "owned": frozenset(owned),
        "pod_cidrs": tuple(format_prefix(net, length) for _, net, length in sorted(nets)),
        "stretched": any(ports.get(i) != {True} for i in pod_bridges),
    }


def _routes_out(root: NetnsState, old: RoutesOut) -> RoutesOut:
    """Find the routes to elsewhere; `old` itself where neither the routes nor what devices are called changed."""
    devices = {index: (link.ifname, link.kind) for index, link in root.links.items()}
    if old.routes is root.routes and old.devices == devices:
        return old
    tunnels = {index for index, (_, kind) in devices.items() if kind in TUNNEL_KINDS}
    leading = [
        (route, hop)
        for route in root.routes.values()
        if route.table_id == RT_TABLE_MAIN and route.type == RTN_UNICAST
        for hop in route.nexthops
        if hop.gateway or hop.oif in tunnels
    ]
    uplinks = frozenset(hop.oif for route in root.routes.values() for hop in route.nexthops if hop.gateway)
    shown = tuple(
        (format_prefix(route.dst, route.dst_len), hop.gateway, devices.get(hop.oif, ("", ""))[0])
        for route, hop in heapq.nsmallest(MAX_ROUTES, leading, key=_route_order)
    )
    return RoutesOut(root.routes, devices, uplinks, shown, len(leading) - len(shown))


def _route_order(item: tuple[Route, Nexthop]) -> tuple[int, bytes, int, bytes, int]:
    route, hop = item
    return len(route.dst), route.dst, route.dst_len, hop.gateway, hop.oif
