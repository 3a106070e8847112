"""802.1Q devices as uplinks, from constructed state: the kernel of the tests has none.

pod-1-1 - cni0 (node-1) ens3.100 over ens3 ---- tagged ---- ens3 below ens3.100 (node-2) cni0 - pod-2-1
"""

from __future__ import annotations

import pytest

from netviz.core.model.link import BondInfo, VlanInfo
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import Net, Ns, textbook


def tagged(vids: tuple[int, int], bond: bool = False) -> tuple[Net, dict[str, Ns]]:
    """Put each node's address on a VLAN device over what was its uplink."""
    net, made = textbook()
    for name, vid in zip(("node-1", "node-2"), vids, strict=True):
        node = made[name]
        nic = node.named("ens3")
        lower = node.link("lower", "bond" if bond else "", mac=nic.mac, info=BondInfo(4) if bond else None)
        if bond:
            node.link("p1", "", master=lower.ifindex, slave_kind="bond", mac=nic.mac)
        node.change("ens3", kind="vlan", ifname=f"ens3.{vid}", info=VlanInfo(vid), link=lower.ifindex)
    return net, made


def decisions(trace: Trace) -> list[str]:
    return [s.action for hop in trace.branches[0].forward.hops for s in hop.steps]


@pytest.mark.parametrize("bond", [False, True])
@pytest.mark.parametrize(("source", "target"), [("pod-1-1", "pod-2-1"), ("pod-2-2", "pod-1-1")])
def test_constructed_one_vlan(bond: bool, source: str, target: str) -> None:
    net, _made = tagged((100, 100), bond)
    trace = net.trace(source, target)
    assert (trace.disposition, len(trace.branches)) == (Disposition.DELIVERED, 1)
    assert {"tag", "cross wire", "untag"} <= set(decisions(trace))
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED


def test_constructed_two_vlans_do_not_meet() -> None:
    """Who has the address on the other VLAN neither answers nor takes the frame."""
    net, made = tagged((100, 200))
    assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.LEFT_NETWORK
    made["node-1"].neigh("ens3.100", "192.168.0.2", made["node-2"].named("ens3.200").mac)
    assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.LEFT_NETWORK


def test_constructed_a_tag_meets_no_untagged_link() -> None:
    net, made = tagged((100, 100))
    node = made["node-2"]
    node.change("ens3.100", kind="", info=None, link=0)
    assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.LEFT_NETWORK
