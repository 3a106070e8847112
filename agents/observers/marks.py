"""By which bytes nftables' rules know a probe, its answer, and errors about it: plain, and within a tunnel's packet.

The cookie says it for certain; a TCP probe has none. Its port alone may be another's: in the open a message's sequence number
decides then, in a tunnel, of which messages show too little, the sender's address beside its port, which nobody else has. So
what is translated before it is wrapped isn't known in there.

Tunnels whose packets are looked into: VXLAN and Geneve without options, by any port; GRE with and without key; IP in IP.

Source: RFC 7348, 8926, 2784, 2890, 2003, 4213.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from netviz.core.observe.frame import ETHERNET, FORWARD, GRE, IPIP, REPLY, SIT, VXLAN_FLAGS, cookie
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Flow

Says = Literal["", "forward", "reply", "error"]
_ETHERNET_BYTES = 14
# Flags of TCP, with and without those of ECN. Whole bytes: nft 1.0.6 can't list rules that compare some bits of a tunnel's.
_SYN, _ANSWER = (b"\x02", b"\xc2"), (b"\x12", b"\x52", b"\x14", b"\x04")


class Part(msgspec.Struct, frozen=True):
    """Bytes at an offset of the transport header."""

    offset: int
    value: bytes


class Mark(msgspec.Struct, frozen=True):
    """What a rule looks for: parts that all are there, of a protocol. `says` what it is, "" where the headers say it."""

    proto: int
    parts: tuple[Part, ...]
    says: Says = ""


class _Tunnel(msgspec.Struct, frozen=True):
    """How a tunnel's packet is known, and where the IP header within begins, from the outer transport header on."""

    proto: int
    parts: tuple[Part, ...]
    at: int


def marks(flow: Flow, sport: int, number: int) -> list[Mark]:
    """Return the marks of a probe: `sport` is its port or echo identifier, `number` stands in its cookie."""
    port = sport.to_bytes(2, "big")
    if flow.proto == IPPROTO_TCP:
        plain = [Mark(flow.proto, (Part(offset, port),)) for offset in (0, 2)]
    else:
        cookies = [cookie(direction, number) for direction in (FORWARD, REPLY)]
        plain = [Mark(flow.proto, (Part(8, value),)) for value in cookies]
        if flow.proto == IPPROTO_UDP:
            plain.append(Mark(flow.proto, (Part(2, port),)))
    inner = _Inner(flow, port, number)
    error, is_v6 = inner.error(0), len(flow.dst) == 16
    return [
        *plain,
        Mark(inner.icmp, error, "error"),
        *(
            Mark(tunnel.proto, (*tunnel.parts, *parts), says)
            for tunnel in _tunnels(is_v6)
            for says, parts in inner.wrapped(tunnel.at)
        ),
    ]


def _tunnels(is_v6: bool) -> Iterator[_Tunnel]:
    ethertype = b"\x86\xdd" if is_v6 else b"\x08\x00"
    udp = 16 + _ETHERNET_BYTES
    yield _Tunnel(IPPROTO_UDP, (Part(8, VXLAN_FLAGS),), udp)
    yield _Tunnel(IPPROTO_UDP, (Part(8, b"\0"), Part(10, ETHERNET)), udp)
    yield _Tunnel(SIT if is_v6 else IPIP, (), 0)
    for flags, length in ((b"\0\0", 4), (b"\x20\0", 8)):
        yield _Tunnel(GRE, (Part(0, flags + ethertype),), length)
        yield _Tunnel(GRE, (Part(0, flags + ETHERNET),), length + _ETHERNET_BYTES)


class _Inner:
    """The parts of a probe's packets where their IP header begins at an offset, without options."""

    def __init__(self, flow: Flow, port: bytes, number: int) -> None:
        is_v6 = len(flow.dst) == 16
        self.icmp = IPPROTO_ICMPV6 if is_v6 else IPPROTO_ICMP
        self._flow, self._port, self._number = flow, port, number
        self._header = 40 if is_v6 else 20
        self._src, self._dst = (8, 24) if is_v6 else (12, 16)
        self._protocol = 6 if is_v6 else 9
        self._is_v6 = is_v6

    def wrapped(self, at: int) -> Iterator[tuple[Says, tuple[Part, ...]]]:
        """Yield what the probe, its answers and errors about it are known by in a tunnel, those first that are sure."""
        flow, transport = self._flow, at + self._header
        to_sender = Part(at + self._dst, flow.src), Part(transport + 2, self._port)
        yield "error", (*self._ip(at, self.icmp), *self.error(transport))
        of_proto = self._ip(at, flow.proto)
        if flow.proto == IPPROTO_TCP:
            from_sender = Part(at + self._src, flow.src), Part(transport, self._port)
            for flags in _SYN:
                yield "forward", (*of_proto, *from_sender, Part(transport + 13, flags))
            for flags in _ANSWER:
                yield "reply", (*of_proto, *to_sender, Part(transport + 13, flags))
            return
        if flow.proto == IPPROTO_UDP:
            yield "reply", (*of_proto, *to_sender)
        else:
            answer = b"\x81" if flow.proto == IPPROTO_ICMPV6 else b"\0"
            echoed = Part(transport + 8, cookie(FORWARD, self._number))
            yield "reply", (*of_proto, Part(transport, answer), echoed)
        yield "reply", (*of_proto, Part(transport + 8, cookie(REPLY, self._number)))
        yield "forward", (*of_proto, Part(transport + 8, cookie(FORWARD, self._number)))

    def _ip(self, at: int, proto: int) -> tuple[Part, ...]:
        length = () if self._is_v6 else (Part(at, b"\x45"),)
        return *length, Part(at + self._protocol, bytes([proto]))

    def error(self, transport: int) -> tuple[Part, ...]:
        """Return the parts of an ICMP error that quotes the probe, whose transport header begins at an offset."""
        quoted = transport + 8
        proto = Part(quoted + self._protocol, bytes([self._flow.proto]))
        if self._flow.proto == IPPROTO_TCP:
            src = Part(quoted + self._src, self._flow.src)
            return proto, src, Part(quoted + self._header, self._port)
        # an error about an echoed answer has the cookie too, and is about the other way
        ask = b"\x80" if self._flow.proto == IPPROTO_ICMPV6 else b"\x08"
        is_request = () if self._flow.proto == IPPROTO_UDP else (Part(quoted + self._header, ask),)
        return proto, *is_request, Part(quoted + self._header + 8, cookie(FORWARD, self._number))
