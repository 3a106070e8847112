"""Lay the frames that were seen beside the devices that a path is predicted to cross, in order.

The alignment is the one that pairs most: a frame with the predicted headers counts more than one at the predicted
device with others. What is left over on either side is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from netviz.core.observe.crossing import (
    Copies,
    Naming,
    Predicted,
    as_written,
    copies_of,
    crossings,
    macs_differ,
    predicted_headers,
    same_headers,
    seen_headers,
    written_in_place,
)
from netviz.core.observe.sighting import Crossing, Sighting
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import Bridge, Neighbour
from netviz.core.sim.trace import Disposition, Path

ARRIVED = (Disposition.DELIVERED, Disposition.NO_LISTENER)
RETRANSMISSION_NS = 900_000_000
_SAME, _SAME_DEVICE = 3, 2


class Row(msgspec.Struct, frozen=True):
    """A predicted crossing, a frame that was seen, or both of one; `why` is how they differ, "" when they agree."""

    predicted: Predicted | None
    sighting: Sighting | None
    why: str = ""


class Laid(msgspec.Struct, frozen=True):
    """The rows in order. `before_drop` is the frame as seen on arrival by the device whose chain or check dropped it;
    `beyond` is the device behind which nothing is known, where a frame may be seen or not; `aside` has the frames of
    copies and of what comes later.
    """

    rows: tuple[Row, ...]
    before_drop: Sighting | None = None
    beyond: Row | None = None
    aside: tuple[Sighting, ...] = ()


def first_sending(seen: Sequence[Sighting]) -> list[Sighting]:
    """Leave out what comes so late that it may be of a retransmission. Source: RFC 6298, section 2: 1 s."""
    return [s for s in seen if s.at_ns - seen[0].at_ns < RETRANSMISSION_NS]


def lay_beside(
    path: Path,
    seen: Sequence[Sighting],
    naming: Naming,
    is_told: Callable[[Crossing], bool],
    mixed: Copies | None = None,
    repeated: bool = False,
) -> Laid:
    """Lay a path's frames, in the order of time, beside its prediction.

    `is_told` says whether traces speak of a crossing: others are left out on both sides. `mixed`: what else than the
    path's own copies is seen. `repeated`: copies of all of it may follow.
    """
    expected = [one for one in crossings(path, naming) if is_told(one.crossing)]
    copies, written = copies_of(path, naming), written_in_place(path)
    if mixed is not None and mixed.anywhere:
        copies = mixed
    left = _without_copies(seen, expected, copies, written, repeated)
    aside = tuple(s for s in seen if not any(s is kept for kept in left))
    last = path.hops[-1].steps[-1]
    beyond: Row | None = None
    before_drop: Sighting | None = None
    if path.disposition is Disposition.LEFT_NETWORK:
        # Nobody knows what is behind that device: a next hop that never answers, for example.
        beyond = _beyond(path, expected[-1], left, written) if expected else None
        expected = expected[:-1]
        left = left[: len(expected)]
    if path.disposition is Disposition.LOOP:
        left = left[: len(expected)]  # it goes on until its TTL is used up
    if isinstance(last.what, Bridge) and last.action == "drop" and last.what.lookup == "flood":
        # nobody's frame: its copies go on by every tunnel of the bridge
        aside += tuple(left[len(expected) :])
        left = left[: len(expected)]
    here = Crossing(naming(path.hops[-1].netns), last.dev, False)
    if path.disposition not in ARRIVED and len(left) == len(expected) + 1 and left[-1].crossing == here:
        before_drop = left.pop()  # seen before the hook or the check that dropped it
    return Laid(tuple(_paired(expected, left, written)), before_drop, beyond, aside)


def _beyond(path: Path, one: Predicted, seen: Sequence[Sighting], written: frozenset[tuple[str, str]]) -> Row:
    """Find the frame that leaves. Where nobody knows its next hop's MAC, it may have any."""
    found = next((s for s in reversed(seen) if s.crossing == one.crossing), None)
    asked = [step for step in path.hops[-1].steps if isinstance(step.what, Neighbour)]
    if asked and asked[-1].action == "not known":
        one = msgspec.structs.replace(one, packet=msgspec.structs.replace(one.packet, smac=b"", dmac=b""))
    return Row(one, found, _differs(one.packet, found, written) if found is not None else "")


def _without_copies(
    seen: Sequence[Sighting],
    expected: Sequence[Predicted],
    copies: Copies,
    written: frozenset[tuple[str, str]],
    repeated: bool,
) -> list[Sighting]:
    """Leave out what is seen of copies, and of frames that are meant for another MAC."""
    left: list[Sighting] = []
    for sighting in seen:
        here = [one.packet for one in expected if one.crossing == sighting.crossing]
        aside = copies.anywhere or sighting.place in (copies.flooded if sighting.out else copies.served)
        if not here and (sighting.stray or aside):
            continue
        if copies.anywhere and all(_differs(packet, sighting, written) for packet in here):
            continue
        again = sum(other.crossing == sighting.crossing for other in left) >= max(len(here), 1)
        if again and (repeated or ((sighting.out or copies.anywhere) and aside)):
            continue  # another copy by the same device
        left.append(sighting)
    return left


def _differs(packet: Packet, sighting: Sighting, written: frozenset[tuple[str, str]]) -> str:
    """Say how a frame differs from the packet that is predicted there; "" when it doesn't."""
    if not same_headers(packet, as_written(sighting.frame, packet, written)):
        return f"has {seen_headers(sighting.frame)}, predicted {predicted_headers(packet)}"
    return macs_differ(packet, sighting.frame)


def _paired(
    expected: Sequence[Predicted], seen: Sequence[Sighting], written: frozenset[tuple[str, str]]
) -> list[Row]:
    """Pair both in order so that most agrees: of all alignments the first of those with the greatest weight."""
    weight = [[_weight(one, sighting, written) for sighting in seen] for one in expected]
    best = [[0] * (len(seen) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(seen))):
            both = best[i + 1][j + 1] + weight[i][j] if weight[i][j] else 0
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    rows: list[Row] = []
    i = j = 0
    while i < len(expected) or j < len(seen):
        both = i < len(expected) and j < len(seen) and weight[i][j]
        if both and best[i][j] == best[i + 1][j + 1] + both:
            rows.append(Row(expected[i], seen[j], _differs(expected[i].packet, seen[j], written)))
            i, j = i + 1, j + 1
        elif i < len(expected) and best[i][j] == best[i + 1][j]:
            rows.append(Row(expected[i], None))
            i += 1
        else:
            rows.append(Row(None, seen[j]))
            j += 1
    return rows


def _weight(one: Predicted, sighting: Sighting, written: frozenset[tuple[str, str]]) -> int:
    if one.crossing != sighting.crossing:
        return 0
    return _SAME_DEVICE if _differs(one.packet, sighting, written) else _SAME
