"""Which probe a frame belongs to: told by the cookie in its payload, or by TCP's sequence numbers.

What is recognised: a probe (a SYN, a datagram or an echo request with a cookie), its answer (SYN+ACK, reset, the
cookie sent back, or a datagram to the probe's own port), and an ICMP error that quotes it; in VXLAN and Geneve (by any
port: a rule may have changed it), in GRE, and in IP (IPIP, SIT) too.

Source: RFC 7348, section 5; RFC 8926, section 3.4; RFC 2784 and RFC 2890.
"""

from __future__ import annotations

import struct

import msgspec

from netviz.core.model.addr import format_ip

FORWARD, REPLY = b"nvF", b"nvR"
COOKIE_BYTES = 8
VXLAN_FLAGS = b"\x08\0\0\0"
ETHERNET = b"\x65\x58"  # Ethernet frames, as an EtherType: within Geneve and GRE
IPIP, SIT, GRE = 4, 41, 47
_ETHERTYPES = (b"\x08\x00", b"\x86\xdd")
_ICMP, _TCP, _UDP, _ICMPV6, _FRAGMENT = 1, 6, 17, 58, 44
_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE, _GRE_OTHER = 0x8000, 0x2000, 0x1000, 0x4FFF
_REDIRECT = 5
_SYN, _RST, _ACK = 2, 4, 16


def cookie(direction: bytes, number: int) -> bytes:
    """Make the first bytes of a probe's or an answer's payload."""
    return direction + f"{number:05d}".encode()


class Frame(msgspec.Struct):
    """What a frame says. `kind` is "forward", "reply" or "error"; `number` the probe's, -1 when TCP's `seq` tells.

    Of an `encapsulated` one the headers are those of the packet within, where that could be read.
    """

    kind: str
    number: int
    src: str
    dst: str
    proto: int
    sport: int = 0
    dport: int = 0
    ttl: int = 0
    length: int = 0
    tos: int = 0
    seq: int = -1
    type: int = -1
    code: int = -1
    flags: int = 0
    encapsulated: bool = False
    smac: bytes = b""
    dmac: bytes = b""


class _Ip(msgspec.Struct):
    """An IP header, and what follows it."""

    src: str
    dst: str
    proto: int
    ttl: int
    length: int
    tos: int
    body: bytes


def outer_frame(data: bytes, kind: str, number: int) -> Frame | None:
    """Read a packet of which is known by other means that it is a probe's; None where it has no IP header."""
    ip = _ip(data)
    if ip is None:
        return None
    return Frame(
        kind,
        number,
        ip.src,
        ip.dst,
        ip.proto,
        ttl=ip.ttl,
        length=ip.length,
        tos=ip.tos,
        encapsulated=_carried(ip) is not None,
    )


def _ip(data: bytes) -> _Ip | None:
    """Take an IP header off; None for a later fragment or what is no IP packet."""
    if len(data) < 20:
        return None
    if data[0] >> 4 == 4:
        if struct.unpack_from("!H", data, 6)[0] & 0x1FFF:
            return None
        length = struct.unpack_from("!H", data, 2)[0]
        return _Ip(
            format_ip(data[12:16]),
            format_ip(data[16:20]),
            data[9],
            data[8],
            length,
            data[1],
            data[(data[0] & 15) * 4 :],
        )
    if data[0] >> 4 != 6 or len(data) < 40:
        return None
    proto, body = data[6], data[40:]
    if proto == _FRAGMENT:
        if struct.unpack_from("!H", body, 2)[0] & 0xFFF8:
            return None
        proto, body = body[0], body[8:]
    length = 40 + struct.unpack_from("!H", data, 4)[0]
    tos = struct.unpack_from("!H", data, 0)[0] >> 4 & 0xFF
    return _Ip(format_ip(data[8:24]), format_ip(data[24:40]), proto, data[7], length, tos, body)


def _cookie(payload: bytes) -> tuple[str, int] | None:
    if payload[:3] not in (FORWARD, REPLY) or not payload[3:COOKIE_BYTES].isdigit():
        return None
    return "forward" if payload[:3] == FORWARD else "reply", int(payload[3:COOKIE_BYTES])


class Answers(msgspec.Struct, frozen=True):
    """How the answers to a datagram are known, whatever is in them: by the port that was chosen for it. `number` is the probe's."""

    port: int
    number: int


def parse_frame(data: bytes, answers: Answers | None = None) -> Frame | None:
    """Read an Ethernet frame; None when it belongs to no probe."""
    if len(data) < 34 or data[12:14] not in _ETHERTYPES:
        return None
    frame = _packet(data[14:], answers)
    if frame is not None:
        frame.dmac, frame.smac = data[0:6], data[6:12]
    return frame


def _packet(data: bytes, answers: Answers | None) -> Frame | None:
    ip = _ip(data)
    if ip is None:
        return None
    carried = _carried(ip)
    if carried is None:
        return _transport(ip, answers)
    ethertype, body = carried
    inner = parse_frame(body, answers) if ethertype == ETHERNET else _packet(body, answers)
    if inner is not None:
        inner.encapsulated = True
    return inner


def _carried(ip: _Ip) -> tuple[bytes, bytes] | None:
    """Return the EtherType of what a tunnel's packet carries, and that; None where it is no tunnel's."""
    body = ip.body
    if ip.proto in (IPIP, SIT):
        return _ETHERTYPES[ip.proto == SIT], body
    if len(body) < 16:
        return None
    if ip.proto == _UDP:
        if body[8:12] == VXLAN_FLAGS:
            return ETHERNET, body[16:]
        options = body[8] * 4  # its first bits are the version, 0
        return (ETHERNET, body[16 + options :]) if body[8] < 64 and body[10:12] == ETHERNET else None
    flags = struct.unpack_from("!H", body)[0]
    if ip.proto != GRE or flags & _GRE_OTHER or body[2:4] not in (ETHERNET, *_ETHERTYPES):
        return None
    fields = sum(bool(flags & one) for one in (_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE))
    return body[2:4], body[4 + 4 * fields :]


def _transport(ip: _Ip, answers: Answers | None) -> Frame | None:
    body = ip.body
    if len(body) < 8:
        return None
    sport, dport = struct.unpack_from("!HH", body)
    base = Frame("", -1, ip.src, ip.dst, ip.proto, sport, dport, ip.ttl, ip.length, ip.tos)
    if ip.proto == _UDP:
        found = _cookie(body[8:])
        if found is None and answers is not None and dport == answers.port:
            found = "reply", answers.number
    elif ip.proto == _TCP:
        return _tcp(base, body)
    elif ip.proto in (_ICMP, _ICMPV6):
        return _icmp(base, body)
    else:
        return None
    if found is None:
        return None
    base.kind, base.number = found
    return base


def _tcp(base: Frame, body: bytes) -> Frame | None:
    if len(body) < 14:
        return None
    seq, ack = struct.unpack_from("!II", body, 4)
    base.flags = body[13]
    if base.flags & (_SYN | _ACK) == _SYN:
        base.kind, base.seq = "forward", seq
    elif base.flags & _RST or base.flags & (_SYN | _ACK) == _SYN | _ACK:
        base.kind, base.seq = "reply", (ack - 1) & 0xFFFFFFFF
    else:
        return None
    return base


def _icmp(base: Frame, body: bytes) -> Frame | None:
    base.type, base.code = body[0], body[1]
    base.sport, base.dport = struct.unpack_from("!H", body, 4)[0], 0
    echo, answer = (8, 0) if base.proto == _ICMP else (128, 129)
    if base.type in (echo, answer):
        found = _cookie(body[8:])
        if found is None:
            return None
        base.kind, base.number = "forward" if base.type == echo else "reply", found[1]
        return base
    if base.proto == _ICMPV6 and base.type >= 128:
        return None
    if base.proto == _ICMP and base.type == _REDIRECT:
        return None
    quoted = _ip(body[8:])
    if quoted is None or len(quoted.body) < 8:
        return None
    base.kind, base.sport = "error", 0
    if quoted.proto == _TCP:
        # What a reset or a SYN+ACK quotes is its own sequence number: only SYNs are known by theirs.
        base.seq = struct.unpack_from("!I", quoted.body, 4)[0]
        return base
    found = _cookie(quoted.body[8:])
    if quoted.proto in (_ICMP, _ICMPV6) and quoted.body[0] in (0, 129):
        return None
    if found is None or found[0] != "forward":
        return None  # an error about an answer is nothing that a prediction speaks of
    base.number = found[1]
    return base
