"""How much of the cluster can be seen: the states to judge, and what is known of who tells them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from netviz.core.check.facts.collectors import doubt
from netviz.core.check.problem import NodeHealth
from netviz.core.state.freshness import stale
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import cluster_of, cluster_source
from netviz.ingest.store import NodeRevision, Store
from netviz.inventory.models import Collector
from netviz.problems.ledger import Sight
from netviz.tracing.apis import watcher_health
from netviz.tracing.states import View, of_store

ASK_EVERY_S = 5.0
# How old sections are is looked at this often: it is a matter of tens of seconds.
AGES_EVERY_S = 5.0
SKEW_S = 5.0


class Seen(NamedTuple):
    """What is to be judged. `cluster` is the store's: it is the same one as long as nothing changed.

    `health` has each node, and each cluster's source, that is known or should be; `expected` counts the nodes with an approved collector.
    """

    cluster: ClusterState
    view: View
    health: Mapping[str, NodeHealth]
    sight: Sight
    expected: int


class Looker:
    """Looks at a store again and again, and remembers what it saw last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._expected: frozenset[str] = frozenset()
        self._watchers: frozenset[str] = frozenset()
        self._awaited: frozenset[str] = frozenset()
        self._clocks: dict[str, int] = {}
        self._asked_s = -ASK_EVERY_S
        self._late: dict[str, tuple[str, ...]] = {}
        self._aged_s = -AGES_EVERY_S
        self._in_sight: frozenset[str] = frozenset()
        self._unheard: set[str] | None = None
        self._gaps: dict[str, tuple[NodeState, dict[str, str]]] = {}

    def look(self) -> Seen:
        """Take the live state of this moment. Raises: one of DATABASE_AWAY."""
        self._ask_inventory()
        cluster, view, revisions = self._store.cluster(), of_store(self._store), self._store.node_revisions()
        health = self._health(view, revisions)
        states = {
            **view.cluster.nodes,
            **{cluster_source(name): state for name, state in view.cluster.clusters.items()},
        }
        away = {name: doubt(name, one) for name, one in health.items() if one.fault or not one.connected}
        away |= {
            name: f"{name}'s collector has not sent its state yet"
            for name in health
            if name not in away and name not in states
        }
        gaps = {
            (name, section): f"{name}: {section}: {reason}"
            for name, state in states.items()
            for section, reason in self._gaps_of(state).items()
        }
        self._gaps = {name: self._gaps[name] for name in states}
        in_sight = frozenset(states.keys() - away.keys())
        fresh, self._in_sight = in_sight - self._in_sight, in_sight
        return Seen(
            cluster, view, health, Sight(away, gaps, fresh, self._silent(health)), len(self._expected)
        )

    def _ask_inventory(self) -> None:
        if time.monotonic() - self._asked_s >= ASK_EVERY_S:
            approved = Collector.objects.filter(status=Collector.Status.APPROVED, node__isnull=False)
            rows = list(approved.values_list("node__name", "clock_s", "last_seen_at"))
            self._clocks = {str(name): _rounded(clock_s or 0.0) for name, clock_s, _ in rows}
            self._expected = frozenset(self._clocks)
            self._awaited = self._expected - {str(name) for name, _, seen_at in rows if seen_at is not None}
            watchers = Collector.objects.filter(status=Collector.Status.APPROVED, cluster__isnull=False)
            self._watchers = frozenset(map(cluster_source, watchers.values_list("cluster__name", flat=True)))
            self._asked_s = time.monotonic()

    def _health(self, view: View, revisions: Mapping[str, NodeRevision]) -> dict[str, NodeHealth]:
        if time.monotonic() - self._aged_s >= AGES_EVERY_S:
            self._late, self._aged_s = _late(view), time.monotonic()
        health = {}
        for name in sorted(self._expected | revisions.keys()):
            one, known = revisions.get(name), view.inputs.get(name)
            fault = known.fault or "" if known is not None else ""
            health[name] = NodeHealth(
                connected=one is not None and one.connected,
                late=self._late.get(name, ()),
                fault=fault,
                clock_s=self._clocks.get(name, 0) if one is not None and one.connected else 0,
                awaited=one is None and name in self._awaited,
            )
        for source in sorted(self._watchers | set(map(cluster_source, view.watchers))):
            name = cluster_of(source) or ""
            contact = view.watchers.get(name)
            state = view.cluster.clusters.get(name)
            health[source] = watcher_health(state, contact) if contact is not None else NodeHealth(False)
        return health

    def _silent(self, health: Mapping[str, NodeHealth]) -> frozenset[str]:
        """The nodes that should have been there at the start and of which nothing was heard since."""
        if self._unheard is None:
            self._unheard = set(health)
        self._unheard = {name for name in self._unheard if name in health and not health[name].connected}
        return frozenset(self._unheard)

    def _gaps_of(self, state: NodeState) -> dict[str, str]:
        known = self._gaps.get(state.node)
        if known is None or known[0] is not state:
            known = self._gaps[state.node] = (state, state.gaps)
        return known[1]


def _rounded(clock_s: float) -> int:
    """How far a clock is ahead, roughly, so that it is mostly the same: 0 for what the network may be to blame for."""
    if abs(clock_s) < SKEW_S:
        return 0
    unit = 5 if abs(clock_s) < 60 else 60
    return round(clock_s / unit) * unit


def _late(view: View) -> dict[str, tuple[str, ...]]:
    """The sections of connected nodes that are older than they promise to be."""
    now_s, found = time.time(), {}
    for name, state in view.cluster.nodes.items():
        contact = view.inputs[name].contact if name in view.inputs else None
        if contact is None or not contact.connected:
            continue
        if (old := stale(state, state.status, contact, now_s)) is not None:
            found[name] = old.sections
    return found
