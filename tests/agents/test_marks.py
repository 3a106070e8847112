"""The bytes by which rules know a probe, beside the reading of whole frames: both say the same of every packet, plain or in a tunnel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product

import pytest

from agents.observers.marks import Mark, marks
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.frame import FORWARD, REPLY, Answers, cookie, parse_frame
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Flow

PORT, OTHER_PORT, NUMBER = 4000, 4001, 7
SYN, SYN_ACK, RST_ACK, ACK, FIN_ACK = 0x02, 0x12, 0x14, 0x10, 0x11
MACS = bytes(12)
NETNS = NetnsKey("n", 1, 1)


def ip(v6: bool, src: bytes, dst: bytes, proto: int, body: bytes) -> bytes:
    if v6:
        return struct.pack("!IHBB", 6 << 28, len(body), proto, 64) + src + dst + body
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, proto, 0) + src + dst + body


def tcp(sport: int, dport: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, dport, 99, 100, 0x50, flags, 0, 0, 0)


def udp(sport: int, dport: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def icmp(kind: int, code: int, payload: bytes, ident: int = 0) -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, ident, 0) + payload


def ethernet(packet: bytes) -> bytes:
    return MACS + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\0") + packet


def wrapped(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """The outer protocol and what follows the outer IP header, of each kind of tunnel."""
    frame = ethernet(packet)
    ethertype = frame[12:14]
    yield IPPROTO_UDP, udp(1, 8472, b"\x08\0\0\0\0\0\1\0" + frame)
    yield IPPROTO_UDP, udp(1, 6081, b"\0\0\x65\x58\0\0\1\0" + frame)
    yield (41 if packet[0] >> 4 == 6 else 4), packet
    yield 47, b"\0\0" + ethertype + packet
    yield 47, b"\x20\0" + ethertype + b"keyk" + packet
    yield 47, b"\0\0\x65\x58" + frame
    yield 47, b"\x20\0\x65\x58keyk" + frame


def said(wanted: list[Mark], proto: int, transport: bytes) -> str | None:
    """What the first mark that has all its parts says; None where none has."""

    def has(mark: Mark) -> bool:
        parts = mark.parts
        return mark.proto == proto and all(transport[one.offset :].startswith(one.value) for one in parts)

    return next((mark.says for mark in wanted if has(mark)), None)


Body = tuple[bytes, bytes, int, bytes, str | None]


def packets(v6: bool, proto: int) -> Iterator[Body]:
    """Packets of the probe's two ends and of a neighbour of its sender: source, destination, protocol, body, what is expected."""
    here, there, other = (bytes(15) + bytes([n]) if v6 else bytes([10, 0, 0, n]) for n in (1, 2, 3))
    for mine, number, port in product((here, other), (NUMBER, 8), (PORT, OTHER_PORT)):
        ask, answer = cookie(FORWARD, number), cookie(REPLY, number)
        by_port, by_cookie = (mine, port) == (here, PORT), number == NUMBER
        by = by_port if proto == IPPROTO_TCP else by_cookie
        forward, reply, error = ("forward", "reply", "error") if by else (None, None, None)
        if proto == IPPROTO_TCP:
            for flags, kind in ((SYN, forward), (SYN | 0xC0, forward), (ACK, None), (FIN_ACK, None)):
                yield mine, there, proto, tcp(port, 80, flags), kind
            for flags, kind in ((SYN_ACK, reply), (RST_ACK, reply), (ACK, None), (FIN_ACK, None)):
                yield there, mine, proto, tcp(80, port, flags), kind
            sent = tcp(port, 80, SYN)
        elif proto == IPPROTO_UDP:
            yield mine, there, proto, udp(port, 53, ask), forward
            yield there, mine, proto, udp(53, port, answer), "reply" if by_cookie or by_port else None
            yield there, mine, proto, udp(53, port, b"something else"), "reply" if by_port else None
            sent = udp(port, 53, ask)
        else:
            echo, back = (128, 129) if v6 else (8, 0)
            yield mine, there, proto, icmp(echo, 0, ask, port), forward
            yield there, mine, proto, icmp(back, 0, ask, port), reply
            yield there, mine, proto, icmp(back, 0, answer, port), reply
            sent = icmp(echo, 0, ask, port)
        control = IPPROTO_ICMPV6 if v6 else IPPROTO_ICMP
        yield there, mine, control, icmp(1 if v6 else 3, 1, ip(v6, mine, there, proto, sent)), error


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
def test_marks_and_frames_say_the_same(v6: bool, proto: str) -> None:
    """Of the probe's own packets; of a TCP probe without its sequence number, another sender's isn't taken for it."""
    number = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP, "icmp": IPPROTO_ICMPV6 if v6 else IPPROTO_ICMP}[proto]
    found = list(packets(v6, number))
    here, there = found[0][:2]
    wanted = marks(Flow(NETNS, here, there, number), PORT, NUMBER)
    answers = Answers(PORT, NUMBER) if proto == "udp" else None
    for src, dst, inner_proto, body, expected in found:
        inner = ip(v6, src, dst, inner_proto, body)
        plain = parse_frame(ethernet(inner), answers)
        for outer_proto, transport in wrapped(inner):
            assert said(wanted, outer_proto, transport) == expected, (src, dst, body)
            frame = parse_frame(ethernet(ip(False, bytes(4), bytes(4), outer_proto, transport)), answers)
            assert (frame and frame.kind) == (plain and plain.kind)
            assert frame is None or frame.encapsulated
        if expected is not None:
            assert plain is not None
            assert plain.kind == expected
        if expected == "error":
            assert said(wanted, inner_proto, body) == "error"
    assert {one[4] for one in found} == {"forward", "reply", "error", None}
