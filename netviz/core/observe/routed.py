"""Routes beside the lookups that the kernel was seen to make.

A lookup says the table, and the device and next hop that it found, or an error. It is laid beside a step that asks for the same
addresses, on the way from the device that the packet was seen at last. Tables are searched until one answers: the last search is the
one that decided.

Not told apart: IPv4's tables local and main, which are one until somebody adds a rule; of several next hops the one that is taken.
Where a route has no gateway, IPv4's tracepoint leaves what stood in the buffer: so that there is none can't be compared.
Source: net/ipv4/fib_frontend.c, fib_new_table; include/net/ip_fib.h, fib_lookup; net/ipv4/fib_trie.c, fib_table_lookup;
include/trace/events/fib.h (Linux 6.18).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.observe.sighting import Event, Lookup
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import Encap, Receive, RouteLookup, Transmit
from netviz.core.sim.trace import Path, Step, Trace

LOOPBACK_IFINDEX = 1
_ANY = ("0.0.0.0", "::")
_MERGED = {254, 255}
_FOUND = ("via", "direct", "local")
# Source: net/ipv4/fib_semantics.c, fib_props; net/ipv6/ip6_fib.c, fib6_net_init (Linux 6.18).
_ERRORS = {
    "no route": (3, 11, 101, 113),
    "blackhole": (22,),
    "unreachable": (113,),
    "prohibit": (13,),
}


def addresses_of(trace: Trace) -> frozenset[bytes]:
    """The addresses, packed, that a trace's packets have on their way, a tunnel's among them."""
    paths = [path for branch in trace.branches for path in (branch.forward, branch.reply) if path is not None]
    found = {trace.flow.src, trace.flow.dst}
    for step in (step for path in paths for hop in path.hops for step in hop.steps):
        packet: Packet | None = step.packet
        while packet is not None:
            found |= {packet.src, packet.dst}
            packet = packet.payload
    return frozenset(found)


class Routed(msgspec.Struct, frozen=True):
    """The lookup that decided, or that was as predicted; `why` is how it differs, "" when it doesn't."""

    event: Event
    why: str = ""


def routes(path: Path, begun: Sequence[Event], after: Callable[[int], Sequence[Event]]) -> dict[int, Routed]:
    """Lay a path's steps beside the lookups, by the steps' numbers. `begun` are those before it crosses any device, `after` gives
    those that follow where a step was seen, by its number.
    """
    seen, asked = begun, list[tuple[Step, Sequence[Event]]]()
    for hop in path.hops:
        for step in hop.steps:
            if isinstance(step.what, (Encap, Receive, Transmit)):
                seen = after(step.seq)
            elif isinstance(step.what, RouteLookup):
                asked.append((step, seen))
    often = Counter(id(lookups) for _, lookups in asked)
    found = {step.seq: _routed(step, lookups, often[id(lookups)] == 1) for step, lookups in asked}
    return {seq: one for seq, one in found.items() if one is not None}


def _routed(step: Step, seen: Sequence[Event], alone: bool) -> Routed | None:
    """Lay a step beside lookups of its packet, in their order; None where none is of it, or nothing can be compared.

    `alone`: it is the only step that they may be of, so the last of them decided it.
    """
    what = step.what
    if not isinstance(what, RouteLookup) or (what.action not in _FOUND and what.cause not in _ERRORS):
        return None
    mine = [
        (event, event.lookup)
        for event in seen
        if event.lookup is not None and _is_of(event.lookup, what, step.packet)
    ]
    said = [(event, _difference(lookup, what, step.packet)) for event, lookup in mine]
    if not said:
        return None
    agreeing = next((event for event, why in reversed(said) if not why), None)
    if agreeing is not None and (not alone or agreeing is said[-1][0]):
        return Routed(agreeing)
    return Routed(*said[-1]) if alone else None


def _is_of(lookup: Lookup, what: RouteLookup, packet: Packet) -> bool:
    """Tell whether a lookup asks for a packet: for one that comes in by its device, for the host's own before it may have a source."""
    if lookup.dst != format_ip(packet.dst):
        return False
    if what.asked == "in":
        return lookup.src == format_ip(packet.src) and lookup.iif != LOOPBACK_IFINDEX
    return lookup.src in (format_ip(packet.src), *_ANY) and lookup.iif == LOOPBACK_IFINDEX


def _difference(lookup: Lookup, what: RouteLookup, packet: Packet) -> str:
    if what.action not in _FOUND:
        if lookup.error in _ERRORS[what.cause]:
            return ""
        return f"the lookup {_ended(lookup)}"
    if lookup.error:
        return f"the lookup in table {lookup.table} {_ended(lookup)}"
    table = what.route.table_id if what.route is not None else lookup.table
    if table != lookup.table and not (not packet.ipv6 and {table, lookup.table} <= _MERGED):
        return f"table {lookup.table} answered: dev {lookup.dev}"
    devs = what.devs if what.choices > 1 or not what.oif else (what.oif,)
    if devs and lookup.dev not in devs:
        return f"the lookup {_ended(lookup)}"
    gateway = what.nexthop.gateway if what.nexthop is not None else b""
    if what.action == "via" and what.choices == 1 and lookup.gateway != format_ip(gateway):
        return f"the lookup found another next hop than {format_ip(gateway)}"
    return ""


def _ended(lookup: Lookup) -> str:
    return f"ended with error {lookup.error}" if lookup.error else f"found dev {lookup.dev}"
