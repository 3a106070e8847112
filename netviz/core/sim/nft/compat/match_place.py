"""Matches that look at where the packet is: devices, routes, sockets.

Source: net/netfilter/xt_addrtype.c, xt_physdev.c, xt_mac.c, xt_pkttype.c, xt_owner.c, xt_socket.c,
xt_devgroup.c, xt_policy.c, xt_cgroup.c; net/ipv4/netfilter/ipt_rpfilter.c; net/ipv6/netfilter/ip6t_rpfilter.c;
each function names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.conntrack import CtTuple
from netviz.core.model.l3 import (
    RTN_ANYCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
)
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import NF_LOCAL_IN, NF_PRE_ROUTING
from netviz.core.model.socket import Socket
from netviz.core.sim.listeners import lookup_socket
from netviz.core.sim.nft.compat.answers import inverted, tri
from netviz.core.sim.nft.context import Context, Tri
from netviz.core.sim.nft.meta import by_kernel, packet_type
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, TH_ACK, TH_SYN, Packet, invert
from netviz.core.sim.route.rules import RouteResult, lookup_local, lookup_route, ordered_rules
from netviz.core.sim.route.saddr import IFA_F_TENTATIVE, is_link_local6, is_multicast, owned_addrs
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.xtables import payloads

RTN_BROADCAST = 3
LOOPBACK_IFINDEX = 1
AF_INET6 = 10
UNSPEC, UNICAST, LOCAL, ANYCAST, MULTICAST, UNREACHABLE = 1, 1 << 1, 1 << 2, 1 << 4, 1 << 5, 1 << 7
TRANSPARENT, NO_WILDCARD, RESTORE_MARK = 1, 2, 4
OWNER_SOCKET, OWNER_IDS = 4, 3


def address_type(ctx: Context, addr: bytes, dev: Link | None) -> int:
    """Tell an IPv4 address's RTN_*. Source: net/ipv4/fib_frontend.c, __inet_dev_addr_type."""
    if addr[0] == 0 or addr == b"\xff" * 4:
        return RTN_BROADCAST
    if is_multicast(addr):
        return RTN_MULTICAST
    found = lookup_local(ctx.ns, addr)
    if found is None:
        return RTN_UNICAST
    if dev is not None and all(nexthop.oif != dev.ifindex for nexthop in found.nexthops):
        return RTN_UNICAST
    return found.route.type


def _address_in(ctx: Context, addr: bytes, mask: int, dev: Link | None) -> Tri:
    """Source: net/netfilter/xt_addrtype.c, match_type, match_type6."""
    if len(addr) == 4:
        return tri(bool(mask & 1 << address_type(ctx, addr, dev)))
    unspecified = not any(addr)
    if mask & MULTICAST and not is_multicast(addr):
        return Tri.FALSE
    if mask & UNICAST and (is_multicast(addr) or unspecified):
        return Tri.FALSE
    if mask & UNSPEC and not unspecified:
        return Tri.FALSE
    if not mask & (LOCAL | ANYCAST | UNREACHABLE):
        return Tri.TRUE
    types = _route_types6(ctx, addr, dev, mask)
    return Tri.UNKNOWN if types is None else tri(bool(mask & types))


def _route_types6(ctx: Context, addr: bytes, dev: Link | None, mask: int) -> int | None:
    """Ask the routes for an IPv6 address's types. None: not known.

    Source: net/netfilter/xt_addrtype.c, match_lookup_rt6; include/net/ip6_route.h, ipv6_anycast_destination.
    """
    found = lookup_route(ctx.ns, RouteFlow(addr, oif=dev.ifindex if dev is not None else 0))
    types = 0
    if dev is not None and mask & LOCAL:
        own = owned_addrs(ctx.ns, addr)
        here = any(one.ifindex == dev.ifindex and not one.flags & IFA_F_TENTATIVE for one in own)
        types = LOCAL if here else 0
    if found.unknown:
        return None
    if found.error or found.route is None:
        return UNREACHABLE
    route = found.route
    if dev is None and route.type == RTN_LOCAL:
        types |= LOCAL
    gateway = any(nexthop.gateway for nexthop in found.nexthops)
    if route.type == RTN_ANYCAST or (route.dst_len < 127 and not gateway and route.dst == addr):
        types |= ANYCAST
    return types


def addrtype(ctx: Context, a: payloads.Addrtype) -> Tri:
    """Source: net/netfilter/xt_addrtype.c, addrtype_mt_v1."""
    dev = ctx.iif if a.flags & 4 else ctx.oif if a.flags & 8 else None
    result = Tri.TRUE
    for mask, addr, bit in ((a.source, ctx.packet.src, 1), (a.dest, ctx.packet.dst, 2)):
        if not mask:
            continue
        one = _address_in(ctx, addr, mask, dev)
        if one is Tri.UNKNOWN:
            result = Tri.UNKNOWN
        elif (one is Tri.TRUE) == bool(a.flags & bit):
            return Tri.FALSE
    return result


def mark(ctx: Context, a: payloads.Mark) -> Tri:
    """Source: net/netfilter/xt_mark.c, mark_mt."""
    return inverted(ctx.packet.mark & a.mask == a.value, a.invert)


def _named(link: Link | None, wanted: tuple[bytes, int]) -> bool:
    name, length = wanted
    have = link.ifname.encode().ljust(16, b"\0") if link is not None else b""
    return have[:length] == name.ljust(16, b"\0")[:length]


def physdev(ctx: Context, a: payloads.Physdev) -> Tri:
    """Source: net/netfilter/xt_physdev.c, physdev_mt."""
    physin = ctx.ns.links.get(ctx.packet.physin)
    physout = ctx.ns.links.get(ctx.packet.physout)
    if not ctx.packet.physin:
        return tri(not a.flags & ~a.invert & 0x1F)
    if a.flags & 4 and (physout is not None) == bool(a.invert & 4):
        return Tri.FALSE
    if a.flags & 8 and (physin is not None) == bool(a.invert & 8):
        return Tri.FALSE
    if a.flags & 16 and (physout is not None) == bool(a.invert & 16):
        return Tri.FALSE
    if a.flags & 1 and physin is not None and _named(physin, a.indev) == bool(a.invert & 1):
        return Tri.FALSE
    if not a.flags & 2:
        return Tri.TRUE
    return Tri.FALSE if physout is None else inverted(_named(physout, a.outdev), bool(a.invert & 2))


def mac(ctx: Context, a: payloads.Mac) -> Tri:
    """Source: net/netfilter/xt_mac.c, mac_mt."""
    if ctx.iif is None or ctx.iif.flags & IFF_LOOPBACK:
        return Tri.FALSE if ctx.iif is None else Tri.UNKNOWN
    if not ctx.packet.smac:
        return Tri.UNKNOWN
    return inverted(ctx.packet.smac == a.mac, a.invert)


def pkttype(ctx: Context, a: payloads.Named) -> Tri:
    """Ask whom a packet is for. Source: net/netfilter/xt_pkttype.c, pkttype_mt."""
    return inverted(a.number == packet_type(ctx)[0], a.invert)


def devgroup(ctx: Context, a: payloads.DevGroup) -> Tri:
    """Source: net/netfilter/xt_devgroup.c, devgroup_mt."""
    for link, (group, mask), bit in ((ctx.iif, a.src, 1), (ctx.oif, a.dst, 4)):
        if not a.flags & bit:
            continue
        if link is None:
            return Tri.UNKNOWN
        if ((group ^ link.group) & mask == 0) == bool(a.flags & bit << 1):
            return Tri.FALSE
    return Tri.TRUE


def policy(ctx: Context, a: payloads.Policy) -> Tri:
    """Ask whether IPsec handled the packet or will: nothing that is traced is, policies are nowhere modelled.

    Source: net/netfilter/xt_policy.c, policy_mt.
    """
    return tri(bool(a.flags & 4))


def owner(ctx: Context, a: payloads.Owner) -> Tri:
    """Packets from elsewhere have no socket, the kernel's own one of no program; whose a local one is, isn't known.

    Source: net/netfilter/xt_owner.c, owner_mt.
    """
    packet = ctx.packet.innermost
    if not packet.own:
        return tri(a.match ^ a.invert == 0)
    if a.match & a.invert & OWNER_SOCKET:
        return Tri.FALSE
    if by_kernel(packet):
        return tri((a.match ^ a.invert) & OWNER_IDS == 0)
    return Tri.UNKNOWN if a.match & OWNER_IDS else Tri.TRUE


def cgroup(ctx: Context, a: payloads.Cgroup) -> Tri:
    """Packets from elsewhere have no socket, a new one has none yet; whose a local one is, is not known.

    One that TPROXY has given to a socket has that one.

    Source: net/netfilter/xt_cgroup.c, cgroup_mt_v1, cgroup_mt_v2.
    """
    packet = ctx.packet
    if packet.sk:
        return Tri.UNKNOWN
    new = packet.is_icmp or packet.tcp_flags & (TH_SYN | TH_ACK) == TH_SYN
    if ctx.iif is not None:
        return Tri.FALSE if new else Tri.UNKNOWN
    return Tri.UNKNOWN if packet.innermost.own else Tri.FALSE


def rpfilter(ctx: Context, a: payloads.Number) -> Tri:
    """Source: net/ipv4/netfilter/ipt_rpfilter.c, rpfilter_mt; net/ipv6/netfilter/ip6t_rpfilter.c, rpfilter_mt."""
    invert = bool(a.value & 8)
    if ctx.iif is None:
        return Tri.UNKNOWN
    if ctx.iif.flags & IFF_LOOPBACK:
        return tri(not invert)
    if ctx.packet.ipv6:
        return _reverse6(ctx, ctx.iif, a)
    loose, valid_mark, accept_local = (bool(a.value & 1 << bit) for bit in range(3))
    packet = ctx.packet
    flow = RouteFlow(
        packet.src,
        packet.dst,
        LOOPBACK_IFINDEX,
        mark=packet.mark if valid_mark else 0,
        tos=packet.tos & 0xFC,
    )
    back = lookup_route(ctx.ns, flow)
    if back.unknown:
        return Tri.UNKNOWN
    if back.error or back.route is None:
        return tri(invert)
    if back.route.type != RTN_UNICAST and not (back.route.type == RTN_LOCAL and accept_local):
        return tri(invert)
    uses = any(nexthop.oif == ctx.iif.ifindex for nexthop in back.nexthops)
    return inverted(uses or loose, invert)


def _reverse6(ctx: Context, link: Link, a: payloads.Number) -> Tri:
    """Look the return path up: a route of the longest prefix by the device where there is one, else the first.

    Source: net/ipv6/netfilter/ip6t_rpfilter.c, rpfilter_lookup_reverse6; net/ipv6/route.c, rt6_device_match.
    """
    loose, valid_mark, accept_local, invert = (bool(a.value & 1 << bit) for bit in range(4))
    packet = ctx.packet
    if not any(packet.src):
        return tri(not invert)
    flow = RouteFlow(
        packet.src,
        b"" if is_multicast(packet.dst) else packet.dst,
        LOOPBACK_IFINDEX,
        mark=packet.mark if valid_mark else 0,
        proto=packet.proto,
    )
    strict = is_link_local6(packet.src) or not loose
    if any(rule.oifname for rule in ordered_rules(ctx.ns.rules)[AF_INET6]):
        return Tri.UNKNOWN
    back = lookup_route(ctx.ns, flow)
    if back.unknown:
        return Tri.UNKNOWN
    if back.error or back.route is None or back.route.type == RTN_ANYCAST:
        return tri(invert)
    if back.route.type == RTN_LOCAL:
        return inverted(accept_local, invert)
    return inverted(not strict or _has_sibling(ctx, back, link), invert)


def _has_sibling(ctx: Context, back: RouteResult, link: Link) -> bool:
    """Tell whether a route of the same table and prefix leads out of a link."""
    assert back.route is not None
    return any(
        nexthop.oif == link.ifindex
        for route in ctx.ns.routes.values()
        if (route.table_id, route.dst, route.dst_len)
        == (back.route.table_id, back.route.dst, back.route.dst_len)
        for nexthop in route.nexthops or back.nexthops
    )


def socket(ctx: Context, a: payloads.Number) -> Tri:
    """Ask for the socket that the packet, or the packet that an error quotes, belongs to.

    One bound to every address doesn't count, unless the rule says so.

    Source: net/netfilter/xt_socket.c, socket_match; net/ipv4/netfilter/nf_socket_ipv4.c, nf_sk_lookup_slow_v4.
    """
    if ctx.hook not in (NF_PRE_ROUTING, NF_LOCAL_IN) or ctx.iif is None:
        return Tri.FALSE
    if ctx.packet.sk:  # which a rule has given it
        given = ctx.ns.sockets.get(ctx.packet.sk)
        return Tri.UNKNOWN if given is None else _matches(given, a.value)
    wanted = _socket_tuple(ctx)
    if wanted is None or wanted.proto not in (IPPROTO_TCP, IPPROTO_UDP):
        return Tri.FALSE
    if ctx.packet.sport_unsure or ctx.packet.dport_unsure or ctx.run.missing(ctx.ns, "sockets"):
        return Tri.UNKNOWN
    client = ctx.run.client
    if client is not None and client[0] == ctx.ns.key and wanted == invert(client[1]):
        return _client_socket(a, wanted.proto)
    asked = Packet(wanted.src, wanted.dst, wanted.proto, wanted.sport, wanted.dport)
    found = lookup_socket(ctx.ns, asked, ctx.iif.ifindex)
    return Tri.FALSE if found is None else _matches(found, a.value)


def _matches(found: Socket, flags: int) -> Tri:
    wildcard = not any(found.src) and not flags & NO_WILDCARD
    if wildcard or (flags & TRANSPARENT and not found.transparent):
        return Tri.FALSE
    return Tri.UNKNOWN if flags & RESTORE_MARK else Tri.TRUE


def _client_socket(a: payloads.Number, proto: int) -> Tri:
    """Answer for the socket that sent the flow: it isn't in the state. TCP's is bound to an address."""
    if a.value & (TRANSPARENT | RESTORE_MARK):
        return Tri.UNKNOWN
    return Tri.TRUE if proto == IPPROTO_TCP or a.value & NO_WILDCARD else Tri.UNKNOWN


def _socket_tuple(ctx: Context) -> CtTuple | None:
    """Return (remote, local) of the socket that a packet is for, before source translation."""
    packet = ctx.packet
    if packet.is_icmp:
        if packet.inner is None:
            return None
        wanted = invert(packet.inner)
    else:
        wanted = packet.tuple()
    conn = ctx.conn
    if conn is not None and packet.ct_reply and conn.src_done and not packet.ipv6:
        return CtTuple(wanted.src, conn.orig.src, wanted.proto, wanted.sport, conn.orig.sport)
    return wanted


MATCHES: dict[str, Callable[[Context, Any], Tri]] = {
    "addrtype": addrtype,
    "mark": mark,
    "physdev": physdev,
    "mac": mac,
    "pkttype": pkttype,
    "devgroup": devgroup,
    "policy": policy,
    "owner": owner,
    "cgroup": cgroup,
    "rpfilter": rpfilter,
    "socket": socket,
}
