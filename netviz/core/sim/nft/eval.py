"""The register machine: one nftables rule over one packet, in three truth values.

An expression loads registers, compares them, or acts. What isn't known makes the register unknown; a
comparison with an unknown register, and an expression that isn't modelled, are neither true nor
false, and the caller forks over both.

Source: net/netfilter/nf_tables_core.c, nft_do_chain; nft_cmp.c, nft_bitwise.c, nft_byteorder.c,
nft_range.c, nft_immediate.c, nft_osf.c, nft_xfrm.c, nft_flow_offload.c, nft_synproxy.c (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.netfilter import NF_DROP, NFPROTO_IPV6, NftExpr
from netviz.core.sim.attrs import Verdict, data_of, verdict_of
from netviz.core.sim.nft.choice import eval_connlimit, eval_hash, eval_limit, eval_numgen, eval_quota
from netviz.core.sim.nft.compat.matches import evaluate_match
from netviz.core.sim.nft.compat.targets import evaluate_target
from netviz.core.sim.nft.context import Context, Result, Statement, Stop, Tri, Uniform
from netviz.core.sim.nft.ct import eval_ct
from netviz.core.sim.nft.fib import eval_fib
from netviz.core.sim.nft.lookup import eval_dynset, eval_lookup, eval_objref
from netviz.core.sim.nft.meta import eval_meta, eval_rt
from netviz.core.sim.nft.payload import eval_exthdr, eval_inner, eval_payload
from netviz.core.sim.nft.sets import may_equal
from netviz.core.sim.nft.socket import eval_socket, eval_tproxy
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, TH_ACK, TH_SYN
from netviz.core.sim.steps import Copy

TCP_CONNTRACK_ESTABLISHED = 3
BOOL, LSHIFT, RSHIFT, AND, OR, XOR = range(6)


def evaluate(ctx: Context, expr: NftExpr) -> Result:
    """Evaluate one expression. TRUE goes on to the next, FALSE breaks the rule."""
    handler = HANDLERS.get(expr.name)
    if handler is None or "raw" in expr.attrs:
        return _unmodelled(ctx, expr)
    return handler(ctx, expr.attrs)


def _unmodelled(ctx: Context, expr: NftExpr) -> Result:
    dreg = expr.attrs.get("dreg")
    if isinstance(dreg, int):
        ctx.store(dreg, None, 16)
        return Tri.TRUE
    return Tri.UNKNOWN if expr.name in MAYBE else Stop(expr.name)


# Statements without a register that only let a packet pass or not: the caller forks over both.
MAYBE = frozenset(("match",))


def _immediate(ctx: Context, a: dict[str, Any]) -> Result:
    if a.get("dreg", 0) == 0:
        found = verdict_of(a.get("data"))
        return found if found is not None else Stop("verdict")
    ctx.store(a["dreg"], data_of(a.get("data")))
    return Tri.TRUE


_COMPARE: dict[int, Callable[[bytes, bytes], bool]] = {
    0: lambda x, y: x == y,
    1: lambda x, y: x != y,
    2: lambda x, y: x < y,
    3: lambda x, y: x <= y,
    4: lambda x, y: x > y,
    5: lambda x, y: x >= y,
}


def _cmp(ctx: Context, a: dict[str, Any]) -> Result:
    wanted = data_of(a.get("data"))
    op = a.get("op", 0)
    spread = ctx.spread(a["sreg"], len(wanted))
    if spread is not None and (spread.big or op < 2):
        return _by_chance(ctx, spread, _matching(spread, op, wanted))
    have = ctx.load(a["sreg"], len(wanted))
    compare = _COMPARE.get(op)
    if have is None and op in (0, 1) and not may_equal(wanted, ctx.words(a["sreg"], len(wanted))):
        return Tri.TRUE if op == 1 else Tri.FALSE
    if have is None or compare is None:
        return Tri.UNKNOWN
    return Tri.TRUE if compare(have, wanted) else Tri.FALSE


def _matching(spread: Uniform, op: int, wanted: bytes) -> int:
    """Count the numbers of a random register that a comparison matches."""
    number = int.from_bytes(wanted, "big" if spread.big else "little")
    below, upto = spread.below(number), spread.below(number + 1)
    total = spread.modulus
    return (upto - below, total - upto + below, below, upto, total - upto, total - below)[op]


def _by_chance(ctx: Context, spread: Uniform, matching: int) -> Tri:
    """Let chance decide a comparison, unless it comes out alike for every number."""
    if matching in (0, spread.modulus):
        return Tri.TRUE if matching else Tri.FALSE
    odds = matching / spread.modulus
    picked = ctx.run.choose((spread.key, ctx.rule_id), 2, (odds, 1 - odds))
    return Tri.TRUE if picked == 0 else Tri.FALSE


def _range(ctx: Context, a: dict[str, Any]) -> Result:
    low, high = data_of(a.get("from_data")), data_of(a.get("to_data"))
    inverted = a.get("op", 0) == 1
    spread = ctx.spread(a["sreg"], len(low))
    if spread is not None and spread.big:
        inside = spread.below(int.from_bytes(high, "big") + 1) - spread.below(int.from_bytes(low, "big"))
        return _by_chance(ctx, spread, spread.modulus - inside if inverted else inside)
    have = ctx.load(a["sreg"], len(low))
    if have is None:
        return Tri.UNKNOWN
    return Tri.TRUE if (low <= have <= high) != inverted else Tri.FALSE


def _bitwise(ctx: Context, a: dict[str, Any]) -> Result:
    """Mask, combine or shift. A mask may take away the bits that aren't known."""
    length, op = a["len"], a.get("op", BOOL)
    if op == BOOL:
        mask, xor = (int.from_bytes(data_of(a.get(name)), "big") for name in ("mask", "xor"))
        bits = ctx.bits(a["sreg"], length)
        if bits is None:
            ctx.store(a["dreg"], None, length)
        else:
            ctx.store_bits(a["dreg"], bits[0] & mask ^ xor, bits[1] & mask, length)
        return Tri.TRUE
    have = ctx.load(a["sreg"], length)
    other = ctx.load(a["sreg2"], length) if a.get("sreg2") else data_of(a.get("data"))
    if have is None or other is None:
        ctx.store(a["dreg"], None, length)
    elif op in (LSHIFT, RSHIFT):
        ctx.store(a["dreg"], _shift(have, other, op == LSHIFT), length)
    else:
        left, right = int.from_bytes(have, "big"), int.from_bytes(other, "big")
        number = {AND: left & right, OR: left | right, XOR: left ^ right}.get(op)
        if number is None:
            return Stop("bitwise operation")
        ctx.store(a["dreg"], number.to_bytes(length, "big"))
    return Tri.TRUE


def _shift(have: bytes, data: bytes, left: bool) -> bytes:
    """Shift as the kernel does: by words in host order, the first word the most significant."""
    count = int.from_bytes(data[:4], "little")
    words = [int.from_bytes(have[i : i + 4].ljust(4, b"\0"), "little") for i in range(0, len(have), 4)]
    number = 0
    for one in words:
        number = number << 32 | one
    width = 32 * len(words)
    number = (number << count) & ((1 << width) - 1) if left else number >> count
    out = [(number >> (width - 32 * (i + 1))) & 0xFFFFFFFF for i in range(len(words))]
    return b"".join(one.to_bytes(4, "little") for one in out)[: len(have)]


def _byteorder(ctx: Context, a: dict[str, Any]) -> Result:
    """Swap to or from network order: the same on a little-endian machine."""
    length, size = a["len"], a["size"]
    spread = ctx.spread(a["sreg"], length)
    if spread is not None and size == length:
        ctx.store_spread(a["dreg"], Uniform(spread.modulus, spread.offset, spread.key, not spread.big))
        return Tri.TRUE
    have = ctx.load(a["sreg"], length)
    if have is None:
        ctx.store(a["dreg"], None, length)
        return Tri.TRUE
    swapped = b"".join(have[i : i + size][::-1] for i in range(0, length, size))
    ctx.store(a["dreg"], swapped)
    return Tri.TRUE


def _go_on(_ctx: Context, _a: dict[str, Any]) -> Result:
    return Tri.TRUE


def _break(_ctx: Context, _a: dict[str, Any]) -> Result:
    """Break the rule: no packet here has been through IPsec."""
    return Tri.FALSE


def _notrack(ctx: Context, _a: dict[str, Any]) -> Result:
    if ctx.packet.ct is None and not ctx.packet.template:
        ctx.packet = ctx.packet.but(untracked=True)
    return Tri.TRUE


def _osf(ctx: Context, a: dict[str, Any]) -> Result:
    """Match a SYN's fingerprint; which ones are loaded isn't in the state."""
    packet = ctx.packet
    if packet.arp or packet.proto != IPPROTO_TCP or not packet.tcp_flags & TH_SYN:
        return Tri.FALSE
    ctx.store(a["dreg"], None, 16)
    return Tri.TRUE


def _flow_offload(ctx: Context, _a: dict[str, Any]) -> Result:
    """Take a flow past the hooks from its next packet on, if its connection is under way.

    Source: net/netfilter/nft_flow_offload.c, nft_flow_offload_eval (Linux 6.18).
    """
    packet, conn = ctx.packet, ctx.conn
    if conn is None or not conn.confirmed or packet.proto not in (IPPROTO_TCP, IPPROTO_UDP):
        return Tri.FALSE
    if packet.proto == IPPROTO_TCP and conn.tcp_state != TCP_CONNTRACK_ESTABLISHED:
        return Tri.FALSE
    return Tri.UNKNOWN


def _synproxy(ctx: Context, _a: dict[str, Any]) -> Result:
    """Answer a SYN in the server's place.

    Unmodelled: the connection that the proxy then makes.

    Source: net/netfilter/nft_synproxy.c, nft_synproxy_do_eval (Linux 6.18).
    """
    packet = ctx.packet
    if packet.arp or packet.proto != IPPROTO_TCP:
        return Tri.FALSE
    return Stop("synproxy") if packet.tcp_flags & (TH_SYN | TH_ACK) else Tri.TRUE


def _queue(_ctx: Context, a: dict[str, Any]) -> Result:
    return Stop(f"queue {a.get('num', 0)} (a program outside the kernel decides)")


def _dup(ctx: Context, a: dict[str, Any]) -> Result:
    """Send a copy elsewhere. The packet itself goes on, and only it is followed."""
    addr = ctx.load(a["sreg_addr"], len(ctx.packet.dst)) if a.get("sreg_addr") else None
    index = ctx.load(a["sreg_dev"], 4) if a.get("sreg_dev") else None
    link = ctx.ns.links.get(int.from_bytes(index, "little")) if index is not None else None
    ctx.copies.append(Copy(addr=addr or b"", ifname=link.ifname if link is not None else ""))
    return Tri.TRUE


def _fwd(ctx: Context, a: dict[str, Any]) -> Result:
    """Send the frame out of another device; to a neighbour, what is no packet of its family, or used up, doesn't go.

    Source: net/netfilter/nft_fwd_netdev.c, nft_fwd_neigh_eval (Linux 6.18).
    """
    if a.get("sreg_addr"):
        if ctx.packet.arp or ctx.packet.ipv6 != (a.get("nfproto") == NFPROTO_IPV6):
            return Tri.FALSE
        if ctx.packet.ttl <= 1:
            return Verdict(NF_DROP)
    return Statement(NftExpr("fwd", a))


def _action(name: str) -> Callable[[Context, dict[str, Any]], Result]:
    return lambda _ctx, a: Statement(NftExpr(name, a))


HANDLERS: dict[str, Callable[[Context, dict[str, Any]], Result]] = {
    "immediate": _immediate,
    "cmp": _cmp,
    "range": _range,
    "payload": eval_payload,
    "exthdr": eval_exthdr,
    "inner": lambda ctx, a: eval_inner(ctx, a, evaluate),
    "bitwise": _bitwise,
    "byteorder": _byteorder,
    "meta": eval_meta,
    "rt": eval_rt,
    "ct": eval_ct,
    "lookup": eval_lookup,
    "dynset": eval_dynset,
    "objref": eval_objref,
    "fib": eval_fib,
    "numgen": eval_numgen,
    "hash": eval_hash,
    "limit": eval_limit,
    "quota": eval_quota,
    "connlimit": eval_connlimit,
    "socket": eval_socket,
    "tproxy": eval_tproxy,
    "match": evaluate_match,
    "target": evaluate_target,
    "counter": _go_on,
    "last": _go_on,
    "log": _go_on,
    "notrack": _notrack,
    "osf": _osf,
    "xfrm": _break,
    "flow_offload": _flow_offload,
    "synproxy": _synproxy,
    "queue": _queue,
    "dup": _dup,
    "fwd": _fwd,
    **{name: _action(name) for name in ("nat", "masq", "redir", "reject")},
}
