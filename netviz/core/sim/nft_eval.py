"""The register machine: one nftables rule over one packet, in three truth values.

An expression loads registers, compares them, or acts. What isn't known makes the register unknown; a
comparison with an unknown register, and an expression that isn't modelled, are neither true nor
false, and the caller forks over both.

Source: net/netfilter/nf_tables_core.c, nft_do_chain; nft_cmp.c, nft_meta.c, nft_payload.c,
nft_bitwise.c, nft_byteorder.c, nft_range.c, nft_lookup.c, nft_ct.c, nft_fib.c (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.netfilter import NftExpr, SetBody
from netviz.core.sim import headers
from netviz.core.sim.nft_context import Action, Context, Result, Stop, Tri, Verdict, data_of, verdict_of
from netviz.core.sim.nft_load import eval_ct, eval_fib, eval_meta, eval_numgen
from netviz.core.sim.nft_sets import HARMLESS, lookup_set, may_equal, may_match
from netviz.core.sim.xtables.matches import evaluate_match
from netviz.core.sim.xtables.targets import evaluate_target

NFT_LOOKUP_F_INV = 1


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
MAYBE = frozenset(("limit", "quota", "connlimit", "osf", "xfrm", "match", "tunnel"))


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
    have = ctx.load(a["sreg"], len(wanted))
    compare = _COMPARE.get(a.get("op", 0))
    if have is None and a.get("op", 0) in (0, 1) and not may_equal(wanted, ctx.words(a["sreg"], len(wanted))):
        return Tri.TRUE if a.get("op", 0) == 1 else Tri.FALSE
    if have is None or compare is None:
        return Tri.UNKNOWN
    return Tri.TRUE if compare(have, wanted) else Tri.FALSE


def _range(ctx: Context, a: dict[str, Any]) -> Result:
    low, high = data_of(a.get("from_data")), data_of(a.get("to_data"))
    have = ctx.load(a["sreg"], len(low))
    if have is None:
        return Tri.UNKNOWN
    inside = low <= have <= high
    return Tri.TRUE if inside != (a.get("op", 0) == 1) else Tri.FALSE


def _payload(ctx: Context, a: dict[str, Any]) -> Result:
    if "sreg" in a:
        return Stop("payload set")
    base, offset, length = a.get("base", 0), a.get("offset", 0), a["len"]
    ctx.store(a["dreg"], headers.read(ctx.packet, base, offset, length), length)
    return Tri.TRUE


def _bitwise(ctx: Context, a: dict[str, Any]) -> Result:
    length, op = a["len"], a.get("op", 0)
    have = ctx.load(a["sreg"], length)
    if have is None:
        ctx.store(a["dreg"], None, length)
        return Tri.TRUE
    number = int.from_bytes(have, "big")
    if op == 0:
        mask = int.from_bytes(data_of(a.get("mask")), "big")
        number = number & mask ^ int.from_bytes(data_of(a.get("xor")), "big")
    elif op in (3, 4, 5):
        other = ctx.load(a["sreg2"], length) if a.get("sreg2") else data_of(a.get("data"))
        if other is None:
            ctx.store(a["dreg"], None, length)
            return Tri.TRUE
        right = int.from_bytes(other, "big")
        number = {3: number & right, 4: number | right, 5: number ^ right}[op]
    else:
        ctx.store(a["dreg"], _shift(have, data_of(a.get("data")), op == 1), length)
        return Tri.TRUE
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
    have = ctx.load(a["sreg"], length)
    if have is None:
        ctx.store(a["dreg"], None, length)
        return Tri.TRUE
    swapped = b"".join(have[i : i + size][::-1] for i in range(0, length, size))
    ctx.store(a["dreg"], swapped)
    return Tri.TRUE


def _lookup(ctx: Context, a: dict[str, Any]) -> Result:
    record = ctx.set_of(a["set"])
    if record is None:
        return Tri.UNKNOWN
    key = ctx.load(a["sreg"], record.key_len)
    if not record.body:
        body: Any = SetBody()
    else:
        body = ctx.run.cluster.bodies.get(record.body)
    inverted = bool(a.get("flags", 0) & NFT_LOOKUP_F_INV)
    partly = key is None and isinstance(body, SetBody)
    if partly and not may_match(record, body, ctx.words(a["sreg"], record.key_len)):
        return Tri.TRUE if inverted else Tri.FALSE
    if key is None or not isinstance(body, SetBody):
        if a.get("dreg"):
            return Stop(f"lookup in map {a['set']}")
        return Tri.UNKNOWN
    elem = lookup_set(record, body, key)
    if elem is not None and any(e.name not in HARMLESS for e in elem.exprs):
        return Tri.UNKNOWN
    if (elem is not None) == inverted:
        return Tri.FALSE
    if elem is None or "dreg" not in a:
        return Tri.TRUE
    if elem.verdict is not None:
        return Verdict(elem.verdict, elem.chain)
    ctx.store(a["dreg"], elem.data)
    return Tri.TRUE


def _objref(_ctx: Context, a: dict[str, Any]) -> Result:
    kind = a.get("imm_type", 0)
    if kind in (1, 3, 7, 8, 9):
        return Tri.TRUE
    return Tri.UNKNOWN


def _dynset(_ctx: Context, a: dict[str, Any]) -> Result:
    return Tri.UNKNOWN if "expr" in a or "expressions" in a else Tri.TRUE


def _go_on(_ctx: Context, _a: dict[str, Any]) -> Result:
    return Tri.TRUE


def _notrack(ctx: Context, _a: dict[str, Any]) -> Result:
    if ctx.packet.ct is None and not ctx.packet.zone and not ctx.packet.template:
        ctx.packet = ctx.packet.but(untracked=True)
    return Tri.TRUE


def _action(name: str) -> Callable[[Context, dict[str, Any]], Result]:
    return lambda _ctx, a: Action(NftExpr(name, a))


HANDLERS: dict[str, Callable[[Context, dict[str, Any]], Result]] = {
    "immediate": _immediate,
    "cmp": _cmp,
    "range": _range,
    "payload": _payload,
    "bitwise": _bitwise,
    "byteorder": _byteorder,
    "meta": eval_meta,
    "ct": eval_ct,
    "lookup": _lookup,
    "fib": eval_fib,
    "numgen": eval_numgen,
    "hash": eval_numgen,
    "match": evaluate_match,
    "target": evaluate_target,
    "objref": _objref,
    "dynset": _dynset,
    "counter": _go_on,
    "last": _go_on,
    "log": _go_on,
    "notrack": _notrack,
    **{name: _action(name) for name in ("nat", "masq", "redir", "reject")},
}
