"""WireGuard's generic netlink, on bytes as drivers/net/wireguard/netlink.c writes them: the tests' kernel has none."""

from __future__ import annotations

import socket
import struct

import msgspec

from agents.netlink.wire import Message, attr
from agents.netlink.wireguard import device_request, family_request, parse_device, parse_family
from netviz.core.model.addr import pack_ip
from netviz.core.model.link import WireguardInfo, WireguardPeer

GENL = struct.pack("=BBH", 0, 1, 0)
ONE, TWO, OWN, SECRET = b"\1" * 32, b"\2" * 32, b"\3" * 32, b"\4" * 32


def allowed(cidr: str) -> bytes:
    addr, length = cidr.split("/")
    packed = pack_ip(addr)
    family = socket.AF_INET6 if len(packed) == 16 else socket.AF_INET
    return attr(0x8000, attr(1, struct.pack("=H", family)) + attr(2, packed) + attr(3, bytes((int(length),))))


def peer(key: bytes, rest: bytes) -> bytes:
    return attr(0x8000, attr(1, key) + attr(2, bytes(32)) + rest)


def test_a_device_in_two_messages_with_a_peer_in_two_parts() -> None:
    endpoint4 = struct.pack("=H", 2) + struct.pack("!H", 51820) + pack_ip("192.0.2.1") + bytes(8)
    endpoint6 = struct.pack("=H", 10) + struct.pack("!HI", 51821, 0) + pack_ip("2001:db8::1") + bytes(4)
    head = attr(1, struct.pack("=I", 7)) + attr(2, b"wg0\0") + attr(3, SECRET) + attr(4, OWN)
    head += attr(6, struct.pack("=H", 51820)) + attr(7, struct.pack("=I", 0x20))
    first = peer(TWO, attr(4, endpoint4) + attr(9, allowed("10.2.0.0/16") + allowed("10.1.0.0/24")))
    more = peer(TWO, attr(9, allowed("fd00::/64"))) + peer(ONE, attr(4, endpoint6))
    messages = [Message(30, 2, GENL + head + attr(8, first)), Message(30, 2, GENL + attr(8, more))]
    info = parse_device(messages)
    prefixes = ((pack_ip("10.1.0.0"), 24), (pack_ip("10.2.0.0"), 16), (pack_ip("fd00::"), 64))
    assert info == WireguardInfo(
        51820,
        0x20,
        OWN,
        (
            WireguardPeer(ONE, pack_ip("2001:db8::1"), 51821),
            WireguardPeer(TWO, pack_ip("192.0.2.1"), 51820, prefixes),
        ),
    )
    assert OWN in msgspec.msgpack.encode(info)
    assert SECRET not in msgspec.msgpack.encode(info)


def test_a_peer_without_an_endpoint() -> None:
    info = parse_device([Message(30, 2, GENL + attr(6, b"\1\0") + attr(8, peer(ONE, b"")))])
    assert info.peers == (WireguardPeer(ONE),)


def test_requests_name_family_and_device() -> None:
    assert b"wireguard\0" in family_request()
    assert device_request(7).endswith(attr(1, struct.pack("=I", 7)))
    answer = Message(
        16, 0, struct.pack("=BBH", 1, 2, 0) + attr(2, b"wireguard\0") + attr(1, struct.pack("=H", 31))
    )
    assert parse_family(answer) == 31
