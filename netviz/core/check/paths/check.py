"""The check of all pairs: follows the cluster, and is worked at in slices (`netviz.core.check.long`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from netviz.core.check.long import Ends, do_slice, fault_text
from netviz.core.check.paths.audit import Audit, Picker
from netviz.core.check.paths.cases import Looked
from netviz.core.check.paths.consequences import Consequences
from netviz.core.check.paths.contract import DENIED, INTERNET, UNDECIDED, worst
from netviz.core.check.paths.explain import Explainer, Traced
from netviz.core.check.paths.judge import Judged, Simulator, demands_of, judge_pair
from netviz.core.check.paths.lasting import Lasting
from netviz.core.check.paths.masquerade import NOT_MASQUERADED, masquerade_problems
from netviz.core.check.paths.pairs import Key, Pair, Pairs
from netviz.core.check.paths.tally import Tally, tally
from netviz.core.check.paths.world import World
from netviz.core.check.problem import CheckResult, Difference, Judgement, NodeHealth, Problem, result_of
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.headline.sentences import SENTENCES
from netviz.core.sim.outcome import BREAKS, BROKEN, GOOD, UNSURE
from netviz.core.state.node import ClusterState

TRACE_MS = 5.0
ROUNDS = 8
MAX_REMEMBERED = 200_000
MAX_LOOKED = 20_000
MAX_FAILING = 500
TO_EXPLAIN = (BROKEN, BREAKS, UNSURE)
# The kinds of its problems (docs/problems.md).
KINDS = frozenset((*SENTENCES, NOT_MASQUERADED))
DEMANDS = (
    "Every pod reaches every pod, its node and the internet, without its address rewritten in the cluster."
)


class PathsCheck:
    """Judges every pair of pods, each pod and its node, and each pod and the internet."""

    def __init__(self, masquerades: Mapping[int, bool] | None = None, pick: Picker | None = None) -> None:
        """`masquerades` says for an address's length (4, 16) whether the cluster rewrites what goes to the internet.

        Where it doesn't say, what most pods' nodes do is what they are all to do. `pick` picks the pairs of the audit;
        without it, there is none.
        """
        self._setting = masquerades or {}
        self.world = World(INTERNET)
        self.known: dict[Key, Judged] = {}
        self.pairs = Pairs(self.world)
        self.done: ClusterState | None = None
        self._cluster = ClusterState()
        self._next: ClusterState | None = None
        self._job: Iterator[float] | None = None
        self._problems: tuple[Problem, ...] = ()
        self._fault = ""
        self._looked: dict[Pair, tuple[Looked, ...]] = {}
        self._failing: dict[Pair, Traced] = {}  # those that were traced in this state
        self._tally = Tally()
        self._audit = Audit(pick)
        self._consequences = Consequences()
        self._lasting = Lasting()

    def follow(
        self,
        cluster: ClusterState,
        changed: Collection[str] = (),
        health: Mapping[str, NodeHealth] | None = None,
    ) -> None:
        """Take a new state: it is judged by `work`, after the one that is being judged."""
        self._next = cluster

    def work(self) -> bool:
        """Do one slice; tell whether anything is left to do."""
        if self._job is None:
            if self._next is None:
                return False
            self._cluster, self._next = self._next, None
            self._job = self._judge(self._cluster)
        try:
            if do_slice(self._job):
                return True
        except BAD_STATE as err:
            # What was made of the state is not to be built on.
            self.world = World(INTERNET)
            self._audit.begin(tuple)
            self._failing = {}
            self._fault = fault_text(err)
        else:
            self._fault = ""
        self._job, self.done = None, self._cluster
        return self._next is not None

    def work_at_audit(self) -> bool:
        """Audit a few pairs, when all is judged; what differs is explained by its trace. Tells whether anything is left."""
        if self._job is not None or self._next is not None:
            return True
        if self._audit.left and self._audit.work(self._cluster, self.said):
            self._job = self._explain(self._cluster)
        return self._job is not None or self._audit.left

    def audit(self, count: int) -> None:
        """Have so many random pairs traced in full, besides those of the first run."""
        self._audit.more(count)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The audited pairs of which the check says otherwise than their traces."""
        return tuple(self._audit.standing.values())

    def finish(self) -> None:
        """Do all the work that there is."""
        while self.work() or self.work_at_audit():
            pass

    def _judge(self, cluster: ClusterState) -> Iterator[float]:
        yield from self.world.follow(cluster)
        yield from self._take_bodies(cluster)
        simulator = Simulator(cluster)
        self._failing = {}
        for _ in range(ROUNDS):
            self.pairs = Pairs(self.world)
            nodes: set[str] = set()
            for pair in chain(self.pairs.alone(), self._ranked(), self.pairs.together()):
                if pair.key not in self.known:
                    yield from self._trace(simulator, pair)
                    nodes |= {pair.source.node, pair.target.node}
            self.world.rules.lacking |= simulator.reading.lacking
            roots = [root for name in nodes if (root := cluster.nodes[name].root) is not None]
            if not self.world.rules.note(roots, simulator.reading.read):
                break
            yield from self.world.reread()
        yield from self._audit.again(cluster, self.said)
        members = self.world.members
        self._audit.begin(lambda: [key for pods in members.values() for key in pods])
        yield from self._explain(cluster)
        if len(self.known) > MAX_REMEMBERED:
            current = {pair.key for pair in chain(self.pairs.alone(), self.pairs.together())}
            self.known = {key: one for key, one in self.known.items() if key in current}

    def _take_bodies(self, cluster: ClusterState) -> Iterator[float]:
        """Judge anew what lacked a body of rules that is here now: nodes tell of chains before their bodies come."""
        lacking = self.world.rules.lacking
        if came := {digest for digest in lacking if digest in cluster.bodies}:
            lacking -= came
            self.known = {key: one for key, one in self.known.items() if one.verdict != UNSURE}
            self._looked, self._consequences = {}, Consequences()
            yield from self.world.reread()

    def _explain(self, cluster: ClusterState) -> Iterator[float]:
        if len(self._looked) > MAX_LOOKED:
            self._looked.clear()
        explainer = Explainer(cluster, self.world, self.pairs, self._looked, self._failing)
        worth = False
        for pair in chain(self.pairs.alone(), self.pairs.together()):
            verdict = self.known[pair.key].verdict
            worth = worth or verdict in (DENIED, UNDECIDED)
            if verdict in TO_EXPLAIN:
                yield from explainer.take(pair)
        worth = worth or self.pairs.undecided
        self._tally = (yield from tally(self.pairs, self.known, self.said)) if worth else Tally()
        for ends, difference in self._audit.standing.items():
            if difference.traced in TO_EXPLAIN:
                explainer.take_alone(*ends)
                yield TRACE_MS
        told = list(explainer.told())
        self._consequences.take(cluster, ((problem.key, case) for problem, case in told))
        self._problems = (
            *(problem for problem, _ in told),
            *masquerade_problems(cluster, self.world, self.known, self._setting),
        )

    def _ranked(self) -> Iterator[Pair]:
        """Rank the classes, now that it is known which pods reach their node."""
        self.pairs.rank(lambda key: key in self.known and self.known[key].verdict == GOOD)
        yield from ()

    def _trace(self, simulator: Simulator, pair: Pair) -> Iterator[float]:
        demands = demands_of(pair, simulator.cluster)
        judged, traces = judge_pair(simulator, demands)
        self.known[pair.key] = judged
        if judged.verdict in TO_EXPLAIN and len(self._failing) < MAX_FAILING:
            both = zip(judged.found, traces, strict=True)
            self._failing[pair] = {demand.key: (one.verdict, trace) for one, (demand, trace) in both}
        yield TRACE_MS * len(traces)

    def verdict(self, source: NetnsKey, target: NetnsKey) -> Judgement:
        """Say what is known of two pods: by their own audited trace where that differs, else by their classes."""
        differs = self._audit.standing.get((source, target))
        return differs.traced if differs is not None else self.said(source, target) or UNSURE

    def said(self, source: NetnsKey, target: NetnsKey) -> Judgement | None:
        """Say what was judged of two pods' classes: by their own key, or by the halves that it is put together of.

        None: that isn't decided.
        """
        found = self.known.get(self.pairs.key_of(source, target))
        if found is not None:
            return found.verdict
        halves = self.pairs.halves(source, target)
        if halves is None or not all(half in self.known for half in halves):
            return None
        return worst(self.known[half].verdict for half in halves)

    def problems(self) -> Collection[Problem]:
        """The problems of the last state that was judged to the end."""
        return self._problems

    def follows(self, problem: Problem, fact: Problem) -> tuple[str, ...] | None:
        """Say what else is in the way of a problem's flow without a fact; None where that isn't what it fails for."""
        return self._consequences.follows(problem.key, fact)

    def reach(self, problem: Problem) -> Mapping[Ends, int]:
        """The pairs that a problem affects: from whom to whom -> how many."""
        return self._consequences.reach(problem.key)

    def counts(self) -> tuple[int, int]:
        """How many ordered pairs of pods were judged, and in how many classes."""
        pods = sum(map(len, self.world.members.values()))
        return pods * pods, len(self.world.members)

    def lasts(self, problem: Problem, later: ClusterState) -> bool:
        """Tell whether a problem's flow is proved to fail alike in a later state."""
        if problem.flow is None or self.done is None:
            return False
        return self._lasting.fails_in(problem.flow, self.done, later)

    def result(self) -> CheckResult:
        """How the check ended in the last state that was judged to the end."""
        pairs, _ = self.counts()
        unknown = [self._fault] if self._fault else [] if self.done else ["not all pairs are judged yet"]
        unknown += [f"the check is at fault: {one}" for one in self.differences[:1]]
        pairs -= self._tally.undecided + self._tally.too_long
        partly = self._tally.words(self.pairs.undecided)
        failed = bool(self._problems) and not unknown
        state = result_of(failed, bool(unknown or partly), pairs)
        return CheckResult(
            "paths",
            state,
            pairs,
            "pairs",
            "; ".join((*unknown, *partly)),
            DEMANDS,
            denied=self._tally.denied,
            audited=self._audit.audited,
            differed=self._audit.differed,
        )
