"""What all tunnels share: the outer packet, where it travels, and how it is told that it is too large.

The outer packet is the inner one's skb: its mark stays with it (unless the tunnel crosses into another
namespace), its connection doesn't.

Source: net/ipv4/ip_tunnel_core.c, iptunnel_xmit, skb_tunnel_check_pmtu; udp_tunnel_core.c,
udp_tunnel_dst_lookup; include/net/inet_ecn.h, INET_ECN_encapsulate; net/core/skbuff.c, skb_scrub_packet
(Linux 6.18).
"""

from __future__ import annotations

import zlib
from typing import NoReturn

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Ended, Rx
from netviz.core.sim.nft.meta import PACKET_HOST
from netviz.core.sim.node_index import outer_netns
from netviz.core.sim.packet import IPV6_MIN_MTU, Packet, icmp_error
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.route.icmp import drop_with_error
from netviz.core.sim.route.rules import RouteResult, lookup_route, ordered_rules
from netviz.core.sim.route.saddr import select_source
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Decap, DropReason, Encap
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState

ECN_MASK, ECN_CE, ECN_ECT0 = 3, 3, 2
DF_SET, DF_INHERIT = 1, 2
IPV4_MIN_PMTU = 576
RECURSION_LIMIT = 5
FLOW_PORTS = range(49152, 65536)


class Outer(msgspec.Struct, frozen=True):
    """How a tunnel wraps a packet. `overhead` is all that it adds below the outer IP header's start, in bytes."""

    tunnel: str
    dst: bytes
    proto: int
    overhead: int
    src: bytes = b""
    link: int = 0
    ttl: int = 0
    tos: int = 0
    df: bool = False
    sport: int = 0
    dport: int = 0
    vni: int = 0
    keyed: bool = False
    sport_unsure: bool = False
    mark: int | None = None


def wrap(ns: NetnsState, packet: Packet, outer: Outer) -> Packet | None:
    """Make the outer packet in its namespace; None when there is no way to its destination.

    `outer.mark` is what the packet is marked with; None: what the inner one is.
    """
    mark = packet.mark if outer.mark is None else outer.mark
    src = outer.src if len(outer.src) == len(outer.dst) and any(outer.src) else b""
    result = outer_route(ns, outer, mark)
    if result.error or (not result.nexthops and not result.local):
        return None
    if not src:
        nexthop = result.nexthops[0] if result.nexthops else None
        oif, gateway = (nexthop.oif, nexthop.gateway) if nexthop is not None else (0, b"")
        src = select_source(ns, result, oif, gateway, outer.dst)
    if not src:
        return None
    return Packet(
        src,
        outer.dst,
        outer.proto,
        sport=outer.sport,
        dport=outer.dport,
        ttl=outer.ttl or default_ttl(ns, result, len(outer.dst) == 16),
        tos=ecn(outer.tos, packet.tos),
        mark=mark,
        df=outer.df,
        length=packet.wire_length + outer.overhead,
        payload=packet,
        tunnel=outer.tunnel,
        vni=outer.vni,
        keyed=outer.keyed,
        sport_unsure=outer.sport_unsure,
    )


def flow_port(inner: Packet) -> int:
    """Return what stands for the source port that is a hash of the inner flow: alike for a flow, unlike for others.

    Source: include/net/udp.h, udp_flow_src_port (Linux 6.18).
    """
    ports = inner.sport.to_bytes(2, "big") + inner.dport.to_bytes(2, "big")
    flow = b"".join((inner.smac, inner.dmac, inner.src, inner.dst, bytes([inner.proto]), ports))
    return FLOW_PORTS[zlib.crc32(flow) % len(FLOW_PORTS)]


def outer_route(ns: NetnsState, outer: Outer, mark: int) -> RouteResult:
    """Look up the route of an outer packet."""
    return lookup_route(
        ns, RouteFlow(outer.dst, outer.src, oif=outer.link, mark=mark, proto=outer.proto, dport=outer.dport)
    )


def route_mtu(ns: NetnsState, result: RouteResult) -> int:
    """Return the MTU of a route."""
    if result.route is not None and result.route.mtu:
        return result.route.mtu
    link = ns.links.get(result.nexthops[0].oif) if result.nexthops else None
    return link.mtu if link is not None else 65535


def default_ttl(ns: NetnsState, result: RouteResult, ipv6: bool) -> int:
    """Return the TTL that the host gives its own packets on a route.

    Source: net/ipv4/route.c, ip4_dst_hoplimit; net/ipv6/output_core.c, ip6_dst_hoplimit (Linux 6.18).
    """
    if not ipv6:
        return value(ns, "net.ipv4.ip_default_ttl", 64)
    link = ns.links.get(result.nexthops[0].oif) if result.nexthops else None
    return link.ipv6.hop_limit if link is not None and link.ipv6 is not None else 64


def ecn(tos: int, inner: int) -> int:
    """Copy the inner packet's congestion marks into the outer's TOS."""
    marks = inner & ECN_MASK
    return (tos & ~ECN_MASK) | (ECN_ECT0 if marks == ECN_CE else marks)


def decap_ecn(
    run: Run, ns: NetnsState, link: Link, outer: Packet, inner: Packet, reason: DropReason = "NOT_SPECIFIED"
) -> Packet:
    """Give the inner packet the outer one's congestion mark; one that can't carry it is dropped.

    Source: include/net/inet_ecn.h, __INET_ECN_decapsulate; drivers/net/vxlan/vxlan_core.c, vxlan_rcv;
    drivers/net/geneve.c, geneve_rx; net/ipv4/ip_tunnel.c, ip_tunnel_rcv (Linux 6.18).
    """
    if outer.tos & ECN_MASK != ECN_CE or inner.arp:
        return inner
    if not inner.tos & ECN_MASK:
        run.end_dropped(ns, link, outer, reason, Decap("drop", "congestion"))
    return inner.but(tos=inner.tos | ECN_CE)


def bridged_too_big(run: Run, ns: NetnsState, link: Link, packet: Packet, mtu: int) -> None:
    """Send a frame that the underlay is too small for back as an ICMP error, where a bridge's port can tell its sender so.

    The error comes in by the device, from who was asked. A device that is no bridge port sends the frame nevertheless,
    for the underlay to fragment, and so does one with an MTU that nobody may ask for.

    Source: net/ipv4/ip_tunnel_core.c, skb_tunnel_check_pmtu, iptunnel_pmtud_check_icmp, iptunnel_pmtud_build_icmp,
    iptunnel_pmtud_build_icmpv6; drivers/net/vxlan/vxlan_core.c, vxlan_encap_bypass (Linux 6.18).
    """
    least = IPV6_MIN_MTU if packet.ipv6 else IPV4_MIN_PMTU
    if not link.master or link.slave_kind != "bridge" or mtu < least:
        return
    run.note_limit(ns, link, packet, mtu)
    if packet.wire_length <= mtu:
        return
    error = icmp_error(packet.but(pkttype=None), "too-big", packet.dst)
    if error is None or not (packet.df or packet.ipv6):
        return
    run.record(
        ns,
        link,
        packet,
        Encap("drop", "too big for the bridge", mtu=mtu, length=packet.wire_length),
        reason="PKT_TOO_BIG",
    )
    error = error.but(smac=packet.dmac, dmac=packet.smac, ttl=packet.ttl, tos=0, df=not packet.ipv6, ct=None)
    error = error.but(ct_reply=False, ct_related=False, pkttype=PACKET_HOST)
    keep_route(run, ns, link, packet, LinkKey(ns.key, link.ifindex))
    back = Rx(LinkKey(ns.key, link.ifindex), error, host=True)
    raise Ended(Disposition.DROPPED, "PKT_TOO_BIG", error, ns.key, back=back)


def keep_route(run: Run, ns: NetnsState, link: Link, packet: Packet, into: LinkKey) -> None:
    """Note that what comes in by `into` has the route still by which the host sent the frame, if it did."""
    sender = ns.links.get(link.master) or link
    taker = run.link(into)
    if taker is not None and packet.smac == sender.mac:
        key = LinkKey(into.netns, taker.master or into.ifindex)
        flow = route_flow(packet, iif=run.journey.in_ifindex)
        run.journey = run.journey.but(routed={**run.journey.routed, key: flow})


def too_big(run: Run, ns: NetnsState, link: Link, packet: Packet, mtu: int) -> NoReturn:
    """Drop a packet that doesn't fit into the tunnel and must not be fragmented; its sender is told by ICMP."""
    what = Encap("drop", "too big", mtu=mtu, length=packet.wire_length)
    drop_with_error(run, ns, link, packet, "PKT_TOO_BIG", what, error="too-big", iif=None)


def check_recursion(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """Drop a packet that tunnels wrap again and again on its way out. Each counts twice: as a device, and as a tunnel.

    Source: net/ipv4/ip_tunnel_core.c, iptunnel_xmit; include/net/ip_tunnels.h, IP_TUNNEL_RECURSION_LIMIT (Linux 6.18).
    """
    if run.journey.xmit_depth > RECURSION_LIMIT:
        run.end_dropped(ns, link, packet, "RECURSION_LIMIT", Encap("drop", "recursion"))
    run.journey = run.journey.but(xmit_depth=run.journey.xmit_depth + 1)


def no_route(run: Run, ns: NetnsState, link: Link, packet: Packet, remote: bytes) -> NoReturn:
    """Drop a packet whose tunnel's other end has no route."""
    run.end_dropped(ns, link, packet, "IP_OUTNOROUTES", Encap("drop", "no route", remote=remote))


def outer_space(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NetnsState:
    """Find the namespace in which a tunnel device's outer packets travel: where the device was made."""
    key = outer_netns(ns, link)
    if key is None or key not in run.node(ns.key).netns:
        run.end_unknown(ns, link, packet, Encap("unknown", "namespace"))
    return run.netns(key)


def check_marked_routing(run: Run, ns: NetnsState, link: Link, packet: Packet, mark: int) -> None:
    """End the walk where a tunnel that isn't routed by its packet's mark meets rules that look at marks.

    The first lookup is made with the device's fwmark; a hook may make the kernel look again, with the packet's.
    """
    family = 10 if packet.ipv6 else 2
    if packet.mark != mark and any(rule.fwmask for rule in ordered_rules(ns.rules)[family]):
        run.end_unknown(ns, link, packet, Encap("unknown", "marked routing", mark=mark))
