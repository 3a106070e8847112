"""Drops of other people's packets on the kernel: reason, place and flow, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from agents.kernel import Kernel
from agents.observers.dropwatch import DropWatch
from agents.observers.session import opened
from netviz.core.model.addr import pack_ip
from netviz.core.observe.drops import Group
from netviz.core.observe.orders import Drops, WatchDrops
from tests.live.node_rig import Node
from tests.live.observed_cases import P2, network

pytestmark = pytest.mark.live

OUT, P1 = "192.0.2.2", "10.244.0.3"
RULE = """table ip netviz-test {
 chain c {
 type filter hook forward priority 0
 udp dport 7777 drop
 }
}
"""
SEND = """
import socket, sys
for number in range(int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x" * 32, (sys.argv[1], int(sys.argv[2])))
"""
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with network() as up:
        nft = ["ip", "netns", "exec", up.root, "nft", "-f", "-"]
        subprocess.run(nft, input=RULE, text=True, check=True)
        yield up


def send(node: Node, addr: str, port: int, count: int = 3) -> None:
    """Send datagrams from p1, each from a socket of its own."""
    argv = ["ip", "netns", "exec", f"{node.base}-p1", sys.executable, "-c", SEND, addr, str(port), str(count)]
    subprocess.run(argv, check=True)


@contextmanager
def watching(node: Node, shared: frozenset[str] = frozenset()) -> Iterator[DropWatch]:
    with (
        opened(node.options(), Kernel()) as handles,
        closing(DropWatch(node.base, handles, WatchDrops(60.0, shared))) as watch,
    ):
        yield watch


def told(watch: DropWatch, is_it: Callable[[Group], bool], count: int) -> tuple[Group, Drops]:
    """Wait until a group has so many drops."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        watch.watch(0.05)
        report = watch.report()
        for group in report.groups:
            if is_it(group) and group.count >= count:
                return group, report
    raise AssertionError(watch.report())


def to(addr: str, port: int) -> Callable[[Group], bool]:
    def is_it(group: Group) -> bool:
        headers = group.last.headers
        return headers is not None and (headers.dst, headers.dport) == (pack_ip(addr), port)

    return is_it


def name_of(node: Node, watch: DropWatch, group: Group) -> str:
    """Name a group's namespace."""
    with opened(node.options(), Kernel()) as handles:
        names = {str(ns.key): "root" if ns.root else ns.name for ns in handles}
    return names[group.last.place]


def test_a_rule_and_a_missing_socket(node: Node) -> None:
    """Each where it was last, with its flow; those of three client ports are one group."""
    with watching(node) as watch:
        send(node, OUT, 7777)
        send(node, P2, 7778)
        group, report = told(watch, to(OUT, 7777), 3)
        assert (group.last.reason, group.last.dev, group.last.out) == ("NETFILTER_DROP", "br0", False)
        assert name_of(node, watch, group) == "root"
        assert group.last.headers is not None
        assert group.last.headers.src == pack_ip(P1)
        group, report = told(watch, to(P2, 7778), 3)
        assert (group.last.reason, group.last.dev, name_of(node, watch, group)) == ("NO_SOCKET", "eth0", "p2")
    assert [source.lost for source in report.sources] == [0, 0]


def test_a_device_that_others_have_too(node: Node) -> None:
    """Another crossing of the packet tells it; where none can, it has no place."""
    with watching(node, frozenset({"br0", "eth0"})) as watch:
        send(node, OUT, 7777)
        group, _ = told(watch, to(OUT, 7777), 3)
        assert group.last.dev == "br0"
    with watching(node, frozenset({"br0", "eth0", "veth1", "veth2"})) as watch:
        send(node, OUT, 7777)
        group, report = told(watch, lambda group: group.last.reason == "NETFILTER_DROP", 3)
        assert (group.last.place, group.last.headers, group.last.never) == ("", None, False)
        assert not any(map(to(OUT, 7777), report.groups))
