"""The states that a trace can be worked out on: what is live, what files hold, what the journal knows of the past.

Each is a `View`: a cluster's state, and of each node where it comes from and how far it can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

from netviz.core.model.netfilter import Body, body_digest
from netviz.core.observe.kept import Kept, is_kept, load_kept
from netviz.core.sim.link.cluster_index import keys_of
from netviz.core.state.freshness import Contact
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import cluster_source
from netviz.core.wire.nvz import Capture, NvzError, join_captures, load_nvz
from netviz.ingest.faults import faults
from netviz.ingest.history import NoHistory, state_at
from netviz.ingest.journal_bodies import bodies_of
from netviz.ingest.live_store import get_store
from netviz.ingest.memory_store import by_scope
from netviz.ingest.models import JournalEntry
from netviz.ingest.store import CollectorReport, NodeRevision, Store
from netviz.inventory.service import DEFAULT_CLUSTER
from netviz.tracing.objects import read_objects

FAULT = "traces"


class Input(NamedTuple):
    """One node's state as a trace finds it. `at_s` is of when it is (Unix seconds).

    With a `fault` the state cannot be looked through, and isn't in the view. `contact` is with the collector of a live
    state; a state of a file, or of the past, is of its moment and gets no older.
    """

    revision: int
    at_s: float
    complete: bool
    fault: str | None = None
    contact: Contact | None = None


class View(NamedTuple):
    """A cluster's state, and what is to be said of each node's.

    `watchers` has the contact with who watches each cluster's API; what files hold, and the past, is of its moment.
    """

    cluster: ClusterState
    inputs: Mapping[str, Input]
    watchers: Mapping[str, Contact] = {}


def live() -> View:
    """The live state of this process's store."""
    return of_store(get_store())


def of_store(store: Store) -> View:
    """What a store holds, without the nodes that cannot even be looked through.

    Any of them would fail every trace, whichever nodes that is about. Each store is a scope of its own: of two, neither
    knows anything of the other.
    """
    revisions = store.node_revisions()
    cluster = store.cluster()
    wrong = _looked_through.setdefault(store, LookedThrough()).wrong(cluster, revisions)
    reports = store.collectors()
    inputs = {
        name: Input(
            one.revision,
            one.received_at_s,
            one.complete and name not in wrong,
            wrong.get(name),
            _contact(one, reports.get(name)),
        )
        for name, one in revisions.items()
    }
    if wrong:
        nodes = {name: state for name, state in cluster.nodes.items() if name not in wrong}
        cluster = ClusterState(nodes, cluster.bodies, cluster.clusters)
    watchers = {
        name: _contact(one, reports.get(cluster_source(name)))
        for name, one in store.cluster_revisions().items()
    }
    return View(cluster, inputs, watchers)


def _contact(one: NodeRevision, report: CollectorReport | None) -> Contact:
    lag_s = report.status.lag_s if report is not None else 0.0
    return Contact(one.connected, one.received_at_s, one.compared_at_s, lag_s)


def of_files(paths: Iterable[str], objects: str | None = None) -> View:
    """The states that files hold, one for each node, or all of an observation; pods that only the API's lists name are named by these.

    `objects` is a folder of such lists. Raises: NvzError, with the file's name.
    """
    files = [one for path in paths for one in _read(path)]
    cluster = join_captures(files)
    if objects is not None:
        if DEFAULT_CLUSTER in cluster.clusters:
            raise NvzError(f"--objects {objects}: a file holds a cluster's objects already")
        lists = {DEFAULT_CLUSTER: read_objects(objects, DEFAULT_CLUSTER)}
        cluster = ClusterState(cluster.nodes, cluster.bodies, {**cluster.clusters, **lists})
    cluster = named(cluster)
    inputs = {
        state.node: Input(0, capture.taken_at_s, state.complete)
        for capture, state in files
        if state.node in cluster.nodes
    }
    return View(cluster, inputs)


def past(at: datetime) -> View:
    """The states of all nodes at an earlier time, from the journal; a node of which it knows none then is left out.

    Raises: NoHistory, when it knows none of any.
    """
    states: dict[str, NodeState] = {}
    bodies: dict[bytes, Body] = {}
    missing: NoHistory | None = None
    for name in JournalEntry.objects.order_by("node").values_list("node", flat=True).distinct():
        try:
            states[name] = state_at(name, at)
        except NoHistory as err:
            missing = err
            continue
        bodies.update((body_digest(body), body) for body in bodies_of(states[name]))
    nodes, clusters = by_scope(states)
    if not nodes:
        raise missing or NoHistory("the journal is empty")
    inputs = {name: Input(0, at.timestamp(), state.complete) for name, state in nodes.items()}
    return View(ClusterState(nodes, bodies, clusters), inputs)


def _read(path: str) -> list[tuple[Capture, NodeState]]:
    """Read a file of a node's state, or of an observation, which has several."""
    data = read_file(path)
    try:
        return load_kept(data).captures() if is_kept(data) else [load_nvz(data)]
    except NvzError as err:
        raise NvzError(f"{path}: {err}") from None


def observation_in(paths: Sequence[str]) -> Kept | None:
    """Return the observation that a single file holds; None where there is none. Raises: NvzError, with the file's name."""
    data = read_file(paths[0]) if len(paths) == 1 else b""
    try:
        return load_kept(data) if is_kept(data) else None
    except NvzError as err:
        raise NvzError(f"{paths[0]}: {err}") from None


def read_file(path: str) -> bytes:
    """Read a file. Raises: NvzError."""
    try:
        return Path(path).read_bytes()
    except OSError as err:
        raise NvzError(f"{path}: {err.strerror or err}") from None


class LookedThrough:
    """Which nodes' states can be looked through at all, each revision looked through once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str | None]] = {}

    def wrong(self, cluster: ClusterState, revisions: Mapping[str, NodeRevision]) -> dict[str, str]:
        """What went wrong with which node: node -> text. `revisions` are at most as new as `cluster`."""
        known, found = self._known, {}
        for name, state in cluster.nodes.items():
            revision = revisions[name].revision if name in revisions else -1
            entry = known.get(name)
            found[name] = entry if entry is not None and entry[0] == revision else (revision, _fault(state))
        self._known = found
        return {name: fault for name, (_, fault) in found.items() if fault is not None}


def _fault(state: NodeState) -> str | None:
    with faults.attempt(state.node, FAULT) as attempt:
        keys_of(state.netns)
    return attempt.fault


_looked_through: WeakKeyDictionary[Store, LookedThrough] = WeakKeyDictionary()
