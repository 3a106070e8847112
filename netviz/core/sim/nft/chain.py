"""Chains: rules in order, jumps and returns, forks where a rule's match isn't known.

Source: net/netfilter/nf_tables_core.c, nft_do_chain (Linux 6.18).
"""

from __future__ import annotations

import msgspec

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
    NftRuleBody,
    SetBody,
)
from netviz.core.sim.nft.context import Action, Context, Stop, Tri, Verdict
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.nft.index import ChainIndex, chain_index
from netviz.core.sim.nft.statements import verdict_text
from netviz.core.sim.nft.text import chain_text, list_command
from netviz.core.sim.nft.text import rule_text as write_rule

JUMP_STACK_SIZE = 16
MAX_VISITS = 100_000
EMPTY_BODY = ChainBody()
# After an expression whose match isn't known, a rule of these alone changes nothing that matters.
NO_EFFECT = frozenset(("counter", "log", "last", "limit", "quota"))


class Outcome(msgspec.Struct, frozen=True):
    """What a base chain came to. `rule` is the deciding rule's text, empty for the policy; `chain` is where it stands."""

    code: int
    rule: str = ""
    handle: int = 0
    action: NftExpr | None = None
    matched: tuple[str, ...] = ()
    forked: bool = False
    chain: str = ""

    @property
    def name(self) -> str:
        """The verdict or the statement, by name."""
        return self.action.name if self.action is not None else verdict_text(self.code)


class _Frame(msgspec.Struct):
    chain: NftChain
    rules: tuple[NftRuleBody, ...]
    index: ChainIndex | None = None
    at: int = 0


def rule_text(ctx: Context, rule: NftRuleBody) -> str:
    """Write a rule of the table that is being evaluated."""
    return write_rule(rule, ctx.table_family, ctx.ns.ipsets, ctx.legacy, lambda name: _elements(ctx, name))


def _elements(ctx: Context, name: str) -> SetBody | None:
    record = ctx.set_of(name)
    body = ctx.run.cluster.bodies.get(record.body) if record is not None else None
    return body if isinstance(body, SetBody) else None


def run_chain(ctx: Context, base: NftChain, dev: str) -> Outcome:
    """Run a base chain over the context's packet."""
    ctx.table, ctx.table_family, ctx.copied_to = base.table, base.family, []
    ctx.legacy = ctx.ns.xt_chains.get(base.key) is base
    stack: list[_Frame] = []
    frame = _enter(ctx, base, dev)
    matched: list[str] = []
    forked = False
    for _visit in range(MAX_VISITS):
        if frame.index is not None:
            frame.at = frame.index.next_rule(ctx.packet, frame.at)
        if frame.at >= len(frame.rules):
            if not stack:
                return Outcome(base.policy, matched=tuple(matched), forked=forked)
            frame = stack.pop()
            continue
        rule = frame.rules[frame.at]
        number = frame.at
        frame.at += 1
        before = ctx.packet
        result, guessed = _run_rule(ctx, frame.chain, number, rule, dev)
        forked = forked or guessed
        if isinstance(result, NftExpr):
            handle, text = _handle(frame.chain, number), rule_text(ctx, rule)
            return Outcome(NF_DROP, text, handle, result, tuple(matched), forked, frame.chain.name)
        if result.code in (NFT_CONTINUE, NFT_BREAK):
            if ctx.packet is not before and not ctx.legacy:
                matched.append(f"{frame.chain.name}: {rule_text(ctx, rule)}")
            continue
        matched.append(f"{frame.chain.name}: {rule_text(ctx, rule)}")
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
            handle, text = _handle(frame.chain, number), rule_text(ctx, rule)
            return Outcome(code, text, handle, None, tuple(matched), forked, frame.chain.name)
    _give_up(ctx, base, dev, "jump loop")
    return Outcome(NF_DROP)


def _handle(chain: NftChain, number: int) -> int:
    return chain.handles[number] if number < len(chain.handles) else 0


def _enter(ctx: Context, chain: NftChain, dev: str) -> _Frame:
    if not chain.body:
        return _Frame(chain, ())
    body = ctx.run.cluster.bodies.get(chain.body)
    if not isinstance(body, ChainBody):
        _give_up(ctx, chain, dev, "rules not in the state")
        body = EMPTY_BODY
    return _Frame(chain, body.rules, chain_index(body, chain.family))


def _target(ctx: Context, base: NftChain, name: str, dev: str) -> NftChain:
    chains = ctx.ns.xt_chains if ctx.legacy else ctx.ns.nft_chains
    found = chains.get((base.family, base.table, name))
    if found is None:
        _give_up(ctx, base, dev, f"chain {name} not in the state")
        return base
    return found


def _give_up(ctx: Context, chain: NftChain, dev: str, what: str) -> None:
    ctx.run.unknown(
        ctx.ns,
        "netfilter",
        dev,
        ctx.packet,
        f"{chain_text(chain)}: {what}",
        f"What chain {chain_text(chain)} does isn't known: {what}.",
        command=list_command(chain, legacy=ctx.legacy),
    )


def _run_rule(
    ctx: Context, chain: NftChain, number: int, rule: NftRuleBody, dev: str
) -> tuple[Verdict | NftExpr, bool]:
    """Run one rule; the flag says that a match was guessed (the run forks there)."""
    ctx.reset()
    guessed = False
    for position, expr in enumerate(rule.exprs):
        ctx.rule_id = (chain.key, number, position, ctx.hook)
        result = evaluate(ctx, expr)
        if result is Tri.TRUE:
            continue
        if result is Tri.FALSE:
            return Verdict(NFT_BREAK), guessed
        if isinstance(result, Verdict):
            if result.code == NFT_CONTINUE:
                continue
            return result, guessed
        if isinstance(result, Action):
            return result.expr, guessed
        if isinstance(result, Stop):
            _stop(ctx, chain, rule, dev, result.what)
        if all(later.name in NO_EFFECT for later in rule.exprs[position + 1 :]):
            return Verdict(NFT_BREAK), guessed
        guessed = True
        if not _guess(ctx, chain, rule, expr, dev):
            return Verdict(NFT_BREAK), guessed
    return Verdict(NFT_CONTINUE), guessed


def _expr_name(expr: NftExpr) -> str:
    name = expr.attrs.get("name")
    return f"{expr.name} {name}" if isinstance(name, str) else expr.name


def _guess(ctx: Context, chain: NftChain, rule: NftRuleBody, expr: NftExpr, dev: str) -> bool:
    key = ("nft", ctx.ns.key, ctx.rule_id, ctx.packet.tuples())
    matches = ctx.run.choose(key, 2, None) == 0
    what = _expr_name(expr)
    ctx.run.step(
        ctx.ns,
        "netfilter",
        dev,
        ctx.packet,
        "assume match" if matches else "assume no match",
        f"Whether {what} in chain {chain_text(chain)} matches isn't known; this branch takes it "
        f"{'to match' if matches else 'not to match'}: {rule_text(ctx, rule)}.",
        reason=what,
        certainty="unknown",
        chain=chain_text(chain),
        rule=rule_text(ctx, rule),
        expression=what,
        command=list_command(chain, legacy=ctx.legacy),
    )
    return matches


def _stop(ctx: Context, chain: NftChain, rule: NftRuleBody, dev: str, what: str) -> None:
    ctx.run.unknown(
        ctx.ns,
        "netfilter",
        dev,
        ctx.packet,
        f"nft {what}",
        f"Chain {chain_text(chain)} uses {what}, which is not modelled: {rule_text(ctx, rule)}.",
        chain=chain_text(chain),
        rule=rule_text(ctx, rule),
        expression=what,
        command=list_command(chain, legacy=ctx.legacy),
    )
