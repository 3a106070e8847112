"""Expressions whose answer is chance, or a count that stands in no state: numgen, hash, limit, quota, ct count.

Source: net/netfilter/nft_numgen.c, nft_hash.c, nft_limit.c, nft_quota.c, nft_connlimit.c
(Linux 6.18).
"""

from __future__ import annotations

from typing import Any

from netviz.core.sim.nft.context import Context, Result, Tri, Uniform
from netviz.core.sim.nft.jhash import jhash

NFT_HASH_SYM = NFT_LIMIT_PKT_BYTES = 1
NFT_LIMIT_F_INV = NFT_QUOTA_F_INV = NFT_CONNLIMIT_F_INV = 1
U32 = 0xFFFFFFFF


def eval_numgen(ctx: Context, a: dict[str, Any]) -> Result:
    """Load a random number; the counter of `numgen inc` stands anywhere.

    Source: net/netfilter/nft_numgen.c, nft_ng_inc_eval, nft_ng_random_eval (Linux 6.18).
    """
    key = ("numgen", ctx.ns.key, ctx.rule_id, ctx.packet.tuples())
    ctx.store_spread(a["dreg"], Uniform(max(a.get("modulus", 1), 1), a.get("offset", 0), key))
    return Tri.TRUE


def eval_hash(ctx: Context, a: dict[str, Any]) -> Result:
    """Load a hash of a register, or of the flow. With a secret seed it may be anything.

    Source: net/netfilter/nft_hash.c, nft_jhash_eval, nft_symhash_eval (Linux 6.18).
    """
    data = None
    if a.get("type", 0) != NFT_HASH_SYM and "seed" in a:
        data = ctx.load(a["sreg"], a["len"])
    if data is None:
        return eval_numgen(ctx, a)
    number = jhash(data, a["seed"]) * a["modulus"] >> 32
    ctx.store(a["dreg"], (number + a.get("offset", 0) & U32).to_bytes(4, "little"))
    return Tri.TRUE


def eval_limit(ctx: Context, _a: dict[str, Any]) -> Result:
    """Say that a rate limit may let the packet pass or not: how much of it is used isn't in the state."""
    return Tri.UNKNOWN


def eval_quota(ctx: Context, a: dict[str, Any]) -> Result:
    """Compare a quota with the packet alone: what was used before isn't known.

    Source: net/netfilter/nft_quota.c, nft_quota_do_eval (Linux 6.18).
    """
    over = Tri.TRUE if ctx.packet.length > a.get("bytes", 0) else Tri.UNKNOWN
    return _flip(over, not a.get("flags", 0) & NFT_QUOTA_F_INV)


def eval_connlimit(ctx: Context, a: dict[str, Any]) -> Result:
    """Compare a number of connections, where all that there are cannot reach it or this one alone exceeds it.

    Source: net/netfilter/nft_connlimit.c, nft_connlimit_do_eval (Linux 6.18).
    """
    most = len(ctx.ns.conntrack) + len(ctx.run.memory.conn_tuples) + 1
    limit = a.get("count", 0)
    whole = not ctx.run.is_past(ctx.ns, "conntrack")
    over = Tri.TRUE if limit < 1 else Tri.FALSE if most <= limit and whole else Tri.UNKNOWN
    return _flip(over, not a.get("flags", 0) & NFT_CONNLIMIT_F_INV)


def _flip(value: Tri, flip: bool) -> Tri:
    if value is Tri.UNKNOWN or not flip:
        return value
    return Tri.FALSE if value is Tri.TRUE else Tri.TRUE


def fresh(ctx: Context, name: str, a: dict[str, Any]) -> Tri:
    """Evaluate a statement of a set element that the packet itself has just made: nothing was used before.

    Source: net/netfilter/nft_limit.c, nft_limit_init (tokens full); nft_quota.c; nft_connlimit.c (Linux 6.18).
    """
    flags = a.get("flags", 0)
    if name == "limit":
        if a.get("type", 0) == NFT_LIMIT_PKT_BYTES:
            return Tri.UNKNOWN
        return _flip(Tri.TRUE, bool(flags & NFT_LIMIT_F_INV))
    if name == "quota":
        over = Tri.TRUE if ctx.packet.length > a.get("bytes", 0) else Tri.FALSE
        return _flip(over, not flags & NFT_QUOTA_F_INV)
    if name == "connlimit":
        over = Tri.TRUE if a.get("count", 0) < 1 else Tri.FALSE
        return _flip(over, not flags & NFT_CONNLIMIT_F_INV)
    return Tri.TRUE if name in ("counter", "last") else Tri.UNKNOWN
