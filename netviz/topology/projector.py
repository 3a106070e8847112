"""The graph of a whole cluster, kept up to date.

`Projector` puts the nodes' parts (projection.py) together, and the details (node_detail.py) of the nodes
that somebody watches. What crosses nodes is small, and indexed, so that a change costs what its node
costs, however many others there are: the owners of the nodes' addresses (for `to_node` of routes), the
claims to pods' addresses and the pod CIDRs (contract.py), and whom an alert is about (for health).

A node whose state cannot be worked out has an object that says so, and nothing in it; all else goes
on without it. What its part is used for beside others' is tried on the part alone first, so that it
fails there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import ClusterState, NodeState
from netviz.ingest.faults import Faults
from netviz.topology.contract import Claims, not_understood, overlapping_cidrs
from netviz.topology.graph import (
    Alert,
    Graph,
    GraphDelta,
    NetnsObject,
    NodeObject,
    RouteObject,
    RoutesObject,
    changed_keys,
    worse,
)
from netviz.topology.node_detail import NodeDetail, project_detail
from netviz.topology.node_object import Live, node_object
from netviz.topology.patience import Patience
from netviz.topology.projection import NodePart, project_node

FAULT = "topology"
NOTHING = NodePart(NodeState(""))
NO_DETAIL = NodeDetail(NodeState(""))
Shown = TypeVar("Shown")
_encode = msgspec.json.Encoder().encode


class Update(msgspec.Struct, gc=False):
    """What changed: for every page, and for the pages that watch a node, by its name."""

    base: GraphDelta = msgspec.field(default_factory=GraphDelta)
    details: dict[str, GraphDelta] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.base) or any(self.details.values())

    def detail(self, node: str) -> GraphDelta:
        """The delta of one node's detail, to add to."""
        return self.details.setdefault(node, GraphDelta())


class Projector:
    """The graph of a whole cluster, kept up to date: `update` returns what changed for the pages."""

    def __init__(self, faults: Faults | None = None, patience: Patience | None = None) -> None:
        self.nodes: dict[str, NodeObject] = {}
        # Those that are shown; `patience` holds others back.
        self.alerts: dict[str, Alert] = {}
        self._netns: dict[str, dict[str, NetnsObject]] = {}
        self._routes: dict[str, RoutesObject] = {}
        self._faults = Faults() if faults is None else faults
        self._patience = patience
        self._watched: frozenset[str] | None = None
        self._parts: dict[str, NodePart] = {}
        self._details: dict[str, NodeDetail] = {}
        self._live: dict[str, Live] = {}
        self._silent: dict[str, NodeState] = {}
        self._claims = Claims()
        self._judged: dict[str, Alert] = {}
        self._alerted: dict[str, dict[str, None]] = {}
        # The nodes that have an address, and those whose shown routes lead through it.
        self._owners: dict[bytes, dict[str, None]] = {}
        self._routed: dict[bytes, dict[str, None]] = {}
        self._cidrs: dict[str, tuple[str, ...]] = {}

    def watch(self, nodes: Iterable[str] | None) -> list[str]:
        """Hold the details of these nodes from now on (None: of all); return those of which it holds none yet."""
        self._watched = None if nodes is None else frozenset(nodes)
        for name in [name for name in self._details if not self._is_watched(name)]:
            self._follow_detail(name, None, Update())
        return [name for name in self._parts if self._is_watched(name) and name not in self._details]

    def pods(self, name: str) -> Collection[str]:
        """The pods of a node, as `namespace/name`."""
        return self._parts.get(name, NOTHING).pods.values()

    def graph(self, nodes: Collection[str] | None = None) -> Graph:
        """The graph as a page holds it that watches these nodes; None: all that are watched."""
        names = [name for name in self._details if nodes is None or name in nodes]
        return Graph(
            nodes=dict(self.nodes),
            routes={name: self._routes[name] for name in names if name in self._routes},
            netns={key: ns for name in names for key, ns in self._netns.get(name, {}).items()},
            links={str(key): link for name in names for key, link in self._details[name].links.items()},
            alerts=dict(self.alerts),
        )

    def ripe(self, now_s: float) -> bool:
        """Tell whether an alert that is held back is to be shown now."""
        return self._patience is not None and self._patience.ripe(now_s)

    def update(
        self,
        cluster: ClusterState,
        live: Mapping[str, Live],
        names: Iterable[str] | None = None,
        now_s: float = 0.0,
    ) -> Update:
        """Follow the cluster to a new state. A node that only `live` knows has an object, and nothing in it.

        `names` are the nodes that may have changed, in `cluster` or `live`, which needn't have others; None: any.
        `now_s` is Unix seconds, for alerts that are shown when they have stood for a while.
        """
        update = Update()
        if names is None:
            names = dict.fromkeys((*self._parts, *cluster.nodes, *live))
        touched: set[bytes] = set()
        moved: set[bytes] = set()
        nodes: dict[str, None] = {}
        cidrs = False
        for name in names:
            known = name in cluster.nodes or name in live
            old = self._parts.get(name)
            new, detail = self._work_out(self._state(cluster, name), old) if known else (None, None)
            if new is not old or live.get(name) != self._live.get(name):
                nodes[name] = None
            if name in live:
                self._live[name] = live[name]
            else:
                self._live.pop(name, None)
            if new is not old:
                touched |= self._step(update.base, old, new)
                moved |= self._follow_addresses(name, old or NOTHING, new or NOTHING)
                cidrs |= _cidrs_of(old) != _cidrs_of(new)
                if new is None:
                    del self._parts[name]
                    self._silent.pop(name, None)
                    self._faults.forget(name)
                else:
                    self._parts[name] = new
            self._follow_detail(name, detail, update)
        for addr in touched:
            self._judge(update.base, f"duplicate-address:{format_ip(addr)}", self._claims.judge(addr))
        if cidrs:
            self._judge_cidrs(update.base)
        if self._patience is not None:
            self._patience.sift(update.base, now_s)
        nodes |= self._show_alerts(update)
        for name in nodes:
            part = self._parts.get(name)
            _put(update.base, "nodes", self.nodes, name, None if part is None else self._node(name, part))
        for name in dict.fromkeys(name for addr in moved for name in self._routed.get(addr, ())):
            self._show_routes(name, update)
        return update

    # One node's part and detail.

    def _is_watched(self, name: str) -> bool:
        return self._watched is None or name in self._watched

    def _state(self, cluster: ClusterState, name: str) -> NodeState:
        """A node's state; of one that never sent any, the same empty one each time."""
        state = cluster.nodes.get(name)
        return self._silent.setdefault(name, NodeState(name)) if state is None else state

    def _work_out(self, state: NodeState, old: NodePart | None) -> tuple[NodePart, NodeDetail | None]:
        """A node's part and detail, from its last ones; an empty one with a fault when that fails."""
        name = state.node
        detail, watched = self._details.get(name), self._is_watched(name)
        if (
            old is not None
            and old.state is state
            and (old.fault is not None or watched == (detail is not None))
        ):
            return old, detail
        sound = old if old is not None and old.fault is None else None
        with self._faults.attempt(name, FAULT) as attempt:
            part = project_node(state, sound)
            new = project_detail(part, detail) if watched else None
            self._prove(old, part, detail, new)
            return part, new
        return NodePart(state, fault=attempt.fault), None

    def _prove(
        self, old: NodePart | None, part: NodePart, detail: NodeDetail | None, new: NodeDetail | None
    ) -> None:
        """Do with a node's part what is done later with all nodes'. Raises: whatever doesn't work."""
        was, before, after = old or NOTHING, detail or NO_DETAIL, new or NO_DETAIL
        for old_objects, objects in (
            (was.alerts, part.alerts),
            (before.netns, after.netns),
            (before.links, after.links),
        ):
            for key in changed_keys(old_objects, objects):
                _encode(objects.get(key))
        for key in changed_keys(was.claims, part.claims):
            for addr, _ in part.claims.get(key, ()):
                format_ip(addr)
        for _, via, _ in after.routes.shown:
            format_ip(via)
        _encode(node_object(part, Live(), ()))
        list(overlapping_cidrs({part.state.node: part.pod_cidrs}))

    def _step(self, delta: GraphDelta, old: NodePart | None, new: NodePart | None) -> set[bytes]:
        """Follow one node; return the addresses whose claims changed."""
        was, now = old or NOTHING, new or NOTHING
        for key in changed_keys(was.alerts, now.alerts):
            alert = now.alerts.get(key)
            self._judge(delta, (alert or was.alerts[key]).key, alert)
        if was.fault or now.fault:
            alert = not_understood((new or was).state.node)
            self._judge(delta, alert.key, alert if now.fault else None)
        touched = set()
        for key in changed_keys(was.claims, now.claims):
            touched |= self._claims.step(was.claims.get(key, ()), now.claims.get(key, ()))
        return touched

    def _follow_detail(self, name: str, new: NodeDetail | None, update: Update) -> None:
        """Follow one node's detail; None: nobody watches it, or it is gone."""
        old = self._details.get(name)
        if new is old:
            return
        was, now = old or NO_DETAIL, new or NO_DETAIL
        delta = update.detail(name)
        if new is None:
            del self._details[name]
        else:
            self._details[name] = new
        for key in changed_keys(was.links, now.links):
            delta.put("links", str(key), was.links.get(key), now.links.get(key))
        shown = self._netns.setdefault(name, {})
        for key in changed_keys(was.netns, now.netns):
            ns = now.netns.get(key)
            _put(delta, "netns", shown, str(key), ns and self._with_alerts(ns))
        if was.routes is not now.routes:
            _move(self._routed, name, _gateways(was), _gateways(now))
        self._show_routes(name, update)
        if new is None:
            del self._netns[name]

    def _show_routes(self, name: str, update: Update) -> None:
        detail = self._details.get(name)
        new = None
        if detail is not None:
            routes = tuple(
                RouteObject(dst, format_ip(via) or None, dev, self._owner(via) if via else None)
                for dst, via, dev in detail.routes.shown
            )
            new = RoutesObject(name, routes, detail.routes.left_off)
        _put(update.detail(name), "routes", self._routes, name, new)

    # What crosses nodes.

    def _judge(self, delta: GraphDelta, key: str, alert: Alert | None) -> None:
        _put(delta, "alerts", self._judged, key, alert)

    def _show_alerts(self, update: Update) -> dict[str, None]:
        """Follow the alerts that are shown; return the nodes that they are about."""
        nodes: dict[str, None] = {}
        namespaces: dict[str, None] = {}
        went = ((key, None) for key in update.base.remove.alerts)
        for key, alert in (*went, *((alert.key, alert) for alert in update.base.upsert.alerts)):
            was = self.alerts.pop(key, None)
            if alert is not None:
                self.alerts[key] = alert
            subjects = [(one.nodes, one.netns) for one in (was, alert) if one is not None]
            _move(self._alerted, key, _subjects(was), _subjects(alert))
            for names, keys in subjects:
                nodes |= dict.fromkeys(names)
                namespaces |= dict.fromkeys(keys)
        for key in namespaces:
            node = key.rsplit(":", 3)[0]
            shown = self._netns.get(node, {})
            if key in shown:
                own = self._details[node].netns[NetnsKey.parse(key)]
                _put(update.detail(node), "netns", shown, key, self._with_alerts(own))
        return nodes

    def _with_alerts(self, ns: NetnsObject) -> NetnsObject:
        """A namespace's object with the alerts that are about it in its health."""
        health = ns.health
        for key in self._alerted.get(ns.key, ()):
            health = worse(health, self.alerts[key].severity)
        return ns if health == ns.health else msgspec.structs.replace(ns, health=health)

    def _follow_addresses(self, name: str, was: NodePart, now: NodePart) -> set[bytes]:
        """Note which addresses a node has; return those whose owner isn't the same any more."""
        before = {addr: self._owner(addr) for addr in was.owned ^ now.owned}
        _move(self._owners, name, was.owned, now.owned)
        return {addr for addr, owner in before.items() if self._owner(addr) != owner}

    def _node(self, name: str, part: NodePart) -> NodeObject:
        alerts = [self.alerts[key] for key in self._alerted.get(name, ())]
        return node_object(part, self._live.get(name, Live()), alerts)

    def _owner(self, addr: bytes) -> str | None:
        """The node that has an address; None where none or several have it."""
        names = self._owners.get(addr, ())
        return next(iter(names)) if len(names) == 1 else None

    def _judge_cidrs(self, delta: GraphDelta) -> None:
        cidrs = {name: found for name, part in self._parts.items() if (found := _cidrs_of(part))}
        old = {alert.key: alert for alert in overlapping_cidrs(self._cidrs)}
        new = {alert.key: alert for alert in overlapping_cidrs(cidrs)}
        self._cidrs = cidrs
        for key in changed_keys(old, new):
            self._judge(delta, key, new.get(key))


def _subjects(alert: Alert | None) -> tuple[str, ...]:
    """The nodes and namespaces that an alert is about."""
    return () if alert is None else (*alert.nodes, *alert.netns)


def _put(delta: GraphDelta, part: str, objects: dict[str, Shown], key: str, new: Shown | None) -> None:
    """Set one object of a mapping (None: take it out), and note the step in a delta."""
    old = objects.get(key)
    delta.put(part, key, old, new)
    if new is None:
        objects.pop(key, None)
    elif old != new:
        objects[key] = new


def _cidrs_of(part: NodePart | None) -> tuple[str, ...]:
    """The pod CIDRs that are a node's own."""
    return () if part is None or part.stretched else part.pod_cidrs


def _gateways(detail: NodeDetail) -> frozenset[bytes]:
    return frozenset(via for _, via, _ in detail.routes.shown if via)


def _move(index: dict[Any, dict[str, None]], name: str, was: Collection[Any], now: Collection[Any]) -> None:
    """Let a name stand under other keys in an index."""
    for key in was:
        if key not in now:
            names = index[key]
            del names[name]
            if not names:
                del index[key]
    for key in now:
        index.setdefault(key, {})[name] = None


def project(cluster: ClusterState, live: Mapping[str, Live]) -> Graph:
    """Project a cluster from scratch, with all details."""
    projector = Projector()
    projector.update(cluster, live)
    return projector.graph()
