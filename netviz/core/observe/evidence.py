"""All that was gathered about one probe, and the judgement on it: with the state, enough to judge again without a kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.observe.correlate import correlate
from netviz.core.observe.match import Observation, Seen, Watched, observe
from netviz.core.observe.sighting import Clocks, Crossing, Event, RuleEvent, Sighting
from netviz.core.sim.trace import Trace
from netviz.core.state.node import ClusterState


class Sending(msgspec.Struct, frozen=True):
    """The thread that sent a probe, and the monotonic time in ns just before and after."""

    thread: int
    began_ns: int
    ended_ns: int


class Evidence(msgspec.Struct, frozen=True):
    """What was seen of one probe, and by what.

    `sightings` are the probe's, places named by `place_name`; `events` are all of the time, others' packets' too;
    `rules` what nftables said of the probe.
    `watched` are the places with packet sockets. `drops`: a source of drops ran. `lost` counts by source what had no
    room. `told` is what the sender was told: "answer", the name of an errno, or "" for nothing.
    """

    sightings: tuple[Sighting, ...]
    events: tuple[Event, ...]
    clocks: Clocks
    watched: tuple[str, ...]
    drops: bool
    lost: dict[str, int]
    sending: Sending
    told: str = ""
    rules: tuple[RuleEvent, ...] = ()


def place_name(netns: NetnsKey) -> str:
    """Name a namespace as evidence does."""
    return str(netns)


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

    watched = Watched(frozenset(evidence.watched), evidence.drops, evidence.lost)
    sending = (evidence.sending.thread, evidence.sending.began_ns, evidence.sending.ended_ns)
    joined = correlate(
        evidence.sightings,
        evidence.events,
        evidence.clocks,
        watched.loses,
        sending,
    )
    return observe(trace, Seen(evidence.sightings, joined, watched, evidence.rules), place_name, is_told)


Shown = TypeVar("Shown", Sighting, RuleEvent)


def chosen(found: Iterable[Shown], number: int, seq: int | None) -> tuple[Shown, ...]:
    """Choose what is of one probe: by the number in its cookie, or of TCP its SYN's sequence number."""
    return tuple(
        one for one in found if (one.frame.seq == seq if one.frame.seq >= 0 else one.frame.number == number)
    )


def syn_of(sightings: Iterable[Sighting], place: str, sport: int) -> int | None:
    """Return the sequence number of a TCP probe's SYN; None where there is none.

    It is the one of the first SYN from the port `sport` in the sender's namespace (`place`). Where the port is
    translated before any device has the SYN, it isn't found.
    """
    return next(
        (
            s.frame.seq
            for s in sightings
            if s.frame.seq >= 0 and (s.frame.kind, s.place, s.frame.sport) == ("forward", place, sport)
        ),
        None,
    )
