"""From one record to one object of the graph."""

from __future__ import annotations

from collections.abc import Iterable

from netviz.core.check.wiring import global_addr
from netviz.core.model.addr import format_ip, format_mac, format_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.kubernetes import KubePod
from netviz.core.model.l3 import Addr
from netviz.core.model.link import IFF_LOOPBACK, OPERSTATES, Link, TunnelInfo, VxlanInfo
from netviz.core.model.netns import Resolv
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.pods import condition
from netviz.core.state.resolve import PAIR_KINDS, UPPER_KINDS, resolve_lower, resolve_peer
from netviz.topology.graph import (
    GapObject,
    HolderObject,
    KubePodObject,
    LinkObject,
    NetnsObject,
    PodObject,
    ResolvObject,
    WorkloadObject,
)

PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")


def addrs_by_link(ns: NetnsState) -> dict[int, tuple[Addr, ...]]:
    """Group a namespace's addresses: ifindex -> addresses, IPv4 first, then by value."""
    groups: dict[int, list[Addr]] = {}
    for addr in ns.addrs.values():
        groups.setdefault(addr.ifindex, []).append(addr)
    return {index: tuple(sorted(group, key=addr_order)) for index, group in groups.items()}


def addr_order(addr: Addr) -> tuple[int, bytes, int, bytes]:
    return (len(addr.addr), addr.addr, addr.prefixlen, addr.peer)


def cidr(addr: Addr) -> str:
    return format_prefix(addr.addr, addr.prefixlen)


def project_link(state: NodeState, ns: NetnsState, link: Link, addrs: Iterable[Addr]) -> LinkObject:
    """Make the object of one link."""
    key = LinkKey(ns.key, link.ifindex)
    peer = resolve_peer(state, key) if link.kind in PAIR_KINDS else None
    lower = resolve_lower(state, key) if link.kind in UPPER_KINDS else None
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
        addrs=tuple(cidr(addr) for addr in addrs),
        master=str(LinkKey(ns.key, link.master)) if link.master else None,
        peer=None if peer is None or peer.key is None else str(peer.key),
        peer_state=None if peer is None else peer.state,
        up=link.up,
        carrier=link.carrier,
        port_state=PORT_STATES[link.port.state] if link.port is not None and known else None,
        vni=vni or None,
        lower=None if lower is None else str(lower),
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
        addrs=tuple(dict.fromkeys(cidr(addr) for addr in sorted(outward, key=addr_order))),
        gaps=tuple(GapObject(gap.section, gap.reason) for gap in ns.gaps),
        resolv=_resolv(record.pod.resolv) if record.pod is not None else None,
    )


def _resolv(one: Resolv | None) -> ResolvObject | None:
    if one is None:
        return None
    return ResolvObject(tuple(map(format_ip, one.nameservers)), one.search, one.options)


def project_pod(pod: KubePod, workload: tuple[str, str] | None, netns: str | None) -> KubePodObject:
    """Make the object of a pod as the API says it is; `netns` is the key of its namespace."""
    return KubePodObject(
        key=f"{pod.namespace}/{pod.name}",
        node=pod.node,
        netns=netns,
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        labels=pod.labels,
        workload=WorkloadObject(*workload) if workload is not None else None,
        phase=pod.phase,
        ready=condition(pod.conditions, "Ready"),
        waits=pod.waits,
        deleting=pod.deleting,
        host_network=pod.host_network,
        addrs=tuple(map(format_ip, pod.ips)),
    )
