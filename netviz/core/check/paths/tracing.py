"""Traces one pair of each key in one state, and notes which rules that read.

What a trace read of rules may be more than forms say of them (`Rulesets.read`). Then they are made anew with it, and pairs that
were alike may be so no more: those that were judged by such a trace have to be traced again. A trace that read nothing
else answers for all pairs that were like its own, whatever tells them apart now (docs/adr/0092).
"""

from __future__ import annotations

from collections.abc import Mapping

from netviz.core.check.paths.cases import nodes_of
from netviz.core.check.paths.explain import Traced
from netviz.core.check.paths.judge import Judged, Simulator, demands_of, judge_pair
from netviz.core.check.paths.noderules import ReadKey
from netviz.core.check.paths.pairs import Key, Pair
from netviz.core.check.paths.world import World
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import ClusterState

TRACE_MS = 5.0


class Tracing:
    """The traces of one state."""

    def __init__(self, cluster: ClusterState, world: World) -> None:
        self.cluster = cluster
        self._world = world
        self._simulator = Simulator(cluster)
        self._news: dict[tuple[str, frozenset[bytes]], set[ReadKey]] = {}
        self._loose: set[Key] = set()  # keys whose traces read what is in no form
        self._read: set[ReadKey] = set()  # that
        self._kinds: Mapping[NetnsKey, int] = {}  # what pods' kinds were before forms were made anew
        self._was_loose: frozenset[Key] = frozenset()

    def trace(self, pair: Pair) -> tuple[Judged, Traced, float]:
        """Trace what is asked of a pair: what came of it, its traces by their demands, and what that cost in ms."""
        simulator = self._simulator
        simulator.read_since()
        judged, traces = judge_pair(simulator, demands_of(pair, self.cluster))
        read = simulator.read_since()
        through = (node for _, trace in traces for node in nodes_of(trace))
        for node in {pair.source.node, pair.target.node, *through} & self.cluster.nodes.keys():
            if news := self._news_of(node, read):
                self._loose.add(pair.key)
                self._read |= news
        both = zip(judged.found, traces, strict=True)
        traced: Traced = {demand.key: (one.verdict, trace) for one, (demand, trace) in both}
        return judged, traced, TRACE_MS * len(traces)

    def _news_of(self, node: str, read: frozenset[bytes]) -> set[ReadKey]:
        found = self._news.get((node, read))
        if found is None:
            root = self.cluster.nodes[node].root
            found = self._world.rules.news([root] if root is not None else [], read)
            self._news[node, read] = found
        return found

    def widen(self) -> bool:
        """Have forms say what traces read, too; tells whether they have to be made anew for that."""
        rules = self._world.rules
        rules.lacking |= self._simulator.reading.lacking
        if not rules.add(self._read):
            return False
        self._kinds = {
            key: pod.kind for entry in self._world.nodes.values() for key, pod in entry.pods.items()
        }
        self._was_loose = frozenset(self._loose)
        self._loose, self._read, self._news = set(), set(), {}
        return True

    def drop_loose(self, known: dict[Key, Judged]) -> None:
        """Forget what rests on rules that no form has, where forms aren't made anew for it."""
        for key in self._loose:
            known.pop(key, None)

    def known_before(self, pair: Pair, known: Mapping[Key, Judged]) -> Judged | None:
        """What was known of a pair before forms were made anew, if that holds still."""
        source, target = self._kinds.get(pair.source), self._kinds.get(pair.target)
        if source is None or target is None:
            return None
        key: Key = (pair.key[0], source, target, *pair.key[3:])
        return known.get(key) if key not in self._was_loose else None
