"""The collector at run on a real kernel: what it folded from events is what a fresh dump says."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from agents import runner as runner_module
from agents import sampling, worker
from agents.collectors.base import NetnsHandle
from agents.collectors.netns import NetnsOptions
from agents.collectors.rtnl import Rtnl
from agents.runner import Runner
from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Gap
from netviz.core.state.node import NetnsState
from netviz.core.state.resolve import PROVED, resolve_node
from netviz.core.wire.messages import Watched
from tests.live.node_rig import (
    Node,
    differences,
    fresh,
    ip,
    ip_batch,
    running,
    small_node,
    until,
    until_equal,
)

pytestmark = pytest.mark.live

NO_AUDIT_S = 3600.0


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the collector look for namespaces at a hint alone, never because time has passed."""
    for period in ("PROC_LOOK_S", "UNWATCHED_LOOK_S", "DISCOVERY_S", "REMOTE_POLL_S"):
        monkeypatch.setattr(runner_module, period, NO_AUDIT_S)


@pytest.fixture
def node() -> Iterator[Node]:
    with small_node() as made:
        yield made


def root_of(runner: Runner) -> NetnsState:
    root = runner.state().root
    assert root is not None
    return root


def named(runner: Runner, name: str) -> NetnsState | None:
    return next((ns for ns in runner.state().netns.values() if ns.netns.name == name), None)


SILENT = {
    "a link goes down and its routes with it": "link set dev veth1 down",
    "a link comes up again": "link set dev veth1 up",
    "the preferred source of a route goes": "addr del 10.77.0.1/24 dev br0",
    "a device goes and a multipath route loses a nexthop": "link del veth2",
    "a route is replaced": "route replace 10.90.0.0/16 via 10.244.0.4 metric 7",
    "a twin is appended": "route append 10.91.0.0/16 via 10.244.0.5",
    "a twin is deleted": "route del 10.91.0.0/16 via 10.244.0.3",
    "a twin is prepended": "route prepend 10.91.0.0/16 via 10.244.0.6",
    "an IPv6 multipath route grows": "route append 2001:db8:9::/48 via 2001:db8::5",
    "an IPv6 multipath route shrinks": "route del 2001:db8:9::/48 via 2001:db8::2",
    "a nexthop object is replaced": "nexthop replace id 5 via 10.244.0.9 dev br0",
    "a nexthop object goes and its route with it": "nexthop del id 6",
    "a nexthop object's device goes down": "link set dev veth3 down",
    "a port leaves the bridge": "link set veth4 nomaster",
    "a port's settings change": "link set dev veth5 type bridge_slave hairpin on",
    "the bridge's settings change": "link set dev br0 type bridge ageing_time 1234",
    "a MAC address changes": "link set dev veth5 address 02:aa:bb:cc:dd:ee",
    "a name changes": "link set dev veth5 name renamed0",
    "an MTU changes": "link set dev veth4 mtu 1400",
    "an altname comes": "link property add dev veth4 altname another-name",
    "a rule comes between two": "rule add priority 50 from 10.0.0.0/8 lookup 50",
    "a rule of the same priority goes": "rule del priority 60 from 10.2.0.0/16",
    "a neighbour comes": "neigh add 10.244.9.9 lladdr 02:00:00:00:00:09 dev br0",
    "a neighbour proxy comes": "neigh add proxy 10.244.9.8 dev br0",
    "a macvlan comes": "link add mv0 link veth4 type macvlan mode bridge",
    "a vxlan comes": "link add vx0 type vxlan id 9 remote 192.0.2.1 dstport 4789",
    "a link goes into a pod": "link set dev veth4 netns {p1}",
}
PREPARED = """
addr add 10.77.0.1/24 dev br0
addr add 2001:db8::1/64 dev br0 nodad
route add 10.78.0.0/16 dev br0 src 10.77.0.1
route add 10.79.0.0/16 dev veth1
route add 10.80.0.0/16 nexthop dev veth2 nexthop dev veth3
route add 10.90.0.0/16 via 10.244.0.3 metric 7
route add 10.91.0.0/16 via 10.244.0.2
route append 10.91.0.0/16 via 10.244.0.3
route add 2001:db8:9::/48 nexthop via 2001:db8::2 nexthop via 2001:db8::3
nexthop add id 5 via 10.244.0.7 dev br0
nexthop add id 6 via 10.244.0.8 dev br0
nexthop add id 7 dev veth3
route add 10.92.0.0/16 nhid 5
route add 10.93.0.0/16 nhid 6
rule add priority 60 from 10.1.0.0/16 lookup 60
rule add priority 60 from 10.2.0.0/16 lookup 61
rule add priority 60 from 10.3.0.0/16 lookup 62
"""


async def test_what_the_kernel_does_not_announce_is_found_without_an_audit(node: Node) -> None:
    """One change after the other; after each, folded state and a fresh dump must meet by themselves."""
    pods = {f"p{n}": node.add_pod(n) for n in range(1, 6)}
    ip_batch(node.root, PREPARED)
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, follower):
        for what, command in SILENT.items():
            ip_batch(node.root, command.format(**pods))
            try:
                await until_equal(runner, node.options())
            except AssertionError as err:
                raise AssertionError(f"{what} ({command}): {err}") from None
        assert follower.state == runner.state()
        assert runner.drift == {}


async def test_churn_then_quiet_equals_a_fresh_dump(node: Node) -> None:
    choice = random.Random(7)
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, follower):
        alive: list[int] = []

        def churn() -> None:
            for number in range(1, 26):
                node.add_pod(number)
                alive.append(number)
                lines = [f"route add 10.{100 + number}.{i}.0/24 via 10.244.0.{number}" for i in range(8)]
                lines += [f"neigh replace 10.244.7.{number} lladdr 02:00:00:00:07:{number:02x} dev br0"]
                lines += [f"rule add priority {1000 + number} fwmark {number} lookup {number}"]
                ip_batch(node.root, "\n".join(lines) + "\n")
                if len(alive) > 10:
                    gone = alive.pop(choice.randrange(len(alive)))
                    node.drop_netns(f"p{gone}")
                    ip_batch(node.root, f"rule del priority {1000 + gone}\n")

        await asyncio.to_thread(churn)
        await until_equal(runner, node.options())
        assert follower.state == runner.state()
        assert len(runner.state().netns) == 11
        peers = resolve_node(runner.state())
        assert len(peers) == 20
        assert all(peer.state == PROVED for peer in peers.values())


async def test_a_forced_overrun_is_counted_and_mended(node: Node) -> None:
    """With room for next to nothing the kernel must drop events; nothing may be missing afterwards."""
    node.add_pod(1)
    async with running(node.options(), [Rtnl(rcvbuf_bytes=2304)], audit_s=NO_AUDIT_S) as (runner, follower):
        lines = "".join(f"route add 10.{100 + i // 250}.{i % 250}.0/24 via 10.244.0.3\n" for i in range(3000))
        ip_batch(node.root, lines)  # blocks the loop on purpose: nobody reads the events meanwhile
        await until(lambda: runner.state().status["links"].lost > 0)
        await until_equal(runner, node.options())
        assert len(root_of(runner).routes) > 3000
        assert runner.status().lost_events == runner.state().status["links"].lost  # each counts once
        assert follower.state == runner.state()


async def test_the_audit_finds_what_events_missed_and_counts_it(node: Node) -> None:
    async with running(node.options(), audit_s=0.5) as (runner, _):
        # A setting that the kernel announces to nobody.
        path = "/proc/sys/net/ipv4/conf/br0/arp_ignore"
        subprocess.run(["ip", "netns", "exec", node.root, "sh", "-c", f"echo 2 > {path}"], check=True)
        br0 = next(link.ifindex for link in root_of(runner).links.values() if link.ifname == "br0")

        def seen() -> bool:
            conf = root_of(runner).links[br0].ipv4
            return conf is not None and conf.arp_ignore == 2

        await until(seen)
        assert runner.drift == {"rtnl": 1}


class WithoutEvents(Rtnl):
    """Cannot listen for as long as there is, say, no descriptor left."""

    without_events = True

    def attach(self, ns: NetnsHandle) -> None:
        if self.without_events:
            raise OSError(errno.EMFILE, "Too many open files")
        super().attach(ns)


async def test_a_namespace_that_cannot_be_listened_in_is_not_called_whole_until_it_can(node: Node) -> None:
    collector = WithoutEvents()
    async with running(node.options(), [collector], audit_s=0.5) as (runner, _):
        assert Gap("routes", "no events: Too many open files") in root_of(runner).netns.gaps
        assert root_of(runner).links
        status = runner.state().status
        assert not status["routes"].whole
        assert status["counters"].whole  # these are polled anyway
        collector.without_events = False
        await until(lambda: root_of(runner).netns.gaps == ())
        assert runner.state().status["routes"].whole


async def test_with_too_few_descriptors_to_listen_everything_is_still_read(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 4):
        node.add_pod(number)
    monkeypatch.setattr(worker, "SPARE_DESCRIPTORS", 1 << 30)
    async with running(node.options(), audit_s=0.5) as (runner, _):
        pods = [named(runner, f"p{number}") for number in range(1, 4)]
        assert all(pod is not None and pod.links and pod.routes for pod in pods)
        assert all(Gap("links", "no events: Too many open files") in pod.netns.gaps for pod in pods if pod)
        assert sum("cannot listen" in line.message for line in caplog.records) == 1
        monkeypatch.undo()
        await until(lambda: all(ns.netns.gaps == () for ns in runner.state().netns.values()))


async def test_a_directory_that_cannot_be_listed_is_not_taken_for_empty(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node.add_pod(1)

    def refuse(path: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files", path)

    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, _):
        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", refuse)
            runner.look_for_namespaces()
            await until(lambda: "cannot look for namespaces" in caplog.text)
        assert named(runner, "p1") is not None
        node.add_pod(2)
        await until(lambda: named(runner, "p2") is not None)
        assert named(runner, "p1") is not None


async def test_a_new_pod_shows_at_the_hint_of_its_veth(node: Node, no_clock: None) -> None:
    """How soon that is, `make bench` measures; here nothing else could find it, as nobody looks by the clock."""
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, _):
        for number in range(1, 6):
            name = f"p{number}"
            netns = node.add_netns(name)
            ip(
                "-n",
                node.root,
                "link",
                "add",
                f"veth{number}",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                netns,
            )

            def shows(name: str = name) -> bool:
                ns = named(runner, name)
                root = root_of(runner)
                return (
                    ns is not None
                    and any(link.ifname == "eth0" for link in ns.links.values())
                    and any(key == ns.key for _, key in root.netns.nsids)
                )

            await until(shows)


async def test_a_namespace_may_end_while_it_is_watched(node: Node) -> None:
    """The collector's own descriptors must not keep a namespace alive: its veth would stay behind."""
    netns = node.add_pod(1)
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, _):
        assert named(runner, "p1") is not None
        veth = next(link.ifindex for link in root_of(runner).links.values() if link.ifname == "veth1")
        node.drop_netns("p1")
        await until(lambda: named(runner, "p1") is None)
        await until(lambda: veth not in root_of(runner).links)
        assert netns not in os.listdir("/run/netns")


async def test_a_reused_inode_is_another_namespace(node: Node) -> None:
    """The kernel hands out the lowest free inode number, so making one anew often gives the same."""
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, _):
        seen: list[NetnsKey] = []
        for _ in range(30):
            node.add_netns("again")
            ns = await until(lambda: named(runner, "again"))
            seen.append(ns.key)
            node.drop_netns("again")
            await until(lambda: named(runner, "again") is None)
            if len({(key.dev, key.ino) for key in seen}) < len(seen):
                break
        assert len(set(seen)) == len(seen)
        assert max(key.gen for key in seen) == 1, "no inode number came back"


async def test_a_namespace_discovered_by_its_veth_peer(node: Node) -> None:
    hidden = node.add_netns("hidden", mounted=False)
    ip_batch(node.root, f"link add vh type veth peer name inner netns {hidden}\nlink set vh up\n")
    ip_batch(hidden, "addr add 10.5.5.5/24 dev inner\nlink set inner up\n")
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, _):
        discovered = await until(
            lambda: next((ns for ns in runner.state().netns.values() if ns.key.dev == 0 and ns.addrs), None)
        )
        assert [holder.kind for holder in discovered.netns.holders] == ["veth"]
        assert {link.ifname for link in discovered.links.values()} == {"lo", "inner"}
        assert pack_ip("10.5.5.5") in {addr.addr for addr in discovered.addrs.values()}
        assert {gap.section for gap in discovered.netns.gaps} >= {"routes", "neighs"}
        await until(lambda: all(peer.state == PROVED for peer in resolve_node(runner.state()).values()))
        assert runner.state().status["routes"].whole
        await until_equal(runner, node.options())
        ip("-n", node.root, "link", "del", "vh")
        await until(lambda: discovered.key not in runner.state().netns)


async def test_a_namespace_that_only_a_process_holds(node: Node, no_clock: None) -> None:
    """Found by /proc at the hint of its veth; let go at once when the process ends."""
    options = NetnsOptions(node.base, f"/run/netns/{node.root}", (str(node.directory),), "/proc")
    async with running(options, audit_s=NO_AUDIT_S) as (runner, _):
        process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        try:
            own = os.stat("/proc/self/ns/net").st_ino
            await until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino != own)
            ino = os.stat(f"/proc/{process.pid}/ns/net").st_ino
            ip(
                "-n",
                node.root,
                "link",
                "add",
                "vp",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                str(process.pid),
            )

            def found() -> NetnsState | None:
                return next((ns for key, ns in runner.state().netns.items() if key.ino == ino), None)

            ns = await until(found)
            assert (process.pid, "sleep") in [(h.pid, h.name) for h in ns.netns.holders]
            await until(lambda: any(link.ifname == "eth0" for link in (found() or ns).links.values()))
        finally:
            process.kill()
            process.wait()
        await until(lambda: found() is None)
        await until(lambda: not any(link.ifname == "vp" for link in root_of(runner).links.values()))


def _descriptors() -> set[str]:
    return {f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if _open(fd)}


def _open(fd: str) -> bool:
    try:
        os.fstat(int(fd))
    except OSError:
        return False
    return True


async def test_nothing_is_left_open_and_no_thread_is_left_elsewhere(node: Node) -> None:
    for number in range(1, 5):
        node.add_pod(number)
    async with running(node.options()):  # imports and caches take their descriptors the first time
        pass
    before, threads = _descriptors(), threading.active_count()
    own = os.readlink("/proc/self/ns/net")
    async with running(node.options(), audit_s=0.2) as (runner, _):
        during = len(_descriptors())
        for number in range(5, 9):
            node.add_pod(number)
        for number in range(1, 5):
            node.drop_netns(f"p{number}")
        await until_equal(runner, node.options())
        await until(lambda: len(_descriptors()) == during)
        tasks = os.listdir("/proc/self/task")
        assert {os.readlink(f"/proc/self/task/{task}/ns/net") for task in tasks} == {own}
    assert _descriptors() == before
    assert threading.active_count() <= threads + 2  # the loop's own pool of idle threads
    await fresh(node.options())
    assert _descriptors() == before


async def test_every_change_reaches_the_sink_in_order_and_once(node: Node) -> None:
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, follower):
        for number in range(50):
            ip("-n", node.root, "addr", "add", f"10.6.{number}.1/32", "dev", "lo")
            ip("-n", node.root, "addr", "del", f"10.6.{number}.1/32", "dev", "lo")
        ip("-n", node.root, "addr", "add", "10.7.0.1/32", "dev", "lo")
        wanted = pack_ip("10.7.0.1")
        await until(lambda: any(addr.addr == wanted for addr in root_of(runner).addrs.values()))
        await until_equal(runner, node.options())
        assert follower.state == runner.state()
        assert not differences(follower.state, await fresh(node.options()))


async def test_entering_fails_for_a_namespace_that_is_gone_without_harm(node: Node) -> None:
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, _):
        node.add_netns("brief")
        ns = await until(lambda: next((h for h in runner.namespaces() if h.name == "brief"), None))
        node.drop_netns("brief")
        await until(lambda: named(runner, "brief") is None and ns.fd < 0)
        with pytest.raises(FileNotFoundError):
            ns.open_netlink(socket.NETLINK_ROUTE)
        assert runner.root.run(lambda: os.readlink("/proc/thread-self/ns/net")).startswith("net:[")


async def test_what_somebody_watches_is_read_more_often_and_its_status_says_how_often(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event tells of a counter, and here no poll does."""
    monkeypatch.setattr(sampling, "MIN_EVERY_S", 0.02)
    monkeypatch.setattr(Rtnl, "poll_s", {"counters": NO_AUDIT_S})
    async with running(node.options(), audit_s=NO_AUDIT_S) as (runner, follower):

        def sent() -> int:
            lo = next(link for link in root_of(runner).links.values() if link.ifname == "lo")
            return root_of(runner).counters[lo.ifindex].tx_packets

        ip("-n", node.root, "link", "set", "lo", "up")
        assert runner.state().status["counters"].max_age_s == NO_AUDIT_S
        runner.watch([Watched(("counters",), 0.02), Watched(("counters", "nothing"), 0.05, runner.root.key)])
        for _ in range(2):
            before = sent()
            ip("netns", "exec", node.root, "bash", "-c", "echo >/dev/udp/127.0.0.1/9")
            await until(lambda before=before: sent() > before)
        assert runner.state().status["counters"].max_age_s == 0.02
        assert runner.state().status["routes"].max_age_s == NO_AUDIT_S
        runner.watch(())
        await until(lambda: runner.state().status["counters"].max_age_s == NO_AUDIT_S)
        assert follower.state == runner.state()
