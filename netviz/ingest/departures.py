"""The state of a node or cluster for which no collector may speak any more leaves, after a time that the page shows.

Revoked, it leaves REVOKED_STATE_S later, unless a collector of the node is approved again before;
with its node or its last collector deleted, at once. The inventory is the only memory: every server
process looks there each second, so a restart in between changes nothing. What a restart of all servers
finds in Redis has nobody left who heard it: then it leaves at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from datetime import datetime

from django.conf import settings
from django.db.models import Exists, Max, OuterRef

from netviz.core.state.objects import cluster_source
from netviz.ingest.faults import faults
from netviz.ingest.store import Store
from netviz.inventory.models import Cluster, Collector, Node

log = logging.getLogger("netviz.ingest")

STEP_S = 60


def leave_times(held: Mapping[str, object], now_s: float) -> dict[str, float]:
    """Ask the inventory for which of the held sources nobody may speak, and when they leave: source -> Unix seconds."""
    approved = Collector.objects.filter(status=Collector.Status.APPROVED)
    nodes, clusters = Node.objects, Cluster.objects
    silent: dict[str, datetime | None] = dict(
        nodes.exclude(Exists(approved.filter(node=OuterRef("pk"))))
        .annotate(revoked_at=Max("collectors__revoked_at"))
        .values_list("name", "revoked_at")
    )
    unwatched = (
        clusters.exclude(Exists(approved.filter(cluster=OuterRef("pk"))))
        .annotate(revoked_at=Max("watchers__revoked_at"))
        .values_list("name", "revoked_at")
    )
    silent |= {cluster_source(name): revoked_at for name, revoked_at in unwatched}
    known = {
        *nodes.values_list("name", flat=True),
        *map(cluster_source, clusters.values_list("name", flat=True)),
    }
    return {
        name: revoked_at.timestamp() + settings.REVOKED_STATE_S
        if (revoked_at := silent.get(name)) is not None
        else now_s
        for name in held
        if name in silent or name not in known
    }


class Departures:
    """When which node's state leaves."""

    def __init__(self) -> None:
        self._leaves_at: Mapping[str, float] = {}
        self._store: Store | None = None

    def leaves_in_s(self, node: str, now_s: float) -> int | None:
        """In how many seconds a node's state leaves, in whole minutes; None when it stays."""
        leaves_at = self._leaves_at.get(node)
        return None if leaves_at is None else max(0, math.ceil((leaves_at - now_s) / STEP_S)) * STEP_S

    def look(self, store: Store, now_s: float) -> None:
        """Let go what is due; of what nobody alive has left, all that is to go. Raises: DatabaseError."""
        at_once = store is not self._store and store.restored
        held = {
            **store.node_revisions(),
            **{cluster_source(name): one for name, one in store.cluster_revisions().items()},
        }
        leaves_at = leave_times(held, now_s) if held else {}
        for name in [name for name, at_s in leaves_at.items() if at_once or at_s <= now_s]:
            del leaves_at[name]
            log.warning("node %s: its state leaves: no collector may speak for it", name)
            store.forget(name)
            faults.forget(name)
        self._store = store
        before, self._leaves_at = self._leaves_at, leaves_at
        for name in before.keys() ^ leaves_at.keys():
            store.touch(name)


departures = Departures()
