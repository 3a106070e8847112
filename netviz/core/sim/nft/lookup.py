"""Sets as rules use them: look-ups, elements that packets add, and the named objects of rules.

What packets of this run add or take away is kept in the run; look-ups see it.

Source: net/netfilter/nft_lookup.c, nft_dynset.c, nft_objref.c; nft_set_hash.c, nft_rhash_update
(Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from netviz.core.model.netfilter import NftExpr, NftSet, SetBody, SetElem
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.choice import eval_connlimit, eval_limit, eval_quota, fresh
from netviz.core.sim.nft.context import Context, Result, Stop, Tri, Uniform
from netviz.core.sim.nft.elements import elements_of, find_elem, has_elements
from netviz.core.sim.nft.sets import lookup_set, may_match

NFT_LOOKUP_F_INV = NFT_DYNSET_F_INV = 1
NFT_DYNSET_OP_ADD, NFT_DYNSET_OP_UPDATE, NFT_DYNSET_OP_DELETE = range(3)
NFT_SET_MAP, NFT_SET_INTERVAL = 0x8, 0x4
COUNTER, QUOTA, CT_HELPER, LIMIT, CONNLIMIT, TUNNEL, CT_TIMEOUT, SECMARK, CT_EXPECT, SYNPROXY = range(1, 11)
MAX_SPREAD, MAX_GUESSED = 4096, 8
Exprs = tuple[NftExpr, ...]


def all_of(ctx: Context, record: NftSet) -> SetBody | None:
    """Return a set's elements in the state; None when they aren't in it."""
    return elements_of(ctx.ns, record.key, ctx.run.cluster.bodies)


def find(ctx: Context, record: NftSet, key: bytes, body: SetBody | None = None) -> SetElem | None:
    """Find the element that matches, as this run's packets have left the set. `body` has all that are in the state."""
    changes = ctx.run.memory.set_elems.get((ctx.ns.key, record.key), {})
    if key in changes:
        changed, known = changes[key], body or all_of(ctx, record) or SetBody()
        return changed if changed is not None else next((e for e in known.elems if e.catchall), None)
    if body is not None:
        return lookup_set(record, body, key)
    return find_elem(ctx.ns, record.key, key, bodies=ctx.run.cluster.bodies)


def is_known(ctx: Context, record: NftSet) -> bool:
    """Tell whether a set's elements are in the state."""
    return has_elements(ctx.ns, record.key, bodies=ctx.run.cluster.bodies)


def eval_lookup(ctx: Context, a: dict[str, Any]) -> Result:
    """Look a register up in a set or map."""
    record = ctx.set_of(a["set"])
    if record is None or not is_known(ctx, record):
        return Stop(f"set {a['set']}, which is not in the state") if "dreg" in a else Tri.UNKNOWN
    spread = ctx.spread(a["sreg"], record.key_len)
    if spread is not None and spread.modulus <= MAX_SPREAD:
        return _found(ctx, a, _draw(ctx, record, all_of(ctx, record) or SetBody(), spread))
    key = ctx.load(a["sreg"], record.key_len)
    if key is None:
        return _partly_known(ctx, a, record, all_of(ctx, record) or SetBody())
    return _found(ctx, a, find(ctx, record, key))


def _draw(ctx: Context, record: NftSet, body: SetBody, spread: Uniform) -> SetElem | None:
    """Let chance choose among the elements that a random number may find, each with its odds."""
    counts: dict[int, int] = {}
    elems: dict[int, SetElem | None] = {}
    for number in range(spread.offset, spread.offset + spread.modulus):
        elem = find(ctx, record, spread.data(number), body)
        elems[id(elem)] = elem
        counts[id(elem)] = counts.get(id(elem), 0) + 1
    odds = tuple(count / spread.modulus for count in counts.values())
    picked = ctx.run.choose((spread.key, ctx.rule_id), len(odds), odds) if len(odds) > 1 else 0
    return elems[list(counts)[picked]]


def _partly_known(ctx: Context, a: dict[str, Any], record: NftSet, body: SetBody) -> Result:
    """Answer where the key isn't known whole: the run forks over what a map may give."""
    if not may_match(record, body, ctx.words(a["sreg"], record.key_len)):
        return Tri.TRUE if a.get("flags", 0) & NFT_LOOKUP_F_INV else Tri.FALSE
    if "dreg" not in a:
        return Tri.UNKNOWN
    outcomes: dict[Hashable, SetElem | None] = {
        (elem.verdict, elem.chain, elem.data): elem for elem in body.elems if not elem.end
    }
    if not any(elem.catchall for elem in body.elems):
        outcomes["none"] = None
    if len(outcomes) > MAX_GUESSED:
        return Stop(f"lookup in map {a['set']}")
    key = ("lookup", ctx.ns.key, ctx.rule_id, ctx.packet.tuples())
    return _found(ctx, a, list(outcomes.values())[ctx.run.choose(key, len(outcomes), None)])


def _found(ctx: Context, a: dict[str, Any], elem: SetElem | None) -> Result:
    inverted = bool(a.get("flags", 0) & NFT_LOOKUP_F_INV)
    if (elem is not None) == inverted:
        return Tri.FALSE
    passed = run_exprs(ctx, elem.exprs) if elem is not None else Tri.TRUE
    if passed is Tri.FALSE:
        return Tri.FALSE
    if elem is not None and "dreg" in a:
        if passed is Tri.UNKNOWN:
            return Stop(f"limited element of map {a['set']}")
        if elem.verdict is not None:
            return Verdict(elem.verdict, elem.chain)
        ctx.store(a["dreg"], elem.data)
    return passed


def run_exprs(ctx: Context, exprs: Exprs, new: bool = False) -> Tri:
    """Evaluate the statements of an element, of which each may break the rule; `new`: nothing was used before.

    Source: net/netfilter/nf_tables.h, nft_set_elem_update_expr (Linux 6.18).
    """
    outcome = Tri.TRUE
    for expr in exprs:
        known = fresh(ctx, expr.name, expr.attrs) if new else _stateful(ctx, expr)
        if known is Tri.FALSE:
            return known
        outcome = known if known is Tri.UNKNOWN else outcome
    return outcome


def _stateful(ctx: Context, expr: NftExpr) -> Tri:
    if expr.name in ("counter", "last"):
        return Tri.TRUE
    handler = {"limit": eval_limit, "quota": eval_quota, "connlimit": eval_connlimit}.get(expr.name)
    result = handler(ctx, expr.attrs) if handler is not None else Tri.UNKNOWN
    return result if isinstance(result, Tri) else Tri.UNKNOWN


def eval_dynset(ctx: Context, a: dict[str, Any]) -> Result:
    """Add, refresh or delete the packet's element. A full set breaks the rule.

    Source: net/netfilter/nft_dynset.c, nft_dynset_eval (Linux 6.18).
    """
    record = ctx.set_of(a["set_name"])
    body = all_of(ctx, record) if record is not None else None
    key = ctx.load(a["sreg_key"], record.key_len) if record is not None else None
    if record is None or body is None or key is None or record.flags & NFT_SET_INTERVAL:
        return Stop(f"changes of set {a['set_name']}")
    changes = ctx.run.memory.set_elems.get((ctx.ns.key, record.key), {})
    known = changes[key] if key in changes else lookup_set(record, body, key)
    if known is not None and known.catchall:
        known = None
    if a.get("op", 0) == NFT_DYNSET_OP_DELETE:
        _change(ctx, record, key, None)
        return Tri.TRUE
    inverted = bool(a.get("flags", 0) & NFT_DYNSET_F_INV)
    if known is not None:
        return _unless(inverted, run_exprs(ctx, known.exprs, known.exprs == () or key in changes))
    if record.size and _count(body, changes) >= record.size:
        return _unless(not inverted, Tri.TRUE)
    made = _made(ctx, a, record, key)
    if made is None:
        return Stop(f"changes of map {a['set_name']}")
    passed = run_exprs(ctx, made.exprs, True)
    _change(ctx, record, key, made)
    return _unless(inverted, passed)


def _change(ctx: Context, record: NftSet, key: bytes, elem: SetElem | None) -> None:
    """Remember what a rule makes of an element; None: it is gone."""
    memory, set_key = ctx.run.memory, (ctx.ns.key, record.key)
    changes = {**memory.set_elems.get(set_key, {}), key: elem}
    ctx.run.memory = memory.but(set_elems={**memory.set_elems, set_key: changes})


def _count(body: SetBody, changes: Mapping[bytes, SetElem | None]) -> int:
    kept = {elem.key for elem in body.elems} - {key for key, elem in changes.items() if elem is None}
    return len(kept | {key for key, elem in changes.items() if elem is not None})


def _unless(broken: bool, passed: Tri) -> Tri:
    return Tri.FALSE if broken else passed


def _made(ctx: Context, a: dict[str, Any], record: NftSet, key: bytes) -> SetElem | None:
    exprs = a.get("expressions") or ([a["expr"]] if "expr" in a else [])
    plain = tuple(NftExpr(one["name"], one.get("attrs", {})) for one in exprs) or record.exprs
    data: bytes | None = b""
    if a.get("sreg_data") and record.flags & NFT_SET_MAP:
        data = ctx.load(a["sreg_data"], record.data_len)
    return None if data is None else SetElem(key, data=data, exprs=plain)


def eval_objref(ctx: Context, a: dict[str, Any]) -> Result:
    """Use a named object. Helpers, time-outs and expectations change nothing of this packet's path.

    Source: net/netfilter/nft_objref.c, nft_objref_eval, nft_objref_map_eval (Linux 6.18).
    """
    kind, name = a.get("imm_type", 0), a.get("imm_name", "")
    if "set_name" in a:
        record = ctx.set_of(a["set_name"])
        known = record is not None and is_known(ctx, record)
        key = ctx.load(a["set_sreg"], record.key_len) if record is not None else None
        if record is None or not known or key is None:
            return Stop(f"objects of map {a['set_name']}")
        elem = find(ctx, record, key)
        if elem is None:
            return Tri.FALSE
        kind, name = record.obj_type, elem.objref
    if kind in (COUNTER, CT_HELPER, CT_TIMEOUT, SECMARK, CT_EXPECT):
        return Tri.TRUE
    return _limiting(ctx, kind, name)


def _limiting(ctx: Context, kind: int, name: str) -> Result:
    """Evaluate an object that lets only so much pass."""
    types = {
        QUOTA: ("quota", eval_quota),
        LIMIT: ("limit", eval_limit),
        CONNLIMIT: ("connlimit", eval_connlimit),
    }
    if kind not in types:
        return Stop({SYNPROXY: "synproxy", TUNNEL: "tunnel"}.get(kind, f"object of type {kind}"))
    kind_name, handler = types[kind]
    found = ctx.ns.nft_objects.get((ctx.table_family, ctx.table, kind_name, name))
    return handler(ctx, found.attrs) if found is not None else Tri.UNKNOWN
