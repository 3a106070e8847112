"""Targets that translate addresses.

Those of connections become the statements that nftables has for them, so that one piece of code carries
them out for both; prefix translation (RFC 6296) changes each packet by itself.

Source: net/netfilter/xt_nat.c, xt_MASQUERADE.c, xt_REDIRECT.c, xt_NETMAP.c; net/ipv6/netfilter/ip6t_NPT.c;
each function names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from netviz.core.model.addr import in_prefix
from netviz.core.model.netfilter import NF_LOCAL_OUT, NF_PRE_ROUTING, NftExpr
from netviz.core.sim.nft.context import Context, Result, Statement, Stop, Tri
from netviz.core.sim.packet import Packet
from netviz.core.sim.xtables import target_payloads

MAP_IPS, PROTO_SPECIFIED, NETMAP_FLAG = 1, 2, 64
# Registers for addresses and ports of a translation: 16 bytes each for addresses.
REG_LOW, REG_HIGH, REG_PORT_LOW, REG_PORT_HIGH = 1, 2, 3, 4
MAX_PREFIX, MANGLED_ZERO = 64, 0xFFFF
# Noted when a target has written addresses without a copy of the packet first: its clones have them too.
WRITTEN_IN_PLACE = "addresses written in place"


def _translation(ctx: Context, name: str, kind: int | None, a: target_payloads.Range) -> Result:
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
    return Statement(NftExpr(name, attrs))


def _dnat(ctx: Context, a: target_payloads.Range) -> Result:
    """Source: net/netfilter/xt_nat.c, xt_dnat_target_v2."""
    return _translation(ctx, "nat", 1, a)


def _snat(ctx: Context, a: target_payloads.Range) -> Result:
    """Source: net/netfilter/xt_nat.c, xt_snat_target_v2."""
    return _translation(ctx, "nat", 0, a)


def _masquerade(ctx: Context, a: target_payloads.Range) -> Result:
    """Source: net/netfilter/xt_MASQUERADE.c, masquerade_tg."""
    return _translation(ctx, "masq", None, a)


def _redirect(ctx: Context, a: target_payloads.Range) -> Result:
    """Source: net/netfilter/xt_REDIRECT.c, redirect_tg4."""
    return _translation(ctx, "redir", None, a)


def _netmap(ctx: Context, a: target_payloads.Range) -> Result:
    """Put the network part of the range into the address. Source: net/netfilter/xt_NETMAP.c, netmap_tg4."""
    width = len(ctx.packet.src)
    dest = ctx.hook in (NF_PRE_ROUTING, NF_LOCAL_OUT)
    addr = ctx.packet.dst if dest else ctx.packet.src
    mask = bytes(~(low ^ high) & 0xFF for low, high in zip(a.low[:width], a.high[:width], strict=True))
    mapped = bytes(have & ~m & 0xFF | low & m for have, low, m in zip(addr, a.low[:width], mask, strict=True))
    whole = target_payloads.Range(a.flags | MAP_IPS, mapped, mapped, a.port_low, a.port_high)
    return _translation(ctx, "nat", int(dest), whole)


def _prefix(addr: bytes, a: target_payloads.Prefixes) -> bytes | None:
    """Put another prefix into an address, and make up for its checksum elsewhere in it; None: it cannot be.

    Source: net/ipv6/netfilter/ip6t_NPT.c, ip6t_npt_map_pfx.
    """
    length = max(a.src_len, a.dst_len)
    host = (1 << 128 - length) - 1
    number = int.from_bytes(addr, "big") & host | int.from_bytes(a.dst, "big")
    words = [number >> 112 - 16 * at & 0xFFFF for at in range(8)]
    at = 3 if length <= 48 else next((i for i in range(4, 8) if words[i] != MANGLED_ZERO), 8)
    if at == 8:
        return None
    total = words[at] + _sum(a.src) + (~_sum(a.dst) & 0xFFFF)
    total = _fold(total)
    words[at] = 0 if total == MANGLED_ZERO else total
    return b"".join(word.to_bytes(2, "big") for word in words)


def _fold(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _sum(addr: bytes) -> int:
    return _fold(sum(int.from_bytes(addr[i : i + 2], "big") for i in range(0, 16, 2)))


def _quoted(packet: Packet, a: target_payloads.Prefixes, side: str) -> Packet:
    """Translate the other address of the packet that an error quotes too, if it is within the prefix that goes.

    Source: net/ipv6/netfilter/ip6t_NPT.c, icmpv6_bounced_ipv6hdr.
    """
    inner = packet.inner
    if inner is None or not in_prefix(getattr(inner, side), a.src, a.src_len):
        return packet
    mapped = _prefix(getattr(inner, side), a)
    return packet if mapped is None else packet.but(inner=msgspec.structs.replace(inner, **{side: mapped}))


def _snpt(ctx: Context, a: target_payloads.Prefixes) -> Result:
    """Source: net/ipv6/netfilter/ip6t_NPT.c, ip6t_snpt_tg."""
    addr = _prefix(ctx.packet.src, a) if max(a.src_len, a.dst_len) <= MAX_PREFIX else None
    if addr is None:
        return Stop("target SNPT of an address without room")
    ctx.packet = _quoted(ctx.packet.but(src=addr), a, "dst")
    ctx.run.memory = ctx.run.memory.with_scratch(WRITTEN_IN_PLACE, 1)
    return Tri.TRUE


def _dnpt(ctx: Context, a: target_payloads.Prefixes) -> Result:
    """Source: net/ipv6/netfilter/ip6t_NPT.c, ip6t_dnpt_tg."""
    addr = _prefix(ctx.packet.dst, a) if max(a.src_len, a.dst_len) <= MAX_PREFIX else None
    if addr is None:
        return Stop("target DNPT of an address without room")
    ctx.packet = _quoted(ctx.packet.but(dst=addr), a, "src")
    ctx.run.memory = ctx.run.memory.with_scratch(WRITTEN_IN_PLACE, 1)
    return Tri.TRUE


TARGETS: dict[str, Callable[[Context, Any], Result]] = {
    "DNAT": _dnat,
    "SNAT": _snat,
    "MASQUERADE": _masquerade,
    "REDIRECT": _redirect,
    "NETMAP": _netmap,
    "SNPT": _snpt,
    "DNPT": _dnpt,
}
