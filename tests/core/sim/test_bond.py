"""Bonds as uplinks, from constructed state: the kernel of the tests has no bonding.

pod-1-1 - cni0 (node-1) bond0 = (p1, p2) ---- 192.168.0.0/24 ---- ens3 (node-2) cni0 - pod-2-1
"""

from __future__ import annotations

import pytest

from netviz.core.model.link import BondInfo
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


@pytest.mark.parametrize("mode", [3, 5, 6])
def test_constructed_other_modes_are_unknown_by_name(mode: int) -> None:
    net, made = bonded(mode)
    node = made["node-1"]
    node.neigh("bond0", "192.168.0.2", made["node-2"].named("ens3").mac)
    trace = net.trace("pod-1-1", "pod-2-1")
    assert (trace.disposition, "bond in mode" in trace.reason) == (Disposition.UNKNOWN, True)
