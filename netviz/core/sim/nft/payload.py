"""Expressions that look into the packet's bytes or write them: payload, exthdr, inner.

Source: net/netfilter/nft_payload.c, nft_exthdr.c, nft_inner.c (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.link import IFF_LOOPBACK
from netviz.core.model.netfilter import NftExpr
from netviz.core.sim.nft import headers
from netviz.core.sim.nft.context import NF_INET_INGRESS, Context, Result, Stop, Tri
from netviz.core.sim.nft.headers import Absent
from netviz.core.sim.nft.tracking import defragments
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, Packet

NFT_EXTHDR_OP_IPV6, NFT_EXTHDR_OP_TCPOPT, NFT_EXTHDR_OP_IPV4 = range(3)
NFT_EXTHDR_F_PRESENT = 1
IPPROTO_FRAGMENT = 44
CSUM_NONE = 0


def eval_payload(ctx: Context, a: dict[str, Any]) -> Result:
    """Load header bytes, or write them."""
    if "sreg" in a:
        return _write(ctx, a)
    base, offset, length = a.get("base", 0), a.get("offset", 0), a["len"]
    found = read_bytes(ctx, ctx.packet, base, offset, length)
    if isinstance(found, Absent):
        return Tri.FALSE
    if found is None and base == headers.NETWORK and ctx.packet.ipv6 and offset + length <= 4:
        _load_flow_label(ctx, a["dreg"], offset, length)
        return Tri.TRUE
    ctx.store(a["dreg"], found, length)
    return Tri.TRUE


def read_bytes(ctx: Context, packet: Packet, base: int, offset: int, length: int) -> bytes | Absent | None:
    """Read bytes as they are seen at this hook."""
    if base == headers.LL:
        packet = _with_link_header(ctx, packet)
    packet = as_seen(ctx, packet)
    if base in (headers.TRANSPORT, headers.INNER) and packet.fragment:
        return None
    return headers.read(packet, base, offset, length)


def is_piece(ctx: Context) -> bool:
    """Tell whether the hook sees fragments: what they hold differs from one to the next."""
    if not ctx.packet.fragment:
        return False
    return ctx.bridged or ctx.hook == NF_INET_INGRESS or not defragments(ctx.run, ctx.ns, ctx.packet.ipv6)


def as_seen(ctx: Context, packet: Packet) -> Packet:
    """Return the packet as rules see it: whole where its fragments are put together before."""
    return packet.but(fragment=0) if packet.fragment and not is_piece(ctx) else packet


def _with_link_header(ctx: Context, packet: Packet) -> Packet:
    """Give what came out of the loopback its Ethernet header: of zeros."""
    if packet.smac or packet.dmac or ctx.iif is None or not ctx.iif.flags & IFF_LOOPBACK:
        return packet
    return packet.but(smac=bytes(6), dmac=bytes(6))


def _load_flow_label(ctx: Context, reg: int, offset: int, length: int) -> None:
    """Load from an IPv6 header's first word: the traffic class is known, the flow label isn't."""
    word = 6 << 28 | ctx.packet.tos << 20
    shift = 8 * (4 - offset - length)
    keep = (1 << 8 * length) - 1
    ctx.store_bits(reg, word >> shift & keep, 0xFFFFF >> shift & keep, length)


def _write(ctx: Context, a: dict[str, Any]) -> Result:
    """Write header bytes.

    Unmodelled: writes that leave a wrong checksum, change a header's length or kind, or go to the payload.

    Source: net/netfilter/nft_payload.c, nft_payload_set_eval (Linux 6.18).
    """
    base, offset, length = a.get("base", 0), a.get("offset", 0), a["len"]
    before = ctx.packet
    if base == headers.LL:
        before = _with_link_header(ctx, before)
    if isinstance(headers.read(before, base, offset, length), Absent):
        return Tri.FALSE
    bits = ctx.bits(a["sreg"], length) if length <= 4 else None
    new = bits[0].to_bytes(length, "big") if bits is not None else ctx.load(a["sreg"], length)
    if new is None or is_piece(ctx):
        return Stop("payload set to a value that isn't known")
    after = headers.write(before, base, offset, new)
    ported = base == headers.TRANSPORT and before.proto in (IPPROTO_TCP, IPPROTO_UDP)
    if ported and _clears_checksum(before, offset, new):
        return Tri.TRUE
    if after is None or (ported and after != before and a.get("csum_type", CSUM_NONE) == CSUM_NONE):
        return Stop("payload set")
    ctx.packet = after
    return Tri.TRUE


def _clears_checksum(packet: Packet, offset: int, new: bytes) -> bool:
    """Tell whether a write takes the checksum away, as UDP over IPv4 may do without one."""
    return packet.proto == IPPROTO_UDP and not packet.ipv6 and (offset, new) == (6, b"\0\0")


def eval_exthdr(ctx: Context, a: dict[str, Any]) -> Result:
    """Look for an option or extension header; change one of a SYN's options.

    No sender here makes IPv4 options or IPv6 extension headers.

    Source: net/netfilter/nft_exthdr.c (Linux 6.18).
    """
    op = a.get("op", NFT_EXTHDR_OP_IPV6)
    if op == NFT_EXTHDR_OP_TCPOPT:
        return _tcp_option(ctx, a)
    present = bool(a.get("flags", 0) & NFT_EXTHDR_F_PRESENT)
    v6 = op == NFT_EXTHDR_OP_IPV6
    wrong_family = op in (NFT_EXTHDR_OP_IPV6, NFT_EXTHDR_OP_IPV4) and ctx.packet.ipv6 != v6
    if "dreg" not in a or ctx.packet.arp or wrong_family or not present:
        return Tri.FALSE
    fragment = v6 and a.get("type", 0) == IPPROTO_FRAGMENT and is_piece(ctx)
    ctx.store(a["dreg"], bytes([fragment]))
    return Tri.TRUE


def _tcp_option(ctx: Context, a: dict[str, Any]) -> Result:
    """Read, set or strip a TCP option. Setting and stripping change nothing of the packet's path."""
    packet, kind = ctx.packet, a.get("type", 0)
    present = bool(a.get("flags", 0) & NFT_EXTHDR_F_PRESENT)
    tcp = packet.proto == IPPROTO_TCP and not packet.arp
    if "dreg" not in a:
        if tcp:
            ctx.run.memory = ctx.run.memory.but(options_changed=True)
        return Tri.TRUE if tcp else Tri.FALSE
    options = headers.tcp_options(packet) if tcp else {}
    if options is None or is_piece(ctx) or (tcp and ctx.run.memory.options_changed):
        ctx.store(a["dreg"], None, max(a.get("len", 4), 4))
        return Tri.TRUE
    found = kind in options and a.get("offset", 0) + a.get("len", 0) <= options[kind]
    if present:
        ctx.store(a["dreg"], bytes([found]))
        return Tri.TRUE
    if not found:
        return Tri.FALSE
    ctx.store(a["dreg"], None, a.get("len", 4))
    if a.get("offset", 0) < 2 and a.get("len", 0) == 1:
        ctx.store(a["dreg"], bytes([kind if not a.get("offset", 0) else options[kind]]))
    return Tri.TRUE


def eval_inner(ctx: Context, a: dict[str, Any], evaluate: Callable[[Context, NftExpr], Result]) -> Result:
    """Evaluate an expression on the packet inside a tunnel packet.

    Unmodelled: what is inside datagrams that no tunnel device here made.

    Source: net/netfilter/nft_inner.c, nft_inner_eval (Linux 6.18).
    """
    expr = a.get("expr")
    outer = ctx.packet
    if outer.proto != IPPROTO_UDP or outer.arp or not isinstance(expr, dict):
        return Tri.FALSE
    wanted = NftExpr(str(expr.get("name", "")), expr.get("attrs", {}))
    if outer.payload is None or not outer.vni:
        ctx.store(wanted.attrs.get("dreg", 1), None, 16)
        return Tri.TRUE
    ctx.packet = outer.payload
    result = evaluate(ctx, wanted)
    ctx.packet = outer
    return result
