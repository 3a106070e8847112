"""Whether what is wrong in a state is so in a later one too, before that is judged.

A problem has a flow that fails. What the flow's trace asked of the state is recorded (ADR 30): a state that answers all of
it alike has the same trace, so the same problem.
"""

from __future__ import annotations

from typing import NamedTuple

from netviz.core.check.paths.judge import MAX_MOVES
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.outcome import GOOD, outcome_of
from netviz.core.sim.reads import Reads, Recording
from netviz.core.sim.trace import Flow
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState

MAX_KEPT = 64


class Traced(NamedTuple):
    """Whether a flow fails, and what tracing it asked; None where the state is too damaged for that, or others were before."""

    fails: bool = False
    reads: Reads | None = None


class Lasting:
    """What flows asked of the two states that were asked about last; each is traced when it is first in question."""

    def __init__(self) -> None:
        self._states: list[tuple[ClusterState, dict[Flow, Traced]]] = []

    def fails_in(self, flow: Flow, found_in: ClusterState, later: ClusterState) -> bool:
        """Tell whether a flow that fails in one state is proved to fail alike in a later one; False: that isn't known."""
        traced = self._traced(flow, found_in)
        return traced.fails and _holds(traced, later)

    def ends_alike(self, flow: Flow, found_in: ClusterState, later: ClusterState) -> bool:
        """Tell whether a flow is proved to come to the same in a later state; False: that isn't known."""
        return _holds(self._traced(flow, found_in), later)

    def _traced(self, flow: Flow, found_in: ClusterState) -> Traced:
        known = next((one for one in self._states if one[0] is found_in), (found_in, {}))
        self._states = [known, *(one for one in self._states if one is not known)][:2]
        found = known[1]
        if flow not in found:
            if len(found) >= MAX_KEPT:
                return Traced()
            found[flow] = _trace(found_in, flow)
        return found[flow]


def _holds(traced: Traced, later: ClusterState) -> bool:
    try:
        return traced.reads is not None and traced.reads.hold(later)
    except BAD_STATE:
        return False


def _trace(cluster: ClusterState, flow: Flow) -> Traced:
    recording = Recording(cluster)
    try:
        fails = outcome_of(simulate(recording.cluster, flow, MAX_MOVES)) != GOOD
    except BAD_STATE:
        return Traced()
    return Traced(fails, recording.reads())
