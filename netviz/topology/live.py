"""The graph of the live state, numbered: what every page of this process is shown.

`Topology` follows the store when somebody asks it to (`advance`), from any thread. Each advance that
changed something is a revision, encoded once and handed to all listeners in order. Nothing runs
while nobody looks.

An advance that fails half way is not gone on from: the next one begins with an empty graph, and every
listener is told to ask for everything. So nobody keeps a graph that lacks a change.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from netviz.core.state.delta import NodeDelta
from netviz.core.state.objects import cluster_source
from netviz.ingest.departures import departures
from netviz.ingest.faults import faults
from netviz.ingest.live_store import one_per_store
from netviz.ingest.store import NodeRevision, Store
from netviz.problems.board import reader
from netviz.problems.shown import places_of
from netviz.topology.frames import Frame, Watch, snapshot_text
from netviz.topology.graph import Graph, GraphDelta, as_lists, changes
from netviz.topology.node_object import Live
from netviz.topology.projector import Projector

AGE_STEP_S = 5
# Called with (revision, frame) for each change, in order, by whichever thread advances. Without a frame,
# what was told before counts no more: the listener has to listen anew.
Listener = Callable[[int, Frame | None], None]
# For how long the details of nodes that the API was asked about are kept up to date.
ASKED_S = 60.0

log = logging.getLogger("netviz.topology")


def live_of(store: Store, names: Iterable[str], now_s: float) -> dict[str, Live]:
    """What the store knows of these nodes' collectors; nodes that it doesn't know are left out.

    A connected node's state is as old as the oldest change that its collector hasn't sent yet; an
    unconnected one's age goes in steps, so that it isn't news all the time.
    """
    found = ((name, _live_of(store, name, now_s)) for name in names)
    return {name: live for name, live in found if live is not None}


def watchers_of(store: Store, now_s: float) -> dict[str, Live]:
    """What the store knows of each cluster's watcher, by the cluster's name."""
    found = ((name, _live_of(store, cluster_source(name), now_s)) for name in store.cluster_revisions())
    return {name: live for name, live in found if live is not None}


def _live_of(store: Store, source: str, now_s: float) -> Live | None:
    revision, report = store.node_revision(source), store.collector(source)
    if revision is None:
        return None
    return Live(
        connected=revision.connected,
        age_s=_age(revision, report.status.lag_s if report else 0.0, now_s),
        version=report.version if report else "",
        status=report.status if report else None,
        leaves_in_s=departures.leaves_in_s(source, now_s),
    )


def _age(revision: NodeRevision, lag_s: float, now_s: float) -> float:
    if revision.connected:
        return round(lag_s, 1)
    return (
        max(0.0, now_s - revision.received_at_s) // AGE_STEP_S * AGE_STEP_S if revision.received_at_s else 0.0
    )


class Topology:
    """The numbered graph of one store, with the details of the nodes that somebody watches."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._projector = Projector(faults)
        self._failing = False
        self._revision = 0
        self._tick = -1
        # The nodes that changed since the last advance; None: any may have.
        self._changed: dict[str, None] | None = None
        # Whether anything changed of a cluster's objects, or of its watcher.
        self._clusters_changed = True
        self._noting = threading.Lock()
        self._members = threading.Lock()
        self._listeners: dict[Listener, Watch] = {}
        # The nodes that the API was asked about ("": all), and until when (monotonic) they are watched for it.
        self._asked: dict[str, float] = {}
        self._union: Watch = frozenset()
        self._projector.watch(self._union)
        store.subscribe(self._note)
        store.subscribe_clusters(self._note_cluster)

    @property
    def revision(self) -> int:
        """The number of the newest graph."""
        return self._revision

    @property
    def failing(self) -> bool:
        """The last advance failed: there is no graph."""
        return self._failing

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def in_sight(self) -> frozenset[str]:
        """The nodes that listeners name. Who watches all looks at none in particular."""
        with self._members:
            return frozenset().union(*(watch for watch in self._listeners.values() if watch is not None))

    def advance(self) -> int:
        """Follow the store and tell the listeners what changed; return the revision.

        Raises: whatever fails; it is logged when it begins, and when it is over.
        """
        with self._lock:
            self._advance()
            return self._revision

    def graph(self, node: str = "", pod: str = "") -> tuple[int, Graph]:
        """The graph of this moment, to keep, with the details of a node, or of those that have a pod, or of all."""
        with self._lock:
            self._advance()
            names = None if not node and not pod else set(self._having(node, pod))
            until_s = time.monotonic() + ASKED_S
            self._asked.update(dict.fromkeys([""] if names is None else names, until_s))
            self._rescope()
            return self._revision, self._projector.graph(names)

    def listen(self, listener: Listener, watch: Watch = None) -> tuple[int, str]:
        """Return this moment's revision and snapshot, and call `listener` with each change after it."""
        with self._lock:
            self._advance()
            with self._members:
                self._listeners[listener] = watch
            self._rescope()
            return self._revision, snapshot_text(self._revision, self._projector.graph(watch))

    def watch(self, listener: Listener, watch: Watch) -> None:
        """Change what a listener watches: it is called with a frame that brings the new details and drops others."""
        with self._lock:
            self._advance()
            with self._members:
                if listener not in self._listeners:
                    return
                was, self._listeners[listener] = self._listeners[listener], watch
            before = self._projector.graph(was)
            self._rescope()
            step = changes(before, self._projector.graph(watch))
            listener(self._revision, Frame(self._revision, GraphDelta(), {"": step}, watch, scope=True))

    def leave(self, listener: Listener) -> None:
        """Stop calling a listener: at once, but for a frame that is being handed out in this moment."""
        with self._members:
            self._listeners.pop(listener, None)

    def _having(self, node: str, pod: str) -> Iterator[str]:
        """The nodes with a pod (`name` or `namespace/name`), or the one of a name, or both."""
        for name in (node,) if node else list(self._projector.nodes):
            if not pod or any(pod in (full, full.partition("/")[2]) for full in self._projector.pods(name)):
                yield name

    def _rescope(self) -> None:
        """Hold the details of what somebody watches now, and no others."""
        now_s = time.monotonic()
        self._asked = {name: until_s for name, until_s in self._asked.items() if until_s > now_s}
        with self._members:
            watches = list(self._listeners.values())
        named = [watch for watch in watches if watch is not None]
        everything = len(named) < len(watches) or "" in self._asked
        union: Watch = None if everything else frozenset().union(*named, self._asked)
        if union == self._union:
            return
        self._union = union
        if missing := self._projector.watch(union):
            self._follow(missing)

    def _advance(self) -> None:
        now_s = time.time()
        tick = int(now_s) // AGE_STEP_S
        with self._noting:
            changed, self._changed = self._changed, {}
            clusters, self._clusters_changed = self._clusters_changed, False
        ticked = tick != self._tick
        if ticked and changed is not None:
            changed |= dict.fromkeys(self._projector.aging())
        elif not clusters and changed is not None and not changed and reader.board is self._projector.board:
            return
        self._follow(changed, now_s, clusters or ticked or changed is None)
        self._tick = tick
        if ticked:
            self._rescope()

    def _follow(
        self, changed: Collection[str] | None, now_s: float | None = None, clusters: bool = False
    ) -> None:
        """Follow the nodes that changed (None: all), and `clusters`; tell the listeners. Raises: whatever fails."""
        now_s = time.time() if now_s is None else now_s
        try:
            names = self.store.node_revisions() if changed is None else changed
            live = live_of(self.store, names, now_s)
            watchers = watchers_of(self.store, now_s) if clusters else None
            update = self._projector.update(self.store.cluster(), live, changed, reader.board, watchers)
            frame = Frame(self._revision + 1, update.base, update.details) if update else None
        except Exception:
            self._start_anew()
            raise
        if self._failing:
            self._failing = False
            log.warning("the live state can be projected again")
        if frame is not None:
            self._revision += 1
            self._tell(frame)

    def _note(self, node: str, delta: NodeDelta | None, revision: int) -> None:
        """Remember that a node changed; called by whoever changes it."""
        with self._noting:
            if self._changed is not None:
                self._changed[node] = None

    def _note_cluster(self, source: str, delta: NodeDelta | None, revision: int) -> None:
        """Remember that a cluster's objects changed, or its watcher's status."""
        with self._noting:
            self._clusters_changed = True

    def _start_anew(self) -> None:
        """Drop a graph that was followed half way."""
        if not self._failing:
            log.exception("cannot project the live state, trying again")
        self._failing = True
        self._projector = Projector(faults)
        self._projector.watch(self._union)
        with self._noting:
            self._changed, self._clusters_changed = None, True
        self._revision += 1
        self._tell(None)

    def _tell(self, frame: Frame | None) -> None:
        for listener in list(self._listeners):
            try:
                listener(self._revision, frame)
            except Exception:
                log.exception("a listener of the topology failed, and hears no more")
                self.leave(listener)


get_topology = one_per_store(Topology)  # this process's topology: the one of its store.


def filtered(graph: Graph, node: str = "", pod: str = "") -> Mapping[str, list[object]]:
    """The graph's lists, cut to a node, to a pod (`name` or `namespace/name`), or to both."""
    netns = [
        ns
        for ns in graph.netns.values()
        if (not node or ns.node == node)
        and (not pod or (ns.pod is not None and pod in (ns.pod.name, f"{ns.pod.namespace}/{ns.pod.name}")))
    ]
    if not node and not pod:
        return as_lists(graph)
    keys = {ns.key for ns in netns}
    names = {ns.node for ns in netns} if pod else {node}
    return {
        "clusters": list(graph.clusters.values()),
        "nodes": [item for name, item in graph.nodes.items() if name in names],
        "pods": [
            one
            for one in graph.pods.values()
            if one.node in names and (not pod or pod in (one.name, one.key))
        ],
        "routes": [item for name, item in graph.routes.items() if name in names],
        "netns": list(netns),
        "links": [link for link in graph.links.values() if link.netns in keys],
        "problems": [
            one for one in graph.problems.values() if any(at in keys or at == node for at in places_of(one))
        ],
        "checking": list(graph.checking.values()),
    }
