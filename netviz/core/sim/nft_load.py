"""Expressions that read or write what is outside the packet's headers: meta, ct, fib, numgen, hash.

Source: net/netfilter/nft_meta.c, nft_ct.c, nft_numgen.c, nft_hash.c; net/ipv4/netfilter/nft_fib_ipv4.c
(Linux 6.18).
"""

from __future__ import annotations

from typing import Any

from netviz.core.model.l3 import RT_TABLE_LOCAL, RTN_MULTICAST, RTN_UNICAST
from netviz.core.model.link import Link
from netviz.core.sim import headers
from netviz.core.sim.conntrack import ct_state
from netviz.core.sim.fib import Lookup, lookup_table, route_index
from netviz.core.sim.nft_context import Context, Result, Stop, Tri
from netviz.core.sim.saddr import is_multicast

CT_STATE_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}


MAX_NUMGEN = 64


def _u32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def _name(link: Link | None) -> bytes:
    return (link.ifname.encode() if link is not None else b"").ljust(16, b"\0")[:16]


def _meta_value(ctx: Context, key: int) -> bytes | Tri | None:
    packet, iif, oif = ctx.packet, ctx.iif, ctx.oif
    if key in (4, 5, 6, 7):
        link = iif if key in (4, 6) else oif
        return _name(link) if key >= 6 else _u32(link.ifindex if link is not None else 0)
    if key in (8, 9, 21, 22, 26, 27):
        link = iif if key in (8, 21, 26) else oif
        if link is None:
            return Tri.FALSE
        if key in (8, 9):
            return link.arptype.to_bytes(2, "little")
        return _u32(link.group) if key in (21, 22) else link.kind.encode().ljust(16, b"\0")[:16]
    if key == 1:
        return headers.ethertype(packet).to_bytes(2, "big")
    if key == 15:
        return bytes([10 if packet.ipv6 else 2]) if ctx.family in (1, 2, 10) else bytes([ctx.family])
    if key == 16 and packet.arp:
        return Tri.FALSE
    simple: dict[int, bytes] = {
        0: _u32(packet.length),
        3: _u32(packet.mark),
        16: bytes([packet.proto]),
        17: _name(iif),
        18: _name(oif),
        19: b"\0",
    }
    return simple.get(key)


def eval_meta(ctx: Context, a: dict[str, Any]) -> Result:
    key = a.get("key", 0)
    if "sreg" in a and "dreg" not in a:
        if key == 12:
            return Tri.TRUE  # nftrace
        have = ctx.load(a["sreg"], 4)
        if key != 3 or have is None:
            return Tri.TRUE if key in (2, 14) else Stop("meta set")
        ctx.packet = ctx.packet.but(mark=int.from_bytes(have, "little"))
        return Tri.TRUE
    value = _meta_value(ctx, key)
    if isinstance(value, Tri):
        return value
    ctx.store(a["dreg"], value, 16)
    return Tri.TRUE


def _ct_value(ctx: Context, key: int, direction: int | None) -> bytes | Tri | None:
    packet, conn = ctx.packet, ctx.packet.ct
    if key == 0:
        return _u32(CT_STATE_BITS[ct_state(packet)])
    if conn is None:
        return Tri.FALSE
    if key == 1:
        return bytes([int(packet.ct_reply)])
    if key == 2:
        seen = 2 if conn.seen_reply or packet.ct_reply else 0
        done = (0x80 if conn.src_done else 0) | (0x100 if conn.dst_done else 0)
        return _u32(conn.status | seen | (8 if conn.confirmed else 0) | done)
    if key == 3:
        return _u32(conn.mark)
    if key == 17:
        return conn.zone.to_bytes(2, "little")
    way = conn.tuple_of(bool(direction)) if direction is not None else conn.tuple_of(packet.ct_reply)
    if key == 7:
        return bytes([10 if len(way.src) == 16 else 2])
    if key == 10:
        return bytes([way.proto])
    if key in (8, 19, 21):
        return way.src
    if key in (9, 20, 22):
        return way.dst
    if key == 11:
        return way.sport.to_bytes(2, "big")
    return way.dport.to_bytes(2, "big") if key == 12 else None


def eval_ct(ctx: Context, a: dict[str, Any]) -> Result:
    key = a.get("key", 0)
    if "sreg" in a and "dreg" not in a:
        have = ctx.load(a["sreg"], 4)
        if key == 3 and have is not None:
            if ctx.packet.ct is not None:
                ctx.packet.ct.mark = int.from_bytes(have, "little")
            return Tri.TRUE
        if key == 17 and "direction" not in a and have is not None:
            if ctx.packet.ct is None:
                ctx.packet = ctx.packet.but(zone=int.from_bytes(have[:2], "little"))
            return Tri.TRUE
        return Tri.TRUE if key in (4, 13, 18) else Stop("ct set")
    value = _ct_value(ctx, key, a.get("direction"))
    if isinstance(value, Tri):
        return value
    ctx.store(a["dreg"], value, 16)
    return Tri.TRUE


def eval_fib(ctx: Context, a: dict[str, Any]) -> Result:
    """Answer `fib daddr type` and `fib saddr type`; other questions leave the register unknown.

    Source: net/ipv4/netfilter/nft_fib_ipv4.c, nft_fib4_eval_type (Linux 6.18).
    """
    flags, result = a.get("flags", 0), a.get("result", 0)
    if result != 3 or flags not in (1, 2):
        ctx.store(a["dreg"], None, 16)
        return Tri.TRUE
    addr = ctx.packet.src if flags == 1 else ctx.packet.dst
    kind = RTN_UNICAST
    if is_multicast(addr):
        kind = RTN_MULTICAST
    elif addr == b"\xff" * 4 or addr == bytes(4):
        kind = 3
    else:
        match = lookup_table(route_index(ctx.ns.routes), RT_TABLE_LOCAL, Lookup(addr), ctx.ns.nexthops)
        if match is not None:
            kind = match.route.type
    ctx.store(a["dreg"], _u32(kind))
    return Tri.TRUE


def eval_numgen(ctx: Context, a: dict[str, Any]) -> Result:
    """Branch over every number that the generator or hash can give."""
    modulus = a.get("modulus", 0)
    if not 0 < modulus <= MAX_NUMGEN:
        ctx.store(a["dreg"], None, 4)
        return Tri.TRUE
    key = ("numgen", ctx.ns.key, ctx.rule_id, ctx.packet.tuple())
    picked = ctx.run.choose(key, modulus, (1 / modulus,) * modulus)
    ctx.store(a["dreg"], _u32(a.get("offset", 0) + picked))
    return Tri.TRUE
