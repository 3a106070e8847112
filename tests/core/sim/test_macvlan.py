"""Macvlans in source and passthru mode; live ones are in tests/live/test_prediction_macvlan.py and the oracle.

    [a] eth0 (source: takes frames of node-2's MAC alone, or not)
                \\
                 ens3 192.168.0.1 (node-1) ---- wire ---- ens3 192.168.0.2 (node-2)

Source: drivers/net/macvlan.c, macvlan_handle_frame, macvlan_forward_source, macvlan_queue_xmit (Linux 6.18).
"""

from __future__ import annotations

import pytest

from netviz.core.model.addr import format_mac, pack_ip
from netviz.core.model.l3 import RTN_LOCAL, Nexthop, Route
from netviz.core.model.link import (
    IFF_BROADCAST,
    MACVLAN_BRIDGE,
    MACVLAN_FLAG_NODST,
    MACVLAN_PASSTHRU,
    MACVLAN_SOURCE,
    MacvlanInfo,
)
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.evidence import evidence_of
from tests.core.sim.build import Net, Ns


def site(mode: int, listed: bool = True, flags: int = 0) -> tuple[Net, dict[str, Ns]]:
    net = Net()
    made: dict[str, Ns] = {}
    for n in (1, 2):
        node = made[f"node-{n}"] = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.listen("tcp", 80)
    a = made["a"] = net.macvlan(made["node-1"], "a", "ens3", "192.168.0.11/24", mode)
    sources = (made["node-2"].named("ens3").mac,) if listed else ()
    a.change("eth0", info=MacvlanInfo(mode, flags, sources if mode == MACVLAN_SOURCE else ()))
    a.listen("tcp", 80)
    return net, made


def ends(trace: Trace) -> tuple[Disposition, Disposition | None]:
    reply = trace.branches[0].reply
    return trace.disposition, reply.disposition if reply is not None else None


BOTH = (Disposition.DELIVERED, Disposition.DELIVERED)


@pytest.mark.parametrize("source", ["a", "node-2"])
def test_source_mode_takes_frames_from_its_list(source: str) -> None:
    net, _made = site(MACVLAN_SOURCE)
    target = {"a": "192.168.0.2", "node-2": "192.168.0.11"}[source]
    assert ends(net.trace(source, target, "tcp", 80)) == BOTH


@pytest.mark.parametrize("source", ["a", "node-2"])
def test_source_mode_takes_nothing_else(source: str) -> None:
    """Neither the question nor the answer to its own question comes through."""
    net, _made = site(MACVLAN_SOURCE, listed=False)
    target = {"a": "192.168.0.2", "node-2": "192.168.0.11"}[source]
    assert net.trace(source, target, "tcp", 80).reason == "NEIGH_FAILED"


@pytest.mark.parametrize(
    ("flags", "expected"), [(0, Disposition.DELIVERED), (MACVLAN_FLAG_NODST, Disposition.DROPPED)]
)
def test_source_mode_gives_the_lower_device_its_frames_unless_it_keeps_them(
    flags: int, expected: Disposition
) -> None:
    net, made = site(MACVLAN_SOURCE, flags=flags)
    made["node-2"].neigh("ens3", "192.168.0.1", made["node-1"].named("ens3").mac)
    made["node-1"].neigh("ens3", "192.168.0.2", made["node-2"].named("ens3").mac)
    trace = net.trace("node-2", "192.168.0.1", "tcp", 80)
    assert trace.disposition is expected
    assert "copy" in [s.action for h in trace.branches[0].forward.hops for s in h.steps]


@pytest.mark.parametrize("flags", [0, MACVLAN_FLAG_NODST])
def test_a_copy_of_the_lower_devices_frame_is_for_the_macvlans_host_too(flags: int) -> None:
    """macvlan_forward_source_one leaves PACKET_HOST as eth_type_trans has set it."""
    net, made = site(MACVLAN_SOURCE, flags=flags)
    made["node-2"].neigh("ens3", "192.168.0.11", made["node-1"].named("ens3").mac)
    trace = net.trace("node-2", "192.168.0.11", "tcp", 80)
    assert ends(trace) == BOTH
    assert trace.branches[0].forward.hops[-1].place.name == "node-1-a"


def test_which_copy_is_followed_is_open_where_both_hosts_have_the_address() -> None:
    net, made = site(MACVLAN_SOURCE)
    made["a"].addr("eth0", "192.168.0.1/24")
    made["node-2"].neigh("ens3", "192.168.0.1", made["node-1"].named("ens3").mac)
    trace = net.trace("node-2", "192.168.0.1", "tcp", 80)
    assert {branch.forward.hops[-1].place.name for branch in trace.branches} == {"node-1", "node-1-a"}


def test_a_keeper_takes_a_siblings_answers_too() -> None:
    net, made = site(MACVLAN_SOURCE, flags=MACVLAN_FLAG_NODST)
    net.macvlan(made["node-1"], "b", "ens3", "192.168.0.12/24", MACVLAN_BRIDGE)
    assert net.trace("b", "192.168.0.2", "tcp", 80).reason == "NEIGH_FAILED"


def test_passthru_takes_every_unicast_frame() -> None:
    net, made = site(MACVLAN_PASSTHRU)
    assert ends(net.trace("node-2", "192.168.0.11", "tcp", 80)) == BOTH
    made["node-2"].neigh("ens3", "192.168.0.1", made["node-1"].named("ens3").mac)
    trace = net.trace("node-2", "192.168.0.1", "tcp", 80)
    assert (trace.disposition, trace.branches[0].forward.hops[-1].place.name) == (
        Disposition.DROPPED,
        "node-1-a",
    )
    made["a"].change("eth0", flags=IFF_BROADCAST)
    assert net.trace("node-2", "192.168.0.1", "tcp", 80).disposition is Disposition.DROPPED


def test_a_device_without_addresses_stands_where_its_macvlans_do() -> None:
    """It answers for its node's addresses too, so whose answer is first is open."""
    net, made = site(MACVLAN_BRIDGE)
    made["node-1"].nic("ens4")
    net.macvlan(made["node-1"], "b", "ens4", "192.168.0.12/24", MACVLAN_PASSTHRU)
    loopback = (Nexthop(made["node-1"].named("lo").ifindex),)
    local = Route(255, pack_ip("192.168.0.71"), 32, RTN_LOCAL, scope=254, protocol=4, nexthops=loopback)
    made["node-1"].add("routes", local)
    trace = net.trace("node-2", "192.168.0.71", "tcp", 80)
    steps = [
        s for branch in trace.branches for h in branch.forward.hops for s in h.steps if s.kind == "neigh"
    ]
    assert {evidence_of(s)["mac"] for s in steps} == {
        format_mac(made["node-1"].named(dev).mac) for dev in ("ens3", "ens4")
    }


def test_siblings_meet_by_way_of_the_lower_device() -> None:
    """dev_forward_skb hands the frame to the lower device: what is larger than its MTU is dropped."""
    net, made = site(MACVLAN_BRIDGE)
    b = net.macvlan(made["node-1"], "b", "ens3", "192.168.0.12/24", MACVLAN_BRIDGE)
    b.listen("udp", 53)
    made["node-1"].change("ens3", mtu=1400)
    assert net.trace("a", "b", "udp", 53, length=1404).disposition is Disposition.DELIVERED
    assert net.trace("a", "b", "udp", 53, length=1405).reason == "PKT_TOO_BIG"
