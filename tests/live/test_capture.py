"""Packets captured on the kernel: where they are, only what is asked for of them, within bounds."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from agents.kernel import Kernel
from agents.observers.capture import Capturing
from agents.observers.session import opened
from netviz.core.model.addr import pack_ip
from netviz.core.observe.headers import parse_headers
from netviz.core.observe.orders import Capture, Point
from netviz.core.observe.pcapng import Captured
from tests.live.node_rig import Node
from tests.live.observed_cases import P2, network
from tests.live.test_drop_watch import OUT, P1, send

pytestmark = pytest.mark.live

PATIENCE_S = 30.0
ADDRS = frozenset((pack_ip(P1), pack_ip(P2)))


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with network() as up:
        yield up


def captured(node: Node, count: int, full: bool = False, most: int = 1000) -> list[Captured]:
    """Capture at p1's and p2's devices, and at one that isn't there, while p1 sends to p2 and elsewhere."""
    with opened(node.options(), Kernel()) as handles:
        places = {ns.name: str(ns.key) for ns in handles}
        points = (
            Point(0, places["p1"], "eth0"),
            Point(1, places["p2"], "eth0"),
            Point(2, places["p1"], "none0"),
        )
        order = Capture(points, 60.0, most, 1 << 20, ADDRS, full)
        with closing(Capturing(node.base, handles, order)) as capturing:
            send(node, P2, 5353)
            send(node, OUT, 5353)
            found: list[Captured] = []
            is_full = False
            limit = time.monotonic() + PATIENCE_S
            while len(datagrams(found)) < min(count, most) and not is_full and time.monotonic() < limit:
                report = capturing.read(0.05)
                found += report.packets
                is_full = report.full
            assert "none0" in report.sources[0].missing
            assert report.full is (len(found) >= most)
    return found


def datagrams(found: list[Captured]) -> list[Captured]:
    """Leave out the ICMP errors of a sender that has gone before its answer."""
    return [one for one in found if one.data[14 + 9] == socket.IPPROTO_UDP]


def test_headers_only_unless_asked_for(node: Node) -> None:
    """Datagrams of p1 leave its device and come in at p2's, which answers; nothing else is captured."""
    everything = captured(node, 12)
    found = datagrams(everything)
    sent = [one for one in found if (one.interface, one.out) == (0, True)]
    received = [one for one in found if (one.interface, one.out) == (1, False)]
    assert (len(sent), len(received)) == (3, 3)
    for one in everything:
        headers = parse_headers(one.data[14:])
        assert headers is not None
        assert {headers.src, headers.dst} == ADDRS
    for one in found:
        assert (len(one.data), one.length) == (14 + 28, 14 + 28 + 32)
    whole = datagrams(captured(node, 12, full=True))
    assert {len(one.data) for one in whole} == {14 + 28 + 32}


def test_it_ends_at_its_bound(node: Node) -> None:
    assert len(captured(node, 5, most=5)) == 5
