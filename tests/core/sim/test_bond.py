"""Bonds as uplinks, from constructed state: the kernel of the tests has no bonding.

pod-1-1 - cni0 (node-1) bond0 = (p1, p2) ---- 192.168.0.0/24 ---- ens3 (node-2) cni0 - pod-2-1
"""

from __future__ import annotations

import pytest

from netviz.core.model.link import BondInfo, BondSlave
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import Net, Ns, textbook


def bonded(mode: int, active: str = "") -> tuple[Net, dict[str, Ns]]:
    """Make node-1's ens3 a bond over p1 and p2."""
    net, made = textbook()
    node = made["node-1"]
    mac = node.named("ens3").mac
    for name in ("p1", "p2"):
        node.link(name, "", master=node.named("ens3").ifindex, slave_kind="bond", mac=mac)
    index = node.named(active).ifindex if active else 0
    node.change("ens3", kind="bond", ifname="bond0", info=BondInfo(mode, index))
    return net, made


def devices(trace: Trace, kind: str, branch: int = 0) -> list[str]:
    return [s.dev for hop in trace.branches[branch].forward.hops for s in hop.steps if s.kind == kind]


@pytest.mark.parametrize("active", ["p1", "p2"])
@pytest.mark.parametrize(("source", "target"), [("pod-1-1", "pod-2-1"), ("pod-2-1", "pod-1-1")])
def test_constructed_active_backup(active: str, source: str, target: str) -> None:
    net, _made = bonded(1, active)
    trace = net.trace(source, target)
    assert (trace.disposition, len(trace.branches)) == (Disposition.DELIVERED, 1)
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED
    used = [s.dev for p in (trace.branches[0].forward, reply) for h in p.hops for s in h.steps]
    assert active in used
    assert {"p1": "p2", "p2": "p1"}[active] not in used


def test_constructed_no_active_slave() -> None:
    net, _made = bonded(1)
    assert net.trace("pod-1-1", "pod-2-1").reason in ("NOT_SPECIFIED", "NEIGH_FAILED")
    assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DROPPED


@pytest.mark.parametrize("mode", [0, 2, 4])
def test_constructed_balancing_branches(mode: int) -> None:
    net, _made = bonded(mode)
    trace = net.trace("pod-1-1", "pod-2-1")
    assert trace.disposition is Disposition.DELIVERED
    assert {name for b in range(len(trace.branches)) for name in devices(trace, "link_tx", b)} >= {"p1", "p2"}


def test_constructed_one_slave_down_is_certain() -> None:
    net, made = bonded(4)
    made["node-1"].down("p1")
    trace = net.trace("pod-1-1", "pod-2-1")
    assert (trace.disposition, len(trace.branches)) == (Disposition.DELIVERED, 1)


@pytest.mark.parametrize("mode", [6, 9])
def test_constructed_other_modes_are_unknown_by_name(mode: int) -> None:
    net, made = bonded(mode)
    node = made["node-1"]
    node.neigh("bond0", "192.168.0.2", made["node-2"].named("ens3").mac)
    trace = net.trace("pod-1-1", "pod-2-1")
    assert (trace.disposition, "bond in mode" in trace.reason) == (Disposition.UNKNOWN, True)


def test_constructed_broadcast_sends_by_all() -> None:
    net, _made = bonded(3)
    assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED


@pytest.mark.parametrize("source", ["pod-1-1", "pod-2-1"])
def test_constructed_tlb_receives_by_the_active_slave_and_sends_with_its_slaves_macs(source: str) -> None:
    """Only the active slave sends with the bond's MAC (bond_do_alb_xmit)."""
    net, made = bonded(5, "p2")
    node = made["node-1"]
    other = node.change("p1", mac=net.new_mac())
    trace = net.trace(source, "pod-2-1" if source == "pod-1-1" else "pod-1-1")
    assert trace.disposition is Disposition.DELIVERED
    sent = {
        (s.what.slave, s.packet.smac)
        for b in trace.branches
        for path in (b.forward, b.reply)
        if path is not None
        for h in path.hops
        for s in h.steps
        if s.action == "to slave"
    }
    assert sent == {("p1", other.mac), ("p2", node.named("bond0").mac)}


def test_constructed_a_slave_outside_the_aggregator_neither_sends_nor_receives() -> None:
    net, made = bonded(4)
    made["node-1"].change("p1", bond_slave=BondSlave(active=False))
    made["node-1"].change("p2", bond_slave=BondSlave())
    trace = net.trace("pod-1-1", "pod-2-1")
    assert (trace.disposition, len(trace.branches)) == (Disposition.DELIVERED, 1)
    assert "p2" in devices(trace, "link_tx")
    assert "p1" not in devices(trace, "link_tx")
