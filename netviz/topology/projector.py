"""The graph of a whole cluster, kept up to date.

`Projector` puts the nodes' parts (projection.py) together. What crosses nodes is small, and indexed, so that
a change costs what its node costs, however many others there are: the owners of the nodes' addresses (for
`to_node` of routes), the claims to pods' addresses and the pod CIDRs (contract.py).

A node whose state cannot be worked out has an object that says so, and nothing in it; all else goes
on without it. What its part is used for beside others' is tried on the part alone first, so that it
fails there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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
NOTHING = NodePart(NodeState(""))
_encode = msgspec.json.Encoder().encode


class Live(msgspec.Struct, frozen=True, gc=False):
    """What the server knows of a node's collector beside its state. `age_s`: since it was last heard.

    `leaves_in_s`: when the state leaves because no collector may speak for the node; None: it stays.
    """

    connected: bool = False
    age_s: float = 0.0
    version: str = ""
    status: AgentStatus | None = None
    leaves_in_s: int | None = None


class Projector:
    """The graph of a whole cluster, kept up to date: `update` returns what changed for the pages."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.graph = Graph({}, {}, {}, {})
        self._faults = Faults() if faults is None else faults
        self._parts: dict[str, NodePart] = {}
        self._live: dict[str, Live] = {}
        self._silent: dict[str, NodeState] = {}
        self._claims = Claims()
        # The nodes that have an address, and those whose shown routes lead through it.
        self._owners: dict[bytes, dict[str, None]] = {}
        self._routed: dict[bytes, dict[str, None]] = {}
        self._cidrs: dict[str, tuple[str, ...]] = {}

    def update(
        self, cluster: ClusterState, live: Mapping[str, Live], names: Iterable[str] | None = None
    ) -> GraphDelta:
        """Follow the cluster to a new state. A node that only `live` knows has an object, and nothing in it.

        `names` are the nodes that may have changed, in `cluster` or `live`, which needn't have others; None: any.
        """
        delta = GraphDelta()
        if names is None:
            names = dict.fromkeys((*self._parts, *cluster.nodes, *live))
        touched: set[bytes] = set()
        moved: set[bytes] = set()
        nodes: dict[str, None] = {}
        cidrs = False
        for name in names:
            known = name in cluster.nodes or name in live
            old = self._parts.get(name)
            new = self._part(self._state(cluster, name), old) if known else None
            if new is not old or live.get(name) != self._live.get(name):
                nodes[name] = None
            if name in live:
                self._live[name] = live[name]
            else:
                self._live.pop(name, None)
            if new is old:
                continue
            touched |= self._step(delta, old, new)
            moved |= self._follow_addresses(name, old or NOTHING, new or NOTHING)
            cidrs |= _cidrs_of(old) != _cidrs_of(new)
            if new is None:
                del self._parts[name]
                self._silent.pop(name, None)
                self._faults.forget(name)
            else:
                self._parts[name] = new
        for addr in moved:
            nodes |= self._routed.get(addr, {})
        for name in nodes:
            part = self._parts.get(name)
            self._set(delta, "nodes", name, part and self._node(part, self._live.get(name, Live())))
        for addr in touched:
            key = f"duplicate-address:{format_ip(addr)}"
            self._set(delta, "alerts", key, self._claims.judge(addr))
        if cidrs:
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
        was, now = old or NOTHING, new or NOTHING
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

    def _follow_addresses(self, name: str, was: NodePart, now: NodePart) -> set[bytes]:
        """Note which addresses a node has and routes through; return those whose owner isn't the same any more."""
        if was.routes is not now.routes:
            _move(self._routed, name, _gateways(was), _gateways(now))
        before = {addr: self._owner(addr) for addr in was.owned ^ now.owned}
        _move(self._owners, name, was.owned, now.owned)
        return {addr for addr, owner in before.items() if self._owner(addr) != owner}

    def _owner(self, addr: bytes) -> str | None:
        """The node that has an address; None where none or several have it."""
        names = self._owners.get(addr, ())
        return next(iter(names)) if len(names) == 1 else None

    def _node(self, part: NodePart, live: Live) -> NodeObject:
        state, status = part.state, live.status
        # Of a state that isn't understood nothing is taken.
        known = {} if part.fault is not None else state.gaps
        gaps = tuple(GapObject(section, reason) for section, reason in known.items())
        return NodeObject(
            name=state.node,
            connected=live.connected,
            complete=part.fault is None and state.complete,
            age_s=live.age_s,
            kernel="" if part.fault is not None else state.kernel,
            gaps=gaps,
            addrs=part.addrs,
            pod_cidrs=part.pod_cidrs,
            routes=tuple(
                RouteObject(dst, format_ip(via) or None, dev, self._owner(via) if via else None)
                for dst, via, dev in part.routes.shown
            ),
            routes_left_off=part.routes.left_off,
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
            leaves_in_s=live.leaves_in_s,
        )

    def _judge_cidrs(self, delta: GraphDelta) -> None:
        cidrs = {name: found for name, part in self._parts.items() if (found := _cidrs_of(part))}
        old = {alert.key: alert for alert in overlapping_cidrs(self._cidrs)}
        new = {alert.key: alert for alert in overlapping_cidrs(cidrs)}
        self._cidrs = cidrs
        for key in changed_keys(old, new):
            self._set(delta, "alerts", key, new.get(key))


def _cidrs_of(part: NodePart | None) -> tuple[str, ...]:
    """The pod CIDRs that are a node's own."""
    return () if part is None or part.stretched else part.pod_cidrs


def _gateways(part: NodePart) -> frozenset[bytes]:
    return frozenset(via for _, via, _ in part.routes.shown if via)


def _move(
    index: dict[bytes, dict[str, None]], name: str, was: Collection[bytes], now: Collection[bytes]
) -> None:
    """Let a node stand under other addresses in an index."""
    for addr in was:
        if addr not in now:
            names = index[addr]
            del names[name]
            if not names:
                del index[addr]
    for addr in now:
        index.setdefault(addr, {})[name] = None


def project(cluster: ClusterState, live: Mapping[str, Live]) -> Graph:
    """Project a cluster from scratch."""
    projector = Projector()
    projector.update(cluster, live)
    return projector.graph


def as_lists(graph: Graph) -> dict[str, list[object]]:
    """The graph as the protocol sends it: lists of objects."""
    return {part: list(getattr(graph, part).values()) for part in PARTS}
