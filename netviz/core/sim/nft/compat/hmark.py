"""HMARK: a mark that is a hash of addresses and ports.

Source: net/netfilter/xt_HMARK.c, hmark_tg_v4, hmark_tg_v6, hmark_hash, hmark_swap_ports (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.conntrack import CtTuple
from netviz.core.sim.conn import Conn
from netviz.core.sim.nft.compat.match_headers import PORT_PROTOS
from netviz.core.sim.nft.context import Context, Result, Stop, Tri
from netviz.core.sim.nft.jhash import jhash2, reciprocal_scale
from netviz.core.sim.nft.payload import is_piece
from netviz.core.sim.packet import IPPROTO_ICMP, Packet
from netviz.core.sim.xtables import target_payloads

METHOD_CT, METHOD_L3 = 1 << 12, 1 << 13


def hash_mark(ctx: Context, a: target_payloads.Hmark) -> Result:
    """Set the mark; where it comes from a port that isn't known, stop. A packet without a connection may keep its mark."""
    packet, conn = ctx.packet, ctx.conn
    flow = _hashed(packet, conn, bool(a.flags & METHOD_CT))
    if flow is None:
        return Tri.TRUE
    by_connection = bool(a.flags & METHOD_CT)
    ports = proto = 0
    if not a.flags & METHOD_L3:
        proto = flow.proto
        ported = proto != IPPROTO_ICMP if by_connection else proto in PORT_PROTOS and not is_piece(ctx)
        if ported:
            drawn = conn is not None and conn.unsure and (by_connection or packet.inner is not None)
            if drawn or packet.sport_unsure or packet.dport_unsure:
                return Stop("target HMARK of a port that isn't known")
            ports = _ports(flow.sport, flow.dport, a)
    src, dst = _masked(flow.src, a.src_mask), _masked(flow.dst, a.dst_mask)
    value = jhash2([min(src, dst), max(src, dst), ports], a.seed) ^ (proto & a.proto_mask)
    ctx.packet = packet.but(mark=reciprocal_scale(value, a.modulus) + a.offset & 0xFFFFFFFF)
    return Tri.TRUE


def _hashed(packet: Packet, conn: Conn | None, by_connection: bool) -> CtTuple | None:
    """Say whose addresses and ports are hashed: the packet's, those that an error quotes, or a connection's ends.

    Source: net/netfilter/xt_HMARK.c, hmark_ct_set_htuple, hmark_pkt_set_htuple_ipv4, get_inner_hdr (Linux 6.18).
    """
    if not by_connection:
        return packet.inner if packet.inner is not None else packet.tuple()
    if conn is None:
        return None
    orig, reply = conn.orig, conn.reply
    return CtTuple(orig.src, reply.src, orig.proto, orig.sport, reply.sport)


def _masked(addr: bytes, mask: bytes) -> int:
    """Mask an address; an IPv6 address's words are folded into one."""
    value = 0
    for at in range(0, len(addr), 4):
        value ^= int.from_bytes(addr[at : at + 4], "big") & int.from_bytes(mask[at : at + 4], "big")
    return value


def _ports(sport: int, dport: int, a: target_payloads.Hmark) -> int:
    both = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    made = bytes(have & mask | put for have, mask, put in zip(both, a.port_mask, a.port_set, strict=True))
    first, second = int.from_bytes(made[:2], "big"), int.from_bytes(made[2:], "big")
    return max(first, second) << 16 | min(first, second)
