"""The live state store: what every node looks like now.

One interface (here), two adapters: in this process (`memory_store.py`) and Redis (`redis_store.py`).
`live_store.py` has this process's one. Readers take `get_store().cluster()`: an immutable value, in O(1)
when nothing changed since. Writers are the collectors' sockets alone; each node has one at a time.

`revision` counts the changes that this process saw; a node's own revision is the same in every
process. A subscriber is called in the writer's thread, after the change is visible, and must
return at once: it may remember the node and wake somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.weight import Weights

# Called with (node, delta, revision); `delta` is None when the node was replaced by a snapshot, came,
# went, or its collector's status changed.
Subscriber = Callable[[str, NodeDelta | None, int], None]


class NodeRevision(NamedTuple):
    """How fresh a node's state is. Times are Unix seconds by the server's clock.

    `received_at_s` is when its collector said anything last, `compared_at_s` when it last said that it had compared all
    with the kernel.
    """

    revision: int
    received_at_s: float
    connected: bool
    complete: bool
    compared_at_s: float


class Position(NamedTuple):
    """The last change of a collector's numbering that is held."""

    epoch: int
    seq: int


class CollectorReport(NamedTuple):
    """What a node's collector last said of itself."""

    version: str
    status: AgentStatus


class Store(Protocol):
    """The live state of all nodes. `weights`: what each node's collector here added since it was weighed."""

    weights: Weights

    @property
    def revision(self) -> int:
        """Number of changes that this process saw."""

    def cluster(self) -> ClusterState:
        """All nodes as they are now."""

    def node_revisions(self) -> Mapping[str, NodeRevision]:
        """Freshness of each node."""

    def node_revision(self, node: str) -> NodeRevision | None:
        """Freshness of one node."""

    def complete(self, node: str) -> bool:
        """Tell whether every section of a node was read whole."""

    def collectors(self) -> Mapping[str, CollectorReport]:
        """What each node's collector last reported."""

    def collector(self, node: str) -> CollectorReport | None:
        """What one node's collector last reported."""

    def cluster_revisions(self) -> Mapping[str, NodeRevision]:
        """Freshness of each cluster's objects, by the cluster's name."""

    def subscribe_clusters(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` with the source's name after each change of a cluster's objects; returns how to end that."""

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` after each change of a node; returns how to end that."""

    def position(self, node: str) -> Position | None:
        """Where in the collector's numbering the held state stands."""

    def durable(self, node: str) -> Position | None:
        """What of a collector's numbering is known to be durable."""

    def set_durable(self, node: str, position: Position) -> None:
        """Note what is durable."""

    def state(self, node: str) -> NodeState | None:
        """A node's held state, None before its first snapshot."""

    def replace(self, state: NodeState, position: Position, now_s: float) -> None:
        """Take a snapshot in."""

    def fold(self, node: str, delta: NodeDelta, position: Position, now_s: float) -> NodeState:
        """Fold a delta in; return the state that it changed. Raises: KeyError when it doesn't fit it."""

    def set_connected(self, node: str, connected: bool, now_s: float) -> None:
        """Note that a node's collector came or went."""

    def report(self, node: str, report: CollectorReport, now_s: float) -> None:
        """Note what a collector says of itself."""

    def body_bytes(self, node: str) -> int:
        """How many bytes the bodies have that this node's state refers to."""

    def missing_bodies(self, node: str) -> list[bytes]:
        """Digests that this node's state refers to and nobody has sent the body of."""

    def bodies_to_ask(self, node: str, now_s: float) -> tuple[bytes, ...]:
        """Those of them that nobody was asked for lately; they count as asked for at `now_s` (monotonic)."""

    def ask_again(self, digests: Iterable[bytes], at_s: float) -> None:
        """Let what is still missing be asked for from a time on (monotonic)."""

    def put_bodies(self, bodies: Iterable[Body]) -> None:
        """Keep bodies that some node refers to."""

    def refers_to(self, digest: bytes) -> bool:
        """Tell whether any node's state refers to a body."""

    def encoded_body(self, digest: bytes) -> bytes | None:
        """A body as it is kept; None when it isn't here."""

    def wanted_bodies(self) -> list[bytes]:
        """Digests that any node's state refers to and that aren't here."""

    def forget(self, node: str) -> None:
        """Drop a node for which no collector may speak any more."""

    def touch(self, node: str) -> None:
        """Tell the subscribers that something is known of a node beside its state."""

    @property
    def restored(self) -> bool:
        """What was held at the start was left by processes of which none lives."""
