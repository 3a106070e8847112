"""The graph of a whole cluster, kept up to date.

`Projector` puts the nodes' parts (projection.py) together. What crosses nodes is small: the owners of
the nodes' addresses (for `to_node` of routes), the claims to pods' addresses and the pod CIDRs
(contract.py).

A node whose state cannot be worked out has an object that says so, and nothing in it; all else goes
on without it. What its part is used for beside others' is tried on the part alone first, so that it
fails there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.faults import Faults
from netviz.topology.contract import Claims, not_understood, overlapping_cidrs
from netviz.topology.graph import (
    PARTS,
    CollectorObject,
    GapObject,
    Graph,
    GraphDelta,
    NodeObject,
    RouteObject,
    changed_keys,
)
from netviz.topology.projection import NodePart, project_node

FAULT = "topology"
_encode = msgspec.json.Encoder().encode


class Live(msgspec.Struct, frozen=True, gc=False):
    """What the server knows of a node's collector beside its state. `age_s`: since it was last heard."""

    connected: bool = False
    age_s: float = 0.0
    version: str = ""
    status: AgentStatus | None = None


class Projector:
    """The graph of a whole cluster, kept up to date: `update` returns what changed for the pages."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.graph = Graph({}, {}, {}, {})
        self._faults = Faults() if faults is None else faults
        self._parts: dict[str, NodePart] = {}
        self._live: Mapping[str, Live] = {}
        self._silent: dict[str, NodeState] = {}
        self._claims = Claims()
        self._owners: dict[bytes, str | None] = {}
        self._cidrs: dict[str, tuple[str, ...]] = {}

    def update(self, cluster: ClusterState, live: Mapping[str, Live]) -> GraphDelta:
        """Follow the cluster to a new state. A node that only `live` knows has an object, and nothing in it."""
        delta = GraphDelta()
        names = dict.fromkeys((*cluster.nodes, *live))
        changed: set[str] = {name for name in self._parts if name not in names}
        touched: set[bytes] = set()
        for name in (*changed, *names):
            old = self._parts.get(name)
            new = self._part(self._state(cluster, name), old) if name in names else None
            if new is old:
                continue
            changed.add(name)
            touched |= self._step(delta, old, new)
            if new is None:
                del self._parts[name]
                self._silent.pop(name, None)
                self._faults.forget(name)
            else:
                self._parts[name] = new
        owners = self._all_owners() if changed else self._owners
        everyone = owners != self._owners
        self._owners = owners
        for name in dict.fromkeys((*self.graph.nodes, *names)):
            if everyone or name in changed or live.get(name) != self._live.get(name):
                part = self._parts.get(name)
                self._set(delta, "nodes", name, part and self._node(part, live.get(name, Live())))
        self._live = live
        for addr in touched:
            key = f"duplicate-address:{format_ip(addr)}"
            self._set(delta, "alerts", key, self._claims.judge(addr))
        self._judge_cidrs(delta)
        return delta

    def _state(self, cluster: ClusterState, name: str) -> NodeState:
        """A node's state; of one that never sent any, the same empty one each time."""
        state = cluster.nodes.get(name)
        return self._silent.setdefault(name, NodeState(name)) if state is None else state

    def _part(self, state: NodeState, old: NodePart | None) -> NodePart:
        """A node's part, from its last one; an empty one with a fault when its state cannot be worked out."""
        if old is not None and old.state is state:
            return old
        with self._faults.attempt(state.node, FAULT) as attempt:
            part = project_node(state, old if old is not None and old.fault is None else None)
            self._prove(old, part)
            return part
        return NodePart(state, fault=attempt.fault)

    def _prove(self, old: NodePart | None, part: NodePart) -> None:
        """Do with a node's part what is done later with all nodes'. Raises: whatever doesn't work."""
        for name in ("netns", "links", "alerts"):
            objects = getattr(part, name)
            for key in changed_keys({} if old is None else getattr(old, name), objects):
                _encode(objects.get(key))
        for key in changed_keys({} if old is None else old.claims, part.claims):
            for addr, _ in part.claims.get(key, ()):
                format_ip(addr)
        _encode(self._node(part, Live()))
        list(overlapping_cidrs({part.state.node: part.pod_cidrs}))

    def _set(self, delta: GraphDelta, part: str, key: str, new: object) -> None:
        objects = getattr(self.graph, part)
        old = objects.get(key)
        delta.put(part, key, old, new)
        if new is None:
            objects.pop(key, None)
        elif old != new:
            objects[key] = new

    def _step(self, delta: GraphDelta, old: NodePart | None, new: NodePart | None) -> set[bytes]:
        """Follow one node; return the addresses whose claims changed."""
        nothing = NodePart(NodeState(""))
        was, now = old or nothing, new or nothing
        for part in ("netns", "links"):
            before, after = getattr(was, part), getattr(now, part)
            for key in changed_keys(before, after):
                self._set(delta, part, str(key), after.get(key))
        for key in changed_keys(was.alerts, now.alerts):
            alert = now.alerts.get(key)
            self._set(delta, "alerts", (alert or was.alerts[key]).key, alert)
        if was.fault or now.fault:
            alert = not_understood((new or was).state.node)
            self._set(delta, "alerts", alert.key, alert if now.fault else None)
        touched = set()
        for key in changed_keys(was.claims, now.claims):
            touched |= self._claims.step(was.claims.get(key, ()), now.claims.get(key, ()))
        return touched

    def _all_owners(self) -> dict[bytes, str | None]:
        """Whose address is it: address -> node, or None where several nodes have it."""
        owners: dict[bytes, str | None] = {}
        for name, part in self._parts.items():
            for addr in part.owned:
                owners[addr] = None if addr in owners else name
        return owners

    def _node(self, part: NodePart, live: Live) -> NodeObject:
        state, status = part.state, live.status
        # Of a state that isn't understood nothing is taken.
        sections = {} if part.fault is not None else state.status
        gaps = tuple(
            GapObject(section, known.reason or "not read whole")
            for section, known in sorted(sections.items())
            if not known.whole
        )
        return NodeObject(
            name=state.node,
            connected=live.connected,
            complete=bool(sections) and not gaps,
            age_s=live.age_s,
            kernel="" if part.fault is not None else state.kernel,
            gaps=gaps,
            addrs=part.addrs,
            pod_cidrs=part.pod_cidrs,
            routes=tuple(
                RouteObject(dst, format_ip(via) or None, dev, self._owners.get(via) if via else None)
                for dst, via, dev in part.routes
            ),
            routes_left_off=part.routes_left_off,
            collector=None
            if status is None
            else CollectorObject(
                version=live.version,
                lag_s=round(status.lag_s, 3),
                lost_events=status.lost_events,
                shed_events=status.shed_events,
                rss_bytes=status.rss_bytes,
                cpu=round(status.cpu, 4),
            ),
            not_understood=part.fault,
        )

    def _judge_cidrs(self, delta: GraphDelta) -> None:
        cidrs = {name: p.pod_cidrs for name, p in self._parts.items() if p.pod_cidrs and not p.stretched}
        if cidrs == self._cidrs:
            return
        old = {alert.key: alert for alert in overlapping_cidrs(self._cidrs)}
        new = {alert.key: alert for alert in overlapping_cidrs(cidrs)}
        self._cidrs = cidrs
        for key in changed_keys(old, new):
            self._set(delta, "alerts", key, new.get(key))


def project(cluster: ClusterState, live: Mapping[str, Live]) -> Graph:
    """Project a cluster from scratch."""
    projector = Projector()
    projector.update(cluster, live)
    return projector.graph


def as_lists(graph: Graph) -> dict[str, list[object]]:
    """The graph as the protocol sends it: lists of objects."""
    return {part: list(getattr(graph, part).values()) for part in PARTS}
