"""From a request to the trace's JSON: the live state, the simulator, and how fresh the state was."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from netviz.core.sim.cluster_index import keys_of
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.render import trace_json
from netviz.core.sim.trace import Flow, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState, NodeState
from netviz.ingest.faults import faults
from netviz.ingest.live_store import get_store
from netviz.ingest.store import NodeRevision, Store
from netviz.tracing.request import TraceRequest

RECENT_S = 5.0
CATCH_UP_S = 2.0
LOOK_EVERY_S = 0.01
FAULT = "traces"


class CannotTrace(ValueError):
    """The flow's ends aren't in the state; the message is one sentence for people."""


def flow_of(cluster: ClusterState, request: TraceRequest) -> Flow:
    """Find the flow's ends in the state. Raises: CannotTrace."""
    if not cluster.nodes:
        raise CannotTrace("no node's state is known yet: no collector has sent one")
    try:
        return resolve_flow(
            cluster,
            request.source,
            request.target,
            proto=request.proto,
            sport=request.sport,
            dport=request.dport,
            length=request.length,
            df=request.df,
        )
    except EndpointError as err:
        raise CannotTrace(str(err)) from None


class LookedThrough:
    """Which nodes' states can be looked through at all, each revision looked through once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str | None]] = {}

    def wrong(self, cluster: ClusterState, revisions: Mapping[str, NodeRevision]) -> dict[str, str]:
        """What went wrong with which node: node -> text. `revisions` are at most as new as `cluster`."""
        known, found = self._known, {}
        for name, state in cluster.nodes.items():
            revision = revisions[name].revision if name in revisions else -1
            entry = known.get(name)
            found[name] = entry if entry is not None and entry[0] == revision else (revision, _fault(state))
        self._known = found
        return {name: fault for name, (_, fault) in found.items() if fault is not None}


def _fault(state: NodeState) -> str | None:
    with faults.attempt(state.node, FAULT) as attempt:
        keys_of(state.netns)
    return attempt.fault


_looked_through: WeakKeyDictionary[Store, LookedThrough] = WeakKeyDictionary()


def understood(store: Store, revisions: Mapping[str, NodeRevision]) -> tuple[ClusterState, dict[str, str]]:
    """The live state without the nodes that cannot even be looked through, and what went wrong: node -> text.

    Any of them would fail every trace, whichever nodes that is about.
    """
    cluster = store.cluster()
    wrong = _looked_through.setdefault(store, LookedThrough()).wrong(cluster, revisions)
    if not wrong:
        return cluster, wrong
    nodes = {name: state for name, state in cluster.nodes.items() if name not in wrong}
    return ClusterState(nodes, cluster.bodies), wrong


class Resolved(NamedTuple):
    """A request with its ends found in the live state of one moment. `wrong` as `understood` says it."""

    flow: Flow
    cluster: ClusterState
    wrong: dict[str, str]
    revisions: Mapping[str, NodeRevision]


def resolve(request: TraceRequest) -> Resolved:
    """Find a request's ends in the live state. Raises: CannotTrace."""
    store = get_store()
    revisions = store.node_revisions()
    cluster, wrong = understood(store, revisions)
    return Resolved(flow_of(cluster, request), cluster, wrong, revisions)


def predict(resolved: Resolved) -> dict[str, Any]:
    """Trace a request through the state in which its ends were found."""
    flow, cluster, wrong, revisions = resolved
    trace = simulate(cluster, flow)
    now_s = time.time()
    state: list[dict[str, Any]] = []
    for name in sorted(nodes_of(trace) | wrong.keys()):
        if (known := revisions.get(name)) is None:
            continue
        age_s = round(max(0.0, now_s - known.received_at_s), 1)
        entry = {"node": name, "revision": known.revision, "age_s": age_s, "complete": known.complete}
        if name in wrong:
            # The trace may be another one with it.
            entry |= {"complete": False, "not_understood": wrong[name]}
        state.append(entry)
    return trace_json(trace, state)


def recent_revisions() -> dict[str, int]:
    """Revisions of the nodes that changed of late, as this process knows them: node -> revision."""
    since_s = time.time() - RECENT_S
    revisions = get_store().node_revisions()
    return {name: known.revision for name, known in revisions.items() if known.received_at_s > since_s}


def catch_up(wanted: Mapping[str, int]) -> bool:
    """Wait until this process knows these revisions too, within reason; False when it still doesn't."""
    deadline_s = time.monotonic() + CATCH_UP_S
    while True:
        revisions = get_store().node_revisions()
        behind = [
            name
            for name, revision in wanted.items()
            if name not in revisions or revisions[name].revision < revision
        ]
        if not behind:
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(LOOK_EVERY_S)


def nodes_of(trace: Trace) -> set[str]:
    """The nodes whose state decided a trace."""
    paths = [path for branch in trace.branches for path in (branch.forward, branch.reply) if path is not None]
    return {trace.origin.node, *(hop.netns.node for path in paths for hop in path.hops)}
