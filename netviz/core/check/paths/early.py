"""What is known to fail in a state that isn't judged to the end yet: told at once, for judging all of it may take long.

A flow that fails proves its cause, whatever comes of the others. Whom else it affects is known when all is judged. Where a
newer state waits in which such a flow doesn't fail, the older one isn't worth more work (`Early.is_over`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from netviz.core.check.paths.cases import Case
from netviz.core.check.paths.consequences import Consequences
from netviz.core.check.paths.explain import Explainer
from netviz.core.check.paths.pairs import Pair
from netviz.core.check.problem import Problem
from netviz.core.state.node import ClusterState

# So many causes are told before all is judged, of so many pairs; of each pair alone, and not of those that it stands for.
MAX_CAUSES = 16
MAX_PAIRS = 64
EXPLAINED_MS = 15.0
Lasts = Callable[[Problem, ClusterState, ClusterState], bool]


class Told(NamedTuple):
    """A problem, and the state that it was found in."""

    problem: Problem
    found_in: ClusterState


class Early:
    """The problems that are known since a state was judged to the end last, by key."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.consequences = Consequences()
        self._cases: dict[str, Case] = {}
        self._causes: set[tuple[str, str]] = set()
        self._left = MAX_PAIRS
        self._compared: ClusterState | None = None
        self._over = False

    def begin(self) -> None:
        """Begin with another state; what is told stands until one is judged to the end."""
        self._causes, self._left, self._compared = set(), MAX_PAIRS, None

    def take(self, explainer: Explainer, pair: Pair) -> float:
        """Explain a pair that was traced and fails; returns what that costs, in ms."""
        if not self._left or len(self._causes) >= MAX_CAUSES:
            return 0.0
        self._left -= 1
        explainer.take_one(pair)
        news = {key: case for key, case in explainer.cases.items() if key not in self._causes}
        self._causes |= news.keys()
        for case in news.values():
            problem = explainer.problem(case)
            self.told[problem.key] = Told(problem, explainer.cluster)
            self._cases[problem.key] = case
        if news:
            self.consequences.take(explainer.cluster, self._cases.items())
        return EXPLAINED_MS

    def tell(self, cluster: ClusterState, problems: Iterable[Problem]) -> None:
        """Take problems that no failing flow shows."""
        for problem in problems:
            self.told.setdefault(problem.key, Told(problem, cluster))

    def is_over(self, now: ClusterState, newer: ClusterState, lasts: Lasts) -> bool:
        """Tell whether something that is wrong in the state of now isn't known to be so in a newer one; `lasts` says that."""
        if newer is not self._compared:
            self._compared = newer
            found = [one.problem for one in self.told.values() if one.found_in is now]
            self._over = any(one.flow is not None and not lasts(one, now, newer) for one in found)
        return self._over
