"""Targets of xtables: what they do to the packet, its connection, or its way.

Translation and rejection are turned into the statements that nftables has for them, so that one
piece of code carries them out for both. A target that is not here, or of another revision, stops the
walk as UNKNOWN, by name and revision.

Source: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, net/ipv6/netfilter/ip6t_*.c; each function
names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.netfilter import NF_LOCAL_OUT, NF_PRE_ROUTING, NftExpr
from netviz.core.sim.nft_context import Action, Context, Result, Stop, Tri
from netviz.core.sim.xtables import decode
from netviz.core.sim.xtables.decode import decode_target

MAP_IPS, PROTO_SPECIFIED, NETMAP_FLAG = 1, 2, 64
SET_NONE = 0xFFFF
ZONE_DIRECTIONS, ZONE_MARK = 4 | 8, 16
MAP_MARK, MAP_PRIO, MAP_QUEUE = 2, 4, 8
# Registers for addresses and ports of a translation: 16 bytes each for addresses.
REG_LOW, REG_HIGH, REG_PORT_LOW, REG_PORT_HIGH = 1, 2, 3, 4
# ICMP codes of `REJECT --reject-with`, by ipt_reject_with and ip6t_reject_with; None is a TCP reset.
REJECT4: dict[int, int | None] = {0: 0, 1: 1, 2: 2, 3: 3, 5: 9, 6: 10, 7: None, 8: 13}
REJECT6: dict[int, int | None] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 6: None, 7: 5, 8: 6}
# What a target may do without any effect on a packet's way.
NO_EFFECT = frozenset(
    ("LOG", "NFLOG", "AUDIT", "CHECKSUM", "TRACE", "CLASSIFY", "TCPMSS", "TCPOPTSTRIP", "RATEEST",
     "IDLETIMER", "LED", "SECMARK", "CONNSECMARK", "TEE")
)  # fmt: skip


def _mark(ctx: Context, a: decode.MarkSet) -> Result:
    """Source: net/netfilter/xt_mark.c, mark_tg."""
    ctx.packet = ctx.packet.but(mark=(ctx.packet.mark & ~a.mask & 0xFFFFFFFF) ^ a.value)
    return Tri.TRUE


def _connmark(ctx: Context, a: decode.ConnmarkSet) -> Result:
    """Source: net/netfilter/xt_connmark.c, connmark_tg_shift."""
    conn = ctx.packet.ct
    if conn is None:
        return Tri.TRUE

    def shift(value: int) -> int:
        return value >> a.bits if a.right else value << a.bits & 0xFFFFFFFF

    if a.mode == 0:
        conn.mark = shift((conn.mark & ~a.ctmask & 0xFFFFFFFF) ^ a.ctmark)
    elif a.mode == 1:
        conn.mark = (conn.mark & ~a.ctmask & 0xFFFFFFFF) ^ shift(ctx.packet.mark & a.nfmask)
    elif a.mode == 2:
        mark = (ctx.packet.mark & ~a.nfmask & 0xFFFFFFFF) ^ shift(conn.mark & a.ctmask)
        ctx.packet = ctx.packet.but(mark=mark)
    else:
        return Stop("target CONNMARK with an unknown mode")
    return Tri.TRUE


def _ct(ctx: Context, a: decode.CtSet) -> Result:
    """Source: net/netfilter/xt_CT.c, xt_ct_target."""
    if ctx.packet.ct is not None:
        return Tri.TRUE
    if a.flags & 1:
        ctx.packet = ctx.packet.but(untracked=True)
        return Tri.TRUE
    if a.flags & ZONE_DIRECTIONS:
        return Stop("target CT with a zone for one direction")
    zone = ctx.packet.mark & 0xFFFF if a.flags & ZONE_MARK else a.zone
    ctx.packet = ctx.packet.but(zone=zone)
    return Tri.TRUE


def _tos(ctx: Context, a: decode.Number) -> Result:
    """Source: net/netfilter/xt_DSCP.c, tos_tg."""
    ctx.packet = ctx.packet.but(tos=(ctx.packet.tos & ~a.mask & 0xFF) ^ a.value)
    return Tri.TRUE


def _dscp(ctx: Context, a: decode.Number) -> Result:
    """Source: net/netfilter/xt_DSCP.c, dscp_tg."""
    ctx.packet = ctx.packet.but(tos=ctx.packet.tos & 3 | a.value << 2)
    return Tri.TRUE


def _ttl(ctx: Context, a: decode.Number) -> Result:
    """Source: net/netfilter/xt_HL.c, ttl_tg, hl_tg."""
    ttl = ctx.packet.ttl
    new = {0: a.value, 1: min(ttl + a.value, 255), 2: max(ttl - a.value, 0)}.get(a.mask)
    if new is None:
        return Stop("target TTL with an unknown mode")
    ctx.packet = ctx.packet.but(ttl=new)
    return Tri.TRUE


def _translation(ctx: Context, name: str, kind: int | None, a: decode.Range) -> Result:
    attrs: dict[str, Any] = {} if kind is None else {"type": kind}
    width = len(ctx.packet.src)
    ctx.reset()
    if name == "nat" and a.flags & MAP_IPS:
        ctx.store(REG_LOW, a.low[:width])
        ctx.store(REG_HIGH, a.high[:width])
        attrs.update(reg_addr_min=REG_LOW, reg_addr_max=REG_HIGH)
    if a.flags & PROTO_SPECIFIED:
        ctx.store(REG_PORT_LOW, a.port_low.to_bytes(2, "big"))
        ctx.store(REG_PORT_HIGH, a.port_high.to_bytes(2, "big"))
        attrs.update(reg_proto_min=REG_PORT_LOW, reg_proto_max=REG_PORT_HIGH)
    attrs["flags"] = a.flags & ~(MAP_IPS | PROTO_SPECIFIED | NETMAP_FLAG)
    return Action(NftExpr(name, attrs))


def _dnat(ctx: Context, a: decode.Range) -> Result:
    """Source: net/netfilter/xt_nat.c, xt_dnat_target_v2."""
    return _translation(ctx, "nat", 1, a)


def _snat(ctx: Context, a: decode.Range) -> Result:
    """Source: net/netfilter/xt_nat.c, xt_snat_target_v2."""
    return _translation(ctx, "nat", 0, a)


def _masquerade(ctx: Context, a: decode.Range) -> Result:
    """Source: net/netfilter/xt_MASQUERADE.c, masquerade_tg."""
    return _translation(ctx, "masq", None, a)


def _redirect(ctx: Context, a: decode.Range) -> Result:
    """Source: net/netfilter/xt_REDIRECT.c, redirect_tg4."""
    return _translation(ctx, "redir", None, a)


def _netmap(ctx: Context, a: decode.Range) -> Result:
    """Put the network part of the range into the address. Source: net/netfilter/xt_NETMAP.c, netmap_tg4."""
    width = len(ctx.packet.src)
    dest = ctx.hook in (NF_PRE_ROUTING, NF_LOCAL_OUT)
    addr = ctx.packet.dst if dest else ctx.packet.src
    mask = bytes(~(low ^ high) & 0xFF for low, high in zip(a.low[:width], a.high[:width], strict=True))
    mapped = bytes(have & ~m & 0xFF | low & m for have, low, m in zip(addr, a.low[:width], mask, strict=True))
    whole = decode.Range(a.flags | MAP_IPS, mapped, mapped, a.port_low, a.port_high)
    return _translation(ctx, "nat", int(dest), whole)


def _reject(ctx: Context, a: decode.Number) -> Result:
    """Source: net/ipv4/netfilter/ipt_REJECT.c, reject_tg; net/ipv6/netfilter/ip6t_REJECT.c, reject_tg6."""
    codes = REJECT6 if ctx.packet.ipv6 else REJECT4
    if a.value not in codes:
        return Stop("target REJECT with an unknown answer")
    code = codes[a.value]
    if code is None:
        return Action(NftExpr("reject", {"type": 1}))
    return Action(NftExpr("reject", {"type": 0, "icmp_code": code}))


def _set(ctx: Context, a: decode.SetChange) -> Result:
    """Note which sets the packet changed: what they hold isn't known from here on.

    Source: net/netfilter/xt_set.c, set_target_v3.
    """
    if a.map is not None and a.map.index != SET_NONE and a.map_flags & MAP_MARK:
        return Stop("target SET --map-set")
    ctx.run.changed_sets.update((ctx.ns.key, ref.index) for ref in (a.add, a.delete))
    return Tri.TRUE


TARGETS: dict[str, Callable[[Context, Any], Result]] = {
    "MARK": _mark,
    "CONNMARK": _connmark,
    "CT": _ct,
    "NOTRACK": _ct,
    "TOS": _tos,
    "DSCP": _dscp,
    "TTL": _ttl,
    "HL": _ttl,
    "DNAT": _dnat,
    "SNAT": _snat,
    "MASQUERADE": _masquerade,
    "REDIRECT": _redirect,
    "NETMAP": _netmap,
    "REJECT": _reject,
    "SET": _set,
}


def evaluate_target(ctx: Context, attrs: dict[str, Any]) -> Result:
    """Evaluate a target expression (name, rev, info)."""
    name, rev = attrs.get("name", ""), attrs.get("rev", 0)
    if name in NO_EFFECT:
        return Tri.TRUE
    handler = TARGETS.get(name)
    decoded = decode_target(name, rev, attrs.get("info", b""), ctx.packet.ipv6)
    if handler is None or decoded is None:
        return Stop(f"target {name} revision {rev}")
    return handler(ctx, decoded)
