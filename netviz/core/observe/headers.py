"""The headers of any packet, as far as they say whose flow it is."""

from __future__ import annotations

import struct

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
