"""Which way captured packets went: the same packet is known again at each device, whatever its addresses are by then.

TCP's sequence numbers and flags tell a packet, of others IPv4's identification, as far as the sender gives one. What can't be
known again (IPv4 with identification 0, IPv6 but for TCP) isn't followed, and counted.

Source: RFC 9293, section 3.1; RFC 6864, section 4.1 (identification of what isn't fragmented has no meaning, and may be 0).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from netviz.core.observe.headers import Headers, innermost, parse_headers, transport_of
from netviz.core.observe.pcapng import Captured
from netviz.core.sim.packet import IPPROTO_TCP

ETHERNET_BYTES = 14
Ident = tuple[int, ...]
_SYN_FIN_RST = 0x07


class Crossed(msgspec.Struct, frozen=True, gc=False):
    """A packet at an interface, by its number; `at_ns` is of the clock of its node."""

    interface: int
    at_ns: int
    out: bool


class Way(msgspec.Struct, frozen=True):
    """One packet's way, in the order of time; `headers` as it was seen first. `again`: how often it was sent again."""

    headers: Headers
    crossed: tuple[Crossed, ...]
    again: int = 0


class Heard(msgspec.Struct, frozen=True):
    """The ways of packets, the first first; `again` counts all that was sent again, `unfollowed` the frames of packets that can't be known again."""

    ways: tuple[Way, ...]
    again: int
    unfollowed: int


def identity(data: bytes) -> Ident | None:
    """Return by what a packet is known again, from its IP header on; None where nothing tells."""
    proto, start = transport_of(data)
    if proto == IPPROTO_TCP and len(data) >= start + 14:
        seq, ack = struct.unpack_from("!II", data, start + 4)
        length = _length(data) - start - (data[start + 12] >> 4) * 4
        return proto, seq, ack, data[start + 13], length
    if data[:1] and data[0] >> 4 == 4 and len(data) >= 20:
        number = struct.unpack_from("!H", data, 4)[0]
        fragment = struct.unpack_from("!H", data, 6)[0] & 0x1FFF
        return (proto, number, _length(data), fragment) if number else None
    return None


def _length(data: bytes) -> int:
    """Return the length that an IP header says, with the header."""
    if data[0] >> 4 == 4:
        return int(struct.unpack_from("!H", data, 2)[0])
    return 40 + int(struct.unpack_from("!H", data, 4)[0])


def follow(packets: Iterable[Captured], most: int) -> Heard:
    """Follow captured packets; of more than `most` the ways of the first are told."""
    found: dict[Ident, tuple[Headers, list[Crossed]]] = {}
    unfollowed = 0
    for one in packets:
        data = innermost(one.data[ETHERNET_BYTES:])
        headers, ident = parse_headers(data), identity(data)
        if headers is None or ident is None:
            unfollowed += 1
            continue
        found.setdefault(ident, (headers, []))[1].append(Crossed(one.interface, one.at_ns, one.out))
    ways = [
        _way(headers, crossed, is_counted=not _is_bare_ack(ident))
        for ident, (headers, crossed) in found.items()
    ]
    ways.sort(key=lambda way: way.crossed[0].at_ns)
    return Heard(tuple(ways[:most]), sum(way.again for way in ways), unfollowed)


def _is_bare_ack(ident: Ident) -> bool:
    """Tell whether a packet acknowledges and no more: two that are equal are two, and neither was sent again."""
    return ident[0] == IPPROTO_TCP and len(ident) == 5 and not ident[3] & _SYN_FIN_RST and ident[4] == 0


def _way(headers: Headers, crossed: list[Crossed], *, is_counted: bool) -> Way:
    """Put crossings in order. What crosses the same device the same way again was sent again, if that `is_counted`."""
    ordered = sorted(crossed, key=lambda one: one.at_ns)
    first: dict[tuple[int, bool], Crossed] = {}
    counts: dict[tuple[int, bool], int] = {}
    for one in ordered:
        first.setdefault((one.interface, one.out), one)
        counts[one.interface, one.out] = counts.get((one.interface, one.out), 0) + 1
    return Way(headers, tuple(first.values()), max(counts.values()) - 1 if is_counted else 0)
