"""Which failing pairs follow from a fact of the state: those that pass, or fail for something else, without it.

A fact's problem says which records it would have otherwise (`Problem.repair`). The flow of a case is traced in the state
with these: where its cause is gone, it was a consequence of the fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netviz.core.check.long import Ends
from netviz.core.check.paths.cases import Case, reach_of
from netviz.core.check.paths.contract import pod_name
from netviz.core.check.paths.identity import identity_of
from netviz.core.check.paths.judge import MAX_MOVES
from netviz.core.check.paths.repair import without
from netviz.core.check.paths.telling import beyond
from netviz.core.check.problem import Edit, Problem
from netviz.core.check.repairs import repaired
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.context import with_context
from netviz.core.sim.headline.cause import cause_of
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.outcome import GOOD, UNSURE, outcome_of
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState, NodeState

MAX_KNOWN = 10_000
Answer = tuple[str, ...] | None


class _Known(NamedTuple):
    repair: tuple[Edit, ...]
    nodes: dict[str, NodeState]
    answer: Answer

    def holds(self, cluster: ClusterState, repair: tuple[Edit, ...]) -> bool:
        same = all(cluster.nodes.get(name) is node for name, node in self.nodes.items())
        return same and self.repair == repair


class Consequences:
    """The cases of the state that was judged last, by their problems' keys, and what was found out about them."""

    def __init__(self) -> None:
        self._cluster = ClusterState()
        self._cases: dict[str, Case] = {}
        self._known: dict[tuple[str, str], _Known] = {}

    def take(self, cluster: ClusterState, cases: Iterable[tuple[str, Case]]) -> None:
        """Take the cases of a state."""
        self._cluster, self._cases = cluster, dict(cases)
        if len(self._known) > MAX_KNOWN:
            self._known.clear()

    def reach(self, key: str) -> Mapping[Ends, int]:
        """The pairs of a case: from whom to whom -> how many."""
        case = self._cases.get(key)
        return reach_of(case, self._name) if case is not None else {}

    def _name(self, key: NetnsKey) -> str:
        return pod_name(self._cluster.nodes[key.node].netns[key].netns.pod)

    def follows(self, key: str, fact: Problem) -> Answer:
        """Say what else is in the way of a case's flow without a fact; None where the fact isn't why it fails."""
        case = self._cases.get(key)
        if case is None or case.looked.demand is None:
            return None
        nodes = {edit.netns.node for edit in fact.repair}
        ends = [
            one.key.node for one in (case.looked.demand.source, case.looked.demand.target) if one is not None
        ]
        if nodes.isdisjoint((*case.looked.nodes, *ends)):
            return None
        known = self._known.get((key, fact.key))
        if known is None or not known.holds(self._cluster, fact.repair):
            states = {
                name: self._cluster.nodes[name]
                for name in (*case.looked.nodes, *ends, *nodes)
                if name in self._cluster.nodes
            }
            answer = self._without(case, fact.repair)
            known = self._known[key, fact.key] = _Known(fact.repair, states, answer)
        return known.answer

    def _without(self, case: Case, repair: tuple[Edit, ...]) -> Answer:
        cluster, demand = repaired(self._cluster, repair), case.looked.demand
        if cluster is None or case.looked.trace is None or demand is None:
            return None
        trace = simulate(cluster, case.looked.trace.flow, MAX_MOVES)
        if (outcome := outcome_of(trace)) in (GOOD, UNSURE):
            return () if outcome == GOOD else None
        trace = with_context(cluster, trace)
        cause = cause_of(trace)
        key = identity_of(cluster, trace, cause, demand) if cause is not None else case.key
        if cause is None or key == case.key:
            return None
        others = beyond(without(cluster, trace, cause), trace, {case.key, key})
        return headline_of(trace, cause), *others
