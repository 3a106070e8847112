"""Conntrack messages made by hand: the short way and the general way say the same, and broken ones are refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.netlink.conntrack import Interner, parse_count, parse_entry
from agents.netlink.nfnetlink import nfgenmsg, text_attr
from agents.netlink.wire import BadMessage, attr
from netviz.core.model.conntrack import CtEntry

NESTED = 0x8000


def tuple_(kind: int, src: bytes, dst: bytes, proto: int, sport: int, dport: int, *more: bytes) -> bytes:
    first = 1 if len(src) == 4 else 3
    ip = attr(1 | NESTED, attr(first, src) + attr(first + 1, dst))
    ports = attr(2, sport.to_bytes(2, "big")) + attr(3, dport.to_bytes(2, "big"))
    return attr(kind | NESTED, ip + attr(2 | NESTED, attr(1, bytes([proto])) + ports) + b"".join(more))


A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
ports = st.integers(0, 0xFFFF)
addresses = st.binary(min_size=4, max_size=4)


@given(addresses, addresses, st.sampled_from([6, 17, 132]), ports, ports, ports)
def test_both_ways_of_reading_agree(
    src: bytes, dst: bytes, proto: int, sport: int, dport: int, nat: int
) -> None:
    orig = tuple_(1, src, dst, proto, sport, dport)
    reply = tuple_(2, dst, src, proto, nat, sport)
    tail = attr(3, (14).to_bytes(4, "big")) + attr(8, (0x4000).to_bytes(4, "big"))
    expected = CtEntry(proto, src, dst, sport, dport, dst, src, nat, sport, mark=0x4000, status=14)
    assert parse_entry(nfgenmsg(2) + orig + reply + tail, Interner()) == expected
    # A status before the tuples is a layout that the short way doesn't know.
    assert parse_entry(nfgenmsg(2) + tail + orig + reply, Interner()) == expected


def test_zones_helpers_and_states() -> None:
    body = (
        nfgenmsg(10)
        + tuple_(1, A * 4, B * 4, 6, 1, 2, attr(3, b"\0\7"))
        + tuple_(2, B * 4, A * 4, 6, 2, 1)
        + attr(4 | NESTED, attr(1 | NESTED, attr(1, b"\3")))
        + attr(5 | NESTED, text_attr(1, "ftp"))
    )
    entry = parse_entry(body, Interner())
    assert (entry.zone, entry.tcp_state, entry.helper, len(entry.osrc)) == (7, 3, "ftp", 16)
    assert parse_entry(body + attr(18, b"\0\x09"), Interner()).zone == 9


def test_icmpv6_and_protocols_without_ports() -> None:
    def icmp(kind: int, icmp_type: int) -> bytes:
        proto = attr(1, b"\x3a") + attr(7, b"\0\5") + attr(8, bytes([icmp_type])) + attr(9, b"\0")
        return attr(kind, attr(1, attr(3, A * 4) + attr(4, B * 4)) + attr(2, proto))

    entry = parse_entry(nfgenmsg(10) + icmp(1, 128) + icmp(2, 129), Interner())
    assert (entry.osport, entry.odport, entry.rdport) == (5, 128 << 8, 129 << 8)
    gre = attr(1, attr(1, attr(1, A) + attr(2, B)) + attr(2, attr(1, b"\x2f")))
    assert parse_entry(nfgenmsg(2) + gre, Interner()).proto == 47


@pytest.mark.parametrize(
    "body", [b"", nfgenmsg(2), nfgenmsg(2) + attr(3, b"\0\0\0\1"), nfgenmsg(2) + b"\2\0\1\0"]
)
def test_what_is_no_entry_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_entry(body, Interner())


@given(st.binary(max_size=150))
def test_broken_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    whole = nfgenmsg(2) + tuple_(1, A, B, 17, 1, 2) + tuple_(2, B, A, 17, 2, 1) + attr(3, b"\0\0\0\1")
    for bad in (data, whole[: len(data)], whole[:30] + data):
        try:
            parse_entry(bad, Interner())
        except (ValueError, LookupError, struct.error):
            continue


def test_the_interner_is_bounded() -> None:
    intern = Interner(limit=3)
    first = intern(bytes([1]) * 20)
    assert intern(bytes([1]) * 20) is first
    for value in range(10):
        intern(value)
    assert len(intern._known) <= 3


def test_the_count() -> None:
    assert parse_count(nfgenmsg() + attr(1, (119_998).to_bytes(4, "big"))) == 119_998
