"""From a request and a view of the cluster's state to the trace, and how fresh the state was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Any, NamedTuple

from django.conf import settings

from netviz.core.intent.why import told
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.counted import deciding_in, with_counts
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.meaning import End, source_end, target_end
from netviz.core.sim.reads import Reads, Recording
from netviz.core.sim.trace import Flow, Trace
from netviz.ingest.live_store import get_store
from netviz.ingest.looks import look_at_rules
from netviz.tracing.apis import policy_doubts
from netviz.tracing.doubt import doubt, stale_in
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View

RECENT_S = 5.0
CATCH_UP_S = 2.0
LOOK_EVERY_S = 0.01


class CannotTrace(ValueError):
    """The flow's ends aren't in the state; the message is one sentence for people."""


class Ends(NamedTuple):
    """What a request's ends mean: each as names of which the first that fits is meant; port and protocol."""

    source: End
    target: End


class Resolved(NamedTuple):
    """A request with its ends found in a view; what was asked of its state for that is recorded, and what will be."""

    flow: Flow
    view: View
    recording: Recording
    ends: Ends


class Prediction(NamedTuple):
    """A trace, its JSON with the inputs that it read, all that was asked of the state for it, and what its ends meant."""

    result: dict[str, Any]
    reads: Reads
    trace: Trace
    ends: Ends


def ends_of(request: TraceRequest, view: View) -> Ends:
    """Find what users call a request's ends. Raises: CannotTrace."""
    try:
        return Ends(
            source_end(view.cluster, request.source),
            target_end(view.cluster, request.target, request.dport, request.proto),
        )
    except EndpointError as err:
        raise CannotTrace(str(err)) from None


def resolve(request: TraceRequest, view: View) -> Resolved:
    """Find a request's ends. Raises: CannotTrace."""
    if not view.cluster.nodes:
        raise CannotTrace("no node's state is known yet: no collector has sent one")
    ends, recording = ends_of(request, view), Recording(view.cluster)
    refused = ""
    for source, target in product(ends.source.names, ends.target.names):
        try:
            flow = resolve_flow(
                recording.cluster,
                source,
                target,
                proto=ends.target.proto or request.proto,
                sport=request.sport,
                dport=ends.target.dport,
                length=request.length,
                df=request.df,
            )
        except EndpointError as err:
            refused = refused or str(err)
        else:
            return Resolved(flow, view, recording, ends)
    raise CannotTrace(refused)


def predict(resolved: Resolved) -> Prediction:
    """Trace through the view in which the ends were found. It is certain only as far as all that it read is fresh."""
    view = resolved.view
    cluster = resolved.recording.cluster
    trace = simulate_in_context(cluster, resolved.flow)
    trace = with_counts(view.cluster, trace, iso)
    live = {name for name, one in view.inputs.items() if one.contact is not None}
    look_at_rules([netns for netns in deciding_in(trace) if netns.node in live])
    result = told(view.cluster, trace, policy_doubts(view), enter=settings.ENTER)
    reads = resolved.recording.reads()
    found = stale_in(view, reads, time.time())
    read = nodes_of(trace) | {one.node for one in found}
    read |= {name for name, one in view.inputs.items() if one.fault is not None}
    result["state"] = describe(view, sorted(read))
    doubt(result, found)
    return Prediction(result, reads, trace, resolved.ends)


def describe(view: View, names: Iterable[str]) -> list[dict[str, Any]]:
    """Say of nodes' states how old they are and whether they are complete; nodes without one are left out."""
    now_s, described = time.time(), []
    for name in names:
        if (one := view.inputs.get(name)) is None:
            continue
        age_s = round(max(0.0, now_s - one.at_s), 1)
        at = iso(one.at_s)
        entry = {"node": name, "revision": one.revision, "at": at, "age_s": age_s, "complete": one.complete}
        if one.fault is not None:
            # The trace may be another one with it.
            entry["not_understood"] = one.fault
        described.append(entry)
    return described


def iso(at_s: float) -> str:
    """Write a time (Unix seconds) as ISO 8601, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


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
