"""The graph of a whole cluster, kept up to date.

`Projector` puts the nodes' parts (projection.py) together, and the details (node_detail.py) of the nodes
that somebody watches. What crosses nodes is small, and indexed, so that a change costs what its node
costs, however many others there are: the owners of the nodes' addresses (for `to_node` of routes), and where the
problems have their causes (for health). The problems themselves come from the checks (netviz/problems/board.py).

A node whose state cannot be worked out has an object that says so, and nothing in it; all else goes
on without it. What its part is used for beside others' is tried on the part alone first, so that it
fails there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.state.node import ClusterState, NodeState
from netviz.ingest.faults import Faults
from netviz.problems.board import Board
from netviz.problems.shown import places_of
from netviz.topology.graph import (
    ClusterObject,
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
from netviz.topology.node_object import Live, cluster_object, node_object
from netviz.topology.projection import NodePart, project_node

FAULT = "topology"
NOTHING = NodePart(NodeState(""))
NO_DETAIL = NodeDetail(NodeState(""))
Shown = TypeVar("Shown")
# Where a problem has its cause: a node, a namespace's key, or a namespace's key and a device there.
Place = str | tuple[str, str]
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

    def __init__(self, faults: Faults | None = None) -> None:
        self.nodes: dict[str, NodeObject] = {}
        self.board = Board({}, {})
        self._netns: dict[str, dict[str, NetnsObject]] = {}
        self._routes: dict[str, RoutesObject] = {}
        self._faults = Faults() if faults is None else faults
        self._watched: frozenset[str] | None = None
        self._parts: dict[str, NodePart] = {}
        self._details: dict[str, NodeDetail] = {}
        self._live: dict[str, Live] = {}
        self.clusters: dict[str, ClusterObject] = {}
        self._silent: dict[str, NodeState] = {}
        # The problems that stand, by the node, the namespace and the device of their cause, the worst first.
        self._blamed: dict[Place, list[dict[str, Any]]] = {}
        # The nodes that have an address, and those whose shown routes lead through it.
        self._owners: dict[bytes, dict[str, None]] = {}
        self._routed: dict[bytes, dict[str, None]] = {}

    def watch(self, nodes: Iterable[str] | None) -> list[str]:
        """Hold the details of these nodes from now on (None: of all); return those of which it holds none yet."""
        self._watched = None if nodes is None else frozenset(nodes)
        for name in [name for name in self._details if not self._is_watched(name)]:
            self._follow_detail(name, None, Update())
        return [name for name in self._parts if self._is_watched(name) and name not in self._details]

    def pods(self, name: str) -> Collection[str]:
        """The pods of a node, as `namespace/name`."""
        return self._parts.get(name, NOTHING).pods.values()

    def aging(self) -> list[str]:
        """The nodes of which something else is to be told as time passes, whatever their collectors say."""
        return [name for name, one in self._live.items() if not one.connected or one.leaves_in_s is not None]

    def graph(self, nodes: Collection[str] | None = None) -> Graph:
        """The graph as a page holds it that watches these nodes; None: all that are watched."""
        names = [name for name in self._details if nodes is None or name in nodes]
        return Graph(
            clusters=dict(self.clusters),
            nodes=dict(self.nodes),
            pods={key: pod for name in names for key, pod in self._details[name].pods.items()},
            routes={name: self._routes[name] for name in names if name in self._routes},
            netns={key: ns for name in names for key, ns in self._netns.get(name, {}).items()},
            links={str(key): link for name in names for key, link in self._details[name].links.items()},
            problems=dict(self.board.problems),
            checking={"checking": self.board.checking} if self.board.checking else {},
        )

    def update(
        self,
        cluster: ClusterState,
        live: Mapping[str, Live],
        names: Iterable[str] | None = None,
        board: Board | None = None,
        watchers: Mapping[str, Live] | None = None,
    ) -> Update:
        """Follow the cluster to a new state. A node that only `live` knows has an object, and nothing in it.

        `names` are the nodes that may have changed, in `cluster` or `live`, which needn't have others; None: any.
        `board` is what is wrong now, by the checks; `watchers` is what is known of each cluster's watcher. None: as before.
        """
        update = Update()
        if watchers is not None:
            for name in dict.fromkeys((*self.clusters, *watchers)):
                told = watchers.get(name)
                made = None if told is None else cluster_object(name, cluster.clusters.get(name), told)
                _put(update.base, "clusters", self.clusters, name, made)
        if names is None:
            names = dict.fromkeys((*self._parts, *cluster.nodes, *live))
        moved: set[bytes] = set()
        nodes: dict[str, None] = {}
        for name in names:
            known = name in cluster.nodes or name in live
            old = self._parts.get(name)
            new, detail = self._work_out(self._state(cluster, name), old) if known else (None, None)
            if (new is not old and not _shows_alike(old, new)) or live.get(name) != self._live.get(name):
                nodes[name] = None
            if name in live:
                self._live[name] = live[name]
            else:
                self._live.pop(name, None)
            if new is not old:
                moved |= self._follow_addresses(name, old or NOTHING, new or NOTHING)
                if new is None:
                    del self._parts[name]
                    self._silent.pop(name, None)
                    self._faults.forget(name)
                else:
                    self._parts[name] = new
            self._follow_detail(name, detail, update)
        if board is not None and board is not self.board:
            nodes |= self._follow_board(board, update)
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
            self._prove(part, sound, detail, new)
            return part, new
        return NodePart(state, fault=attempt.fault), None

    def _prove(
        self, part: NodePart, old: NodePart | None, detail: NodeDetail | None, new: NodeDetail | None
    ) -> None:
        """Do with a node's part what is done later with all nodes'. Raises: whatever doesn't work."""
        before, after = detail or NO_DETAIL, new or NO_DETAIL
        for old_objects, objects in (
            (before.netns, after.netns),
            (before.links, after.links),
            (before.pods, after.pods),
        ):
            for key in changed_keys(old_objects, objects):
                _encode(objects.get(key))
        for _, via, _ in after.routes.shown:
            format_ip(via)
        if not _shows_alike(old, part):
            _encode(node_object(part, Live(), ()))

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
        for key in changed_keys(was.pods, now.pods):
            delta.put("pods", key, was.pods.get(key), now.pods.get(key))
        for key in changed_keys(was.links, now.links):
            delta.put("links", str(key), was.links.get(key), now.links.get(key))
        shown = self._netns.setdefault(name, {})
        for key in changed_keys(was.netns, now.netns):
            _put(delta, "netns", shown, str(key), self._with_problems(now, key))
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

    def _follow_board(self, board: Board, update: Update) -> dict[str, None]:
        """Follow the problems; return the nodes of which they say something else."""
        was, self.board = self.board, board
        for key in changed_keys(was.problems, board.problems):
            update.base.put("problems", key, was.problems.get(key), board.problems.get(key))
        update.base.put("checking", "checking", was.checking or None, board.checking or None)
        before, self._blamed = self._blamed, _blamed(board)
        changed = [at for at in (*before, *self._blamed) if before.get(at) != self._blamed.get(at)]
        for node, at in dict.fromkeys(self._blamed_namespaces(changed)):
            ns = self._with_problems(self._details[node], NetnsKey.parse(at))
            _put(update.detail(node), "netns", self._netns[node], at, ns)
        return dict.fromkeys(at for at in changed if isinstance(at, str) and at in self._parts)

    def _blamed_namespaces(self, places: Iterable[Place]) -> Iterator[tuple[str, str]]:
        """The shown namespaces in whose health the problems at some places count, each with its node."""
        for place in places:
            at, dev = place if isinstance(place, tuple) else (place, None)
            node = at.rsplit(":", 3)[0]
            shown = self._netns.get(node, {})
            if at not in shown:
                continue
            if dev is None:
                yield node, at
                continue
            for link in self._details[node].links.values():
                if link.netns == at and link.ifname == dev and link.peer is not None:
                    behind = str(LinkKey.parse(link.peer).netns)
                    if behind in shown:
                        yield node, behind

    def _with_problems(self, detail: NodeDetail, key: NetnsKey) -> NetnsObject | None:
        """A namespace's object with the problems in its health that have their cause there, or at its link's other end."""
        ns, port = detail.netns.get(key), detail.port_of(key)
        if ns is None:
            return None
        there = () if port is None else self._blamed.get((port.netns, port.ifname), ())
        health = ns.health
        for one in (*self._blamed.get(ns.key, ()), *there):
            health = worse(health, one["severity"])
        return ns if health == ns.health else msgspec.structs.replace(ns, health=health)

    def _follow_addresses(self, name: str, was: NodePart, now: NodePart) -> set[bytes]:
        """Note which addresses a node has; return those whose owner isn't the same any more."""
        before = {addr: self._owner(addr) for addr in was.owned ^ now.owned}
        _move(self._owners, name, was.owned, now.owned)
        return {addr for addr, owner in before.items() if self._owner(addr) != owner}

    def _node(self, name: str, part: NodePart) -> NodeObject:
        return node_object(part, self._live.get(name, Live()), self._blamed.get(name, ()))

    def _owner(self, addr: bytes) -> str | None:
        """The node that has an address; None where none or several have it."""
        names = self._owners.get(addr, ())
        return next(iter(names)) if len(names) == 1 else None


def _shows_alike(old: NodePart | None, new: NodePart | None) -> bool:
    return old is not None and new is not None and new.shows_as(old)


def _blamed(board: Board) -> dict[Place, list[dict[str, Any]]]:
    """The problems that stand, by the node, the namespace and the device where they have their cause."""
    found: dict[Place, list[dict[str, Any]]] = {}
    for one in board.now():
        devices = [
            (at["key"], at["dev"]) for at in (one["where"], *one["also_at"]) if at["key"] and at["dev"]
        ]
        places: list[Place] = [*places_of(one), *dict.fromkeys(devices)]
        for place in places:
            found.setdefault(place, []).append(one)
    return found


def _put(delta: GraphDelta, part: str, objects: dict[str, Shown], key: str, new: Shown | None) -> None:
    """Set one object of a mapping (None: take it out), and note the step in a delta."""
    old = objects.get(key)
    delta.put(part, key, old, new)
    if new is None:
        objects.pop(key, None)
    elif old != new:
        objects[key] = new


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
