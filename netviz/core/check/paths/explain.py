"""From flows that fail to problems: one for each deciding fact, with all that it affects.

A failing pair stands for many. It is traced again from each node, or by each pod, that the cause may lie at, as far as
there are not too many: so each place has a problem of its own, in its own words. What a cause hides is looked for in the
state without it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice

from netviz.core.check.paths.cases import Case, Group, Looked, nodes_of
from netviz.core.check.paths.contract import DENIED, UNDECIDED, Demand, judge
from netviz.core.check.paths.identity import identity_of
from netviz.core.check.paths.judge import Simulator, demands_of
from netviz.core.check.paths.pairs import Key, Pair, Pairs
from netviz.core.check.paths.telling import problem_of
from netviz.core.check.paths.world import World
from netviz.core.check.problem import Judgement, Problem
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.sim.context import with_context
from netviz.core.sim.headline.cause import Cause, cause_of
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.outcome import GOOD
from netviz.core.sim.steps import Neighbour
from netviz.core.sim.trace import Trace
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.resolve import PAIR_KINDS

ALONE: Key = ("alone", 0, 0, 0, 0)
MAX_PLACES = 64
MAX_PODS = 64
MAX_NAMED_PODS = 100
MAX_ODD = 50_000
SEARCHED = 200


# What came of a pair's flows, by what was demanded, as far as they were traced.
Traced = Mapping[Hashable, tuple[Judgement, Trace]]
NONE: Traced = {}


class Explainer:
    """Puts the failing pairs of one state together as problems. `traced` are some that were traced in it already."""

    def __init__(
        self,
        cluster: ClusterState,
        world: World,
        pairs: Pairs,
        known: dict[Pair, tuple[Looked, ...]],
        traced: Mapping[Pair, Traced],
    ) -> None:
        self.cluster = cluster
        self.world = world
        self._pairs = pairs
        self._known = known
        self._traced = traced
        self._odd: dict[Key, list[Pair]] | None = None
        self.simulator = Simulator(cluster)
        self.cases: dict[tuple[str, str], Case] = {}

    def take(self, pair: Pair) -> Iterator[float]:
        """Explain a failing pair, and those that it stands for."""
        case = self._look(pair)
        yield 15.0
        if case is None:
            return
        for other in self._variants(pair, case):
            self._look(other)
            yield 15.0

    def take_one(self, pair: Pair) -> None:
        """Explain a failing pair where it was traced, and nowhere else."""
        self._look(pair)

    def take_alone(self, source: NetnsKey, target: NetnsKey) -> None:
        """Explain a pair that stands for itself only."""
        self.take_one(Pair(ALONE, source, target))

    def _look(self, pair: Pair) -> Case | None:
        """Trace a pair until a flow fails, in each family, and put it with the others of its cause; return the first."""
        known = self._known.get(pair)
        if known is None or not all(one.holds(self.cluster) for one in known):
            known = self._known[pair] = self._trace(pair)
        cases = [self._add(pair, one) for one in known if one.cause is not None]
        return cases[0] if cases else None

    def _trace(self, pair: Pair) -> tuple[Looked, ...]:
        found: dict[int, Looked] = {}
        passed = {pair.source.node}
        known = self._traced.get(pair, NONE)
        for demand in demands_of(pair, self.cluster):
            judged = None if len(demand.addr) in found else known.get(demand.key) or self._judge(demand)
            if judged is None:
                continue
            verdict, trace = judged
            if verdict in (GOOD, DENIED, UNDECIDED):
                passed.update(nodes_of(trace))
                continue
            trace = with_context(self.cluster, trace)
            cause = cause_of(trace) or self._wrong_place(trace)
            found[len(demand.addr)] = Looked(
                self._as_they_are(nodes_of(trace)), demand, trace, cause, verdict
            )
        return *found.values(), Looked(self._as_they_are(passed))

    def _judge(self, demand: Demand) -> tuple[Judgement, Trace] | None:
        traced = self.simulator.trace(demand)
        return (judge(demand, traced[1]), traced[1]) if traced is not None else None

    def _as_they_are(self, names: Iterable[str]) -> dict[str, NodeState]:
        return {name: self.cluster.nodes[name] for name in names if name in self.cluster.nodes}

    def _wrong_place(self, trace: Trace) -> Cause | None:
        path = trace.branches[0].forward
        if not path.hops:
            return None
        return Cause("wrong-place", path.hops[-1].steps[-1], path.hops[-1], path, True)

    def _add(self, pair: Pair, looked: Looked) -> Case:
        cause, trace, demand = looked.cause, looked.trace, looked.demand
        assert cause is not None
        assert trace is not None
        assert demand is not None
        kind, detail = identity_of(self.cluster, trace, cause, demand)
        case = self.cases.setdefault((kind, detail), Case(kind, detail, looked, {}, {}))
        case.widths.add(len(demand.addr))
        sources, targets = self._groups(pair, cause)
        together = (pair.key, sources.token, targets.token)
        if pair.key[0] in ("near", "far", "alone"):
            case.pairs.setdefault(together, sources.size * targets.size)
        for group in (sources, targets):
            case.pods.setdefault(group.token, group)
        return case

    def _groups(self, pair: Pair, cause: Cause) -> tuple[Group, Group]:
        """Say which pods a failing pair stands for at this cause's place."""
        node, pod = cause.place.netns.node, self.pod_at(cause)
        here = pair.key[0] == "near" or (pair.key[0] == "far" and not self._is_default(pair))
        ends = []
        for end, other in ((pair.source, pair.target), (pair.target, pair.source)):
            if pair.key == ALONE or pod == end or (pod is not None and pod != other):
                ends.append(Group(("pod", end), 1, (end,)))
            elif here or node == end.node:
                alike = self.world.pod(end).cls
                pods = tuple(k for k, one in self.world.nodes[end.node].pods.items() if one.cls == alike)
                ends.append(Group(("node", end.node, alike), len(pods), pods))
            else:
                members = self.world.members[self.world.pod(end).cls]
                some = tuple(islice(members, MAX_NAMED_PODS))
                ends.append(Group(("class", self.world.pod(end).cls), len(members), some))
        return ends[0], ends[1]

    def _alike(self, key: NetnsKey) -> list[NetnsKey]:
        return list(self.world.members[self.world.pod(key).cls])

    def _is_default(self, pair: Pair) -> bool:
        world = self.world
        return (
            world.units.of_pod[pair.target] not in world.nodes[pair.source.node].ties.others
            and world.units.of_pod[pair.source] not in world.nodes[pair.target.node].ties.others
        )

    def pod_at(self, cause: Cause) -> NetnsKey | None:
        """Return the pod that a cause is of alone: it is in it, or at its node's end of its veth."""
        place = cause.place
        node = self.cluster.nodes[place.netns.node]
        if place.netns in self.world.nodes[place.netns.node].pods:
            return place.netns
        ns = node.netns.get(place.netns)
        if ns is None or not place.root or not cause.dev:
            return self._asked_for(cause)
        link = next(
            (one for one in ns.links.values() if one.ifname == cause.dev and one.kind in PAIR_KINDS), None
        )
        peer = peer_of(node, LinkKey(ns.key, link.ifindex)).key if link is not None else None
        if peer is not None and peer.netns in self.world.nodes[place.netns.node].pods:
            return peer.netns
        return self._asked_for(cause)

    def _asked_for(self, cause: Cause) -> NetnsKey | None:
        """Return the pod for whose address nobody answers."""
        what = cause.step.what
        if not isinstance(what, Neighbour) or cause.kind == "wrong-neighbour":
            return None
        names = self.world.names.nodes[cause.place.netns.node]
        key = names.addrs.get(what.nexthop)
        return key if key in names.pods else None

    def _variants(self, pair: Pair, case: Case) -> Iterable[Pair]:
        """List pairs like a failing one, from each of the places that its cause may lie at."""
        cause, what = case.looked.cause, pair.key[0]
        assert cause is not None
        node, pod = cause.place.netns.node, self.pod_at(cause)
        if what == "far" and not self._is_default(pair):
            yield from self._odd_like(pair)
            return
        vary_source = node == pair.source.node
        if not vary_source and node != pair.target.node:
            return
        if pod in (pair.source, pair.target):
            vary_source = pod == pair.source  # it is in the way of all others alike
        members = self._alike(pair.source if vary_source else pair.target)
        fixed = pair.target if vary_source else pair.source
        seen = {node} if pod is None else set()
        count = 0
        for key in members:
            if key in (pair.source, pair.target) or (pod is None and key.node in seen):
                continue
            other: NetnsKey | None = key
            if what in ("near", "far"):
                other = self._partner(key, fixed) if what == "near" else self._elsewhere(key, fixed)
            if other is None:
                continue
            seen.add(key.node)
            count += 1
            if count > (MAX_PLACES if pod is None else MAX_PODS):
                return
            yield Pair(pair.key, *((key, other) if vary_source else (other, key)))

    def _odd_like(self, pair: Pair) -> Iterator[Pair]:
        """List the pairs of other nodes that know each other as unusually as a pair's do."""
        if self._odd is None:
            self._odd = {}
            for one in islice(self._pairs.odd(), MAX_ODD):
                found = self._odd.setdefault(one.key, [])
                if len(found) < MAX_PLACES:
                    found.append(one)
        return (one for one in self._odd.get(pair.key, ()) if one != pair)

    def _partner(self, key: NetnsKey, like: NetnsKey) -> NetnsKey | None:
        """Find a pod of a class on the same node as another."""
        cls = self.world.pod(like).cls
        pods = self.world.nodes[key.node].pods
        return next((other for other, pod in pods.items() if pod.cls == cls and other != key), None)

    def _elsewhere(self, key: NetnsKey, like: NetnsKey) -> NetnsKey | None:
        """Find a pod of a class on another node than a pod's, the pod itself where it is."""
        if like.node != key.node:
            return like
        members = islice(self.world.members[self.world.pod(like).cls], SEARCHED)
        return next((other for other in members if other.node != key.node), None)

    def told(self) -> Iterator[tuple[Problem, Case]]:
        """Make the problems of the cases."""
        for case in self.cases.values():
            yield self.problem(case), case

    def problem(self, case: Case) -> Problem:
        """Make the problem of one of the cases."""
        return problem_of(self.cluster, self.world, case)
