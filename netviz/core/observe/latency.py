"""How long a packet took from one step that has a time to the next, and how far that may be off.

Times of one kernel share its clock; a drop's is told in whole microseconds. Between kernels the clocks are off by what the
exchange left open (`Apart`), which may be more than the packet took: then the number says little, and the uncertainty that.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netviz.core.observe.evidence import Evidence, node_of
from netviz.core.observe.match import Extra, Match, PathMatch

_EVENT_NS = 1000


class Latency(msgspec.Struct, frozen=True):
    """Since the step before that has a time, in ns, and by how much that may be wrong at most."""

    ns: int
    uncertainty_ns: int


class _Time(msgspec.Struct, frozen=True):
    """When a step was seen, on which kernel's nodes, and how far the time may be off by its own clock."""

    at_ns: int
    nodes: tuple[str, ...]
    apart_ns: int
    blur_ns: int = 0


def at_ns(match: Match | Extra, evidence: Evidence) -> int | None:
    """Return when a step, or what isn't predicted, was seen: of a drop when it was freed, else its frame; None where nothing has a time."""
    time = _time(match, evidence)
    return time.at_ns if time is not None else None


def latencies(path: PathMatch, evidence: Evidence) -> dict[int, Latency]:
    """Map the steps that have a time, by their numbers, to how long after the one before they were."""
    found = {}
    before: _Time | None = None
    for seq, time in _times(path, evidence):
        if before is not None:
            clocks = 0 if before.nodes == time.nodes else before.apart_ns + time.apart_ns
            found[seq] = Latency(time.at_ns - before.at_ns, clocks + before.blur_ns + time.blur_ns)
        before = time
    return found


def _times(path: PathMatch, evidence: Evidence) -> Iterator[tuple[int, _Time]]:
    for match in path.matches:
        if (time := _time(match, evidence)) is not None:
            yield match.step.seq, time


def _time(match: Match | Extra, evidence: Evidence) -> _Time | None:
    place = match.sighting.place if match.sighting is not None else ""
    kernel = evidence.kernel_of(place)
    node = node_of(place) if place else evidence.sender
    apart = max((max(-one.low_ns, one.high_ns) for one in evidence.apart if one.node == node), default=0)
    if match.event is not None and match.event.frees:
        blur = _EVENT_NS + kernel.clocks.uncertainty_ns
        return _Time(evidence.wall_ns(match.event, place), kernel.nodes, apart, blur)
    if match.sighting is not None:
        return _Time(match.sighting.at_ns, kernel.nodes, apart)
    return None
