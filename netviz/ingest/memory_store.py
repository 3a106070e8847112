"""The live state store in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.naming import Overlay
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import cluster_of
from netviz.core.state.section import Section
from netviz.ingest.bodies import BodyPool
from netviz.ingest.share import Shared
from netviz.ingest.store import CollectorReport, NodeRevision, Position, Subscriber
from netviz.ingest.weight import Weights

log = logging.getLogger("netviz.store")
V = TypeVar("V")


class Held:
    """What is held of one node."""

    __slots__ = (
        "compared_at_s",
        "complete",
        "connected",
        "durable",
        "position",
        "received_at_s",
        "report",
        "revision",
        "state",
    )

    def __init__(self, node: str) -> None:
        self.state = NodeState(node)
        self.position: Position | None = None
        self.durable: Position | None = None
        self.revision = 0
        self.received_at_s = 0.0
        self.compared_at_s = 0.0
        self.connected = False
        self.complete = False
        self.report: CollectorReport | None = None


def by_scope(held: Mapping[str, V]) -> tuple[dict[str, V], dict[str, V]]:
    """Part what is held by sources' names: by nodes' names, and by clusters'."""
    nodes: dict[str, V] = {}
    clusters: dict[str, V] = {}
    for source, one in held.items():
        cluster = cluster_of(source)
        if cluster is None:
            nodes[source] = one
        else:
            clusters[cluster] = one
    return nodes, clusters


def _refuses(delta: NodeDelta) -> bool:
    """Tell whether a delta says or ends that something was refused."""
    return any(one is not None and one.refused is not None for one in (*delta.netns, delta.objects))


def _renewed(before: Mapping[str, NodeState], now: Mapping[str, NodeState | None]) -> Mapping[str, NodeState]:
    if not now:
        return before
    gone = [name for name, state in now.items() if state is None]
    return Section.of(before).changed(gone, {name: one for name, one in now.items() if one is not None})


class MemoryStore:
    """The store in this process. Writes may come from any thread; reads take no copy twice."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}
        self._bodies = BodyPool()
        self._shared = Shared()
        self.weights = Weights()
        self._subscribers: list[Subscriber] = []
        self._cluster_subscribers: list[Subscriber] = []
        self._revision = 0
        self._cluster = ClusterState()
        # The nodes whose states in `_cluster` are older ones, and whether its bodies are.
        self._stale: dict[str, None] = {}
        self._stale_bodies = False
        self._overlay = Overlay()

    @property
    def revision(self) -> int:
        """Number of changes that this process saw."""
        return self._revision

    def cluster(self) -> ClusterState:
        """All nodes and clusters' objects as they are now. What never sent a snapshot is left out.

        What clusters' APIs say of a node is laid over its state (`core/state/naming.py`).
        """
        if not self._stale and not self._stale_bodies:
            return self._cluster
        with self._lock:
            nodes, clusters = by_scope({name: self.state(name) for name in self._stale})
            nodes = {name: state and self._overlay.laid(state) for name, state in nodes.items()}
            self._cluster = ClusterState(
                _renewed(self._cluster.nodes, nodes),
                self._bodies.view(),
                _renewed(self._cluster.clusters, clusters),
            )
            self._stale, self._stale_bodies = {}, False
            return self._cluster

    def node_revisions(self) -> dict[str, NodeRevision]:
        """Freshness of each node."""
        with self._lock:
            nodes, _ = by_scope(self._held)
            return {name: self._freshness(name, held) for name, held in nodes.items()}

    def cluster_revisions(self) -> dict[str, NodeRevision]:
        """Freshness of each cluster's objects, by the cluster's name."""
        with self._lock:
            _, clusters = by_scope(self._held)
            return {name: self._freshness(name, held) for name, held in clusters.items()}

    def node_revision(self, node: str) -> NodeRevision | None:
        """Freshness of one node."""
        with self._lock:
            held = self._held.get(node)
            return self._freshness(node, held) if held is not None else None

    def _freshness(self, node: str, held: Held) -> NodeRevision:
        return NodeRevision(
            held.revision, held.received_at_s, held.connected, held.complete, held.compared_at_s
        )

    def complete(self, node: str) -> bool:
        """Tell whether every section of a node was read whole."""
        held = self._held.get(node)
        return held is not None and held.complete

    def collectors(self) -> dict[str, CollectorReport]:
        """What each node's collector last reported."""
        with self._lock:
            nodes, _ = by_scope(self._held)
            return {name: held.report for name, held in nodes.items() if held.report is not None}

    def collector(self, node: str) -> CollectorReport | None:
        """What one node's collector last reported."""
        held = self._held.get(node)
        return held.report if held is not None else None

    def subscribe_clusters(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` with the source's name after each change of a cluster's objects; returns how to end that."""
        with self._lock:
            self._cluster_subscribers = [*self._cluster_subscribers, callback]

        def unsubscribe() -> None:
            with self._lock:
                self._cluster_subscribers = [one for one in self._cluster_subscribers if one is not callback]

        return unsubscribe

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` after each change of a node; returns how to end that."""
        with self._lock:
            self._subscribers = [*self._subscribers, callback]

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = [known for known in self._subscribers if known is not callback]

        return unsubscribe

    def position(self, node: str) -> Position | None:
        """Where in the collector's numbering the held state stands."""
        held = self._held.get(node)
        return held.position if held is not None else None

    def durable(self, node: str) -> Position | None:
        """What of a collector's numbering is known to be durable."""
        held = self._held.get(node)
        return held.durable if held is not None else None

    def set_durable(self, node: str, position: Position) -> None:
        """Note what is durable."""
        if (held := self._held.get(node)) is not None:
            held.durable = position

    def state(self, node: str) -> NodeState | None:
        """A node's held state, None before its first snapshot."""
        held = self._held.get(node)
        return held.state if held is not None and held.position is not None else None

    def replace(self, state: NodeState, position: Position, now_s: float) -> None:
        """Take a snapshot in."""
        with self._lock:
            held = self._node(state.node)
            state = self._shared.state(state)
            self._bodies.replace(held.state, state)
            self._put(held, state, position, now_s, None)

    def fold(self, node: str, delta: NodeDelta, position: Position, now_s: float) -> NodeState:
        """Fold a delta in; return the state that it changed. Raises: KeyError when it doesn't fit it."""
        with self._lock:
            held = self._held[node]
            before = held.state
            state = apply(before, delta)
            self._bodies.fold(before, delta)
            self._put(held, state, position, now_s, delta)
        return before

    def set_connected(self, node: str, connected: bool, now_s: float) -> None:
        """Note that a node's collector came or went."""
        with self._lock:
            held = self._node(node) if connected else self._held.get(node)
            if held is not None and held.connected != connected:
                held.connected = connected
                self._notify(node, None)

    def report(self, node: str, report: CollectorReport, now_s: float) -> None:
        """Note what a collector says of itself; that it speaks says that the held state is current."""
        with self._lock:
            held = self._held.get(node)
            if held is None:
                return
            held.received_at_s = now_s
            if held.report != report:
                held.report = report
                self._notify(node, None)

    def body_bytes(self, node: str) -> int:
        """How many bytes the bodies have that this node's state refers to."""
        with self._lock:
            held = self._held.get(node)
            return self._bodies.bytes_of(held.state) if held is not None else 0

    def missing_bodies(self, node: str) -> list[bytes]:
        """Digests that this node's state refers to and nobody has sent the body of."""
        with self._lock:
            held = self._held.get(node)
            return self._bodies.missing(held.state) if held is not None else []

    def bodies_to_ask(self, node: str, now_s: float) -> tuple[bytes, ...]:
        """Those of them that nobody was asked for lately; they count as asked for at `now_s` (monotonic)."""
        with self._lock:
            held = self._held.get(node)
            return self._bodies.to_ask(held.state, now_s) if held is not None else ()

    def ask_again(self, digests: Iterable[bytes], at_s: float) -> None:
        """Let what is still missing be asked for from a time on (monotonic)."""
        with self._lock:
            self._bodies.ask_again(digests, at_s)

    def put_bodies(self, bodies: Iterable[Body]) -> None:
        """Keep bodies that some node refers to."""
        with self._lock:
            if self._bodies.put(bodies):
                self._stale_bodies = True

    def touch(self, node: str) -> None:
        """Tell the subscribers that something is known of a node beside its state."""
        with self._lock:
            if node in self._held:
                self._notify(node, None)

    @property
    def restored(self) -> bool:
        """Nothing is held at the start."""
        return False

    def forget(self, node: str) -> None:
        """Drop a node for which no collector may speak any more."""
        with self._lock:
            self.weights.passed(node)
            held = self._held.pop(node, None)
            if held is not None:
                self._bodies.replace(held.state, NodeState(node))
                self._stale[node] = None
                self._overlay.forget(node)
                self._follow_source(held.state, None, None)
                self._notify(node, None)

    def held(self, node: str) -> Held | None:
        """What is held of a node; to be read only."""
        return self._held.get(node)

    def mirror(self, state: NodeState, revision: int, position: Position, received_at_s: float) -> None:
        """Take a node's state from another process, with the revision that it has there."""
        with self._lock:
            held = self._node(state.node)
            state = self._shared.state(state)
            self._bodies.replace(held.state, state)
            held.revision = revision - 1
            self._put(held, state, position, received_at_s, None)

    def refers_to(self, digest: bytes) -> bool:
        """Tell whether any node's state refers to a body."""
        with self._lock:
            return self._bodies.refers_to(digest)

    def encoded_body(self, digest: bytes) -> bytes | None:
        """A body as it is kept; None when it isn't here."""
        with self._lock:
            return self._bodies.encoded(digest)

    def wanted_bodies(self) -> list[bytes]:
        """Digests that any node's state refers to and that aren't here."""
        with self._lock:
            return self._bodies.wanted()

    def _node(self, node: str) -> Held:
        held = self._held.get(node)
        if held is None:
            held = self._held[node] = Held(node)
        return held

    def _put(
        self, held: Held, state: NodeState, position: Position, now_s: float, delta: NodeDelta | None
    ) -> None:
        if delta is None or _is_compared(held.state, delta):
            held.compared_at_s = now_s
        before = held.state
        held.state, held.position, held.received_at_s = state, position, now_s
        held.revision += 1
        if delta is None or delta.status or delta.gone or _refuses(delta):
            held.complete = state.complete
        self._stale[state.node] = None
        self._follow_source(before, state, delta)
        self._notify(state.node, delta)

    def _follow_source(self, before: NodeState, state: NodeState | None, delta: NodeDelta | None) -> None:
        """Note of which nodes a cluster's source says something else, and tell so."""
        if cluster_of(before.node) is None:
            return
        for name in self._overlay.follow(before, state, delta):
            if self.state(name) is not None:
                self._stale[name] = None
                self._notify(name, None)

    def _notify(self, node: str, delta: NodeDelta | None) -> None:
        self._revision += 1
        for callback in self._subscribers if cluster_of(node) is None else self._cluster_subscribers:
            try:
                callback(node, delta, self._revision)
            except Exception:
                # The change is held; whoever cannot hear of it takes it from nobody else.
                log.exception("node %s: a subscriber failed at a change", node)


def _is_compared(before: NodeState, delta: NodeDelta) -> bool:
    """Tell whether a collector says that it has compared sections with the kernel once more."""
    known = before.status
    return any(
        section not in known or now.read_at_s > known[section].read_at_s
        for section, now in delta.status.items()
    )
