"""The check of all pairs: follows the cluster, and is worked at in slices (`netviz.core.check.long`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from netviz.core.check.long import Ends, do_slice, fault_text
from netviz.core.check.paths.audit import Audit, Picker
from netviz.core.check.paths.cases import Looked
from netviz.core.check.paths.consequences import Consequences
from netviz.core.check.paths.contract import DENIED, INTERNET, UNDECIDED, worst
from netviz.core.check.paths.early import Early
from netviz.core.check.paths.explain import Explainer, Traced
from netviz.core.check.paths.judge import Judged
from netviz.core.check.paths.lasting import Lasting
from netviz.core.check.paths.masquerade import NOT_MASQUERADED, masquerade_problems, masqueraded
from netviz.core.check.paths.pairs import Key, Pair, Pairs
from netviz.core.check.paths.tally import Tally, tally
from netviz.core.check.paths.tracing import TRACE_MS, Tracing
from netviz.core.check.paths.world import World
from netviz.core.check.problem import CheckResult, Difference, Judgement, NodeHealth, Problem, result_of
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.headline.sentences import SENTENCES
from netviz.core.sim.outcome import BREAKS, BROKEN, GOOD, UNSURE
from netviz.core.state.node import ClusterState

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
        self._early = Early()  # what is known of the state that is being judged
        self._given_up = self._must_end = False
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
            self.world, self.known = World(INTERNET), {}
            self._audit.begin(tuple)
            self._failing, self._given_up = {}, False
            self._fault = fault_text(err)
        else:
            self._fault = ""
        self._job = None
        if not self._given_up:
            self.done, self._early = self._cluster, Early()
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
        self._failing = {}
        self._early.begin()
        self._must_end, self._given_up = self._given_up, False
        yield from self._trace_all(Tracing(cluster, self.world))
        if self._given_up:
            return
        yield from self._audit.again(cluster, self.said)
        members = self.world.members
        self._audit.begin(lambda: [key for pods in members.values() for key in pods])
        yield from self._explain(cluster)
        if len(self.known) > MAX_REMEMBERED:
            current = {pair.key for pair in chain(self.pairs.alone(), self.pairs.together())}
            self.known = {key: one for key, one in self.known.items() if key in current}

    def _give_up(self) -> bool:
        """Tell whether to give the state up: what fails in it doesn't in a newer one. Never two, one after the other."""
        if not self._must_end and self._next is not None:
            self._given_up = self._early.is_over(self._cluster, self._next, self.lasts)
        return self._given_up

    def _trace_all(self, tracing: Tracing) -> Iterator[float]:
        """Trace a pair of each key that isn't known, and again where rules were read that tell pods apart anew."""
        for _ in range(ROUNDS):
            self.pairs = Pairs(self.world)
            explainer = Explainer(tracing.cluster, self.world, self.pairs, self._looked, self._failing)
            for pair in chain(self.pairs.alone(), self._alone_judged(), self.pairs.together()):
                if pair.key in self.known:
                    continue
                if (known := tracing.known_before(pair, self.known)) is not None:
                    self.known[pair.key] = known
                    continue
                self.known[pair.key], traced, cost_ms = tracing.trace(pair)
                yield cost_ms
                if self.known[pair.key].verdict in TO_EXPLAIN and len(self._failing) < MAX_FAILING:
                    self._failing[pair] = traced
                    if self.known[pair.key].verdict != UNSURE:
                        yield self._early.take(explainer, pair)
                if self._give_up():
                    tracing.drop_loose(self.known)
                    return
            if not tracing.widen():
                return
            yield from self.world.reread()

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
                if self._give_up():
                    return
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
            *self._not_masqueraded(cluster),
        )

    def _alone_judged(self) -> Iterator[Pair]:
        """Rank the classes, now that it is known which pods reach their node, and tell whose addresses the internet sees."""
        self.pairs.rank(lambda key: key in self.known and self.known[key].verdict == GOOD)
        self._early.tell(self._cluster, self._not_masqueraded(self._cluster))
        yield from ()

    def _not_masqueraded(self, cluster: ClusterState) -> Iterator[Problem]:
        return masquerade_problems(cluster, self.world, self.known, self._setting)

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
        """The problems of the last state that was judged to the end, and what is known besides of the one that follows."""
        known = {problem.key for problem in self._problems}
        return (*self._problems, *(one.problem for key, one in self._early.told.items() if key not in known))

    def found_in(self, problem: Problem) -> ClusterState | None:
        """Return the state that a problem was found in."""
        return self._early.told[problem.key].found_in if self._is_early(problem) else self.done

    def _is_early(self, problem: Problem) -> bool:
        return problem.key in self._early.told and all(one.key != problem.key for one in self._problems)

    def _consequences_of(self, problem: Problem) -> Consequences:
        return self._early.consequences if self._is_early(problem) else self._consequences

    def follows(self, problem: Problem, fact: Problem) -> tuple[str, ...] | None:
        """Say what else is in the way of a problem's flow without a fact; None where that isn't what it fails for."""
        return self._consequences_of(problem).follows(problem.key, fact)

    def reach(self, problem: Problem) -> Mapping[Ends, int]:
        """The pairs that a problem affects: from whom to whom -> how many."""
        return self._consequences_of(problem).reach(problem.key)

    def counts(self) -> tuple[int, int]:
        """How many ordered pairs of pods were judged, and in how many classes."""
        pods = sum(map(len, self.world.members.values()))
        return pods * pods, len(self.world.members)

    def lasts(self, problem: Problem, found_in: ClusterState, later: ClusterState) -> bool:
        """Tell whether the flow of a problem that was found in one state is proved to come to the same in a later one.

        That a node doesn't rewrite addresses is wrong as long as another one does: so that one's flow has to, too.
        """
        if problem.flow is None:
            return False
        if problem.kind != NOT_MASQUERADED:
            return self._lasting.fails_in(problem.flow, found_in, later)
        family = len(problem.flow.dst)
        other = None if family in self._setting else masqueraded(self.world, self.known, family)
        flows = (problem.flow, *([other] if other is not None else []))
        known = other is not None or family in self._setting
        return known and all(self._lasting.ends_alike(flow, found_in, later) for flow in flows)

    def result(self) -> CheckResult:
        """How the check ended in the last state that was judged to the end."""
        pairs, _ = self.counts()
        unknown = [self._fault] if self._fault else [] if self.done else ["not all pairs are judged yet"]
        unknown += [f"the check is at fault: {one}" for one in self.differences[:1]]
        pairs -= self._tally.undecided + self._tally.too_long
        partly = self._tally.words(self.pairs.undecided)
        failed = bool(self.problems()) and not unknown
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
