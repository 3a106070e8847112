"""Whether rules drop or reject now what a node forwards: their counters rose between the last two readings.

Looked at are the rules that a packet comes to by the forward hook, as far as jumps lead, by which packets of other hooks may
come there too. A policy agent's chains are left
out: what they refuse is denied, not lost. So are the other hooks: what is dropped on its way to the node itself is mostly
what strangers send. A few packets are normal; told is what comes at a rate.

A chain's counts have the time when they were first read so (ADR 49). Two readings are told apart by the newest of these times;
that nothing moved any more is known once the collector says, later by more than its bound, that it goes on reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, chain_listing, command, place
from netviz.core.model.netfilter import NF_DROP, NF_FORWARD, ChainBody, NftChain, NftRuleBody
from netviz.core.sim.counted import counts_of, has_counter
from netviz.core.sim.kubernetes.policy import is_policy_chain
from netviz.core.sim.nft.written import written
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

AT_LEAST, A_MINUTE = 10, 10.0
MAX_RULE = 120
MAX_SHARED = 500_000


class Refusal(NamedTuple):
    """A rule that drops or rejects, by its chain's rules and its number among them."""

    chain: NftChain
    legacy: bool
    number: int
    verb: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is known by, as long as the chain has the same rules."""
        return (*self.chain.key, self.legacy, self.chain.body, self.number)


class Memory(NamedTuple):
    """Packets that rules had counted when they were read last, when that was (Unix seconds by the node's clock), what rose then."""

    packets: Mapping[tuple[Any, ...], int]
    at_s: float
    found: tuple[Problem, ...] = ()


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None or not root.rule_counters:
        look.memory = None
        return
    now: dict[tuple[Any, ...], int] = {}
    refusals = list(_refusals(look, root))
    for one in refusals:
        handles = one.chain.handles
        handle = handles[one.number] if one.number < len(handles) else 0
        if (count := counts_of(root, one.chain, one.legacy)(one.number, handle)) is not None:
            now[one.key] = count.packets
    look.judged = len(now)
    at_s = max(one.at_s for one in root.rule_counters.values())
    before: Memory | None = look.memory
    if before is None:
        look.memory = Memory(now, at_s)
        look.lacks_second_reading("rule_counters")
        return
    if at_s > before.at_s:
        minutes = (at_s - before.at_s) / 60
        rates = [(one, _rate(before.packets.get(one.key), now.get(one.key), minutes)) for one in refusals]
        found = tuple(_problem(look, root, one, rate) for one, rate in rates if rate >= A_MINUTE)
        look.memory = Memory(now, at_s, found)
    elif at_s < before.at_s or _read_after(look, at_s):
        look.memory = Memory(now, at_s)  # nothing rose since, or the node's clock was set back
    yield from look.memory.found


def _rate(was: int | None, now: int | None, minutes: float) -> float:
    """How many packets a minute a rule counted; 0 where that is few, or isn't known."""
    rose = now - was if was is not None and now is not None else 0
    return rose / minutes if rose >= AT_LEAST else 0.0


def _read_after(look: Look, at_s: float) -> bool:
    """Tell whether the counters have been read again since a time."""
    status = look.node.status.get("rule_counters")
    return status is not None and status.max_age_s > 0 and status.read_at_s - status.max_age_s > at_s


def _refusals(look: Look, root: NetnsState) -> Iterator[Refusal]:
    """List the rules with counters that refuse what a node forwards, but for policy agents'."""
    for chain, legacy in _forwarding(look, root):
        if is_policy_chain(chain.name):
            continue
        key = (chain.body, legacy)
        refusing: tuple[tuple[int, str], ...] | None = look.shared.get(key)
        if refusing is None:
            body = look.bodies.get(chain.body)
            rules = body.rules if isinstance(body, ChainBody) else ()
            refusing = tuple(
                (number, verb)
                for number, rule in enumerate(rules)
                if has_counter(rule, legacy) and (verb := _refuses(rule))
            )
            if len(look.shared) > MAX_SHARED:
                look.shared.clear()
            if isinstance(body, ChainBody):
                look.shared[key] = refusing
        yield from (Refusal(chain, legacy, number, verb) for number, verb in refusing)


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


def _problem(look: Look, root: NetnsState, one: Refusal, a_minute: float) -> Problem:
    node, chain = root.key.node, one.chain
    body = look.bodies.get(chain.body)
    assert isinstance(body, ChainBody)
    text = written(body, one.number, chain.family, one.legacy).text
    text = text if len(text) <= MAX_RULE else f"{text[:MAX_RULE]}..."
    told = "told by a reset or an ICMP error" if one.verb == "rejects" else "told nothing"
    # Where jumps lead, those of other hooks may lead too, and their packets are counted with the forwarded ones.
    alone = chain.hook == NF_FORWARD
    may = "That may be intended." if alone else "That may be intended, and not all need be forwarded packets."
    return Problem(
        kind="rule-drops-rising",
        cause=f"{node}:{chain.family}:{chain.table}:{chain.name}:{text}",
        severity="warning",
        harm="degrades",
        headline=f"{node} {one.verb} {a_minute:.0f} {'forwarded ' if alone else ''}packets a minute by a rule of chain {chain.name}",
        consequence=f"{may} Their senders are {told}. The rule is: {text}",
        where=place(root.netns),
        certainty="likely",
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
        check=(command(root.netns, chain_listing(chain, one.legacy)),),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="rules' drops",
    demands="Rules other than those of policies drop or reject next to nothing that a node forwards.",
    unit="rules",
    kinds=("rule-drops-rising",),
    needs=("rule_counters",),
    reads=("nft_chains", "xt_chains"),
    find=_find,
    compares=True,
)
