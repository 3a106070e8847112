"""All that was gathered about one probe, and the judgement on it: with the state, enough to judge again without a kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.observe.correlate import Correlation, correlate
from netviz.core.observe.counters import Counts
from netviz.core.observe.match import Observation, Seen, Watched, observe
from netviz.core.observe.sighting import Clocks, Crossing, Event, RuleEvent, Sighting, Tracked
from netviz.core.sim.packet import IPPROTO_UDP
from netviz.core.sim.trace import Trace
from netviz.core.state.node import ClusterState


class Sending(msgspec.Struct, frozen=True):
    """The thread that sent a probe, and its kernel's monotonic time in ns just before and after."""

    thread: int
    began_ns: int
    ended_ns: int


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """One source on a node: how much had no room, and in a sentence what can't be seen for what it lacks, "" for nothing."""

    node: str
    name: str
    lost: int = 0
    missing: str = ""


class Kernel(msgspec.Struct, frozen=True):
    """What one kernel's tracepoints said all the time, of others' packets too.

    `nodes` are those that run on it: one, but emulated ones share theirs. `drops`: a source of drops ran.
    """

    nodes: tuple[str, ...]
    clocks: Clocks
    drops: bool = False
    events: tuple[Event, ...] = ()


class Apart(msgspec.Struct, frozen=True):
    """What may have to be added to a node's times, at least and at most, to have the sender's clock, in ns."""

    node: str
    low_ns: int
    high_ns: int


class Evidence(msgspec.Struct, frozen=True):
    """What was seen of one probe, and by what. Its wall clock is that of the sender's node.

    `sightings` are the probe's, places named by `place_name`, by time; `rules` what nftables said of it. `watched` are
    the places with packet sockets. `told` is what the sender was told: "answer", the name of an errno, or "" for
    nothing. `apart` has the nodes on other kernels, `tracked` the entries of its connection, `counts` what legacy rules counted.
    """

    sender: str
    sightings: tuple[Sighting, ...]
    kernels: tuple[Kernel, ...]
    watched: tuple[str, ...]
    sources: tuple[Source, ...]
    sending: Sending
    told: str = ""
    rules: tuple[RuleEvent, ...] = ()
    apart: tuple[Apart, ...] = ()
    tracked: tuple[Tracked, ...] = ()
    counts: tuple[Counts, ...] = ()

    @property
    def apart_ns(self) -> int:
        """How far a time of another node may be off at most."""
        return max((max(-one.low_ns, one.high_ns) for one in self.apart), default=0)

    @property
    def lost(self) -> int:
        """How much had no room, in all sources."""
        return sum(source.lost for source in self.sources)

    def kernel_of(self, place: str = "") -> Kernel:
        """Return the kernel of a place, or ("") of the sender."""
        node = node_of(place) if place else self.sender
        return next((one for one in self.kernels if node in one.nodes), Kernel((node,), Clocks(0, 0)))

    def wall_ns(self, event: Event, place: str = "") -> int:
        """When an event was that was seen after the packet was at a place."""
        return self.kernel_of(place).clocks.wall_ns(event.at_ns)

    @property
    def began_ns(self) -> int:
        """When the probe was sent, by the wall clock."""
        return self.kernel_of().clocks.wall_ns(self.sending.began_ns)


def place_name(netns: NetnsKey) -> str:
    """Name a namespace as evidence does."""
    return str(netns)


def node_of(place: str) -> str:
    """Return the node of a place."""
    return place.rsplit(":", 3)[0]


def judge(cluster: ClusterState, trace: Trace, evidence: Evidence) -> Observation:
    """Lay the evidence beside the prediction.

    Left out on both sides: loopback devices, and what goes out of a bridge's own device, whose ports show it.
    """
    bridges = {
        (place_name(key), link.ifname)
        for node in cluster.nodes.values()
        for key, ns in node.netns.items()
        for link in ns.links.values()
        if link.kind == "bridge"
    }

    def is_told(crossing: Crossing) -> bool:
        return crossing.dev != "lo" and not (crossing.out and (crossing.place, crossing.dev) in bridges)

    lossy = {source.node for source in evidence.sources if source.lost}
    watched = Watched(
        frozenset(evidence.watched),
        frozenset(node for kernel in evidence.kernels if kernel.drops for node in kernel.nodes),
        frozenset(lossy),
        (trace.flow.sport or 0) if trace.flow.proto == IPPROTO_UDP else 0,
    )
    seen = Seen(
        evidence.sightings,
        _joined(evidence, lossy),
        watched,
        evidence.rules,
        evidence.told,
        evidence.tracked,
        evidence.counts,
    )
    return observe(trace, seen, place_name, is_told)


def _joined(evidence: Evidence, lossy: set[str]) -> Correlation:
    """Join each kernel's events with what was seen on its nodes: packet addresses are of one kernel."""
    sending = evidence.sending
    found = Correlation({}, ())
    for kernel in evidence.kernels:
        at = [number for number, one in enumerate(evidence.sightings) if node_of(one.place) in kernel.nodes]
        part = correlate(
            [evidence.sightings[number] for number in at],
            kernel.events,
            kernel.clocks,
            not lossy.isdisjoint(kernel.nodes),
            (sending.thread, sending.began_ns, sending.ended_ns) if evidence.sender in kernel.nodes else None,
        )
        crossed = {at[number]: one for number, one in part.crossed.items()}
        found = Correlation(
            found.crossed | crossed, found.freed + part.freed, found.lookups.and_of(part.lookups, at)
        )
    return found


Shown = TypeVar("Shown", Sighting, RuleEvent)


def chosen(found: Iterable[Shown], number: int, seq: int | None) -> tuple[Shown, ...]:
    """Choose what is of one probe: by the number in its cookie, or of TCP its SYN's sequence number."""
    return tuple(
        one for one in found if (one.frame.seq == seq if one.frame.seq >= 0 else one.frame.number == number)
    )


def syn_of(found: Iterable[Sighting | RuleEvent], place: str, sport: int) -> int | None:
    """Return the sequence number of a TCP probe's SYN; None where there is none.

    It is the one of the first SYN from the port `sport` in the sender's namespace (`place`). Where the port is
    translated before anything shows the SYN, it isn't found.
    """
    return next(
        (
            one.frame.seq
            for one in found
            if one.frame.seq >= 0
            and (one.frame.kind, one.place, one.frame.sport) == ("forward", place, sport)
        ),
        None,
    )
