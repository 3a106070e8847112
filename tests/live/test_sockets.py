"""Sockets as sock_diag shows them, against sockets that the test opened itself."""

from __future__ import annotations

import re
import socket
import struct
from contextlib import suppress

import pytest

from agents.collectors.sockets import Sockets
from agents.netlink.sockdiag import (
    NETLINK_SOCK_DIAG,
    SKNLGRP_INET6_TCP_DESTROY,
    SKNLGRP_INET_TCP_DESTROY,
    keep_only_unconnected,
)
from netviz.core.model.addr import pack_ip
from netviz.core.model.socket import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, Socket
from tests.live.collector_rig import Namespace, RecordingHost, namespaces, until

pytestmark = pytest.mark.live


def read(ns: Namespace, collector: Sockets | None = None) -> set[Socket]:
    return set((collector or Sockets()).collect(ns.handle, ("sockets",)).sections["sockets"])


def test_listeners_bound_and_connected_sockets() -> None:
    with (
        namespaces() as (ns,),
        ns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        ns.socket(socket.AF_INET6, socket.SOCK_STREAM) as only6,
        ns.socket(socket.AF_INET6, socket.SOCK_DGRAM) as dual,
        ns.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        ns.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.bind(("127.0.0.1", 8080))
        listener.listen()
        only6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only6.bind(("::", 8081))
        only6.listen()
        dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        dual.bind(("::", 53))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        bound.bind(("0.0.0.0", 5353))
        client.connect(("127.0.0.1", 8080))
        peer, _ = listener.accept()
        with peer:
            found = {(s.proto, s.src, s.sport, s.state, s.dport): s for s in read(ns)}
            port = client.getsockname()[1]
            loopback = pack_ip("127.0.0.1")
            assert set(found) == {
                (6, loopback, 8080, TCP_LISTEN, 0),
                (6, pack_ip("::"), 8081, TCP_LISTEN, 0),
                (17, pack_ip("::"), 53, TCP_CLOSE, 0),
                (17, pack_ip("0.0.0.0"), 5353, TCP_CLOSE, 0),
                (6, loopback, 8080, TCP_ESTABLISHED, port),
                (6, loopback, port, TCP_ESTABLISHED, 8080),
            }
            assert found[6, pack_ip("::"), 8081, TCP_LISTEN, 0].v6only
            assert not found[17, pack_ip("::"), 53, TCP_CLOSE, 0].v6only
            assert found[17, pack_ip("0.0.0.0"), 5353, TCP_CLOSE, 0].ifindex == 1
            assert found[6, loopback, port, TCP_ESTABLISHED, 8080].dst == loopback
            assert len({s.cookie for s in found.values()}) == len(found)
            inodes = {int(inode) for inode in re.findall(r"ino:(\d+)", ns.exec("ss", "-tunaeH"))}
            assert {s.inode for s in found.values()} == inodes


def test_time_wait_is_left_out() -> None:
    with namespaces() as (ns,), ns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        peer, _ = listener.accept()
        client.close()
        peer.close()
        assert "TIME-WAIT" in ns.exec("ss", "-tanH")
        assert [s.state for s in read(ns)] == [TCP_LISTEN]


def test_connections_are_bounded_and_the_gap_says_so() -> None:
    with namespaces() as (ns,), ns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        pairs = []
        for _ in range(3):
            client = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
            client.connect(listener.getsockname())
            pairs += [client, listener.accept()[0]]
        reading = Sockets(max_connected=4).collect(ns.handle, ("sockets",))
        for one in pairs:
            one.close()
        assert len(list(reading.sections["sockets"])) == 5
        assert reading.gaps == {"sockets": "4 of 6 TCP connections are held"}


async def test_a_new_listener_is_noticed_and_an_idle_namespace_is_let_be() -> None:
    with namespaces(2) as (busy, idle):
        host = RecordingHost(busy.handle, idle.handle)
        collector = Sockets(look_s=0.05)
        assert collector.can_run(host) is None
        await collector.start(host)
        for ns in (busy, idle):
            collector.attach(ns.handle)
        try:
            with busy.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                await until(lambda: (busy.handle.key, "sockets") in host.dirtied)
                host.dirtied.clear()
            await until(lambda: (busy.handle.key, "sockets") in host.dirtied)
            assert (idle.handle.key, "sockets") not in host.dirtied
        finally:
            host.close()
            await collector.stop()


FAMILIES = {"ipv4": (socket.AF_INET, "127.0.0.1"), "ipv6": (socket.AF_INET6, "::1")}


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_end_of_a_listener_is_noticed_at_once(family: str) -> None:
    """Nobody looks at counts here: the kernel's word alone tells."""
    with namespaces() as (ns,):
        host = RecordingHost(ns.handle)
        collector = Sockets(look_s=3600)
        await collector.start(host)
        collector.attach(ns.handle)
        try:
            with ns.socket(FAMILIES[family][0], socket.SOCK_STREAM) as listener:
                listener.bind((FAMILIES[family][1], 0))
                listener.listen()
                assert len(read(ns, collector)) == 1
            await until(lambda: host.dirtied == [(ns.handle.key, "sockets")])
            assert read(ns, collector) == set()
        finally:
            host.close()
            await collector.stop()


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_ends_of_connections_wake_nobody(family: str) -> None:
    groups = (SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY)
    with namespaces() as (ns,), ns.handle.open_netlink(NETLINK_SOCK_DIAG, groups) as ends:
        keep_only_unconnected(ends)
        with ns.socket(FAMILIES[family][0], socket.SOCK_STREAM) as listener:
            listener.bind((FAMILIES[family][1], 0))
            listener.listen()
            for _ in range(3):
                with ns.socket(FAMILIES[family][0], socket.SOCK_STREAM) as client:
                    client.connect(listener.getsockname()[:2])
                    listener.accept()[0].close()
            ns.socket(FAMILIES[family][0], socket.SOCK_STREAM).close()
            port = listener.getsockname()[1]
        said: list[tuple[int, ...]] = []

        def end_of_listener() -> bool:
            with suppress(BlockingIOError):
                said.append(struct.unpack_from(">HH", ends.recv(4096), 20))
            return (port, 0) in said

        await until(end_of_listener)
        assert said == [(port, 0)], "source and destination port"
