"""What links carry now: rates between the readings of their counters, of the nodes that somebody asks about.

A collector tells of a counter only when it moved, so how a rate is known depends on what came: two readings that
moved give it; one that hasn't moved for longer than its collector takes between two readings is at rest. Until one
of these is so, and while the collector is away, nothing is known of a link. Nothing is held of nodes that nobody asks about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import LinkCounters
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import NodeState
from netviz.ingest.live_store import one_per_store
from netviz.ingest.looks import LOOK_S, keep_in_sight
from netviz.ingest.store import Store

# A collector that is busy reads later than it says, and what it read is under way for a while.
LATE = 1.5


class Rate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a link carries, each a second: bytes and packets in and out, what it dropped, and errors, both ways."""

    rx_bytes: float = 0.0
    tx_bytes: float = 0.0
    rx_packets: float = 0.0
    tx_packets: float = 0.0
    dropped: float = 0.0
    errors: float = 0.0


class LinkRate(msgspec.Struct, frozen=True, gc=False):
    """`rate` is None while it isn't known; `dropped` and `errors` are what the link counted in all, both ways."""

    rate: Rate | None
    dropped: int
    errors: int


class NodeRates(msgspec.Struct, frozen=True, gc=False):
    """A node's links by their keys; `every_s` is how often their counters are read, 0 where that isn't said."""

    every_s: float
    links: dict[str, LinkRate]


# A link's readings that moved, the last two at most, each with its time; and those of a node's links.
_Moved = tuple[tuple[float, LinkCounters], ...]
_Readings = Mapping[LinkKey, _Moved]


class _Watched:
    """The readings of one node since somebody asks about it. `since_s` and readings' times are the server's."""

    def __init__(self, state: NodeState | None, now_s: float) -> None:
        self.until_s = now_s + LOOK_S
        self.begin(state, now_s)

    def begin(self, state: NodeState | None, now_s: float) -> None:
        """Begin anew, from a state that was read at an unknown time."""
        self.state = state
        self.since_s = now_s
        self.readings: dict[LinkKey, _Moved] = {}

    def take(self, delta: NodeDelta, now_s: float) -> None:
        """Take in what was read now."""
        for ns in delta.netns:
            if ns.counters is None:
                continue
            for one in ns.counters.put:
                key = LinkKey(ns.key, one.ifindex)
                self.readings[key] = (*self.readings.get(key, ())[-1:], (now_s, one))
            for index in ns.counters.drop:
                self.readings.pop(LinkKey(ns.key, index), None)


class Rates:
    """The rates of one store's links. Any thread."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[str, _Watched] = {}
        store.subscribe(self._note)

    def of(self, names: Collection[str]) -> dict[str, NodeRates]:
        """The rates of some nodes' links, which are read more often from now on; nodes that aren't known are left out."""
        now_s = self._clock()
        with self._lock:
            self._nodes = {name: one for name, one in self._nodes.items() if one.until_s > now_s}
            for name in names:
                if name not in self._nodes:
                    self._nodes[name] = _Watched(self.store.state(name), now_s)
                self._nodes[name].until_s = now_s + LOOK_S
            watched = {name: (self._nodes[name].since_s, dict(self._nodes[name].readings)) for name in names}
        keep_in_sight(names)
        found = ((name, self._node(name, *one, now_s)) for name, one in watched.items())
        return {name: rates for name, rates in found if rates is not None}

    def _note(self, node: str, delta: NodeDelta | None, revision: int) -> None:
        """Take the readings in that a node's collector tells of."""
        if node not in self._nodes:
            return
        now_s, state = self._clock(), self.store.state(node)
        with self._lock:
            watched = self._nodes.get(node)
            if watched is None:
                return
            if watched.until_s <= now_s:
                del self._nodes[node]
            elif delta is not None:
                watched.take(delta, now_s)
                watched.state = state
            elif state is not watched.state:
                watched.begin(state, now_s)

    def _node(self, name: str, since_s: float, readings: _Readings, now_s: float) -> NodeRates | None:
        state, revision = self.store.state(name), self.store.node_revision(name)
        if state is None or revision is None:
            return None
        status = state.status.get("counters")
        every_s = status.max_age_s if status is not None else 0.0
        known = revision.connected and status is not None and status.complete and every_s > 0
        links = {}
        for ns in state.netns.values():
            whole = known and not any(one.section == "counters" for one in ns.gaps)
            for index, counters in ns.counters.items():
                key = LinkKey(ns.key, index)
                rate = _rate(readings.get(key, ()), since_s, now_s, every_s) if whole else None
                dropped = counters.rx_dropped + counters.tx_dropped
                links[str(key)] = LinkRate(rate, dropped, counters.rx_errors + counters.tx_errors)
        return NodeRates(every_s, links)


def _rate(readings: _Moved, since_s: float, now_s: float, every_s: float) -> Rate | None:
    """What a link carries by its last two readings that moved; None: not known yet."""
    last_s = readings[-1][0] if readings else since_s
    if now_s - last_s > every_s * (1 + LATE):
        return Rate()
    if len(readings) < 2:
        return None
    (was_s, was), (at_s, at) = readings
    # Between readings that moved there may have been some that didn't: all that was counted came after them.
    over_s = min(at_s - was_s, every_s)
    counted = (
        at.rx_bytes - was.rx_bytes,
        at.tx_bytes - was.tx_bytes,
        at.rx_packets - was.rx_packets,
        at.tx_packets - was.tx_packets,
        at.rx_dropped + at.tx_dropped - was.rx_dropped - was.tx_dropped,
        at.rx_errors + at.tx_errors - was.rx_errors - was.tx_errors,
    )
    if over_s <= 0 or min(counted) < 0:
        return None
    return Rate(*(round(value / over_s, 2) for value in counted))


get_rates = one_per_store(Rates)  # this process's rates
