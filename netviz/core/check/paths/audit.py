"""The audit: random pairs, each traced in full, and what the check says of them compared with that.

A difference is a fault of the check, never of the cluster. It stands until a later state's trace agrees; meanwhile its
trace is believed. Who runs the check brings the chance: a `random.Random`, seeded where the same is to come out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from netviz.core.check.paths.contract import UNDECIDED, between, pod_name
from netviz.core.check.paths.judge import Judged, Simulator, judge_pair
from netviz.core.check.problem import Difference, Judgement
from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import ClusterState, NetnsState

FIRST = 300
MAX_STANDING = 100
Ends = tuple[NetnsKey, NetnsKey]
# What the check says of a pair; None: it doesn't decide it.
Said = Callable[[NetnsKey, NetnsKey], Judgement | None]


class Picker(Protocol):
    """What picks at random: a `random.Random`."""

    def sample(self, population: range, k: int) -> list[int]:
        """Pick `k` different numbers."""

    def randrange(self, stop: int, /) -> int:
        """Pick one number below another."""


class Audit:
    """What was audited, and the pairs that differ. `audited` and `differed` count from the beginning on; a pair that
    either side leaves undecided is in neither.
    """

    def __init__(self, pick: Picker | None = None) -> None:
        self._pick = pick
        self._owed = FIRST if pick is not None else 0
        self._list: Callable[[], Sequence[NetnsKey]] = tuple
        self._known: Sequence[NetnsKey] | None = None
        self._queue: list[
            int
        ] = []  # pairs, as numbers: of the source times how many pods there are, and the target
        self.audited = 0
        self.differed = 0
        self.standing: dict[Ends, Difference] = {}

    def begin(self, pods: Callable[[], Sequence[NetnsKey]]) -> None:
        """Go on with another state, of which `pods` lists the pods when they are needed.

        What is owed to the first run is audited there: each pair once, if they are few.
        """
        self._list, self._known, self._queue = pods, None, []
        if self._pick is not None and self._owed:
            count = len(self._pods) ** 2
            self._owed = min(self._owed, count) if count else self._owed
            self._queue = self._pick.sample(range(count), min(self._owed, count))

    @property
    def _pods(self) -> Sequence[NetnsKey]:
        if self._known is None:
            self._known = self._list()
        return self._known

    def more(self, count: int) -> None:
        """Audit so many pairs more."""
        if self._pick is not None and self._pods and len(self._queue) < count:
            self._queue += [self._pick.randrange(len(self._pods) ** 2) for _ in range(count)]

    @property
    def left(self) -> bool:
        """Whether there are pairs to audit."""
        return bool(self._queue)

    def work(self, cluster: ClusterState, said: Said) -> bool:
        """Audit a pair; tell whether it differs and didn't before."""
        before = self.differed
        source, target = divmod(self._queue.pop(0), len(self._pods))
        self.audited += self._compare(Simulator(cluster), (self._pods[source], self._pods[target]), said)
        self._owed = max(0, self._owed - 1)
        return self.differed > before

    def again(self, cluster: ClusterState, said: Said) -> Iterator[float]:
        """Look again at the pairs that differed in the state before; yields what that costs, in ms."""
        known, self.standing = self.standing, {}
        simulator = Simulator(cluster)
        for ends in known:
            if all(end.node in cluster.nodes and end in cluster.nodes[end.node].netns for end in ends):
                self._compare(simulator, ends, said, known.get(ends))
                yield 10.0

    def _compare(
        self, simulator: Simulator, ends: Ends, said: Said, before: Difference | None = None
    ) -> bool:
        """Compare a pair; tell whether both could decide it."""
        one, other = (simulator.cluster.nodes[key.node].netns[key] for key in ends)
        judged, _ = judge_pair(simulator, between(one, other))
        verdict = said(*ends)
        compared = verdict not in (None, UNDECIDED) and judged.verdict != UNDECIDED
        if verdict is None or not compared or verdict == judged.verdict:
            self.standing.pop(ends, None)
            return compared
        found = _difference(one, other, verdict, judged)
        if before is None and ends not in self.standing:
            self.differed += 1
        if len(self.standing) < MAX_STANDING:
            self.standing[ends] = found
        return True


def _difference(source: NetnsState, target: NetnsState, said: Judgement, judged: Judged) -> Difference:
    return Difference(
        source=pod_name(source.netns.pod) or str(source.key),
        target=pod_name(target.netns.pod) or str(target.key),
        said=said,
        traced=judged.verdict,
        flows=tuple(
            f"{one.kind.rstrip('1246')} from {one.flow.src_netns} ({format_ip(one.flow.src)}) to {format_ip(one.flow.dst)}"
            + (f" port {one.flow.dport}" if one.flow.dport else "")
            + f": {one.verdict}"
            for one in judged.found
        ),
    )
