"""Captured packets followed from device to device, and what was sent again."""

from __future__ import annotations

import struct

from netviz.core.model.addr import pack_ip
from netviz.core.observe.headers import Headers, flags_text
from netviz.core.observe.heard import Crossed, follow
from netviz.core.observe.pcapng import Captured

A, SERVICE, B = pack_ip("10.0.0.1"), pack_ip("10.96.0.1"), pack_ip("10.0.0.2")
ETHERNET = bytes(12) + b"\x08\0"


def ip4(proto: int, body: bytes, dst: bytes = B, ident: int = 1) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), ident, 0, 64, proto, 0, A, dst) + body


def tcp(seq: int, flags: int = 2, payload: bytes = b"") -> bytes:
    return struct.pack("!HHIIBB", 40000, 80, seq, 0, 0x50, flags) + bytes(6) + payload


def seen(interface: int, at_ns: int, out: bool, packet: bytes) -> Captured:
    return Captured(interface, at_ns, out, len(packet) + 14, ETHERNET + packet)


def test_a_packet_is_known_again_after_translation() -> None:
    first, translated = ip4(6, tcp(7), SERVICE), ip4(6, tcp(7), B, 1)
    other = ip4(6, tcp(8))
    heard = follow(
        [
            seen(1, 20, False, first),
            seen(2, 30, True, translated),
            seen(0, 10, True, first),
            seen(0, 15, True, other),
        ],
        10,
    )
    assert [way.crossed for way in heard.ways] == [
        (Crossed(0, 10, True), Crossed(1, 20, False), Crossed(2, 30, True)),
        (Crossed(0, 15, True),),
    ]
    assert heard.ways[0].headers.dst == SERVICE
    assert (heard.again, heard.unfollowed) == (0, 0)


def test_what_is_sent_again() -> None:
    """A SYN that isn't answered: twice at the sender's device, and once more at the next."""
    syn = ip4(6, tcp(7))
    heard = follow([seen(0, at, True, syn) for at in (10, 1000, 3000)] + [seen(1, 12, False, syn)], 10)
    assert [(way.again, len(way.crossed)) for way in heard.ways] == [(2, 2)]
    assert heard.again == 2
    data, ack = ip4(6, tcp(7, 0x10, b"abc")), ip4(6, tcp(7, 0x10))
    assert len(follow([seen(0, 1, True, data), seen(0, 2, True, ack)], 10).ways) == 2
    # Duplicate acknowledgements are several packets, of which none was sent again.
    assert follow([seen(0, at, True, ack) for at in (1, 2, 3)], 10).again == 0


def test_what_cannot_be_known_again_is_counted() -> None:
    udp = struct.pack("!HHHH", 40000, 53, 8, 0)
    heard = follow([seen(0, 1, True, ip4(17, udp, ident=0)), seen(0, 2, True, ip4(17, udp, ident=5))], 10)
    assert (len(heard.ways), heard.unfollowed) == (1, 1)
    assert follow([seen(0, 1, True, b"\x45")], 10).unfollowed == 1


def test_the_first_are_told() -> None:
    heard = follow([seen(0, 100 - seq, True, ip4(6, tcp(seq))) for seq in range(5)], 2)
    assert [way.crossed[0].at_ns for way in heard.ways] == [96, 97]


def test_within_vxlan() -> None:
    inner = ip4(6, tcp(7))
    vxlan = struct.pack("!HHHH", 50000, 8472, 0, 0) + b"\x08\0\0\0" + bytes(4) + ETHERNET + inner
    heard = follow([seen(0, 1, True, inner), seen(1, 2, True, ip4(17, vxlan, ident=99))], 10)
    assert [len(way.crossed) for way in heard.ways] == [2]


def test_flags() -> None:
    assert flags_text(Headers(6, A, B, 1, 2, 0x12)) == "SYN+ACK"
    assert flags_text(Headers(17, A, B, 1, 2)) == ""
