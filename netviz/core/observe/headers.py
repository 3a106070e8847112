"""The headers of any packet, as far as they say whose flow it is."""

from __future__ import annotations

import struct
from collections.abc import Collection

import msgspec

from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, TH_ACK

_FRAGMENT, _SCTP = 44, 132
_WITH_PORTS = (IPPROTO_TCP, IPPROTO_UDP, _SCTP)


class Headers(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A packet's flow: addresses packed; of ICMP, `sport` is an echo's identifier and `dport` type << 8 | code.

    `flags` are TCP's. A later fragment has no ports.
    """

    proto: int
    src: bytes
    dst: bytes
    sport: int = 0
    dport: int = 0
    flags: int = 0

    @property
    def answers(self) -> bool:
        """Whether it is rather of an answer, by the ports: the lower one is a service's, 0 one that isn't told; or TCP's SYN+ACK."""
        if self.proto == IPPROTO_TCP and self.flags & 0x12 == 0x12:
            return True
        return self.proto in _WITH_PORTS and (0 < self.sport < self.dport or self.dport == 0 < self.sport)

    @property
    def begins(self) -> bool:
        """Whether it may be the first of its flow: of TCP a SYN."""
        return self.proto != IPPROTO_TCP or not self.flags & TH_ACK


def flags_text(headers: Headers) -> str:
    """Name TCP's flags, "" of other protocols."""
    if headers.proto != IPPROTO_TCP:
        return ""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
    return "+".join(name for bit, name in enumerate(names) if headers.flags >> bit & 1)


def parse_headers(data: bytes) -> Headers | None:
    """Read from the IP header on; None where that can't be read."""
    if len(data) < 20:
        return None
    if data[0] >> 4 == 4:
        src, dst, proto = data[12:16], data[16:20], data[9]
        body = b"" if data[6] & 0x1F or data[7] else data[(data[0] & 15) * 4 :]
    elif data[0] >> 4 == 6 and len(data) >= 40:
        src, dst, proto, body = data[8:24], data[24:40], data[6], data[40:]
        if proto == _FRAGMENT and len(body) >= 8:
            later = struct.unpack_from("!H", body, 2)[0] & 0xFFF8
            proto, body = body[0], b"" if later else body[8:]
    else:
        return None
    if proto in _WITH_PORTS and len(body) >= 4:
        sport, dport = struct.unpack_from("!HH", body)
        flags = body[13] if proto == IPPROTO_TCP and len(body) > 13 else 0
        return Headers(proto, src, dst, sport, dport, flags)
    if proto in (IPPROTO_ICMP, IPPROTO_ICMPV6) and len(body) >= 8:
        ident = struct.unpack_from("!H", body, 4)[0] if body[0] in (0, 8, 128, 129) else 0
        return Headers(proto, src, dst, ident, body[0] << 8 | body[1])
    return Headers(proto, src, dst)


_VXLAN = b"\x08\0\0\0"
_UDP_BYTES, _VXLAN_BYTES, _ETHERNET_BYTES = 8, 8, 14


def is_between(data: bytes, addrs: Collection[bytes]) -> bool:
    """Tell whether a packet, or the one within VXLAN, is from one of some addresses to another. `data` begins at the IP header."""
    headers = parse_headers(data)
    if headers is None:
        return False
    if headers.src in addrs and headers.dst in addrs:
        return True
    start = _within(data)
    return start is not None and is_between(data[start:], addrs)


def headers_end(data: bytes) -> int:
    """Return where the headers of a packet end, from its IP header on: of one within VXLAN, its own."""
    start = _within(data)
    if start is not None:
        return start + headers_end(data[start:])
    proto, start = transport_of(data)
    if proto == IPPROTO_TCP and len(data) > start + 12:
        return min(len(data), start + (data[start + 12] >> 4) * 4)
    return min(len(data), start + 8)


def transport_of(data: bytes) -> tuple[int, int]:
    """Return the protocol that an IP header names, and where it begins."""
    if data[:1] and data[0] >> 4 == 6:
        return (data[6], 40) if len(data) >= 40 else (-1, len(data))
    return (data[9], (data[0] & 15) * 4) if len(data) >= 20 else (-1, len(data))


def innermost(data: bytes) -> bytes:
    """Return a packet from its IP header on, of one within VXLAN from its own."""
    start = _within(data)
    return data if start is None else innermost(data[start:])


def _within(data: bytes) -> int | None:
    """Return where the IP header within VXLAN begins, None where there is none."""
    proto, start = transport_of(data)
    if proto != IPPROTO_UDP or data[start + _UDP_BYTES : start + _UDP_BYTES + 4] != _VXLAN:
        return None
    inner = start + _UDP_BYTES + _VXLAN_BYTES + _ETHERNET_BYTES
    return inner if len(data) >= inner + 20 and data[inner - 2 : inner] in (b"\x08\0", b"\x86\xdd") else None
