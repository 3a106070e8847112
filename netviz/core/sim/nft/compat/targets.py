"""Targets of xtables: what they do to the packet, its connection, or its path.

Translation is in `translation`; rejection is turned into the statement that nftables has for it. A
target that is not here, or of another revision, stops the walk as UNKNOWN, by name and revision.

Source: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, net/ipv6/netfilter/ip6t_*.c; each function
names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.netfilter import NF_ACCEPT, NF_DROP, NFPROTO_BRIDGE, NftExpr
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.compat import ebtables, translation
from netviz.core.sim.nft.compat.hmark import hash_mark
from netviz.core.sim.nft.compat.ipset import change_set, map_set
from netviz.core.sim.nft.compat.tproxy import redirect_to_socket
from netviz.core.sim.nft.context import Context, Result, Statement, Stop, Tri
from netviz.core.sim.packet import IPPROTO_TCP
from netviz.core.sim.steps import Copy
from netviz.core.sim.xtables import payloads, target_payloads
from netviz.core.sim.xtables.decode import decode_target

ZONE_DIRECTIONS, ZONE_MARK = 4 | 8, 16
QUEUE_BYPASS = 1
ECN_IP, ECN_ECE, ECN_CWR = 0x01, 0x10, 0x20
# ICMP codes of `REJECT --reject-with`, by ipt_reject_with and ip6t_reject_with; None is a TCP reset.
REJECT4: dict[int, int | None] = {0: 0, 1: 1, 2: 2, 3: 3, 5: 9, 6: 10, 7: None, 8: 13}
REJECT6: dict[int, int | None] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 6: None, 7: 5, 8: 6}
# What a target may do without any effect on a packet's path.
NO_EFFECT = frozenset(
    ("LOG", "NFLOG", "AUDIT", "CHECKSUM", "TRACE", "CLASSIFY", "TCPMSS", "RATEEST", "IDLETIMER", "LED",
     "SECMARK", "CONNSECMARK")
)  # fmt: skip


def _mark(ctx: Context, a: target_payloads.MarkSet) -> Result:
    """Source: net/netfilter/xt_mark.c, mark_tg."""
    ctx.packet = ctx.packet.but(mark=(ctx.packet.mark & ~a.mask & 0xFFFFFFFF) ^ a.value)
    return Tri.TRUE


def _connmark(ctx: Context, a: target_payloads.ConnmarkSet) -> Result:
    """Source: net/netfilter/xt_connmark.c, connmark_tg_shift."""
    conn = ctx.conn
    if conn is None:
        return Tri.TRUE

    def shift(value: int) -> int:
        return value >> a.bits if a.right else value << a.bits & 0xFFFFFFFF

    if a.mode == 0:
        ctx.run.change_conn(ctx.packet.ct, mark=shift((conn.mark & ~a.ctmask & 0xFFFFFFFF) ^ a.ctmark))
    elif a.mode == 1:
        ctx.run.change_conn(
            ctx.packet.ct, mark=(conn.mark & ~a.ctmask & 0xFFFFFFFF) ^ shift(ctx.packet.mark & a.nfmask)
        )
    elif a.mode == 2:
        mark = (ctx.packet.mark & ~a.nfmask & 0xFFFFFFFF) ^ shift(conn.mark & a.ctmask)
        ctx.packet = ctx.packet.but(mark=mark)
    else:
        return Stop("target CONNMARK with an unknown mode")
    return Tri.TRUE


def _ct(ctx: Context, a: target_payloads.CtSet) -> Result:
    """Source: net/netfilter/xt_CT.c, xt_ct_target."""
    packet = ctx.packet
    if packet.ct is not None or packet.untracked or packet.template:
        return Tri.TRUE
    if a.flags & 1:
        ctx.packet = packet.but(untracked=True)
        return Tri.TRUE
    if a.flags & ZONE_DIRECTIONS:
        return Stop("target CT with a zone for one direction")
    zone = packet.mark & 0xFFFF if a.flags & ZONE_MARK else a.zone
    ctx.packet = packet.but(zone=zone, template=True)
    return Tri.TRUE


def _tos(ctx: Context, a: payloads.Number) -> Result:
    """Source: net/netfilter/xt_DSCP.c, tos_tg."""
    ctx.packet = ctx.packet.but(tos=(ctx.packet.tos & ~a.mask & 0xFF) ^ a.value)
    return Tri.TRUE


def _dscp(ctx: Context, a: payloads.Number) -> Result:
    """Source: net/netfilter/xt_DSCP.c, dscp_tg."""
    ctx.packet = ctx.packet.but(tos=ctx.packet.tos & 3 | a.value << 2)
    return Tri.TRUE


def _ttl(ctx: Context, a: payloads.Number) -> Result:
    """Source: net/netfilter/xt_HL.c, ttl_tg, hl_tg."""
    ttl = ctx.packet.ttl
    new = {0: a.value, 1: min(ttl + a.value, 255), 2: max(ttl - a.value, 0)}.get(a.mask)
    if new is None:
        return Stop("target TTL with an unknown mode")
    ctx.packet = ctx.packet.but(ttl=new)
    return Tri.TRUE


def _reject(ctx: Context, a: payloads.Number) -> Result:
    """Source: net/ipv4/netfilter/ipt_REJECT.c, reject_tg; net/ipv6/netfilter/ip6t_REJECT.c, reject_tg6."""
    codes = REJECT6 if ctx.packet.ipv6 else REJECT4
    if a.value not in codes:
        return Stop("target REJECT with an unknown answer")
    code = codes[a.value]
    if code is None:
        return Statement(NftExpr("reject", {"type": 1}))
    return Statement(NftExpr("reject", {"type": 0, "icmp_code": code}))


def _set(ctx: Context, a: target_payloads.SetChange) -> Result:
    """Source: net/netfilter/xt_set.c, set_target_v3."""
    change_set(ctx, a.add, True)
    change_set(ctx, a.delete, False)
    return map_set(ctx, a.map, a.map_flags) if a.map is not None else Tri.TRUE


def _ecn(ctx: Context, a: target_payloads.EcnSet) -> Result:
    """Source: net/ipv4/netfilter/ipt_ECN.c, ecn_tg, set_ect_ip, set_ect_tcp."""
    packet = ctx.packet
    if a.operation & ECN_IP:
        packet = packet.but(tos=packet.tos & 0xFC | a.ect & 3)
    if packet.proto == IPPROTO_TCP:
        for bit, flag, wanted in ((ECN_ECE, 0x40, a.tcp & 1), (ECN_CWR, 0x80, a.tcp & 2)):
            if a.operation & bit:
                packet = packet.but(tcp_flags=packet.tcp_flags & ~flag | (flag if wanted else 0))
    ctx.packet = packet
    return Tri.TRUE


def _strip_options(ctx: Context, _a: target_payloads.Options) -> Result:
    """Note that the packet's options aren't the sender's any more. Source: net/netfilter/xt_TCPOPTSTRIP.c."""
    ctx.run.memory = ctx.run.memory.with_scratch(("stripped", ctx.packet.tuple()), 1)
    return Tri.TRUE


def _queue(ctx: Context, a: target_payloads.Queue) -> Result:
    """Hand the packet to a program, if one listens: that isn't in the state, and the run forks.

    Source: net/netfilter/xt_NFQUEUE.c, nfqueue_tg_v3; nf_queue.c, nf_queue.
    """
    key = ("queue", ctx.ns.key, a.number)
    if ctx.run.choose(key, 2, None) == 1:
        return Stop(f"target NFQUEUE to a program on queue {a.number}")
    return Verdict(NF_ACCEPT if a.flags & QUEUE_BYPASS else NF_DROP)


def _tee(ctx: Context, a: target_payloads.Gateway) -> Result:
    """Send a copy to a gateway; the packet itself goes on. Source: net/netfilter/xt_TEE.c, tee_tg4, tee_tg6."""
    ctx.copies.append(Copy(addr=a.addr[: len(ctx.packet.dst)]))
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
    **translation.TARGETS,
    "REJECT": _reject,
    "SET": _set,
    "ECN": _ecn,
    "TCPOPTSTRIP": _strip_options,
    "HMARK": hash_mark,
    "NFQUEUE": _queue,
    "TPROXY": redirect_to_socket,
    "TEE": _tee,
}


def evaluate_target(ctx: Context, attrs: dict[str, Any]) -> Result:
    """Evaluate a target expression (name, rev, info)."""
    name, rev = attrs.get("name", ""), attrs.get("rev", 0)
    if ctx.family == NFPROTO_BRIDGE and name in ebtables.TARGETS:
        return ebtables.evaluate_target(ctx, name, attrs.get("info", b""))
    if name in NO_EFFECT:
        return Tri.TRUE
    handler = TARGETS.get(name)
    decoded = decode_target(name, rev, attrs.get("info", b""), ctx.packet.ipv6)
    if handler is None or decoded is None:
        return Stop(f"target {name} revision {rev}")
    return handler(ctx, decoded)
