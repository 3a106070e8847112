"""From a request to the trace's JSON: the live state, the simulator, and how fresh the state was."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.render import trace_json
from netviz.core.sim.trace import Flow, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState
from netviz.ingest.store import get_store
from netviz.tracing.request import TraceRequest

RECENT_S = 5.0
CATCH_UP_S = 2.0
LOOK_EVERY_S = 0.01


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


def check(request: TraceRequest) -> None:
    """Find out whether a request can be traced. Raises: CannotTrace."""
    flow_of(get_store().cluster(), request)


def predict(request: TraceRequest) -> dict[str, Any]:
    """Trace a request through the live state. Raises: CannotTrace."""
    store = get_store()
    revisions = store.node_revisions()
    cluster = store.cluster()
    trace = simulate(cluster, flow_of(cluster, request))
    now_s = time.time()
    state = [
        {
            "node": name,
            "revision": known.revision,
            "age_s": round(max(0.0, now_s - known.received_at_s), 1),
            "complete": known.complete,
        }
        for name in sorted(nodes_of(trace))
        if (known := revisions.get(name)) is not None
    ]
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
