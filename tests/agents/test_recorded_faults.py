"""A kernel that fails: what could not be read whole says so, and what is said is as it is without the fault."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from agents.collectors.base import Collector
from agents.collectors.conntrack import Conntrack
from agents.collectors.netfilter import Netfilter
from agents.collectors.rtnl import Rtnl
from agents.collectors.sockets import Sockets
from agents.netlink import wire
from agents.netlink.conntrack import IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_GET_STATS
from agents.netlink.link import RTM_GETLINK
from agents.netlink.nexthop import RTM_GETNEXTHOP
from agents.netlink.nfnetlink import NETLINK_NETFILTER
from agents.netlink.nftables import NFT_MSG_GETGEN
from agents.netlink.nsid import RTM_GETNSID
from agents.netlink.route import RTM_GETROUTE
from agents.netlink.sockdiag import NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK
from agents.netlink.vlan import RTM_GETVLAN
from agents.netlink.wire import NETLINK_ROUTE
from agents.snapshot import Snapshotter
from netviz.core.model.link import Link
from netviz.core.state.node import SECTIONS, NetnsState, NodeState
from tests.agents import fake_kernel as fake
from tests.agents.fake_kernel import FakeKernel, Fault, collectors
from tests.agents.netlink_record import read_recording

FAULTS: dict[str, Fault] = {
    "EPERM": fake.says(errno.EPERM),
    "EIO": fake.says(errno.EIO),
    "EINTR at the end": fake.ends_with(errno.EINTR),
    "ENOBUFS": fake.raises(errno.ENOBUFS),
    "NLMSG_OVERRUN": fake.overrun,
    "no answer": fake.silence,
    "a datagram too long": fake.cut,
    "a datagram torn": fake.torn,
    "interrupted": fake.interrupted,
}
READ_BY: dict[int, tuple[Callable[[], Collector], ...]] = {
    NETLINK_ROUTE: (Rtnl,),
    NETLINK_NETFILTER: (Netfilter, Conntrack),
    NETLINK_SOCK_DIAG: (Sockets,),
}
# Every kind of request that is made in the node's own namespace, but for those by which namespaces are told apart.
KINDS = sorted(
    {(q.proto, q.type) for q, _ in read_recording().phases[0].places["root"].answers}
    - {(NETLINK_ROUTE, RTM_GETNSID)}
)


def read(kernel: FakeKernel, made: list[Collector]) -> NodeState:
    return Snapshotter(kernel.options(pods=False), made, kernel).run().state


def root_of(state: NodeState) -> NetnsState:
    assert state.root is not None
    return state.root


def admitted_gaps(state: NodeState) -> set[str]:
    """The sections of which the root's namespace, or the node, says that they are not whole."""
    unsure = {name for name, status in state.status.items() if not status.whole}
    return unsure | {gap.section for gap in root_of(state).netns.gaps}


def admitted(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Records with what they themselves say is not known (a link's programs: None) filled in from those that know."""
    return {
        key: msgspec.structs.replace(one, programs=theirs[key].programs)
        if isinstance(one, Link) and one.programs is None and key in theirs
        else one
        for key, one in ours.items()
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_fault_takes_away_is_a_gap(
    kernel: FakeKernel, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever request fails, again and again: a section is as it is, or says that it isn't whole."""
    monkeypatch.setattr(time, "time", lambda: 1.0)  # what rules have counted says when it was read
    undisturbed = {proto: root_of(read(kernel, [make() for make in made])) for proto, made in READ_BY.items()}
    for proto, kind in KINDS:
        kernel.plant(FAULTS[fault], proto, kind, times=100)
        state = read(kernel, [make() for make in READ_BY[proto]])
        kernel.unplant()
        gaps = admitted_gaps(state)
        for section in SECTIONS:
            if section not in gaps:
                ours, theirs = getattr(root_of(state), section), getattr(undisturbed[proto], section)
                assert admitted(ours, theirs) == dict(theirs), (proto, kind, section)


@pytest.mark.parametrize("fault", ["EIO", "no answer", "a datagram torn"])
@pytest.mark.parametrize("kind", [RTM_GETNEXTHOP, RTM_GETROUTE])
def test_one_collectors_fault_is_no_gap_of_the_others(kernel: FakeKernel, kind: int, fault: str) -> None:
    kernel.plant(FAULTS[fault], NETLINK_ROUTE, kind, times=1000)
    assert admitted_gaps(read(kernel, collectors())) == set(Rtnl.sections)


def test_an_interrupted_dump_is_made_again(kernel: FakeKernel) -> None:
    kernel.plant(fake.interrupted, NETLINK_ROUTE, RTM_GETROUTE, times=wire.DUMP_ATTEMPTS - 1)
    state = read(kernel, [Rtnl()])
    assert admitted_gaps(state) == set()
    assert len(root_of(state).routes) > 60


def test_a_dump_that_is_always_interrupted_says_so(kernel: FakeKernel) -> None:
    kernel.plant(fake.interrupted, NETLINK_ROUTE, RTM_GETROUTE, times=wire.DUMP_ATTEMPTS)
    gaps = {gap.section: gap.reason for gap in root_of(read(kernel, [Rtnl()])).netns.gaps}
    assert gaps["routes"] == "objects kept changing during 8 dumps"


def test_an_old_kernel_that_cannot_list_something_lacks_only_that(kernel: FakeKernel) -> None:
    kernel.plant(fake.says(errno.EOPNOTSUPP), NETLINK_ROUTE, RTM_GETNEXTHOP)
    state = read(kernel, [Rtnl()])
    assert admitted_gaps(state) == {"nexthops"}
    (gap,) = root_of(state).netns.gaps
    assert gap.reason == "this kernel cannot list them: Operation not supported"


def test_a_kernel_without_vlan_filtering_has_no_vlans_and_no_gap(kernel: FakeKernel) -> None:
    kernel.plant(fake.says(errno.EAFNOSUPPORT), NETLINK_ROUTE, RTM_GETVLAN)
    assert admitted_gaps(read(kernel, [Rtnl()])) == set()


def test_without_the_permission_to_see_netfilter_nothing_of_it_is_said_to_be_whole(
    kernel: FakeKernel,
) -> None:
    kernel.refuse(NETLINK_NETFILTER, errno.EPERM)
    state = read(kernel, collectors())
    assert admitted_gaps(state) == {*Netfilter.sections, "conntrack"}
    assert state.status["conntrack"].reason == "conntrack cannot be read: Operation not permitted"


def test_a_kernel_without_nf_tables_still_has_its_legacy_tables_read(kernel: FakeKernel) -> None:
    kernel.plant(fake.says(errno.EINVAL), NETLINK_NETFILTER, NFT_MSG_GETGEN, times=1000)
    state = read(kernel, [Netfilter()])
    assert admitted_gaps(state) == {"nft_tables", "nft_chains", "nft_sets", "nft_objects", "rule_counters"}
    assert {table.read for table in root_of(state).xt_tables.values()} == {True}


def test_a_ruleset_whose_generation_moves_during_a_dump_is_read_again(kernel: FakeKernel) -> None:
    """Another generation before than after: a transaction came in between."""

    def moved(answer: list[bytes]) -> list[fake.Datagram]:
        data = bytearray(answer[0])
        data[27] ^= 1  # the last byte of NFTA_GEN_ID: header, nfgenmsg, attribute header, u32
        return [bytes(data), *answer[1:]]

    undisturbed = root_of(read(kernel, [Netfilter()]))
    kernel.plant(lambda answer: list(answer), NETLINK_NETFILTER, NFT_MSG_GETGEN)  # can_run asks too
    kernel.plant(moved, NETLINK_NETFILTER, NFT_MSG_GETGEN)
    state = read(kernel, [Netfilter()])
    assert admitted_gaps(state) == set()
    assert root_of(state).nft_chains == undisturbed.nft_chains


def test_a_dump_of_connections_that_is_interrupted_is_no_gap(kernel: FakeKernel) -> None:
    """The table always changes; what a dump misses, events tell."""
    kernel.plant(fake.interrupted, NETLINK_NETFILTER, IPCTNL_MSG_CT_GET, times=1000)
    assert admitted_gaps(read(kernel, [Conntrack()])) == set()


def test_more_connections_than_are_held_is_a_gap(kernel: FakeKernel) -> None:
    held = root_of(read(kernel, [Conntrack(max_entries=1)]))
    assert len(held.conntrack) == 1
    assert [gap.reason for gap in held.netns.gaps] == ["1 of 4 entries are held"]


def test_more_tcp_connections_than_are_held_is_a_gap(kernel: FakeKernel) -> None:
    state = Snapshotter(kernel.options(), [Rtnl(), Sockets(max_connected=0)], kernel).run().state
    (pod,) = (ns for ns in state.netns.values() if ns.netns.name == "api-1")
    assert [gap.reason for gap in pod.netns.gaps] == ["0 of 1 TCP connections are held"]


def test_a_kernel_without_sock_diag_says_so(kernel: FakeKernel) -> None:
    kernel.plant(fake.says(errno.ENOENT), NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK, times=1000)
    state = read(kernel, [Sockets()])
    assert state.status["sockets"].reason == "sockets cannot be read: No such file or directory"


def test_a_kernel_without_conntrack_says_so(kernel: FakeKernel) -> None:
    kernel.plant(fake.says(errno.EINVAL), NETLINK_NETFILTER, IPCTNL_MSG_CT_GET_STATS, times=1000)
    assert (
        read(kernel, [Conntrack()]).status["conntrack"].reason == "conntrack cannot be read: Invalid argument"
    )


def test_a_legacy_table_that_cannot_be_decoded_is_named_and_not_said_to_be_read(kernel: FakeKernel) -> None:
    kernel.garble_options()
    state = read(kernel, [Netfilter()])
    assert {table.name for table in root_of(state).xt_tables.values()} == {"filter", "nat"}
    assert {table.read for table in root_of(state).xt_tables.values()} == {False}
    assert root_of(state).xt_chains == {}


def test_where_a_namespaces_number_is_refused_its_peer_stays_unresolved(kernel: FakeKernel) -> None:
    kernel.plant(fake.says(errno.EPERM), NETLINK_ROUTE, RTM_GETNSID, times=1000)
    with pytest.raises(PermissionError):
        Snapshotter(kernel.options(), [Rtnl()], kernel).run()


def test_a_collector_without_permission_to_enter_does_not_begin(kernel: FakeKernel) -> None:
    kernel.forbid_entering()
    with pytest.raises(PermissionError):
        Snapshotter(kernel.options(), [Rtnl()], kernel)


def test_nothing_stays_open_when_reading_fails(kernel: FakeKernel) -> None:
    before = len(os.listdir("/proc/self/fd"))
    kernel.plant(fake.silence, NETLINK_ROUTE, RTM_GETLINK, times=1000)
    read(kernel, collectors())
    kernel.forget_settings()
    assert len(os.listdir("/proc/self/fd")) == before
