"""Conntrack entries against what the kernel and `conntrack` say of the same traffic."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agents.collectors.conntrack import Conntrack, read_count
from agents.netlink.nfnetlink import NETLINK_NETFILTER
from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_SEEN_REPLY, CtEntry
from netviz.core.state.delta import apply_section
from tests.live.collector_rig import Namespace, RecordingHost, namespaces, until

pytestmark = pytest.mark.live

TRACKED = "add table inet nv-ct; add chain inet nv-ct o { type filter hook output priority 0; }; add rule inet nv-ct o ct state new counter"


def track(ns: Namespace) -> None:
    """Make the namespace track connections, as any rule that looks at them does."""
    ns.exec("nft", TRACKED)


def flood(ns: Namespace, number: int, first: int = 20_000) -> None:
    """Begin `number` UDP connections on loopback."""
    with ns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 9999))
        for index in range(number):
            sock.sendto(b"x", (f"127.0.{1 + index // 30_000}.1", first + index % 30_000))


def held(host: RecordingHost, ns: Namespace) -> dict:
    """The section with everything told so far."""
    section = host.sections.get((ns.handle.key, "conntrack"), {})
    for delta in host.deltas:
        if delta.conntrack is not None:
            section = apply_section(section, delta.conntrack)
    host.deltas.clear()
    host.sections[ns.handle.key, "conntrack"] = section
    return section


def dumped(ns: Namespace) -> dict:
    """What a fresh dump says."""
    return {
        entry.key: entry for entry in Conntrack().collect(ns.handle, ("conntrack",)).sections["conntrack"]
    }


@asynccontextmanager
async def attached(ns: Namespace, **bounds: float) -> AsyncIterator[tuple[Conntrack, RecordingHost]]:
    host = RecordingHost(ns.handle)
    collector = Conntrack(**bounds)
    assert collector.can_run(host) is None
    await collector.start(host)
    collector.attach(ns.handle)
    try:
        yield collector, host
    finally:
        host.close()
        await collector.stop()


def test_a_dump_is_what_conntrack_lists() -> None:
    with namespaces() as (ns,):
        assert dumped(ns) == {}
        track(ns)
        flood(ns, 40)
        with ns.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("::1", 5353))
        ns.exec(
            "conntrack", "-I", "-s", "10.0.0.1", "-d", "10.96.0.9", "-p", "tcp", "--sport", "4000", "--dport", "80",
            "-g", "10.1.1.5", "--state", "ESTABLISHED", "-t", "60", "-u", "SEEN_REPLY", "--mark", "7",
        )  # fmt: skip
        ns.exec(
            "conntrack", "-I", "-s", "10.0.0.1", "-d", "10.0.0.2", "-p", "icmp", "--icmp-type", "8", "--icmp-code", "0",
            "--icmp-id", "77", "-t", "60", "-w", "5",
        )  # fmt: skip
        entries = dumped(ns)
        listed = ns.exec("conntrack", "-L", "-f", "ipv4") + ns.exec("conntrack", "-L", "-f", "ipv6")
        assert len(entries) == len(listed.splitlines()) == 43
        for line in listed.splitlines():
            src, dst = re.findall(r"(?:src|dst)=(\S+)", line)[:2]
            assert any(e.osrc == pack_ip(src) and e.odst == pack_ip(dst) for e in entries.values()), line
        service = pack_ip("10.96.0.9")
        (dnat,) = [e for e in entries.values() if e.odst == service]
        assert (dnat.proto, dnat.osport, dnat.odport, dnat.tcp_state, dnat.mark) == (6, 4000, 80, 3, 7)
        assert (dnat.rsrc, dnat.rdst) == (pack_ip("10.1.1.5"), pack_ip("10.0.0.1"))
        assert dnat.status & IPS_SEEN_REPLY
        (icmp,) = [e for e in entries.values() if e.proto == 1]
        assert (icmp.osport, icmp.odport, icmp.rdport, icmp.zone) == (77, 8 << 8, 0, 5)


async def test_events_folded_in_are_what_a_fresh_dump_says() -> None:
    with namespaces() as (ns,):
        track(ns)
        async with attached(ns, flush_s=0.05) as (_, host):
            flood(ns, 50)
            with (
                ns.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
                ns.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
            ):
                server.bind(("127.0.0.1", 0))
                server.listen()
                client.connect(server.getsockname())
                peer, _ = server.accept()
                client.send(b"hello")
                await until(lambda: held(host, ns) == dumped(ns) and len(held(host, ns)) >= 51)
                assert {e.tcp_state for e in held(host, ns).values() if e.proto == 6} == {3}
                peer.close()
            await until(lambda: held(host, ns) == dumped(ns))
            ns.exec("conntrack", "-D", "-p", "udp")
            await until(
                lambda: (
                    held(host, ns) == dumped(ns) and not any(e.proto == 17 for e in held(host, ns).values())
                )
            )
            assert host.shed_counts == {}


async def test_what_the_kernel_dropped_is_counted_and_dumped_again() -> None:
    with namespaces() as (ns,):
        track(ns)
        async with attached(ns, flush_s=0.05, max_changes=2_000) as (collector, host):
            for tracker in collector._trackers.values():
                tracker.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            flood(ns, 12_000)
            await until(lambda: (ns.handle.key, "conntrack") in host.dirtied)
            assert host.shed_counts["conntrack"] > 5_000
            held(host, ns)
            reading = await asyncio.to_thread(collector.collect, ns.handle, ("conntrack",))
            assert dict(reading.sections) == {}  # a large table comes in portions
            await until(lambda: len(held(host, ns)) == 12_000)
            assert held(host, ns) == dumped(ns)
            await until(lambda: host.shed_counts["conntrack"] == 0)


async def test_changes_come_in_bounded_portions_and_entries_are_bounded() -> None:
    with namespaces() as (ns,):
        track(ns)
        async with attached(ns, flush_s=0.1, max_changes=100, max_entries=1_000) as (collector, host):
            flood(ns, 1_500)
            await until(lambda: sum(len(d.conntrack.put) for d in host.deltas) == 1_000)
            assert max(len(d.conntrack.put) for d in host.deltas) == 100
            assert host.shed_counts["conntrack"] == 500
            reading = await asyncio.to_thread(collector.collect, ns.handle, ("conntrack",))
            assert len(list(reading.sections["conntrack"])) == 1_000
            assert reading.gaps == {"conntrack": "1000 of 1500 entries are held"}


async def test_a_namespace_that_tracks_nothing_is_one_small_request() -> None:
    with namespaces() as (ns,):
        async with attached(ns) as (collector, _):
            assert dict(collector.collect(ns.handle, ("conntrack",)).sections) == {"conntrack": ()}
            with ns.handle.open_netlink(NETLINK_NETFILTER) as sock:
                assert read_count(sock) == 0


def test_entries_share_what_they_have_in_common() -> None:
    with namespaces() as (ns,):
        track(ns)
        flood(ns, 20)
        entries: list[CtEntry] = list(dumped(ns).values())
        assert len({id(entry.osrc) for entry in entries}) == 1
