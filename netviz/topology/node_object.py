"""A node, and a cluster's API, as every page is told of them: what its state says, how its collector is, and its health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netviz.core.state.node import NodeState
from netviz.core.state.objects import NO_OBJECTS, OBJECT_SECTIONS
from netviz.core.wire.messages import AgentStatus
from netviz.topology.graph import ClusterObject, CollectorObject, GapObject, NodeObject
from netviz.topology.projection import NodePart


class Live(msgspec.Struct, frozen=True, gc=False):
    """What the server knows of a node's collector beside its state. `age_s`: since it was last heard.

    `leaves_in_s`: when the state leaves because no collector may speak for the node; None: it stays.
    """

    connected: bool = False
    age_s: float = 0.0
    version: str = ""
    status: AgentStatus | None = None
    leaves_in_s: int | None = None


def node_object(part: NodePart, live: Live, problems: Sequence[Mapping[str, Any]]) -> NodeObject:
    """Make a node's object. `problems` are those with their cause there, the worst first."""
    state = part.state
    health, problem = _health(part, live, problems)
    return NodeObject(
        name=state.node,
        connected=live.connected,
        complete=part.complete,
        age_s=live.age_s,
        kernel="" if part.fault is not None else state.kernel,
        gaps=part.gaps,
        addrs=part.addrs,
        pod_cidrs=part.pod_cidrs,
        pods=len(part.pods),
        health=health,
        problem=problem,
        collector=_collector(live),
        not_understood=part.fault,
        leaves_in_s=live.leaves_in_s,
        subnets=part.subnets,
        kube=part.kube,
        namespace=part.namespace,
    )


def cluster_object(name: str, state: NodeState | None, live: Live) -> ClusterObject:
    """Make the object of a cluster's API; `state` is None before anything was told of it."""
    gaps = tuple(GapObject(section, reason) for section, reason in (state.gaps if state else {}).items())
    if not live.connected:
        health, problem = "error", "the watcher of its Kubernetes API is not connected"
    elif state is None:
        health, problem = "warning", "the watcher of its Kubernetes API has not sent its state yet"
    elif gaps:
        health, problem = "warning", gaps[0].reason
    else:
        health, problem = "ok", None
    objects = state.objects if state is not None else NO_OBJECTS
    return ClusterObject(
        name=name,
        connected=live.connected,
        complete=state is not None and state.complete,
        age_s=live.age_s,
        gaps=gaps,
        counts={
            section.removeprefix("kube_"): len(getattr(objects, section))
            for section in OBJECT_SECTIONS
            if section != "refused"
        },
        health=health,
        problem=problem,
        collector=_collector(live),
    )


def _roughly(value: float, digits: int) -> float:
    """A number with its first digits alone."""
    return float(f"{value:.{digits}g}")


def _collector(live: Live) -> CollectorObject | None:
    """How a collector is. What it uses is always a little more or less, which is no news for a page: it is told roughly."""
    status = live.status
    if status is None:
        return None
    return CollectorObject(
        version=live.version,
        lag_s=round(status.lag_s, 2),
        lost_events=status.lost_events,
        shed_events=status.shed_events,
        rss_bytes=int(_roughly(status.rss_bytes / 2**20, 2) * 2**20),
        cpu=round(_roughly(status.cpu, 1), 4),
    )


def _health(part: NodePart, live: Live, problems: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """How a node is, and the worst of it in words."""
    if part.fault is not None:
        return "error", "the server does not understand this node's state"
    if live.leaves_in_s is not None:
        return "error", "its collector may not speak for it any more"
    if not live.connected:
        return "error", "its collector is not connected"
    # In the alphabet, too, "error" comes before "warning".
    worst = min(problems, key=lambda one: str(one["severity"]), default=None)
    if worst is not None and worst["severity"] == "error":
        return "error", str(worst["headline"])
    if not part.state.status:
        return "warning", "its collector has not sent its state yet"
    if part.gaps:
        return "warning", f"{part.gaps[0].section}: {part.gaps[0].reason}"
    return ("ok", None) if worst is None else ("warning", str(worst["headline"]))
