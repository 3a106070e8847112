"""How long nodes take to follow a change of a service's endpoints: from an EndpointSlice's change to the rule on each node.

Both moments are those at which this server took the news, by its own clock. A node is measured when its rules did what the API asked
before the change, didn't after it, and were then seen to do so by a change of theirs. Where either moment wasn't seen
(the rule came first, a snapshot came between, the next change of the service, rules that weren't known whole) it isn't measured.

Subscribers only put what they hear into a queue; a thread judges it, of a large cluster for some of the nodes. While no
endpoints change, nothing is listened to.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from statistics import median
from typing import Any, NamedTuple

import msgspec

from netviz.core.check.services.datapath import RULES, Datapath
from netviz.core.check.services.programming import agrees
from netviz.core.model.kubernetes import ObjectKey
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import Objects, cluster_of, cluster_source
from netviz.ingest.live_store import get_store
from netviz.ingest.store import Store

log = logging.getLogger("netviz.kubernetes")

# Nodes that take longer are told as problems; kube-proxy's own histogram ends there, too.
MOST_S = 60.0
BODIES_S = 2.0
BODIES_POLL_S = 0.02
TICK_S = 1.0
MOST_SERVICES = 50  # of one change
MOST_NODES = 200  # that are looked at for one change, spread over all
MOST_KEPT = 200  # services of which the last change is kept
MOST_QUEUED = 20_000
BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, MOST_S)

Service = tuple[str, ObjectKey]  # of which cluster's source


class Change(NamedTuple):
    """Endpoints of services changed: what the API had before, and has since."""

    source: str
    before: Objects
    now: Objects
    services: tuple[ObjectKey, ...]
    at_s: float


class Rules(NamedTuple):
    """A node's rules changed."""

    node: str
    state: NodeState
    at_s: float


class Cut(NamedTuple):
    """What a source told isn't followed from here on: it came anew, whole."""

    source: str


class Followed(msgspec.Struct):
    """How nodes follow a service's last change. `nodes` had to; of those that are `waiting`, `blurred` weren't known for a time."""

    at_s: float
    nodes: int
    waiting: set[str]
    blurred: set[str] = set()
    took_s: dict[str, float] = {}


class Delays:
    """The measurements of one store. A service of the server's: `start` and `stop`."""

    def __init__(self, store: Callable[[], Store] = get_store) -> None:
        self._get_store = store
        self._lock = threading.Lock()
        self._queue: queue.Queue[Change | Rules | Cut | None] = queue.Queue(MOST_QUEUED)
        self._armed = False
        self._states: dict[str, NodeState] = {}
        self._active: dict[Service, Followed] = {}
        self._kept: dict[Service, Followed] = {}
        self._datapath = Datapath()
        self._leave: tuple[Callable[[], None], ...] = ()
        self._thread: threading.Thread | None = None
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0

    def start(self) -> None:
        """Listen to the store."""
        self._store = store = self._get_store()
        self._armed, self._states, self._active, self._kept = False, {}, {}, {}
        self._leave = store.subscribe(self._note_node), store.subscribe_clusters(self._note_cluster)
        for name in store.cluster().clusters:
            source = cluster_source(name)
            if (state := store.state(source)) is not None:
                self._states.setdefault(source, state)
        self._thread = threading.Thread(target=self._run, name="delays", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        for leave in self._leave:
            leave()
        self._leave = ()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def of(self, cluster: str, service: ObjectKey) -> Followed | None:
        """How nodes followed the last change of a service that was seen; None: none was."""
        with self._lock:
            one = self._kept.get((cluster_source(cluster), service))
            return msgspec.structs.replace(one, took_s=dict(one.took_s)) if one is not None else None

    def histogram(self) -> tuple[list[tuple[str, float]], float]:
        """All that was measured since the server began, as Prometheus counts: (bound, how many up to it), and their sum."""
        with self._lock:
            counts, sum_s = list(self._counts), self._sum_s
        total, found = 0, []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found, sum_s

    def _note_cluster(self, source: str, delta: NodeDelta | None, revision: int) -> None:
        state, before = self._store.state(source), self._states.get(source)
        if state is None:
            self._states.pop(source, None)
        else:
            self._states[source] = state
        if delta is None or state is None or before is None:
            self._put(Cut(source))
            return
        change = delta.objects.endpoint_slices if delta.objects is not None else None
        told = self._store.node_revision(source)
        if change is None or told is None:
            return
        slices = (
            records.get(key)
            for key in (*(one.key for one in change.put), *change.drop)
            for records in (before.objects.endpoint_slices, state.objects.endpoint_slices)
        )
        services = dict.fromkeys((one.namespace, one.service) for one in slices if one is not None)
        self._put(
            Change(source, before.objects, state.objects, tuple(services), told.received_at_s), arms=True
        )

    def _note_node(self, node: str, delta: NodeDelta | None, revision: int) -> None:
        if not self._armed:
            return
        state, told = self._store.state(node), self._store.node_revision(node)
        if delta is None or state is None or told is None:
            self._put(Cut(node))
        elif any(getattr(ns, section) is not None for ns in delta.netns for section in RULES):
            self._put(Rules(node, state, told.received_at_s))

    def _put(self, item: Change | Rules | Cut, arms: bool = False) -> None:
        with self._lock:
            if not self._armed and not arms:
                return
            try:
                self._queue.put_nowait(item)
                self._armed = True
            except queue.Full:  # what is lost can't be measured: nothing that waits is
                self._active.clear()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=TICK_S if self._active else None)
            except queue.Empty:
                item = Cut("")
            if item is None:
                return
            try:
                self._take(item)
            except Exception:
                log.exception("how fast nodes follow a change isn't measured")
                with self._lock:
                    self._active.clear()
                self._datapath = Datapath()

    def _take(self, item: Change | Rules | Cut) -> None:
        match item:
            case Change():
                self._begin(item)
            case Rules():
                self._follow(item)
            case Cut(source):
                self._cut(source)
        now_s = time.time()
        with self._lock:
            for key, one in list(self._active.items()):
                if not one.waiting or now_s - one.at_s > MOST_S:
                    del self._active[key]
            if not self._active:
                self._datapath = Datapath()  # it holds the states that it followed
            self._armed = bool(self._active) or not self._queue.empty()

    def _cut(self, source: str) -> None:
        with self._lock:
            for (of, key), one in list(self._active.items()):
                one.waiting.discard(source)
                if of == source:
                    del self._active[of, key]

    def _begin(self, change: Change) -> None:
        """Find which nodes have to follow a change."""
        cluster = self._store.cluster()
        connected = {name for name, one in self._store.node_revisions().items() if one.connected}
        nodes = sorted(name for name in change.now.kube_nodes if name in cluster.nodes and name in connected)
        nodes = nodes[:: max(1, -(-len(nodes) // MOST_NODES))]
        self._look_at(cluster, {name: cluster.nodes[name] for name in nodes})
        for key in change.services[:MOST_SERVICES]:
            if key not in change.now.services or key not in change.before.services:
                continue
            waiting = {
                name
                for name in nodes
                if agrees(self._datapath, change.now, key, name) is False
                and agrees(self._datapath, change.before, key, name)
            }
            one = Followed(change.at_s, len(waiting), waiting)
            with self._lock:
                self._active.pop((change.source, key), None)
                self._kept.pop((change.source, key), None)
                if not waiting:
                    continue
                self._active[change.source, key] = self._kept[change.source, key] = one
                for old in list(self._kept)[:-MOST_KEPT]:
                    del self._kept[old]

    def _follow(self, rules: Rules) -> None:
        """See whether a node's rules do now what a change asked."""
        mine = [
            (of, one)
            for of, one in self._active.items()
            if rules.node in one.waiting and rules.at_s >= one.at_s
        ]
        if not mine:
            return
        self._await_bodies(rules.node)
        cluster = self._store.cluster()
        self._look_at(cluster, {rules.node: rules.state})
        for (source, key), one in mine:
            objects = cluster.clusters[cluster_of(source) or ""].objects
            said = agrees(self._datapath, objects, key, rules.node)
            with self._lock:
                if said is None:
                    one.blurred.add(rules.node)
                elif said:
                    one.waiting.discard(rules.node)
                    if rules.node not in one.blurred:
                        self._observe(one, rules.node, rules.at_s - one.at_s)

    def _look_at(self, cluster: ClusterState, nodes: Mapping[str, NodeState]) -> None:
        """Have the datapath follow some nodes; what it knows of others' rules stays."""
        for _ in self._datapath.follow(ClusterState(nodes, cluster.bodies, cluster.clusters)):
            pass

    def _observe(self, one: Followed, node: str, took_s: float) -> None:
        one.took_s[node] = took_s
        self._sum_s += took_s
        place = next((at for at, bound in enumerate(BUCKETS_S) if took_s <= bound), len(BUCKETS_S))
        self._counts[place] += 1

    def _await_bodies(self, node: str) -> None:
        """Rules are told before their bodies, which are asked for."""
        until_s = time.monotonic() + BODIES_S
        while self._store.missing_bodies(node) and time.monotonic() < until_s:
            time.sleep(BODIES_POLL_S)


def delay_json(one: Followed | None) -> dict[str, Any] | None:
    """How nodes followed the last change of a service, as JSON; None: that wasn't seen."""
    if one is None:
        return None
    took = one.took_s
    return {
        "changed_at": datetime.fromtimestamp(one.at_s, UTC).isoformat(),
        "nodes": one.nodes,
        "measured": len(took),
        "median_s": round(median(took.values()), 3) if took else None,
        "longest_s": round(max(took.values()), 3) if took else None,
        "longest_on": max(took, key=lambda node: took[node]) if took else None,
    }


def of_nodes(took_s: Mapping[str, float], nodes: list[str]) -> list[float] | None:
    """The shortest and the longest that any of some nodes took; None: none was measured."""
    found = [took_s[node] for node in nodes if node in took_s]
    return [round(min(found), 3), round(max(found), 3)] if found else None


delays = Delays()
