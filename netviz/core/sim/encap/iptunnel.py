"""IP in IP: ipip, sit, gre, ip6tnl, ip6gre devices (and the receiving half of gretap).

What a device carries, how large its header is, and where its outer packet goes:

    ipip     IPv4 in IPv4, 20          to its remote; a device without one (Calico's tunl0): to the next hop
    sit      IPv6 (and IPv4) in IPv4, 20   to its remote
    gre      either in IPv4, 24 and 4 for a key
    ip6tnl   either in IPv6, 40 and 8 for an encapsulation limit
    ip6gre   either in IPv6, 44 and 4 for a key, 8 for the limit

A packet that comes back is for the device with both its addresses (and key), else with its source as
remote, else with its destination as local, else the fallback device, that has neither.

Source: net/ipv4/ip_tunnel.c, ip_tunnel_xmit, tnl_update_pmtu, ip_tunnel_lookup, ip_tunnel_rcv; ipip.c,
ipip_tunnel_xmit; ip_gre.c, ipgre_xmit, ipgre_rcv; net/ipv6/sit.c, ipip6_tunnel_xmit, ipip6_rcv;
ip6_tunnel.c, ip6_tnl_xmit, ip6_tnl_lookup; ip6_gre.c (Linux 6.18).

Unmodelled: external devices, GRE checksums and sequence numbers, 6to4, 6rd and ISATAP, FOU and GUE.
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link, TunnelInfo
from netviz.core.sim.actions import Action, Rx, Send
from netviz.core.sim.encap import tunnel
from netviz.core.sim.encap.spec import (
    GRE_KEY,
    GRE_KINDS,
    IPPROTO_GRE,
    IPPROTO_IPIP,
    IPPROTO_IPV6,
    IPV4_MIN_MTU,
    OVER_IPV6,
    outer_of,
    unmodelled,
)
from netviz.core.sim.packet import IPV6_MIN_MTU, Packet
from netviz.core.sim.route.saddr import is_multicast
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Decap, Encap
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Wrap a packet and hand it to the underlay's routing."""
    info = link.info if isinstance(link.info, TunnelInfo) else None
    what = "settings" if info is None else unmodelled(link.kind, info)
    if info is None or what:
        run.end_unknown(ns, link, packet, Encap("unknown", "settings", device_kind=link.kind, what=what))
    _check_carried(run, ns, link, info, packet)
    remote = _remote(run, ns, link, info, packet, nexthop)
    return send(run, ns, link, info, packet, remote)


def _check_carried(run: Run, ns: NetnsState, link: Link, info: TunnelInfo, packet: Packet) -> None:
    """Drop what a device doesn't carry."""
    carried = {"ipip": (4,), "sit": (6,) if info.proto in (0, IPPROTO_IPV6) else (4,)}.get(link.kind, (4, 6))
    if link.kind == "ip6tnl" and info.proto:
        carried = (6,) if info.proto == IPPROTO_IPV6 else (4,)
    if link.kind == "sit" and info.proto == 0:
        carried = (4, 6)
    if (6 if packet.ipv6 else 4) not in carried:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Encap("drop", "not carried", carried=carried))


def _remote(run: Run, ns: NetnsState, link: Link, info: TunnelInfo, packet: Packet, nexthop: bytes) -> bytes:
    """Return the outer destination: the device's remote, else for IPv4 the packet's next hop."""
    remote = info.remote
    if not any(remote):
        remote = nexthop if link.kind in ("ipip", "gre") and not packet.ipv6 else b""
    if not remote or is_multicast(remote):
        run.end_unknown(ns, link, packet, Encap("unknown", "remote", device_kind=link.kind, remote=remote))
    return remote


def send(run: Run, ns: NetnsState, link: Link, info: TunnelInfo, packet: Packet, remote: bytes) -> Action:
    """Wrap what a device carries for a remote; end it where it is too large."""
    space = tunnel.outer_space(run, ns, link, packet)
    tunnel.check_marked_routing(run, space, link, packet, info.fwmark)
    outer = outer_of(link.kind, info, packet, remote)
    wrapped = tunnel.wrap(space, packet.scrubbed(space.key != ns.key), outer)
    if wrapped is None:
        tunnel.no_route(run, ns, link, packet, remote)
    result = tunnel.outer_route(space, outer, info.fwmark)
    if not packet.smac or link.kind.endswith("tap"):
        outgoing = result.nexthops[0].oif if result.nexthops else 0
        if outgoing == link.ifindex and space.key == ns.key:
            run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Encap("drop", "through itself", remote=remote))
    _check_fits(run, ns, link, packet, outer, tunnel.route_mtu(space, result))
    tunnel.check_recursion(run, ns, link, packet)
    run.record(
        ns,
        link,
        wrapped,
        Encap(
            "encapsulate",
            "ip",
            device_kind=link.kind,
            remote=remote,
            key=outer.vni if outer.keyed else None,
        ),
    )
    return Send(space.key, wrapped, info.link)


def _check_fits(run: Run, ns: NetnsState, link: Link, packet: Packet, outer: tunnel.Outer, mtu: int) -> None:
    """Drop a packet that must not be fragmented and is too large for the way: its sender is told.

    Source: net/ipv4/ip_tunnel.c, tnl_update_pmtu; net/ipv6/sit.c, ipip6_tunnel_xmit; ip6_tunnel.c,
    ip6_tnl_xmit (Linux 6.18).
    """
    room = mtu - outer.overhead
    if link.kind in OVER_IPV6:
        room = max(room, IPV6_MIN_MTU if packet.ipv6 else IPV4_MIN_MTU)
        run.note_limit(ns, link, packet, room)
        if packet.wire_length > room:
            tunnel.too_big(run, ns, link, packet, room)
        return
    if packet.ipv6:
        if not outer.df:
            room = link.mtu
        elif link.kind == "sit":
            room = max(room, IPV6_MIN_MTU)
        if room >= IPV6_MIN_MTU:
            run.note_limit(ns, link, packet, room)
        if packet.wire_length > room >= IPV6_MIN_MTU:
            tunnel.too_big(run, ns, link, packet, room)
        return
    # a packet with DF gives it to the outer one, so it is that which counts
    inherits = isinstance(link.info, TunnelInfo) and not link.info.ignore_df and link.kind != "sit"
    run.note_limit(ns, link, packet, room if outer.df or inherits else link.mtu)
    if packet.df and packet.wire_length > (room if outer.df else link.mtu):
        tunnel.too_big(run, ns, link, packet, room)


def _matches(kind: str, info: TunnelInfo, packet: Packet) -> int:
    """Rank how well a device fits an outer packet; 0: it doesn't. A device with both addresses comes first.

    Source: net/ipv4/ip_tunnel.c, ip_tunnel_lookup, ip_tunnel_key_match; net/ipv6/sit.c,
    ipip6_tunnel_lookup; ip6_tunnel.c, ip6_tnl_lookup (Linux 6.18).
    """
    if kind in GRE_KINDS and (packet.keyed, packet.vni if packet.keyed else 0) != (
        bool(info.iflags & GRE_KEY),
        info.ikey if info.iflags & GRE_KEY else 0,
    ):
        return 0
    local, remote = any(info.local), any(info.remote)
    if (local and info.local != packet.dst) or (remote and info.remote != packet.src):
        return 0
    return 4 if local and remote else 3 if remote else 2 if local else 1


def _carries(kind: str, packet: Packet) -> bool:
    """Tell whether a kind of device takes an outer packet of this protocol and content."""
    inner = packet.payload
    assert inner is not None
    if (kind in OVER_IPV6) != packet.ipv6:
        return False
    if packet.proto == IPPROTO_GRE:
        return kind in GRE_KINDS and kind.endswith("tap") == bool(inner.smac)
    if kind == "ip6tnl":
        return True
    return kind in (("sit",) if inner.ipv6 else ("ipip", "sit"))


def take(run: Run, ns: NetnsState, dev: Link, packet: Packet, links: dict[LinkKey, Link]) -> Action:
    """Take the inner packet out at the device that it is for."""
    best, found = 0, None
    for key, link in links.items():
        info = link.info
        if not isinstance(info, TunnelInfo) or not link.up or not _carries(link.kind, packet):
            continue
        if link.kind in ("sit", "ip6tnl") and info.proto not in (0, packet.proto):
            continue
        if link.kind == "sit" and packet.proto == IPPROTO_IPIP and info.proto not in (0, IPPROTO_IPIP):
            continue
        rank = _matches(link.kind, info, packet)
        what = unmodelled(link.kind, info)
        if what and (rank or info.collect_metadata):
            run.end_unknown(ns, link, packet, Decap("unknown", "settings", device_kind=link.kind, what=what))
        if rank > best:
            best, found = rank, key
    if found is None:
        run.end_dropped(ns, dev, packet, "NOT_SPECIFIED", Decap("drop", "no ip device"))
    return out(run, ns, packet, found)


def out(run: Run, ns: NetnsState, packet: Packet, key: LinkKey) -> Action:
    """Let the inner packet come out of a device."""
    inner = packet.payload
    assert inner is not None
    own, link = run.netns(key.netns), run.netns(key.netns).links[key.ifindex]
    inner = tunnel.decap_ecn(run, own, link, packet, inner)
    inner = inner.scrubbed(True).but(mark=0 if key.netns != ns.key else packet.mark)
    run.record(
        own,
        link,
        inner,
        Decap(
            "decapsulate",
            "ip",
            device_kind=link.kind,
            outer_src=packet.src,
            key=packet.vni if packet.keyed else None,
        ),
    )
    return Rx(key, inner)
