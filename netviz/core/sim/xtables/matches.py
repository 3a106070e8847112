"""Matches of xtables, in three truth values.

Each function takes the context and the decoded payload. A match that is not here, or of another
revision, is UNKNOWN; so is one whose answer depends on what the state doesn't hold (a process, a
rate, payload bytes, an accounting object's quota). `statistic` is the kernel's own choice: the run
branches, with the odds.

Source: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, ip_tables.c (icmp_match),
net/ipv6/netfilter/ip6_tables.c (icmp6_match); each function names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.l3 import RT_TABLE_LOCAL, RTN_LOCAL, RTN_MULTICAST, RTN_UNICAST
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import NF_LOCAL_IN, NF_PRE_ROUTING
from netviz.core.sim import headers
from netviz.core.sim.conntrack import ct_state
from netviz.core.sim.fib import Lookup, lookup_table, route_index
from netviz.core.sim.nft_context import Context, Tri
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.rules import RouteFlow, lookup_route
from netviz.core.sim.saddr import is_multicast
from netviz.core.sim.xtables import decode
from netviz.core.sim.xtables.decode import decode_match
from netviz.core.sim.xtables.ipset import match_set

RTN_BROADCAST = 3
LOOPBACK_IFINDEX = 1
ANY_PORT = (0, 65535)
STATE_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 0x100}
STATE_SNAT, STATE_DNAT = 0x40, 0x80
IPS_SRC_NAT, IPS_DST_NAT, IPS_EXPECTED = 0x10, 0x20, 0x1
PORT_PROTOS = (IPPROTO_TCP, IPPROTO_UDP, 33, 132, 136)


def _tri(value: bool) -> Tri:
    return Tri.TRUE if value else Tri.FALSE


def _inverted(value: bool, invert: bool) -> Tri:
    return _tri(value != invert)


def _always(_ctx: Context, _a: Any) -> Tri:
    return Tri.TRUE


def _unknown(_ctx: Context, _a: Any) -> Tri:
    return Tri.UNKNOWN


def _under_mask(addr: bytes, pair: tuple[bytes, bytes]) -> bool:
    want, mask = pair
    return all((a ^ w) & m == 0 for a, w, m in zip(addr, want, mask, strict=False))


def _conntrack(ctx: Context, a: decode.Conntrack) -> Tri:
    """Source: net/netfilter/xt_conntrack.c, conntrack_mt."""
    packet, conn = ctx.packet, ctx.packet.ct
    state = STATE_BITS[ct_state(packet)]
    if a.flags & 1:
        if conn is not None:
            state |= STATE_SNAT if conn.status & IPS_SRC_NAT else 0
            state |= STATE_DNAT if conn.status & IPS_DST_NAT else 0
        if bool(a.state & state) == bool(a.invert & 1):
            return Tri.FALSE
    if conn is None:
        return _tri(bool(a.flags & 1))
    if a.flags & 1 << 12 and packet.ct_reply != bool(a.invert & 1 << 12):
        return Tri.FALSE
    if a.flags & 2 and (conn.orig.proto == a.proto) == bool(a.invert & 2):
        return Tri.FALSE
    orig, reply = conn.orig, conn.reply
    for number, addr in enumerate((orig.src, orig.dst, reply.src, reply.dst)):
        bit = 4 << number
        if a.flags & bit and _under_mask(addr, a.addrs[number]) == bool(a.invert & bit):
            return Tri.FALSE
    for number, port in enumerate((orig.sport, orig.dport, reply.sport, reply.dport)):
        bit = 1 << 8 + number
        low, high = a.ports[number]
        if a.flags & bit and (low <= port <= high) == bool(a.invert & bit):
            return Tri.FALSE
    if a.flags & 1 << 6:
        status = conn.status | (2 if conn.seen_reply or packet.ct_reply else 0)
        status |= 8 if conn.confirmed else 0
        if bool(status & a.status) == bool(a.invert & 1 << 6):
            return Tri.FALSE
    return Tri.UNKNOWN if a.flags & 1 << 7 else Tri.TRUE


def _multiport(ctx: Context, a: decode.Multiport) -> Tri:
    """Source: net/netfilter/xt_multiport.c, multiport_mt, ports_match_v1."""
    if ctx.packet.proto not in PORT_PROTOS:
        return Tri.FALSE
    packet = ctx.packet
    both = ((packet.sport, packet.sport_unsure), (packet.dport, packet.dport_unsure))
    looked = {0: both[:1], 1: both[1:]}.get(a.side, both)
    sure = [port for port, unsure in looked if not unsure]
    if any(low <= port <= high for low, high in a.ports for port in sure):
        return _tri(not a.invert)
    return _tri(a.invert) if len(sure) == len(looked) else Tri.UNKNOWN


def _ports_fit(ctx: Context, a: decode.Transport) -> Tri:
    packet = ctx.packet
    sides = (
        (packet.sport, packet.sport_unsure, a.sports, bool(a.invert & 1)),
        (packet.dport, packet.dport_unsure, a.dports, bool(a.invert & 2)),
    )
    result = Tri.TRUE
    for port, unsure, (low, high), invert in sides:
        if unsure and (low, high) != ANY_PORT:
            result = Tri.UNKNOWN
        elif (low <= port <= high) == invert:
            return Tri.FALSE
    return result


def _tcp(ctx: Context, a: decode.Transport) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, tcp_mt."""
    ports = _ports_fit(ctx, a)
    if ctx.packet.proto != IPPROTO_TCP or ports is Tri.FALSE:
        return Tri.FALSE
    if (ctx.packet.tcp_flags & a.flag_mask == a.flag_value) == bool(a.invert & 4):
        return Tri.FALSE
    return Tri.UNKNOWN if a.option else ports


def _udp(ctx: Context, a: decode.Transport) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, udp_mt."""
    return _ports_fit(ctx, a) if ctx.packet.proto == IPPROTO_UDP else Tri.FALSE


def _icmp(ctx: Context, a: decode.Icmp) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, icmp_match, type_code_in_range."""
    packet = ctx.packet
    if packet.proto != IPPROTO_ICMP:
        return Tri.FALSE
    fits = packet.icmp_type == a.type and a.code_min <= packet.icmp_code <= a.code_max
    return _inverted(a.type == 0xFF or fits, a.invert)


def _icmp6(ctx: Context, a: decode.Icmp) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, icmp6_match."""
    packet = ctx.packet
    if packet.proto != IPPROTO_ICMPV6:
        return Tri.FALSE
    fits = packet.icmp_type == a.type and a.code_min <= packet.icmp_code <= a.code_max
    return _inverted(fits, a.invert)


def address_type(ctx: Context, addr: bytes, dev: Link | None) -> int:
    """Tell an IPv4 address's RTN_*. Source: net/ipv4/fib_frontend.c, __inet_dev_addr_type."""
    if addr[0] == 0 or addr == b"\xff" * 4:
        return RTN_BROADCAST
    if is_multicast(addr):
        return RTN_MULTICAST
    found = lookup_table(route_index(ctx.ns.routes), RT_TABLE_LOCAL, Lookup(addr), ctx.ns.nexthops)
    if found is None:
        return RTN_UNICAST
    if dev is not None and all(nexthop.oif != dev.ifindex for nexthop in found.nexthops):
        return RTN_UNICAST
    return found.route.type


def _address_in(ctx: Context, addr: bytes, mask: int, dev: Link | None) -> Tri:
    """Source: net/netfilter/xt_addrtype.c, match_type, match_type6."""
    if len(addr) == 4:
        return _tri(bool(mask & 1 << address_type(ctx, addr, dev)))
    multicast, unspecified = addr[0] == 0xFF, not any(addr)
    if mask & 1 << 5 and not multicast:
        return Tri.FALSE
    if mask & 2 and (multicast or unspecified):
        return Tri.FALSE
    if mask & 1 and not unspecified:
        return Tri.FALSE
    if not mask & (1 << 2 | 1 << 4 | 1 << 7):
        return Tri.TRUE
    if mask & (1 << 4 | 1 << 7):
        return Tri.UNKNOWN
    found = lookup_table(route_index(ctx.ns.routes), RT_TABLE_LOCAL, Lookup(addr), ctx.ns.nexthops)
    local = found is not None and found.route.type == RTN_LOCAL
    if local and dev is not None and found is not None:
        local = any(nexthop.oif == dev.ifindex for nexthop in found.nexthops)
    return _tri(local)


def _addrtype(ctx: Context, a: decode.Addrtype) -> Tri:
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


def _mark(ctx: Context, a: decode.Mark) -> Tri:
    """Source: net/netfilter/xt_mark.c, mark_mt."""
    return _inverted(ctx.packet.mark & a.mask == a.value, a.invert)


def _connmark(ctx: Context, a: decode.Mark) -> Tri:
    """Source: net/netfilter/xt_connmark.c, connmark_mt."""
    conn = ctx.packet.ct
    return Tri.FALSE if conn is None else _inverted(conn.mark & a.mask == a.value, a.invert)


def _statistic(ctx: Context, a: decode.Statistic) -> Tri:
    """Branch over both answers. Source: net/netfilter/xt_statistic.c, statistic_mt."""
    chance = 1 / a.every if a.nth else a.probability
    if a.invert:
        chance = 1 - chance
    if chance <= 0 or chance >= 1:
        return _tri(chance >= 1)
    key = ("statistic", ctx.ns.key, ctx.rule_id, ctx.packet.tuple())
    return _tri(ctx.run.choose(key, 2, (chance, 1 - chance)) == 0)


def _named(link: Link | None, wanted: tuple[bytes, int]) -> bool:
    name, length = wanted
    have = link.ifname.encode().ljust(16, b"\0") if link is not None else b""
    return have[:length] == name.ljust(16, b"\0")[:length]


def _physdev(ctx: Context, a: decode.Physdev) -> Tri:
    """Source: net/netfilter/xt_physdev.c, physdev_mt."""
    physin = ctx.ns.links.get(ctx.packet.physin)
    physout = ctx.ns.links.get(ctx.packet.physout)
    if not ctx.packet.physin:
        return _tri(not a.flags & ~a.invert & 0x1F)
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
    return Tri.FALSE if physout is None else _inverted(_named(physout, a.outdev), bool(a.invert & 2))


def _iprange(ctx: Context, a: decode.Iprange) -> Tri:
    """Source: net/netfilter/xt_iprange.c, iprange_mt4, iprange_mt6."""
    width = len(ctx.packet.src)
    for addr, (low, high), bit in ((ctx.packet.src, a.src, 1), (ctx.packet.dst, a.dst, 2)):
        if a.flags & bit and (low[:width] <= addr <= high[:width]) == bool(a.flags & bit << 4):
            return Tri.FALSE
    return Tri.TRUE


def _mac(ctx: Context, a: decode.Mac) -> Tri:
    """Source: net/netfilter/xt_mac.c, mac_mt."""
    if ctx.iif is None or ctx.iif.flags & IFF_LOOPBACK:
        return Tri.FALSE if ctx.iif is None else Tri.UNKNOWN
    if not ctx.packet.smac:
        return Tri.UNKNOWN
    return _inverted(ctx.packet.smac == a.mac, a.invert)


def _length(ctx: Context, a: decode.Between) -> Tri:
    """Source: net/netfilter/xt_length.c, length_mt, length_mt6."""
    return _inverted(a.low <= ctx.packet.length <= a.high, a.invert)


def _ttl(ctx: Context, a: decode.Compare) -> Tri:
    """Source: net/netfilter/xt_hl.c, ttl_mt, hl_mt."""
    ttl = ctx.packet.ttl
    answers = (ttl == a.value, ttl != a.value, ttl < a.value, ttl > a.value)
    return _tri(answers[a.mode]) if a.mode < len(answers) else Tri.UNKNOWN


def _tos(ctx: Context, a: decode.Mark) -> Tri:
    """Source: net/netfilter/xt_dscp.c, dscp_mt, tos_mt."""
    return _inverted(ctx.packet.tos & a.mask == a.value, a.invert)


def _pkttype(ctx: Context, a: decode.Named) -> Tri:
    """Broadcast and multicast are not followed, so what is traced is for this host.

    Source: net/netfilter/xt_pkttype.c, pkttype_mt.
    """
    return _inverted(a.number == 0, a.invert)


def _owner(ctx: Context, a: decode.Owner) -> Tri:
    """Packets from elsewhere have no socket; whose a local one is, is not known.

    Source: net/netfilter/xt_owner.c, owner_mt.
    """
    if ctx.iif is not None:
        return _tri(a.match ^ a.invert == 0)
    return Tri.UNKNOWN


def _recent(ctx: Context, a: decode.Recent) -> Tri:
    """`--set` always matches. Source: net/netfilter/xt_recent.c, recent_mt."""
    return _tri(not a.invert) if a.check == 2 else Tri.UNKNOWN


def _helper(ctx: Context, a: decode.Named) -> Tri:
    """Source: net/netfilter/xt_helper.c, helper_mt."""
    conn = ctx.packet.ct
    if conn is None or not conn.status & IPS_EXPECTED:
        return _tri(a.invert)
    return Tri.UNKNOWN


def _rpfilter(ctx: Context, a: decode.Number) -> Tri:
    """Source: net/ipv4/netfilter/ipt_rpfilter.c, rpfilter_mt, rpfilter_lookup_reverse."""
    loose, valid_mark, accept_local, invert = (bool(a.value & 1 << bit) for bit in range(4))
    if ctx.iif is None or ctx.packet.ipv6:
        return Tri.UNKNOWN
    if ctx.iif.flags & IFF_LOOPBACK:
        return _tri(not invert)
    packet = ctx.packet
    mark = packet.mark if valid_mark else 0
    back = lookup_route(
        ctx.ns, RouteFlow(packet.src, packet.dst, LOOPBACK_IFINDEX, mark=mark, tos=packet.tos & 0xFC)
    )
    if back.unknown:
        return Tri.UNKNOWN
    if back.error or back.route is None:
        return _tri(invert)
    if back.route.type != RTN_UNICAST and not (back.route.type == RTN_LOCAL and accept_local):
        return _tri(invert)
    uses = any(nexthop.oif == ctx.iif.ifindex for nexthop in back.nexthops)
    return _inverted(uses or loose, invert)


def _u32(ctx: Context, a: decode.U32) -> Tri:
    """Source: net/netfilter/xt_u32.c, u32_match_it."""
    packet = ctx.packet
    known = headers.network_header(packet) + headers.transport_header(packet)
    for test in a.tests:
        result = _u32_test(known, packet.length, test)
        if result is Tri.FALSE:
            return _tri(a.invert)
        if result is Tri.UNKNOWN:
            return Tri.UNKNOWN
    return _tri(not a.invert)


def _u32_test(known: headers.Bytes, length: int, test: decode.U32Test) -> Tri:
    at, position = 0, test.first
    value = _word(known, length, position)
    for op, number in test.steps:
        if not isinstance(value, int):
            return value
        if op == 0:
            value &= number
        elif op == 1:
            value = value << number & 0xFFFFFFFF
        elif op == 2:
            value >>= number
        else:
            at += value
            value = _word(known, length, at + number)
    if not isinstance(value, int):
        return value
    return _tri(any(low <= value <= high for low, high in test.values))


def _word(known: headers.Bytes, length: int, position: int) -> int | Tri:
    if position + 4 > length:
        return Tri.FALSE
    found = [byte for byte in known[position : position + 4] if byte is not None]
    return int.from_bytes(bytes(found), "big") if len(found) == 4 else Tri.UNKNOWN


def _socket(ctx: Context, _a: Any) -> Tri:
    """Whether a socket takes the packet is asked too early to tell here; elsewhere the match is refused.

    Source: net/netfilter/xt_socket.c, socket_match.
    """
    return Tri.UNKNOWN if ctx.hook in (NF_PRE_ROUTING, NF_LOCAL_IN) else Tri.FALSE


MATCHES: dict[str, Callable[[Context, Any], Tri]] = {
    "comment": _always,
    "conntrack": _conntrack,
    "state": _conntrack,
    "multiport": _multiport,
    "tcp": _tcp,
    "udp": _udp,
    "icmp": _icmp,
    "icmp6": _icmp6,
    "addrtype": _addrtype,
    "set": match_set,
    "mark": _mark,
    "connmark": _connmark,
    "statistic": _statistic,
    "physdev": _physdev,
    "iprange": _iprange,
    "mac": _mac,
    "length": _length,
    "ttl": _ttl,
    "hl": _ttl,
    "tos": _tos,
    "dscp": _tos,
    "pkttype": _pkttype,
    "owner": _owner,
    "recent": _recent,
    "helper": _helper,
    "rpfilter": _rpfilter,
    "u32": _u32,
    "socket": _socket,
    "nfacct": _unknown,  # true unless its object has a quota that isn't used up; objects aren't collected
    "cpu": _unknown,
}


def evaluate_match(ctx: Context, attrs: dict[str, Any]) -> Tri:
    """Evaluate a match expression (name, rev, info)."""
    name = attrs.get("name", "")
    handler = MATCHES.get(name)
    if handler is None:
        return Tri.UNKNOWN
    if handler is _always:
        return Tri.TRUE
    decoded = decode_match(name, attrs.get("rev", 0), attrs.get("info", b""))
    return Tri.UNKNOWN if decoded is None else handler(ctx, decoded)
