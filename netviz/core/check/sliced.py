"""A check that is worked at in slices and holds objects of the API against nodes: what such checks have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from netviz.core.check.long import Ends, do_slice, fault_text
from netviz.core.check.problem import CheckResult, Difference, NodeHealth, Problem, result_of
from netviz.core.check.standing import reasons_text
from netviz.core.check.text import not_watched
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.reads import Reads
from netviz.core.state.node import ClusterState

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")


class Found:
    """What a state came to: problems, what isn't known, what was assumed (a sentence each), and how much was judged."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unknown: dict[str, None] = {}
        self.assumed: dict[str, None] = {}
        self.judged = 0


class Answers(Generic[K, A]):
    """What was asked of one state, kept for the next where all that was read for it is answered alike there."""

    def __init__(self) -> None:
        self._before: dict[K, tuple[A, Reads]] = {}
        self._now: dict[K, tuple[A, Reads]] = {}

    def begin(self) -> None:
        """Begin a state: what isn't asked again in it is forgotten with it."""
        self._before, self._now = self._now, {}

    def get(
        self, cluster: ClusterState, key: K, find: Callable[[], tuple[A, Reads]], cost_ms: float
    ) -> Generator[float, None, A]:
        """Return the answer to `key`, found by `find` where none is known; yields what finding costs."""
        known = self._before.get(key)
        if known is None or not known[1].hold(cluster):
            known = find()
            yield cost_ms
        self._now[key] = known
        return known[0]


class SlicedCheck:
    """A long check (`netviz.core.check.long`). A check of its kind says how a state is `judge`d, and `reset` after a fault."""

    name = ""
    unit = ""
    demands = ""

    def __init__(self) -> None:
        self.done: ClusterState | None = None
        self._cluster = ClusterState()
        self._next: tuple[ClusterState, Mapping[str, NodeHealth]] | None = None
        self._job: Iterator[float] | None = None
        self._making = Found()
        self._found = Found()
        self._fault = ""

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth], found: Found) -> Iterator[float]:
        """Judge a state; yields what each piece of work costs, in ms."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget what was made of earlier states."""

    def follow(
        self,
        cluster: ClusterState,
        changed: Collection[str] = (),
        health: Mapping[str, NodeHealth] | None = None,
    ) -> None:
        """Take a new state: it is judged by `work`, after the one that is being judged."""
        self._next = cluster, health or {}

    def work(self) -> bool:
        """Do one slice; tell whether anything is left to do."""
        if self._job is None:
            if self._next is None:
                return False
            (self._cluster, health), self._next = self._next, None
            self._making = Found()
            self._job = self.judge(self._cluster, health, self._making)
        try:
            if do_slice(self._job):
                return True
        except BAD_STATE as err:
            self.reset()
            self._fault = fault_text(err)
        else:
            self._fault, self._found = "", self._making
        self._job, self.done = None, self._cluster
        return self._next is not None

    def problems(self) -> Collection[Problem]:
        """The problems of the last state that was judged to the end."""
        return tuple(self._found.problems)

    def follows(self, problem: Problem, fact: Problem) -> tuple[str, ...] | None:
        """What differs from the API follows from no record."""
        return None

    def reach(self, problem: Problem) -> Mapping[Ends, int]:
        """No pairs are counted."""
        return {}

    def found_in(self, problem: Problem) -> ClusterState | None:
        """All of them are of the last state that was judged to the end."""
        return self.done

    def lasts(self, problem: Problem, found_in: ClusterState, later: ClusterState) -> bool:
        """What a flow comes to doesn't prove what objects ask for: a later state is judged."""
        return False

    def counts(self) -> tuple[int, int]:
        """No pairs are judged."""
        return 0, 0

    def audit(self, count: int) -> None:
        """Every answer is a trace's already."""

    def work_at_audit(self) -> bool:
        """Nothing is audited."""
        return False

    @property
    def differences(self) -> tuple[Difference, ...]:
        """None: nothing is put together of halves."""
        return ()

    def result(self) -> CheckResult | None:
        """How the check ended; None where no cluster's objects are known."""
        if not self._cluster.clusters and not (self._next and self._next[0].clusters):
            return None
        reasons = [*([self._fault] if self._fault else []), *self._found.unknown]
        if self.done is None:
            reasons.append(f"not all {self.unit} are judged yet")
        found = self._found
        return CheckResult(
            self.name,
            result_of(bool(found.problems), bool(reasons), found.judged),
            found.judged,
            self.unit,
            reasons_text(reasons),
            " ".join((self.demands, *found.assumed)),
        )


def doubt(name: str, gaps: Mapping[str, str], health: NodeHealth | None, needs: Sequence[str]) -> str:
    """Say why what a cluster's API says of some sections may not be so now; "" where it is whole and followed."""
    if health is not None and not health.connected:
        return not_watched(name)
    if health is not None and any(section in health.late for section in needs):
        return f"cluster {name}: its watcher is silent or behind, so that what it told may be old"
    missing = [section for section in needs if section in gaps]
    return f"cluster {name}: {missing[0]}: {gaps[missing[0]]}" if missing else ""
