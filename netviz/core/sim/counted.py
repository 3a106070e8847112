"""What the rules that decided had counted, laid over a finished trace.

It comes from the state itself, past any recording of what a trace asks (`reads.py`): counters change with every packet
and decide nothing, so no trace is of yesterday because of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import NftChain, NftRuleBody, RuleCount
from netviz.core.sim.steps import ChainRef, HookVerdict, Nat, RuleHit
from netviz.core.sim.trace import Counted, Hop, Path, Step, Trace
from netviz.core.state.node import ClusterState, NetnsState


def with_counts(cluster: ClusterState, trace: Trace, when: Callable[[float], str]) -> Trace:
    """Return the trace with what each deciding rule had counted, where that is known of just this rule.

    `when` writes a time (Unix seconds).
    """

    def path_of(path: Path) -> Path:
        return msgspec.structs.replace(path, hops=tuple(hop_of(hop) for hop in path.hops))

    def hop_of(hop: Hop) -> Hop:
        if all(deciding_rule(step) is None for step in hop.steps):
            return hop
        return Hop(hop.place, tuple(step_of(step, hop) for step in hop.steps))

    def step_of(step: Step, hop: Hop) -> Step:
        decided = deciding_rule(step)
        counted = _counted(cluster, hop, *decided, when) if decided is not None else None
        return step if counted is None else msgspec.structs.replace(step, counted=counted)

    branches = tuple(
        msgspec.structs.replace(
            branch,
            forward=path_of(branch.forward),
            reply=path_of(branch.reply) if branch.reply is not None else None,
        )
        for branch in trace.branches
    )
    return msgspec.structs.replace(trace, branches=branches)


def deciding_in(trace: Trace) -> set[NetnsKey]:
    """List the namespaces in which rules decided what became of the packet or its answer."""
    paths = [path for branch in trace.branches for path in (branch.forward, branch.reply) if path is not None]
    hops = [hop for path in paths for hop in path.hops]
    return {hop.netns for hop in hops if any(deciding_rule(step) is not None for step in hop.steps)}


def deciding_rule(step: Step) -> tuple[ChainRef, RuleHit] | None:
    """Return the rule that decided a step, and the base chain under which it stands."""
    what = step.what
    if isinstance(what, HookVerdict) and what.chain is not None and what.hit is not None:
        return what.chain, what.hit
    if isinstance(what, Nat) and what.within is not None and what.hit is not None:
        return what.within, what.hit
    return None


def _counted(
    cluster: ClusterState, hop: Hop, ref: ChainRef, hit: RuleHit, when: Callable[[float], str]
) -> Counted | None:
    """Find what a rule had counted; None where it has no counter, or was not there when its chain was read."""
    if not has_counter(hit.body, ref.legacy):
        return None
    ns = cluster.nodes[hop.netns.node].netns[hop.netns]
    chain = (ns.xt_chains if ref.legacy else ns.nft_chains).get(
        (ref.chain.family, ref.chain.table, hit.within)
    )
    found = counts_of(ns, chain, ref.legacy)(hit.number, hit.handle) if chain is not None else None
    return Counted(found.packets, found.bytes, when(found.at_s)) if found is not None else None


class Count(NamedTuple):
    """What a rule had counted, at `at_s` (Unix seconds by the node's clock)."""

    packets: int
    bytes: int
    at_s: float


def has_counter(rule: NftRuleBody, legacy: bool) -> bool:
    """Tell whether a rule has a counter: all of legacy xtables', of others those that say so."""
    return legacy or any(expr.name == "counter" for expr in rule.exprs)


def counts_of(ns: NetnsState, chain: NftChain, legacy: bool) -> Callable[[int, int], Count | None]:
    """Return what says of a chain's rule with a counter, by its number and handle, what it had counted.

    It says None where that isn't known of just the rules that the chain has.
    """
    known = ns.rule_counters.get((*chain.key, legacy))
    if known is None and not legacy:
        return _nothing_counted(ns, chain)
    if known is None or known.rules != chain.body:
        return lambda _number, _handle: None
    at_s, counts = known.at_s, {one.number: one for one in known.counts}
    nothing = RuleCount(0)

    def count(number: int, _handle: int) -> Count:
        found = counts.get(number, nothing)
        return Count(found.packets, found.bytes, at_s)

    return count


def _nothing_counted(ns: NetnsState, chain: NftChain) -> Callable[[int, int], Count | None]:
    """Say whether a rule was among those of its table that had counted nothing."""
    table = ns.nft_tables.get((chain.family, chain.table))
    rest = ns.rule_counters.get((chain.family, chain.table, "", False))
    if table is None or rest is None or table.handle != rest.table_handle:
        return lambda _number, _handle: None
    nothing, last = Count(0, 0, rest.at_s), rest.last_handle
    return lambda _number, handle: nothing if handle <= last else None
