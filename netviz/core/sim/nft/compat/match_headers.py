"""Matches that look at the packet's headers alone.

Source: net/netfilter/xt_tcpudp.c, xt_multiport.c, xt_iprange.c, xt_length.c, xt_hl.c, xt_dscp.c, xt_ecn.c,
xt_u32.c, xt_string.c, xt_tcpmss.c; net/ipv6/netfilter/ip6t_*.c; each function names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.sim.nft import headers
from netviz.core.sim.nft.compat.answers import invert_known, inverted, tri
from netviz.core.sim.nft.context import Context, Tri
from netviz.core.sim.nft.payload import as_seen, is_piece
from netviz.core.sim.packet import (
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    TH_SYN,
    Packet,
)
from netviz.core.sim.xtables import payloads

ANY_PORT = (0, 65535)
IPPROTO_DCCP, IPPROTO_AH, IPPROTO_ESP, IPPROTO_IPCOMP, IPPROTO_L2TP = 33, 51, 50, 108, 115
IPPROTO_SCTP, IPPROTO_MH, IPPROTO_UDPLITE = 132, 135, 136
PORT_PROTOS = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_UDPLITE)
# What Linux puts into a SYN and its answer by default: no-op, MSS, window scale, SACK permitted, time stamps.
SYN_OPTIONS, SYN_OPTIONS_BYTES = frozenset((1, 2, 3, 4, 8)), 20
IPV6_PROTO = 1  # the payload's protocol, in masks of IPv6 headers


def multiport(ctx: Context, a: payloads.Multiport) -> Tri:
    """Source: net/netfilter/xt_multiport.c, multiport_mt, ports_match_v1."""
    if ctx.packet.proto not in PORT_PROTOS:
        return Tri.FALSE
    packet = ctx.packet
    both = ((packet.sport, packet.sport_unsure), (packet.dport, packet.dport_unsure))
    looked = {0: both[:1], 1: both[1:]}.get(a.side, both)
    sure = [port for port, unsure in looked if not unsure]
    if any(low <= port <= high for low, high in a.ports for port in sure):
        return tri(not a.invert)
    return tri(a.invert) if len(sure) == len(looked) else Tri.UNKNOWN


def _ports_fit(
    packet: Packet, sports: tuple[int, int], dports: tuple[int, int], looked: int, invert: int
) -> Tri:
    """Compare ports with ranges; bits 1 and 2 of `looked` and `invert` are for source and destination."""
    sides = (
        (packet.sport, packet.sport_unsure, sports, 1),
        (packet.dport, packet.dport_unsure, dports, 2),
    )
    result = Tri.TRUE
    for port, unsure, (low, high), bit in sides:
        if not looked & bit:
            continue
        if unsure and (low, high) != ANY_PORT:
            result = Tri.UNKNOWN
        elif (low <= port <= high) == bool(invert & bit):
            return Tri.FALSE
    return result


def tcp(ctx: Context, a: payloads.Transport) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, tcp_mt."""
    if ctx.packet.proto != IPPROTO_TCP:
        return Tri.FALSE
    ports = _ports_fit(ctx.packet, a.sports, a.dports, 3, a.invert)
    if ports is Tri.FALSE:
        return Tri.FALSE
    if (ctx.packet.tcp_flags & a.flag_mask == a.flag_value) == bool(a.invert & 4):
        return Tri.FALSE
    if not a.option:
        return ports
    option = invert_known(_has_option(ctx, a.option), bool(a.invert & 8))
    return option if Tri.FALSE is option or ports is Tri.TRUE else ports


def options_bytes(packet: Packet) -> int:
    """Return how many bytes of options a TCP packet that carries no data has."""
    return packet.length - (60 if packet.ipv6 else 40)


def _has_option(ctx: Context, kind: int) -> Tri:
    """Tell whether a TCP header has an option, which is known of what Linux sends by default.

    Source: net/ipv4/tcp_output.c, tcp_syn_options, tcp_synack_options, tcp_options_write.
    """
    packet = ctx.packet
    if ("stripped", packet.tuple()) in ctx.run.memory.rule_scratch:
        return Tri.UNKNOWN
    if not options_bytes(packet):
        return Tri.FALSE
    if packet.tcp_flags & TH_SYN and options_bytes(packet) == SYN_OPTIONS_BYTES:
        return tri(kind in SYN_OPTIONS)
    return Tri.UNKNOWN


def tcpmss(ctx: Context, a: payloads.Between) -> Tri:
    """Without the option there is no match; its value follows from routes of the sender's.

    Source: net/netfilter/xt_tcpmss.c, tcpmss_mt.
    """
    if ctx.packet.proto != IPPROTO_TCP:
        return Tri.FALSE
    has = _has_option(ctx, 2)
    return tri(a.invert) if has is Tri.FALSE else Tri.UNKNOWN


def udp(ctx: Context, a: payloads.Transport) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, udp_mt."""
    if ctx.packet.proto != IPPROTO_UDP:
        return Tri.FALSE
    return _ports_fit(ctx.packet, a.sports, a.dports, 3, a.invert)


def other_ports(proto: int) -> Callable[[Context, payloads.Ports], Tri]:
    """Match ports of SCTP or DCCP; what is inside of them isn't known.

    Source: net/netfilter/xt_sctp.c, sctp_mt; xt_dccp.c, dccp_mt.
    """

    def match(ctx: Context, a: payloads.Ports) -> Tri:
        if ctx.packet.proto != proto:
            return Tri.FALSE
        ports = _ports_fit(ctx.packet, a.sports, a.dports, a.flags, a.invert)
        return Tri.UNKNOWN if a.more and ports is Tri.TRUE else ports

    return match


def icmp(ctx: Context, a: payloads.Icmp) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, icmp_match, type_code_in_range."""
    packet = ctx.packet
    if packet.proto != IPPROTO_ICMP:
        return Tri.FALSE
    fits = packet.icmp_type == a.type and a.code_min <= packet.icmp_code <= a.code_max
    return inverted(a.type == 0xFF or fits, a.invert)


def icmp6(ctx: Context, a: payloads.Icmp) -> Tri:
    """Source: net/netfilter/xt_tcpudp.c, icmp6_match."""
    packet = ctx.packet
    if packet.proto != IPPROTO_ICMPV6:
        return Tri.FALSE
    fits = packet.icmp_type == a.type and a.code_min <= packet.icmp_code <= a.code_max
    return inverted(fits, a.invert)


def iprange(ctx: Context, a: payloads.Iprange) -> Tri:
    """Source: net/netfilter/xt_iprange.c, iprange_mt4, iprange_mt6."""
    width = len(ctx.packet.src)
    for addr, (low, high), bit in ((ctx.packet.src, a.src, 1), (ctx.packet.dst, a.dst, 2)):
        if a.flags & bit and (low[:width] <= addr <= high[:width]) == bool(a.flags & bit << 4):
            return Tri.FALSE
    return Tri.TRUE


def length(ctx: Context, a: payloads.Between) -> Tri:
    """Source: net/netfilter/xt_length.c, length_mt, length_mt6."""
    return inverted(a.low <= ctx.packet.length <= a.high, a.invert)


def ttl(ctx: Context, a: payloads.Compare) -> Tri:
    """Source: net/netfilter/xt_hl.c, ttl_mt, hl_mt."""
    have = ctx.packet.ttl
    answers = (have == a.value, have != a.value, have < a.value, have > a.value)
    return tri(answers[a.mode]) if a.mode < len(answers) else Tri.UNKNOWN


def tos(ctx: Context, a: payloads.Mark) -> Tri:
    """Source: net/netfilter/xt_dscp.c, dscp_mt, tos_mt."""
    return inverted(ctx.packet.tos & a.mask == a.value, a.invert)


def ecn(ctx: Context, a: payloads.Ecn) -> Tri:
    """Compare the IP header's bits; TCP's ECE (0x40) and CWR (0x80) are in its flags.

    Source: net/netfilter/xt_ecn.c, ecn_mt4, match_ip, match_tcp.
    """
    packet = ctx.packet
    if a.operation & 1 and (packet.tos & 3 == a.ect) == bool(a.invert & 1):
        return Tri.FALSE
    for bit, flag in ((0x10, 0x40), (0x20, 0x80)):
        if a.operation & bit and bool(packet.tcp_flags & flag) == bool(a.invert & bit):
            return Tri.FALSE
    return Tri.TRUE


def _known_bytes(packet: Packet) -> headers.Bytes:
    """List a packet's headers; of a fragment the first alone, for each piece has another part of the rest."""
    return headers.network_header(packet) + ([] if packet.fragment else headers.transport_header(packet))


def u32(ctx: Context, a: payloads.U32) -> Tri:
    """Source: net/netfilter/xt_u32.c, u32_match_it."""
    packet = as_seen(ctx, ctx.packet)
    known = _known_bytes(packet)
    for test in a.tests:
        result = _u32_test(known, packet.length, test)
        if result is Tri.FALSE:
            return tri(a.invert)
        if result is Tri.UNKNOWN:
            return Tri.UNKNOWN
    return tri(not a.invert)


def _u32_test(known: headers.Bytes, size: int, test: payloads.U32Test) -> Tri:
    at, position = 0, test.first
    value = _word(known, size, position)
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
            value = _word(known, size, at + number)
    if not isinstance(value, int):
        return value
    return tri(any(low <= value <= high for low, high in test.values))


def _word(known: headers.Bytes, size: int, position: int) -> int | Tri:
    if position + 4 > size:
        return Tri.FALSE
    found = [byte for byte in known[position : position + 4] if byte is not None]
    return int.from_bytes(bytes(found), "big") if len(found) == 4 else Tri.UNKNOWN


def string(ctx: Context, a: payloads.TextSearch) -> Tri:
    """Search from the network header on: what a payload says isn't known, what the headers say is.

    The pattern must begin at an offset from `low` to `high`.

    Source: net/netfilter/xt_string.c, string_mt; net/core/skbuff.c, skb_find_text.
    """
    packet = as_seen(ctx, ctx.packet)
    known = _known_bytes(packet)
    known = (known + [None] * max(0, packet.length - len(known)))[: packet.length]
    result = Tri.FALSE
    for start in range(a.low, min(a.high, packet.length - len(a.pattern)) + 1):
        here = _text_at(known[start : start + len(a.pattern)], a.pattern, bool(a.flags & 2))
        if here is Tri.TRUE:
            result = Tri.TRUE
            break
        if here is Tri.UNKNOWN:
            result = Tri.UNKNOWN
    return invert_known(result, bool(a.flags & 1))


def _text_at(known: headers.Bytes, pattern: bytes, ignore_case: bool) -> Tri:
    result = Tri.TRUE
    for have, want in zip(known, pattern, strict=True):
        if have is None:
            result = Tri.UNKNOWN
        elif have != want and not (ignore_case and bytes([have]).upper() == bytes([want]).upper()):
            return Tri.FALSE
    return result


def of_proto(*protos: int) -> Callable[[Context, Any], Tri]:
    """Match a protocol's header, which packets of another don't have; what is in one isn't known.

    Source: net/netfilter/xt_esp.c, xt_ipcomp.c, xt_l2tp.c; net/ipv4/netfilter/ipt_ah.c;
    net/ipv6/netfilter/ip6t_mh.c.
    """
    return lambda ctx, _a: Tri.UNKNOWN if ctx.packet.proto in protos else Tri.FALSE


def absent_header(_ctx: Context, _a: Any) -> Tri:
    """Look for an IPv6 extension header: the packets that are traced have none, but for a fragment's own.

    Source: net/ipv6/netfilter/ip6t_hbh.c, ip6t_rt.c, ip6t_srh.c, ip6t_ah.c.
    """
    return Tri.FALSE


def frag(ctx: Context, _a: Any) -> Tri:
    """Look at a fragment's header, whose identification isn't known. Source: net/ipv6/netfilter/ip6t_frag.c."""
    return Tri.UNKNOWN if is_piece(ctx) else Tri.FALSE


def ah(ctx: Context, a: payloads.Spis) -> Tri:
    """Source: net/ipv4/netfilter/ipt_ah.c, ah_mt; net/ipv6/netfilter/ip6t_ah.c, ah_mt6."""
    return absent_header(ctx, a) if ctx.packet.ipv6 else of_proto(IPPROTO_AH)(ctx, a)


def ipv6header(ctx: Context, a: payloads.Ipv6Header) -> Tri:
    """Source: net/ipv6/netfilter/ip6t_ipv6header.c, ipv6header_mt6."""
    if is_piece(ctx):
        return Tri.UNKNOWN
    if a.soft:
        return tri(not (IPV6_PROTO ^ a.match ^ a.invert) & a.match)
    return inverted(a.match == IPV6_PROTO, bool(a.invert))


def eui64(ctx: Context, _a: Any) -> Tri:
    """Compare the source's interface identifier with its MAC. Source: net/ipv6/netfilter/ip6t_eui64.c."""
    mac = ctx.packet.smac
    if not mac:
        return Tri.UNKNOWN
    made = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return tri(ctx.packet.src[8:] == made)


MATCHES: dict[str, Callable[[Context, Any], Tri]] = {
    "multiport": multiport,
    "tcp": tcp,
    "udp": udp,
    "sctp": other_ports(IPPROTO_SCTP),
    "dccp": other_ports(IPPROTO_DCCP),
    "icmp": icmp,
    "icmp6": icmp6,
    "iprange": iprange,
    "length": length,
    "ttl": ttl,
    "hl": ttl,
    "tos": tos,
    "dscp": tos,
    "ecn": ecn,
    "tcpmss": tcpmss,
    "u32": u32,
    "string": string,
    "esp": of_proto(IPPROTO_ESP),
    "ah": ah,
    "ipcomp": of_proto(IPPROTO_IPCOMP),
    "l2tp": of_proto(IPPROTO_L2TP, IPPROTO_UDP),
    "mh": of_proto(IPPROTO_MH),
    "hbh": absent_header,
    "dst": absent_header,
    "rt": absent_header,
    "frag": frag,
    "srh": absent_header,
    "ipv6header": ipv6header,
    "eui64": eui64,
}
