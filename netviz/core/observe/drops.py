"""Drops of any packets, as tracepoints tell them, joined with the frames that packet sockets saw, and grouped.

A free with a reason has the packet's address alone. The crossings at that address since its last free are the packet's;
each is by device name, direction, length and time one of some frames, which have namespace and headers. Where all of them
are of one flow in one place, it is that one; the client's port may stay open. Where the device's name is another node's on the same kernel too, the frames
can't be all of them: then another crossing of the packet has to tell its flow. What stays open has no place.

Source: include/trace/events/skb.h, kfree_skb; net/core/dev.c, xmit_one, __netif_receive_skb_core (Linux 6.18).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

import msgspec

from netviz.core.observe.correlate import EARLY_NS, FORGET_NS, WINDOW_NS
from netviz.core.observe.headers import Headers
from netviz.core.observe.sighting import ETHERNET_BYTES, Clocks, Event

MOST_GROUPS = 300
MOST_CROSSINGS = 8
KEPT_NS = 2 * WINDOW_NS
SENT = "net:net_dev_start_xmit"
_IP = (0x0800, 0x86DD)
UNNAMED = "NOT_SPECIFIED"
# A copy that a packet socket had no room for: nothing of the packet itself is lost.
COPIES = frozenset({"PACKET_SOCK_ERROR"})


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A frame at a device; `at_ns` is of the wall clock, `length` of the whole frame in bytes."""

    at_ns: int
    place: str
    dev: str
    out: bool
    length: int
    headers: Headers


class Drop(msgspec.Struct, frozen=True, omit_defaults=True):
    """A packet was dropped. `place` and `dev` are where it was last, "" where that isn't known; so with `headers`.

    `never`: it crossed no device, as what is dropped where it was sent.
    """

    at_ns: int
    reason: str
    place: str = ""
    dev: str = ""
    out: bool = False
    never: bool = False
    headers: Headers | None = None


class Joiner:
    """Joins frees with frames, as both come: frames first, then the events that were read before them.

    `shared` are names of devices that namespaces have which aren't watched.
    """

    def __init__(self, shared: Collection[str] = ()) -> None:
        self._shared = frozenset(shared)
        self._frames: dict[tuple[str, bool, int], deque[Seen]] = {}
        self._newest_ns = 0
        self._crossed: dict[int, list[Event]] = {}
        self.copies = 0

    def take(self, frames: Iterable[Seen]) -> None:
        """Take frames, those of one device in the order of time."""
        for one in frames:
            self._frames.setdefault((one.dev, one.out, one.length), deque()).append(one)
            self._newest_ns = max(self._newest_ns, one.at_ns)

    def drops(self, events: Iterable[Event], clocks: Clocks, *, whole: bool) -> list[Drop]:
        """Return the drops among events, in their order. `whole`: no frame was lost, so that what is seen is all there is."""
        found = []
        for event in events:
            if event.crosses:
                chain = self._crossed.setdefault(event.skb, [])
                chain.append(event)
                del chain[:-MOST_CROSSINGS]
            elif event.frees:
                chain = self._crossed.pop(event.skb, [])
                if event.point == "skb:kfree_skb" and event.protocol in _IP:
                    if event.reason in COPIES:
                        self.copies += 1
                    else:
                        found.append(self._drop(event, chain, clocks, whole))
        if len(self._crossed) > 50_000:
            self._forget()
        self._forget_frames()
        return found

    def _forget_frames(self) -> None:
        """Forget the frames that no later event can be of; those of the events that were just joined were all there."""
        for key, kept in list(self._frames.items()):
            while kept and kept[0].at_ns < self._newest_ns - KEPT_NS:
                kept.popleft()
            if not kept:
                del self._frames[key]

    def _forget(self) -> None:
        newest = max(chain[-1].at_ns for chain in self._crossed.values())
        self._crossed = {
            skb: chain for skb, chain in self._crossed.items() if chain[-1].at_ns > newest - FORGET_NS
        }

    def _drop(self, event: Event, chain: list[Event], clocks: Clocks, whole: bool) -> Drop:
        at_ns = clocks.wall_ns(event.at_ns)
        chain = [one for one in chain if one.at_ns > event.at_ns - FORGET_NS]
        if not chain:
            return Drop(at_ns, event.reason, never=True)
        last = self._candidates(chain, len(chain) - 1, clocks)
        if whole and last and (chain[-1].dev not in self._shared or self._told(chain, last, clocks)):
            first = last[0]
            if all((one.place, _flow(one.headers)) == (first.place, _flow(first.headers)) for one in last):
                headers = _common([one.headers for one in last])
                return Drop(at_ns, event.reason, first.place, first.dev, first.out, headers=headers)
        return Drop(at_ns, event.reason)

    def _told(self, chain: list[Event], last: list[Seen], clocks: Clocks) -> bool:
        """Tell whether an earlier crossing, at a device that is here alone, shows the flow of the last one's frames."""
        flows = {_flow(one.headers) for one in last}
        return any(
            event.dev not in self._shared
            and (there := self._candidates(chain, number, clocks))
            and {_flow(one.headers) for one in there} == flows
            for number, event in enumerate(chain[:-1])
        )

    def _candidates(self, chain: list[Event], number: int, clocks: Clocks) -> list[Seen]:
        """Return the frames that may be those of a crossing.

        A frame that is sent has its stamp then; one that comes in from when it was queued, after the device before had sent
        it, and keeps that through a bridge. So an older frame at a device of the same name is an earlier crossing's.
        """
        event = chain[number]
        out = event.point == SENT
        length = event.length if out else event.length + ETHERNET_BYTES
        at_ns, unsure_ns = clocks.wall_ns(event.at_ns), EARLY_NS + clocks.uncertainty_ns
        low = at_ns - WINDOW_NS - unsure_ns
        before = [one for one in chain[:number] if out or one.point == SENT]
        if before:
            low = max(low, clocks.wall_ns(before[-1].at_ns) - unsure_ns)
        frames = self._frames.get((event.dev, out, length), ())
        return [one for one in frames if low <= one.at_ns <= at_ns + unsure_ns]


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Drops of one reason, place and flow, whose client's port may differ; `last` is the last of them."""

    last: Drop
    count: int = 1
    first_ns: int = 0


class Groups:
    """Drops by what they have in common; of more than MOST_GROUPS sorts the rest is counted alone."""

    def __init__(self) -> None:
        self._groups: dict[tuple[object, ...], Group] = {}
        self.others = 0

    def add(self, drop: Drop) -> None:
        """Count a drop."""
        key = (drop.reason, drop.place, drop.dev, drop.out, drop.never, _flow(drop.headers))
        known = self._groups.get(key)
        if known is not None:
            self._groups[key] = Group(drop, known.count + 1, known.first_ns)
        elif len(self._groups) < MOST_GROUPS:
            self._groups[key] = Group(drop, 1, drop.at_ns)
        else:
            self.others += 1

    def all(self) -> tuple[Group, ...]:
        """The groups, the largest first; those at the end for which the kernel has no reason."""
        return tuple(sorted(self._groups.values(), key=lambda one: (one.last.reason == UNNAMED, -one.count)))


def _common(found: list[Headers]) -> Headers:
    """Return what packets of one flow have in common: the client's port is 0 where it differs."""
    first = found[0]
    if all(one == first for one in found):
        return first
    same = all((one.sport, one.dport) == (first.sport, first.dport) for one in found)
    ports = {} if same else {"sport": 0} if not first.answers else {"dport": 0}
    return msgspec.structs.replace(first, flags=0, **ports)


def _flow(headers: Headers | None) -> tuple[object, ...]:
    if headers is None:
        return ()
    port = headers.sport if headers.answers else headers.dport
    return headers.proto, headers.src, headers.dst, headers.answers, port
