"""What of the nodes that this process owns waits to be written to Redis. Used under the store's lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import NodeState
from netviz.ingest.memory_store import Held
from netviz.ingest.redis_records import Meta, Work

COMPACT_DELTAS = 200


class Batch(NamedTuple):
    """What is written at one moment."""

    bodies: dict[bytes, Body]
    work: list[Work]
    forgotten: set[str]


class _Waiting:
    """What of an owned node waits: deltas in order, or (None) a whole base. `base` is the last base's revision."""

    __slots__ = ("base", "deltas")

    def __init__(self) -> None:
        self.deltas: list[NodeDelta] | None = None
        self.base = 0


class Outbox:
    """The owned nodes, by name, and what of them is to be written next."""

    def __init__(self, owner: str, held: Callable[[str], Held]) -> None:
        """`held` gives what the store holds of an owned node."""
        self._owner = owner
        self._held = held
        self._waiting: dict[str, _Waiting] = {}
        self._marked: set[str] = set()
        self._forgotten: set[str] = set()
        self._bodies: dict[bytes, Body] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def own(self, node: str) -> None:
        """Count a node as owned; one that wasn't is written whole."""
        if node not in self._waiting:
            self._waiting[node] = _Waiting()

    def disown(self, node: str) -> None:
        """Leave a node to another process."""
        self._waiting.pop(node, None)

    def forget(self, node: str) -> None:
        """Have a node removed from Redis."""
        self.disown(node)
        self._forgotten.add(node)

    def mark(self, node: str) -> None:
        """Write what waits of a node, and what is known beside its state."""
        self._marked.add(node)

    def append(self, node: str, delta: NodeDelta) -> None:
        """Write a change; after COMPACT_DELTAS of them a whole base."""
        waiting = self._waiting[node]
        if waiting.deltas is not None:
            waiting.deltas.append(delta)
            if self._held(node).revision - waiting.base > COMPACT_DELTAS:
                waiting.deltas = None
        self.mark(node)

    def rewrite(self, node: str) -> None:
        """Write a node whole."""
        self._waiting[node].deltas = None
        self.mark(node)

    def rewrite_all(self) -> None:
        """Write all nodes whole."""
        for node in self._waiting:
            self.rewrite(node)

    def rewrite_missing(self, known: Collection[str]) -> bool:
        """Write those whole that Redis doesn't know: another process took them for gone. Tell of any."""
        missing = self._waiting.keys() - known - self._marked
        for node in missing:
            self.rewrite(node)
        return bool(missing)

    def whole_waits(self, node: str) -> bool:
        """Tell whether an owned node is still to be written whole."""
        return self._waiting[node].deltas is None

    def add_bodies(self, bodies: Mapping[bytes, Body]) -> None:
        """Write bodies, by digest."""
        self._bodies.update(bodies)

    def take(self) -> Batch:
        """Take what waits, to be written now."""
        nodes, self._marked = self._marked & self._waiting.keys(), set()
        forgotten, self._forgotten = self._forgotten - self._waiting.keys(), set()
        bodies, self._bodies = self._bodies, {}
        return Batch(bodies, [self._take_node(node) for node in sorted(nodes)], forgotten)

    def put_back(self, batch: Batch) -> None:
        """Undo `take` for what could not be written; the nodes are written whole next time."""
        self._bodies = {**batch.bodies, **self._bodies}
        self._forgotten |= batch.forgotten
        self.rewrite_all()

    def _take_node(self, node: str) -> Work:
        held, waiting = self._held(node), self._waiting[node]
        what: NodeState | list[NodeDelta]
        if waiting.deltas is None:
            what, waiting.base = held.state, held.revision
        else:
            what = waiting.deltas
        waiting.deltas = []
        report = held.report
        meta = Meta(
            self._owner,
            held.revision,
            waiting.base,
            held.position,
            held.durable,
            held.received_at_s,
            held.connected,
            report.version if report else "",
            report.status if report else None,
        )
        return meta, node, what
