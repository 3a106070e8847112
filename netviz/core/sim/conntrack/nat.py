"""Address translation: nat chains for new connections, then the connection's mapping for every packet.

Source: net/netfilter/nf_nat_core.c, nf_nat_inet_fn, nf_nat_setup_info, get_unique_tuple, nf_nat_packet;
nf_nat_proto.c, nf_nat_icmp_reply_translation, nf_nat_manip_pkt; nf_nat_masquerade.c;
nf_nat_redirect.c; nft_nat.c (Linux 6.18).

What the mapping becomes is in `nat_unique.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netviz.core.model.conntrack import IPS_DST_NAT, IPS_SRC_NAT, CtTuple
from netviz.core.model.link import Link
from netviz.core.model.netfilter import NF_LOCAL_IN, NF_LOCAL_OUT, NF_POST_ROUTING, NftExpr
from netviz.core.sim.conn import Conn, ct_state
from netviz.core.sim.conntrack.nat_unique import NatMapping, unique_tuple
from netviz.core.sim.nft.context import Context
from netviz.core.sim.packet import Packet, invert
from netviz.core.sim.route.saddr import is_link_local6, link_addrs, select_on_link, source6
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Nat
from netviz.core.sim.trace import CERTAIN, UNCERTAIN
from netviz.core.state.node import NetnsState

RANDOM_FLAGS = 0x4 | 0x10
PERSISTENT_FLAG, OFFSET_FLAG = 0x8, 0x20
NETMAP_FLAG = 0x40
NAT_MASK = IPS_SRC_NAT | IPS_DST_NAT


def manip_is_source(hook: int) -> bool:
    """Tell whether a hook translates sources. Source: include/net/netfilter/nf_nat.h, HOOK2MANIP."""
    return hook in (NF_POST_ROUTING, NF_LOCAL_IN)


def initialized(conn: Conn, source: bool) -> bool:
    """Tell whether a connection's translation of this kind is decided."""
    return conn.src_done if source else conn.dst_done


def wants_rules(run: Run, packet: Packet, hook: int) -> bool:
    """Tell whether nat chains are consulted: only for the first packets of a new connection."""
    conn = run.conn(packet.ct)
    if conn is None or packet.ct_related:
        return False
    return ct_state(packet, conn) == "new" and not initialized(conn, manip_is_source(hook))


def mapping_of(ctx: Context, expr: NftExpr, nexthop: bytes) -> NatMapping:
    """Read a nat, masq or redir statement with the registers as they are."""
    a = expr.attrs
    flags = a.get("flags", 0)
    source = expr.name == "masq" or (expr.name == "nat" and a.get("type", 0) == 0)
    ports, unknown = _ports(ctx, a)
    if unknown:
        return NatMapping(source, error="port not known")
    if flags & OFFSET_FLAG:
        return NatMapping(source, error="shifted port range")
    made = NatMapping(
        source, ports=ports, random=bool(flags & RANDOM_FLAGS), persistent=bool(flags & PERSISTENT_FLAG)
    )
    if expr.name in ("masq", "redir"):
        addr = (
            masquerade_addr(ctx.ns, ctx.oif, ctx.packet, nexthop)
            if expr.name == "masq"
            else _redirect_addr(ctx)
        )
        return msgspec.structs.replace(made, low=addr, high=addr, drop=not addr)
    return _plain(ctx, a, made, bool(flags & NETMAP_FLAG))


def _plain(ctx: Context, a: dict[str, Any], made: NatMapping, netmap: bool) -> NatMapping:
    if "reg_addr_min" not in a:
        return made
    width = len(ctx.packet.src)
    low = ctx.load(a["reg_addr_min"], width)
    high = ctx.load(a.get("reg_addr_max", a["reg_addr_min"]), width)
    if low is None or high is None:
        return NatMapping(made.source, error="address not known")
    if netmap:
        low = high = netmapped(ctx.packet.src if made.source else ctx.packet.dst, low, high)
    return msgspec.structs.replace(made, low=low, high=high)


def netmapped(addr: bytes, low: bytes, high: bytes) -> bytes:
    """Keep an address's host bits and put a network's in, given the network's first and last address.

    Source: net/netfilter/nft_nat.c, nft_nat_setup_netmap (Linux 6.18).
    """
    return bytes((own & (a ^ b)) | (a & ~(a ^ b) & 0xFF) for own, a, b in zip(addr, low, high, strict=True))


def _ports(ctx: Context, a: dict[str, Any]) -> tuple[tuple[int, int] | None, bool]:
    if "reg_proto_min" not in a:
        return None, False
    low = ctx.load(a["reg_proto_min"], 2)
    high = ctx.load(a.get("reg_proto_max", a["reg_proto_min"]), 2)
    if low is None or high is None:
        return None, True
    return (int.from_bytes(low, "big"), int.from_bytes(high, "big")), False


def masquerade_addr(ns: NetnsState, oif: Link | None, packet: Packet, nexthop: bytes) -> bytes:
    """Choose the address that masquerading puts in.

    Source: net/netfilter/nf_nat_masquerade.c, nf_nat_masquerade_ipv4, nf_nat_masquerade_ipv6
    (Linux 6.18).
    """
    if oif is None:
        return b""
    if packet.ipv6:
        return source6(ns, oif.ifindex, packet.dst)
    return select_on_link(ns, oif.ifindex, nexthop if len(nexthop) == 4 else packet.dst, 0)


def _redirect_addr(ctx: Context) -> bytes:
    """Choose where `redirect` sends. Source: net/netfilter/nf_nat_redirect.c (Linux 6.18)."""
    if ctx.hook == NF_LOCAL_OUT:
        return bytes(15) + b"\x01" if ctx.packet.ipv6 else b"\x7f\0\0\x01"
    if ctx.iif is None:
        return b""
    width = len(ctx.packet.dst)
    found = [a.addr for a in link_addrs(ctx.ns, ctx.iif.ifindex) if len(a.addr) == width]
    plain = [addr for addr in found if not is_link_local6(addr)]
    return (plain or found or [b""])[0]


def set_up(run: Run, ns: NetnsState, number: int, mapping: NatMapping | None, source: bool) -> None:
    """Decide the mapping of one kind of the connection with a number; None maps it to its own address.

    Source: net/netfilter/nf_nat_core.c, nf_nat_setup_info, __nf_nat_alloc_null_binding (Linux 6.18).
    """
    conn = run.memory.conns[number]
    current = invert(conn.reply)
    if mapping is None:
        own = current.src if source else current.dst
        mapping = NatMapping(source, own, own)
    new, sure = unique_tuple(run, ns, number, current, mapping)
    if new != current or not sure:
        conn = conn.but(reply=invert(new), status=conn.status | (IPS_SRC_NAT if source else IPS_DST_NAT))
    if not sure:
        conn = conn.but(unsure="source" if source else "destination")
    conn = conn.but(src_done=True) if source else conn.but(dst_done=True)
    run.memory = run.memory.with_conn(number, conn)


def translate(run: Run, ns: NetnsState, packet: Packet, hook: int, dev: Link | None) -> Packet:
    """Rewrite a packet by its connection's mapping.

    Source: net/netfilter/nf_nat_core.c, nf_nat_packet (Linux 6.18).
    """
    conn = run.conn(packet.ct)
    if conn is None:
        return packet
    source = manip_is_source(hook)
    bit = IPS_SRC_NAT if source else IPS_DST_NAT
    if packet.ct_reply:
        bit ^= NAT_MASK
    if not conn.status & bit:
        return packet
    target = invert(conn.tuple_of(not packet.ct_reply))
    before = packet
    if packet.inner is not None:
        packet = _translate_error(packet, conn, target, source)
    elif packet.is_icmp:
        packet = packet.but(src=target.src) if source else packet.but(dst=target.dst)
        packet = packet.but(sport=target.sport)
    elif source:
        packet = packet.but(src=target.src, sport=target.sport)
    else:
        packet = packet.but(dst=target.dst, dport=target.dport)
    packet = _mark_unsure(packet, conn, source)
    if packet == before:
        return packet
    unsure = packet.sport_unsure or packet.dport_unsure
    run.record(
        ns,
        dev,
        packet,
        Nat(
            "snat" if source else "dnat",
            orig=conn.orig,
            reply=conn.reply,
            was=before.src if source else before.dst,
            now=packet.src if source else packet.dst,
            unsure=unsure,
        ),
        certainty=UNCERTAIN if unsure else CERTAIN,
    )
    return packet


def _mark_unsure(packet: Packet, conn: Conn, source: bool) -> Packet:
    """Say of a rewritten packet whether its ports (for ICMP, its identifier) are known now."""
    if packet.inner is not None:
        return packet
    if packet.ct_reply:
        unsure = conn.drawn and not source
    elif source:
        unsure = conn.unsure == "source" or (conn.drawn and conn.reply.dport == conn.orig.sport)
    else:
        unsure = conn.unsure == "destination"
    if source or packet.is_icmp:
        return packet.but(sport_unsure=unsure)
    return packet.but(dport_unsure=unsure)


def _translate_error(packet: Packet, conn: Conn, target: CtTuple, source: bool) -> Packet:
    """Rewrite an ICMP error: its own address, and the quoted packet's.

    Source: net/netfilter/nf_nat_proto.c, nf_nat_icmp_reply_translation (Linux 6.18).
    """
    inner = packet.inner
    assert inner is not None
    quoted = conn.tuple_of(not packet.ct_reply)
    icmp = inner.proto not in (6, 17)
    if source:
        inner = msgspec.structs.replace(inner, dst=quoted.dst, dport=inner.dport if icmp else quoted.dport)
        return packet.but(src=target.src, inner=inner)
    inner = msgspec.structs.replace(inner, src=quoted.src, sport=inner.sport if icmp else quoted.sport)
    return packet.but(dst=target.dst, inner=inner)
