"""Join what tracepoints said, which knows no namespace and no headers, with the frames that packet sockets saw.

A packet's address is followed from one event to the next and ends with the free; a clone has an address of its own and
is joined by where it was seen itself. Addresses are used again, and not every free has an event, so an address proves
nothing alone. What is `certain` here:

- A crossing's event: every frame seen has one, so where by device name, direction, length and time only one is left,
  it is that, and nobody else's. Of several it is the one at the address of the packet's crossing before or after,
  with no other event of that address between. Not so when anything was lost.
- A free: it has the address of the frame's last crossing, no event of another packet lies between, and the frame was
  seen nowhere afterwards. Where several events may be that crossing, and each of these packets was freed so with the same
  reason, it was freed with that reason, whichever it is.

Everything else that may be the probe's is `ambiguous`.

Source: net/core/dev.c, xmit_one (a packet socket has the frame just before net:net_dev_start_xmit) and
__netif_receive_skb_core (net:netif_receive_skb comes just before packet sockets have the frame, whose time stamp may
be from before it was queued) (Linux 6.18).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from netviz.core.observe import lookups
from netviz.core.observe.align import first_sending
from netviz.core.observe.lookups import Lookups
from netviz.core.observe.sighting import ETHERNET_BYTES, Clocks, Event, Sighting

Join = Literal["certain", "ambiguous"]
CERTAIN: Join = "certain"
AMBIGUOUS: Join = "ambiguous"

# How much later than its frame's time stamp an event may be: the frame may have waited for its turn on a busy machine.
WINDOW_NS = 20_000_000
FORGET_NS = 10_000_000_000
# How much earlier: an event's time is told in whole microseconds, and some were seen 2 us before their frame's.
EARLY_NS = 3000
_IP_PROTOCOLS = (0x0800, 0x86DD)


class Crossed(msgspec.Struct, frozen=True):
    """The event of the same crossing as a frame that was seen; `others` are further ones that may be it."""

    event: Event
    join: Join
    others: tuple[Event, ...] = ()


class Freed(msgspec.Struct, frozen=True):
    """A packet was freed with a drop reason. `after` is its last sighting; None: it was never seen at a device."""

    event: Event
    after: Sighting | None
    join: Join


class Correlation(msgspec.Struct, frozen=True):
    """What was joined. `crossed` has the events by the position of the sighting in what was given, as `lookups` do."""

    crossed: dict[int, Crossed]
    freed: tuple[Freed, ...]
    lookups: Lookups = Lookups()


def correlate(
    sightings: Sequence[Sighting],
    events: Iterable[Event],
    clocks: Clocks,
    lost: bool,
    sending: tuple[int, int, int] | None = None,
) -> Correlation:
    """Join a probe's sightings, in the order of time, with the events of tracepoints, those of other packets among them.

    `lost`: events or frames were lost, so nothing is certain. `sending` is the thread that sent the probe and the
    monotonic time in ns at which it began and ended: what is freed in it then may be the probe before any device.
    """
    everything = sorted(events, key=lambda event: event.at_ns)
    ordered = [event for event in everything if event.lookup is None]
    crossed = _crossings(sightings, ordered, clocks, lost)
    freed = tuple(_frees(sightings, ordered, crossed, lost, sending))
    owner = {id(one.event): position for position, one in crossed.items() if one.join == CERTAIN}
    return Correlation(crossed, freed, Lookups() if lost else lookups.joined(everything, owner, sending))


def relevant(
    sightings: Sequence[Sighting],
    events: Iterable[Event],
    clocks: Clocks,
    sending: tuple[int, int, int] | None = None,
) -> list[Event]:
    """Leave out the events that make no difference to what `correlate` finds: of addresses that can't be the probe's."""
    ordered = sorted(events, key=lambda event: event.at_ns)
    wanted: dict[tuple[str, bool, int], list[Sighting]] = {}
    for one in sightings:
        wanted.setdefault((one.dev, one.out, one.length), []).append(one)
    addresses = {
        event.skb
        for event in ordered
        if event.crosses
        and any(_is_candidate(one, event, clocks) for one in wanted.get(_crossing_of(event), ()))
    }
    return [
        event
        for event in ordered
        if event.skb in addresses
        or event.then in addresses
        or lookups.is_of_sender(event, sending)
        or (event.point == "skb:kfree_skb" and sending is not None and _may_be_unseen(event, sending))
    ]


def _crossing_of(event: Event) -> tuple[str, bool, int]:
    """Return device, direction and length of the frame that an event would be of."""
    out = event.point == "net:net_dev_start_xmit"
    return event.dev, out, event.length if out else event.length + ETHERNET_BYTES


def _is_candidate(sighting: Sighting, event: Event, clocks: Clocks) -> bool:
    if (sighting.dev, sighting.out, sighting.length) != _crossing_of(event):
        return False
    late_ns = clocks.wall_ns(event.at_ns) - sighting.at_ns
    return -clocks.uncertainty_ns - EARLY_NS < late_ns <= WINDOW_NS + clocks.uncertainty_ns


def _crossings(
    sightings: Sequence[Sighting], events: Sequence[Event], clocks: Clocks, lost: bool
) -> dict[int, Crossed]:
    open_: dict[int, set[int]] = {
        position: {
            number
            for number, event in enumerate(events)
            if event.crosses and _is_candidate(sighting, event, clocks)
        }
        for position, sighting in enumerate(sightings)
    }
    pairs, following = _consecutive(sightings), _following(events)
    settled: dict[int, int] = {}
    while not lost and (claims := _claims(open_) or _followed(open_, settled, pairs, following)):
        for position, number in claims.items():
            settled[position] = number
            del open_[position]
        for numbers in open_.values():
            numbers.difference_update(claims.values())
    found = {position: Crossed(events[number], CERTAIN) for position, number in settled.items()}
    for position, numbers in open_.items():
        if numbers:
            first, *others = sorted(numbers)
            found[position] = Crossed(events[first], AMBIGUOUS, tuple(events[number] for number in others))
    return found


def _claims(open_: Mapping[int, set[int]]) -> dict[int, int]:
    """Find the sightings that have one candidate left, which no other such sighting has."""
    return _unshared(
        {position: next(iter(numbers)) for position, numbers in open_.items() if len(numbers) == 1}
    )


def _unshared(claims: Mapping[int, int]) -> dict[int, int]:
    claimed = Counter(claims.values())
    return {position: number for position, number in claims.items() if claimed[number] == 1}


def _consecutive(sightings: Sequence[Sighting]) -> list[tuple[int, int]]:
    """Pair each sighting with the next of the same packet: of the probe, its answer, or an error."""
    last: dict[str, int] = {}
    found = []
    for position, sighting in enumerate(sightings):
        kind = sighting.frame.kind
        if kind in last:
            found.append((last[kind], position))
        last[kind] = position
    return found


def _following(events: Sequence[Event]) -> dict[int, int]:
    """Return for a crossing's event the next at the same address, up to the free."""
    last: dict[int, int] = {}
    found: dict[int, int] = {}
    for number, event in enumerate(events):
        if event.crosses:
            if event.skb in last:
                found[last[event.skb]] = number
            last[event.skb] = number
        elif event.frees:
            last.pop(event.skb, None)
    return found


def _followed(
    open_: Mapping[int, set[int]],
    settled: Mapping[int, int],
    pairs: Sequence[tuple[int, int]],
    following: Mapping[int, int],
) -> dict[int, int]:
    """Follow the address from a settled sighting to the packet's next one, and back to the one before."""
    preceding = {after: before for before, after in following.items()}
    claims: dict[int, int] = {}
    for first, second in pairs:
        for known, other, way in ((first, second, following), (second, first, preceding)):
            number = way.get(settled[known]) if known in settled else None
            if number is not None and number in open_.get(other, ()):
                claims[other] = number
    return _unshared(claims)


def _frees(
    sightings: Sequence[Sighting],
    events: Sequence[Event],
    crossed: dict[int, Crossed],
    lost: bool,
    sending: tuple[int, int, int] | None,
) -> Iterable[Freed]:
    """Follow each address through the events, in the order of time."""
    ends, going_on = _ends(events), _going_on(sightings)
    alike = {
        position: ends[id(one.event)]
        for position, one in crossed.items()
        if one.others and not lost and position not in going_on and _end_alike(one, ends)
    }
    yield from (Freed(event, sightings[position], CERTAIN) for position, event in alike.items())
    owner = {
        id(one.event): (position, one.join) for position, one in crossed.items() if position not in alike
    }
    held: dict[int, tuple[Event, int, Join] | None] = {}
    for event in events:
        if event.crosses:
            mine = owner.get(id(event))
            held[event.skb] = (event, *mine) if mine is not None else None
        if not event.frees:
            continue
        holder = held.pop(event.skb, None)
        if event.point != "skb:kfree_skb" or event.protocol not in _IP_PROTOCOLS:
            continue
        if holder is not None and event.at_ns - holder[0].at_ns < FORGET_NS:
            position, join = holder[1], holder[2]
            yield Freed(event, sightings[position], AMBIGUOUS if lost or position in going_on else join)
        elif holder is None and sending is not None and _may_be_unseen(event, sending):
            yield Freed(event, None, AMBIGUOUS)


def _ends(events: Sequence[Event]) -> dict[int, Event]:
    """Map each crossing's event, by its identity, to what came next at its address."""
    last: dict[int, Event] = {}
    found = {}
    for event in events:
        if event.skb in last:
            found[id(last.pop(event.skb))] = event
        if event.crosses:
            last[event.skb] = event
    return found


def _end_alike(crossed: Crossed, ends: Mapping[int, Event]) -> bool:
    """Tell whether all that may be a crossing were freed next, with one reason."""
    found = [ends.get(id(event)) for event in (crossed.event, *crossed.others)]
    reasons = {end.reason if end is not None and end.point == "skb:kfree_skb" else "" for end in found}
    return len(reasons) == 1 and "" not in reasons


def _going_on(sightings: Sequence[Sighting]) -> set[int]:
    """Return the positions after which the packet was seen, without retransmissions.

    What came in goes on through its own namespace, or ends there; where copies are seen elsewhere says nothing of it.
    """
    found: set[int] = set()
    for kind in {sighting.frame.kind for sighting in sightings}:
        mine = [number for number, sighting in enumerate(sightings) if sighting.frame.kind == kind]
        known = {id(one) for one in first_sending([sightings[number] for number in mine])}
        places: set[str] = set()
        is_later = False
        for number in reversed(mine):
            one = sightings[number]
            if one.place in places or (one.out and is_later):
                found.add(number)
            if id(one) in known:
                places.add(one.place)
                is_later = True
    return found


def _may_be_unseen(event: Event, sending: tuple[int, int, int]) -> bool:
    """Tell whether a free may be of the probe before any device had it: while it is sent, or waiting for a neighbour."""
    pid, began_ns, ended_ns = sending
    if event.reason == "NEIGH_FAILED":
        return event.at_ns >= began_ns
    return event.pid == pid and began_ns <= event.at_ns <= ended_ns
