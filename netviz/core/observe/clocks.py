"""Nodes' clocks brought in line by the probe itself: of two devices that it crossed one after the other, the first was first.

What bounds how far a node's clock is off (`Apart`) is kept. Within that, the order of the prediction is taken where it is
free of contradictions; a prediction can't make a clock go farther than it was measured to be off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netviz.core.observe.crossing import crossings
from netviz.core.observe.evidence import Apart, Evidence, node_of, place_name
from netviz.core.observe.sighting import Clocks, Crossing, Sighting
from netviz.core.sim.trace import Path, Trace

_Key = tuple[Crossing, bool]


def in_line(evidence: Evidence, trace: Trace) -> Evidence:
    """Shift each other node's clock, within its bounds, to where its sightings fit the predicted order best."""
    if not evidence.apart:
        return evidence
    following = list(_following(evidence, trace))
    bounds = {one.node: (one.low_ns, one.high_ns) for one in evidence.apart}
    shifts = {node: 0 for node in _nodes(evidence) if node not in bounds}
    while left := [node for node in bounds if node not in shifts]:
        known = {
            node: sum(_between(first, second, node, shifts) for first, second in following) for node in left
        }
        node = max(left, key=lambda one: (known[one], one))
        low, high = bounds[node]
        for first, second in following:
            low, high = _narrowed(low, high, first, second, node, shifts)
        shifts[node] = (low + high) // 2
        bounds[node] = (low - shifts[node], high - shifts[node])
    return _shifted(evidence, shifts, bounds)


def _nodes(evidence: Evidence) -> set[str]:
    return {node for kernel in evidence.kernels for node in kernel.nodes} | {evidence.sender}


def _following(evidence: Evidence, trace: Trace) -> Iterator[tuple[Sighting, Sighting]]:
    """Yield what was seen at devices of different nodes that are predicted to be crossed one after the other."""
    first: dict[_Key, Sighting] = {}
    for one in evidence.sightings:
        first.setdefault((one.crossing, one.frame.kind == "forward"), one)
    for branch in trace.branches:
        yield from _along(branch.forward, True, first)
        if branch.reply is not None:
            yield from _along(branch.reply, False, first)


def _along(path: Path, forward: bool, first: Mapping[_Key, Sighting]) -> Iterator[tuple[Sighting, Sighting]]:
    before: Sighting | None = None
    for one in crossings(path, place_name):
        seen = first.get((one.crossing, forward))
        if seen is None:
            continue
        if before is not None and node_of(before.place) != node_of(seen.place):
            yield before, seen
        before = seen


def _between(first: Sighting, second: Sighting, node: str, shifts: Mapping[str, int]) -> bool:
    """Tell whether a pair compares a node's clock with a known one."""
    one, other = node_of(first.place), node_of(second.place)
    return (one == node and other in shifts) or (other == node and one in shifts)


def _narrowed(
    low: int, high: int, first: Sighting, second: Sighting, node: str, shifts: Mapping[str, int]
) -> tuple[int, int]:
    """Narrow a node's bounds by a pair; one that contradicts them is left aside."""
    if not _between(first, second, node, shifts):
        return low, high
    if node_of(second.place) == node:
        least = first.at_ns + shifts[node_of(first.place)] - second.at_ns
        return (max(low, least), high) if least <= high else (low, high)
    most = second.at_ns + shifts[node_of(second.place)] - first.at_ns
    return (low, min(high, most)) if most >= low else (low, high)


def _shifted(
    evidence: Evidence, shifts: Mapping[str, int], bounds: Mapping[str, tuple[int, int]]
) -> Evidence:
    sightings = [
        msgspec.structs.replace(one, at_ns=one.at_ns + shifts.get(node_of(one.place), 0))
        for one in evidence.sightings
    ]
    kernels = [
        msgspec.structs.replace(
            one,
            clocks=Clocks(one.clocks.offset_ns + shifts.get(one.nodes[0], 0), one.clocks.uncertainty_ns),
        )
        for one in evidence.kernels
    ]
    return msgspec.structs.replace(
        evidence,
        sightings=tuple(sorted(sightings, key=lambda one: one.at_ns)),
        kernels=tuple(kernels),
        apart=tuple(Apart(node, *bounds[node]) for node in sorted(bounds)),
    )
