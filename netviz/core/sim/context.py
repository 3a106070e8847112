"""What a trace is read with: what its steps mean in Kubernetes' terms, who has its addresses, whose service its target is.

It changes nothing of where packets go, so `walk.simulate` leaves it out: who only wants to know what becomes of a packet
doesn't pay for it. Sentences and headlines are made with it.
"""

from __future__ import annotations

from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.kubernetes.overlay import add_meanings
from netviz.core.sim.owners import with_owners
from netviz.core.sim.trace import Flow, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState


def with_context(cluster: ClusterState, trace: Trace) -> Trace:
    """Return a trace with its context in the state that it was made in. Never raises for bad state: it stays as it is then."""
    try:
        return add_meanings(cluster, with_owners(cluster, trace))
    except BAD_STATE:
        return trace  # words are not worth a trace


def simulate_in_context(cluster: ClusterState, flow: Flow, most: int | None = None) -> Trace:
    """Find what becomes of a packet (`walk.simulate`), to be read."""
    return with_context(cluster, simulate(cluster, flow, most))
