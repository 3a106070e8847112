"""Chains: rules in order, jumps and returns, forks where a rule's match isn't known.

Source: net/netfilter/nf_tables_core.c, nft_do_chain (Linux 6.18).
"""

from __future__ import annotations

import msgspec

from netviz.core.model.link import Link
from netviz.core.model.netfilter import (
    NF_DROP,
    NF_QUEUE,
    NFT_BREAK,
    NFT_CONTINUE,
    NFT_GOTO,
    NFT_JUMP,
    NFT_RETURN,
    ChainBody,
    NftChain,
    NftExpr,
)
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.context import Context, Statement, Stop, Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.nft.index import ChainIndex, chain_index
from netviz.core.sim.nft.statements import verdict_text
from netviz.core.sim.steps import HookVerdict, RuleHit
from netviz.core.sim.trace import UNCERTAIN

JUMP_STACK_SIZE = 16
MAX_VISITS = 100_000
EMPTY_BODY = ChainBody()
BREAK, CONTINUE = Verdict(NFT_BREAK), Verdict(NFT_CONTINUE)
# After an expression whose match isn't known, a rule of these alone changes nothing that matters.
NO_EFFECT = frozenset(("counter", "log", "last", "limit", "quota"))


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a base chain came to. `hit` is the deciding rule, None for the policy; `matched` are those before it."""

    code: int
    hit: RuleHit | None = None
    action: NftExpr | None = None
    matched: tuple[RuleHit, ...] = ()
    forked: bool = False

    @property
    def name(self) -> str:
        """The verdict or the statement, by name."""
        return self.action.name if self.action is not None else verdict_text(self.code)


class _Frame(msgspec.Struct):
    chain: NftChain
    body: ChainBody
    index: ChainIndex | None = None
    at: int = 0

    def hit(self, number: int) -> RuleHit:
        handles = self.chain.handles
        return RuleHit(self.chain.name, self.body, number, handles[number] if number < len(handles) else 0)


def run_chain(ctx: Context, base: NftChain, dev: Link | None) -> Outcome:
    """Run a base chain over the context's packet."""
    ctx.table, ctx.table_family, ctx.copies = base.table, base.family, []
    ctx.legacy = ctx.ns.xt_chains.get(base.key) is base
    stack: list[_Frame] = []
    frame = _enter(ctx, base, dev)
    matched: list[RuleHit] = []
    forked = False
    for _visit in range(MAX_VISITS):
        if frame.index is not None:
            frame.at = frame.index.next_rule(ctx.packet, frame.at)
        if frame.at >= len(frame.body.rules):
            if not stack:
                return Outcome(base.policy, matched=tuple(matched), forked=forked)
            frame = stack.pop()
            continue
        number = frame.at
        frame.at += 1
        before = ctx.packet
        result, guessed = _run_rule(ctx, frame, number, dev)
        forked = forked or guessed
        if isinstance(result, Verdict) and result.code in (NFT_CONTINUE, NFT_BREAK):
            if ctx.packet is not before and not ctx.legacy:
                matched.append(frame.hit(number))
            continue
        hit = frame.hit(number)
        if isinstance(result, NftExpr):
            return Outcome(NF_DROP, hit, result, tuple(matched), forked)
        matched.append(hit)
        if result.code in (NFT_JUMP, NFT_GOTO):
            target = _enter(ctx, _target(ctx, base, result.chain, dev), dev)
            if result.code == NFT_JUMP:
                stack.append(frame)
            if len(stack) > JUMP_STACK_SIZE and not ctx.legacy:
                _give_up(ctx, base, dev, "jumps nest too deep")
            frame = target
        elif result.code == NFT_RETURN:
            if not stack:
                return Outcome(base.policy, matched=tuple(matched), forked=forked)
            frame = stack.pop()
        else:
            code = NF_QUEUE if result.code & 0xFF == NF_QUEUE else result.code
            return Outcome(code, hit, None, tuple(matched), forked)
    _give_up(ctx, base, dev, "jump loop")
    return Outcome(NF_DROP)


def _enter(ctx: Context, chain: NftChain, dev: Link | None) -> _Frame:
    if not chain.body:
        return _Frame(chain, EMPTY_BODY)
    body = ctx.run.cluster.bodies.get(chain.body)
    if not isinstance(body, ChainBody):
        _give_up(ctx, chain, dev, "rules not in the state")
        body = EMPTY_BODY
    return _Frame(chain, body, chain_index(body, chain.family))


def _target(ctx: Context, base: NftChain, name: str, dev: Link | None) -> NftChain:
    chains = ctx.ns.xt_chains if ctx.legacy else ctx.ns.nft_chains
    found = chains.get((base.family, base.table, name))
    if found is None:
        _give_up(ctx, base, dev, f"chain {name} not in the state")
        return base
    return found


def _give_up(ctx: Context, chain: NftChain, dev: Link | None, what: str) -> None:
    ctx.run.end_unknown(
        ctx.ns, dev, ctx.packet, HookVerdict("unknown", "chain", chain=ctx.chain_ref(chain), what=what)
    )


def _run_rule(ctx: Context, frame: _Frame, number: int, dev: Link | None) -> tuple[Verdict | NftExpr, bool]:
    """Run one rule; the flag says that a match was guessed (the run forks there)."""
    ctx.begin_rule(frame.chain, number)
    exprs = frame.body.rules[number].exprs
    guessed = False
    for position, expr in enumerate(exprs):
        ctx.position = position
        result = evaluate(ctx, expr)
        if result is Tri.TRUE:
            continue
        if result is Tri.FALSE:
            return BREAK, guessed
        if isinstance(result, Verdict):
            if result.code == NFT_CONTINUE:
                continue
            return result, guessed
        if isinstance(result, Statement):
            return result.expr, guessed
        if isinstance(result, Stop):
            _stop(ctx, frame, number, dev, result.what)
        if all(later.name in NO_EFFECT for later in exprs[position + 1 :]):
            return BREAK, guessed
        guessed = True
        if not _guess(ctx, frame, number, expr, dev):
            return BREAK, guessed
    return CONTINUE, guessed


def _expr_name(expr: NftExpr) -> str:
    name = expr.attrs.get("name")
    return f"{expr.name} {name}" if isinstance(name, str) else expr.name


def _guess(ctx: Context, frame: _Frame, number: int, expr: NftExpr, dev: Link | None) -> bool:
    key = ("nft", ctx.ns.key, ctx.rule_id, ctx.packet.tuples())
    matches = ctx.run.choose(key, 2, None) == 0
    ctx.run.record(
        ctx.ns,
        dev,
        ctx.packet,
        HookVerdict(
            "assume match" if matches else "assume no match",
            chain=ctx.chain_ref(frame.chain),
            hit=frame.hit(number),
            expression=_expr_name(expr),
        ),
        certainty=UNCERTAIN,
    )
    return matches


def _stop(ctx: Context, frame: _Frame, number: int, dev: Link | None, what: str) -> None:
    ctx.run.end_unknown(
        ctx.ns,
        dev,
        ctx.packet,
        HookVerdict(
            "unknown",
            "expression",
            chain=ctx.chain_ref(frame.chain),
            hit=frame.hit(number),
            expression=what,
        ),
    )
