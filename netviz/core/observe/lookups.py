"""Lookups of routes, which name neither packet nor namespace, joined with the packet that the processor had in hand.

What a kernel does with a packet from one device to the next it does on one processor, without another packet in between. So a
lookup is of the packet whose crossing came last on its processor, in the same thread, unless that packet was freed since; or,
where the host sends, of the one that crosses next. Both are kept with the lookup while all packets' events are there
(`in_hand`). Where that crossing is joined with a frame for certain, the frame says whose packet it is, and in which namespace.
What the sender looks up before its packet crosses a device is known by its thread.

Nothing is said of a lookup that is none of these: a process that answers later, on another processor, for example.

Source: net/ipv4/fib_trie.c, fib_table_lookup; net/ipv6/route.c, fib6_table_lookup; net/core/dev.c, __netif_receive_skb,
process_backlog (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netviz.core.observe.sighting import Event, Sighting

# An event's time is told in whole microseconds.
_EVENT_NS = 1000


class Lookups(msgspec.Struct, frozen=True):
    """The lookups after and before a sighting, by its position; `sent` are the sending thread's."""

    after: Mapping[int, tuple[Event, ...]] = {}
    before: Mapping[int, tuple[Event, ...]] = {}
    sent: tuple[Event, ...] = ()

    def and_of(self, other: Lookups, positions: Sequence[int]) -> Lookups:
        """Add another kernel's, whose sightings are at these positions of all."""
        return Lookups(
            {**self.after, **{positions[number]: found for number, found in other.after.items()}},
            {**self.before, **{positions[number]: found for number, found in other.before.items()}},
            self.sent + other.sent,
        )

    def answering(self, seen: Sequence[Sighting], place: str, kinds: Sequence[str]) -> tuple[Event, ...]:
        """Return those of whoever answers in a place: while it has the probe in hand, and before the answer, of some `kinds`, is sent."""
        here = [(number, one.frame.kind) for number, one in enumerate(seen) if one.place == place]
        taken = next((number for number, kind in reversed(here) if kind == "forward"), -1)
        sent = next((number for number, kind in here if kind in kinds), -1)
        return self.after.get(taken, ()) + self.before.get(sent, ())


def in_hand(events: Sequence[Event]) -> list[Event]:
    """Say of each lookup which packets crossed a device on its processor, in its thread, before (`skb`) and after it (`then`).

    The events are all of one kernel, those of a processor in order.
    """
    held: dict[int, Event] = {}
    waiting: dict[int, list[int]] = {}
    found = list(events)
    for number, event in enumerate(events):
        last = held.get(event.cpu)
        if event.lookup is not None:
            if last is not None and last.pid == event.pid:
                found[number] = msgspec.structs.replace(event, skb=last.skb)
            waiting.setdefault(event.cpu, []).append(number)
        elif event.crosses:
            held[event.cpu] = event
            for lookup in waiting.pop(event.cpu, ()):
                if found[lookup].pid == event.pid:
                    found[lookup] = msgspec.structs.replace(found[lookup], then=event.skb)
        elif event.frees and last is not None and last.skb == event.skb:
            del held[event.cpu]
    return found


def is_of_sender(event: Event, sending: tuple[int, int, int] | None) -> bool:
    """Tell whether the thread that sent the probe looked a route up, or had a packet cross a device, while it did."""
    if sending is None or event.frees:
        return False
    pid, began_ns, ended_ns = sending
    return event.pid == pid and began_ns - _EVENT_NS < event.at_ns <= ended_ns


def joined(
    events: Iterable[Event], owner: Mapping[int, int], sending: tuple[int, int, int] | None
) -> Lookups:
    """Join lookups with sightings. `owner` has the positions of those whose crossing is certain, by its event's identity."""
    last: dict[int, Event] = {}
    waiting: dict[int, list[Event]] = {}
    after: dict[int, list[Event]] = {}
    before: dict[int, list[Event]] = {}
    sent: list[Event] = []
    is_sent = False  # what its thread does then, it does for others
    for event in events:
        if is_of_sender(event, sending):
            is_sent = is_sent or event.lookup is None
            if not is_sent:
                sent.append(event)
        if event.lookup is not None:
            held = last.get(event.skb)
            if held is not None and held.cpu == event.cpu and id(held) in owner:
                after.setdefault(owner[id(held)], []).append(event)
            if event.then:
                waiting.setdefault(event.then, []).append(event)
        elif event.crosses:
            last[event.skb] = event
            mine = [one for one in waiting.pop(event.skb, ()) if one.cpu == event.cpu]
            if mine and id(event) in owner:
                before[owner[id(event)]] = mine
        elif event.frees:
            last.pop(event.skb, None)
    return Lookups(
        {position: tuple(found) for position, found in after.items()},
        {position: tuple(found) for position, found in before.items()},
        tuple(sent),
    )
