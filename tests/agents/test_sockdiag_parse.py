"""sock_diag answers made by hand, and broken ones."""

from __future__ import annotations

import struct

import pytest

from agents.netlink.sockdiag import parse_socket, request, tcp_request
from agents.netlink.wire import BadMessage, attr
from netviz.core.model.socket import TCP_ESTABLISHED, TCP_LISTEN, Socket


def answer(family: int, state: int, sport: int, dport: int, src: bytes, dst: bytes) -> bytes:
    head = struct.pack(">4BHH16s16s", family, state, 0, 0, sport, dport, src, dst)
    return head + struct.pack("=IQ5I", 3, 99, 0, 0, 0, 1000, 4711)


def test_a_listener_and_a_connection() -> None:
    listener = parse_socket(answer(2, TCP_LISTEN, 80, 0, b"\n\0\0\1", b""), 6)
    assert listener == Socket(proto=6, src=b"\n\0\0\1", sport=80, ifindex=3, uid=1000, inode=4711, cookie=99)
    six = parse_socket(answer(10, TCP_ESTABLISHED, 1, 2, bytes(15) + b"\1", bytes(15) + b"\2"), 6)
    assert (six.dst, six.dport, six.v6only) == (bytes(15) + b"\2", 2, False)
    assert parse_socket(answer(10, TCP_LISTEN, 1, 0, bytes(16), bytes(16)) + attr(11, b"\1"), 6).v6only
    assert not listener.transparent
    plain = answer(2, TCP_LISTEN, 80, 0, b"", b"")
    assert parse_socket(plain + attr(22, bytes([1 << 5, 0])), 6).transparent  # struct inet_diag_sockopt
    assert not parse_socket(plain + attr(22, bytes([0xDF, 0xFF])), 6).transparent


@pytest.mark.parametrize("length", [0, 10, 71])
def test_what_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(BadMessage):
        parse_socket(answer(2, TCP_LISTEN, 80, 0, b"", b"")[:length], 6)


def test_requests_have_the_kernels_sizes() -> None:
    assert len(tcp_request(1)) == 60  # struct inet_diag_req
    assert len(request(2, 17, 1)) == 56  # struct inet_diag_req_v2
