"""The collector at run on a recorded kernel: what it folds from the announcements is what a fresh reading says."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from agents import runner as runner_module
from agents import worker
from agents.collectors import conntrack as conntrack_module
from agents.collectors.base import Collector
from agents.collectors.conntrack import _GROUPS as CONNTRACK
from agents.collectors.conntrack import Conntrack
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions
from agents.collectors.pods import FileSource, Pods
from agents.collectors.rtnl import Rtnl
from agents.collectors.rtnl_events import GROUPS
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import Sysctls
from agents.netlink.conntrack import IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET
from agents.netlink.nfnetlink import NETLINK_NETFILTER, NFNLGRP_NFTABLES
from agents.netlink.route import RTM_GETROUTE
from agents.netlink.rule import RTM_GETRULE
from agents.netlink.wire import HEADER, NETLINK_ROUTE
from agents.runner import Runner
from agents.snapshot import Snapshotter
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.wire.messages import Watched
from tests.agents import fake_kernel as fake
from tests.agents.fake_kernel import FakeKernel, collectors
from tests.agents.netlink_record import ROOT
from tests.live.node_rig import Follower, differences, running, until

NEVER_S = 3600.0
# What the kernel announces nothing of is read by the clock, or when somebody watches it.
SILENT = ("sysctls", "ipsets", "xt_tables", "nfaccts", "ipvs")


def run(
    kernel: FakeKernel, made: Sequence[Collector] | None = None, audit_s: float = NEVER_S
) -> AbstractAsyncContextManager[tuple[Runner, Follower]]:
    return running(kernel.options(), collectors() if made is None else made, audit_s=audit_s, kernel=kernel)


def read_now(kernel: FakeKernel) -> NodeState:
    return Snapshotter(kernel.options(), collectors(), kernel).run().state


def root_of(state: NodeState) -> NetnsState:
    assert state.root is not None
    return state.root


async def meet(runner: Runner, kernel: FakeKernel, *sections: str) -> None:
    """Wait until the folded state is what a fresh reading says, of these sections alone if any are named."""
    fresh = read_now(kernel)

    def differ() -> list[str]:
        found = differences(runner.state(), fresh)
        return [line for line in found if any(f" {s} " in line for s in sections)] if sections else found

    try:
        await until(lambda: not differ(), timeout_s=300)
    except AssertionError:
        raise AssertionError("\n".join(differ())) from None


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing that is due later wait long; what is due never stays so."""
    monkeypatch.setattr(worker, "RETRY_S", 0.05)
    monkeypatch.setattr(conntrack_module, "MIN_REDUMP_S", 0.05)


async def test_every_phase_is_folded_from_what_was_announced(kernel: FakeKernel) -> None:
    """A pod comes and goes, and something of each kind changes; no audit and no look at the clock helps."""
    async with run(kernel) as (runner, follower):
        for _ in kernel.recording.phases[1:]:
            kernel.advance()
            # It is a veth's coming and going at which namespaces are looked for; here no mount table moves.
            runner.look_for_namespaces()
            runner.watch([Watched(netns=None, sections=SILENT, every_s=1.0)])
            await meet(runner, kernel)
            runner.watch([])
        assert follower.state == runner.state()
        assert runner.drift == {}
        assert {status.lost for status in runner.state().status.values()} == {0}


async def test_a_veth_that_comes_is_hint_enough_of_a_new_namespace(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "PROC_LOOK_S", NEVER_S)
    kernel.advance()
    async with run(kernel, [Rtnl()]) as (runner, _):
        kernel.advance()
        await until(lambda: "late-1" in {ns.netns.name for ns in runner.state().netns.values()})


async def test_events_that_were_lost_are_counted_once_and_what_they_told_is_read(kernel: FakeKernel) -> None:
    async with run(kernel, [Rtnl()]) as (runner, _):
        kernel.advance(announced=False)  # all changed, and nobody was told
        for name in (ROOT, "web-1"):  # where something changed
            kernel.announce(name, NETLINK_ROUTE, GROUPS, OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))
        await meet(runner, kernel, "links", "addrs", "routes", "rules", "neighs", "fdb", "nexthops")
        assert runner.state().status["links"].lost == 2
        assert runner.status().lost_events == 2


@pytest.mark.parametrize("event", [b"\xff" * 11, bytes(1 << 18)], ids=["torn", "too long"])
async def test_an_announcement_that_cannot_be_read_counts_as_lost(kernel: FakeKernel, event: bytes) -> None:
    async with run(kernel, [Rtnl()]) as (runner, _):
        kernel.announce(ROOT, NETLINK_ROUTE, GROUPS, event)
        await until(lambda: runner.state().status["links"].lost == 1)


async def test_the_audit_finds_what_nobody_announced_and_counts_it(kernel: FakeKernel) -> None:
    async with run(kernel, [Rtnl()], audit_s=0.3) as (runner, _):
        before = len(root_of(runner.state()).rules)
        kernel.advance(announced=False)
        await meet(runner, kernel, "links", "addrs", "routes", "rules", "neighs", "fdb", "nexthops")
        assert runner.drift["rtnl"] > 1
        assert len(root_of(runner.state()).rules) == before


async def test_a_setting_that_people_turn_is_found_by_its_file(kernel: FakeKernel) -> None:
    async with run(kernel, [Sysctls(look_s=0.05)]) as (runner, _):
        kernel.file("/proc/sys/net/ipv4/ip_forward").write_bytes(b"0\n")
        await until(lambda: root_of(runner.state()).sysctls["net.ipv4.ip_forward"].value == 0)


async def test_sockets_are_read_again_when_their_counts_move(kernel: FakeKernel) -> None:
    async with run(kernel, [Sockets(look_s=0.05)]) as (runner, _):
        kernel.advance(announced=False)
        await meet(runner, kernel, "sockets")


async def test_the_listener_for_ends_of_sockets_has_its_filter(kernel: FakeKernel) -> None:
    async with run(kernel, [Sockets()]):
        ends = [sock for sock in kernel.sockets if sock.groups == (1, 3)]
        assert [sock.filter for sock in ends] == [True] * 4


async def test_a_failed_reading_is_a_gap_until_it_succeeds(
    kernel: FakeKernel, soon: None, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.plant(fake.says(errno.EIO), NETLINK_ROUTE, RTM_GETRULE)
    async with run(kernel, [Rtnl()]) as (runner, follower):
        first = follower.state
        assert first is not None
        assert {gap.reason for gap in root_of(first).netns.gaps} == {"Input/output error"}
        await until(lambda: root_of(runner.state()).netns.gaps == ())
        assert len(root_of(runner.state()).rules) == 6
    assert "Input/output error" in caplog.text


async def test_a_collectors_own_mistake_stays_its_own(
    kernel: FakeKernel, soon: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [LookupError("what is this?")]

    class Mistaken(Sysctls):
        def collect(self, ns, sections):  # type: ignore[no-untyped-def]
            if wrong:
                raise wrong.pop()
            return super().collect(ns, sections)

    async with run(kernel, [Rtnl(), Mistaken()]) as (runner, follower):
        assert follower.state is not None
        gaps = {g.section: g.reason for ns in follower.state.netns.values() for g in ns.netns.gaps}
        assert gaps == {"sysctls": "LookupError('what is this?')"}
        await until(lambda: all(ns.netns.gaps == () for ns in runner.state().netns.values()))
    assert "what is this?" in caplog.text


async def test_where_nobody_can_listen_the_state_says_so_until_somebody_can(kernel: FakeKernel) -> None:
    kernel.without_events = True
    async with run(kernel, [Rtnl()], audit_s=0.3) as (runner, _):
        gaps = {gap.section: gap.reason for gap in root_of(runner.state()).netns.gaps}
        assert gaps["routes"] == "no events: Too many open files"
        assert "counters" not in gaps  # these are read by the clock anyway
        assert len(root_of(runner.state()).routes) > 60
        kernel.without_events = False
        await until(lambda: root_of(runner.state()).netns.gaps == ())


@pytest.mark.parametrize("made", [Netfilter, Conntrack, Sockets])
async def test_what_was_opened_before_listening_failed_is_closed(
    kernel: FakeKernel, made: type[Netfilter | Conntrack | Sockets]
) -> None:
    kernel.without_events = True
    async with run(kernel, [made()]) as (runner, _):
        assert {gap.reason for gap in root_of(runner.state()).netns.gaps} == {
            "no events: Too many open files"
        }


async def test_a_collector_that_cannot_run_says_why_and_leaves_the_others_alone(
    kernel: FakeKernel, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.refuse(NETLINK_NETFILTER, errno.EPERM)
    async with run(kernel, [Conntrack(), Rtnl()]) as (runner, _):
        status = runner.state().status
        assert status["conntrack"].reason == "conntrack cannot be read: Operation not permitted"
        assert not status["conntrack"].whole
        assert status["links"].whole
    assert "conntrack cannot run" in caplog.text


# nf_tables.


async def test_a_rule_that_comes_is_read_at_its_announcement(kernel: FakeKernel) -> None:
    async with run(kernel, [Netfilter()]) as (runner, _):
        kernel.advance()
        await meet(runner, kernel, "nft_chains", "nft_sets")
        kernel.announce(ROOT, NETLINK_NETFILTER, (NFNLGRP_NFTABLES,), OSError(errno.ENOBUFS, ""))
        await meet(runner, kernel, "nft_chains", "nft_sets")


async def test_a_table_that_the_kernel_has_loaded_since_is_found(kernel: FakeKernel) -> None:
    """The files that name legacy tables were not there when the namespace was opened."""
    names = "/proc/thread-self/net/arp_tables_names"
    for name in kernel.recording.phases[0].places:
        kernel.file(names, name).unlink()
    async with run(kernel, [Netfilter()]) as (runner, _):
        for name in kernel.recording.phases[0].places:
            kernel.file(names, name).write_bytes(b"filter\n")
        runner.watch([Watched(netns=None, sections=("xt_tables",), every_s=1.0)])
        await until(lambda: (3, "filter") in root_of(runner.state()).xt_tables)
        assert not root_of(runner.state()).xt_tables[3, "filter"].read  # of these the rules are not read


async def test_where_legacy_ebtables_are_loaded_a_gap_says_so(kernel: FakeKernel) -> None:
    kernel.file("/sys/module/ebtable_filter").mkdir(parents=True)
    async with run(kernel, [Netfilter()]) as (runner, _):
        (gap,) = root_of(runner.state()).netns.gaps
        assert gap.reason == "ebtable_filter loaded: legacy ebtables rules are not read"


# Connections.


def entry(kernel: FakeKernel) -> bytes:
    """An entry as the dump has it: header and body."""
    return next(a[0] for q, a in kernel.place().answers if q.type == IPCTNL_MSG_CT_GET)


async def test_a_connection_comes_and_goes_by_its_announcements(kernel: FakeKernel) -> None:
    data = entry(kernel)
    length = HEADER.unpack_from(data)[0]
    gone = HEADER.pack(length, IPCTNL_MSG_CT_DELETE, 0, 0, 0) + data[HEADER.size : length]
    async with run(kernel, [Conntrack(flush_s=0.05)]) as (runner, follower):
        held = dict(root_of(runner.state()).conntrack)
        kernel.announce(ROOT, NETLINK_NETFILTER, CONNTRACK, gone)
        await until(lambda: len(root_of(runner.state()).conntrack) == len(held) - 1)
        kernel.announce(ROOT, NETLINK_NETFILTER, CONNTRACK, data[:length])
        await until(lambda: root_of(runner.state()).conntrack == held)
        assert follower.state == runner.state()


async def test_connections_that_were_shed_are_made_good_by_the_next_dump(
    kernel: FakeKernel, soon: None
) -> None:
    async with run(kernel, [Conntrack(flush_s=0.05)]) as (runner, _):
        (sock,) = kernel.listeners(ROOT, NETLINK_NETFILTER, CONNTRACK)
        sock.drops = 7
        shed: list[int] = []
        runner.sink = type(
            "Sink", (), {"state_changed": lambda *_: shed.append(runner.state().status["conntrack"].shed)}
        )()
        sock.push(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))
        await until(lambda: shed and max(shed) == 7 and runner.state().status["conntrack"].shed == 0)
        assert runner.status().shed_events == 7


async def test_an_announced_connection_that_makes_no_sense_counts_as_lost(kernel: FakeKernel) -> None:
    async with run(kernel, [Conntrack(flush_s=0.05)]) as (runner, _):
        torn = HEADER.pack(24, IPCTNL_MSG_CT_DELETE, 0, 0, 0) + b"\x02\0\0\0" + b"\x7f\0\x01\0"
        kernel.announce(ROOT, NETLINK_NETFILTER, CONNTRACK, torn)
        await until(lambda: runner.state().status["conntrack"].lost == 1)


async def test_a_large_table_is_compared_and_told_in_portions(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conntrack_module, "WHOLE_UP_TO", 1)
    async with run(kernel, [Conntrack(flush_s=0.01, max_changes=1)], audit_s=0.3) as (runner, _):
        await until(lambda: len(root_of(runner.state()).conntrack) == 4)
        await meet(runner, kernel, "conntrack")
        kernel.advance(announced=False)
        await meet(runner, kernel, "conntrack")


async def test_a_large_table_that_cannot_be_dumped_is_dumped_again(
    kernel: FakeKernel, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conntrack_module, "WHOLE_UP_TO", 1)
    kernel.plant(fake.says(errno.EIO), NETLINK_NETFILTER, IPCTNL_MSG_CT_GET)
    async with run(kernel, [Conntrack(flush_s=0.01)]) as (runner, _):
        await until(lambda: len(root_of(runner.state()).conntrack) == 4)


# Who holds a namespace, and which pod it is.


async def test_a_namespace_that_only_a_process_holds_is_let_go_when_it_ends(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    """A /proc of our own: `self` and a process that is really there, with one of the recorded namespaces."""
    process = subprocess.Popen(["sleep", "1000"])
    proc = tmp_path / "proc"
    (proc / str(process.pid) / "ns").mkdir(parents=True)
    (proc / "self").symlink_to(str(os.getpid()))
    (proc / str(process.pid) / "comm").write_text("pause\n")
    holder = proc / str(process.pid) / "ns" / "net"
    holder.hardlink_to(kernel.path("web-1"))
    options = NetnsOptions("node1", str(kernel.root), (), str(proc))
    try:
        async with running(options, [Rtnl()], audit_s=NEVER_S, kernel=kernel) as (runner, _):
            (pod,) = (
                ns for ns in runner.state().netns.values() if ns.addrs and not ns.netns.root and ns.key.dev
            )
            assert [(h.kind, h.name, h.pid) for h in pod.netns.holders] == [("process", "pause", process.pid)]
            holder.unlink()
            process.kill()
            process.wait()
            await until(lambda: pod.key not in runner.state().netns)
    finally:
        process.kill()
        process.wait()


async def test_a_file_says_which_namespace_is_which_pod(kernel: FakeKernel, tmp_path: Path) -> None:
    file = tmp_path / "pods.json"
    pod = {"name": "web-1", "namespace": "default", "uid": "u1", "netns": str(kernel.path("web-1"))}
    file.write_text(json.dumps([pod]))
    async with run(kernel, [Pods([FileSource(str(file))]), Rtnl()]) as (runner, _):

        def pods() -> dict[str, str]:
            return {
                ns.netns.name: ns.netns.pod.name
                for ns in runner.state().netns.values()
                if ns.netns.pod is not None
            }

        await until(lambda: pods() == {"web-1": "web-1"})
        file.with_suffix(".new").write_text(json.dumps([{**pod, "name": "web-2"}]))
        file.with_suffix(".new").replace(file)
        await until(lambda: pods() == {"web-1": "web-2"})
        file.write_text("no json")
        await until(lambda: any("pods.json" in status.reason for status in runner.state().status.values()))


async def test_namespaces_that_cannot_be_listed_are_not_taken_for_gone(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "LOOK_AGAIN_S", 0.01)
    async with run(kernel, [Rtnl()]) as (runner, _):
        kernel.pods.chmod(0)
        monkeypatch.setattr(os, "listdir", _refuse)
        runner.look_for_namespaces()
        await until(lambda: "cannot look for namespaces" in caplog.text)
        monkeypatch.undo()
        kernel.pods.chmod(0o755)
        assert len(runner.state().netns) == 4


def _refuse(path: str) -> list[str]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)


async def test_a_namespace_that_ends_takes_its_sockets_with_it(kernel: FakeKernel) -> None:
    kernel.advance()
    kernel.advance()
    async with run(kernel) as (runner, _):
        assert "late-1" in {ns.netns.name for ns in runner.state().netns.values()}
        kernel.advance()
        runner.look_for_namespaces()
        await until(lambda: all(sock.closed for sock in kernel.sockets if sock.name == "late-1"))
        await until(lambda: len(runner.state().netns) == 4)


async def test_a_route_dump_that_fails_leaves_the_routes_that_were_known(
    kernel: FakeKernel, soon: None
) -> None:
    """They are not said to be whole meanwhile."""
    async with run(kernel, [Rtnl()]) as (runner, _):
        known = root_of(runner.state()).routes
        kernel.plant(fake.says(errno.EIO), NETLINK_ROUTE, RTM_GETROUTE, times=3)
        runner.watch([Watched(netns=None, sections=("routes",), every_s=1.0)])
        await until(lambda: any(gap.section == "routes" for gap in root_of(runner.state()).netns.gaps))
        assert root_of(runner.state()).routes == known
        await until(lambda: root_of(runner.state()).netns.gaps == ())
