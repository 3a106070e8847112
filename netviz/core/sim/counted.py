"""What the rules that decided had counted, laid over a finished trace.

It comes from the state itself, past any recording of what a trace asks (`reads.py`): counters change with every packet
and decide nothing, so no trace is of yesterday because of them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import NftChain, RuleCount
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
        if all(_decided(step) is None for step in hop.steps):
            return hop
        return Hop(hop.place, tuple(step_of(step, hop) for step in hop.steps))

    def step_of(step: Step, hop: Hop) -> Step:
        decided = _decided(step)
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
    return {hop.netns for hop in hops if any(_decided(step) is not None for step in hop.steps)}


def _decided(step: Step) -> tuple[ChainRef, RuleHit] | None:
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
    if not ref.legacy and all(expr.name != "counter" for expr in hit.body.exprs):
        return None
    ns = cluster.nodes[hop.netns.node].netns[hop.netns]
    key = (ref.chain.family, ref.chain.table, hit.within)
    chain = (ns.xt_chains if ref.legacy else ns.nft_chains).get(key)
    known = ns.rule_counters.get((*key, ref.legacy))
    if chain is None:
        return None
    if known is None and not ref.legacy:
        return _nothing_counted(ns, chain, hit, when)
    if known is None or known.rules != chain.body:
        return None
    count = next((one for one in known.counts if one.number == hit.number), RuleCount(hit.number))
    return Counted(count.packets, count.bytes, when(known.at_s))


def _nothing_counted(
    ns: NetnsState, chain: NftChain, hit: RuleHit, when: Callable[[float], str]
) -> Counted | None:
    """Tell whether a rule was among those of its table that had counted nothing."""
    table = ns.nft_tables.get((chain.family, chain.table))
    rest = ns.rule_counters.get((chain.family, chain.table, "", False))
    if table is None or rest is None or table.handle != rest.table_handle or hit.handle > rest.last_handle:
        return None
    return Counted(0, 0, when(rest.at_s))
