"""Whether rules drop or reject now what a node forwards: their counters rose between the last two readings.

Looked at are the rules that a packet comes to by the forward hook, as far as jumps lead. A policy agent's chains are left
out: what they refuse is denied, not lost. So are the other hooks: what is dropped on its way to the node itself is mostly
what strangers send. A few packets are normal; told is what comes at a rate.

A chain's counts have the time when they were first read so (ADR 49). Two readings are told apart by the newest of these times;
that nothing moved any more is known once the collector says, later by more than its bound, that it goes on reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, chain_listing, command, place
from netviz.core.model.netfilter import NF_DROP, NF_FORWARD, ChainBody, NftChain, NftRuleBody, RuleCounters
from netviz.core.sim.kubernetes.policy import is_policy_chain
from netviz.core.sim.nft.written import written
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

AT_LEAST, A_MINUTE = 10, 10.0
MAX_RULE = 120
Key = tuple[Any, ...]


class Memory(msgspec.Struct):
    """The counters of all chains as they were read last, when that was (Unix seconds by the node's clock), what rose then."""

    counters: dict[Key, RuleCounters]
    at_s: float
    found: tuple[Problem, ...] = ()


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None or not root.rule_counters:
        look.memory = None
        return
    now = {one.key: one for one in root.rule_counters.values()}
    at_s = max(one.at_s for one in now.values())
    before: Memory | None = look.memory
    if before is None:
        look.memory = Memory(now, at_s)
        look.unknown[f"{root.key.node}: the counters of rules were read once: nothing is known to rise"] = (
            None
        )
        return
    if at_s > before.at_s:
        minutes = (at_s - before.at_s) / 60
        look.memory = Memory(now, at_s, tuple(_rising(look, root, before.counters, now, minutes)))
    elif at_s < before.at_s or _read_after(look, at_s):
        look.memory = Memory(now, at_s)  # nothing rose since, or the node's clock was set back
    look.judged = len(now)
    yield from look.memory.found


def _read_after(look: Look, at_s: float) -> bool:
    """Tell whether the counters have been read again since a time."""
    status = look.node.status.get("rule_counters")
    return status is not None and status.max_age_s > 0 and status.read_at_s - status.max_age_s > at_s


def _rising(
    look: Look,
    root: NetnsState,
    before: dict[Key, RuleCounters],
    now: dict[Key, RuleCounters],
    minutes: float,
) -> Iterator[Problem]:
    for chain, legacy in _forwarding(look, root):
        key = (*chain.key, legacy)
        was, counts = before.get(key), now.get(key)
        body = look.bodies.get(chain.body)
        if was is None or counts is None or not isinstance(body, ChainBody) or is_policy_chain(chain.name):
            continue
        if not was.rules == counts.rules == chain.body:
            continue
        known = {one.number: one.packets for one in was.counts}
        for one in counts.counts:
            rose = one.packets - known.get(one.number, 0)
            if one.number >= len(body.rules) or rose < AT_LEAST or rose / minutes < A_MINUTE:
                continue
            if verb := _refuses(body.rules[one.number]):
                text = written(body, one.number, chain.family, legacy).text
                yield _problem(look, root, chain, legacy, verb, text, rose / minutes)


def _forwarding(look: Look, root: NetnsState) -> Iterator[tuple[NftChain, bool]]:
    """List the chains that a forwarded packet may come to, and whether each is a legacy table's."""
    for legacy, chains in ((False, root.nft_chains), (True, root.xt_chains)):
        todo = [chain for chain in chains.values() if chain.hook == NF_FORWARD]
        seen = {chain.key for chain in todo}
        while todo:
            chain = todo.pop()
            yield chain, legacy
            body = look.bodies.get(chain.body)
            for target in _targets(body) if isinstance(body, ChainBody) else ():
                found = chains.get((chain.family, chain.table, target))
                if found is not None and found.key not in seen:
                    seen.add(found.key)
                    todo.append(found)


def _verdicts(rule: NftRuleBody) -> Iterator[dict[str, Any]]:
    """List the verdicts that a rule gives by itself."""
    for expr in rule.exprs:
        data = expr.attrs.get("data")
        if expr.name == "immediate" and isinstance(data, dict) and "code" in data:
            yield data


def _targets(body: ChainBody) -> Iterator[str]:
    return (data["chain"] for rule in body.rules for data in _verdicts(rule) if data.get("chain"))


def _refuses(rule: NftRuleBody) -> str:
    """Say how a rule ends a packet: "drops", "rejects", or "" where it doesn't."""
    if any(data["code"] == NF_DROP for data in _verdicts(rule)):
        return "drops"
    names = {expr.attrs.get("name") for expr in rule.exprs if expr.name == "target"}
    return "rejects" if "REJECT" in names or any(e.name == "reject" for e in rule.exprs) else ""


def _problem(
    look: Look, root: NetnsState, chain: NftChain, legacy: bool, verb: str, text: str, a_minute: float
) -> Problem:
    node, text = root.key.node, text if len(text) <= MAX_RULE else f"{text[:MAX_RULE]}..."
    return Problem(
        kind="rule-drops-rising",
        cause=f"{node}:{chain.family}:{chain.table}:{chain.name}:{text}",
        severity="warning",
        harm="degrades",
        headline=f"{node} {verb} {a_minute:.0f} forwarded packets a minute by a rule of chain {chain.name}",
        consequence=f"That may be meant so; who sent them gets no answer. The rule is: {text}",
        where=place(root.netns),
        certainty="likely",
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
        check=(command(root.netns, chain_listing(chain, legacy)),),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="rules' drops",
    demands="Next to nothing that a node forwards is dropped by rules that are no policy's.",
    unit="chains",
    kinds=("rule-drops-rising",),
    needs=("rule_counters",),
    reads=("nft_chains", "xt_chains"),
    find=_find,
    compares=True,
)
